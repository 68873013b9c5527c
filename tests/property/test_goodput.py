"""What more failures, slower restarts and more spare nodes do to a training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.study.goodput.closed import best_interval_s, expected_interval_s, goodput_factor
from distsim.study.goodput.montecarlo import draw
from distsim.study.goodput.process import Failures, Spares, Training

RELAXED = settings(deadline=None, max_examples=40)
trainings = st.builds(
    Training,
    work_s=st.floats(1e4, 1e6),
    interval_s=st.floats(100, 5e3),
    checkpoint_s=st.floats(0, 300),
    durable_s=st.floats(0, 300),
)
failures = st.builds(
    Failures,
    mtbf_s=st.floats(5e3, 1e6),
    detect_s=st.floats(0, 500),
    restart_s=st.floats(0, 500),
    shape=st.floats(0.6, 2.0),
)


@RELAXED
@given(trainings, failures, st.integers(0, 6), st.sampled_from(["wait", "shrink"]))
def test_more_spares_never_wait_longer_and_time_is_conserved(training, fails, nodes, empty) -> None:
    few, many = (
        draw(training, fails, 20, 1, expected=5.0,
             spares=Spares(n, 4e4, 0.8, empty, replicas=8, nodes_per_replica=1.0))
        for n in (nodes, nodes + 2)
    )  # fmt: skip
    free = draw(training, fails, 20, 1, expected=5.0)
    for runs in (few, many, free):
        assert runs.useful_s == pytest.approx(np.full(20, training.work_s))
        assert (runs.effective <= 1 + 1e-9).all()
        assert (runs.duration_s >= training.work_s * (1 - 1e-9)).all()
        assert runs.detect_s == pytest.approx(runs.failures * fails.detect_s)
    if empty == "wait":
        # The same failures, so that each run waits no longer with more spare nodes.
        assert (many.wait_s <= few.wait_s + 1e-6).all()
        assert few.duration_s - few.wait_s == pytest.approx(free.duration_s)


@RELAXED
@given(st.floats(1e3, 1e6), st.floats(1e-3, 1e4), st.floats(0.2, 5.0))
def test_no_interval_beats_the_best(mtbf_s, checkpoint_s, other) -> None:
    found = float(best_interval_s(checkpoint_s, mtbf_s))
    assert 0 < found <= mtbf_s
    at_best = expected_interval_s(found, checkpoint_s, mtbf_s) / found
    elsewhere = expected_interval_s(other * found, checkpoint_s, mtbf_s) / (other * found)
    assert at_best <= elsewhere * (1 + 1e-9)


@RELAXED
@given(st.integers(1, 10_000), st.floats(1e6, 1e9), st.floats(0, 100), st.floats(0, 1e3))
def test_the_factor_falls_with_devices_and_delays(devices, mtbf_s, checkpoint_s, restart_s) -> None:
    def factor(n: int, delta: float, restart: float) -> float:
        return float(goodput_factor(n, mtbf_device_s=mtbf_s, checkpoint_s=delta, restart_s=restart))

    here = factor(devices, checkpoint_s, restart_s)
    assert 0 <= here <= 1 + 1e-12
    assert factor(2 * devices, checkpoint_s, restart_s) <= here
    assert factor(devices, checkpoint_s + 1, restart_s) <= here + 1e-9
    assert factor(devices, checkpoint_s, restart_s + 1) <= here


@RELAXED
@given(trainings, failures)
def test_slower_detection_costs_its_time(training, fails) -> None:
    once = draw(training, fails, 10, 2, expected=3.0)
    later = draw(training, replace(fails, detect_s=fails.detect_s + 50), 10, 2, expected=3.0)
    assert later.duration_s - once.duration_s == pytest.approx(50.0 * once.failures, abs=1e-3)
