"""Calibration on measurements that a known cluster would give: it finds that cluster."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from distsim.errors import DistsimError
from distsim.prediction.predict import predict
from distsim.scenario.load import load
from distsim.scenario.profile import NO_PROFILE, Profile, Value
from distsim.scenario.resolve import resolve
from distsim.study.calibration.calibrate import calibrate_readings
from distsim.study.calibration.fitting import errors
from distsim.study.calibration.measurements import (
    CollectiveTime,
    KernelTime,
    Readings,
    Source,
    StepTime,
)
from distsim.study.calibration.predicting import Predictor

DEVICE, TOPOLOGY = "a100-80gb-sxm", "dgx-a100-superpod"
#: A cluster whose products, memory and network are slower than usual.
TRUTH = {
    "device.gemm_efficiency": 0.62,
    "device.memory_efficiency": 0.50,
    "links.rail.efficiency": 0.40,
}
HIDDEN = Profile(
    "hidden",
    DEVICE,
    TOPOLOGY,
    MappingProxyType({key: Value(value, value, value, "made up") for key, value in TRUTH.items()}),
)


def scenario(layers: int, micro: int, devices: int, **plan: object) -> dict:
    return {
        "schema": 1,
        "name": f"{layers}-{micro}-{devices}",
        "cluster": {"topology": TOPOLOGY, "devices": devices},
        "model": {"family": "gpt", "layers": layers, "hidden": 2048, "heads": 16, "vocab": 32000,
                  "max_positions": 2048},
        "batch": {"global_size": micro * devices, "micro_size": micro, "sequence_length": 1024},
        "plan": {"zero_stage": 1, **plan},
        "precision": "bf16",
    }  # fmt: skip


CASES = [
    scenario(layers, micro, devices)
    for layers, micro, devices in [
        (4, 1, 8), (4, 4, 8), (8, 2, 16), (8, 1, 32), (12, 2, 16), (12, 1, 64), (6, 8, 8),
        (6, 1, 16), (10, 2, 32), (10, 4, 16), (4, 1, 64), (8, 8, 8),
    ]
]  # fmt: skip


def measured(noise: float, seed: int, profile: Profile = HIDDEN) -> list[StepTime]:
    """Return what the cluster would measure, with lognormal noise."""
    draw = np.random.default_rng(seed)
    out = []
    for line, case in enumerate(CASES, start=2):
        time_s = predict(resolve(load(case), profile)).step_s * np.exp(noise * draw.normal())
        out.append(
            StepTime(time_s, case, Source("made.csv", line, "step_csv"), 1, 5, time_s, time_s)
        )
    return out


@pytest.fixture(scope="module")
def found():
    return calibrate_readings(Readings(step_times=tuple(measured(0.01, 3))), DEVICE, TOPOLOGY)


def test_numbers_of_the_cluster_are_found(found) -> None:
    values = {one.knob.key: one for one in found.fit.numbers}
    assert set(TRUTH) <= set(values)
    for key, truth in TRUTH.items():
        low, high = values[key].interval
        assert low < truth < high, key
        # Nearer to the truth than what is shipped; memory and launches look alike in step times.
        assert abs(np.log(values[key].value / truth)) < abs(np.log(values[key].knob.base / truth))
    for key in ("device.gemm_efficiency", "links.rail.efficiency"):
        assert values[key].value == pytest.approx(TRUTH[key], rel=0.04)


def test_errors_fall_to_the_noise_also_on_runs_that_took_no_part(found) -> None:
    before, after = errors(found.fit.before), errors(found.fit.after)
    assert before["mape_percent"] > 15
    assert after["mape_percent"] < 1.5
    assert errors(found.fit.crossed)["mape_percent"] < 3


def test_numbers_that_nothing_depends_on_stay_as_they_are(found) -> None:
    left = {knob.key for knob in found.fit.unknown}
    # One micro batch on one stage: no pipeline to restart, no tensor parallelism over NVLink alone.
    assert {"stack.restart", "links.pcie.latency", "device.host_launch"} <= left
    assert not left & set(found.profile.values)


def test_profile_predicts_what_the_fit_says(found) -> None:
    for item, step, log in zip(found.items, CASES, found.fit.after, strict=True):
        step_s = predict(resolve(load(step), found.profile)).step_s
        assert step_s == pytest.approx(item.measured_s * np.exp(log), rel=1e-9)


def test_a_failed_measurement_is_distrusted_and_moves_little(found) -> None:
    times = measured(0.01, 3)
    bad = times[5]
    times[5] = StepTime(3 * bad.time_s, bad.scenario, bad.source, 1, 5, bad.low_s, bad.high_s)
    other = calibrate_readings(Readings(step_times=tuple(times)), DEVICE, TOPOLOGY)
    first = next(iter(other.fit.distrusted()))
    assert other.items[first].source.line == bad.source.line
    values = {one.knob.key: one.value for one in other.fit.numbers}
    for one in found.fit.numbers:
        if one.knob.key in TRUTH and one.known > 0.5:
            assert values[one.knob.key] == pytest.approx(one.value, rel=0.2)


def test_shipped_numbers_that_are_right_stay() -> None:
    times = measured(0.005, 4, NO_PROFILE)
    same = calibrate_readings(Readings(step_times=tuple(times)), DEVICE, TOPOLOGY)
    for one in same.fit.numbers:
        assert abs(one.x) <= max(2.5 * one.deviation, 0.2), one.knob.key


def test_kernels_and_collectives_are_fitted_too() -> None:
    source = Source("made.json", None, "timings")
    from distsim.cost.kernel import kernel_s
    from distsim.hardware.catalogue import device, load_topology
    from distsim.study.collective import collective_report
    from distsim.workload.op import Work, WorkKind

    slow = HIDDEN.on_device(device(DEVICE))
    kernels = []
    for m, n, k in [(4096, 4096, 4096), (8192, 8192, 2048), (2048, 8192, 8192), (8192, 6144, 4096)]:
        shape = {"batch": 1, "m": m, "n": n, "k": k, "dtype": "bf16"}
        work = Work(
            WorkKind.GEMM, 1, m, n, k, flop=2.0 * m * n * k, operand_bytes=2, result_bytes=2
        )
        kernels.append(KernelTime("gemm", kernel_s(work, slow, "bf16"), shape, source))
    for size in (2**24, 2**26, 2**28):
        work = Work(WorkKind.STREAM, stream_bytes=float(size))
        shape = {"op": "copy", "moved_bytes": size, "dtype": "bf16"}
        kernels.append(KernelTime("memory", kernel_s(work, slow, "bf16"), shape, source))
    net = HIDDEN.on_topology(load_topology(TOPOLOGY, 32))
    sizes = [2.0**p for p in range(22, 31, 2)]
    rows = collective_report("all_reduce", net, 32, sizes).rows
    collectives = [
        CollectiveTime("all_reduce", row.size_bytes, 32, 4, row.time_s, source) for row in rows
    ]
    found = calibrate_readings(
        Readings(kernels=tuple(kernels), collectives=tuple(collectives)), DEVICE, TOPOLOGY
    )
    values = {one.knob.key: one for one in found.fit.numbers}
    for key, truth in TRUTH.items():
        assert values[key].value == pytest.approx(truth, rel=0.05), key
        low, high = values[key].interval
        assert low < values[key].value < high


def test_nothing_usable_is_one_error() -> None:
    source = Source("log.txt", 3, "megatron")
    step = StepTime(1.0, scenario(4, 3, 8) | {"plan": {"tp": 3}}, source, 1, 1, 1, 1)
    with pytest.raises(DistsimError) as caught:
        calibrate_readings(Readings(step_times=(step,)), DEVICE, TOPOLOGY)
    assert caught.value.code == "DS637"


def test_numbers_that_are_kept_are_not_called_unidentified(monkeypatch) -> None:
    times = tuple(measured(0.01, 3)[:6])
    key = "device.gemm_efficiency"
    found = calibrate_readings(Readings(step_times=times), DEVICE, TOPOLOGY, only=[key])
    assert [one.knob.key for one in found.fit.numbers] == [key] and not found.fit.unknown
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(DistsimError) as caught:
        calibrate_readings(Readings(step_times=times), DEVICE, TOPOLOGY, only=[key])
    assert caught.value.code == "DS640"


def test_timings_of_one_kernel_of_attention_say_nothing_of_another() -> None:
    shape = {
        "batch": 4, "heads": 16, "kv_heads": 16, "sequence": 2048, "head_dim": 128,
        "causal": True, "direction": "forward", "dtype": "bf16", "fused": True,
    }  # fmt: skip
    timed = KernelTime("attention", 1e-3, shape, Source("timings.json", None, "timings"))
    readings = Readings(kernels=(timed,))
    # The numbers of the H100 are of cuDNN's kernel, those of the A100 of FlashAttention 2.
    assert [r.reason for r in Predictor("h100-80gb-sxm", None, readings).rejected] == [
        "a timing of flash-2, while the numbers of h100-80gb-sxm are of cudnn"
    ]
    assert not Predictor("a100-80gb-sxm", None, readings).rejected
