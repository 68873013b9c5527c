"""What holds for every sweep, whatever comes of its combinations."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import distsim as ds
from distsim.study.evaluate import Outcome
from distsim.study.sweep.run import Sweep, sweep
from distsim.study.sweep.study import space_of
from tests.sweeping import SMALL, Counting, made_up

_TIMES = st.floats(1e-3, 1e3, allow_nan=False)
_KINDS = st.sampled_from(["fits", "fits", "does not fit", "not possible"])


@st.composite
def sweeps(draw: st.DrawFn) -> Sweep:
    """Return a sweep over devices and two keys, whose outcomes are made up."""
    counts = draw(st.lists(st.integers(1, 4096), min_size=1, max_size=5, unique=True))
    set_ = {
        "plan.tp": draw(st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True)),
        "seed": draw(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True)),
    }
    weak = draw(st.booleans())
    known: dict[str, Outcome] = {}

    def of(scenario: ds.Scenario) -> Outcome:
        n = scenario.cluster.devices
        key = str((n, scenario.plan.tp, scenario.seed))
        if key not in known:
            kind, time_s = draw(_KINDS), draw(_TIMES)
            flop = 1e9 * scenario.batch.global_size
            known[key] = (
                Outcome(n, code="DS301", message="made up")
                if kind == "not possible"
                else made_up(
                    n,
                    time_s,
                    model_flop_per_s_per_device=flop / time_s / n,
                    peak_bytes=1e9 if kind == "fits" else 1e12,
                )
            )
        return known[key]

    return sweep(space_of(SMALL, devices=counts, set_=set_, weak=weak), Counting(of))


@settings(max_examples=60, deadline=None)
@given(sweeps())
def test_no_combination_is_lost_and_each_has_its_place(found: Sweep) -> None:
    assert len(found) == prod(len(axis.values) for axis in found.axes)
    assert len({tuple(row.values.values()) for row in found}) == len(found)
    assert sum(found.counts.values()) == len(found) == len(found.table)
    on_curves = [p.row.index for curve in found.curves for p in curve.points]
    assert len(on_curves) == len(set(on_curves)) == found.counts["ok"]
    with_reason = [row.index for rows in found.reasons.values() for row in rows]
    assert sorted(on_curves + with_reason) == list(range(len(found)))


@settings(max_examples=60, deadline=None)
@given(sweeps())
def test_efficiency_is_throughput_per_device_over_the_smallest_count(found: Sweep) -> None:
    for curve in found.curves:
        for point in curve.points:
            first, outcome = curve.points[0].row, point.row.outcome
            sequences = [
                row.point.scenario.batch.global_size
                for row in (first, point.row)
                if row.point.scenario is not None
            ]
            rate = [
                size / row.outcome.step_s / row.devices
                for size, row in zip(sequences, (first, point.row), strict=True)
            ]
            assert point.efficiency == pytest.approx(rate[1] / rate[0])
            assert point.speedup == pytest.approx(point.efficiency * point.linear)
            assert point.linear == point.devices / first.devices
            assert point.least_efficiency <= point.efficiency * (1 + 1e-12)
            assert outcome.fits
        devices = [p.devices for p in curve.points]
        assert devices == sorted(devices)


@settings(max_examples=60, deadline=None)
@given(sweeps())
def test_the_best_of_a_count_is_not_beaten(found: Sweep) -> None:
    best = {p.devices: p.row for p in found.best.points}
    for row in found:
        if row.outcome.fits:
            assert row.flop_per_s <= best[row.devices].flop_per_s
    assert set(best) == {row.devices for row in found if row.outcome.fits}
