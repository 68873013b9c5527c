"""Every algorithm of every collective: closed forms, what reaches whom, and bytes on the wire."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from distsim.collectives.algorithms import ALGORITHMS, pattern, schedule
from distsim.collectives.closed_forms import CLOSED_FORMS
from distsim.collectives.flows import Schedule, Shape, fluid
from distsim.engine.steps import Messages, run_steps

LATENCY_S, BANDWIDTH, SIZE = 3e-6, 25e9, 1e8
SHAPES: list[Shape] = [(n,) for n in (2, 3, 4, 5, 7, 8, 12, 16, 17)]
SHAPES += [(2, 2), (4, 2), (8, 3), (3, 4), (1, 5), (8, 8), (2, 2, 2), (4, 3, 2), (8, 2, 4)]
KEYS = sorted(ALGORITHMS)


def cases() -> list[tuple[str, str, Shape]]:
    """Return all that can run; a refusal is for a reason, tested below."""
    out = []
    for collective, algorithm in KEYS:
        for shape in SHAPES:
            try:
                schedule(collective, algorithm, shape)
            except ValueError:
                continue
            out.append((collective, algorithm, shape))
    return out


CASES = cases()


def lock_step_s(plan: Schedule) -> float:
    """Time on a switch with a port each: rounds in turn, or all at once where pipelined."""

    def busiest(rounds: list) -> float:
        out = sum(np.bincount(r.src, r.fraction * r.repeat, plan.n) for r in rounds)
        into = sum(np.bincount(r.dst, r.fraction * r.repeat, plan.n) for r in rounds)
        return SIZE * max(np.max(out), np.max(into)) / BANDWIDTH

    latency = LATENCY_S * sum(float(r.hops.sum()) * r.repeat for r in plan.rounds)
    rounds = list(plan.rounds)
    if plan.pipelined:
        return latency + (busiest(rounds) if rounds else 0.0)
    return latency + sum(busiest([r]) for r in rounds)


def test_every_algorithm_has_a_closed_form() -> None:
    assert set(CLOSED_FORMS) == set(ALGORITHMS)
    assert {(c, a) for c, a, _ in CASES} == set(ALGORITHMS)


@pytest.mark.parametrize(("collective", "algorithm", "shape"), CASES)
def test_the_schedule_takes_its_closed_form(collective: str, algorithm: str, shape: Shape) -> None:
    plan = schedule(collective, algorithm, shape)
    closed = CLOSED_FORMS[collective, algorithm](shape, SIZE, LATENCY_S, BANDWIDTH)
    if algorithm == "torus" and len({m for m in shape if m > 1}) > 1:
        # Rings of different lengths in one phase: parts differ, and the longest sets the pace.
        assert lock_step_s(plan) <= closed * 1.5
        return
    if algorithm in ("tree", "nvls_tree") and prod(shape[1:]) > 3:
        # Where the busiest member of a tree stands is the tree's affair; it is never worse.
        assert lock_step_s(plan) <= closed * (1 + 1e-12)
        return
    assert lock_step_s(plan) == pytest.approx(closed, rel=1e-12)


@pytest.mark.parametrize(("collective", "algorithm", "shape"), CASES)
def test_steps_on_a_switch_take_the_fluid(collective: str, algorithm: str, shape: Shape) -> None:
    """Message by message with ports all alike: the same, or within the bound of a pipeline."""
    plan = schedule(collective, algorithm, shape)
    if plan.pipelined or not plan.rounds:
        return
    rounds = []
    for r in plan.rounds:
        ends = np.stack([r.src, plan.n + r.dst], axis=1).ravel().astype(np.int64)
        ptr = 2 * np.arange(len(r.src) + 1)
        alike = np.full(len(r.src), LATENCY_S)
        none = np.full(len(r.src), -1)
        src, dst = r.src.astype(np.int64), r.dst.astype(np.int64)
        rounds.append(Messages(src, dst, r.fraction * SIZE, alike, ptr, ends, r.repeat, none))
    run = run_steps(rounds, plan.n, np.full(2 * plan.n, BANDWIDTH))
    fluid_s = lock_step_s(plan)
    uneven = algorithm == "torus" and len({m for m in shape if m > 1}) > 1
    folded = algorithm in ("recursive_doubling", "halving_doubling") and plan.n & (plan.n - 1)
    if uneven or (folded and collective == "all_reduce") or algorithm == "binomial":
        assert run.time_s <= fluid_s * (1 + 1e-9)
    else:
        assert run.time_s == pytest.approx(fluid_s, rel=1e-9)


def reached(plan: Schedule) -> np.ndarray:
    """Return whose contribution can have reached whom: bool[member, contributor]."""
    known = np.eye(plan.n, dtype=bool)
    for r in plan.rounds:
        for _ in range(r.repeat):
            before = known.copy()
            for a, b in zip(r.src, r.dst, strict=True):
                known[b] |= before[a]
    return known


def received(plan: Schedule) -> tuple[np.ndarray, np.ndarray]:
    sent = sum((np.bincount(r.src, r.fraction * r.repeat, plan.n) for r in plan.rounds), 0.0)
    got = sum((np.bincount(r.dst, r.fraction * r.repeat, plan.n) for r in plan.rounds), 0.0)
    return sent + np.zeros(plan.n), got + np.zeros(plan.n)


@pytest.mark.parametrize(("collective", "algorithm", "shape"), CASES)
def test_contributions_reach_everyone_they_must(
    collective: str, algorithm: str, shape: Shape
) -> None:
    plan = schedule(collective, algorithm, shape)
    known = reached(plan)
    if algorithm in ("nvls", "nvls_tree", "sharp"):
        return  # switches pass sums on; members do not
    if collective == "send_recv":
        from_before = np.roll(np.eye(plan.n, dtype=bool), 1, axis=0)
        assert (known == (np.eye(plan.n, dtype=bool) | from_before)).all()
    elif collective in ("broadcast", "send"):
        assert known[:, 0].all()
    elif collective == "reduce":
        assert known[0].all()
    else:
        assert known.all()


#: Bytes that every member has to receive, and to send, over S, at the least.
LEAST = {
    "all_reduce": lambda n: (n - 1) / n,
    "all_gather": lambda n: (n - 1) / n,
    "reduce_scatter": lambda n: (n - 1) / n,
    "all_to_all": lambda n: (n - 1) / n,
}
IN_NETWORK = ("nvls", "nvls_tree", "sharp")


@pytest.mark.parametrize(("collective", "algorithm", "shape"), CASES)
def test_bytes_in_and_out(collective: str, algorithm: str, shape: Shape) -> None:
    plan = schedule(collective, algorithm, shape)
    n = plan.n
    sent, got = received(plan)
    assert sent.sum() == pytest.approx(got.sum())
    if collective == "broadcast":
        assert (got[1:] >= 1 - 1e-12).all()
    elif collective == "reduce":
        assert (sent[1:] >= 1 - 1e-12).all()
    elif collective == "send_recv":
        np.testing.assert_allclose([sent, got], 1.0, rtol=1e-12)
    elif collective in LEAST and algorithm not in IN_NETWORK:
        # In all, every block has to leave its owner once; an all-reduce takes both ways.
        times = 2 if collective == "all_reduce" else 1
        least = times * n * LEAST[collective](n)
        assert got.sum() >= least * (1 - 1e-12)
        once = ("ring", "two_shot", "direct", "pairwise", "hierarchical", "torus")
        if algorithm in once and (collective, algorithm) != ("all_to_all", "hierarchical"):
            # These move no byte twice.
            assert got.sum() == pytest.approx(least)


@pytest.mark.parametrize("n", [2, 4, 8])
def test_nvls_beats_the_ring_by_the_textbook_factor(n: int) -> None:
    """2 (n - 1) / n against 1 + 1/n on every link (Klenk et al. 2020)."""
    ring, nvls = (received(schedule("all_reduce", a, (n,)))[0].max() for a in ("ring", "nvls"))
    assert ring / nvls == pytest.approx(2 * (n - 1) / (n + 1))


@pytest.mark.parametrize("shape", [(4,), (2, 4), (4, 4), (4, 4, 4)])
def test_a_torus_loads_every_link_once_and_alike(shape: Shape) -> None:
    """2D parts on 2D links of each member: S/(2D) (n-1)/n for a reduce-scatter (Jain 2010)."""
    plan = schedule("reduce_scatter", "torus", shape)
    n, dims = prod(shape), len([m for m in shape if m > 1])
    load: dict[tuple[int, int], float] = {}
    for r in plan.rounds:
        for a, b, f in zip(r.src.tolist(), r.dst.tolist(), r.fraction * r.repeat, strict=True):
            load[a, b] = load.get((a, b), 0.0) + f
    values = np.array(list(load.values()))
    if len(set(shape)) == 1 and shape[0] > 2:
        assert len(values) == 2 * dims * n
        np.testing.assert_allclose(values, (n - 1) / n / (2 * dims), rtol=1e-12)


@pytest.mark.parametrize(
    ("collective", "algorithm", "shape", "reason"),
    [
        ("all_gather", "recursive_doubling", (6,), "power of two"),
        ("reduce_scatter", "halving", (12,), "power of two"),
        ("all_reduce", "nvls", (8, 2), "one node"),
        ("all_reduce", "nvls_tree", (8,), "one"),
        ("all_to_all", "direct", (8, 1024), "hierarchical"),
    ],
)
def test_refusals_say_why(collective: str, algorithm: str, shape: Shape, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        schedule(collective, algorithm, shape)


@pytest.mark.parametrize(("collective", "algorithm", "shape"), CASES)
def test_flows_hold_the_bytes_and_hops_of_the_rounds(
    collective: str, algorithm: str, shape: Shape
) -> None:
    plan, flows = schedule(collective, algorithm, shape), pattern(collective, algorithm, shape)
    sent, _ = received(plan)
    np.testing.assert_allclose(np.bincount(flows.src, flows.fraction, plan.n), sent, rtol=1e-12)
    hops = sum(float(r.hops.sum()) * r.repeat for r in plan.rounds)
    assert flows.latency_hops.sum() == pytest.approx(hops)
    different = {id(r) for r in plan.rounds if len(r.src)}
    phases = 1 if plan.pipelined else len(different)
    assert len(np.unique(flows.phase)) == (phases if len(flows.src) else 0)
    assert fluid(plan).n == plan.n
