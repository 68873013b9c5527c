"""Memory through a step as text and as counters of a trace."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import distsim as ds
from distsim.prediction.predict import Prediction
from distsim.report.memory_timeline import MemoryThroughStep, curve
from distsim.report.text import run_text
from distsim.report.trace import chunks


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    return ds.simulate(ds.load("gpt3-175b-1024xa100"))


def _lines(text: Any) -> list[str]:
    console = Console(width=80, highlight=False, markup=False, no_color=True)
    with console.capture() as captured:
        console.print(text)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_the_report_says_what_the_fullest_stage_holds(prediction: Prediction) -> None:
    whole = " ".join(_lines(run_text(prediction)))
    first = prediction.memory_timeline.of(0)
    assert f"Peak of stage 0 from {first.peak_s:.3f} s: 16 micro batches of chunk 0, 9 of " in whole
    reserve = prediction.memory.stages[0].reserve_bytes(prediction.memory.fragmentation)
    assert f"The allocator may hold {reserve / 1e9:.3f} GB more (4 %)." in whole
    assert "Memory through the step" not in whole


def test_memory_through_the_step_reads_at_80_columns(prediction: Prediction) -> None:
    lines = _lines(run_text(prediction, through_step=True))
    assert max(map(len, lines)) <= 80
    begin = next(n for n, line in enumerate(lines) if line.startswith("Memory through the step"))
    rows = [line for line in lines[begin + 2 :] if line[:1].isdigit()][:8]
    assert [row.split()[0] for row in rows] == list("01234567")
    assert all(len(row.split()[1]) == 24 for row in rows)


def test_the_curve_rises_to_the_peak_and_comes_back(prediction: Prediction) -> None:
    seen = prediction.memory_timeline.by_stage()
    written = io.BytesIO()
    plain = io.TextIOWrapper(written, encoding="ascii")
    Console(file=plain, width=80).print(MemoryThroughStep(seen))
    plain.flush()
    assert b"#" in written.getvalue()
    assert curve([1.0, 2.0, 3.0, 1.0], 1.0, 3.0, "_-#") == "_-#_"
    assert curve([2.0, 2.0], 2.0, 2.0, "_-#") == "##"
    assert seen[0].binned(24).max() == seen[0].peak_bytes


def test_counters_stack_up_to_what_is_allocated(prediction: Prediction) -> None:
    seen = prediction.memory_timeline.by_stage()
    events = json.loads("".join(chunks([], {}, seen)))["traceEvents"]
    assert {e["ph"] for e in events} == {"C"}
    for timeline in seen:
        own = [e for e in events if e["pid"] == timeline.rank]
        assert [e["ts"] for e in own] == pytest.approx((timeline.times_s * 1e6).tolist(), abs=1e-3)
        total = np.asarray([sum(e["args"].values()) for e in own])
        np.testing.assert_allclose(total, timeline.allocated_bytes, atol=10)
        assert len({tuple(e["args"]) for e in own}) == 1
    # Nothing is gathered and nothing is compressed under this plan.
    assert not {"gathered", "compression"} & set(events[0]["args"])
