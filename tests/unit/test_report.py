"""Texts and traces, against what they are made from."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console, RenderableType

import distsim as ds
from distsim.parallel.memory import StageMemory
from distsim.parallel.plan import Plan
from distsim.prediction.predict import Memory, Prediction
from distsim.report.json_ import dumps
from distsim.report.layout import bar, bare, fixed, plural, quantity
from distsim.report.memory import memory_table
from distsim.report.text import PARTS, run_text
from distsim.report.trace import chunks


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    return ds.simulate(ds.load("gpt3-175b-1024xa100"))


def _lines(text: RenderableType, width: int = 80) -> list[str]:
    console = Console(width=width, highlight=False, markup=False, no_color=True)
    with console.capture() as captured:
        console.print(text)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_the_report_reads_at_80_columns(prediction: Prediction) -> None:
    lines = _lines(run_text(prediction))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_shares_and_times_of_the_breakdown_sum_to_the_step(prediction: Prediction) -> None:
    lines = _lines(run_text(prediction))
    # Parts that take no time are not shown.
    parts = [PARTS[key] for key, value in prediction.breakdown.to_dict().items() if value > 0]
    names = [*parts, "step"]
    found = {n: next(x for x in lines if x.startswith(f"{n}  ")) for n in names}
    times = {n: float(line.removeprefix(n).split()[0]) for n, line in found.items()}
    shares = {n: float(line.removeprefix(n).split()[2]) for n, line in found.items()}
    assert sum(times[n] for n in parts) == pytest.approx(times["step"], abs=0.05)
    assert sum(shares[n] for n in parts) == pytest.approx(100, abs=0.5)


def _memory(*peaks_gb: float) -> Memory:
    stages = tuple(StageMemory(p * 1e9, 0.0, 0.0, 0.0) for p in peaks_gb)
    return Memory(max(peaks_gb) * 1e9, 80e9, stages, Plan(1))


def _stages(*peaks_gb: float) -> list[str]:
    return [line.split()[0] for line in _lines(memory_table(_memory(*peaks_gb)))[2:]]


def test_stages_that_read_the_same_share_a_row() -> None:
    assert _stages(9, 8, 8, 8, 7) == ["0", "1-3", "4"]
    assert _stages(5) == ["0"]
    assert _stages(9, 8, 9) == ["0", "1", "2"]


def test_a_long_pipeline_shows_its_ends_and_its_fullest_stage() -> None:
    peaks = [30.0 + n for n in range(20)]
    assert _stages(*peaks) == ["0", "1", "2", "3", "4-15", "16", "17", "18", "19"]
    peaks[9] = 79.0
    assert _stages(*peaks) == [*"0123", "4-8", "9", "10-15", "16", "17", "18", "19"]


def test_what_does_not_fit_says_so_with_the_advice() -> None:
    lines = _lines(memory_table(_memory(81)))
    # Weights alone: half of them on twice the ranks.
    assert " ".join(" ".join(lines[-4:]).split()).endswith(
        "DS501: does not fit: stage 0 needs 81 GB of 80 GB: over by 1 GB"
        " - twice the tp (or pp) frees 40.5 GB (enough)"
    )


def _trace(prediction: Prediction) -> Any:
    return json.loads("".join(chunks(prediction.timeline.spans(), {"step_s": prediction.step_s})))


def test_a_trace_has_every_task_in_microseconds(prediction: Prediction) -> None:
    trace = _trace(prediction)
    spans = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    tasks = list(prediction.timeline.spans(operators=False))
    assert len(tasks) == prediction.tasks
    assert len(spans) == sum(1 for _ in prediction.timeline.spans())
    end_us = max(e["ts"] + e["dur"] for e in spans)
    assert end_us == pytest.approx(prediction.step_s * 1e6, abs=0.01)


def test_spans_on_a_stream_never_overlap_and_every_stream_is_named(prediction: Prediction) -> None:
    events = _trace(prediction)["traceEvents"]
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    streams = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            streams[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert named == set(streams)
    for spans in streams.values():
        assert all(b[0] - a[1] > -2e-3 for a, b in pairwise(sorted(spans)))


def test_a_trace_without_spans_is_still_json() -> None:
    assert json.loads("".join(chunks([], {})))["traceEvents"] == []


def test_json_keeps_every_bit_and_refuses_what_json_lacks(prediction: Prediction) -> None:
    assert json.loads(dumps(prediction.to_dict()))["step_s"] == prediction.step_s
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps(replace(prediction, step_s=float("nan")).to_dict())


def test_layout() -> None:
    assert bar(0.5, 4, ascii_only=False) == "██" and bar(0.5, 4, ascii_only=True) == "##"
    assert bar(0.03125, 4, ascii_only=False) == "▏" and bar(-1, 4, ascii_only=True) == ""
    assert bare("peak_flop_per_s") == "peak" and bare("layers") == "layers"
    assert quantity("latency_s", 1.5e-6) == "1.5 us" and quantity("layers", 12288) == "12,288"
    assert fixed(0.0287, 18.9377, 1.0) == "0.03" and fixed(99.996, 105.2, 1.0) == "100.0"
    assert [plural(n, "class") for n in (0, 1, 2000)] == ["0 classes", "1 class", "2,000 classes"]
