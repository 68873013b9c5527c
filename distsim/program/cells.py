"""Cells: what a pass of an outline takes, and what it waits for or sends on its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from distsim.program.pattern import Pattern
from distsim.record import record
from distsim.store import OfEach, Same

#: (domain, parameters)
Hooked = tuple[int, float]


class Segment(NamedTuple):
    """One entry of a pass.

    Attributes
    ----------
    duration_s : float
    after : tuple of int
        Offsets of the entries that it waits for; what reaches before the first is the last entry
        of the pass before.
    gathers, reduces : tuple of (int, float)
        (domain, parameters) that it waits for, or that leave after it.
    """

    duration_s: float
    after: tuple[int, ...]
    gathers: tuple[Hooked, ...]
    reduces: tuple[Hooked, ...]


@record
class Cell:
    """A pass that is more than one segment, or that meets gathers or reductions.

    Attributes
    ----------
    segments : tuple of Segment
    straight : bool
        Each waits for the one before, and for no other.
    arriving, leaving : frozenset of (int, float)
        All that they wait for, and all that leave.
    """

    segments: tuple[Segment, ...]
    straight: bool
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


@lru_cache(maxsize=4096)
def cells_of(patterns: Same) -> list[float | Cell]:
    """Return what the patterns of a stage take, none of which has collectives of its own."""
    every: Sequence[Pattern] = patterns.of
    known: dict[int, float | Cell] = {}
    for pattern in every:
        if id(pattern) not in known:
            known[id(pattern)] = _CELLS.get(pattern, _cell)
    return [known[id(pattern)] for pattern in every]


_CELLS = OfEach(8192)


def _cell(pattern: Pattern) -> float | Cell:
    if len(pattern) == 1 and not pattern[0].gathers and not pattern[0].reduces:
        return pattern[0].cost.total_s
    # Layers alike share their entries.
    known = {
        key: Segment(
            e.cost.total_s,
            e.after,
            _amounts(e.gathers) if e.gathers else (),
            _amounts(e.reduces) if e.reduces else (),
        )
        for key, e in {id(e): e for e in pattern}.items()
    }
    each = known.values()
    return Cell(
        tuple([known[id(e)] for e in pattern]),
        all([segment.after == (-1,) for segment in each]),
        frozenset([hook for segment in each for hook in segment.gathers]),
        frozenset([hook for segment in each for hook in segment.reduces]),
    )


def in_brief(
    cell: Cell,
    gather_s: Mapping[Hooked, float],
    reduce_s: Mapping[Hooked, tuple[float, ...]] | None,
) -> AnyCell:
    """Say in brief what a cell does in which one segment follows another; others stay as they are.

    Parameters
    ----------
    gather_s : mapping
        What its gathers take.
    reduce_s : mapping or None
        What its reductions take; None: something waits for them.
    """
    if not cell.straight:
        return cell
    if cell.arriving:
        return cell if cell.leaving else _arriving(cell, gather_s)
    if reduce_s is None:
        return cell
    end = 0.0
    last_s, all_s = (dict.fromkeys([domain for domain, _ in cell.leaving], 0.0) for _ in range(2))
    takes_s = {hook: sum(reduce_s[hook]) for hook in cell.leaving}
    for duration, _, _, hooks in cell.segments:
        end += duration
        for hook in hooks:
            domain, seconds = hook[0], takes_s[hook]
            last = last_s[domain]
            last_s[domain] = (last if last > end else end) + seconds
            all_s[domain] += seconds
    return Leaving(end, tuple([(domain, last, all_s[domain]) for domain, last in last_s.items()]))


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
                for duration, _, hooks, _ in cell.segments
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
    "cells_of",
    "gathered",
    "in_brief",
]
