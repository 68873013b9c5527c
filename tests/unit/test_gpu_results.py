"""Results of a real GPU: the page says what the files say, and the files what physics allows."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.gpu import kernel_errors, parts, power, report
from benchmarks.gpu.cases import GROUPS, Case, case_of
from benchmarks.gpu.predict import (
    GROUPS_SHOWN,
    PROFILE,
    Compared,
    compared,
    measured_steps,
    scenario_of,
)
from distsim.hardware.catalogue import device
from distsim.prediction.predict import predict
from distsim.scenario.profile import read_profile
from distsim.scenario.resolve import resolve
from distsim.study.calibration.calibrate import calibrate
from distsim.study.calibration.readers import read_all

H100 = device("h100-80gb-sxm")
#: Bytes of an element of the operands.
SIZES = {"bf16": 2, "fp8": 1}
#: cuBLAS and cuBLASLt keep 32 MiB each on this device once they were used; blocks are rounded up.
WORKSPACE_BYTES = 85e6
#: Attention that PyTorch ran unfused.
UNFUSED = 6


@pytest.fixture(scope="module")
def steps() -> list[Compared]:
    return compared()


def test_the_page_has_the_tables_of_the_files() -> None:
    text = report.PAGE.read_text(encoding="utf-8")
    assert report.with_tables(text) == text, "run: python -m benchmarks.gpu.report --write"


def test_a_page_without_a_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="no mark"):
        report.with_tables("# nothing\n")


def test_the_profile_is_what_calibration_makes_of_the_timings() -> None:
    kept = ["device.attention_efficiency", "device.attention_backward"]
    made = calibrate([str(kernel_errors.TIMINGS)], H100.name, keep=kept).profile
    shipped = read_profile(str(PROFILE))
    assert shipped.device == H100.name and not shipped.topology
    assert made.values.keys() == shipped.values.keys()
    for key, value in shipped.values.items():
        assert value.value == pytest.approx(made.values[key].value, rel=2e-3), key
        assert value.low < value.value < value.high


def test_a_scenario_takes_the_numbers_of_the_profile() -> None:
    case = Case("gpt-125m", 16, 1024)
    profile = read_profile(str(PROFILE))
    plain, fitted = resolve(scenario_of(case)), resolve(scenario_of(case, PROFILE))
    assert fitted.resolved != plain.resolved
    on = profile.on_device(H100)
    assert on.memory_efficiency == profile.values["device.memory_efficiency"].value
    assert on.memory_efficiency != H100.memory_efficiency
    assert on.attention_efficiency == H100.attention_efficiency  # of another kernel


@pytest.mark.parametrize("file", [kernel_errors.TIMINGS, kernel_errors.MORE])
def test_every_timing_is_read(file: Path) -> None:
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["format"] == "distsim-timings/1"
    assert document["device"]["name"] == "NVIDIA H100 80GB HBM3"
    readings, problems = read_all([str(file)], None, None)
    assert not problems and not readings.rejected
    assert len(readings.kernels) == len(document["timings"])
    for timing in document["timings"]:
        assert timing["low_s"] <= timing["time_s"] <= timing["high_s"]


def test_no_kernel_beats_the_datasheet() -> None:
    found = kernel_errors.kernels()
    for kernel in (k for k in found if k.kind == "gemm"):
        s = kernel.shape
        m, n, k = s["m"], s["n"], s["k"]
        assert 2.0 * s["batch"] * m * n * k / kernel.time_s < H100.peak_flop_per_s[s["dtype"]]
        moved = s["batch"] * (SIZES[s["dtype"]] * (m * k + k * n) + 2 * m * n)
        if moved > 4 * H100.l2_bytes:
            assert moved / kernel.time_s < H100.memory_bandwidth_bytes_per_s
    for kernel in (k for k in found if k.kind == "memory"):
        if kernel.shape["moved_bytes"] > 4 * H100.l2_bytes:
            rate = kernel.shape["moved_bytes"] / kernel.time_s
            assert rate < H100.memory_bandwidth_bytes_per_s


def test_all_timings_are_compared_but_unfused_attention() -> None:
    listed = [
        t
        for file in (kernel_errors.TIMINGS, kernel_errors.MORE)
        for t in json.loads(file.read_text(encoding="utf-8"))["timings"]
    ]
    assert len(kernel_errors.kernels()) == len(listed) - UNFUSED


def test_figures_are_those_of_a_small_sample() -> None:
    found = kernel_errors.figures([0.1, -0.2, 0.4])
    assert found["rows"] == 3
    assert found["median"] == pytest.approx(20) and found["signed"] == pytest.approx(10)
    assert found["p90"] == pytest.approx(36)  # 0.8 of the way from 20 to 40


def test_scenarios_have_the_parameters_that_pytorch_counted(steps: list[Compared]) -> None:
    for step in steps:
        assert step.prediction.parameters == step.measured["parameters"], step.case.name


def test_states_take_the_bytes_that_scenarios_say(steps: list[Compared]) -> None:
    """Before the first step there are weights, masters and gradients, but no moments yet."""
    for step in steps:
        stage = step.prediction.memory.stages[0]
        moments = 8 * step.prediction.parameters
        held = stage.states_bytes - moments
        tokens = 128 * 8 * step.case.accumulation * step.case.micro * step.case.sequence
        left = step.measured["static_bytes"] - held - tokens
        assert 0 <= left < WORKSPACE_BYTES


def test_steps_lie_between_their_parts_and_the_wall_clock(steps: list[Compared]) -> None:
    for step in steps:
        m = step.measured
        parts_s = m["forward_s"] + m["backward_s"] + m["optimizer_s"]
        assert m["low_s"] <= m["step_s"] <= m["high_s"]
        if step.group != "short":  # where the host sets the pace, steps differ
            assert parts_s == pytest.approx(m["step_s"], rel=0.02)
            assert m["wall_s"] == pytest.approx(m["step_s"], rel=0.015)
        assert m["losses"][0] == pytest.approx(np.log(step.case.block["vocab"]), rel=0.09)


def test_every_case_is_in_one_group_and_was_measured() -> None:
    wanted = [case for group in GROUPS_SHOWN for case in GROUPS[group]]
    assert sorted(c.name for c in wanted) == sorted(case_of(r).name for r in measured_steps())
    assert len({c.name for c in wanted}) == len(wanted)


def test_no_step_beats_its_products_at_the_peak(steps: list[Compared]) -> None:
    for step in steps:
        p = step.prediction
        flop = p.mfu * p.step_s * H100.peak_flop_per_s["bf16"]
        # Model FLOP count attention without its mask: at most twice what runs.
        assert flop / step.measured["step_s"] < H100.peak_flop_per_s["bf16"]


def test_parts_of_a_step_are_all_of_it() -> None:
    for case, kernels in parts.traced():
        listed = sum(kernel["time_s"] for kernel in kernels["by_name"])
        assert sum(parts.measured_s(kernels).values()) == pytest.approx(listed)
        assert listed == pytest.approx(kernels["span_s"] - kernels["idle_s"], rel=0.01)
        record = next(r for r in measured_steps() if case_of(r) == case)
        if kernels["idle_s"] < 0.05 * record["step_s"]:
            assert listed == pytest.approx(record["step_s"], rel=0.05)


def test_products_slow_down_with_their_share_of_the_time() -> None:
    cycles = json.loads(report.DUTY.read_text(encoding="utf-8"))["cycles"]
    for dtype in ("bf16", "fp8"):
        of = sorted((c for c in cycles if c["dtype"] == dtype), key=lambda c: c["share"])
        for less, more in pairwise(of):
            assert more["flop_per_s"] < 1.01 * less["flop_per_s"]
            assert more["clock_mhz"] <= less["clock_mhz"]
        assert of[-1]["share"] > 0.99 and of[-1]["power_w"] > 650  # at the limit of 700 W
        assert of[0]["clock_mhz"] == 1980  # the highest


def test_products_of_a_step_have_the_flop_that_a_prediction_counts(steps: list[Compared]) -> None:
    """Model FLOP: products with weights, and attention without its mask, 12 l s h a token."""
    for step in steps:
        case, p = step.case, step.prediction
        block = case.block
        tokens = case.micro * case.accumulation * case.sequence
        attention = 12.0 * block["layers"] * case.sequence * block["hidden"] * tokens
        model_flop = p.mfu * p.step_s * H100.peak_flop_per_s["bf16"]
        once = power.product_flop(replace(case, recompute=False))
        assert once + attention == pytest.approx(model_flop, rel=1e-6)


def test_a_step_with_a_small_share_of_products_runs_them_at_the_full_rate() -> None:
    shares, rates = power.curve()
    assert shares == sorted(shares) and max(rates) < 0.81
    took_s, share = power.step_s(Case("gpt-125m", 4, 1024))
    assert share < 0.4
    assert took_s < predict(resolve(scenario_of(Case("gpt-125m", 4, 1024)))).step_s
