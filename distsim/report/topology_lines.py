"""Links between the boxes of a topology, and what is said about them beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import hypot

import numpy as np

from distsim.hardware.blocks import Block, Blocks
from distsim.hardware.topology import Topology
from distsim.report.sheet import FAINT, SMALL, Line, Sheet, fitted
from distsim.report.topology_boxes import arc_height
from distsim.report.topology_names import Names, Stroke
from distsim.report.topology_pieces import Cell
from distsim.units import fmt_bytes_per_s

#: Height of what is said about one bundle of links, and its greatest width.
_ROW, _WIDEST = 0.42, 3.6
#: Width of cells that fill their row.
_WIDE = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """The links of one class between two cells.

    Attributes
    ----------
    low, high : Cell
    link_class : int
    way : int
        1 for links that lead up only, -1 down only, 0 both.
    pair : (int, int)
        Vertices of one of them, the lower first.
    """

    low: Cell
    high: Cell
    link_class: int
    way: int
    pair: tuple[int, int]


@dataclass(slots=True, eq=False)
class Bundle:
    """Links of one class between vertices of two roles, and where they are drawn."""

    first: Joint
    heights: list[float] = field(default_factory=list)


def joints_of(topology: Topology, names: Names, cells: Sequence[Cell]) -> list[Joint]:
    """Return the links between cells, one for each two cells and class."""
    ends, at = names.ends, np.full(names.ends.n_vertices, -1)
    for number, cell in enumerate(cells):
        at[list(cell.vertices)] = number
    first, second = at[ends.begin], at[ends.end]
    there = np.flatnonzero((first >= 0) & (second >= 0) & (first != second))
    found: dict[tuple[int, int, int], int] = {}
    for link in there.tolist():
        key = int(first[link]), int(second[link]), int(topology.link_class[link])
        found.setdefault(key, link)
    joints = []
    for (a, b, c), link in found.items():
        rises = (cells[a].y, a) < (cells[b].y, b)
        both = (b, a, c) in found
        if both and not rises:
            continue
        pair = int(ends.begin[link]), int(ends.end[link])
        low, high = (cells[a], cells[b]) if rises else (cells[b], cells[a])
        way = 0 if both else 1 if rises else -1
        joints.append(Joint(low, high, c, way, pair if rises else pair[::-1]))
    return joints


def draw_joints(sheet: Sheet, joints: Sequence[Joint], strokes: Sequence[Stroke]) -> None:
    """Draw links as lines: straight between rows, as arcs within one."""
    beside: dict[tuple[int, int], int] = {}
    number: dict[tuple[int, int], int] = {}
    for joint in joints:
        key = id(joint.low), id(joint.high)
        number[key] = number.get(key, 0) + 1
    rows = _rows([cell for joint in joints for cell in (joint.low, joint.high)])
    sideways = _sideways(joints)
    for joint in joints:
        key = id(joint.low), id(joint.high)
        at = beside[key] = beside.get(key, -1) + 1
        shift = 0.1 * (at - (number[key] - 1) / 2) + sideways[id(joint)]
        stroke = strokes[joint.link_class]
        points = _points(joint, shift, rows)
        sheet.lines.append(
            Line(points, stroke.colour, stroke.width, stroke.style, curved=len(points) == 3)
        )
        if joint.way:
            sheet.lines += _arrow(points if joint.way > 0 else points[::-1], stroke)


def _sideways(joints: Sequence[Joint]) -> dict[int, float]:
    """Return how far to move lines that would lie on one another, from one wide cell to others."""
    out = dict.fromkeys(map(id, joints), 0.0)
    of_low: dict[int, list[Joint]] = {}
    for joint in joints:
        if min(joint.low.width, joint.high.width) > _WIDE and joint.low.y < joint.high.y:
            of_low.setdefault(id(joint.low), []).append(joint)
    for upwards in of_low.values():
        heights = sorted({joint.high.y for joint in upwards})
        for joint in upwards:
            out[id(joint)] = 0.5 * (heights.index(joint.high.y) - (len(heights) - 1) / 2)
    return out


def _rows(cells: Sequence[Cell]) -> dict[int, int]:
    """Return the place of each cell among those of its height."""
    by_height: dict[float, list[Cell]] = {}
    for cell in {id(cell): cell for cell in cells}.values():
        by_height.setdefault(round(cell.y, 6), []).append(cell)
    return {
        id(cell): at
        for row in by_height.values()
        for at, cell in enumerate(sorted(row, key=lambda c: c.x))
    }


def _points(joint: Joint, shift: float, rows: dict[int, int]) -> list[tuple[float, float]]:
    low, high = joint.low, joint.high
    if abs(low.y - high.y) < 1e-6:
        left, right = sorted((low, high), key=lambda cell: cell.x)
        span = rows[id(right)] - rows[id(left)]
        if span == 1:
            y = left.y + left.height / 2 + shift
            return [(left.x + left.width, y), (right.x, y)]
        rise = 2 * arc_height(span) - 0.08
        y, peak = (low.y, low.y - rise) if low.hangs else (low.y + low.height, low.y + rise)
        top = (left.middle + right.middle) / 2 + shift, peak
        return [(left.middle, y), top, (right.middle, y)]
    start = _inside(low, high.middle) if low.width > high.width else low.middle
    end = _inside(high, low.middle) if high.width > low.width else high.middle
    return [(start + shift, low.y + low.height), (end + shift, high.y)]


def _inside(cell: Cell, x: float) -> float:
    return min(max(x, cell.x + 0.1), cell.x + cell.width - 0.1)


def _arrow(points: Sequence[tuple[float, float]], stroke: Stroke) -> list[Line]:
    """Return the two strokes of an arrowhead at the end of a line."""
    (x0, y0), (x1, y1) = points[-2:]
    length = hypot(x1 - x0, y1 - y0) or 1.0
    dx, dy = 0.1 * (x1 - x0) / length, 0.1 * (y1 - y0) / length
    wings = ((x1 - dx - side * dy / 2, y1 - dy + side * dx / 2) for side in (1, -1))
    return [Line([wing, (x1, y1)], stroke.colour, stroke.width) for wing in wings]


def bundles_of(names: Names, joints: Sequence[Joint]) -> list[Bundle]:
    """Return the bundles of links that are drawn, from top to bottom."""
    found: dict[tuple[int, int, str, str], Bundle] = {}
    for joint in joints:
        first, second = (names.roles[vertex] for vertex in joint.pair)
        key = joint.link_class, joint.way, first, second
        bundle = found.setdefault(key, Bundle(joint))
        low, high = joint.low, joint.high
        flat = abs(low.y - high.y) < 1e-6
        edge = low.y if low.hangs else low.y + low.height
        bundle.heights.append(edge if flat else (low.y + low.height + high.y) / 2)
    return sorted(found.values(), key=lambda b: (-max(b.heights), b.first.link_class))


def draw_bundles(
    sheet: Sheet,
    topology: Topology,
    names: Names,
    blocks: Blocks,
    bundles: Sequence[Bundle],
    strokes: Sequence[Stroke],
    x: float,
    height: float,
) -> None:
    """Write what each bundle is beside the drawing, from x on, at the height where it is drawn.

    Where there is no room for all, those of the fewest links are left to the legend.
    """
    counted = [(bundle, *_counted(topology, names, blocks, bundle)) for bundle in bundles]
    room = max(int(height / _ROW), 1)
    most = sorted(range(len(counted)), key=lambda at: -counted[at][1])[:room]
    chosen = [counted[at] for at in sorted(most)]
    top = height
    for left, (bundle, _, text) in enumerate(chosen):
        lowest = _ROW * (len(chosen) - left - 0.5)
        y = max(min(sum(bundle.heights) / len(bundle.heights), top - _ROW / 2), lowest)
        top = y - _ROW / 2
        stroke, c = strokes[bundle.first.link_class], topology.classes[bundle.first.link_class]
        sheet.lines.append(
            Line([(x, y + 0.08), (x + 0.32, y + 0.08)], stroke.colour, stroke.width, stroke.style)
        )
        each = "one way" if bundle.first.way else "each way"
        rate = f"{fmt_bytes_per_s(c.bandwidth_bytes_per_s)} {each}"
        name = fitted(c.name, 1.4, SMALL, True)
        end = sheet.write(x + 0.42, y + 0.08, name, size=SMALL, bold=True)
        sheet.write(end + 0.08, y + 0.08, rate, size=SMALL)
        sheet.write(x + 0.42, y - 0.1, fitted(text, _WIDEST, SMALL), size=SMALL, colour=FAINT)


def _counted(topology: Topology, names: Names, blocks: Blocks, bundle: Bundle) -> tuple[int, str]:
    """Return the number of links of a bundle in all blocks, and a text that says it."""
    ends, joint = names.ends, bundle.first
    low, high = (names.roles[vertex] for vertex in joint.pair)
    roles = np.array(names.roles)
    roles[list(blocks.left_out)] = ""
    begin, end = roles[ends.begin], roles[ends.end]
    own = topology.link_class == joint.link_class
    up, down = own & (begin == low) & (end == high), own & (begin == high) & (end == low)
    forth = ends.begin[own] * ends.n_vertices + ends.end[own]
    back = ends.end[own] * ends.n_vertices + ends.begin[own]
    two_way = np.zeros(topology.n_links, dtype=bool)
    two_way[own] = np.isin(forth, back)
    if joint.way == 0:
        total = int(((up | down) & two_way).sum()) // 2
    else:
        total = int(((up if joint.way > 0 else down) & ~two_way).sum())
    # A device comes first, a link that leads one way begins where it begins.
    downwards = joint.way < 0 or (joint.way == 0 and joint.pair[1] < topology.n_devices)
    text = f"{high} to {low}: " if downwards else f"{low} to {high}: "
    noun, like, both = _below(names, blocks.root, joint.pair)
    per, rest = divmod(total * (2 if both else 1), len(like))
    if len(like) > 1 and not rest and len({block.signature for block in like}) == 1:
        return total, f"{text}{per:,} a {noun}, {total:,} in all"
    return total, f"{text}{total:,}"


def _below(names: Names, root: Block, pair: tuple[int, int]) -> tuple[str, list[Block], bool]:
    """Return the largest block with one end of a link alone, else the one with both.

    Returns
    -------
    str, list of Block, bool
        Its noun, the blocks at its depth, and whether both ends are in such ones.
    """
    paths = [list(_path(root, vertex)) for vertex in pair]
    depth = 0
    for first, second in zip(paths[0][1:], paths[1][1:], strict=False):
        if first is not second:
            break
        depth += 1
    apart = [len(path) > depth + 1 for path in paths]
    inside = paths[0] if apart[0] or not apart[1] else paths[1]
    depth += any(apart)
    noun = ""
    for block in inside[1 : depth + 1]:
        noun = names.noun(block, noun)
    return noun, list(_at_depth(root, depth)), all(apart)


def _path(block: Block, vertex: int) -> Iterator[Block]:
    """Return the blocks around a vertex, from the outermost on; nothing where it is not inside."""
    if vertex in block.own or vertex in block.devices:
        yield block
        return
    for inner in block.inner:
        rest = list(_path(inner, vertex))
        if rest:
            yield block
            yield from rest
            return


def _at_depth(block: Block, depth: int) -> Iterator[Block]:
    if depth == 0:
        yield block
    else:
        for inner in block.inner:
            yield from _at_depth(inner, depth - 1)
