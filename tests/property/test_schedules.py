"""Schedules of any size at any times, orders with mistakes in them, and files with anything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from distsim.errors import CODES, PlanError, SyntaxProblem
from distsim.schedule import REGISTRY, Actions, Placement, Schedule
from distsim.schedule.actions import make
from distsim.schedule.check import check
from distsim.schedule.csv_actions import parse, read, write
from distsim.schedule.schedule import looped
from distsim.schedule.timing import unit_times
from tests.schedules import fits, is_complete, rows_of, sweep

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TIMES = st.tuples(*[st.integers(1, 12).map(float)] * 3)


@st.composite
def cases(draw: st.DrawFn, most: int = 9) -> tuple[Schedule, int, int, int]:
    """Draw a schedule with stages, micro batches and chunks that it takes."""
    schedule = REGISTRY[draw(st.sampled_from(sorted(REGISTRY)))]
    p = draw(st.integers(1, most))
    v = schedule.chunks or draw(st.integers(1, 4))
    m = draw(st.integers(1, 3 * most))
    if not fits(schedule, p, m, v):
        # The next numbers that all schedules take.
        p, m = p + p % 2, 2 * (p + p % 2) * draw(st.integers(1, 3))
    return schedule, p, m, v


def same(one: Actions, other: Actions) -> bool:
    """Say whether two orders are equal."""
    fields = ("kind", "microbatch", "chunk", "paired")
    return all(np.array_equal(getattr(one, f), getattr(other, f)) for f in fields)


@SETTINGS
@given(cases(), TIMES, st.integers(0, 5).map(float))
def test_a_schedule_runs_as_the_second_evaluator_runs_it(
    case: tuple[Schedule, int, int, int], fiw: tuple[float, float, float], hop: float
) -> None:
    schedule, p, m, v = case
    f, i, w = fiw
    orders, placement = schedule.order(p, m, v), schedule.placement(p, v)
    rows = rows_of(orders, placement)
    assert is_complete(rows, p * v, schedule.replicas)
    share = schedule.replicas / v
    took = {"F": f * share, "B": (i + w) * share, "I": i * share, "W": w * share}
    wanted = sweep(rows, p * v, schedule.replicas, took, hop)
    assert wanted is not None
    times, doubled = (
        unit_times(
            orders,
            placement,
            replicas=schedule.replicas,
            forward_s=f * factor,
            input_s=i * factor,
            weight_s=w * factor,
            hop_s=hop * factor,
        )
        for factor in (1.0, 2.0)
    )
    assert times.makespan_s == pytest.approx(max(row[-1][1] for row in wanted))
    assert doubled.makespan_s == pytest.approx(2 * times.makespan_s)


@SETTINGS
@given(cases(), st.booleans())
def test_a_file_reads_back_as_it_was_written(
    case: tuple[Schedule, int, int, int], communication: bool
) -> None:
    schedule, p, m, v = case
    orders, placement = schedule.order(p, m, v), schedule.placement(p, v)
    table = parse(write(orders, placement, communication=communication), "x.csv")
    assert (table.placement, table.microbatches) == (placement, m)
    assert table.replicas == schedule.replicas
    assert all(same(a, b) for a, b in zip(orders, table.orders, strict=True))


@SETTINGS
@given(st.integers(1, 10), st.integers(0, 30), TIMES)
def test_the_bubble_of_zb_h1_is_one_of_three_waits(
    p: int, extra: int, fiw: tuple[float, float, float]
) -> None:
    """Of Qi 2023's table 2 where W is not the longest, whatever else the times are."""
    m, (f, i, w) = p + extra, fiw
    schedule = REGISTRY["zb-h1"]
    times = unit_times(schedule.order(p, m, 1), looped(p, 1), forward_s=f, input_s=i, weight_s=w)
    waits = ((p - 1) * f, (p - 1) * i, (p - 1) * (f + i - w))
    assert times.makespan_s - m * sum(fiw) == pytest.approx(max(waits))
    assert schedule.bubble(p, m, 1, *fiw) == pytest.approx(times.bubble)


Change = tuple[str, int, int, int]
CHANGES = st.tuples(
    st.sampled_from(["swap", "drop", "again", "microbatch", "kind"]),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 3),
)


def changed(orders: list[Actions], changes: list[Change]) -> list[Actions]:
    """Return orders with a few mistakes, and without pairs."""
    rows = [
        list(zip(o.kind.tolist(), o.microbatch.tolist(), o.chunk.tolist(), strict=True))
        for o in orders
    ]
    for what, first, second, number in changes:
        row = rows[first % len(rows)]
        if not row:
            continue
        a, b = second % len(row), (second + 1 + number) % len(row)
        kind, microbatch, chunk = row[a]
        if what == "swap":
            row[a], row[b] = row[b], row[a]
        elif what == "drop":
            del row[a]
        elif what == "again":
            row.insert(b, row[a])
        elif what == "microbatch":
            row[a] = (kind, number, chunk)
        else:
            row[a] = (number, microbatch, chunk)
    return [make(*np.asarray(row, dtype=int).reshape(-1, 3).T) for row in rows]


@settings(SETTINGS, max_examples=200)
@given(cases(4), st.lists(CHANGES, min_size=1, max_size=2))
def test_the_check_refuses_just_what_cannot_run(
    case: tuple[Schedule, int, int, int], changes: list[Change]
) -> None:
    schedule, p, m, v = case
    placement: Placement = schedule.placement(p, v)
    orders = changed(list(schedule.order(p, m, v)), changes)
    rows = rows_of(orders, placement)
    took = dict.fromkeys("FBIW", 1.0)
    legal = is_complete(rows, p * v, schedule.replicas) and bool(
        sweep(rows, p * v, schedule.replicas, took)
    )
    try:
        check(orders, placement, schedule.replicas)
    except PlanError as error:
        assert not legal, error
        assert error.code == "DS317" and error.rule and error.fix
    else:
        assert legal


PIECES = st.sampled_from(
    [",", "\n", ",,", '"', "(", ";", ")OVERLAP_F_B", "0F0", "1I2", "1W2", "0SEND_F1", "1UNSHARD",
     "9F9", "F", "\x00", "99999999999F0", "2F1,2B1", "0B0", " ", "\r", "٣F0"]
) | st.text(max_size=4)  # fmt: skip


@settings(SETTINGS, max_examples=300)
@given(cases(3), st.data())
def test_a_mutated_file_is_a_schedule_or_an_error(
    case: tuple[Schedule, int, int, int], data: st.DataObject
) -> None:
    schedule, p, m, v = case
    text = write(schedule.order(p, m, v), schedule.placement(p, v))
    assume(len(text) < 4000)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 6)))
        text = text[:start] + data.draw(PIECES) + text[end:]
    try:
        table = parse(text, "x.csv")
    except SyntaxProblem as error:
        assert error.code in CODES and "DS125" <= error.code <= "DS129"
        assert error.rule and error.fix and len(str(error)) < 1000
        assert error.place is not None and error.place.file == "x.csv"
    else:
        again = read(write(table.orders, table.placement), "y.csv")
        orders = again.order(table.stages, table.microbatches, len(table.placement[0]))
        assert all(same(a, b) for a, b in zip(orders, table.orders, strict=True))


@settings(SETTINGS, max_examples=200)
@given(st.text(alphabet=st.characters(codec=None), max_size=40))
def test_any_text_is_a_schedule_or_an_error(text: str) -> None:
    try:
        read(text, "x.csv")
    except SyntaxProblem as error:
        assert error.code in CODES
