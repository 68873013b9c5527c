"""Traces of real runs: time by kind and stream, the prediction beside it, and bad files."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distsim.api import load, simulate
from distsim.cli import main
from distsim.errors import DistsimError
from distsim.prediction.breakdown import breakdown
from distsim.report.trace import MEASURED_PID
from distsim.study.traces.kinds import KINDS, kind_of_kernel
from distsim.study.traces.kineto import KinetoTrace, read_kineto
from distsim.study.traces.measured import IDLE, PARTS, compared, exposed
from tests.kineto_traces import (
    FILE,
    MEASURED,
    annotation,
    encoded,
    kernel,
    launch,
    nccl,
    trace,
)
from tests.tracing import bound_flows, check_form, check_names

SCENARIO = str(FILE.with_name("gpt-125m.yaml"))


def read(tmp_path: Path, data: object, plan: dict[str, Any] | None = None) -> KinetoTrace:
    file = tmp_path / "trace.json"
    file.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return read_kineto(file, plan)


def refused(tmp_path: Path, data: object) -> DistsimError:
    with pytest.raises(DistsimError) as caught:
        read(tmp_path, data)
    return caught.value


def test_the_stored_trace_is_the_generated_one() -> None:
    assert gzip.decompress(FILE.read_bytes()) == gzip.decompress(encoded())


def test_sums_of_the_stored_trace_are_those_measured_on_the_device() -> None:
    steps = json.loads(MEASURED.read_text())["steps"]
    kernels = next(
        s["kernels"] for s in steps
        if (s["model"], s["micro"], s["sequence"], s["compiled"]) == ("gpt-125m", 4, 1024, False)
    )  # fmt: skip
    listed_s = sum(k["time_s"] for k in kernels["by_name"])
    found = compared(read_kineto(FILE))
    parts = {p.kind: p.measured_s for p in found.parts}
    assert parts["compute"] + parts["optimizer"] == pytest.approx(listed_s, rel=1e-4)
    assert parts["idle"] == pytest.approx(kernels["idle_s"], rel=2e-3)
    assert (found.trace.rank, found.trace.world_size) == (0, 1)
    assert found.trace.device == "NVIDIA H100 80GB HBM3"
    assert [s.number for s in found.trace.steps] == [8, 9]


# One step of 100 us: compute 0-40 and 50-60, a collective of tensor parallelism 30-55, a reduction
# of gradients 55-80, the optimizer 85-95, a copy to the host 90-100.
STEP = [
    kernel("gemm", 0, 40),
    kernel("gemm", 50, 60),
    nccl("AllReduce_Sum_bf16_RING_LL", 30, 55, stream=20,
         **{"Process Group Description": "TENSOR_MODEL_PARALLEL_GROUP"}),
    nccl("ReduceScatter_Sum_f32_RING_LL", 55, 80, stream=24,
         **{"Process Group Description": "DATA_PARALLEL_GROUP_WITH_CP"}),
    kernel("multi_tensor_apply_kernel<AdamFunctor>", 85, 95),
    {**kernel("Memcpy DtoH (Device -> Pinned)", 90, 100, stream=30), "cat": "gpu_memcpy"},
]  # fmt: skip


def test_exposed_time_by_hand(tmp_path: Path) -> None:
    found = compared(read(tmp_path, trace(*STEP)))
    exposed_us = {p.kind: round(p.measured_s * 1e6, 6) for p in found.parts}
    busy_us = {p.kind: round(p.busy_s * 1e6, 6) for p in found.parts}
    # Tensor: 40-50; data: 60-80; idle: 80-85; the copy: 95-100.
    assert exposed_us == {
        "compute": 50, "optimizer": 10, "tensor": 10, "data": 20, "offload": 5, "idle": 5,
    }  # fmt: skip
    assert busy_us == {
        "compute": 50, "optimizer": 10, "tensor": 25, "data": 25, "offload": 10, "idle": 0,
    }  # fmt: skip
    assert found.step_s == pytest.approx(100e-6)
    streams = {s["stream"]: s["busy_s"] * 1e6 for s in found.streams}
    assert streams == pytest.approx(
        {"stream 7": 60, "stream 20": 25, "stream 24": 25, "stream 30": 10}
    )
    assert "no ProfilerStep is marked" in found.notes[0]


@pytest.mark.parametrize("seed", range(5))
def test_parts_fill_the_step_whatever_overlaps(tmp_path: Path, seed: int) -> None:
    """Against counting microseconds one by one."""
    rng = np.random.default_rng(seed)
    events, cells = [], np.full(1000, len(KINDS))
    names = {"compute": "gemm", "optimizer": "multi_tensor_apply_kernel", "tensor": "tp",
             "data": "dp", "expert": "ep", "pipeline": "pp"}  # fmt: skip
    for _ in range(40):
        kind = str(rng.choice(list(names)))
        begin = int(rng.integers(0, 900))
        end = begin + int(rng.integers(1, 90))
        described = {"Process Group Description": f"mesh_{names[kind]}"}
        if kind in ("compute", "optimizer"):
            events.append(kernel(names[kind], begin, end))
        else:
            events.append(nccl("AllReduce_x", begin, end, **described))
        cells[begin:end] = np.minimum(cells[begin:end], KINDS.index(kind))
    first = min(e["ts"] for e in events)
    last = max(e["ts"] + e["dur"] for e in events)
    step = read(tmp_path, trace(*events)).steps[0]
    parts = exposed(step)
    inside = cells[int(first) : int(last)]
    for n, kind in enumerate([*KINDS, IDLE]):
        assert parts[kind] * 1e6 == pytest.approx((inside == n).sum(), abs=1e-6)
    assert sum(parts.values()) == pytest.approx(step.duration_s)
    assert set(parts) == set(PARTS)


def test_a_kernel_belongs_to_the_step_that_launched_it(tmp_path: Path) -> None:
    events = []
    for n in range(3):
        events.append(annotation(f"ProfilerStep#{n + 4}", 1000.0 * n, 1000.0 * n + 990))
        # Launched within the step, run when the next one has begun on the host.
        events.append(launch(1000.0 * n + 10, n))
        events.append(kernel("gemm", 1000.0 * n + 1100, 1000.0 * n + 1500, correlation=n))
    events += [launch(5000.0, 99), kernel("late", 5001, 5002, correlation=99)]
    found = read(tmp_path, trace(*events))
    assert [(s.number, len(s.kernels)) for s in found.steps] == [(4, 1), (5, 1), (6, 1)]
    assert [round(s.duration_s * 1e6) for s in found.steps] == [1000, 1000, 400]
    assert found.notes == ("1 kernels were launched outside of steps and are left out",)


def test_what_the_optimizer_launches_is_the_optimizer(tmp_path: Path) -> None:
    events = [
        annotation("Optimizer.step#AdamW.step", 50, 60),
        launch(55, 1), kernel("elementwise", 70, 80, correlation=1),
        launch(62, 2), kernel("elementwise", 80, 85, correlation=2),
    ]  # fmt: skip
    kinds = [k.kind for k in read(tmp_path, trace(*events)).steps[0].kernels]
    assert kinds == ["optimizer", "compute"]


@pytest.mark.parametrize(
    ("described", "kind"),
    [
        ("TENSOR_MODEL_PARALLEL_GROUP", "tensor"),
        ("PIPELINE_MODEL_PARALLEL_GROUP", "pipeline"),
        ("DATA_PARALLEL_GROUP_WITH_CP", "data"),
        ("CONTEXT_PARALLEL_GROUP", "context"),
        ("EXPERT_MODEL_PARALLEL_GROUP", "expert"),
        ("EXPERT_DATA_PARALLEL_GROUP", "data"),
        ("mesh_tp", "tensor"),
        ("mesh_dp_shard", "data"),
        ("mesh_pp", "pipeline"),
        ("mesh_ep", "expert"),
        ("default_pg", "communication"),
        ("", "communication"),
    ],
)
def test_groups_by_their_description(described: str, kind: str) -> None:
    args = {"Process Group Description": described, "Collective name": "allreduce"}
    assert kind_of_kernel("ncclDevKernel_AllReduce_Sum", "kernel", args, {}) == kind


def test_groups_without_a_description_are_told_apart_by_their_size() -> None:
    plan = {"tp": 8, "dp": 4, "cp": 1, "ep": 1, "pp": 2}

    def kind(size: int, what: str = "AllReduce_Sum_bf16", **args: Any) -> str:
        return kind_of_kernel(f"ncclDevKernel_{what}", "kernel", {"Group size": size} | args, plan)

    assert (kind(8), kind(4), kind(2), kind(1)) == (
        "tensor", "data", "communication", "communication",
    )  # fmt: skip
    assert kind(2, "SendRecv") == "pipeline"
    same = plan | {"dp": 8}
    args = {"Group size": 8}
    assert kind_of_kernel("ncclKernel_AllReduce", "kernel", args, same) == "communication"


def test_the_prediction_of_the_same_rank_stands_beside_it(tmp_path: Path) -> None:
    scenario = load("gpt3-175b-1024xa100")
    prediction = simulate(scenario)
    info = {"distributedInfo": {"rank": 1000, "world_size": 1024}}
    found = compared(read(tmp_path, trace(*STEP, **info)), prediction)
    assert found.predicted_rank == 1000
    timeline = prediction.timeline
    own = int(timeline.program.network.fold.class_of[1000])
    each = breakdown(timeline.program, timeline.run)[1][own]
    predicted = {p.kind: p.predicted_s for p in found.parts}
    assert predicted["tensor"] == each["tensor_s"]
    assert predicted["idle"] == each["bubble_s"] + each["host_s"]
    assert sum(p or 0.0 for p in predicted.values()) == pytest.approx(prediction.step_s)
    part = next(p for p in found.parts if p.kind == "compute")
    assert part.error == pytest.approx(each["compute_s"] / 50e-6 - 1)

    other = {"distributedInfo": {"rank": 0, "world_size": 8}}
    found = compared(read(tmp_path, trace(*STEP, **other)), prediction)
    assert found.predicted_rank is None
    assert any("8 ranks" in note and "1024" in note for note in found.notes)


def test_both_stand_in_one_trace(tmp_path: Path) -> None:
    out = tmp_path / "both.json.gz"
    assert main(["trace", "import", str(FILE), SCENARIO, "-o", str(out)]) == 0
    with gzip.open(out, "rt") as file:
        found = json.load(file)
    events = found["traceEvents"]
    check_form(events)
    check_names(events)
    bound_flows(events)
    measured = [e for e in events if e["ph"] == "X" and e["pid"] >= MEASURED_PID]
    predicted = [e for e in events if e["ph"] == "X" and e["pid"] < MEASURED_PID]
    step = read_kineto(FILE).steps[0]
    assert len(measured) == len(step.kernels) and predicted
    assert sum(e["dur"] for e in measured) == pytest.approx(
        sum(k.end_s - k.start_s for k in step.kernels) * 1e6, abs=1e-3 * len(measured)
    )
    assert min(e["ts"] for e in measured) == 0.0
    names = {e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert "measured, rank 0" in names
    assert found["otherData"]["measured_step_s"] == pytest.approx(step.duration_s, rel=1e-2)


def test_the_text_has_every_kind_and_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "import", str(FILE), SCENARIO]) == 0
    text = capsys.readouterr().out
    rows = dict(
        (m[1].strip(), float(m[2]))
        for m in re.finditer(r"^(\w[^\d\n]*?) +([\d.]+) ms +[\d.]", text, re.MULTILINE)
    )
    total = rows["compute"] + rows["optimizer"] + rows["idle (bubble, waits for the host)"]
    assert total == pytest.approx(rows["step"], abs=0.02)
    kernels = text.rpartition("kernel\n")[2].splitlines()
    assert len(kernels) == 10 and not any("…" in line for line in kernels)


def test_json_is_what_the_text_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "import", str(FILE), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(p["measured_s"] for p in found["parts"]) == pytest.approx(found["step_s"])
    assert found["predicted_step_s"] is None and found["scenario"] is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "DS106"),
        (b"{", "DS634"),
        (b'{"traceEvents": [{"ph": "X", "ts": 1', "DS634"),
        (gzip.compress(b'{"traceEvents": [' + b" " * 1000, mtime=0)[:-12], "DS634"),
        (b"\x1f\x8b\x08garbage", "DS634"),
        (b"[" * 100_000, "DS634"),
        (b"\x00\x01\x02", "DS634"),
        (b"<html></html>", "DS634"),
        ({"a": 1}, "DS720"),
        ([], "DS720"),
        ([1, None, "x", []], "DS720"),
        ({"traceEvents": {}}, "DS720"),
        (trace(), "DS720"),
        (trace(annotation("ProfilerStep#1", 0, 5)), "DS720"),
        (trace(kernel("a", float("nan"), 5)), "DS720"),
        (trace(annotation("ProfilerStep#1", 0, 5), kernel("a", 100, 101)), "DS720"),
    ],
    ids=map(str, range(16)),
)
def test_bad_files(tmp_path: Path, data: object, code: str) -> None:
    error = refused(tmp_path, data)
    assert error.code == code and error.fix and error.exit_code == 2


def test_events_without_a_time_are_counted_and_left_out(tmp_path: Path) -> None:
    bad = [
        kernel("nan", float("nan"), float("nan")),
        {**kernel("negative", 0, 5), "dur": -1},
        {**kernel("text", 0, 5), "ts": "soon"},
        {**kernel("none", 0, 5), "dur": None},
        {**kernel("huge", 0, 5), "ts": 1e300},
        {**kernel("yes", 0, 5), "dur": True},
        {**kernel("x", 0, 5), "name": 7},
    ]
    found = read(tmp_path, trace(*bad, {**kernel("good", 10, 20), "args": "none"}))
    assert [k.name for k in found.steps[0].kernels] == ["good"]
    assert f"{len(bad)} of {len(bad) + 1} events" in found.notes[0]


def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    assert main(["trace", "import", str(tmp_path / "missing.json"), "-o", str(out)]) == 2
    assert main(["trace", "import", str(FILE), "--set", "plan.tp=2", "-o", str(out)]) == 2
    assert main(["trace", "import", str(FILE), "-o", str(FILE)]) == 2
    assert not out.exists()
    assert "DS101" in capsys.readouterr().err
