"""Who sends how much to whom: the algorithms of collectives, and their registry.

An algorithm is a function of the number of members and of the members on each node, nothing
else: it knows no link and no size. A new one is one file and one line in `ALGORITHMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from distsim.collectives import point_to_point, ring, tree
from distsim.collectives.flows import Pattern

#: (collective, algorithm) -> function of (members, members on each node).
ALGORITHMS: Mapping[tuple[str, str], Callable[[int, int], Pattern]] = {
    ("all_reduce", "ring"): ring.all_reduce,
    ("reduce_scatter", "ring"): ring.reduce_scatter,
    ("all_gather", "ring"): ring.all_gather,
    ("all_reduce", "tree"): tree.all_reduce,
    ("send", "direct"): point_to_point.send,
}


@lru_cache(maxsize=256)
def pattern(collective: str, algorithm: str, n: int, local: int) -> Pattern:
    """Return the pattern of a collective over one group; patterns are cached and read-only.

    Parameters
    ----------
    collective : str
        ``all_reduce``, ``reduce_scatter``, ``all_gather`` or ``send``.
    algorithm : str
        ``ring``, ``tree`` or ``direct``.
    n : int
        Members. Positions 0 .. n-1 are ordered by node.
    local : int
        Members on each node; `n` for a group on one node.

    Returns
    -------
    Pattern
        Empty for one member.

    Raises
    ------
    ValueError
        For a pair that is not in `ALGORITHMS`, or members that do not divide into nodes.

    Examples
    --------
    >>> ring = pattern("all_gather", "ring", 4, 4)
    >>> list(zip(ring.src.tolist(), ring.dst.tolist(), ring.fraction.tolist()))
    [(0, 1, 0.75), (1, 2, 0.75), (2, 3, 0.75), (3, 0, 0.75)]
    """
    build = ALGORITHMS.get((collective, algorithm))
    if build is None:
        known = ", ".join(f"{c}/{a}" for c, a in ALGORITHMS)
        raise ValueError(f"no algorithm {collective}/{algorithm}; there are {known}")
    if n < 1 or local < 1 or n % local:
        raise ValueError(f"n({n}) members do not divide into nodes of local({local}) members")
    return build(n, local)


__all__ = ["ALGORITHMS", "Pattern", "pattern"]
