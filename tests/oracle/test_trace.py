"""The trace of a step: its counts and totals are those of the timeline and of the breakdown."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distsim.api import load, simulate
from distsim.prediction.breakdown import breakdown
from distsim.prediction.link_levels import MOST_CHANGES, _level, link_levels
from distsim.prediction.predict import Prediction
from distsim.program.opgraph import TaskKind
from distsim.report.trace import LINKS_PID
from distsim.report.trace_prediction import prediction_chunks
from tests.tracing import bound_flows, check_form, check_names

MODEL = {"family": "gpt", "layers": 8, "hidden": 512, "heads": 8, "vocab": 4096,
         "max_positions": 512}  # fmt: skip
EXPERTS = {"experts": 8, "experts_per_token": 2, "expert_ffn": 512}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pipeline": ({"tp": 2, "pp": 4}, {}),
    "interleaved": ({"tp": 2, "pp": 2, "schedule": "interleaved", "virtual_stages": 2}, {}),
    "sharded": ({"zero_stage": 3}, {}),
    "blocking": ({"pp": 4, "overlap_p2p": False}, {}),
    "event": ({"pp": 2, "zero_stage": 1}, {"evaluator": "event"}),
}


def _scenario(plan: dict[str, Any], more: dict[str, Any]) -> Prediction:
    block = {
        "schema": 1,
        "name": "trace",
        "cluster": {"topology": "dgx-a100-superpod", "devices": 16},
        "model": MODEL,
        "batch": {"global_size": 32, "micro_size": 1, "sequence_length": 512},
        "plan": plan,
    }
    return simulate(load(block | more))


@pytest.fixture(scope="module", params=CASES)
def prediction(request: pytest.FixtureRequest) -> Prediction:
    return _scenario(*CASES[request.param])


@pytest.fixture(scope="module")
def events(prediction: Prediction) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads("".join(prediction_chunks(prediction)))["traceEvents"]
    return found


def test_the_trace_keeps_the_rules_of_its_format(events: list[dict[str, Any]]) -> None:
    check_form(events)
    check_names(events)


def test_counts_and_totals_are_those_of_the_timeline(
    prediction: Prediction, events: list[dict[str, Any]]
) -> None:
    spans = [e for e in events if e["ph"] == "X" and e["cat"] not in ("bubble", "exposed")]
    graph, run = prediction.timeline.program.graph, prediction.timeline.run
    streams = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"
    }
    tasks = [e for e in spans if streams[e["pid"], e["tid"]] != "operators"]
    kinds = Counter(e["cat"] for e in tasks)
    totals: dict[str, float] = defaultdict(float)
    for event in tasks:
        totals[event["cat"]] += event["dur"] / 1e6
    assert len(tasks) == graph.n_tasks
    for kind in TaskKind:
        mine = graph.kind == kind
        assert kinds[kind.name.lower()] == mine.sum()
        expected = float((run.end_s - run.start_s)[mine].sum())
        assert totals[kind.name.lower()] == pytest.approx(expected, abs=1e-9 * mine.sum())


def test_waits_sum_to_the_bubble_of_each_class(
    prediction: Prediction, events: list[dict[str, Any]]
) -> None:
    program = prediction.timeline.program
    parts, each = breakdown(program, prediction.timeline.run)
    seen: dict[tuple[int, str], float] = defaultdict(float)
    for event in events:
        if event["ph"] == "X" and event["cat"] in ("bubble", "exposed"):
            seen[event["pid"], event["cat"]] += event["dur"] / 1e6
    fold = program.network.fold
    for index, rank in enumerate(fold.example.tolist()):
        assert seen[rank, "bubble"] == pytest.approx(each[index]["bubble_s"], abs=1e-6)
    mean_s = (
        sum(
            seen[rank, "bubble"] * count
            for rank, count in zip(fold.example.tolist(), fold.count.tolist(), strict=True)
        )
        / fold.count.sum()
    )
    assert mean_s == pytest.approx(parts.bubble_s, abs=1e-6)


def test_busy_and_waiting_fill_the_step_of_every_rank(
    prediction: Prediction, events: list[dict[str, Any]]
) -> None:
    streams = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"
    }
    filled: dict[int, float] = defaultdict(float)
    for event in events:
        if event["ph"] == "X":
            stream = streams[event["pid"], event["tid"]]
            if stream in ("compute", "waits"):
                filled[event["pid"]] += event["dur"] / 1e6
    ranks = prediction.timeline.program.network.fold.example.tolist()
    assert [filled[rank] for rank in ranks] == pytest.approx(
        [prediction.step_s] * len(ranks), abs=1e-6
    )


def test_every_send_has_arrows_from_its_maker_and_to_its_user(
    prediction: Prediction, events: list[dict[str, Any]]
) -> None:
    graph = prediction.timeline.program.graph
    flows = bound_flows(events)
    sends = int((graph.kind == TaskKind.PIPELINE).sum())
    into = Counter(id(there) for _, there in flows.values() if there["cat"] == "pipeline")
    out_of = Counter(
        id(here) for here, there in flows.values()
        if here["cat"] == "pipeline" and there["pid"] != here["pid"]
    )  # fmt: skip
    assert sum(into.values()) == sum(out_of.values()) == sends
    assert set(into.values()) <= {1} and set(out_of.values()) <= {1}
    for here, there in flows.values():
        assert here["ts"] + here["dur"] <= there["ts"] + 1e-3
        assert {here["cat"], there["cat"]} - {"compute", "optimizer"}
    collective = [h for h, t in flows.values() if h["cat"] == "data"]
    assert bool(collective) == bool((graph.kind == TaskKind.DATA).any())


def test_a_send_goes_to_the_stage_that_is_next(
    prediction: Prediction, events: list[dict[str, Any]]
) -> None:
    stages = prediction.plan["pp"]
    for here, there in bound_flows(events).values():
        if here["cat"] == "pipeline" and here["pid"] != there["pid"]:
            step = (there["args"]["stage"] - here["args"]["stage"]) % stages
            assert step == (1 if "forward" in here["name"] else stages - 1)


def test_the_mean_of_link_counters_is_the_utilisation_of_the_report(
    prediction: Prediction, events: list[dict[str, Any]]
) -> None:
    end_us = prediction.step_s * 1e6
    used = [c for c in prediction.links.classes if c.bytes > 0]
    assert used
    for link_class in used:
        own = [e for e in events if e["ph"] == "C" and e["name"] == link_class.name]
        assert {e["pid"] for e in own} == {LINKS_PID}
        instants = np.asarray([e["ts"] for e in own] + [end_us])
        share = np.asarray([e["args"]["percent"] for e in own]) / 100
        mean = float((share * np.diff(instants)).sum() / end_us)
        assert mean == pytest.approx(link_class.mean_utilisation, rel=1e-3, abs=1e-6)


def test_links_carry_the_same_where_every_rank_is_simulated() -> None:
    """Without folding a group inside layers spans as many classes as it has ranks."""
    block = {
        "schema": 1,
        "name": "trace",
        "cluster": {"topology": "dgx-a100-superpod", "devices": 16},
        "model": MODEL,
        "batch": {"global_size": 8, "micro_size": 1, "sequence_length": 512},
        "plan": {"tp": 4, "pp": 2},
    }
    levels = []
    for fold in (True, False):
        found = simulate(load(block), fold=fold)
        run = found.timeline.run
        levels.append({
            level.name: float((level.share * np.diff(level.times_s, append=run.makespan)).sum())
            for level in link_levels(found.timeline.program, run)
        })  # fmt: skip
    assert levels[0] == pytest.approx(levels[1], rel=1e-6)


def test_long_runs_are_cut_into_parts_that_carry_the_same_bytes() -> None:
    rng = np.random.default_rng(1)
    start_s = rng.uniform(0, 99, 3000)
    end_s = start_s + rng.uniform(0, 1, 3000)
    rate = rng.uniform(0, 1, 3000)
    instants, level = _level(start_s, end_s, rate, 100.0)
    assert len(instants) == MOST_CHANGES
    width_s = 100 / MOST_CHANGES
    assert level.sum() * width_s == pytest.approx(float(((end_s - start_s) * rate).sum()))
    for part in (0, 7, 1234, MOST_CHANGES - 1):
        begin_s, until_s = instants[part], instants[part] + width_s
        inside_s = np.minimum(end_s, until_s) - np.maximum(start_s, begin_s)
        expected = float((rate * np.maximum(inside_s, 0.0)).sum()) / width_s
        assert level[part] == pytest.approx(expected, abs=1e-8)


def test_nothing_on_the_links_is_exactly_nothing() -> None:
    start_s, rate = np.asarray([0.0, 0.1, 5.0]), np.asarray([0.1, 0.2, 0.3])
    instants, level = _level(start_s, np.asarray([1.0, 1.1, 6.0]), rate, 7.0)
    assert level[(instants >= 1.1) & (instants < 5.0)].tolist() == [0.0]
    assert level[-1] == 0.0
    assert level[1] == pytest.approx(0.3)


def test_links_that_carry_nothing_have_no_counter() -> None:
    found = _scenario({"pp": 4, "zero_stage": 0}, {"cluster": {"topology": "dgx-a100-superpod",
                                                               "devices": 4}})  # fmt: skip
    timeline = found.timeline
    assert [level.name for level in link_levels(timeline.program, timeline.run)] == ["nvlink"]


def _trace_processor() -> str | None:
    return os.environ.get("TRACE_PROCESSOR") or shutil.which("trace_processor_shell")


@pytest.mark.skipif(_trace_processor() is None, reason="Perfetto's trace processor is not here")
def test_perfetto_reads_what_the_timeline_has(prediction: Prediction, tmp_path: Path) -> None:
    perfetto = pytest.importorskip("perfetto.trace_processor")
    path = tmp_path / "trace.json"
    path.write_text("".join(prediction_chunks(prediction)))
    events = json.loads(path.read_text())["traceEvents"]
    config = perfetto.TraceProcessorConfig(bin_path=_trace_processor())
    with perfetto.TraceProcessor(trace=str(path), config=config) as found:

        def count(query: str) -> int:
            return int(next(iter(found.query(query))).n)

        assert count("select count(*) n from slice") == sum(e["ph"] == "X" for e in events)
        assert count("select count(*) n from flow") == sum(e["ph"] == "s" for e in events)
        assert count("select count(*) n from stats where severity='error' and value > 0") == 0
