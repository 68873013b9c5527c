"""Closed forms of all algorithms on links that are all alike: the oracle of tests and a bound.

In all of them `latency_s` is of one hop, `bandwidth_bytes_per_s` is what one member can send and at
the same time receive, S is the size as nccl-tests counts it, and arithmetic costs nothing. The
rings and trees of NCCL are in `costs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from distsim.collectives import costs
from distsim.collectives.flows import Shape
from distsim.collectives.tree import depth

#: (shape, size_bytes, latency_s, bandwidth_bytes_per_s) -> seconds.
ClosedForm = Callable[[Shape, float, float, float], float]


def _of_members(form: Callable[[int, float, float, float], float]) -> ClosedForm:
    def closed(shape: Shape, size: float, latency: float, bandwidth: float) -> float:
        return form(prod(shape), size, latency, bandwidth)

    return closed


def _rounds(n: int) -> int:
    """Return ceil(log2 n)."""
    return (n - 1).bit_length()


def _folds(n: int) -> int:
    """Return how many more rounds a number of members takes that is no power of two."""
    return 2 if n & (n - 1) else 0


def tree_all_reduce_s(shape: Shape, size: float, latency: float, bandwidth: float) -> float:
    """Return the time of chains inside the nodes and a double tree between them, pipelined.

    NCCL's latency, 2 (local - 1) hops inside and 2 h between nodes; its busiest member is in all
    chains, sends (local - 1) / local S up and down, and k S / local on its rail, with k of
    `costs.double_binary_tree_all_reduce_s`.
    """
    local, nodes = shape[0], prod(shape[1:])
    hops = 2 * (local - 1) + (2 * depth(nodes) if nodes > 1 else 0)
    rail = costs.double_binary_tree_all_reduce_s(nodes, size / local, 0.0, bandwidth)
    return hops * latency + 2 * (local - 1) / local * size / bandwidth + rail


def chain_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``(n - 1) latency + S / B``: a pipelined chain with many small chunks.

    Pješivac-Grbović et al., "Performance analysis of MPI collective operations", 2007, table 2.
    """
    return (n - 1) * latency + (size / bandwidth if n > 1 else 0.0)


def binomial_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``ceil(log2 n) (latency + S / B)`` (Thakur et al. 2005, section 4.4)."""
    return _rounds(n) * (latency + size / bandwidth)


def binomial_all_reduce_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return a reduction and a broadcast."""
    return 2 * binomial_s(n, size, latency, bandwidth)


def recursive_doubling_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``log2(n) (latency + S / B)``, two more rounds for another number of members.

    Thakur et al. 2005, section 4.5.
    """
    rounds = n.bit_length() - 1 + _folds(n)
    return rounds * (latency + size / bandwidth)


def halving_doubling_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``2 log2(p) latency + 2 (p - 1) / p S / B``, p the power of two in n, and the folds.

    Thakur et al. 2005, section 4.5 (Rabenseifner's algorithm).
    """
    core = 1 << (n.bit_length() - 1)
    exchange = 2 * (core.bit_length() - 1) * latency + 2 * (core - 1) / core * size / bandwidth
    return exchange + _folds(n) * (latency + size / bandwidth)


def doubling_gather_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``log2(n) latency + (n - 1) / n S / B`` (Thakur et al. 2005, section 4.1).

    Halving takes the same for a reduce-scatter, and Bruck ``ceil(log2 n)`` for any n.
    """
    return _rounds(n) * latency + (n - 1) / n * size / bandwidth


def bruck_all_to_all_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``ceil(log2 n) latency + b / n S / B``, b the bits set in all of 0 .. n - 1.

    About n/2 log2(n) of them (Thakur et al. 2005, section 4.2).
    """
    bits = sum(place.bit_count() for place in range(n))
    return _rounds(n) * latency + bits / n * size / bandwidth


def exchange_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``latency + (n - 1) / n S / B``: blocks straight to everyone, all at once."""
    return (latency + (n - 1) / n * size / bandwidth) if n > 1 else 0.0


def pairwise_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``(n - 1) (latency + S / (n B))`` (Thakur et al. 2005, section 4.2)."""
    return (n - 1) * (latency + size / n / bandwidth)


def one_shot_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``latency + (n - 1) S / B``."""
    return (latency + (n - 1) * size / bandwidth) if n > 1 else 0.0


def two_shot_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return two exchanges."""
    return 2 * exchange_s(n, size, latency, bandwidth)


def hierarchical_reduce_scatter_s(
    shape: Shape, size: float, latency: float, bandwidth: float
) -> float:
    """Return the sum of a ring's reduce-scatter at each level, on the share that is left there.

    Cho et al. 2019 (BlueConnect), section 3.
    """
    total, left = 0.0, size
    for members in shape:
        total += costs.ring_reduce_scatter_s(members, left, latency, bandwidth)
        left /= members
    return total


def hierarchical_all_reduce_s(shape: Shape, size: float, latency: float, bandwidth: float) -> float:
    """Return twice a hierarchical reduce-scatter: in, across the top, and back."""
    return 2 * hierarchical_reduce_scatter_s(shape, size, latency, bandwidth)


def hierarchical_all_to_all_s(shape: Shape, size: float, latency: float, bandwidth: float) -> float:
    """Return the sum of an exchange of S at each level (DeepSpeed-MoE, section 5.3)."""
    return sum(exchange_s(members, size, latency, bandwidth) for members in shape)


def torus_reduce_scatter_s(shape: Shape, size: float, latency: float, bandwidth: float) -> float:
    """Return phases of the longest ring's steps, in which a port carries all parts of a member.

    A member of a torus has two ports a dimension, and this counts one for all: what tests on
    uniform links need. On the torus itself each link carries one part of 2D (Jain 2010, section 4).
    """
    dims = [members for members in shape if members > 1]
    steps = max(dims, default=1) - 1
    return len(dims) * steps * latency + (prod(shape) - 1) / prod(shape) * size / bandwidth


def torus_all_reduce_s(shape: Shape, size: float, latency: float, bandwidth: float) -> float:
    """Return twice a reduce-scatter."""
    return 2 * torus_reduce_scatter_s(shape, size, latency, bandwidth)


def nvls_all_reduce_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``2 latency + (1 + 1/n) S / B`` (Klenk et al. 2020, section 3)."""
    return (2 * latency + (1 + 1 / n) * size / bandwidth) if n > 1 else 0.0


def nvls_half_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``latency + S / B``: the side of the links that carries the whole array."""
    return (latency + size / bandwidth) if n > 1 else 0.0


def nvls_tree_all_reduce_s(shape: Shape, size: float, latency: float, bandwidth: float) -> float:
    """Return NVLS in the nodes and a double tree of shares between them, pipelined on one port."""
    local, nodes = shape[0], prod(shape[1:])
    rail = costs.double_binary_tree_all_reduce_s(nodes, size / local, latency, bandwidth)
    return 2 * latency + (1 + 1 / local) * size / bandwidth + rail


def sharp_all_reduce_s(shape: Shape, size: float, latency: float, bandwidth: float) -> float:
    """Return two exchanges in the node and a share through the switch, pipelined on one port."""
    local = shape[0]
    inside = 2 * exchange_s(local, size, latency, bandwidth)
    return inside + latency + size / local / bandwidth


def send_recv_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``latency + S / B``: a send of each, for everyone sends and receives at once."""
    return costs.send_s(size, latency, bandwidth) if n > 1 else 0.0


def barrier_s(n: int, size: float, latency: float, bandwidth: float) -> float:
    """Return ``ceil(log2 n) latency`` (Hensgen et al. 1988)."""
    return _rounds(n) * latency


def _send(n: int, size: float, latency: float, bandwidth: float) -> float:
    return costs.send_s(size, latency, bandwidth)


#: One for each key of `distsim.collectives.algorithms.ALGORITHMS`.
CLOSED_FORMS: Mapping[tuple[str, str], ClosedForm] = {
    ("all_reduce", "ring"): _of_members(costs.ring_all_reduce_s),
    ("all_reduce", "tree"): tree_all_reduce_s,
    ("all_reduce", "binomial"): _of_members(binomial_all_reduce_s),
    ("all_reduce", "recursive_doubling"): _of_members(recursive_doubling_s),
    ("all_reduce", "halving_doubling"): _of_members(halving_doubling_s),
    ("all_reduce", "one_shot"): _of_members(one_shot_s),
    ("all_reduce", "two_shot"): _of_members(two_shot_s),
    ("all_reduce", "hierarchical"): hierarchical_all_reduce_s,
    ("all_reduce", "torus"): torus_all_reduce_s,
    ("all_reduce", "nvls"): _of_members(nvls_all_reduce_s),
    ("all_reduce", "nvls_tree"): nvls_tree_all_reduce_s,
    ("all_reduce", "sharp"): sharp_all_reduce_s,
    ("reduce_scatter", "ring"): _of_members(costs.ring_reduce_scatter_s),
    ("reduce_scatter", "halving"): _of_members(doubling_gather_s),
    ("reduce_scatter", "direct"): _of_members(exchange_s),
    ("reduce_scatter", "hierarchical"): hierarchical_reduce_scatter_s,
    ("reduce_scatter", "torus"): torus_reduce_scatter_s,
    ("reduce_scatter", "nvls"): _of_members(nvls_half_s),
    ("all_gather", "ring"): _of_members(costs.ring_all_gather_s),
    ("all_gather", "recursive_doubling"): _of_members(doubling_gather_s),
    ("all_gather", "bruck"): _of_members(doubling_gather_s),
    ("all_gather", "direct"): _of_members(exchange_s),
    ("all_gather", "hierarchical"): hierarchical_reduce_scatter_s,
    ("all_gather", "torus"): torus_reduce_scatter_s,
    ("all_gather", "nvls"): _of_members(nvls_half_s),
    ("broadcast", "ring"): _of_members(chain_s),
    ("broadcast", "binomial"): _of_members(binomial_s),
    ("broadcast", "direct"): _of_members(one_shot_s),
    ("reduce", "ring"): _of_members(chain_s),
    ("reduce", "binomial"): _of_members(binomial_s),
    ("all_to_all", "direct"): _of_members(exchange_s),
    ("all_to_all", "pairwise"): _of_members(pairwise_s),
    ("all_to_all", "bruck"): _of_members(bruck_all_to_all_s),
    ("all_to_all", "hierarchical"): hierarchical_all_to_all_s,
    ("send", "p2p"): _of_members(_send),
    ("send_recv", "p2p"): _of_members(send_recv_s),
    ("barrier", "dissemination"): _of_members(barrier_s),
}
