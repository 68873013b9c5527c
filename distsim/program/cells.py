"""Cells: what a pass of an outline takes, and what it waits for or sends on its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from distsim.program.pattern import Pattern
from distsim.store import Same


@dataclass(frozen=True, slots=True)
class Cell:
    """A pass that is more than one segment, or that meets gathers or reductions.

    Attributes
    ----------
    duration_s : tuple of float
        Of each entry.
    after : tuple of tuple of int
        Offsets of the entries that each one waits for; what reaches before the first is the last
        entry of the pass before.
    gathers, reduces : tuple of tuple of (int, float)
        (domain, parameters) that each entry waits for, or that leave after it.
    arriving, leaving : frozenset of (int, float)
        All of them.
    """

    duration_s: tuple[float, ...]
    after: tuple[tuple[int, ...], ...]
    gathers: tuple[tuple[tuple[int, float], ...], ...]
    reduces: tuple[tuple[tuple[int, float], ...], ...]
    arriving: frozenset[tuple[int, float]]
    leaving: frozenset[tuple[int, float]]


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
#: (domain, parameters)
Hooked = tuple[int, float]


@lru_cache(maxsize=4096)
def cells_of(patterns: Same) -> list[float | Cell]:
    """Return what the patterns of a stage take, none of which has collectives of its own."""
    every: Sequence[Pattern] = patterns.of
    known: dict[int, float | Cell] = {}
    for pattern in every:
        if id(pattern) not in known:
            known[id(pattern)] = _cell(Same(pattern))
    return [known[id(pattern)] for pattern in every]


@lru_cache(maxsize=8192)
def _cell(of: Same) -> float | Cell:
    pattern: Pattern = of.of
    if len(pattern) == 1 and not pattern[0].gathers and not pattern[0].reduces:
        return pattern[0].cost.total_s
    # Layers alike share their entries.
    known = {
        key: (e.cost.total_s, e.after, _amounts(e.gathers), _amounts(e.reduces))
        for key, e in {id(e): e for e in pattern}.items()
    }
    each = [known[id(e)] for e in pattern]
    return Cell(
        tuple([duration for duration, _, _, _ in each]),
        tuple([after for _, after, _, _ in each]),
        tuple([hooks for _, _, hooks, _ in each]),
        tuple([hooks for _, _, _, hooks in each]),
        frozenset([hook for _, _, hooks, _ in known.values() for hook in hooks]),
        frozenset([hook for _, _, _, hooks in known.values() for hook in hooks]),
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
    if any([after != (-1,) for after in cell.after]):
        return cell
    if cell.arriving:
        return cell if cell.leaving else _arriving(cell, gather_s)
    if reduce_s is None:
        return cell
    end = 0.0
    queues: dict[int, tuple[float, float]] = {}
    for end, hooks in zip(accumulate(cell.duration_s), cell.reduces, strict=True):
        for domain, amount in hooks:
            seconds = sum(reduce_s[domain, amount])
            last, all_s = queues.get(domain, (0.0, 0.0))
            queues[domain] = (max(last, end) + seconds, all_s + seconds)
    return Leaving(end, tuple([(d, *times) for d, times in queues.items()]))


def _arriving(cell: Cell, gather_s: Mapping[Hooked, float]) -> Cell | Arriving:
    """Say in brief what a cell does whose gathers are of one domain, one a segment."""
    domains = {domain for domain, _ in cell.arriving}
    if len(domains) > 1 or any([len(hooks) > 1 for hooks in cell.gathers]):
        return cell
    waits = [gather_s.get(hooks[0], -1.0) if hooks else -1.0 for hooks in cell.gathers]
    return Arriving(domains.pop(), tuple(zip(cell.duration_s, waits, strict=True)))


def gathered(cells: Sequence[float | Cell], domain: int) -> dict[int, list[float]]:
    """Return by number of cell the parameters of a domain that it waits for, one after another."""
    found = {
        number: [a for hooks in cell.gathers for d, a in hooks if d == domain]
        for number, cell in enumerate(cells)
        if isinstance(cell, Cell)
    }
    return {number: amounts for number, amounts in found.items() if amounts}


def _amounts(hook: tuple[float, ...]) -> tuple[Hooked, ...]:
    return tuple([(d, a) for d, a in enumerate(hook) if a])


__all__ = ["AnyCell", "Arriving", "Cell", "Hooked", "Leaving", "cells_of", "gathered", "in_brief"]
