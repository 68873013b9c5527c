"""Links of a topology and what they carry: its drawing, coloured by utilisation, and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from distsim.hardware.topology import Topology
from distsim.prediction.usage import Usage
from distsim.report.html.page import Section, section
from distsim.report.sheet import Sheet
from distsim.report.topology_names import strokes_of
from distsim.report.topology_plot import topology_body
from distsim.store import Same
from distsim.units import fmt_bytes, fmt_bytes_per_s

#: Least utilisation of each colour but the first; the first is for links that carry nothing.
STEPS = (0.0, 0.05, 0.25, 0.5, 0.75)
_PLACES = 3


def network_section(topology: Topology, usage: Usage) -> Section:
    """Return the section with the drawing of a topology and the use of its links."""
    about = (
        "Colours are the utilisation of the busiest link of each class over the step, of its "
        "stated bandwidth: the bytes that it carries over what it could."
    )
    return section(
        "topology",
        "network",
        "Links and what they carry",
        about,
        drawing=_drawing(topology, usage),
        steps=list(STEPS),
        classes=[
            [
                c.name,
                c.links,
                fmt_bytes_per_s(found.bandwidth_bytes_per_s),
                fmt_bytes(c.bytes),
                c.mean_utilisation,
                c.max_utilisation,
                c.busiest,
            ]
            for c, found in zip(usage.classes, topology.classes, strict=True)
            if c.links
        ],
    )


def level(utilisation: float) -> int:
    """Return the number of the colour of a utilisation, 0 where a link carries nothing.

    >>> [level(u) for u in (0.0, 0.01, 0.05, 0.9, 1.2)]
    [0, 1, 2, 5, 5]
    """
    return sum(utilisation > 0.0 if step == 0.0 else utilisation >= step for step in STEPS)


def _drawing(topology: Topology, usage: Usage) -> dict[str, Any]:
    """Return boxes, lines and words in inches, y upwards; lines say the number of their colour."""
    sheet, width, height = _body(Same(topology))
    levels = {f"{at}": level(c.max_utilisation) for at, c in enumerate(usage.classes)}
    return {"width": width, "height": height, **_shapes(sheet, levels)}


@lru_cache(maxsize=4)
def _body(topology: Same) -> tuple[Sheet, float, float]:
    """Return the drawing and its size in inches: made once for all that runs on a topology."""
    found: Topology = topology.of
    strokes = [replace(stroke, colour=f"{at}") for at, stroke in enumerate(strokes_of(found))]
    return topology_body(found, strokes)


def _shapes(sheet: Sheet, levels: Mapping[str, int]) -> dict[str, Any]:
    return {
        "boxes": [
            [*_rounded(b.x, b.y, b.width, b.height), b.text, b.fill, b.dashed, b.layer]
            for b in sorted(sheet.boxes, key=lambda b: b.layer)
        ],
        "lines": [
            [_flat(line.points), levels.get(line.colour, 0), line.width, line.curved]
            for line in sheet.lines
        ],
        "words": [
            [*_rounded(w.x, w.y), w.text, w.size, w.bold, w.align, w.colour]
            for w in sheet.words
            if w.text
        ],
    }


def _rounded(*values: float) -> list[float]:
    return [round(value, _PLACES) for value in values]


def _flat(points: Sequence[tuple[float, float]]) -> list[list[float]]:
    return [_rounded(*point) for point in points]
