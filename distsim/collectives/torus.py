"""Collectives on a torus that use the links of all dimensions at once.

The array is cut into two parts for each dimension, one for each direction of its rings. Every part
goes through the dimensions in turn, starting at another one, so that at any time each ring of each
dimension carries one part each way (Jain and Sabharwal, "Optimal bucket algorithms for large MPI
collectives on torus interconnects", 2010, section 4; Kumar and Jouppi, "Highly available data
parallel ML training on mesh networks", 2020, section 2). Where dimensions differ, a phase lasts as
many steps as its longest ring has.

A dimension that does not close in on itself is a line. In a reduce-scatter over a line of n, sums
for the places behind a link pass it, (n - 1 - i) / n of the array upward from place i and i / n
downward; both parts use both directions, so that the link at an end carries (n - 1) / n of what two
links of a ring carry together. That is optimal: a corner of a mesh of N places in D dimensions has
D links to send (N - 1) / N of the array. Time on the links is twice that of a torus.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.collectives.flows import Floats, Round, Schedule, Shape, in_turn, messages


def all_reduce(shape: Shape) -> Schedule:
    """Reduce-scatter through all dimensions, then all-gather back."""
    forth = _phases(shape)
    return in_turn(_size(shape), [*forth, *(r.mirrored() for r in reversed(forth))])


def reduce_scatter(shape: Shape) -> Schedule:
    """Reduce-scatter through all dimensions."""
    return in_turn(_size(shape), _phases(shape))


def all_gather(shape: Shape) -> Schedule:
    """All-gather through all dimensions, back from where a reduce-scatter ends."""
    return in_turn(_size(shape), [r.mirrored() for r in reversed(_phases(shape))])


def _size(shape: Shape) -> int:
    return abs(prod(shape))


def _phases(shape: Shape) -> list[Round]:
    dims = [d for d, size in enumerate(shape) if abs(size) > 1]
    return [_phase(shape, dims, turn) for turn in range(len(dims))]


def _phase(shape: Shape, dims: list[int], turn: int) -> Round:
    """Return the steps in which the part that began at dimension d is at the turn-th one after."""
    lengths = tuple(map(abs, shape))
    here = np.arange(prod(lengths))
    steps = max(lengths[d] for d in dims) - 1
    src, dst, fraction = [], [], []
    for begin in range(len(dims)):
        order = dims[begin:] + dims[:begin]
        at = order[turn]
        size, stride = lengths[at], prod(lengths[:at])
        left = 1.0 / prod(lengths[d] for d in order[:turn])
        own = here // stride % size
        # A dimension of two has one link each way, which both directions would share.
        ways = (1, -1) if size > 2 else (1,)
        for way in ways:
            share = _share(own, size, way, shape[at] < 0)
            sends = np.flatnonzero(share)
            src.append(here[sends])
            dst.append(here[sends] + ((own[sends] + way) % size - own[sends]) * stride)
            fraction.append(left / len(dims) / steps * share[sends])
    source = np.concatenate(src)
    return messages(
        source,
        np.concatenate(dst),
        np.concatenate(fraction),
        1.0 / len(source),
        0,
        steps,
    )


def _share(own: npt.NDArray[np.signedinteger[Any]], size: int, way: int, line: bool) -> Floats:
    """Return what each place sends one way in a reduce-scatter over one dimension, over its part.

    Parameters
    ----------
    own : int64[members]
        Places in the dimension.
    """
    if line:
        return np.asarray((size - 1 - own if way > 0 else own) / size)
    return np.full(len(own), (size - 1) / size / (2 if size > 2 else 1))
