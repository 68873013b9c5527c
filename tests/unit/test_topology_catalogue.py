"""Shipped topologies and devices: the page that lists them, numbers taken from others, totals."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from distsim.files import load_yaml, shipped
from distsim.hardware.catalogue import device, load_topology, topology_info, topology_names
from distsim.hardware.registry import KINDS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "topologies.md"
NAMES = topology_names()
carry_over = runpy.run_path(str(ROOT / "benchmarks" / "carry_over.py"))


def table() -> dict[str, list[str]]:
    """Return the cells of each row of the table of shipped topologies, by name."""
    text = PAGE.read_text(encoding="utf-8").split("## Shipped topologies")[1]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_page_lists_the_shipped_topologies_and_no_others() -> None:
    assert sorted(table()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_says_kind_and_device_and_whether_it_is_fitted(name: str) -> None:
    kind, what, of_device, source, fitted = table()[name]
    info = topology_info(name)
    assert (kind, of_device) == (info["kind"], info["device"])
    assert what and source
    data = load_yaml(shipped("topologies", name))[0]
    found = sorted(
        {key for key, entry in carry_over["classes"](data) if "fitted on" in entry["source"]}
    )
    assert fitted == (", ".join(found) or "no"), "classes whose source says: fitted on"


def test_every_kind_has_a_section() -> None:
    headings = re.findall(r"^### `(\w+)`", PAGE.read_text(encoding="utf-8"), flags=re.M)
    assert sorted(headings) == sorted(KINDS)


def test_numbers_that_are_taken_from_another_file_are_its_numbers() -> None:
    found = list(carry_over["taken"]())
    assert len(found) > 60
    wrong = [number for number in found if number.differs]
    assert wrong == [], "run: python benchmarks/carry_over.py --write"


def test_what_a_file_takes_over_is_found_in_its_words() -> None:
    said = "bandwidth: a standard; efficiency: as pcie and rail of a-b together; latency: as c-d"
    found = [match.groupdict() for match in carry_over["TAKEN"].finditer(said)]
    assert found == [
        {"what": "efficiency", "parts": "pcie and rail", "name": "a-b"},
        {"what": "latency", "parts": None, "name": "c-d"},
    ]


@pytest.mark.parametrize("name", ["gb200", "gb300"])
def test_a_rack_of_72_has_the_published_totals(name: str) -> None:
    """NVIDIA GB200 and GB300 NVL72 datasheets: half of the PFLOP/s printed with sparsity."""
    rack = load_topology(f"{name}-nvl72", 72)
    chip = device(rack.device_name)
    peaks = {key: 72 * rate / 1e15 for key, rate in chip.peak_flop_per_s.items()}
    assert peaks["bf16"] == peaks["fp16"] == pytest.approx(360 / 2)
    assert peaks["fp8"] == pytest.approx(720 / 2)
    assert peaks["tf32"] == pytest.approx(180 / 2)
    assert peaks["fp32"] == pytest.approx(5.76)
    assert 72 * chip.memory_bandwidth_bytes_per_s == pytest.approx(576e12)
    memory_tb = {"gb200": 13.4, "gb300": 20.1}[name]
    assert 72 * chip.memory_bytes / 1e12 == pytest.approx(memory_tb, rel=0.01)
    # 130 TB/s of NVLink, both directions together.
    assert 2 * 72 * rack.bandwidth_bytes_per_s[0] == pytest.approx(130e12, rel=0.01)


@pytest.mark.parametrize(
    ("name", "devices", "facts"),
    [
        ("gb200-nvl72-superpod", 576, {"nodes": 8, "units": 1, "nics_per_node": 72}),
        ("dgx2-v100-cluster", 512, {"nodes": 32, "nics_per_node": 8}),
        ("meta-24576xh100", 24576, {"nodes": 3072, "leaves": 1536, "pods": 8}),
        ("fat-tree-1024xh100-hashed", 1024, {"leaves": 32, "spines": 32}),
        ("rail-fat-tree-1024xh100-hashed", 1024, {"leaves": 32, "spines": 32, "units": 4}),
        ("tpu-v4-pod", 4096, {"places": 64 * 64, "diameter_links": 24}),
        ("tpu-v4-3072", 3072, {"places": 48 * 64, "diameter_links": 22}),
        ("tpu-v4-512", 512, {"places": 8 * 64, "diameter_links": 12}),
        ("tpu-v5p-pod", 8960, {"places": 140 * 64, "diameter_links": 32}),
        ("tpu-v5e-pod", 256, {"places": 256, "diameter_links": 16}),
        ("tpu-v5e-64", 64, {"places": 64, "diameter_links": 14}),
    ],
)
def test_a_full_cluster_has_the_published_counts(
    name: str, devices: int, facts: dict[str, int]
) -> None:
    shape = load_topology(name, devices).shape()
    assert {key: shape[key] for key in facts} == facts


def test_the_pods_of_meta_have_full_bisection_and_1_to_7_between_them() -> None:
    """Grattafiori 2024, section 3.3.1."""
    pod, two = (load_topology("meta-24576xh100", 3072 * n).shape() for n in (1, 2))
    assert pod["bisection_bytes_per_s"] == pytest.approx(1536 * 50e9)
    assert two["bisection_bytes_per_s"] == pytest.approx(3072 * 50e9 / 7)


def test_a_torus_dimension_of_a_tpu_closes_only_where_the_vendor_closes_it() -> None:
    """v4 and v5p: whole cubes of 4; v5e: 16."""
    for name in NAMES:
        topology = load_topology(name, 1)
        chip = topology.device_name
        if chip.startswith("tpu"):
            for n, wrap in zip(topology.dims, topology.wrap, strict=True):
                closes = n == 16 if chip == "tpu-v5e" else all(d % 4 == 0 for d in topology.dims)
                assert wrap == closes
