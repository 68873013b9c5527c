"""A drawing of a topology: what repeats once, with counts, and a legend of its links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from distsim.hardware.bisection import bisection_of
from distsim.hardware.blocks import Blocks, blocks_of
from distsim.hardware.reach import Reach, reach_of
from distsim.hardware.topology import Topology
from distsim.report.figure import file_format, rendered
from distsim.report.sheet import (
    FAINT,
    INK,
    NORMAL,
    SMALL,
    TITLE,
    Box,
    Line,
    Sheet,
    fitted,
    missing_glyphs_allowed,
    width_of,
    wrapped,
)
from distsim.report.topology_boxes import BEHIND, BoxLayout
from distsim.report.topology_grid import direct_sheet
from distsim.report.topology_lines import bundles_of, draw_bundles, draw_joints, joints_of
from distsim.report.topology_names import TIMES, Names, Stroke, many, names_of, strokes_of
from distsim.report.topology_pieces import Cell, Frame
from distsim.report.topology_text import bisection_words, ratio
from distsim.units import fmt_bytes_per_s, fmt_s

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARGIN, _NARROWEST, _CLASSES = 0.35, 7.4, 10
_LINE, _STACK, _FRAME = 0.23, 0.05, "#7A7A7A"


def topology_plot(topology: Topology, path: str) -> bytes:
    """Return the drawing as the content of a file of the format of `path`.

    Raises
    ------
    UsageError
        DS640 where matplotlib is not installed, DS641 for another format.
    """
    file_format(path)
    drawn = topology_figure(topology)
    with missing_glyphs_allowed():
        return rendered(drawn, path)


def topology_figure(topology: Topology) -> Figure:
    """Return the drawing of a topology.

    Raises
    ------
    UsageError
        DS640 where matplotlib is not installed.
    """
    reach = reach_of(topology)
    blocks, names, strokes = blocks_of(topology, reach), names_of(reach.ends), strokes_of(topology)
    body, width, height = _body(topology, names, blocks, strokes)
    legend, legend_width, legend_height = _legend(topology, reach, strokes)
    inner = max(width, legend_width, _NARROWEST)
    header, header_height = _header(topology, reach, blocks, names, inner)
    sheet, y = Sheet(), _MARGIN
    sheet.take(legend, _MARGIN, y)
    y += legend_height + 0.3
    sheet.take(body, _MARGIN + (inner - width) / 2, y)
    y += height + 0.3
    sheet.take(header, _MARGIN, y)
    return sheet.figure(inner + 2 * _MARGIN, y + header_height + _MARGIN)


def topology_body(topology: Topology, strokes: Sequence[Stroke]) -> tuple[Sheet, float, float]:
    """Return the drawing without title and legend, and its width and height in inches.

    Parameters
    ----------
    strokes : sequence of Stroke
        How the links of each class are drawn.
    """
    reach = reach_of(topology)
    return _body(topology, names_of(reach.ends), blocks_of(topology, reach), strokes)


def _body(
    topology: Topology, names: Names, blocks: Blocks, strokes: Sequence[Stroke]
) -> tuple[Sheet, float, float]:
    if _is_direct(names, blocks):
        return direct_sheet(topology, names, strokes)
    return _boxed(topology, names, blocks, strokes)


def _is_direct(names: Names, blocks: Blocks) -> bool:
    """Return whether devices are joined to one another without switches."""
    ends = names.ends
    left_out = set(blocks.left_out)
    devices = set(names.roles[: ends.n_devices])
    others = (names.roles[v] for v in range(ends.n_devices, ends.n_vertices) if v not in left_out)
    return len(ends.begin) > 0 and all(role in devices for role in others)


def _boxed(
    topology: Topology, names: Names, blocks: Blocks, strokes: Sequence[Stroke]
) -> tuple[Sheet, float, float]:
    piece = BoxLayout(blocks.root, names.ends, names).piece
    sheet, joints = Sheet(), joints_of(topology, names, piece.cells)
    for depth, frame in enumerate(piece.frames):
        _draw_frame(sheet, frame, depth)
    draw_joints(sheet, joints, strokes)
    for cell in piece.cells:
        _draw_cell(sheet, cell)
    bundles = bundles_of(names, joints)
    x, height = piece.width + 0.35, max(piece.height, 0.9)
    draw_bundles(sheet, topology, names, blocks, bundles, strokes, x, height)
    return sheet.cropped()


def _draw_frame(sheet: Sheet, frame: Frame, depth: int) -> None:
    for shift in (2, 1, 0) if frame.stacked else (0,):
        x, y = frame.x + shift * BEHIND, frame.y - shift * BEHIND
        layer = 1.0 + 0.01 * depth - 0.001 * shift
        sheet.boxes.append(Box(x, y, frame.width, frame.height, edge=_FRAME, layer=layer))
    end = sheet.write(frame.x + 0.14, frame.y + 0.19, frame.title, size=SMALL, bold=True)
    sheet.write(end + 0.15, frame.y + 0.19, frame.note, size=SMALL, colour=FAINT)


def _draw_cell(sheet: Sheet, cell: Cell) -> None:
    if cell.fill == "none":
        y = cell.y + cell.height / 2
        sheet.write(cell.middle, y, cell.text, size=SMALL, align="center", colour=FAINT)
        return
    for shift in (2, 1) if cell.stacked else ():
        x, y, layer = cell.x + shift * _STACK, cell.y + shift * _STACK, 3 - 0.01 * shift
        sheet.boxes.append(Box(x, y, cell.width, cell.height, fill=cell.fill, layer=layer))
    sheet.boxes.append(
        Box(cell.x, cell.y, cell.width, cell.height, cell.text, cell.fill, dashed=cell.ghost)
    )


def _header(
    topology: Topology, reach: Reach, blocks: Blocks, names: Names, width: float
) -> tuple[Sheet, float]:
    """Return the title, the description and the facts, and their height."""
    found = bisection_of(topology, reach)
    nodes = int(topology.node_of.max()) + 1
    title = f"{topology.name}: {topology.n_devices:,} {TIMES} {topology.device_name}"
    facts = [many(nodes, "node"), many(topology.n_links, "directed link")]
    if topology.n_devices > 1:
        facts += [
            bisection_words(found),
            f"oversubscription {ratio(found.oversubscription)}",
            f"diameter {many(found.diameter_links, 'link')}, {fmt_s(found.diameter_s)}",
        ]
    if blocks.left_out:
        roles = {names.roles[v] for v in blocks.left_out}
        noun = roles.pop() if len(roles) == 1 else "vertex"
        facts.append(f"not drawn: {many(len(blocks.left_out), noun)} that no route passes")
    lines = [(line, NORMAL, FAINT) for line in wrapped(topology.description, width)]
    lines += [(line, SMALL, FAINT) for line in _joined(facts, width)]
    sheet, height = Sheet(), 0.36 + _LINE * len(lines)
    sheet.write(0, height - 0.15, fitted(title, width, TITLE, True), size=TITLE, bold=True)
    for at, (line, size, colour) in enumerate(lines):
        sheet.write(0, height - 0.36 - _LINE * (at + 0.5), line, size=size, colour=colour)
    return sheet, height


def _joined(facts: Sequence[str], width: float) -> list[str]:
    """Return facts in lines of a width."""
    lines: list[str] = []
    for fact in facts:
        longer = f"{lines[-1]}  ·  {fact}" if lines else fact
        if lines and width_of(longer, SMALL) <= width:
            lines[-1] = longer
        else:
            lines.append(fitted(fact, width, SMALL))
    return lines


def _legend(
    topology: Topology, reach: Reach, strokes: Sequence[Stroke]
) -> tuple[Sheet, float, float]:
    """Return a table of the link classes, its width and its height."""
    number = np.bincount(topology.link_class, minlength=len(topology.classes)).tolist()
    there = [at for at, n in enumerate(number) if n]
    rows = [("links", "bandwidth", "fitted", "latency", "number")]
    for at in there[:_CLASSES]:
        c = topology.classes[at]
        rows.append(
            (
                fitted(c.name, 1.8, SMALL, True),
                fmt_bytes_per_s(c.bandwidth_bytes_per_s),
                fmt_bytes_per_s(c.capacity_bytes_per_s),
                fmt_s(c.latency_s),
                _number(topology, reach, at, number[at]),
            )
        )
    columns = [max(width_of(row[n], SMALL, True) for row in rows) for n in range(5)]
    rest = len(there) - _CLASSES
    sheet, height = Sheet(), _LINE * (len(rows) + (rest > 0))
    for line, row in enumerate(rows):
        y, x = height - _LINE * (line + 0.5), 0.5
        if line:
            stroke = strokes[there[line - 1]]
            sheet.lines.append(Line([(0, y), (0.36, y)], stroke.colour, stroke.width, stroke.style))
        for n, (text, column) in enumerate(zip(row, columns, strict=True)):
            bold, colour = line > 0 and n == 0, INK if line else FAINT
            style = {"size": SMALL, "bold": bold, "colour": colour}
            if n in (0, 4):
                sheet.write(x, y, text, **style)
            else:
                sheet.write(x + column, y, text, align="right", **style)
            x += column + 0.3
    if rest > 0:
        sheet.write(0.5, _LINE / 2, f"and {many(rest, 'more class')}", size=SMALL, colour=FAINT)
    return sheet, 0.5 + sum(columns) + 1.2, height


def _number(topology: Topology, reach: Reach, link_class: int, number: int) -> str:
    """Return how many links a class has: pairs where each has one the other way."""
    ends, own = reach.ends, topology.link_class == link_class
    forth = ends.begin[own] * ends.n_vertices + ends.end[own]
    back = ends.end[own] * ends.n_vertices + ends.begin[own]
    two_way = bool(np.isin(forth, back).all())
    return f"{number // 2:,} each way" if two_way else f"{number:,} directed"
