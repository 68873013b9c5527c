"""Topologies whose devices are joined to one another, without switches: grids and circles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import cos, pi, sin

from distsim.hardware.topology import Topology
from distsim.report.sheet import FAINT, SMALL, Box, Line, Sheet, fitted, width_of
from distsim.report.topology_boxes import ALL_DRAWN
from distsim.report.topology_lines import Joint, joints_of
from distsim.report.topology_names import Names, Stroke, many
from distsim.report.topology_pieces import Cell

#: Devices up to which a circle has a dot for each, if they have few links; those it has otherwise.
_DOTS, _FEW_LINKS, _ARC = 96, 8, 11
#: Places of a dimension that are drawn, on a flat grid and on one with depth.
_FLAT, _DEEP = 8, 4
_UNUSED = "white"
_STUB, _CLOSING = 0.24, (0, (2, 1.5))


@dataclass(frozen=True, slots=True)
class Axis:
    """A dimension of a grid.

    Attributes
    ----------
    length, stride : int
        Places, and the distance of neighbours in numbers of devices.
    wrap : bool
    places : tuple of int or None
        Those that are drawn; None for a gap.
    dx, dy : float
        From one place to the next, in inches.
    """

    length: int
    stride: int
    wrap: bool
    places: tuple[int | None, ...]
    dx: float
    dy: float

    def note(self, noun: str) -> str:
        """Return what is written beside it."""
        form = "pair" if self.length == 2 else "ring" if self.wrap else "line"
        return f"{many(self.length, noun)} in a {form}"


def direct_sheet(
    topology: Topology, names: Names, strokes: Sequence[Stroke]
) -> tuple[Sheet, float, float]:
    """Return the drawing of a topology without switches, its width and its height in inches."""
    axes = _axes(topology)
    return (
        _grid(topology, names, strokes, axes)
        if len(axes) > 1
        else _circle(topology, names, strokes)
    )


def _axes(topology: Topology) -> list[Axis]:
    """Return the dimensions of more than one place, the one that varies fastest first."""
    strides = [1]
    for length in topology.dims:
        strides.append(strides[-1] * length)
    wraps = topology.wrap or (True,) * len(topology.dims)
    long = [d for d in zip(topology.dims, strides, wraps, strict=False) if d[0] > 1]
    deep = len(long) > 2
    steps = [(1.05, 0.0), (0.0, 0.95), (0.24, 0.21)] if deep else [(0.74, 0.0), (0.0, 0.62)]
    return [
        Axis(length, stride, wrap, _places(length, _DEEP if deep else _FLAT), *step)
        for (length, stride, wrap), step in zip(long, steps, strict=False)
    ]


def _places(length: int, most: int) -> tuple[int | None, ...]:
    if length <= most:
        return tuple(range(length))
    return (*range(most - 1), None, length - 1)


def _grid(
    topology: Topology, names: Names, strokes: Sequence[Stroke], axes: Sequence[Axis]
) -> tuple[Sheet, float, float]:
    """Return a grid; rings are closed by stubs, and places in the middle may be left out."""
    vertex = {name: at for at, name in enumerate(names.ends.names)}
    deep = len(axes) > 2
    size = 0.17 if deep else 0.32
    spots = list(product(*(range(len(axis.places)) for axis in axes)))
    cells: dict[tuple[int, ...], Cell] = {}
    for spot in spots:
        place = [axis.places[at] for axis, at in zip(axes, spot, strict=True)]
        numbers = [p for p in place if p is not None]
        if len(numbers) < len(place):
            continue
        index = sum(p * axis.stride for p, axis in zip(numbers, axes, strict=True))
        own = vertex[topology.device_label(index)]
        fill = names.fill(own) if own < topology.n_devices else _UNUSED
        text = "" if deep else fitted(names.numbers[own], 0.5, SMALL)
        x, y = (sum(at * d for at, d in zip(spot, ds, strict=True)) for ds in _steps(axes))
        width = size if deep else 0.54
        cells[spot] = Cell((own,), text, fill, width, x, y, size)
    sheet = Sheet()
    _grid_lines(sheet, topology, names, strokes, axes, cells)
    _boxes(sheet, list(cells.values()))
    _notes(sheet, names, axes, size)
    return sheet.cropped()


def _notes(sheet: Sheet, names: Names, axes: Sequence[Axis], size: float) -> None:
    """Write how long each dimension is."""
    noun, style = names.roles[0], {"size": SMALL, "colour": FAINT}
    end_x, end_y = (len(a.places) - 1 for a in axes[:2])
    x, y = end_x * axes[0].dx / 2 + size / 2, end_y * axes[1].dy / 2 + size / 2
    sheet.write(x, -0.5, axes[0].note(noun), align="center", **style)
    sheet.write(-0.45, y, axes[1].note(noun), align="right", **style)
    if len(axes) > 2:
        deep = (len(axes[2].places) - 1) / 2
        x = end_x * axes[0].dx + size + deep * axes[2].dx + 0.3
        sheet.write(x, deep * axes[2].dy - 0.3, axes[2].note(noun), **style)
        sheet.write(-0.4, -0.3, names.label(0), align="right", **style)


def _steps(axes: Sequence[Axis]) -> tuple[list[float], list[float]]:
    return [axis.dx for axis in axes], [axis.dy for axis in axes]


def _grid_lines(
    sheet: Sheet,
    topology: Topology,
    names: Names,
    strokes: Sequence[Stroke],
    axes: Sequence[Axis],
    cells: dict[tuple[int, ...], Cell],
) -> None:
    """Draw links between neighbours that are drawn, over gaps, and out at the ends of rings."""
    spots = {id(cell): spot for spot, cell in cells.items()}
    for joint in joints_of(topology, names, list(cells.values())):
        a, b = spots[id(joint.low)], spots[id(joint.high)]
        stroke = strokes[joint.link_class]
        along = next(n for n, (p, q) in enumerate(zip(a, b, strict=True)) if p != q)
        if abs(a[along] - b[along]) == 1:
            _line(sheet, _centre(joint.low), _centre(joint.high), stroke)
        else:
            for spot, way in ((min(a, b), -1), (max(a, b), 1)):
                x, y = _centre(cells[spot])
                reach = _reach(axes[along], cells[spot])
                end = x + way * reach[0], y + way * reach[1]
                sheet.lines.append(Line([(x, y), end], stroke.colour, stroke.width, _CLOSING))
    for spot, cell in cells.items():
        for n in range(len(axes)):
            beyond = (*spot[:n], spot[n] + 2, *spot[n + 1 :])
            if beyond in cells and (*spot[:n], spot[n] + 1, *spot[n + 1 :]) not in cells:
                sheet.lines.append(
                    Line([_centre(cell), _centre(cells[beyond])], FAINT, 1.2, (0, (0.5, 3)))
                )


def _reach(axis: Axis, cell: Cell) -> tuple[float, float]:
    """Return how far a stub goes from the middle of a cell."""
    length = max(abs(axis.dx), abs(axis.dy))
    beyond = (_STUB if cell.text else _STUB / 2) + (cell.width if axis.dx else cell.height) / 2
    return axis.dx / length * beyond, axis.dy / length * beyond


def _centre(cell: Cell) -> tuple[float, float]:
    return cell.middle, cell.y + cell.height / 2


def _line(
    sheet: Sheet, start: tuple[float, float], end: tuple[float, float], stroke: Stroke
) -> None:
    sheet.lines.append(Line([start, end], stroke.colour, stroke.width, stroke.style))


def _boxes(sheet: Sheet, cells: Sequence[Cell]) -> None:
    for cell in cells:
        dashed = cell.fill == _UNUSED
        sheet.boxes.append(
            Box(cell.x, cell.y, cell.width, cell.height, cell.text, cell.fill, dashed=dashed)
        )


def _circle(
    topology: Topology, names: Names, strokes: Sequence[Stroke]
) -> tuple[Sheet, float, float]:
    """Return a circle of all devices, or of the first ones and the last."""
    n, ends = names.ends.n_vertices, names.ends
    few = topology.n_links <= _FEW_LINKS * n
    dots = ALL_DRAWN < n <= _DOTS and few
    elided = n > ALL_DRAWN and not dots
    drawn = [*range(_ARC - 1), n - 1] if elided else list(range(n))
    slots = _ARC + 1 if elided else n
    pitch = 0.3 if dots else 0.95
    radius = max(1.25, slots * pitch / (2 * pi))
    cells = []
    for at, own in enumerate(drawn):
        slot = slots - 1 if elided and at == len(drawn) - 1 else at
        text = "" if dots else names.label(own)
        width = 0.15 if dots else max(width_of(text, SMALL) + 0.14, 0.56)
        height = 0.15 if dots else 0.32
        x, y = _on_circle(slot, slots, radius)
        fill = names.fill(own) if own < ends.n_devices else _UNUSED
        cells.append(Cell((own,), text, fill, width, x - width / 2, y - height / 2, height))
    sheet = Sheet()
    joints = joints_of(topology, names, cells)
    beside: dict[tuple[int, int], int] = {}
    for joint in joints:
        key = id(joint.low), id(joint.high)
        at = beside[key] = beside.get(key, -1) + 1
        _chord(sheet, joint, strokes, at)
    _boxes(sheet, cells)
    if elided:
        gap = [_on_circle(_ARC - 1 + 0.5 * (k - 2), slots, radius) for k in range(1, 4)]
        sheet.boxes += [Box(x - 0.03, y - 0.03, 0.06, 0.06, "", FAINT, FAINT) for x, y in gap]
        text = f"{n - len(drawn):,} more"
        sheet.write(0.0, -radius - 0.55, text, size=SMALL, colour=FAINT, align="center")
    if dots:
        for at in range(0, n, -(-n // 8)):
            x, y = _on_circle(at, n, radius + 0.42)
            sheet.write(x, y, names.label(at), size=SMALL, colour=FAINT, align="center")
    return sheet.cropped()


def _on_circle(at: float, slots: int, radius: float) -> tuple[float, float]:
    """Return a place on a circle, clockwise from the top."""
    angle = pi / 2 - 2 * pi * at / slots
    return radius * cos(angle), radius * sin(angle)


def _chord(sheet: Sheet, joint: Joint, strokes: Sequence[Stroke], at: int) -> None:
    (x0, y0), (x1, y1) = _centre(joint.low), _centre(joint.high)
    shift = 0.05 * at
    _line(sheet, (x0 + shift, y0), (x1 + shift, y1), strokes[joint.link_class])
