"""Drawings of topologies: nothing overlaps or is cut, and the counts are those of the graph."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from distsim.errors import DistsimError
from distsim.hardware.bisection import Bisection
from distsim.hardware.catalogue import load_topology, topology_names
from distsim.hardware.header import TooManyDevices
from distsim.hardware.topology import Topology
from distsim.report import topology_plot
from distsim.report.figure import COLOURS
from distsim.report.topology_names import TIMES, strokes_of

#: Of no topology; it is found elsewhere and takes its time.
FOUND = Bisection(1.234e15, 1e15, "formula", 1, (1, 1), [], 1e9, 1e9, 1.25, 3, 1.234e-6, 0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology_plot, "bisection_of", lambda *_: FOUND)


def texts(drawn: Figure) -> list[Text]:
    return [t for t in drawn.findobj(Text) if t.get_visible() and t.get_text()]


def words(drawn: Figure) -> list[str]:
    return [t.get_text() for t in texts(drawn)]


def titles(said: list[str]) -> set[str]:
    """Return the titles of blocks that repeat; the title of the drawing has a colon."""
    return {text for text in said if TIMES in text and ":" not in text}


def check_layout(drawn: Figure) -> None:
    """Check that every text is inside the canvas, readable, and touches no other."""
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts(drawn)]
    assert len(boxes) > 5
    assert min(t.get_fontsize() for t in texts(drawn)) >= 8
    corners = np.array([box.extents for _, box in boxes])
    assert (corners[:, :2] >= 0).all()
    assert (corners[:, 2] <= drawn.bbox.width).all()
    assert (corners[:, 3] <= drawn.bbox.height).all()
    for at, (text, box) in enumerate(boxes):
        for other, other_box in boxes[at + 1 :]:
            assert not box.overlaps(other_box), (text, other)


SIZES = (8, 64, 1024)


def fitting(name: str, devices: int) -> Topology:
    try:
        return load_topology(name, devices)
    except TooManyDevices as error:
        return load_topology(name, error.most)


#: All shipped topologies with 8, 64 and 1,024 devices, or as many as they have below that.
DRAWN = sorted({(name, fitting(name, n).n_devices) for name in topology_names() for n in SIZES})


@pytest.mark.parametrize(("name", "devices"), DRAWN)
@pytest.mark.usefixtures("quick")
def test_no_text_overlaps_and_none_is_cut(name: str, devices: int) -> None:
    check_layout(topology_plot.topology_figure(load_topology(name, devices)))


@pytest.mark.parametrize("name", ["dgx-h100-superpod", "meta-24576xh100"])
def test_sixteen_thousand_devices_fit_a_page(name: str) -> None:
    drawn = topology_plot.topology_figure(load_topology(name, 16384))
    check_layout(drawn)
    assert max(drawn.get_size_inches()) < 17


LINK = {"bandwidth": "10 GB/s", "latency": "1 us"}


def edges(devices: list[str], switches: list[str], pairs: list[tuple[str, str]]) -> Topology:
    links = [
        {"from": a, "to": b, "latency": "1 us", "bandwidth": f"{10 + i % 25} GB/s"}
        for i, (a, b) in enumerate(pairs)
    ]
    block = {"kind": "edges", "device": "some", "devices": devices, "switches": switches}
    return load_topology(block | {"links": links, "description": "word " * 80}, len(devices))


@pytest.mark.filterwarnings("ignore:Glyph .* missing")
@pytest.mark.parametrize("n", [3, 9, 40])
@pytest.mark.usefixtures("quick")
def test_names_that_people_write(n: int) -> None:
    """Long, with dollars and brackets, in other scripts; more classes than there are colours."""
    devices = [f"$x_{{{i}}}$ <accélérateur> & co. 加速器 number {i}" for i in range(n)]
    switches = ["a switch " * 12 + str(i) for i in range(3)]
    pairs = [(device, switches[i % 3]) for i, device in enumerate(devices)]
    pairs += [(switches[0], switches[1]), (switches[1], switches[2])]
    check_layout(topology_plot.topology_figure(edges(devices, switches, pairs)))


@pytest.mark.usefixtures("quick")
def test_devices_joined_at_random() -> None:
    rng = np.random.default_rng(0)
    devices = [f"d{i}" for i in range(30)]
    pairs = {(f"d{i}", f"d{int(rng.integers(i))}") for i in range(1, 30)}
    pairs |= {("d29", "d1"), ("d17", "d3")}
    check_layout(topology_plot.topology_figure(edges(devices, [], sorted(pairs))))


def test_the_title_has_the_bisection() -> None:
    drawn = topology_plot.topology_figure(load_topology("dgx-h100-superpod", 64))
    (facts,) = [text for text in words(drawn) if "bisection" in text]
    assert "bisection 1.6 TB/s one way (closed form)" in facts
    assert "oversubscription 1:1" in facts
    assert "diameter 6 links" in facts


@pytest.mark.usefixtures("quick")
def test_what_repeats_is_drawn_once_with_its_number() -> None:
    said = words(topology_plot.topology_figure(load_topology("dgx-h100-superpod", 16384)))
    assert titles(said) == {f"unit {TIMES} 64", f"node {TIMES} 32"}
    assert sum(re.fullmatch(r"GPU \d", text) is not None for text in said) == 8
    assert {text.strip() for text in said if text.endswith("devices each")} == {
        "32 nodes, 256 devices each",
        "8 devices each",
    }


@pytest.mark.usefixtures("quick")
def test_a_last_unit_that_is_smaller_is_said() -> None:
    said = words(topology_plot.topology_figure(load_topology("dgx-a100-superpod", 1024)))
    assert f"unit {TIMES} 7" in said
    assert any("but 1 of another size" in text for text in said)


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        *[("dgx-h100-superpod", 1024), ("aws-p4d", 512), ("fat-tree-1024xh100-hashed", 1024)],
        *[("mi300x-cluster", 128), ("example-dragonfly", 72), ("pcie-a100-8", 8)],
    ],
)
@pytest.mark.usefixtures("quick")
def test_counts_beside_the_drawing_add_up_to_the_links(name: str, devices: int) -> None:
    """The numbers written beside the bundles of a class sum to its links, each way."""
    topology = load_topology(name, devices)
    drawn = topology_plot.topology_figure(topology)
    counted = 0
    for text in words(drawn):
        match = re.fullmatch(r"[\w ]+ to [\w ]+: (?:.* a \w+, ([\d,]+) in all|([\d,]+))", text)
        if match:
            counted += int((match[1] or match[2]).replace(",", ""))
    assert counted == topology.n_links // 2


@pytest.mark.parametrize("name", ["dgx1-v100", "example-full", "example-ring", "example-torus-2d"])
@pytest.mark.usefixtures("quick")
def test_small_topologies_are_drawn_in_full(name: str) -> None:
    """One box a device; one line a link and direction, or a stub at both ends where it closes."""
    topology = fitting(name, 64 if name == "example-torus-2d" else 16)
    drawn = topology_plot.topology_figure(topology)
    (axes,) = drawn.axes
    boxes = [p for p in axes.patches if type(p).__name__ == "FancyBboxPatch"]
    lines = [p for p in axes.patches if type(p).__name__ == "PathPatch"]
    assert len(boxes) == topology.n_devices
    closing = 16 if name == "example-torus-2d" else 0
    assert len(lines) == topology.n_links // 2 + closing + len(topology.classes)


@pytest.mark.usefixtures("quick")
def test_places_without_a_device_are_left_white() -> None:
    drawn = topology_plot.topology_figure(load_topology("example-torus-2d", 20))
    (axes,) = drawn.axes
    fills = [p.get_facecolor()[:3] for p in axes.patches if type(p).__name__ == "FancyBboxPatch"]
    assert sum(fill == (1, 1, 1) for fill in fills) == 64 - 20


@pytest.mark.usefixtures("quick")
def test_routers_that_no_route_passes_are_counted_not_drawn() -> None:
    said = words(topology_plot.topology_figure(load_topology("example-dragonfly", 8)))
    assert any("not drawn: 32 routers" in text for text in said)
    assert sum(text.startswith("router ") for text in said if "to" not in text) == 4


@pytest.mark.usefixtures("quick")
def test_switches_of_one_name_are_told_apart() -> None:
    """Every rail of a pod has a spine 0 of its own."""
    said = words(topology_plot.topology_figure(load_topology("rail-fat-tree-16384xh100", 1024)))
    spines = [text for text in said if re.fullmatch(r"spine \d.*", text)]
    assert spines == [f"spine {rail}.0" for rail in range(8)]


def test_link_classes_are_told_apart_without_colour_vision() -> None:
    """Seven colours of Okabe and Ito, then other styles of line."""
    pairs = [(f"d{i}", "s") for i in range(20)]
    strokes = strokes_of(edges([a for a, _ in pairs], ["s"], pairs))
    assert len({(stroke.colour, str(stroke.style)) for stroke in strokes}) == 20
    assert {stroke.colour for stroke in strokes} == set(COLOURS)


SCRIPT = """
import sys
from distsim.hardware.catalogue import load_topology
from distsim.report.topology_plot import topology_plot
for name, n in (("dgx-h100-superpod", 64), ("example-dragonfly", 72), ("tpu-v4-cube", 64)):
    sys.stdout.buffer.write(topology_plot(load_topology(name, n), "a.svg"))
"""


def test_the_same_topology_gives_the_same_bytes() -> None:
    out = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert out[0] == out[1]
    assert b"<text" in out[0]  # words stay words
    assert b"20" not in re.findall(rb"<dc:date>(..)", out[0])


@pytest.mark.parametrize(("path", "start"), [("a.svg", b"<?xml"), ("a.png", b"\x89PNG")])
def test_the_ending_decides_the_format(path: str, start: bytes) -> None:
    assert topology_plot.topology_plot(load_topology("dgx-h100", 8), path).startswith(start)


def test_another_ending_is_refused() -> None:
    with pytest.raises(DistsimError) as caught:
        topology_plot.topology_plot(load_topology("dgx-h100", 8), "a.jpg")
    assert caught.value.code == "DS641"


@pytest.mark.usefixtures("quick")
def test_tiers_are_boxes_in_boxes() -> None:
    said = words(topology_plot.topology_figure(load_topology("fat-tree-16384xh100", 2048)))
    assert titles(said) == {
        f"{noun} {TIMES} {n}" for noun, n in (("pod", 2), ("leaf", 32), ("node", 4))
    }
    assert {"core", "aggregation 0", "leaf 0", "NVSwitch"} <= {re.sub(" $", "", t) for t in said}
