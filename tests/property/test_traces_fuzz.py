"""Whatever a trace holds, reading it gives a result or an error for people."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.errors import DistsimError
from distsim.study.traces.kineto import read_kineto
from distsim.study.traces.measured import PARTS, compared
from tests.kineto_traces import annotation, kernel, launch, trace

pytest.importorskip("google.protobuf")

SOUND = json.dumps(
    trace(
        annotation("ProfilerStep#1", 0, 50), launch(1, 7), kernel("gemm", 5, 9, correlation=7),
        annotation("ProfilerStep#2", 50, 90), kernel("ncclDevKernel_AllReduce", 60, 70),
    )
).encode()  # fmt: skip

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {"ph": st.sampled_from(["X", "M", "C", "s"]) | JSON},
    optional={
        "cat": st.sampled_from(["kernel", "gpu_memcpy", "user_annotation", "cuda_runtime"]) | JSON,
        "name": st.sampled_from(["ProfilerStep#3", "Optimizer.step#A", "ncclDevKernel_x"]) | JSON,
        "ts": st.integers(-10, 200) | JSON,
        "dur": st.integers(-2, 50) | JSON,
        "tid": JSON,
        "args": JSON
        | st.fixed_dictionaries(
            {"correlation": st.integers(0, 3) | JSON},
            optional={"stream": JSON, "Group size": JSON, "Collective name": JSON,
                      "Process Group Description": JSON},
        ),
    },
)  # fmt: skip


def _read(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "trace.json"
        file.write_bytes(content)
        try:
            found = compared(read_kineto(file, {"tp": 2, "dp": 4}))
        except DistsimError as error:
            assert error.code in ("DS106", "DS634", "DS720"), error
            return
    assert all(part.kind in PARTS for part in found.parts)
    assert found.step_s == pytest.approx(sum(part.measured_s for part in found.parts), abs=1e-9)
    assert all(part.measured_s >= -1e-9 for part in found.parts)
    json.dumps(found.to_dict(), allow_nan=False)


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=8), JSON)
def test_any_events(events: list[dict[str, Any]], info: object) -> None:
    _read(json.dumps({"traceEvents": events, "distributedInfo": info,
                      "deviceProperties": info}).encode())  # fmt: skip


@settings(deadline=None)
@given(st.integers(0, len(SOUND)), st.binary(max_size=4), st.integers(0, 6))
def test_any_damage(at: int, put: bytes, removed: int) -> None:
    _read(SOUND[:at] + put + SOUND[at + removed :])


@settings(deadline=None)
@given(st.data())
def test_any_damage_of_a_chakra_trace(data: st.DataObject) -> None:
    from distsim.study.traces.chakra_read import summary
    from distsim.study.traces.chakra_schema import messages, varint

    kinds = messages()
    head = kinds.metadata(version="0.0.4").SerializeToString()
    node = kinds.node(id=1, name="x", type=7, data_deps=[0])
    node.attr.add(name="comm_type", int64_val=0)
    body = node.SerializeToString()
    sound = varint(len(head)) + head + varint(len(body)) + body
    at = data.draw(st.integers(0, len(sound)))
    damaged = sound[:at] + data.draw(st.binary(max_size=4)) + sound[at + 1 :]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "x.0.et"
        file.write_bytes(damaged)
        try:
            json.dumps(summary(file).to_dict())
        except DistsimError as error:
            assert error.code == "DS721"
