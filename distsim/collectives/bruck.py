"""Bruck's algorithms: ceil(log2 n) rounds for any number of members.

Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all communications in
multiport message-passing systems", 1997, sections 3 (all-to-all) and 4 (all-gather).
"""

from __future__ import annotations

from math import prod

import numpy as np

from distsim.collectives.flows import Schedule, Shape, in_turn, together


def all_gather(shape: Shape) -> Schedule:
    """In round t everyone sends the blocks that it has, at most 2^t, to the member 2^t before."""
    n = prod(shape)
    here = np.arange(n)
    rounds = [
        together(shape, here, (here - (1 << t)) % n, min(1 << t, n - (1 << t)) / n)
        for t in range((n - 1).bit_length())
    ]
    return in_turn(n, rounds)


def all_to_all(shape: Shape) -> Schedule:
    """In round t a block goes 2^t places on if that bit of the places it has to go is set."""
    n = prod(shape)
    here = np.arange(n)
    rounds = []
    for t in range((n - 1).bit_length()):
        blocks = int(((here >> t) & 1).sum())
        rounds.append(together(shape, here, (here + (1 << t)) % n, blocks / n))
    return in_turn(n, rounds)
