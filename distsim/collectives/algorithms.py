"""Who sends how much to whom: the algorithms of collectives, and their registry.

An algorithm is a function of the shape of the group, nothing else: it knows no link and no size. A
new one is one file and one line in `ALGORITHMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from distsim.collectives import (
    binomial,
    bruck,
    direct,
    doubling,
    hierarchical,
    in_network,
    point_to_point,
    ring,
    torus,
    tree,
)
from distsim.collectives.flows import Orders, Pattern, Schedule, Shape, fluid, members

#: (collective, algorithm) -> function of the shape.
ALGORITHMS: Mapping[tuple[str, str], Callable[..., Schedule]] = {
    ("all_reduce", "ring"): ring.all_reduce,
    ("all_reduce", "tree"): tree.all_reduce,
    ("all_reduce", "binomial"): binomial.all_reduce,
    ("all_reduce", "recursive_doubling"): doubling.all_reduce,
    ("all_reduce", "halving_doubling"): doubling.halving_doubling_all_reduce,
    ("all_reduce", "one_shot"): direct.one_shot_all_reduce,
    ("all_reduce", "two_shot"): direct.two_shot_all_reduce,
    ("all_reduce", "hierarchical"): hierarchical.all_reduce,
    ("all_reduce", "torus"): torus.all_reduce,
    ("all_reduce", "nvls"): in_network.nvls_all_reduce,
    ("all_reduce", "nvls_tree"): in_network.nvls_tree_all_reduce,
    ("all_reduce", "sharp"): in_network.sharp_all_reduce,
    ("reduce_scatter", "ring"): ring.reduce_scatter,
    ("reduce_scatter", "halving"): doubling.reduce_scatter,
    ("reduce_scatter", "direct"): direct.exchange,
    ("reduce_scatter", "hierarchical"): hierarchical.reduce_scatter,
    ("reduce_scatter", "torus"): torus.reduce_scatter,
    ("reduce_scatter", "nvls"): in_network.nvls_reduce_scatter,
    ("all_gather", "ring"): ring.all_gather,
    ("all_gather", "recursive_doubling"): doubling.all_gather,
    ("all_gather", "bruck"): bruck.all_gather,
    ("all_gather", "direct"): direct.exchange,
    ("all_gather", "hierarchical"): hierarchical.all_gather,
    ("all_gather", "torus"): torus.all_gather,
    ("all_gather", "nvls"): in_network.nvls_all_gather,
    ("broadcast", "ring"): ring.broadcast,
    ("broadcast", "binomial"): binomial.broadcast,
    ("broadcast", "direct"): direct.broadcast,
    ("reduce", "ring"): ring.reduce,
    ("reduce", "binomial"): binomial.reduce,
    ("all_to_all", "direct"): direct.exchange,
    ("all_to_all", "pairwise"): direct.pairwise_all_to_all,
    ("all_to_all", "bruck"): bruck.all_to_all,
    ("all_to_all", "hierarchical"): hierarchical.all_to_all,
    ("send", "p2p"): point_to_point.send,
    ("send_recv", "p2p"): point_to_point.send_recv,
    ("barrier", "dissemination"): point_to_point.barrier,
}


#: Algorithms that know what to do with nodes of different sizes; to others they are all apart.
ANY_NODES = ("ring",)
#: Algorithms whose order of the members can be given.
ORDERED = ("ring",)
#: Algorithms that know what to do with a dimension that is a line, whose length is negative.
LINES = ("torus",)


@lru_cache(maxsize=64)
def schedule(collective: str, algorithm: str, shape: Shape, orders: Orders = ()) -> Schedule:
    """Return who sends what to whom, round by round; schedules are cached and read-only.

    Parameters
    ----------
    collective, algorithm : str
        A key of `ALGORITHMS`.
    shape : tuple of int
        Members at each level, innermost first; positions are ordered by node.
    orders : tuple of tuple of int
        Members in the order of each ring, for an algorithm in `ORDERED`; by default the shape's.

    Raises
    ------
    ValueError
        For a pair that is not in `ALGORITHMS`, or a shape that the algorithm cannot run on.
    """
    build = ALGORITHMS.get((collective, algorithm))
    if build is None:
        known = ", ".join(f"{c}/{a}" for c, a in ALGORITHMS)
        raise ValueError(f"no algorithm {collective}/{algorithm}; there are {known}")
    uneven = len(shape) > 1 and shape[0] == 0
    counts = tuple(map(abs, shape)) if algorithm in LINES else shape
    if not shape or min(counts[1:] if uneven else counts) < 1:
        raise ValueError(f"levels of {shape} members; each has at least 1")
    if uneven and algorithm not in ANY_NODES:
        return build((1, members(shape)))
    return build(shape, orders) if orders else build(shape)


@lru_cache(maxsize=256)
def pattern(collective: str, algorithm: str, shape: Shape, orders: Orders = ()) -> Pattern:
    """Return the flows of a collective over one group; patterns are cached and read-only.

    Parameters and errors are those of `schedule`.

    Examples
    --------
    >>> ring = pattern("all_gather", "ring", (4,))
    >>> list(zip(ring.src.tolist(), ring.dst.tolist(), ring.fraction.tolist()))
    [(0, 1, 0.75), (1, 2, 0.75), (2, 3, 0.75), (3, 0, 0.75)]
    """
    return fluid(schedule(collective, algorithm, shape, orders))


__all__ = ["ALGORITHMS", "ORDERED", "Orders", "Pattern", "Schedule", "Shape", "pattern", "schedule"]
