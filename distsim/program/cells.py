"""Cells: what a pass of an outline takes, and what it waits for or sends on its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from distsim.program.pattern import CostOf
from distsim.program.pieces import Piece
from distsim.record import record

#: (domain, parameters)
Hooked = tuple[int, float]


class Segment(NamedTuple):
    """A part of a pass, which runs after the one before.

    Attributes
    ----------
    duration_s : float
    gathers, reduces : tuple of (int, float)
        (domain, parameters) that it waits for, or that leave after it.
    """

    duration_s: float
    gathers: tuple[Hooked, ...]
    reduces: tuple[Hooked, ...]


@record
class Cell:
    """A pass that is more than one segment, or that meets gathers or reductions.

    Attributes
    ----------
    segments : tuple of Segment
    arriving, leaving : frozenset of (int, float)
        All that they wait for, and all that leave.
    """

    segments: tuple[Segment, ...]
    arriving: frozenset[Hooked]
    leaving: frozenset[Hooked]


@record
class Leaving:
    """A pass whose gradients leave while it runs on, nothing of which makes it wait.

    Attributes
    ----------
    duration_s : float
    queues : tuple of (int, float, float)
        Of each domain whose gradients leave: its number; what it takes from the beginning of the
        pass to the end of the last reduction, if that of the pass before has ended; what all
        reductions take one after another.
    """

    duration_s: float
    queues: tuple[tuple[int, float, float], ...]


@record
class Arriving:
    """A pass whose parameters arrive while it runs, one segment after another.

    Attributes
    ----------
    domain : int
    segments : tuple of (float, float)
        Of each: what it takes, and what the gather that it waits for takes (negative: none).
    """

    domain: int
    segments: tuple[tuple[float, float], ...]


AnyCell = float | Cell | Leaving | Arriving


def cell_of(pieces: Sequence[Piece], cost_of: CostOf, restart_s: float) -> float | Cell:
    """Return what the pieces of an action take, one after another.

    Parameters
    ----------
    cost_of : callable
        Prices runs of steps.
    restart_s : float
        Time at the start in which the device waits for the host.
    """
    if len(pieces) == 1 and not pieces[0].gathers and not pieces[0].reduces:
        return cost_of(pieces[0].runs).total_s + restart_s
    # Layers alike have the same pieces, and then share their segments.
    known = {
        key: Segment(
            cost_of(p.runs).total_s,
            _amounts(p.gathers) if p.gathers else (),
            _amounts(p.reduces) if p.reduces else (),
        )
        for key, p in {id(p): p for p in pieces}.items()
    }
    each = known.values()
    segments = [known[id(p)] for p in pieces]
    if restart_s:
        segments[0] = segments[0]._replace(duration_s=segments[0].duration_s + restart_s)
    return Cell(
        tuple(segments),
        frozenset([hook for segment in each for hook in segment.gathers]),
        frozenset([hook for segment in each for hook in segment.reduces]),
    )


def in_brief(
    cell: Cell,
    gather_s: Mapping[Hooked, float],
    reduce_s: Mapping[Hooked, tuple[float, ...]] | None,
) -> AnyCell:
    """Say in brief what a cell does; one that cannot be put so stays as it is.

    Parameters
    ----------
    gather_s : mapping
        What its gathers take.
    reduce_s : mapping or None
        What its reductions take; None: something waits for them.
    """
    if cell.arriving:
        return cell if cell.leaving else _arriving(cell, gather_s)
    if reduce_s is None:
        return cell
    ends = list(accumulate([segment.duration_s for segment in cell.segments]))
    queues = []
    for domain in {domain for domain, _ in cell.leaving}:
        takes_s = {hook: sum(reduce_s[hook]) for hook in cell.leaving if hook[0] == domain}
        last = all_s = 0.0
        for end, (_, _, hooks) in zip(ends, cell.segments, strict=True):
            for hook in hooks:
                if hook in takes_s:
                    seconds = takes_s[hook]
                    last = (last if last > end else end) + seconds
                    all_s += seconds
        queues.append((domain, last, all_s))
    return Leaving(ends[-1], tuple(queues))


def _arriving(cell: Cell, gather_s: Mapping[Hooked, float]) -> Cell | Arriving:
    """Say in brief what a cell does whose gathers are of one domain, one a segment."""
    domains = {domain for domain, _ in cell.arriving}
    if len(domains) > 1 or any([len(segment.gathers) > 1 for segment in cell.segments]):
        return cell
    return Arriving(
        domains.pop(),
        tuple(
            [
                (duration, gather_s.get(hooks[0], -1.0) if hooks else -1.0)
                for duration, hooks, _ in cell.segments
            ]
        ),
    )


def gathered(cells: Sequence[float | Cell], domain: int) -> dict[int, list[float]]:
    """Return by number of cell the parameters of a domain that it waits for, one after another."""
    found = {
        number: [a for segment in cell.segments for d, a in segment.gathers if d == domain]
        for number, cell in enumerate(cells)
        if isinstance(cell, Cell)
    }
    return {number: amounts for number, amounts in found.items() if amounts}


def _amounts(hook: tuple[float, ...]) -> tuple[Hooked, ...]:
    return tuple([(d, a) for d, a in enumerate(hook) if a])


__all__ = [
    "AnyCell",
    "Arriving",
    "Cell",
    "Hooked",
    "Leaving",
    "Segment",
    "cell_of",
    "gathered",
    "in_brief",
]
