"""Schedules against what their papers say, and the evaluator of schedules against another one.

Closed forms are written out here from the papers, in the times F, I and W of a forward pass, an
input gradient and a weight gradient of one micro batch on one stage.
"""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from distsim.errors import PlanError
from distsim.schedule import REGISTRY, Actions, Schedule, actions, chunks_of, peak_in_flight
from distsim.schedule.actions import FORWARD
from distsim.schedule.check import check
from distsim.schedule.summary import peak_held
from distsim.schedule.timing import Times, unit_times
from tests.schedules import Key, is_complete, listed, plans, rows_of, sweep

EQUAL = (1.0, 1.0, 1.0)
UNEQUAL = [EQUAL, (1.0, 1.25, 0.75), (2.0, 3.0, 1.0), (1.5, 1.0, 2.5)]
GRID = list(plans((1, 2, 3, 4, 8), (1, 2, 3, 4, 8, 16)))


def run(name: str, p: int, m: int, v: int = 1, fiw: tuple[float, float, float] = EQUAL) -> Times:
    schedule = REGISTRY[name]
    return timed(schedule, p, m, chunks_of(schedule, v), fiw)


def timed(
    schedule: Schedule, p: int, m: int, chunks: int, fiw: tuple[float, float, float], **how: float
) -> Times:
    f, i, w = fiw
    return unit_times(
        schedule.order(p, m, chunks),
        schedule.placement(p, chunks),
        replicas=schedule.replicas,
        forward_s=f,
        input_s=i,
        weight_s=w,
        **how,
    )


def of(name: str, step: int = 1) -> list[tuple[int, int, int]]:
    """Return stages, micro batches and chunks of the cases of a schedule, or every so manieth."""
    return [case[1:] for case in GRID if case[0] == name][::step]


# What every schedule has to be.


@pytest.mark.parametrize("name", REGISTRY)
def test_every_schedule_is_complete_and_comes_to_an_end(name: str) -> None:
    schedule = REGISTRY[name]
    assert len(of(name)) >= 6
    for p, m, v in of(name):
        orders, placement = schedule.order(p, m, v), schedule.placement(p, v)
        rows = rows_of(orders, placement)
        assert is_complete(rows, p * v, schedule.replicas), (p, m, v)
        assert sweep(rows, p * v, schedule.replicas, dict.fromkeys("FBIW", 1.0)), (p, m, v)
        check(orders, placement, schedule.replicas)
        assert all(order.microbatch.dtype == np.int32 for order in orders)


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("hop", [0.0, 0.3])
def test_times_are_those_of_the_second_evaluator(name: str, hop: float) -> None:
    schedule, (f, i, w) = REGISTRY[name], (1.0, 1.25, 0.75)
    for p, m, v in of(name, 2):
        share = schedule.replicas / v
        took = {"F": f * share, "B": (i + w) * share, "I": i * share, "W": w * share}
        orders, placement = schedule.order(p, m, v), schedule.placement(p, v)
        wanted = sweep(rows_of(orders, placement), p * v, schedule.replicas, took, hop)
        times = timed(schedule, p, m, v, (f, i, w), hop_s=hop)
        assert wanted is not None
        for stage, row in enumerate(wanted):
            found = np.column_stack([times.start_s[stage], times.end_s[stage]])
            assert found == pytest.approx(np.asarray(row)), (p, m, v, stage)
        assert times.busy_s == pytest.approx([m * (f + i + w)] * p)


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("fiw", UNEQUAL)
def test_no_schedule_beats_its_longest_chain_or_its_busiest_stage(
    name: str, fiw: tuple[float, float, float]
) -> None:
    """A micro batch goes down and up all layers, and every stage does all of its work."""
    for p, m, v in of(name, 3):
        times = run(name, p, m, v, fiw)
        assert times.makespan_s >= p * (fiw[0] + fiw[1]) - 1e-9
        assert times.makespan_s >= m * sum(fiw) - 1e-9
        assert times.staggered_bubble <= times.bubble + 1e-12


@pytest.mark.parametrize("name", REGISTRY)
def test_makespan_is_the_longest_path_that_networkx_finds(name: str) -> None:
    """A third evaluator, of a library: the same dependencies as a graph with weights."""
    schedule, (f, i, w) = REGISTRY[name], (1.0, 1.25, 0.75)
    for p, m, v in of(name, 7):
        share = schedule.replicas / v
        took = {"F": f * share, "B": (i + w) * share, "I": i * share, "W": w * share}
        rows = rows_of(schedule.order(p, m, v), schedule.placement(p, v))
        longest = nx.dag_longest_path_length(graph_of(rows, p * v // schedule.replicas, took))
        assert timed(schedule, p, m, v, (f, i, w)).makespan_s == pytest.approx(longest)


def graph_of(rows: list[list[Key]], per_copy: int, took: dict[str, float]) -> nx.DiGraph:
    """Return actions as vertices; an edge is as long as the action that it leaves."""
    there = {key for row in rows for key in row}
    graph = nx.DiGraph()
    for row in rows:
        before = list(pairwise(row)) + [(key, ("end", 0, 0)) for key in row]
        for letter, k, b in row:
            if letter == "F" and k % per_copy:
                before.append((("F", k - 1, b), ("F", k, b)))
            if letter in "BI" and k % per_copy < per_copy - 1:
                next_one = ("B" if ("B", k + 1, b) in there else "I", k + 1, b)
                before.append((next_one, (letter, k, b)))
        graph.add_edges_from((a, b, {"weight": took[a[0]]}) for a, b in before)
    return graph


# Bubbles.


@pytest.mark.parametrize("fiw", UNEQUAL)
@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_bubbles_that_depend_on_no_times(
    p: int, factor: int, fiw: tuple[float, float, float]
) -> None:
    m = factor * p
    # Narayanan 2021, 2.2.1 and 2.2.2: (p - 1) / m, and 1/v of it. One stage alone of p works.
    assert run("gpipe", p, m, 1, fiw).bubble == pytest.approx((p - 1) / m)
    assert run("1f1b", p, m, 1, fiw).bubble == pytest.approx((p - 1) / m)
    naive = run("naive", p, m, 1, fiw)
    assert naive.bubble == pytest.approx(p - 1)
    assert naive.busy_s / naive.makespan_s == pytest.approx([1 / p] * p)
    for v in (2, 3) if p > 1 else ():
        assert run("interleaved", p, m, v, fiw).bubble == pytest.approx((p - 1) / (v * m))


@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("extra", [0, 1, 7])
def test_zb_h1_has_a_third_of_the_bubble_of_1f1b_at_equal_times(p: int, extra: int) -> None:
    m = p + extra
    assert run("zb-h1", p, m).bubble == pytest.approx(run("1f1b", p, m).bubble / 3)


@pytest.mark.parametrize("fiw", [EQUAL, (1.0, 1.25, 0.75), (2.0, 3.0, 1.0), (3.0, 2.0, 2.0)])
@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("extra", [0, 1, 7])
def test_zb_h1_has_the_bubble_of_the_paper(
    p: int, extra: int, fiw: tuple[float, float, float]
) -> None:
    """(p - 1)(F + I - W), Qi 2023, table 2, where W is not the longest."""
    m, (f, i, w) = p + extra, fiw
    assert run("zb-h1", p, m, 1, fiw).bubble == pytest.approx(
        (p - 1) * (f + i - w) / (m * sum(fiw))
    )


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("extra", [0, 1, 6])
def test_zb_v_never_waits_at_equal_times(p: int, extra: int) -> None:
    """From its first action to its last each stage works: a bubble of 0 (Qi 2023, section 6)."""
    m = 2 * p - 1 + extra
    times = run("zb-v", p, m)
    assert times.staggered_bubble == pytest.approx(0.0, abs=1e-12)
    assert times.span_s == pytest.approx(times.busy_s)
    # Until the last stage is done it is p - 1 chunks of half a stage later.
    assert times.makespan_s == pytest.approx(3 * m + (p - 1) / 2)


@pytest.mark.parametrize("fiw", [EQUAL, (2.0, 2.0, 1.0), (5.0, 5.0, 4.0), (4.0, 4.0, 0.5)])
@pytest.mark.parametrize("p", [2, 4, 6, 8])
@pytest.mark.parametrize("extra", [0, 2, 10])
def test_dualpipe_has_the_bubble_of_the_paper(
    p: int, extra: int, fiw: tuple[float, float, float]
) -> None:
    """(p/2 - 1)(F&B + B - 3W), DeepSeek-AI 2024, table 2, with a pair as long as its two parts."""
    m, (f, i, w) = 2 * p + extra, fiw
    b = i + w
    pair = f + b
    times = timed(REGISTRY["dualpipe"], p, m, 2, fiw, pair_s=pair)
    assert times.makespan_s - m * (f + b) == pytest.approx((p / 2 - 1) * (pair + b - 3 * w))
    # One part of a pair after the other: each hands on its result as soon as it has it.
    assert run("dualpipe", p, m, 2, fiw).makespan_s <= times.makespan_s + 1e-9


def test_pairs_that_overlap_shorten_dualpipe() -> None:
    m, p = 16, 8
    whole = timed(REGISTRY["dualpipe"], p, m, 2, EQUAL, pair_s=3.0)
    faster = timed(REGISTRY["dualpipe"], p, m, 2, EQUAL, pair_s=2.0)
    paired = REGISTRY["dualpipe"].order(p, m, 2)[0].paired
    assert whole.busy_s[0] - faster.busy_s[0] == pytest.approx(paired.sum())
    assert faster.makespan_s < whole.makespan_s


@pytest.mark.parametrize("p", [1, 2, 4, 7])
def test_pipedream_2bw_has_no_bubble_in_steady_state(p: int) -> None:
    """A batch more takes m (F + B) more; no micro batch meets a third version of the weights."""
    for m in (p, p + 3):
        batch = run("pipedream-2bw", p, 2 * m).makespan_s - run("pipedream-2bw", p, m).makespan_s
        assert batch == pytest.approx(3 * m)
        for order in actions("pipedream-2bw", p, 4 * m):
            assert _most_batches_in_flight(order, m) <= 2
    schedule = REGISTRY["pipedream-2bw"]
    assert (schedule.flush, schedule.weight_versions) == (False, 2)


def _most_batches_in_flight(order: Actions, m: int) -> int:
    flying: set[int] = set()
    most = 0
    for letter, _, b in listed(order, (0,)):
        flying = flying | {b} if letter == "F" else flying - {b}
        most = max(most, len({x // m for x in flying}))
    return most


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("fiw", UNEQUAL)
def test_the_closed_form_is_never_above_what_is_measured(
    name: str, fiw: tuple[float, float, float]
) -> None:
    """That of DualPipe is of pairs in one piece, at F = I."""
    schedule = REGISTRY[name]
    f, i, w = fiw if schedule.replicas == 1 else (fiw[0], fiw[0], fiw[2])
    for p, m, v in of(name):
        closed = schedule.bubble(p, m, v, f, i, w)
        assert 0.0 <= closed <= timed(schedule, p, m, v, (f, i, w), pair_s=f + i + w).bubble + 1e-9


@pytest.mark.parametrize("fiw", [*UNEQUAL, (4.0, 1.0, 2.0), (1.0, 4.0, 2.0)])
@pytest.mark.parametrize("p", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("extra", [0, 1, 9])
def test_closed_forms_that_are_exact(p: int, extra: int, fiw: tuple[float, float, float]) -> None:
    m = p + extra
    for name in ("gpipe", "1f1b", "zb-h1", "naive"):
        closed = REGISTRY[name].bubble(p, m, 1, *fiw)
        assert closed == pytest.approx(run(name, p, m, 1, fiw).bubble, abs=1e-12), name


# Memory.


@pytest.mark.parametrize("p", [2, 4, 5, 8])
def test_micro_batches_in_flight(p: int) -> None:
    m = 4 * p
    assert [peak_held(a) for a in actions("gpipe", p, m)] == [m] * p
    assert [peak_held(a) for a in actions("naive", p, m)] == [1] * p
    assert [peak_held(a) for a in actions("1f1b", p, m)] == [p - s for s in range(p)]
    # Qi 2023, section 2.3: p - i + 1 before the input gradient and i - 1 before W at worker i.
    assert [peak_in_flight(a) for a in actions("zb-h1", p, m)] == [p - s for s in range(p)]
    assert [peak_held(a) for a in actions("zb-h1", p, m)] == [p] * p
    # 2 p chunk passes of half a stage: the memory of 1F1B's first stage.
    assert [peak_held(a) for a in actions("zb-v", p, m)] == [2 * p] * p


@pytest.mark.parametrize("p", [2, 4, 6, 8])
def test_dualpipe_holds_one_micro_batch_more_than_there_are_stages(p: int) -> None:
    """PP + 1, DeepSeek-AI 2024, table 2; in flight at once it has both directions."""
    for m in (2 * p, 4 * p):
        for order in actions("dualpipe", p, m):
            assert peak_held(order) == p + 1
            assert peak_in_flight(order) == p + 1


# The shape of single schedules.


def test_naive_moves_one_micro_batch_at_a_time() -> None:
    times = run("naive", 4, 3)
    intervals = sorted(
        (start, end)
        for starts, ends in zip(times.start_s, times.end_s, strict=True)
        for start, end in zip(starts, ends, strict=True)
    )
    assert all(a[1] <= b[0] for a, b in pairwise(intervals))


@pytest.mark.parametrize("p", [2, 4, 8])
def test_dualpipe_sends_each_half_from_its_end(p: int) -> None:
    schedule, m = REGISTRY["dualpipe"], 4 * p
    placement = schedule.placement(p, 2)
    assert placement == tuple((s, p + (p - 1 - s)) for s in range(p))
    orders = schedule.order(p, m, 2)
    for order in orders:
        assert set(order.microbatch[order.chunk == 0].tolist()) == set(range(m // 2))
        assert set(order.microbatch[order.chunk == 1].tolist()) == set(range(m // 2, m))
        first = np.flatnonzero(order.paired)
        assert (order.kind[first] == FORWARD).all()
        assert (order.chunk[first] != order.chunk[first + 1]).all()
    # The two halves of the pipeline do the same in opposite directions.
    for order, mirror in zip(orders, orders[::-1], strict=True):
        assert (order.kind == mirror.kind).all()
        assert (order.chunk == 1 - mirror.chunk).all()
        assert (order.microbatch == (mirror.microbatch + m // 2) % m).all()
    assert sum(int(order.paired.sum()) for order in orders) > 0


@pytest.mark.parametrize(
    ("name", "p", "m", "code"),
    [
        ("dualpipe", 3, 8, "DS315"),
        ("dualpipe", 1, 8, "DS315"),
        ("dualpipe", 4, 6, "DS314"),
        ("dualpipe", 4, 9, "DS314"),
        ("pipedream-2bw", 4, 3, "DS314"),
    ],
)
def test_plans_that_cannot_be(name: str, p: int, m: int, code: str) -> None:
    with pytest.raises(PlanError) as caught:
        actions(name, p, m)
    error = caught.value
    assert error.code == code
    assert error.path and error.value in (p, m) and str(p) in error.rule + error.message
    assert error.fix


@pytest.mark.parametrize("name", ["zb-v", "dualpipe"])
def test_chunks_are_not_chosen_where_the_schedule_has_its_own(name: str) -> None:
    assert len(actions(name, 4, 8, 2)) == len(actions(name, 4, 8)) == 4
    with pytest.raises(PlanError) as caught:
        actions(name, 4, 8, 3)
    assert caught.value.code == "DS310"
