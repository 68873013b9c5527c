"""Whatever a file of measurements holds: readings that make sense, or one clear error."""

from __future__ import annotations

import gzip
import json
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distsim.errors import CODES, DistsimError
from distsim.scenario.load import load
from distsim.study.calibration.measurements import Readings
from distsim.study.calibration.readers import read_any
from tests.calibration_logs import (
    cpu_op,
    device_kernel,
    megatron,
    nccl_run,
    settled,
    torchtitan_line,
)

FUZZ = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCENARIO = {
    "cluster": {"topology": "dgx-h100-superpod", "devices": 64},
    "model": "llama3-8b",
    "batch": {"global_size": 512, "sequence_length": 4096},
    "plan": {"tp": 8},
}
TRACE = {
    "deviceProperties": [{"id": 0}, {"id": 1}],
    "distributedInfo": {"rank": 0, "world_size": 2},
    "traceEvents": [
        cpu_op(1, "aten::mm", [[8, 32], [32, 16]], "c10::BFloat16", **{"Input Strides": [[32, 1]]}),
        device_kernel(1, "gemm", 10.5),
        cpu_op(2, "aten::_flash_attention_forward", [[1, 8, 2, 4]] * 3, "c10::Half",
               **{"Concrete Inputs": [""] * 8 + ["True"]}),
        device_kernel(2, "flash", 10),
        cpu_op(3, "aten::add", [[4, 4], [4, 4], []], "float"),
        device_kernel(3, "add", 1),
        device_kernel(9, "ncclDevKernel_AllReduce", 5, **{
            "Collective name": "allreduce", "In msg nelems": 10, "Out msg nelems": 10,
            "dtype": "Float", "Group size": 2, "Process Group Ranks": "[0, 1]"}),
        {"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#1", "ts": 0, "dur": 5e5},
    ],
}  # fmt: skip
TIMINGS = {
    "format": "distsim-timings/1",
    "device": {"name": "x"},
    "timings": [
        {"kind": "gemm", "time_s": 1e-4, "batch": 1, "m": 1, "n": 2, "k": 3, "dtype": "bf16"},
        {"kind": "host", "time_s": 1e-6, "op": "dispatch", "repeats": 5},
        {"kind": "collective", "time_s": 1e-3, "op": "all_reduce", "size_bytes": 8, "ranks": 2},
    ],
}
TEXTS = {
    "megatron": megatron(settled(1200.0, 12)) + "Traceback (most recent call last):\n"
    + megatron(settled(800.0, 5), tensor_model_parallel_size=4),
    "torchtitan": "".join(torchtitan_line(i, "5,762") + "\n" for i in range(1, 8)),
    "deepspeed": "".join(
        f"[Rank 0] steps: {i} loss: 7.9 iter time (s): 3.456 samples/sec: 148.1\n"
        "time (ms) | fwd: 100.5 | bwd: 200.25 | step: 30.25\n"
        for i in range(1, 6)
    ),
    "step_csv": "name,tp,plan.pp,gbs,model,layers,step_s\na,8,1,64,llama3-8b,16,1.5\n"
    "b,4,,,{base: gpt2-xl},,2.5\n",
    "semicolons": "tp;step_ms\n8;1,5\n4;1.234,5\n",
    "nccl": nccl_run("all_reduce", 8, 2, [(1048576, "92.79"), (2097152, "120.5")]),
    "nccl_csv": "op,size_bytes,ranks,nodes,time_us\nall_reduce,8,2,1,5.5\nalltoall,8,4,,6\n",
    "kineto": json.dumps(TRACE, indent=1),
    "timings": json.dumps(TIMINGS, indent=1),
}  # fmt: skip
PIECES = st.one_of(
    st.sampled_from(
        [
            *(
                "nan",
                "inf",
                "-1",
                "0",
                "9" * 30,
                "1e400",
                "1,5",
                "1.234,5",
                ".",
                ",",
                "|",
                ":",
                "(",
            ),
            *(
                "\n",
                "\r\n",
                "\r",
                "\x00",
                "\x1b[31m",
                "\x1b]0;",
                "\u2028",
                "\u00a0",
                "\ufeff",
                "\t",
            ),
            *('"', "{", "}", "[", "]", "null", "true", '"ph": "X"', "iteration 3/", "step: 4"),
            *(" . 8", "...... None", "world_size .... 0", "num_experts ... 8", "out of memory"),
            *("moe_layer_freq ..... ([0]*2+[1]*9)", "\n------- arguments -------\n", "[rank1]:"),
            "elapsed time per iteration (ms): ",
            "iter time (s): ",
            "tps: ",
        ]
    ),
    st.text(max_size=6),
    st.integers(-5, 10**12).map(str),
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Draw a file with a few pieces cut out, put in or doubled, or its end missing."""
    text = TEXTS[draw(st.sampled_from(sorted(TEXTS)))]
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 20)))
        text = text[:start] + draw(PIECES) + text[end:]
    return text[: draw(st.integers(1, len(text)))] if draw(st.booleans()) else text


def outcome(file: Path, scenario: Any = SCENARIO) -> Readings | None:
    """Read a file; None for an error that is as it should be."""
    try:
        found = read_any(file, scenario)
    except DistsimError as error:
        assert error.code in CODES
        assert error.message and error.rule and error.fix and len(str(error)) < 5000
        assert error.code not in ("DS631", "DS632", "DS634") or error.place is not None
        return None
    assert found.count
    raw = file.read_bytes()
    lines = raw.count(b"\n") + raw.count(b"\r") + 1 if raw[:2] != b"\x1f\x8b" else 10_000
    for step in found.step_times:
        assert 0 < step.low_s <= step.time_s <= step.high_s and isfinite(step.high_s)
        assert step.samples >= 1 and step.weight > 0
        load(step.scenario)
    for time in (*found.step_times, *found.kernels, *found.collectives):
        assert 0 < time.time_s < 1e7
        assert time.source.file == str(file)
        assert time.source.line is None or 0 <= time.source.line <= lines
    for collective in found.collectives:
        assert collective.ranks >= 1 and 0 < collective.size_bytes <= 1e20
    assert all(reject.reason for reject in found.rejected)
    return found


@pytest.mark.parametrize("kind", sorted(TEXTS))
def test_the_files_are_read_as_they_are(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "x"
    file.write_text(TEXTS[kind], encoding="utf-8", newline="")
    assert outcome(file) is not None


@settings(FUZZ, max_examples=300)
@given(mutated())
def test_a_mutated_file_is_readings_or_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome(file)


@settings(FUZZ, max_examples=150)
@given(mutated(), st.sampled_from(["utf-16", "latin-1", "gzip", "cut"]))
def test_in_any_encoding(tmp_path: Path, text: str, how: str) -> None:
    file = tmp_path / "x"
    raw = text.encode("utf-8" if how in ("gzip", "cut") else how, "replace")
    if how in ("gzip", "cut"):
        raw = gzip.compress(raw)
        raw = raw[: len(raw) - 20] if how == "cut" else raw
    file.write_bytes(raw)
    outcome(file)


@settings(FUZZ, max_examples=200)
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_readings_or_an_error(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(raw)
    outcome(file)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values within one."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    inner = [
        found
        for key, item in items
        for found in (
            paths(item, (*path, key)) if isinstance(item, dict | list) else [(*path, key)]
        )
    ]
    return [path, *inner] if path else inner


@settings(FUZZ, max_examples=250)
@given(
    st.sampled_from([TRACE, TIMINGS]).flatmap(
        lambda data: st.tuples(st.just(data), st.sampled_from(paths(data)))
    ),
    json_values,
)
def test_any_value_anywhere_in_json(
    tmp_path: Path, where: tuple[Any, tuple[Any, ...]], value: Any
) -> None:
    data = json.loads(json.dumps(where[0]))
    block = data
    for key in where[1][:-1]:
        block = block[key]
    block[where[1][-1]] = value
    file = tmp_path / "x"
    file.write_text(json.dumps(data), encoding="utf-8")
    outcome(file)


@settings(FUZZ, max_examples=200)
@given(
    st.sampled_from(sorted(TEXTS)),
    st.dictionaries(
        st.sampled_from(["cluster", "model", "batch", "plan", "precision", "name", "jobs", "x"]),
        json_values,
        max_size=4,
    ),
)
def test_any_scenario_beside(tmp_path: Path, kind: str, scenario: dict[str, Any]) -> None:
    file = tmp_path / "x"
    file.write_text(TEXTS[kind], encoding="utf-8", newline="")
    outcome(file, scenario)
    outcome(file, {**SCENARIO, **scenario})
