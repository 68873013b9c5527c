"""Intervals of step times: split conformal prediction, and what is shipped for it."""

from __future__ import annotations

import json
from math import ceil, exp, floor, log

import numpy as np
import pytest

import distsim as ds
from distsim.files import shipped_directory
from distsim.study.interval import (
    LEVEL,
    Traits,
    Validated,
    columns,
    coverage,
    distances,
    interval,
    quantiles,
    validated,
)
from distsim.study.validate_rows import rows, sources

ONE = Traits(
    "a100-80gb-sxm", "ampere", "megatron-core", "bf16", "no", "no", "no", "none", 64, 7e9, 2048, 1
)


def like(**changed: object) -> Traits:
    return Traits(**{**{f: getattr(ONE, f) for f in Traits.__slots__}, **changed})


@pytest.mark.parametrize("n", [40, 79, 200])
def test_equally_near_runs_give_the_order_statistics_of_split_conformal(n) -> None:
    # Lei 2018 (arXiv 1604.04173), section 2.2: of n errors the k-th smallest and largest, with
    # k = floor((n + 1) alpha / 2).
    errors = np.random.default_rng(n).normal(size=n)
    low, high, widened, runs = quantiles(np.zeros(n), errors, LEVEL)
    k = floor((n + 1) * (1 - LEVEL) / 2 + 0.5)
    ordered = np.sort(errors)
    assert (low, high) == (ordered[k - 1], ordered[-k])
    assert (widened, runs) == (1.0, n)


def test_new_runs_of_the_same_kind_are_covered_as_often_as_said() -> None:
    draw = np.random.default_rng(7)
    inside = []
    for _ in range(400):
        errors = draw.standard_t(3, size=61) * 0.05
        low, high, *_ = quantiles(np.zeros(60), errors[:60], LEVEL)
        inside.append(low <= errors[60] <= high)
    spread = (LEVEL * (1 - LEVEL) / len(inside)) ** 0.5
    assert np.mean(inside) == pytest.approx(LEVEL, abs=4 * spread)


def test_runs_that_are_near_count_and_those_far_away_do_not() -> None:
    draw = np.random.default_rng(1)
    near = [Validated("near", str(i), ONE, e) for i, e in enumerate(draw.normal(0, 0.02, 60))]
    other = like(architecture="hopper", device="x", stack="y", experts="yes")
    far = [Validated("far", str(i), other, e) for i, e in enumerate(draw.normal(0.5, 0.3, 200))]
    alone, both = interval(10.0, ONE, near), interval(10.0, ONE, near + far)
    assert alone is not None and both is not None
    assert log(both.high_s / both.low_s) < 1.4 * log(alone.high_s / alone.low_s)
    assert all(name.startswith("near/") for name in both.nearest)
    there = interval(10.0, other, near + far)
    assert there is not None and there.low_s / 10.0 > exp(-0.35)
    assert there.high_s / 10.0 > exp(0.8)


def test_where_nothing_is_near_the_interval_is_wider_and_says_so() -> None:
    draw = np.random.default_rng(2)
    runs = [Validated("a", str(i), ONE, e) for i, e in enumerate(draw.normal(0, 0.05, 60))]
    here, away = interval(1.0, ONE, runs), interval(1.0, like(experts="yes", sharded="yes"), runs)
    assert here is not None and away is not None
    assert here.widened == 1.0 < away.widened
    assert away.high_s - away.low_s > 1.2 * (here.high_s - here.low_s)


def test_distance_is_that_of_its_parts() -> None:
    others = columns([Validated("", "", like(devices=256, precision="fp16"), 0.0)])
    assert distances(ONE, others)[0] == pytest.approx((1.0 + (0.15 * 2) ** 2) ** 0.5)


def test_no_runs_no_interval() -> None:
    assert interval(1.0, ONE, []) is None


def test_shipped_residuals_are_those_of_the_shipped_predictions() -> None:
    """As ``python benchmarks/accuracy.py`` writes both."""
    stored = json.loads((shipped_directory("validation") / "predictions.json").read_text())
    shipped = {(run.source, run.id): run for run in validated()}
    found = 0
    for name, file in sources().items():
        for row in rows(file):
            if row.memory_kind is not None:
                continue
            ratio = log(row.measured_s / stored[name][row.id]["value"])
            assert shipped[name, row.id].log_ratio == pytest.approx(ratio, abs=2e-6)
            found += 1
    assert found == len(shipped) >= 300


def test_nine_of_ten_shipped_runs_lie_inside_intervals_that_rest_on_the_others() -> None:
    inside = coverage(validated())
    total = sum(count for count, _ in inside.values())
    share = sum(count * part for count, part in inside.values()) / total
    assert 0.85 < share < 0.95
    for source, (count, part) in inside.items():
        if count >= 20:
            assert part > 0.85, source


def test_a_prediction_has_its_interval() -> None:
    prediction = ds.simulate(ds.load("gpt3-175b-1024xa100"))
    found = prediction.interval
    assert found is not None
    assert found.low_s < prediction.step_s * exp(0.1) and found.high_s > prediction.step_s
    assert prediction.to_dict()["interval"]["level"] == LEVEL
    assert ceil(found.runs) >= 20
