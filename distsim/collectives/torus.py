"""Collectives on a torus that use the links of all dimensions at once.

The array is cut into two parts for each dimension, one for each direction of its rings. Every part
goes through the dimensions in turn, starting at another one, so that at any time each ring of each
dimension carries one part each way (Jain and Sabharwal, "Optimal bucket algorithms for large MPI
collectives on torus interconnects", 2010, section 4; Kumar and Jouppi, "Highly available data
parallel ML training on mesh networks", 2020, section 2). Where dimensions differ, a phase lasts as
many steps as its longest ring has.
"""

from __future__ import annotations

from math import prod

import numpy as np

from distsim.collectives.flows import Round, Schedule, Shape, in_turn, messages


def all_reduce(shape: Shape) -> Schedule:
    """Reduce-scatter through all dimensions, then all-gather back."""
    forth = _phases(shape)
    return in_turn(prod(shape), [*forth, *(r.mirrored() for r in reversed(forth))])


def reduce_scatter(shape: Shape) -> Schedule:
    """Reduce-scatter through all dimensions."""
    return in_turn(prod(shape), _phases(shape))


def all_gather(shape: Shape) -> Schedule:
    """All-gather through all dimensions, back from where a reduce-scatter ends."""
    return in_turn(prod(shape), [r.mirrored() for r in reversed(_phases(shape))])


def _phases(shape: Shape) -> list[Round]:
    dims = [d for d, size in enumerate(shape) if size > 1]
    return [_phase(shape, dims, turn) for turn in range(len(dims))]


def _phase(shape: Shape, dims: list[int], turn: int) -> Round:
    """Return the steps in which the part that began at dimension d is at the turn-th one after."""
    here = np.arange(prod(shape))
    steps = max(shape[d] for d in dims) - 1
    src, dst, fraction = [], [], []
    for begin in range(len(dims)):
        order = dims[begin:] + dims[:begin]
        at = order[turn]
        size, stride = shape[at], prod(shape[:at])
        left = 1.0 / prod(shape[d] for d in order[:turn])
        own = here // stride % size
        # A dimension of two has one link each way, which both directions would share.
        ways = (1, -1) if size > 2 else (1,)
        for way in ways:
            src.append(here)
            dst.append(here + ((own + way) % size - own) * stride)
            share = left / len(dims) / len(ways) / size * (size - 1) / steps
            fraction.append(np.full(len(here), share))
    source = np.concatenate(src)
    return messages(
        source,
        np.concatenate(dst),
        np.concatenate(fraction),
        1.0 / len(source),
        0,
        steps,
    )
