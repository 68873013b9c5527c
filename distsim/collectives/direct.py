"""Everyone sends to everyone, with no one in between: made for switches.

One-shot and two-shot are TensorRT-LLM's and vLLM's names for small all-reduces over NVLink; the
pairwise exchange is MPICH's for long messages (Thakur, Rabenseifner and Gropp 2005, section 4.2).
"""

from __future__ import annotations

from math import prod

import numpy as np

from distsim.collectives.flows import MAX_MESSAGES, Round, Schedule, Shape, in_turn, together


def one_shot_all_reduce(shape: Shape) -> Schedule:
    """Everyone sends the whole array to everyone, and sums by itself."""
    return in_turn(prod(shape), [_everyone(shape, 1.0)])


def two_shot_all_reduce(shape: Shape) -> Schedule:
    """Everyone sums its block from all, then sends it to all."""
    n = prod(shape)
    return in_turn(n, [_everyone(shape, 1.0 / n)] * 2)


def exchange(shape: Shape) -> Schedule:
    """Send a block of S/n from everyone to everyone: all-gather, reduce-scatter, all-to-all."""
    n = prod(shape)
    return in_turn(n, [_everyone(shape, 1.0 / n)])


def broadcast(shape: Shape) -> Schedule:
    """Position 0 sends the array to each of the others."""
    others = np.arange(1, prod(shape))
    return in_turn(prod(shape), [together(shape, np.zeros(len(others)), others, 1.0)])


def pairwise_all_to_all(shape: Shape) -> Schedule:
    """In round k everyone sends its block to the member k places on: n - 1 rounds."""
    n = prod(shape)
    here = np.arange(n)
    if n * (n - 1) > MAX_MESSAGES:
        raise ValueError(_too_many(n))
    rounds = [together(shape, here, (here + k) % n, 1.0 / n) for k in range(1, n)]
    return in_turn(n, rounds)


def _everyone(shape: Shape, fraction: float) -> Round:
    n = prod(shape)
    if n * (n - 1) > MAX_MESSAGES:
        raise ValueError(_too_many(n))
    src, offset = np.divmod(np.arange(n * (n - 1)), max(n - 1, 1))
    return together(shape, src, offset + (offset >= src), fraction)


def _too_many(n: int) -> str:
    return f"{n} * {n - 1} messages are more than {MAX_MESSAGES}; hierarchical needs fewer"
