"""All-to-all with unequal shares: closed forms, the equal case, bytes, and who is who."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.collectives import unequal
from distsim.collectives.algorithms import schedule
from distsim.collectives.flows import Schedule, Shape, fluid
from distsim.collectives.unequal import UNEQUAL
from distsim.hardware.catalogue import load_topology
from distsim.study.collective import collective_report
from distsim.study.unequal import Shares, balance

LATENCY_S, BANDWIDTH, SIZE = 3e-6, 25e9, 1e8
SHAPES: list[Shape] = [(2,), (3,), (8,), (4, 2), (3, 4), (1, 5), (2, 2, 3), (8, 2, 2)]
ALGORITHMS = sorted(UNEQUAL)


def matrix(n: int, seed: int, *, zeros: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    amounts = rng.exponential(size=(n, n)) * (rng.random((n, n)) >= zeros)
    amounts[0, -1] += 1.0
    return unequal.in_proportion(amounts)


def lock_step_s(plan: Schedule) -> float:
    """Rounds in turn on a switch with a port each; every member sends and receives at once."""
    total = 0.0
    for r in plan.rounds:
        out = np.bincount(r.src, r.fraction, plan.n)
        into = np.bincount(r.dst, r.fraction, plan.n)
        total += LATENCY_S + SIZE * max(out.max(), into.max()) / BANDWIDTH
    return total


def carried(plan: Schedule) -> np.ndarray:
    """Bytes over S from each member to each, in all rounds."""
    out = np.zeros((plan.n, plan.n))
    for r in plan.rounds:
        np.add.at(out, (r.src, r.dst), r.fraction)
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_equal_shares_are_the_equal_all_to_all(algorithm: str, shape: Shape) -> None:
    n = prod(shape)
    plan = UNEQUAL[algorithm](np.full((n, n), 1 / n), shape)
    equal = schedule("all_to_all", algorithm, shape)
    np.testing.assert_allclose(carried(plan), carried(equal), rtol=1e-12)
    assert len(plan.rounds) == len(equal.rounds)
    ours, theirs = fluid(plan), fluid(equal)
    assert ours.latency_hops.sum() == pytest.approx(theirs.latency_hops.sum(), rel=1e-12)
    assert lock_step_s(plan) == pytest.approx(lock_step_s(equal), rel=1e-12)


@pytest.mark.parametrize("detail", ["fluid", "steps"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_equal_shares_take_the_same_on_a_cluster(algorithm: str, detail: str) -> None:
    args = ("all_to_all", "dgx-a100-superpod", 16, [0.0, 1e5, 1e9], algorithm)
    ours = collective_report(*args, detail=detail, shares=Shares("x", np.full((16, 16), 1 / 16)))
    theirs = collective_report(*args, detail=detail)
    for a, b in zip(ours.rows, theirs.rows, strict=True):
        assert a.time_s == pytest.approx(b.time_s, rel=1e-12)
        assert (a.algorithm, a.protocol) == (b.algorithm, b.protocol)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", SHAPES)
def test_schedules_take_their_closed_forms(shape: Shape, seed: int) -> None:
    shares = matrix(prod(shape), seed)
    wire = (SIZE, LATENCY_S, BANDWIDTH)
    direct = lock_step_s(unequal.direct(shares, shape))
    pairwise = lock_step_s(unequal.pairwise(shares, shape))
    levels = lock_step_s(unequal.hierarchical(shares, shape))
    assert direct == pytest.approx(unequal.direct_s(shares, *wire), rel=1e-12)
    assert pairwise == pytest.approx(unequal.pairwise_s(shares, *wire), rel=1e-12)
    assert levels == pytest.approx(unequal.hierarchical_s(shares, shape, *wire), rel=1e-12)
    bound = unequal.lower_bound_s(shares, SIZE, BANDWIDTH)
    assert bound < direct <= pairwise * (1 + 1e-12)
    assert bound < levels * (1 + 1e-12)


def test_closed_forms_by_hand() -> None:
    """Member 1 receives 1.5 S, more than anyone sends; the diagonal stays at home."""
    shares = np.array([[9.0, 0.5, 0.0], [0.25, 0.0, 0.25], [0.125, 1.0, 0.0]])
    assert unequal.lower_bound_s(shares, 8.0, 2.0) == 1.5 * 8 / 2
    assert unequal.direct_s(shares, 8.0, 0.5, 2.0) == 0.5 + 6
    # Round 1 is 0 to 1, 1 to 2, 2 to 0: at most 0.5. Round 2 is 0 to 2, 1 to 0, 2 to 1: 1.0.
    assert unequal.pairwise_s(shares, 8.0, 0.5, 2.0) == 2 * 0.5 + 8 * (0.5 + 1.0) / 2
    assert unequal.loads(shares)[0].tolist() == [0.5, 0.5, 1.125]
    assert unequal.loads(shares)[1].tolist() == [0.375, 1.5, 0.25]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_byte_arrives(shape: Shape) -> None:
    """Sent minus received over all rounds is what a member sends minus what is for it."""
    n = prod(shape)
    shares = matrix(n, 7)
    sent, received = unequal.loads(shares)
    for build in UNEQUAL.values():
        passed = carried(build(shares, shape))
        balance_of = passed.sum(axis=1) - passed.sum(axis=0)
        np.testing.assert_allclose(balance_of, sent - received, atol=1e-12)
    for build in (unequal.direct, unequal.pairwise):
        expected = shares * (1 - np.eye(n))
        np.testing.assert_allclose(carried(build(shares, shape)), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 2), (3, 4), (2, 2, 3), (6,)])
def test_hierarchical_block_by_block(shape: Shape) -> None:
    """Every block is carried by hand: at each level to where its receiver stands in it."""
    n = prod(shape)
    shares = matrix(n, 11)
    rounds: list[dict[tuple[int, int], float]] = [{} for _ in shape]
    for sender in range(n):
        for receiver in range(n):
            at = sender
            for level, passed in enumerate(rounds):
                low, high = prod(shape[:level]), prod(shape[: level + 1])
                following = at // high * high + receiver % high // low * low + at % low
                if following != at and shares[sender, receiver] > 0 and sender != receiver:
                    key = (at, following)
                    passed[key] = passed.get(key, 0.0) + shares[sender, receiver]
                at = following
            assert at == receiver
    plan = unequal.hierarchical(shares, shape)
    for r, passed in zip(plan.rounds, [p for p in rounds if p], strict=True):
        pairs = zip(r.src.tolist(), r.dst.tolist(), strict=True)
        assert dict(zip(pairs, r.fraction.tolist(), strict=True)) == pytest.approx(passed)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_members_may_be_renamed(seed: int, n: int) -> None:
    """All at once nothing depends on the order; in rounds, nothing on where counting begins."""
    rng = np.random.default_rng(seed)
    shares = matrix(n, seed)
    order = rng.permutation(n)
    renamed = shares[np.ix_(order, order)]
    before, after = carried(unequal.direct(shares, (n,))), carried(unequal.direct(renamed, (n,)))
    np.testing.assert_array_equal(before[np.ix_(order, order)], after)
    turned = np.roll(shares, (int(order[0]),) * 2, axis=(0, 1))
    wire = (SIZE, LATENCY_S, BANDWIDTH)
    assert unequal.pairwise_s(turned, *wire) == pytest.approx(unequal.pairwise_s(shares, *wire))
    a, b = unequal.pairwise(shares, (n,)), unequal.pairwise(turned, (n,))
    assert lock_step_s(a) == pytest.approx(lock_step_s(b), rel=1e-12)


def test_nodes_and_rails_may_be_renamed() -> None:
    shares = matrix(12, 3)
    index = np.arange(12).reshape(3, 4)
    order = index[[2, 0, 1]][:, [1, 3, 0, 2]].ravel()
    renamed = shares[np.ix_(order, order)]
    shape = (4, 3)
    before = carried(unequal.hierarchical(shares, shape))
    after = carried(unequal.hierarchical(renamed, shape))
    np.testing.assert_allclose(before[np.ix_(order, order)], after, atol=1e-15)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_steps_take_no_longer_than_the_fluid_and_no_less_than_the_port(algorithm: str) -> None:
    shares = Shares("x", matrix(8, 5))
    args = ("all_to_all", "dgx-a100", 8, [1e8], algorithm, "ideal")
    fluid_s, steps_s = (
        collective_report(*args, detail=d, shares=shares).rows[0].time_s for d in ("fluid", "steps")
    )
    link = load_topology("dgx-a100", 8).classes[0]
    capacity = link.bandwidth_bytes_per_s * link.efficiency
    port_s = unequal.lower_bound_s(shares.matrix, 1e8, capacity)
    assert port_s <= steps_s <= fluid_s * (1 + 1e-9)


def test_one_node_of_a_cluster_takes_the_closed_form() -> None:
    shares = Shares("x", matrix(8, 9, zeros=0.0))
    link = load_topology("dgx-a100", 8).classes[0]
    wire = (1e9, 2 * link.latency_s, link.bandwidth_bytes_per_s * link.efficiency)
    for algorithm, closed in (("direct", unequal.direct_s), ("pairwise", unequal.pairwise_s)):
        report = collective_report(
            "all_to_all", "dgx-a100", 8, [1e9], algorithm, "ideal", shares=shares
        )
        assert report.rows[0].time_s == pytest.approx(closed(shares.matrix, *wire), rel=1e-9)


def test_the_size_is_what_members_send_on_average() -> None:
    shares = matrix(6, 1) * 17.0
    assert unequal.in_proportion(shares).sum(axis=1).mean() == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(unequal.in_proportion(shares), matrix(6, 1), rtol=1e-12)
    huge = unequal.in_proportion(np.full((3, 3), 1e308))
    np.testing.assert_allclose(huge, 1 / 3, rtol=1e-12)


def test_popular_members_are_popular_with_everyone() -> None:
    rng = np.random.default_rng(0)
    popularity = unequal.zipf(16, 1.2, rng)
    expected = np.arange(1, 17) ** -1.2
    np.testing.assert_allclose(np.sort(popularity)[::-1], expected / expected.sum(), rtol=1e-12)
    shares = unequal.in_proportion(unequal.by_popularity(popularity))
    assert (shares == shares[0]).all()
    assert shares.sum(axis=1) == pytest.approx(np.ones(16))
    even = unequal.by_popularity(unequal.zipf(16, 0.0, rng))
    np.testing.assert_allclose(even, 1 / 16, rtol=1e-12)
    # The variance of a part of a symmetric Dirichlet vector is (1/n)(1 - 1/n) / (n a + 1).
    drawn = np.array([unequal.dirichlet(4, 0.5, rng) for _ in range(20_000)])
    np.testing.assert_allclose(drawn.var(axis=0), 0.25 * 0.75 / 3, rtol=0.05)


def test_the_slowest_member_is_named() -> None:
    shares = Shares("x", np.array([[0.0, 2.0, 2.0], [0.0, 0.0, 3.0], [1.0, 0.0, 0.0]]))
    found = balance(shares, ["a", "b", "c"])
    # Member 2 receives 5 of 8 in all; the mean is 8/3.
    assert (found.slowest_member, found.slowest_device, found.side) == (2, "c", "receives")
    assert found.imbalance == found.received_imbalance == pytest.approx(5 / (8 / 3))
    assert found.sent_imbalance == pytest.approx(4 / (8 / 3))
    still = balance(Shares("x", np.eye(3)), ["a", "b", "c"])
    assert still.imbalance == 1.0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (np.ones((2, 3)), "3 rows of 3 numbers"),
        (np.ones(9), "3 rows of 3 numbers"),
        (np.ones((4, 4)), "3 rows of 3 numbers"),
        (-np.ones((3, 3)), "at least 0"),
        (np.full((3, 3), np.nan), "at least 0"),
        (np.full((3, 3), np.inf), "at least 0"),
    ],
)
def test_what_is_no_matrix_of_shares(algorithm: str, wrong: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        UNEQUAL[algorithm](wrong, (3,))


def test_nothing_to_send_is_no_shares() -> None:
    with pytest.raises(ValueError, match="nobody sends"):
        unequal.in_proportion(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="more than"):
        unequal.direct(np.zeros((5000, 5000)), (5000,))
    # What stays at home takes no time.
    assert unequal.direct(np.eye(3), (3,)).rounds == ()
    assert unequal.direct_s(np.eye(3), SIZE, LATENCY_S, BANDWIDTH) == 0.0
