"""Closed forms of collectives on links that are all alike, each with its source.

Tests hold the simulator against them and the planner prunes with them; nothing is predicted with
them. In all of them `latency_s` is of one hop and `bandwidth_bytes_per_s` is what one member can
send, and at the same time receive; S is the size of the whole array.
"""

from __future__ import annotations

from distsim.collectives.tree import depth


def ring_all_reduce_s(
    n: int, size_bytes: float, latency_s: float, bandwidth_bytes_per_s: float
) -> float:
    """Return ``2 (n - 1) (latency + S / (n B))``.

    Reduce-scatter and all-gather of n - 1 steps each (Thakur, Rabenseifner and Gropp,
    "Optimization of collective communication operations in MPICH", 2005, section 4.4, with the
    ring for both halves; Patarasu and Yuan 2009, section 3).
    """
    return 2 * ring_all_gather_s(n, size_bytes, latency_s, bandwidth_bytes_per_s)


def ring_reduce_scatter_s(
    n: int, size_bytes: float, latency_s: float, bandwidth_bytes_per_s: float
) -> float:
    """Return ``(n - 1) (latency + S / (n B))`` (Thakur et al. 2005, section 4.3), arithmetic free.

    S is what each member gives.
    """
    return ring_all_gather_s(n, size_bytes, latency_s, bandwidth_bytes_per_s)


def ring_all_gather_s(
    n: int, size_bytes: float, latency_s: float, bandwidth_bytes_per_s: float
) -> float:
    """Return ``(n - 1) (latency + S / (n B))`` (Thakur et al. 2005, section 4.1).

    S is what each member ends up with.
    """
    return (n - 1) * (latency_s + size_bytes / (n * bandwidth_bytes_per_s))


def double_binary_tree_all_reduce_s(
    n: int, size_bytes: float, latency_s: float, bandwidth_bytes_per_s: float
) -> float:
    """Return ``2 h latency + k S / B`` with h the depth of the trees.

    A reduction and a broadcast over two pipelined trees of half the array (Sanders, Speck and
    Träff 2009, section 3, in the limit of many small pipeline chunks). A node that has two
    children in one tree and is a leaf in the other sends and receives S in each phase, so k = 2;
    groups of two and three have no such node, and k is 1 and 3/2.
    """
    if n == 1:
        return 0.0
    volume = {2: 1.0, 3: 1.5}.get(n, 2.0)
    return 2 * depth(n) * latency_s + volume * size_bytes / bandwidth_bytes_per_s


def send_s(size_bytes: float, latency_s: float, bandwidth_bytes_per_s: float) -> float:
    """Return ``latency + S / B`` (Hockney, "The communication challenge for MPP", 1994, eq. 1)."""
    return latency_s + size_bytes / bandwidth_bytes_per_s


def bus_bandwidth_factor(collective: str, n: int) -> float:
    """Return what nccl-tests multiplies algorithm bandwidth (S over time) by to get bus bandwidth.

    2 (n - 1) / n for an all-reduce, (n - 1) / n for a reduce-scatter, an all-gather and an
    all-to-all, 1 for a broadcast, a reduction, a send and a sendrecv (nccl-tests,
    doc/PERFORMANCE.md).

    Raises
    ------
    ValueError
        For a collective that it does not define.
    """
    parts = {"all_reduce": 2.0, "reduce_scatter": 1.0, "all_gather": 1.0, "all_to_all": 1.0}
    if collective in ("send", "send_recv", "broadcast", "reduce"):
        return 1.0
    if collective == "barrier":
        return 0.0
    if collective not in parts:
        known = ", ".join((*parts, "broadcast", "reduce", "send", "send_recv", "barrier"))
        raise ValueError(f"no bus bandwidth is defined for {collective}; there are {known}")
    return parts[collective] * (n - 1) / n
