"""Patterns against closed forms, and as data flow over real arrays."""

from __future__ import annotations

import numpy as np
import pytest

from distsim.collectives import costs, ring, tree
from distsim.collectives.algorithms import ALGORITHMS, Pattern, pattern

LATENCY_S, BANDWIDTH = 3e-6, 25e9
GROUPS = [(n, local) for n in range(2, 25) for local in range(1, n + 1) if n % local == 0]


def shape(n: int, local: int) -> tuple[int, ...]:
    return (n,) if local == n else (local, n // local)


RINGS = ["all_reduce", "reduce_scatter", "all_gather"]


def lock_step_s(flows: Pattern, size_bytes: float) -> float:
    """Time on uniform links: each member sends and receives at BANDWIDTH."""
    sent = np.bincount(flows.src, flows.fraction, flows.n)
    received = np.bincount(flows.dst, flows.fraction, flows.n)
    busiest = max(sent.max(), received.max())
    return float(flows.latency_hops.sum() * LATENCY_S + size_bytes * busiest / BANDWIDTH)


@pytest.mark.parametrize("collective", RINGS)
@pytest.mark.parametrize(("n", "local"), GROUPS)
def test_ring_takes_the_closed_form(collective: str, n: int, local: int) -> None:
    closed = getattr(costs, f"ring_{collective}_s")(n, 1e8, LATENCY_S, BANDWIDTH)
    got = lock_step_s(pattern(collective, "ring", shape(n, local)), 1e8)
    assert got == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize("n", range(2, 70))
@pytest.mark.parametrize("size_bytes", [0.0, 1e9])
def test_tree_takes_the_closed_form(n: int, size_bytes: float) -> None:
    closed = costs.double_binary_tree_all_reduce_s(n, size_bytes, LATENCY_S, BANDWIDTH)
    got = lock_step_s(pattern("all_reduce", "tree", (1, n)), size_bytes)
    assert got == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize(("n", "local"), GROUPS)
def test_tree_latency_is_chain_and_tree_up_and_down(n: int, local: int) -> None:
    """NCCL's model: 2 (local - 1) hops inside nodes and 2 log2(nodes) between them."""
    flows = pattern("all_reduce", "tree", shape(n, local))
    crosses = flows.src // local != flows.dst // local
    assert flows.latency_hops[~crosses].sum() == 2 * (local - 1)
    assert flows.latency_hops[crosses].sum() == 2 * tree.depth(n // local)


def test_send_takes_the_closed_form() -> None:
    closed = costs.send_s(1e6, LATENCY_S, BANDWIDTH)
    assert lock_step_s(pattern("send", "p2p", (1, 2)), 1e6) == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize(
    ("collective", "factor"), [("all_reduce", 2.0), ("reduce_scatter", 1.0), ("all_gather", 1.0)]
)
def test_bus_bandwidth_of_a_ring_without_latency_is_the_link(
    collective: str, factor: float
) -> None:
    """nccl-tests define bus bandwidth so that it is the link's where the ring is optimal."""
    time_s = getattr(costs, f"ring_{collective}_s")(6, 1e9, 0.0, BANDWIDTH)
    bus = 1e9 / time_s * costs.bus_bandwidth_factor(collective, 6)
    assert bus == pytest.approx(BANDWIDTH)
    assert costs.bus_bandwidth_factor(collective, 6) == pytest.approx(factor * 5 / 6)


@pytest.mark.parametrize(("n", "local"), GROUPS)
def test_ring_steps_leave_the_sum_on_every_member(n: int, local: int) -> None:
    """Run reduce-scatter and all-gather over the pattern's own hops, step by step."""
    given = np.random.default_rng(n).integers(0, 1000, (n, n)).astype(float)
    flows = pattern("all_reduce", "ring", shape(n, local))
    for channel in np.unique(flows.channel):
        of_channel = flows.channel == channel
        following = dict(zip(flows.src[of_channel], flows.dst[of_channel], strict=True))
        assert len(following) == of_channel.sum() == n
        held = given.copy()
        turn = {member: rank for rank, member in enumerate(_walk(following))}
        for step in range(2 * (n - 1)):
            before = held.copy()
            for source, target in following.items():
                chunk = (turn[source] - step) % n
                arriving = before[source, chunk]
                held[target, chunk] = before[target, chunk] + arriving if step < n - 1 else arriving
        np.testing.assert_array_equal(held, np.tile(given.sum(axis=0), (n, 1)))


def _walk(following: dict[int, int]) -> list[int]:
    walk = [next(iter(following))]
    while following[walk[-1]] != walk[0]:
        walk.append(following[walk[-1]])
    return walk


@pytest.mark.parametrize(("n", "local"), GROUPS)
def test_tree_flows_leave_the_sum_on_every_member(n: int, local: int) -> None:
    """Pass partial sums along the flows that go up, then results along those that go down.

    A tree of a channel is its chains inside the nodes and the flows to each node's parent.
    """
    given = np.random.default_rng(n).integers(0, 1000, n)
    flows = pattern("all_reduce", "tree", shape(n, local))
    half = len(flows.src) // 2
    ups = sorted(zip(flows.src[:half], flows.dst[:half], flows.channel[:half], strict=True))
    downs = sorted(zip(flows.dst[half:], flows.src[half:], flows.channel[half:], strict=True))
    assert ups == downs
    for channel in range(local):
        for parent in tree.parents(n // local):
            root = int(np.flatnonzero(parent < 0)[0]) * local + channel
            up = _tree_edges(flows, half, channel, local, parent)
            assert len(up) == n - 1
            total, order = given.copy(), _leaves_first(up, root)
            for member in order:
                total[up[member]] += total[member]
            for member in reversed(order):
                total[member] = total[up[member]]
            np.testing.assert_array_equal(total, given.sum())


def _tree_edges(
    flows: Pattern, half: int, channel: int, local: int, parent: np.ndarray
) -> dict[int, int]:
    """Return member -> member above it, from the flows of a channel that belong to a tree."""
    edges = {}
    for source, target, of in zip(
        flows.src[:half], flows.dst[:half], flows.channel[:half], strict=True
    ):
        nodes = source // local, target // local
        if of == channel and (nodes[0] == nodes[1] or parent[nodes[0]] == nodes[1]):
            edges[int(source)] = int(target)
    return edges


def _leaves_first(up: dict[int, int], root: int) -> list[int]:
    def height(member: int) -> int:
        return 0 if member == root else 1 + height(up[member])

    return sorted(up, key=height, reverse=True)


@pytest.mark.parametrize("n", range(2, 200))
def test_every_node_is_a_leaf_of_one_of_both_trees(n: int) -> None:
    """Sanders, Speck and Träff 2009, section 3."""
    inner = [set(parent[parent >= 0].tolist()) for parent in tree.parents(n)]
    assert not inner[0] & inner[1]
    assert all(np.bincount(parent[parent >= 0]).max() <= 2 for parent in tree.parents(n))


@pytest.mark.parametrize("n", range(1, 200))
def test_trees_are_as_shallow_as_a_binary_tree_can_be(n: int) -> None:
    """Nodes above a tree of 2^h - 1 need one more level; the single root of an even n too."""
    for parent in tree.parents(n):
        depths = []
        for node in range(n):
            hops = 0
            while parent[node] >= 0:
                node, hops = parent[node], hops + 1
            depths.append(hops)
        assert max(depths) == tree.depth(n) <= int(np.ceil(np.log2(n)))


def test_inside_a_node_one_ring_is_enough() -> None:
    assert ring.rings(8, 8).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]


def test_unknown_algorithm_and_uneven_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match="all_reduce/ring"):
        pattern("all_reduce", "star", (8,))
    with pytest.raises(ValueError, match="each has at least 1"):
        pattern("all_reduce", "ring", (8, 0))
    with pytest.raises(ValueError, match="2 members"):
        pattern("send", "p2p", (3,))
    with pytest.raises(ValueError, match="gather"):
        costs.bus_bandwidth_factor("gather", 4)


JOINS_NODES = ("nvls_tree", "sharp")


@pytest.mark.parametrize(
    "key", [k for k in ALGORITHMS if k[0] != "send" and k[1] not in JOINS_NODES]
)
def test_one_member_sends_nothing(key: tuple[str, str]) -> None:
    assert len(pattern(*key, (1,)).src) == 0
