"""Binomial trees: the number of members that hold the array doubles in each round.

Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
2005, sections 4.4 and 4.5.
"""

from __future__ import annotations

from math import prod

import numpy as np

from distsim.collectives.flows import Schedule, Shape, in_turn, together


def broadcast(shape: Shape) -> Schedule:
    """From position 0: member i passes the array to i + 2^t, farthest first."""
    n = prod(shape)
    rounds = []
    for t in range((n - 1).bit_length() - 1, -1, -1):
        src = np.arange(0, n, 2 << t)
        src = src[src + (1 << t) < n]
        rounds.append(together(shape, src, src + (1 << t), 1.0))
    return in_turn(n, rounds)


def reduce(shape: Shape) -> Schedule:
    """To position 0: the broadcast backwards."""
    forward = broadcast(shape)
    return Schedule(forward.n, tuple(r.mirrored() for r in reversed(forward.rounds)))


def all_reduce(shape: Shape) -> Schedule:
    """Reduce to position 0, then broadcast from it."""
    return Schedule(prod(shape), (*reduce(shape).rounds, *broadcast(shape).rounds))
