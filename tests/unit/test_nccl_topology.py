"""NCCL topology files: the facts that are read, what is noted, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from distsim.errors import CODES, DistsimError
from distsim.files import load_yaml
from distsim.hardware.catalogue import load_topology
from distsim.hardware.cube_mesh import NVLINKS
from distsim.hardware.topology import Topology
from distsim.scenario.importers import nccl_facts as facts
from distsim.scenario.importers.nccl_topology import (
    ImportedTopology,
    read_nccl_topology,
    to_yaml,
)
from distsim.study.collective import collective_report

DATA = Path(__file__).parents[1] / "data" / "nccl"
FILES = sorted(DATA.glob("*.xml"))
A100 = "a100-80gb-sxm"


def read(name: str, nodes: int = 1, device: str | None = None) -> ImportedTopology:
    device = A100 if name == "virtual-machine" else device
    return read_nccl_topology(DATA / f"{name}.xml", nodes=nodes, device=device)


def built(imported: ImportedTopology) -> Topology:
    return load_topology(imported.block, imported.summary["devices"])


def rates(topology: Topology) -> dict[tuple[str, str], float]:
    """Return the bandwidth of each link in GB/s, by its ends."""
    return {
        (a, b): d["bandwidth_bytes_per_s"] / 1e9 for a, b, d in topology.graph().edges(data=True)
    }


def changed(tmp_path: Path, name: str, old: str, new: str, count: int = 1) -> Path:
    text = (DATA / f"{name}.xml").read_text()
    assert old in text
    file = tmp_path / "changed.xml"
    file.write_text(text.replace(old, new, count))
    return file


def written(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "written.xml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


@pytest.mark.parametrize("nodes", [1, 2, 5])
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_file_that_is_written_is_the_block_that_was_read(
    file: Path, nodes: int, tmp_path: Path
) -> None:
    imported = read(file.stem, nodes)
    out = tmp_path / "out.yaml"
    out.write_text(to_yaml(imported))
    assert load_yaml(out)[0] == imported.block
    topology, again = built(imported), load_topology(out, imported.summary["devices"])
    np.testing.assert_array_equal(topology.capacity_bytes_per_s, again.capacity_bytes_per_s)
    nodes_of_file = 2 if file.stem == "two-hosts" and nodes == 1 else nodes
    assert topology.shape()["nodes"] == imported.summary["nodes"] == nodes_of_file
    assert all(c.source for c in topology.classes)
    assert all(len(line) <= 100 for line in to_yaml(imported).splitlines() if "source" not in line)


def test_pcie_rates_follow_their_encoding() -> None:
    """GB/s one direction, as the PCI-SIG's tables and vendors' datasheets give them, for x16."""
    published = {2.5: 4.0, 5.0: 8.0, 8.0: 15.754, 16.0: 31.508, 32.0: 63.015, 64.0: 121.0}
    for gt_per_s, gb_per_s in published.items():
        assert facts.pcie(gt_per_s, 16).bytes_per_s == pytest.approx(gb_per_s * 1e9, rel=1e-4)
    assert facts.pcie(8.0, 4).bytes_per_s * 4 == pytest.approx(facts.pcie(8.0, 16).bytes_per_s)


def test_nvlink_rates_add_up_to_the_datasheets() -> None:
    """Links of a device x rate of one = NVLink of the datasheet, GB/s one direction."""
    datasheets = [(60, 4, 80), (70, 6, 150), (80, 12, 300), (90, 18, 450), (100, 18, 900)]
    for sm, links, gb_per_s in datasheets:
        assert facts.nvlink(sm).bytes_per_s * links == gb_per_s * 1e9
    for gfx, links, gb_per_s in (("gfx942", 7, 448), ("gfx90a", 8, 400), ("908", 3, 138)):
        fact = facts.xgmi(facts.gfx(gfx))
        assert fact is not None
        assert fact.bytes_per_s * links == gb_per_s * 1e9


def test_nvswitches_become_one_switch() -> None:
    imported = read("dgx-h100")
    found = rates(built(imported))
    for i in range(8):
        assert found[f"gpu{i}", "nvswitch"] == found["nvswitch", f"gpu{i}"] == 450
        assert found[f"gpu{i}", f"pciswitch{i}"] == pytest.approx(63.015, rel=1e-4)
        assert found[f"mlx5_{i}", f"pciswitch{i}"] == pytest.approx(63.015, rel=1e-4)
    assert found["mlx5_9", "cpu1"] == pytest.approx(63.015, rel=1e-4)
    assert found["cpu0", "cpu1"] == 22
    assert imported.block["in_network"] == ["nvls"]
    assert imported.summary | {"file": ""} == {
        "file": "", "version": "1", "device": "h100-80gb-sxm", "machines": 1, "nodes": 1,
        "devices": 8, "devices_per_node": 8, "cpus": 2, "pci_switches": 8, "nvswitches": 4,
        "adapters": 10,
    }  # fmt: skip


@pytest.mark.parametrize("collective", ["all_reduce", "all_gather", "all_to_all"])
def test_copies_of_a_dgx_are_the_shipped_superpod(collective: str) -> None:
    """The same links by two ways, but for PCI Express, rounded to 63 GB/s in the shipped one."""
    sizes = [1e4, 1e7, 1e9]
    own = collective_report(collective, read("dgx-h100", 4).block, 32, sizes)
    shipped = collective_report(collective, "dgx-h100-superpod", 32, sizes)
    assert [r.algorithm for r in own.rows] == [r.algorithm for r in shipped.rows]
    np.testing.assert_allclose(
        [r.time_s for r in own.rows], [r.time_s for r in shipped.rows], rtol=1e-9
    )


def test_nvlinks_between_devices_are_the_published_cube_mesh() -> None:
    found = rates(built(read("dgx1-v100")))
    for a in range(8):
        for b in range(8):
            expected = 25.0 * NVLINKS[a, b] or None
            assert found.get((f"gpu{a}", f"gpu{b}")) == expected
    own = collective_report("all_reduce", read("dgx1-v100").block, 8, [1e4, 1e9])
    shipped = collective_report("all_reduce", "dgx1-v100", 8, [1e4, 1e9])
    assert [r.time_s for r in own.rows] == pytest.approx([r.time_s for r in shipped.rows])


def test_infinity_fabric_is_read_as_the_shipped_node() -> None:
    imported = read("mi300x")
    found = rates(built(imported))
    pairs = {(a, b): r for (a, b), r in found.items() if a[:3] == b[:3] == "gpu"}
    assert len(pairs) == 56
    assert set(pairs.values()) == {64.0}
    assert (imported.block["device"], imported.block["library"]) == ("mi300x", "rccl")
    own = collective_report("all_reduce", imported.block, 8, [1e4, 1e9])
    shipped = collective_report("all_reduce", "mi300x-8", 8, [1e4, 1e9])
    assert [r.time_s for r in own.rows] == pytest.approx([r.time_s for r in shipped.rows])


def test_a_pci_tree_of_any_shape() -> None:
    """Nested switches, two ports on one bus, an adapter below a CPU, missing and old rates."""
    imported = read("pcie-two-sockets")
    topology = built(imported)
    found = rates(topology)
    tree = {
        ("gpu0", "pciswitch1"): 31.508, ("pciswitch1", "pciswitch0"): 31.508,
        ("pciswitch0", "cpu0"): 31.508, ("mlx5_0", "pciswitch2"): 31.508,
        ("mlx5_1", "pciswitch2"): 31.508, ("pciswitch2", "pciswitch0"): 31.508,
        ("eno1", "cpu0"): 1.25, ("gpu2", "cpu1"): 15.754, ("gpu3", "cpu1"): 2.0,
        ("cpu0", "cpu1"): 16.0,
    }  # fmt: skip
    for pair, rate in tree.items():
        assert found[pair] == found[pair[::-1]] == pytest.approx(rate, rel=1e-4)
    hops = nx.shortest_path_length(topology.graph(), "gpu0", "gpu3")
    assert hops == np.diff(topology.routes([0], [3]).ptr)[0] == 5
    said = " ".join(imported.notes)
    for word in ("gpu.colour", "<fpga>", "eno1", "8 GT/s", "x16", "16 GB/s", "no NVLink", "sm 80"):
        assert word in said


def test_devices_of_a_cluster_use_the_adapters_of_their_switch() -> None:
    topology = built(read("dgx-h100", 2))
    routes = topology.routes(range(8), range(8, 16))
    names = [topology.link_name(link) for link in routes.link]
    assert np.diff(routes.ptr).tolist() == [6] * 8
    for i in range(8):
        assert names[6 * i + 1 : 6 * i + 3] == [
            f"n0.pciswitch{i}->n0.mlx5_{i}",
            f"n0.mlx5_{i}->u0.leaf{i}",
        ]


def test_only_the_fastest_adapters_are_on_rails() -> None:
    imported = read("pcie-two-sockets", 2)
    assert imported.block["adapters"] == ["mlx5_0", "mlx5_1"]
    assert imported.block["links"]["rail"]["bandwidth"] == "100 Gbit/s"
    assert any("less than 100 Gbit/s" in note and "eno1" in note for note in imported.notes)


def test_machines_that_are_alike_are_nodes() -> None:
    imported = read("two-hosts")
    assert (imported.summary["machines"], imported.summary["nodes"]) == (2, 2)
    topology = built(imported)
    assert topology.node_of.tolist() == [0] * 4 + [1] * 4
    assert topology.kind == "cluster"
    # 1.5 us between adapters, over two links.
    assert imported.block["links"]["rail"]["latency"] == "0.75 us"
    assert read("two-hosts", 3).summary["devices"] == 12


def test_machines_that_differ_are_nodes_of_an_edge_list(tmp_path: Path) -> None:
    """The second has a slower adapter; the rails are of their own speed each."""
    text = (DATA / "two-hosts.xml").read_text()
    first, second = text.split("0x99ee88ff77006655", 1)
    file = written(tmp_path, f"{first}0x99ee88ff77006655{second.replace('200000', '100000', 1)}")
    imported = read_nccl_topology(file)
    topology = built(imported)
    assert topology.kind == "edges"
    assert topology.node_of.tolist() == [0] * 4 + [1] * 4
    found = rates(topology)
    assert found["m0.mlx5_0", "leaf0"] == 25
    # The slow one is on no rail: the next one takes its place.
    assert found["m1.mlx5_1", "leaf0"] == 25
    assert ("m1.mlx5_0", "leaf0") not in found
    assert found["leaf0", "spine"] == 50
    with pytest.raises(DistsimError, match="DS428"):
        read_nccl_topology(file, nodes=4)


def grace(hosts: int, gpus: int = 2) -> str:
    """Return machines with Grace CPUs whose devices share NVSwitches."""
    rows = []
    for host in range(hosts):
        rows.append(f'<cpu host_hash="{host:#x}" numaid="0" arch="arm64" vendor="">')
        for gpu in range(gpus):
            rows.append(f'<pci busid="000{gpu}:01:00.0" class="0x030200" link_speed="" >')
            rows.append(f'<gpu dev="{gpu}" sm="100"><c2c bw="450000" count="1"/>')
            rows.append('<nvlink target="fffffff:ffff:ff" count="18" tclass="0x068000"/>')
            rows.append("</gpu></pci>")
        rows.append('<nic><net name="mlx5_0" speed="400000"/></nic></cpu>')
    return f"<system version='2'>{''.join(rows)}</system>"


def test_machines_that_share_nvswitches_are_joined_by_them(tmp_path: Path) -> None:
    imported = read_nccl_topology(written(tmp_path, grace(3)))
    topology = built(imported)
    assert (topology.shape()["nodes"], imported.summary["devices"]) == (3, 6)
    routes = topology.routes([0], [5])
    names = [topology.link_name(link) for link in routes.link]
    assert names == ["m0.gpu0->nvswitch", "nvswitch->m2.gpu1"]
    assert rates(topology)["m1.gpu1", "nvswitch"] == 900
    # C2C is faster than the PCI Express between the same two.
    assert rates(topology)["m1.gpu1", "m1.cpu0"] == 450
    racks = read_nccl_topology(written(tmp_path, grace(3)), nodes=2)
    assert racks.block["devices_per_node"] == 6
    assert racks.block["description"].startswith("2 nodes, each with 6 ")
    assert built(racks).n_devices == racks.summary["devices"] == 12
    assert {note for note in imported.notes if "joined by NVSwitches" in note}


def test_virtual_machines_name_pci_devices_alone() -> None:
    imported = read("virtual-machine", 2)
    assert imported.summary["devices_per_node"] == 8
    assert imported.block["adapters"] == [f"nic{i}" for i in range(8)]
    assert imported.block["links"]["rail"]["bandwidth"] == "10 Gbit/s"
    topology = built(imported)
    # Two devices and two adapters a switch: each has its own.
    firsts = {topology.link_name(topology.routes([i], [8 + i]).link[1]) for i in range(8)}
    assert firsts == {f"n0.pciswitch{i // 2}->n0.nic{i}" for i in range(8)}
    said = " ".join(imported.notes)
    for word in ("10000 Mbit/s", "0101:00:00.0", "and 4 more", "no NVLink", "order of the file"):
        assert word in said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "iso-8859-1", "ascii"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    text = (DATA / "pcie-two-sockets.xml").read_text()
    stated = encoding.removesuffix("-sig").removesuffix("-le")
    text = text.replace('encoding="UTF-8"', f'encoding="{stated}"')
    raw = text.encode(encoding)
    if encoding == "utf-16-le":
        raw = b"\xff\xfe" + raw
    assert read_nccl_topology(written(tmp_path, raw)).block == read("pcie-two-sockets").block | {
        "source": "NCCL topology file written.xml, and what its links name"
    }


def test_link_counts_of_one_end_and_of_different_ends(tmp_path: Path) -> None:
    link = '<nvlink target="0000:07:00.0" count="1" tclass="0x030200"/>'
    one_end = read_nccl_topology(changed(tmp_path, "dgx1-v100", link, ""))
    assert rates(built(one_end)) == rates(built(read("dgx1-v100")))
    assert any("only one end" in note and "gpu1-gpu0" in note for note in one_end.notes)
    more = read_nccl_topology(changed(tmp_path, "dgx1-v100", link, link.replace('"1"', '"3"')))
    found = rates(built(more))
    assert (found["gpu0", "gpu1"], found["gpu1", "gpu0"]) == (75, 25)
    assert any("different numbers" in note for note in more.notes)


def test_pairs_of_bridged_devices_are_noted(tmp_path: Path) -> None:
    text = (DATA / "pcie-two-sockets.xml").read_text()
    bridge = '<gpu dev="0" sm="80"><nvlink target="0000:04:00.0" count="12" tclass="0x0302"/></gpu>'
    file = written(tmp_path, text.replace('<gpu dev="0" sm="80" rank="0" gdr="1"/>', bridge))
    imported = read_nccl_topology(file)
    assert rates(built(imported))["gpu1", "gpu0"] == 300
    assert any("some GPUs only" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("attributes", "device"),
    [
        ('vendor="0x10de" device="0x2335"', "h200-141gb-sxm"),
        ('vendor="0x10de" device="0x9999"', "h100-80gb-sxm"),
        ("", "h100-80gb-sxm"),
    ],
)
def test_the_pci_device_says_more_than_the_sm(attributes: str, device: str, tmp_path: Path) -> None:
    file = changed(tmp_path, "dgx-h100", 'vendor="0x10de" device="0x2330"', attributes, 8)
    imported = read_nccl_topology(file)
    assert imported.block["device"] == device
    assert any("which GPU it is" in note for note in imported.notes) == ("2335" not in attributes)
    assert read_nccl_topology(file, device=A100).block["device"] == A100


GPU = '<gpu dev="0" sm="90" rank="0" gdr="1">'
LINK = '<nvlink target="0000:07:00.0" count="5" tclass="0x068000"/>'
SPEED = 'link_speed="32.0 GT/s PCIe"'
#: File, what stands in it, what takes its place, code, and a word of the message.
BAD = [
    ("dgx-h100", "</system>", "", "DS122", "no element found"),
    ("dgx-h100", "</nic>", "</nik>", "DS122", "mismatched tag"),
    ("dgx-h100", "<system", "<!DOCTYPE system><system", "DS123", "document type"),
    ("dgx-h100", '"1"', '"&x;"', "DS122", "undefined entity"),
    ("dgx-h100", LINK, LINK.replace('"5"', '"0"'), "DS425", "count"),
    ("dgx-h100", LINK, LINK.replace('"5"', '"-2"'), "DS425", "count"),
    ("dgx-h100", LINK, LINK.replace('"5"', '"2.5"'), "DS425", "count"),
    ("dgx-h100", LINK, LINK.replace(' count="5"', ""), "DS425", "count"),
    ("dgx-h100", LINK, LINK.replace("0x068000", "0x030200"), "DS424", "0000:07:00.0"),
    ("dgx-h100", LINK, LINK.replace('tclass="0x068000"', ""), "DS424", "0000:07:00.0"),
    ("dgx1-v100", '"0000:07:00.0" count', '"0000:06:00.0" count', "DS424", "itself"),
    ("dgx-h100", SPEED, 'link_speed="fast"', "DS425", "fast"),
    ("dgx-h100", SPEED, 'link_speed="nan GT/s"', "DS425", "nan"),
    ("dgx-h100", SPEED, 'link_speed="0 GT/s"', "DS425", "0 GT/s"),
    ("dgx-h100", SPEED, 'link_speed="-8 GT/s"', "DS425", "-8 GT/s"),
    ("dgx-h100", SPEED, 'link_speed="1e9 GT/s"', "DS425", "1e9"),
    ("dgx-h100", 'link_width="16"', 'link_width="x16"', "DS425", "x16"),
    ("dgx-h100", 'link_width="16"', 'link_width="-1"', "DS425", "-1"),
    ("dgx-h100", 'speed="400000"', 'speed="400 Gb"', "DS425", "400 Gb"),
    ("dgx-h100", 'speed="400000"', 'speed="0"', "DS425", "speed of <net>"),
    ("dgx-h100", 'speed="400000"', 'speed="-1"', "DS425", "speed of <net>"),
    ("dgx-h100", 'speed="400000"', 'speed="inf"', "DS425", "inf"),
    ("dgx-h100", 'latency="0.000000"', 'latency="-1"', "DS425", "latency"),
    ("dgx-h100", GPU, GPU.replace('"90"', '"80"'), "DS426", "not all alike"),
    ("dgx-h100", GPU, GPU.replace('"90"', '"ninety"'), "DS425", "ninety"),
    ("mi300x", "0x74a1", "0x74a0", "DS426", "not all alike"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "code", "word"), BAD)
def test_what_cannot_be(
    name: str, old: str, new: str, code: str, word: str, tmp_path: Path
) -> None:
    file = changed(tmp_path, name, old, new)
    if "sm=" in new:  # what the PCI device says comes first
        file.write_text(file.read_text().replace('vendor="0x10de" device="0x2330"', ""))
    with pytest.raises(DistsimError) as caught:
        read_nccl_topology(file)
    error = caught.value
    assert (error.code, word in error.message) == (code, True), error
    assert error.rule and error.fix and code in CODES
    assert error.place is not None and error.place.file == str(file)
    text = file.read_text()
    if code not in ("DS122", "DS426") and new:
        assert error.place.line == text[: text.index(new)].count("\n") + 1


WHOLE: list[tuple[Any, str, str]] = [
    (b"", "DS106", "empty"),
    (b" \n ", "DS106", "empty"),
    (b"\x00\x01", "DS122", "not XML"),
    (b"<html/>", "DS124", "html"),
    (b"<?xml version='1.0' encoding='klingon'?><system/>", "DS122", "encoding"),
    (b"<system>\xff</system>", "DS122", "not XML"),
    (b"<system/>", "DS423", "no GPU"),
    (b"<system><cpu><pci class='0x020000'/></cpu></system>", "DS423", "no GPU"),
    (b"<system><cpu/><pci/><nic><net/></nic></system>", "DS423", "no GPU"),
    (b"<system><cpu><pci><gpu/></pci></cpu></system>", "DS426", "without sm"),
    (b"<system><cpu><pci><gpu sm='61'/></pci></cpu></system>", "DS426", "sm 61"),
    (b"<system><cpu><pci><gpu gcn='gfx90a'/></pci></cpu></system>", "DS426", "gfx90a"),
    (
        b"<system><cpu><pci><gpu sm='80' dev='0'/></pci><pci><gpu sm='80' dev='1'/></pci></cpu>\n"
        b"<pci><gpu sm='80' dev='2'/></pci></system>",
        "DS427",
        "gpu2 has no way to gpu0",
    ),
    (b"<system>" + b"<cpu/>" * 65 + b"<cpu><gpu sm='80'/></cpu></system>", "DS418", "66 CPUs"),
    (b"<!-- " + b"x" * 1_000_000 + b" --><system/>", "DS104", "1000"),
]


@pytest.mark.parametrize(("raw", "code", "word"), WHOLE)
def test_files_that_are_none(raw: bytes, code: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(DistsimError) as caught:
        read_nccl_topology(written(tmp_path, raw))
    assert (caught.value.code, word in caught.value.message) == (code, True), caught.value
    assert caught.value.place is not None and caught.value.rule and caught.value.fix


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none.xml", "DS101"), (tmp_path, "DS102")):
        with pytest.raises(DistsimError) as caught:
            read_nccl_topology(path)
        assert caught.value.code == code


@pytest.mark.parametrize("nodes", [0, -3, 1 << 21])
def test_nodes_out_of_range(nodes: int) -> None:
    with pytest.raises(DistsimError, match="DS405"):
        read("dgx-h100", nodes)


def test_nodes_without_an_adapter(tmp_path: Path) -> None:
    text = "<system><cpu><pci><gpu sm='80'/></pci></cpu><nic><net speed='1'/></nic></system>"
    file = written(tmp_path, text)
    assert built(read_nccl_topology(file)).n_devices == 1
    with pytest.raises(DistsimError, match="DS428"):
        read_nccl_topology(file, nodes=2)


def test_a_device_that_does_not_exist() -> None:
    with pytest.raises(DistsimError, match="DS101"):
        read_nccl_topology(DATA / "dgx-h100.xml", device="h1000")


def test_a_deep_tree_is_read(tmp_path: Path) -> None:
    deep = "<pci>" * 3000 + "<gpu sm='80'/>" + "</pci>" * 3000
    imported = read_nccl_topology(written(tmp_path, f"<system><cpu>{deep}</cpu></system>"))
    assert imported.summary["pci_switches"] == 2999
    assert len(imported.notes) < 10


def test_names_that_yaml_would_read_otherwise(tmp_path: Path) -> None:
    """Adapters keep plain names; others are counted, and none is there twice."""
    names = ["on", "1e9", "mlx5_0", "mlx5_0", "a b", "x: y", "gpu0", "nvswitch", "null", "\u00e9"]
    nets = "".join(f'<net name="{name}" speed="100000"/>' for name in names)
    text = f"<system><cpu><pci><gpu sm='80'/></pci><nic>{nets}</nic></cpu></system>"
    imported = read_nccl_topology(written(tmp_path, text), nodes=2)
    assert imported.block["adapters"] == [
        "on", "nic1", "mlx5_0", "nic3", "nic4", "nic5", "nic6", "nic7", "null", "nic9",
    ]  # fmt: skip
    out = tmp_path / "out.yaml"
    out.write_text(to_yaml(imported))
    assert load_yaml(out)[0] == imported.block
