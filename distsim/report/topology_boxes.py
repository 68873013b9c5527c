"""A topology as boxes in boxes: one of each kind in full, and how many there are of it.

Devices stand in a row. Switches that lead out of a block stand above it, those that join its
devices alone below it. Where blocks repeat, the first is drawn and the others lie behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distsim.hardware.blocks import Block
from distsim.hardware.vertices import Ends
from distsim.report.sheet import SMALL, fitted, width_of
from distsim.report.topology_names import TIMES, Names, many
from distsim.report.topology_pieces import HEIGHT, Cell, Frame, Piece

#: Devices up to which every block is drawn, cells of a row, and kinds of blocks side by side.
ALL_DRAWN, _ROW, _KINDS = 16, 12, 3
_PAD, _SPACE, _TITLE = 0.16, 0.12, 0.3
_GAP, _WIDEST = 0.55, 1.4
#: Of blocks that lie behind another.
BEHIND = 0.07


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A block of those that are drawn.

    Attributes
    ----------
    block : Block
    times : int
        How many there are that hold the same, itself included.
    index : int
    others : int
        How many hold another number of the same.
    """

    block: Block
    times: int
    index: int
    others: int = 0

    @property
    def total(self) -> int:
        """How many there are of its kind."""
        return self.times + self.others


def shown_inner(block: Block) -> list[Shown]:
    """Return the inner blocks that are drawn: all of a few, else the most frequent of each kind.

    Those that differ in numbers alone, as a last unit that is partly used, are of one kind.
    """
    if block.size <= ALL_DRAWN:
        return [Shown(inner, 1, at) for at, inner in enumerate(block.inner)]
    kinds: dict[frozenset[str], list[int]] = {}
    for at, inner in enumerate(block.inner):
        kinds.setdefault(inner.roles, []).append(at)
    found = []
    for places in kinds.values():
        number = Counter(block.inner[at].signature for at in places)
        most, times = max(number.items(), key=lambda item: item[1])
        first = next(at for at in places if block.inner[at].signature == most)
        found.append(Shown(block.inner[first], times, first, len(places) - times))
    return sorted(found, key=lambda s: (-s.times * s.block.size, s.index))[:_KINDS]


class BoxLayout:
    """Lays out the blocks of a topology.

    Parameters
    ----------
    root : Block
    ends : Ends
    names : Names
    """

    def __init__(self, root: Block, ends: Ends, names: Names) -> None:
        self.ends, self.names = ends, names
        self.neighbours = _neighbours(ends, _drawn_vertices(root))
        self.piece = self._block(Shown(root, 1, 0), "", root=True)

    def _block(self, shown: Shown, above: str, *, root: bool = False) -> Piece:
        block = shown.block
        noun = "" if root else self.names.noun(block, above)
        inner = shown_inner(block)
        middle = self._inner(block, inner, noun) if inner else self._devices(block)
        everything = set(_vertices(block))
        tiers = self._tiers(block, everything)
        below = self._below(tiers, everything, root=root)
        upper, lower = self._rows(tiers, below, upper=True), self._rows(tiers, below, upper=False)
        ghost = self._ghost(block, inner, noun)
        upper += [[ghost]] if ghost else []
        titled = not root and (block.node >= 0 or shown.total > 1 or len(block.own) != 1)
        title, note = self._title(shown, noun)
        inside = max(
            middle.width,
            *(sum(c.width + _SPACE for c in row) - _SPACE for row in (*upper, *lower)),
            width_of(title, SMALL, True) + width_of(note, SMALL) + 0.2 if titled else 0.0,
            0.0,
        )
        piece = self._pile(middle, upper, lower, inside)
        return self._framed(piece, title, note, shown.total > 1) if titled else piece

    def _devices(self, block: Block) -> Piece:
        """Return the row of devices of a block, without the middle ones where there are many."""
        drawn: list[int | None] = list(block.devices)
        if len(drawn) > ALL_DRAWN:
            drawn = [*block.devices[:6], None, block.devices[-1]]
        cells = [
            Cell((), f"… {len(block.devices) - 7:,} more …", "none", 0.0, ghost=True)
            if device is None
            else self._cell((device,))
            for device in drawn
        ]
        for cell in cells:
            cell.width = cell.width or width_of(cell.text, SMALL) + 0.1
        piece = Piece(height=HEIGHT)
        for cell in cells:
            cell.x = piece.width
            piece.width += cell.width + _SPACE
        piece.cells, piece.width = cells, max(piece.width - _SPACE, 0.0)
        return piece

    def _cell(self, vertices: tuple[int, ...]) -> Cell:
        first = vertices[0]
        names = self.names
        text = names.label(first) if len(vertices) == 1 else many(len(vertices), names.roles[first])
        text = fitted(text, _WIDEST, SMALL)
        return Cell(vertices, text, names.fill(first), max(width_of(text, SMALL) + 0.14, 0.56))

    def _tell_apart(self, row: Sequence[Cell]) -> None:
        """Give cells of the same name the number of what they are part of, too."""
        number = Counter(cell.text for cell in row)
        for cell in row:
            if number[cell.text] > 1 and not cell.stacked:
                cell.text = fitted(self.names.full_label(cell.vertices[0]), _WIDEST, SMALL)
                cell.width = max(width_of(cell.text, SMALL) + 0.14, 0.56)

    def _inner(self, block: Block, inner: Sequence[Shown], noun: str) -> Piece:
        pieces = [self._block(shown, noun) for shown in inner]
        row = Piece(height=max(piece.height for piece in pieces))
        joined = self._spans([c for p in pieces for c in _top(p)])
        between = 0.36 if joined else 2 * _SPACE if any(p.frames for p in pieces) else _SPACE
        for piece in pieces:
            # Upper edges meet: there they are joined to what is above.
            row.add(piece, row.width, row.height - piece.height)
            row.width += piece.width + between
        row.width -= between
        row.height += self._arcs([c for p in pieces for c in _top(p)]) if row.frames else 0.0
        return row

    def _arcs(self, cells: Sequence[Cell]) -> float:
        """Return the room that arcs between cells of the same height need."""
        return max(map(arc_height, self._spans(cells)), default=0.0)

    def _spans(self, cells: Sequence[Cell]) -> list[int]:
        """Return how many places apart cells are that are joined and of the same height."""
        rows: dict[float, list[Cell]] = {}
        for cell in cells:
            rows.setdefault(cell.y, []).append(cell)
        spans = []
        for row in rows.values():
            ordered = enumerate(sorted(row, key=lambda cell: cell.x))
            order = {vertex: at for at, cell in ordered for vertex in cell.vertices}
            pairs = ((order[u], v) for u in order for v in self.neighbours.get(u, ()))
            spans += [abs(order[v] - at) for at, v in pairs if v in order]
        return [span for span in spans if span]

    def _tiers(self, block: Block, everything: set[int]) -> dict[str, tuple[int, list[int]]]:
        """Return for each role of a block's own vertices its distance from devices, and them."""
        own, seen = set(block.own), everything - set(block.own)
        distance: dict[int, int] = {}
        edge, step = seen, 0
        while edge:
            step += 1
            edge = {v for u in edge for v in self.neighbours.get(u, ()) if v in own} - seen
            seen = seen | edge
            distance |= dict.fromkeys(edge, step)
        tiers: dict[str, tuple[int, list[int]]] = {}
        for vertex in block.own:
            name, far = self.names.roles[vertex], distance.get(vertex, step)
            before, members = tiers.get(name, (far, []))
            tiers[name] = min(before, far), [*members, vertex]
        return tiers

    def _below(
        self, tiers: dict[str, tuple[int, list[int]]], everything: set[int], *, root: bool
    ) -> set[str]:
        """Return the roles that join devices alone, where others lead on."""
        inside = everything - {v for _, members in tiers.values() for v in members}
        closed = {
            name
            for name, (tier, members) in tiers.items()
            if tier == 1 and all(v in inside for u in members for v in self.neighbours.get(u, ()))
        }
        leads = not root and any(
            v not in everything for u in inside for v in self.neighbours.get(u, ())
        )
        return closed if leads or len(closed) < len(tiers) else set()

    def _rows(
        self, tiers: dict[str, tuple[int, list[int]]], below: set[str], *, upper: bool
    ) -> list[list[Cell]]:
        """Return rows of cells from the devices outwards."""
        rows: dict[int, list[Cell]] = {}
        for name, (tier, members) in tiers.items():
            if (name in below) == upper:
                continue
            row = rows.setdefault(tier, [])
            if len(members) > _ROW or len(row) + len(members) > _ROW:
                row.append(self._cell(tuple(members)))
            else:
                row += [self._cell((vertex,)) for vertex in members]
                self._tell_apart(row)
        return [rows[tier] for tier in sorted(rows)]

    def _ghost(self, block: Block, inner: Sequence[Shown], noun: str) -> Cell | None:
        """Return a cell for the blocks that are not drawn, where links lead to them."""
        drawn = {id(shown.block) for shown in inner}
        hidden = [b for b in block.inner if id(b) not in drawn]
        away = {v for b in hidden for v in _vertices(b)}
        near = {v for shown in inner for v in _vertices(shown.block)}
        if not any(v in away for u in near for v in self.neighbours.get(u, ())):
            return None
        text = many(len(hidden), f"more {self.names.noun(hidden[0], noun)}")
        return Cell(tuple(sorted(away)), text, "white", width_of(text, SMALL) + 0.3, ghost=True)

    def _title(self, shown: Shown, noun: str) -> tuple[str, str]:
        block = shown.block
        title = f"{noun} {TIMES} {shown.total:,}" if shown.total > 1 else f"{noun} {shown.index}"
        note = many(block.size, "device")
        if block.inner:
            note = f"{many(len(block.inner), self.names.noun(block.inner[0], noun))}, {note}"
        elif shown.total == 1:
            return title, ""
        each = " each" if shown.total > 1 else ""
        rest = f", but {shown.others:,} of another size" if shown.others else ""
        return title, f"{note}{each}{rest}"

    def _pile(
        self, middle: Piece, upper: list[list[Cell]], lower: list[list[Cell]], width: float
    ) -> Piece:
        """Return rows one above the other, in the middle of a width."""
        piece, y = Piece(width=width), 0.0
        gap = min(max(_GAP, 0.055 * width), 0.9)
        for row in reversed(lower):
            _spread(row, width, y, self.neighbours, middle.cells)
            piece.cells += row
            y += HEIGHT + gap
        room = 0.0 if middle.frames else self._arcs(middle.cells)
        hangs = not lower and len(middle.cells) == len(_top(middle))
        if room and hangs:
            for cell in middle.cells:
                cell.hangs = True
        y += room if hangs else 0.0
        piece.add(middle, (width - middle.width) / 2, y)
        y += middle.height + (0.0 if hangs else room)
        for row in upper:
            y += gap
            _spread(row, width, y, self.neighbours, piece.cells)
            piece.cells += row
            y += HEIGHT + self._arcs(row)
        piece.height = y
        return piece

    def _framed(self, piece: Piece, title: str, note: str, stacked: bool) -> Piece:
        out = Piece(piece.width + 2 * _PAD, piece.height + _PAD + _TITLE + 0.06)
        out.frames.append(Frame(title, note, stacked, out.width, out.height))
        out.add(piece, _PAD, _TITLE + 0.06)
        if stacked:
            out.shift(0.0, 2 * BEHIND)
            out.width += 2 * BEHIND
            out.height += 2 * BEHIND
        return out


def arc_height(span: int) -> float:
    """Return how far an arc over some cells of a row stands out; neighbours are joined straight."""
    return min(0.1 + 0.1 * span, 0.9) if span > 1 else 0.0


def _spread(
    row: list[Cell],
    width: float,
    y: float,
    neighbours: dict[int, set[int]],
    below: Sequence[Cell],
) -> None:
    """Place cells over a width in the order of the middle one of those that they are joined to.

    A single cell fills the width, if it is joined to several or to one that does.
    """
    place = {vertex: cell.middle for cell in below for vertex in cell.vertices}
    wide = width / 2 < max((c.width for c in below if _touch(row[0], c, neighbours)), default=0.0)
    if len(row) == 1 and (wide or row[0].ghost or len(_joined(row[0], neighbours, place)) > 1):
        row[0].width = width

    def wanted(cell: Cell) -> float:
        found = sorted(_joined(cell, neighbours, place))
        return found[(len(found) - 1) // 2] if found else width

    row.sort(key=wanted)
    space = (width - sum(cell.width for cell in row)) / len(row)
    x = space / 2
    for cell in row:
        cell.x, cell.y = x, y
        x += cell.width + space


def _touch(cell: Cell, other: Cell, neighbours: dict[int, set[int]]) -> bool:
    return any(v in neighbours.get(u, ()) for u in cell.vertices for v in other.vertices)


def _joined(cell: Cell, neighbours: dict[int, set[int]], place: dict[int, float]) -> list[float]:
    return [place[v] for u in cell.vertices for v in neighbours.get(u, ()) if v in place]


def _top(piece: Piece) -> list[Cell]:
    """Return the cells of the upper row of a piece, from left to right."""
    y = max((cell.y for cell in piece.cells), default=0.0)
    return sorted((c for c in piece.cells if c.y > y - 1e-6), key=lambda cell: cell.x)


def _vertices(block: Block) -> Iterator[int]:
    yield from block.devices
    yield from block.own
    for inner in block.inner:
        yield from _vertices(inner)


def _drawn_vertices(block: Block) -> list[int]:
    """Return the vertices of a block and of the inner blocks that are drawn."""
    inner = [v for shown in shown_inner(block) for v in _drawn_vertices(shown.block)]
    return [*block.devices, *block.own, *inner]


def _neighbours(ends: Ends, vertices: Iterable[int]) -> dict[int, set[int]]:
    """Return what each of some vertices is joined to, drawn or not, either way."""
    drawn = np.zeros(ends.n_vertices, dtype=bool)
    drawn[list(vertices)] = True
    out: dict[int, set[int]] = {}
    for own, other in ((ends.begin, ends.end), (ends.end, ends.begin)):
        at = np.flatnonzero(drawn[own])
        for u, v in zip(own[at].tolist(), other[at].tolist(), strict=True):
            out.setdefault(u, set()).add(v)
    return out
