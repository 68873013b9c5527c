"""Scaling of sweeps against closed forms, bounds and a published table."""

from __future__ import annotations

import csv
from itertools import pairwise
from typing import Any

import pytest

import distsim as ds
from distsim.files import shipped_directory
from distsim.study.sweep.run import Sweep, sweep
from distsim.study.sweep.study import space_of
from tests.sweeping import SMALL, Counting, made_up

PIPELINE, BATCH = 8, 1536
#: 1F1B, for the interleaved schedule needs multiples of 8 micro batches a replica.
_PLAN = {"plan.schedule": "1f1b", "plan.virtual_stages": 1}


@pytest.fixture(scope="module")
def strong() -> Sweep:
    found: Sweep = ds.sweep("gpt3-175b-1024xa100", devices="64:16384", set_=_PLAN)
    return found


def test_strong_scaling_lies_between_its_bounds(strong: Sweep) -> None:
    (curve,) = strong.curves
    assert [p.devices for p in curve.points] == [64 * 2**n for n in range(9)]
    first = curve.points[0]
    for point in curve.points:
        outcome = point.row.outcome
        assert outcome.lower_s <= outcome.step_s <= outcome.upper_s
        # By hand, from the step times: t0 n0 / (t n), with t at most the upper bound.
        t0_n0 = first.row.outcome.step_s * 64
        assert point.efficiency == pytest.approx(t0_n0 / (outcome.step_s * point.devices))
        assert point.least_efficiency == pytest.approx(t0_n0 / (outcome.upper_s * point.devices))
        assert point.least_efficiency <= point.efficiency <= 1.0
        assert point.efficiency <= t0_n0 / (outcome.lower_s * point.devices)
        assert point.speedup == pytest.approx(point.efficiency * point.devices / 64)
    assert all(b.efficiency < a.efficiency for a, b in pairwise(curve.points))
    assert all(b.speedup > a.speedup for a, b in pairwise(curve.points))


def test_strong_scaling_is_never_better_than_its_bubble(strong: Sweep) -> None:
    """1F1B keeps a stage busy for m of m + p - 1 turns (Narayanan 2021, section 2.2.1)."""
    (curve,) = strong.curves

    def busy(devices: int) -> float:
        m = BATCH / (devices / 64)
        return m / (m + PIPELINE - 1)

    for point in curve.points:
        assert point.efficiency <= busy(point.devices) / busy(64) * (1 + 1e-3)
    # While gradients are a small part of the step, what is lost beside them is the bubble.
    for point in curve.points[:3]:
        outcome = point.row.outcome
        beside = point.efficiency / (1 - outcome.breakdown["data_s"] / outcome.step_s)
        assert beside == pytest.approx(busy(point.devices) / busy(64), rel=0.02)


def test_parts_of_a_step_sum_to_it_and_to_what_is_lost(strong: Sweep) -> None:
    (curve,) = strong.curves
    for point in curve.points:
        outcome = point.row.outcome
        assert sum(outcome.breakdown.values()) == pytest.approx(outcome.step_s, rel=1e-9)
    busy = [p.row.outcome.breakdown["compute_s"] * p.devices for p in curve.points]
    # The work does not change with the number of replicas that share it; beside the reduction of
    # gradients, which 64 devices have none of, kernels take a little longer.
    assert min(busy) == pytest.approx(busy[0], rel=1e-6)
    assert max(busy) <= 1.03 * busy[0]


def _published() -> list[dict[str, str]]:
    """Return the rows of Narayanan 2021, table 1, with what they share filled in."""
    path = shipped_directory("validation") / "narayanan-2021.csv"
    with open(path, encoding="utf-8", newline="") as file:
        shared, *rows = csv.DictReader(file)
    return [{k: v or shared[k] for k, v in row.items()} for row in rows]


def test_weak_scaling_follows_the_published_rows() -> None:
    """Model, plan and batch grow with the GPUs; efficiency is the ratio of FLOP/s per GPU."""
    rows = _published()
    assert len(rows) == 10
    along = ("model", "batch.global_size", "batch.micro_size", "plan.tp", "plan.pp",
             "plan.virtual_stages", "plan.schedule")  # fmt: skip

    def number(text: str) -> Any:
        return int(text) if text.isdecimal() else text

    base: dict[str, Any] = {
        "name": "narayanan-2021-table-1",
        "cluster": {"topology": rows[0]["cluster.topology"]},
        "batch": {"sequence_length": 2048},
        "plan": {"zero_stage": 0, "sequence_parallel": False, "recompute": "full"},
        "precision": "fp16",
        "stack": rows[0]["stack"],
    }
    found = ds.sweep(
        base,
        devices=[int(r["cluster.devices"]) for r in rows],
        along={key: [number(r[key]) for r in rows] for key in along},
        weak=True,
    )
    assert [r.outcome.reason for r in found] == [""] * 10
    (curve,) = found.curves
    published = [float(r["tflops_per_device"]) for r in rows]
    measured = [rate / published[0] for rate in published]
    for point, efficiency in zip(curve.points, measured, strict=True):
        assert point.efficiency == pytest.approx(efficiency, rel=0.07)
    # The paper's claim: FLOP/s per GPU grow from 1.7 to 1,008 billion parameters.
    assert curve.points[-1].efficiency > 1.1 and measured[-1] > 1.1


def test_the_batch_alone_scales_weakly_by_the_laws() -> None:
    """With a batch in proportion, efficiency is t0 / t (Gustafson 1988): checked by hand."""
    times = {8: 2.0, 16: 2.5, 32: 4.0}

    def of(scenario: ds.Scenario) -> Any:
        n, size = scenario.cluster.devices, scenario.batch.global_size
        flop = 1e9 * size
        return made_up(n, times[n], model_flop_per_s_per_device=flop / times[n] / n)

    found = sweep(space_of(SMALL, devices="8:32", weak=True), Counting(of))
    (curve,) = found.curves
    assert [p.efficiency for p in curve.points] == pytest.approx([1.0, 0.8, 0.5])
    assert [p.speedup for p in curve.points] == pytest.approx([1.0, 1.6, 2.0])
    fixed = sweep(
        space_of(SMALL, devices="8:32"),
        Counting(lambda s: made_up(s.cluster.devices, times[s.cluster.devices])),
    )
    # Amdahl 1967: t0 n0 / (t n).
    assert [p.efficiency for p in fixed.curves[0].points] == pytest.approx([1.0, 0.4, 0.125])


def test_the_best_is_the_fastest_that_fits() -> None:
    def of(scenario: ds.Scenario) -> Any:
        tp, n = scenario.plan.tp, scenario.cluster.devices
        return made_up(n, 8.0 / n / tp, peak_bytes=100e9 if tp * n > 32 else 1e9)

    found = sweep(space_of(SMALL, devices="4:16", set_=["plan.tp=1,2,4,8"]), Counting(of))
    best = [(p.devices, p.row.values["plan.tp"]) for p in found.best.points]
    assert best == [(4, 8), (8, 4), (16, 2)]
    assert [p.efficiency for p in found.best.points] == pytest.approx([1.0, 0.5, 0.25])
    assert sum(bool(v) for v in found.table["best"]) == 3
    assert len(found.curves) == 4
    # A curve begins at its smallest count that fits.
    (last,) = [c for c in found.curves if c.series["plan.tp"] == 8]
    assert [p.devices for p in last.points] == [4]
