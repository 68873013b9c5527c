"""Whatever an NCCL topology file holds, the answer is a topology that loads or one error."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distsim.errors import CODES, DistsimError
from distsim.hardware.catalogue import load_topology
from distsim.scenario.importers.nccl_topology import read_nccl_topology, to_yaml
from distsim.scenario.importers.nccl_xml import KNOWN
from distsim.yamlparse import parse_yaml

DATA = Path(__file__).parents[1] / "data" / "nccl"
TEXTS = [file.read_bytes() for file in sorted(DATA.glob("*.xml"))]
PIECES = (
    b"<", b">", b"/>", b'"', b"</cpu>", b"<pci>", b"</pci>", b"<gpu/>", b"<cpu>", b"&amp;", b"&x;",
    b"<!-- ", b"-->", b"<![CDATA[", b"]]>", b"<!DOCTYPE x>", b"<?xml encoding='utf-7'?>", b"\x00",
    b"\xff", b"\xef\xbb\xbf", b'sm="100"', b'count="0"', b'speed="-1"', b"0x068000", b"nan",
    b"1e99", b"arm64", b'host_hash="7"', b'class="0x03"', b'dev="3"', b' target=""', b"GT/s", b"\n",
)  # fmt: skip
SOME_BYTES = st.sampled_from(PIECES) | st.binary(max_size=6)


def check(raw: bytes, nodes: int, device: str | None) -> None:
    """Read a file; what comes back loads, is written, and is read again as it was."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        file.write(raw)
        file.flush()
        try:
            imported = read_nccl_topology(file.name, nodes=nodes, device=device)
        except DistsimError as error:
            assert error.code in CODES
            assert error.rule and error.fix and error.place is not None
            assert len(str(error)) < 2000
            return
    count = imported.summary["devices"]
    topology = load_topology(imported.block, min(count, 64))
    assert topology.routes([0], [topology.n_devices - 1]).ptr[-1] >= (topology.n_devices > 1)
    data, _ = parse_yaml(to_yaml(imported), "out.yaml")
    assert data == imported.block
    assert len(imported.notes) < 60 and all(len(note) < 1000 for note in imported.notes)


NODES = st.sampled_from((1, 2, 3))
DEVICES = st.sampled_from((None, "a100-80gb-sxm", "mi300x"))
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(st.binary(max_size=200), NODES)
def test_any_bytes(raw: bytes, nodes: int) -> None:
    check(raw, nodes, None)


@FUZZ
@given(st.data(), NODES, DEVICES)
def test_a_mutated_file(data: st.DataObject, nodes: int, device: str | None) -> None:
    raw = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(raw)))
        end = min(len(raw), begin + data.draw(st.integers(0, 30)))
        raw = raw[:begin] + data.draw(SOME_BYTES) + raw[end:]
    check(raw, nodes, device)


VALUES = st.sampled_from(
    ["", "0", "1", "2", "80", "90", "100", "gfx942", "0x068000", "0x068001", "0x030200", "0x020000",
     "0000:01:00.0", "0000:02:00.0", "8 GT/s", "64.0 GT/s PCIe", "Unknown", "16", "100000", "1e-9",
     "arm64", "x86_64", "AuthenticAMD", "GenuineIntel", "mlx5_0", "on", "-1", "nan", "1_0",
     "\u0661"]
)  # fmt: skip
TAGS = ("cpu", "pci", "gpu", "nvlink", "xgmi", "c2c", "nic", "net", "other")


@st.composite
def elements(draw: st.DrawFn, depth: int = 5) -> str:
    """Draw an element of any tag with any attributes that some element has."""
    tag = draw(st.sampled_from(TAGS))
    known = sorted(KNOWN.get(tag, frozenset({"other"})))
    keys = draw(st.lists(st.sampled_from(known), unique=True, max_size=5)) if known else []
    attributes = "".join(f" {key}={quoteattr(draw(VALUES))}" for key in keys)
    inner = draw(st.lists(elements(depth - 1), max_size=4)) if depth else []
    return f"<{tag}{attributes}>{''.join(inner)}</{tag}>"


@settings(FUZZ, max_examples=200)
@given(st.lists(elements(), max_size=4), NODES, DEVICES)
def test_elements_in_any_order(inner: list[str], nodes: int, device: str | None) -> None:
    check(f"<system version='2'>{''.join(inner)}</system>".encode(), nodes, device)


def change(data: st.DataObject, elements: list[ElementTree.Element]) -> None:
    """Change an attribute of an element, or put a copy of it elsewhere, or take its inside out."""
    element = data.draw(st.sampled_from(elements))
    action = data.draw(st.sampled_from(("set", "set", "drop", "copy", "empty")))
    if action == "copy":
        data.draw(st.sampled_from(elements)).append(deepcopy(element))
    elif action == "empty":
        element[:] = []
    elif element.attrib:
        key = data.draw(st.sampled_from(sorted(element.attrib)))
        if action == "set":
            element.set(key, data.draw(VALUES))
        else:
            del element.attrib[key]


@settings(FUZZ, max_examples=300)
@given(st.data(), NODES, DEVICES)
def test_a_file_with_elements_and_attributes_changed(
    data: st.DataObject, nodes: int, device: str | None
) -> None:
    root = ElementTree.fromstring(data.draw(st.sampled_from(TEXTS)))
    for _ in range(data.draw(st.integers(1, 6))):
        change(data, list(root.iter()))
    check(ElementTree.tostring(root), nodes, device)
