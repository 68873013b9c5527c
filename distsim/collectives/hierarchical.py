"""Level by level: inside the nodes first, then between them on what is left of the array.

An all-reduce reduce-scatters over the innermost level, so that each member holds a share, goes on
with that share between the members in the same place of their nodes, and gathers at the end. Every
level runs rings. Sources: Goyal et al., "Accurate, large minibatch SGD", 2017, section 4; Cho et
al., "BlueConnect", 2019, section 3, for any number of levels. The all-to-all exchanges inside the
node what goes to the same place of other nodes, then between nodes (Rajbhandari et al.,
"DeepSpeed-MoE", 2022, section 5.3; NCCL's PXN).
"""

from __future__ import annotations

from math import prod

import numpy as np

from distsim.collectives.flows import Round, Schedule, Shape, in_turn, together


def all_reduce(shape: Shape) -> Schedule:
    """Reduce-scatter inwards out, all-reduce at the top, all-gather back."""
    n = prod(shape)
    inner = [_ring(shape, level, 1) for level in range(len(shape) - 1)]
    top = _ring(shape, len(shape) - 1, 2)
    return in_turn(n, [r for r in (*inner, top, *reversed(inner)) if r.repeat])


def reduce_scatter(shape: Shape) -> Schedule:
    """Reduce-scatter from the innermost level outwards."""
    rounds = [_ring(shape, level, 1) for level in range(len(shape))]
    return in_turn(prod(shape), [r for r in rounds if r.repeat])


def all_gather(shape: Shape) -> Schedule:
    """Gather from the outermost level inwards."""
    return Schedule(prod(shape), reduce_scatter(shape).rounds[::-1])


def all_to_all(shape: Shape) -> Schedule:
    """Exchange at each level, from the innermost outwards: a block passes every level once.

    Of what a member has, 1 part in as many as there are members at a level stays there.
    """
    rounds = []
    n = prod(shape)
    for level, size in enumerate(shape):
        if size > 1:
            here, stride = np.arange(n), prod(shape[:level])
            own = here // stride % size
            src = np.repeat(here, size - 1)
            other = np.repeat(own, size - 1) + np.tile(np.arange(1, size), n)
            dst = src + (other % size - np.repeat(own, size - 1)) * stride
            rounds.append(together(shape, src, dst, 1.0 / size))
    return in_turn(n, rounds)


def _ring(shape: Shape, level: int, passes: int) -> Round:
    """Return the steps of all rings along a level, on the share of the array that is left there."""
    n, size, stride = prod(shape), shape[level], prod(shape[:level])
    here = np.arange(n)
    own = here // stride % size
    following = here + ((own + 1) % size - own) * stride
    return together(shape, here, following, 1.0 / stride / size, passes * (size - 1))
