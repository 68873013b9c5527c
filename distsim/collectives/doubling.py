"""Recursive doubling and halving: partners at distance 1, 2, 4, ... exchange.

Where the members are no power of two, the surplus first hands its array to a neighbour each and
gets the result from it at the end. Source: Thakur, Rabenseifner and Gropp 2005, sections 4.1
(all-gather), 4.3 (reduce-scatter by halving) and 4.5 (all-reduce; Rabenseifner's algorithm is
halving and then doubling).
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from distsim.collectives.flows import Round, Schedule, Shape, in_turn, together

Ints = npt.NDArray[np.int64]


def all_reduce(shape: Shape) -> Schedule:
    """Exchange the whole array with each partner: log2(n) rounds of S."""
    n, core, before, after = _folded(shape)
    return in_turn(n, [*before, *_exchanges(shape, core, [1.0] * _log2(core)), *after])


def halving_doubling_all_reduce(shape: Shape) -> Schedule:
    """Reduce-scatter by halving, then all-gather by doubling: S/2, S/4, ... and back."""
    n, core, before, after = _folded(shape)
    halves = [0.5 ** (t + 1) for t in range(_log2(core))]
    down = _exchanges(shape, core, halves[::-1])[::-1]
    return in_turn(n, [*before, *down, *_exchanges(shape, core, halves[::-1]), *after])


def reduce_scatter(shape: Shape) -> Schedule:
    """Halving: exchange S/2 with the farthest partner, then S/4, ...; a power of two only."""
    return Schedule(prod(shape), all_gather(shape).rounds[::-1])


def all_gather(shape: Shape) -> Schedule:
    """Doubling: exchange S/n with the nearest partner, then 2S/n, ...; a power of two only.

    Raises
    ------
    ValueError
        For another number of members.
    """
    n = prod(shape)
    if n & (n - 1):
        raise ValueError(f"doubling needs a power of two, not {n} members; bruck takes any")
    return in_turn(n, _exchanges(shape, np.arange(n), [(1 << t) / n for t in range(_log2_of(n))]))


def _folded(shape: Shape) -> tuple[int, Ints, list[Round], list[Round]]:
    """Return members, the power of two that exchanges, and the rounds around it."""
    n = prod(shape)
    surplus = n - (1 << (n.bit_length() - 1))
    if not surplus:
        return n, np.arange(n), [], []
    even = 2 * np.arange(surplus)
    core = np.concatenate([even + 1, np.arange(2 * surplus, n)])
    fold = together(shape, even, even + 1, 1.0)
    return n, core, [fold], [fold.mirrored()]


def _exchanges(shape: Shape, core: Ints, fractions: list[float]) -> list[Round]:
    place = np.arange(len(core))
    return [
        together(shape, core, core[place ^ (1 << t)], fraction)
        for t, fraction in enumerate(fractions)
    ]


def _log2(core: Ints) -> int:
    return _log2_of(len(core))


def _log2_of(n: int) -> int:
    return n.bit_length() - 1
