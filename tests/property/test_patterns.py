"""What holds for the patterns of all group sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.collectives.algorithms import Pattern, pattern

nodes_and_local = st.tuples(st.integers(1, 40), st.integers(1, 9)).filter(lambda t: t != (1, 1))
VOLUME = {"all_reduce": 2.0, "reduce_scatter": 1.0, "all_gather": 1.0}
rings = st.sampled_from(sorted(VOLUME))


def adapters(flows: Pattern, local: int) -> tuple[np.ndarray, np.ndarray]:
    """Return bytes that each member sends to, and receives from, other nodes."""
    crosses = flows.src // local != flows.dst // local
    out = np.bincount(flows.src[crosses], flows.fraction[crosses], flows.n)
    into = np.bincount(flows.dst[crosses], flows.fraction[crosses], flows.n)
    return out, into


@given(nodes_and_local, rings)
def test_ring_bytes_in_and_out_of_every_member(shape: tuple[int, int], collective: str) -> None:
    """Members of a ring send and receive (n-1)/n S in a reduce-scatter or an all-gather."""
    n = shape[0] * shape[1]
    flows = pattern(collective, "ring", (shape[1], shape[0]))
    share = VOLUME[collective] * (n - 1) / n
    np.testing.assert_allclose(np.bincount(flows.src, flows.fraction, n), share, rtol=1e-12)
    np.testing.assert_allclose(np.bincount(flows.dst, flows.fraction, n), share, rtol=1e-12)


@given(nodes_and_local, rings)
def test_ring_uses_all_adapters_evenly(shape: tuple[int, int], collective: str) -> None:
    nodes, local = shape
    n = nodes * local
    share = VOLUME[collective] * (n - 1) / n / local if nodes > 1 else 0.0
    for side in adapters(pattern(collective, "ring", (local, n // local)), local):
        np.testing.assert_allclose(side, share, rtol=1e-12)


@given(nodes_and_local)
def test_ring_channels_visit_every_member_once_and_each_node_in_one_go(
    shape: tuple[int, int],
) -> None:
    nodes, local = shape
    flows = pattern("all_gather", "ring", (local, nodes))
    for channel in np.unique(flows.channel):
        of = flows.channel == channel
        assert sorted(flows.src[of]) == sorted(flows.dst[of]) == list(range(nodes * local))
        crossings = (flows.src[of] // local != flows.dst[of] // local).sum()
        assert crossings == (nodes if nodes > 1 else 0)


@given(nodes_and_local)
def test_ring_hops_between_nodes_stay_on_their_rail(shape: tuple[int, int]) -> None:
    """All of them, unless pairs on an odd number of nodes make the last hop impossible."""
    nodes, local = shape
    flows = pattern("all_gather", "ring", (local, nodes))
    crosses = flows.src // local != flows.dst // local
    off_rail = crosses & (flows.src % local != flows.dst % local)
    expected = local if local == 2 and nodes % 2 and nodes > 1 else 0
    assert off_rail.sum() == expected


@given(nodes_and_local)
def test_tree_bytes_are_bounded_and_spread_over_adapters(shape: tuple[int, int]) -> None:
    """At most S up and S down each way for a member; each channel crosses nodes on its rail."""
    nodes, local = shape
    n = nodes * local
    flows = pattern("all_reduce", "tree", (local, n // local))
    for side in (flows.src, flows.dst):
        assert np.bincount(side, flows.fraction, n).max() <= 2 * (1 + 1e-12)
    assert flows.fraction.sum() == pytest.approx(2 * (n - 1))
    for side in adapters(flows, local):
        by_rail = side.reshape(nodes, local)
        np.testing.assert_allclose(by_rail, by_rail[:, :1] * np.ones(local))
        assert by_rail.max(initial=0) <= 2 / local * (1 + 1e-12)


@given(nodes_and_local)
def test_patterns_are_cached_and_read_only(shape: tuple[int, int]) -> None:
    flows = pattern("all_gather", "ring", (shape[1], shape[0]))
    assert flows is pattern("all_gather", "ring", (shape[1], shape[0]))
    with pytest.raises(ValueError, match="read-only"):
        flows.fraction[0] = 0.0
