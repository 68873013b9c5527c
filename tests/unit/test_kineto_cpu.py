"""A real trace of a run without a device: what is in it, and that it is told from one with one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from distsim.cli import main

FILE = Path(__file__).parents[1] / "data" / "kineto" / "transformer-cpu-gloo-rank0.json.gz"


@pytest.fixture(scope="module")
def trace() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(FILE.read_bytes()))
    return found


def test_it_has_the_form_that_readers_count_on(trace: dict[str, Any]) -> None:
    assert FILE.stat().st_size < 60_000
    assert trace["record_shapes"] == 1 and trace["deviceProperties"] == []
    info = trace["distributedInfo"]
    assert (info["backend"], info["rank"], info["world_size"]) == ("gloo", 0, 2)
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert {"cpu_op", "user_annotation"} <= {span["cat"] for span in spans}
    assert not any(span["cat"] in ("kernel", "gpu_memcpy", "cuda_runtime") for span in spans)
    operators = [span for span in spans if span["cat"] == "cpu_op"]
    assert all("External id" in span["args"] and span["dur"] >= 0 for span in operators)
    products = [span for span in operators if span["name"] == "aten::addmm"]
    assert products and all(len(span["args"]["Input Dims"][1]) == 2 for span in products)
    (step,) = [span for span in spans if span["name"].startswith("ProfilerStep#")]
    inside = [s for s in operators if step["ts"] <= s["ts"] <= step["ts"] + step["dur"]]
    assert len(inside) > 0.9 * len(operators)


def test_the_reduced_gradients_are_those_of_the_model(trace: dict[str, Any]) -> None:
    vocabulary, hidden, layers = 256, 64, 2
    attention = 4 * (hidden * hidden + hidden)
    feed_forward = 2 * 4 * hidden * hidden + 5 * hidden
    layer = attention + feed_forward + 2 * 2 * hidden
    parameters = vocabulary * hidden + layers * layer + hidden * vocabulary + vocabulary
    (reduced,) = [e for e in trace["traceEvents"] if e["name"] == "gloo:all_reduce"]
    assert reduced["args"]["Input Dims"] == [[parameters]]
    (called,) = [e for e in trace["traceEvents"] if e["name"] == "c10d::allreduce_"]
    assert called["args"]["Input Dims"][0] == [[parameters]]


def test_it_is_not_taken_for_a_trace_of_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "import", str(FILE)]) == 2
    error = capsys.readouterr().err
    assert "DS720: this is no trace of a run on devices" in error
    assert "ProfilerActivity.CUDA" in error
