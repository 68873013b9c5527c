"""What pages show, held against the results that they show and against other ways to count."""

from __future__ import annotations

import sys
from base64 import b64decode
from itertools import pairwise
from math import exp, log

import numpy as np
import pytest

import distsim as ds
from distsim.prediction.predict import Prediction
from distsim.program.opgraph import TaskKind
from distsim.report import sheet
from distsim.report.html.accuracy import accuracy_section
from distsim.report.html.goodput import goodput_html
from distsim.report.html.losses import losses
from distsim.report.html.memory import memory_section
from distsim.report.html.network import level, network_section
from distsim.report.html.roofline import operators, roofline_section
from distsim.report.html.spans import columns_of, exposed_s
from distsim.study.interval import validated
from tests.html_pages import Reader, section, text_of

SCENARIOS = (
    "gpt3-175b-1024xa100",
    "deepseek-moe-16b-64xh100-dualpipe",
    "llama3-8b-64xh100-ring-131072",
    "llama2-7b-64xtpu-v4-adafactor",
    "gpt2-xl-64xv100-pipedream-2bw",
    "gpt-10b-1xv100-offload",
)
_MADE: dict[str, Prediction] = {}


@pytest.fixture(params=SCENARIOS)
def prediction(request: pytest.FixtureRequest) -> Prediction:
    name = request.param
    if name not in _MADE:
        _MADE[name] = ds.simulate(ds.load(name))
    return _MADE[name]


def _read(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(b64decode(text), dtype=dtype)


def test_spans_are_those_of_the_timeline(prediction: Prediction) -> None:
    found = columns_of(prediction.timeline)
    columns, lanes = found["columns"], found["lanes"]
    start, length = _read(columns["start_s"], "<f8"), _read(columns["duration_s"], "<f4")
    label, kind = _read(columns["label"], "<i4"), _read(columns["kind"], "<u1")
    lane = np.repeat(np.arange(len(lanes["name"])), np.diff(lanes["first"]))
    shown = sorted(
        (
            lanes["rank"][lane[n]],
            lanes["name"][lane[n]],
            start[n],
            found["names"][label[n]] if label[n] >= 0 else found["kinds"][kind[n]],
        )
        for n in range(found["count"])
    )
    spans = list(prediction.timeline.spans(operators=False))
    assert shown == sorted((s.rank, s.stream, s.start_s, s.name) for s in spans)
    total = sum(s.duration_s for s in spans)
    assert float(length.astype(np.float64).sum()) == pytest.approx(total, rel=1e-6)


def test_spans_of_a_lane_are_in_order_and_do_not_overlap(prediction: Prediction) -> None:
    # The search of the page rests on it.
    found = columns_of(prediction.timeline)
    start = _read(found["columns"]["start_s"], "<f8")
    end = start + _read(found["columns"]["duration_s"], "<f4")
    for begin, stop in pairwise(found["lanes"]["first"]):
        assert (np.diff(start[begin:stop]) >= 0).all()
        assert (start[begin + 1 : stop] >= end[begin : stop - 1] - 1e-6 * found["end_s"]).all()


def test_bytes_of_a_span_are_those_of_the_timeline(prediction: Prediction) -> None:
    found = columns_of(prediction.timeline)
    transfer = _read(found["columns"]["transfer"], "<i4")
    shown = sorted(found["bytes"][t] for t in transfer if t >= 0)
    spans = prediction.timeline.spans(operators=False)
    assert shown == sorted(s.args["bytes"] for s in spans if "bytes" in s.args)


def test_exposed_time_is_what_no_kernel_of_the_rank_covers(prediction: Prediction) -> None:
    # An independent count: cut the step at every edge and look at each piece.
    timeline = prediction.timeline
    graph, run = timeline.program.graph, timeline.run
    owner = graph.stream_device[graph.stream]
    computing = np.isin(graph.kind, (TaskKind.COMPUTE, TaskKind.OPTIMIZER))
    exposed = exposed_s(timeline)
    rng = np.random.default_rng(0)
    others = np.flatnonzero(~computing)
    for task in rng.choice(others, min(60, len(others)), replace=False).tolist():
        mine = np.flatnonzero(computing & (owner == owner[task]))
        begin, end = run.start_s[task], run.end_s[task]
        edges = np.concatenate([[begin, end], run.start_s[mine], run.end_s[mine]])
        edges = np.unique(edges[(edges >= begin) & (edges <= end)])
        middle = (edges[1:] + edges[:-1]) / 2
        # Each piece counts unless a kernel is under way in its middle.
        order = np.sort(run.start_s[mine]), np.sort(run.end_s[mine])
        under_way = np.searchsorted(order[0], middle) - np.searchsorted(order[1], middle)
        expected = float(np.diff(edges)[under_way == 0].sum())
        assert exposed[task] == pytest.approx(expected, abs=1e-9 * run.makespan)
    assert (exposed[computing] == (run.end_s - run.start_s)[computing]).all()


def test_the_marked_path_is_a_chain_from_begin_to_end(prediction: Prediction) -> None:
    found = columns_of(prediction.timeline)
    start = _read(found["columns"]["start_s"], "<f8")
    end = start + _read(found["columns"]["duration_s"], "<f4")
    chain = _read(found["columns"]["critical"], "<u1") == 1
    order = np.argsort(start[chain], kind="stable")
    begins, ends = start[chain][order], end[chain][order]
    step = prediction.timeline.run.makespan
    assert begins[0] == pytest.approx(0.0, abs=1e-9)
    assert ends.max() == pytest.approx(step, rel=1e-6)
    # A task may wait for a transfer that is on the wire before it is done: the chain has no gap.
    reach = np.maximum.accumulate(ends)
    assert (begins[1:] <= reach[:-1] + 1e-6 * step).all()


def test_operators_of_a_segment_take_what_it_takes_alone(prediction: Prediction) -> None:
    found = columns_of(prediction.timeline)
    parts, costs = found["parts"], found["costs"]
    first = _read(parts["first"], "<i4")
    length = _read(parts["duration_s"], "<f4").astype(np.float64)
    seen = 0
    for label, cost in enumerate(costs):
        inside = length[first[label] : first[label + 1]]
        if cost is None or not len(inside):
            continue
        # All but waiting for the host, which no operator does.
        assert inside.sum() == pytest.approx(sum(cost[:4]), rel=2e-5)
        seen += 1
    assert seen > 0


def test_losses_sum_to_the_step(prediction: Prediction) -> None:
    rows = losses(prediction)
    assert sum(s for _, s, _ in rows) == pytest.approx(prediction.step_s, rel=1e-9)
    # Ideal: FLOP of the model over the peak of the datasheet.
    flop_per_s = prediction.model_flop_per_s_per_device
    dtype = prediction.resolved["precision"]
    device = prediction.timeline.program.inputs.device
    if dtype in device.peak_flop_per_s:
        ideal_s = flop_per_s * prediction.step_s / device.peak_flop_per_s[dtype]
        assert rows[0][1] == pytest.approx(ideal_s, rel=1e-9)
    parts = prediction.breakdown.to_dict()
    three = sum(s for _, s, kind in rows if kind in ("ideal", "recompute", "kernels"))
    assert three == pytest.approx(parts["compute_s"], rel=1e-6)


def test_memory_keeps_its_peak_and_its_ends(prediction: Prediction) -> None:
    shown = memory_section(prediction)
    for stage, seen in zip(shown["stages"], prediction.memory_timeline.by_stage(), strict=True):
        n = len(stage["times_s"])
        assert n <= 602
        total = np.zeros(n)
        for part in stage["parts"].values():
            total += np.asarray(part)
        assert total.max() == pytest.approx(seen.peak_bytes, abs=len(stage["parts"]))
        assert stage["times_s"][0] == 0.0
        assert stage["times_s"][-1] == pytest.approx(float(seen.times_s[-1]), rel=1e-5)
        assert set(stage["parts"]) <= set(shown["categories"])


def test_no_operator_is_above_its_roof(prediction: Prediction) -> None:
    timeline = prediction.timeline
    device = timeline.program.inputs.device
    peak = max(device.peak_flop_per_s.values())
    found = operators(timeline)
    assert found
    for o in found:
        roof = min(peak, o.intensity * device.memory_bandwidth_bytes_per_s)
        assert o.flop_per_s <= roof * (1 + 1e-9), o


def test_operators_take_most_of_the_computing_time(prediction: Prediction) -> None:
    """What is on the roofline and what has no FLOP are all kernels of the step, on all ranks."""
    timeline, plan = prediction.timeline, prediction.timeline.program.inputs.plan
    steps = 1 if plan.pipeline.flush else timeline.run.makespan / prediction.step_s
    computing_s = prediction.breakdown.compute_s * prediction.devices * steps
    assert 0.5 * computing_s < sum(o.time_s for o in operators(timeline)) < 1.05 * computing_s


def test_a_roofline_draws_its_ridge(prediction: Prediction) -> None:
    shown = roofline_section(prediction.timeline)
    assert shown is not None
    roof = shown["series"][-1]["points"]
    device = prediction.timeline.program.inputs.device
    bandwidth = device.memory_bandwidth_bytes_per_s
    slanted = [p for p in roof if p[1] < max(q[1] for q in roof)]
    for x, y in slanted:
        assert y == pytest.approx(x * bandwidth)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 0), (1e-9, 1), (0.05, 2), (0.3, 3), (0.6, 4), (0.75, 5), (2, 5)]
)
def test_colours_of_links(share: float, expected: int) -> None:
    assert level(share) == expected


def test_lines_of_a_drawing_have_the_colour_of_their_class(prediction: Prediction) -> None:
    topology = prediction.timeline.program.network.topology
    shown = network_section(topology, prediction.links)
    wanted = {level(c.max_utilisation) for c in prediction.links.classes}
    drawn = {line[1] for line in shown["drawing"]["lines"]}
    assert drawn <= wanted | {0}
    assert [c[0] for c in shown["classes"]] == [c.name for c in prediction.links.classes if c.links]


def test_a_topology_is_drawn_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ds.simulate(ds.load("gpt2-xl-8xa100"))
    topology = found.timeline.program.network.topology
    with_it = network_section(topology, found.links)["drawing"]
    for name in [m for m in sys.modules if m.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    sheet.width_of.cache_clear()
    try:
        without = network_section(topology, found.links)["drawing"]
    finally:
        sheet.width_of.cache_clear()
    assert len(without["boxes"]) == len(with_it["boxes"])
    assert [b[4] for b in without["boxes"]] == [b[4] for b in with_it["boxes"]]
    assert without["width"] == pytest.approx(with_it["width"], rel=0.35)


def test_the_accuracy_names_runs_with_their_errors() -> None:
    found = ds.simulate(ds.load("gpt3-175b-1024xa100"))
    shown = accuracy_section(found)
    assert shown is not None and found.interval is not None
    known = {f"{run.source}/{run.id}": run for run in validated()}
    assert [row[0] for row in shown["rows"]] == list(found.interval.nearest)
    for row in shown["rows"]:
        assert log(1.0 + row[4]) == pytest.approx(-known[row[0]].log_ratio, abs=1e-12)
        assert exp(known[row[0]].log_ratio) * (1.0 + row[4]) == pytest.approx(1.0)


def test_a_histogram_counts_every_run_once() -> None:
    shown = section(text_of("goodput"), "finish")
    shares = [p[1] for p in shown["series"][0]["points"]]
    assert sum(shares) == pytest.approx(1.0)
    scenario = ds.load("llama2-70b-256xh100-checkpoints")
    found = ds.goodput(scenario, tokens="300B", runs=300, start="2027-01-31")
    days = found.runs.duration_s / 86400
    assert shown["lines"][1][0] == pytest.approx(float(np.quantile(days, 0.5)))
    below = sum(p[1] for p in shown["series"][0]["points"] if p[0] <= shown["lines"][1][0])
    assert below == pytest.approx(0.5, abs=0.2)
    assert "2027-" in shown["series"][0]["points"][0][2]


def test_a_training_that_never_fails_has_one_bin() -> None:
    scenario = ds.load("llama2-70b-256xh100-checkpoints")
    found = ds.goodput(scenario, tokens="1B", runs=5, mtbf_device="1e12h")
    text = "".join(goodput_html(found, scenario))
    points = section(text, "finish")["series"][0]["points"]
    assert sum(p[1] for p in points) == pytest.approx(1.0)


def test_a_validation_shows_every_row_once() -> None:
    data = Reader(text_of("validate")).data
    scatter = next(s for s in data["sections"] if s["id"] == "scatter-s")
    cases = next(s for s in data["sections"] if s["id"] == "cases")
    points = [p for s in scatter["series"] for p in s["points"]]
    assert len(points) == len(cases["rows"]) == 8
    errors = sorted(round(p[1] / p[0] - 1.0, 9) for p in points)
    assert errors == sorted(round(row[-1], 9) for row in cases["rows"])
    by_source = next(s for s in data["sections"] if s["id"] == "errors-sources")
    mean = np.mean([abs(e) for e in errors])
    assert by_source["rows"][0][3] == pytest.approx(mean, abs=1e-9)


def test_a_sweep_draws_each_possible_row_on_its_curve() -> None:
    scaling = section(text_of("sweep"), "scaling")
    rows = section(text_of("sweep"), "rows")
    heads = [c["label"] for c in rows["columns"]]
    ok = [r for r in rows["rows"] if r[heads.index("status")] == "ok"]
    drawn = [p for s in scaling["series"][1:] for p in s["plans"]]
    assert len(drawn) == len(set(drawn)) == len(ok)
    best = scaling["series"][0]
    assert [p[0] for p in best["points"]] == [8, 16, 32]
    for at, (devices, rate, _) in enumerate(best["points"]):
        others = [q[1] for s in scaling["series"][1:-1] for q in s["points"] if q[0] == devices]
        assert rate == max(others)
        assert str(devices) in scaling["plans"][best["plans"][at]]["title"]
    ideal = scaling["series"][-1]["points"]
    assert [y / ideal[0][1] for _, y in ideal] == [1.0, 2.0, 4.0]


def test_a_sweep_of_one_size_shows_its_fastest_rows() -> None:
    fastest = section(text_of("flat-sweep"), "fastest")["rows"]
    rows = section(text_of("flat-sweep"), "rows")
    heads = [c["label"] for c in rows["columns"]]
    ok = [r for r in rows["rows"] if r[heads.index("status")] == "ok"]
    assert 0 < len(ok) == len(fastest) < len(rows["rows"])
    assert [r[2] for r in fastest] == sorted(r[heads.index("step time")] for r in ok)


def test_each_plan_is_listed_once() -> None:
    rows = section(text_of("plan"), "plans")["rows"]
    assert len({(r[0], r[1]) for r in rows}) == len(rows) == 4
    assert [r[-1] for r in rows] == ["yes", "no", "yes", "yes"]


def test_a_front_has_the_best_plan_chosen_first() -> None:
    front = section(text_of("plan"), "front")
    assert front["series"][0]["plans"][-1] == front["first"]
    assert [p[0] for p in front["series"][0]["points"]] == sorted(
        p[0] for p in front["series"][0]["points"]
    )
    assert front["lines"][0][1] == "deadline"
