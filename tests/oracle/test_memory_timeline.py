"""Memory over time against closed forms of the papers, by hand, and against slow recounts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import distsim as ds
from distsim.parallel.activations import activations_in_flight_bytes
from distsim.parallel.memory import Buffers, StageMemory
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Unit
from distsim.prediction.memory_spans import Pass, Spans, wires
from distsim.prediction.memory_timeline import CATEGORIES, MemoryTimeline
from distsim.prediction.predict import Prediction
from distsim.prediction.timeline import Span
from distsim.schedule.actions import BACKWARD, FORWARD, INPUT, WEIGHT, Actions, make

TRANSIENT = ("activations", "working", "gathered", "buckets", "messages")


def _run(devices: int = 1, microbatches: int = 4, dp: int = 1, layers: int = 16, **plan: object):
    return ds.simulate(
        ds.load(
            {
                "schema": 1,
                "name": "memory",
                "cluster": {"topology": "dgx-a100-superpod", "devices": devices},
                "model": {
                    "family": "gpt",
                    "layers": layers,
                    "hidden": 512,
                    "heads": 8,
                    "vocab": 4096,
                    "max_positions": 512,
                },
                "batch": {"global_size": microbatches * dp, "sequence_length": 512},
                "plan": plan,
            }
        )
    )


def _chunks(p: Prediction, stage: int) -> list[Chunk]:
    return p.timeline.program.inputs.chunks[stage]


def _spans(p: Prediction) -> list[Span]:
    return list(p.timeline.spans(operators=False))


def _most(timeline: MemoryTimeline, category: str = "activations") -> float:
    return float(timeline.parts[category].max())


def _agrees(p: Prediction) -> None:
    """Check each stage against its closed form, and that all that came has gone."""
    for timeline, stage in zip(p.memory_timeline.by_stage(), p.memory.stages, strict=True):
        assert _most(timeline) == stage.activations_bytes
        assert timeline.peak_bytes <= stage.peak_bytes * (1 + 1e-12)
        assert min(part.min() for part in timeline.parts.values()) >= -1e-6
        rest = stage.states_bytes + stage.buffers.reserved_bytes
        assert timeline.allocated_bytes[-1] == pytest.approx(rest, rel=1e-12)
        assert {name: timeline.parts[name][-1] for name in TRANSIENT} == pytest.approx(
            dict.fromkeys(TRANSIENT, 0.0), abs=1e-3
        )
        assert all(a < b for a, b in pairwise(timeline.times_s))


def _pass(run: Prediction, index: int = 0) -> Pass:
    program = run.timeline.program
    own = program.classes[index]
    order = program.inputs.orders()[own.stage]
    return Pass(program, run.timeline.run, wires(program), own, order)


@pytest.mark.parametrize(("p", "m"), [(2, 1), (2, 5), (4, 3), (4, 8), (8, 8)])
def test_1f1b_holds_what_is_between_a_stage_and_the_last(p: int, m: int) -> None:
    """min(m, p - s) micro batches on stage s (Narayanan 2021, section 2.2.1)."""
    run = _run(p, m, pp=p, schedule="1f1b")
    _agrees(run)
    for s, timeline in enumerate(run.memory_timeline.by_stage()):
        saved = sum(c.saved_bytes for c in _chunks(run, s))
        assert _most(timeline) == pytest.approx(min(m, p - s) * saved, rel=1e-12)
        held = min(m, p - s)
        assert timeline.at_peak["activations"].what == f"{held} micro batch" + "es" * (held > 1)


@pytest.mark.parametrize("m", [1, 4, 9])
def test_gpipe_holds_all_and_one_after_another_holds_one(m: int) -> None:
    for schedule, held in (("gpipe", m), ("naive", 1)):
        run = _run(4, m, pp=4, schedule=schedule)
        _agrees(run)
        for s, timeline in enumerate(run.memory_timeline.by_stage()):
            assert _most(timeline) == pytest.approx(held * _chunks(run, s)[0].saved_bytes)


@pytest.mark.parametrize(("p", "v", "m"), [(2, 2, 4), (4, 2, 8), (4, 4, 12)])
def test_interleaving_holds_its_warm_up_and_one_more(p: int, v: int, m: int) -> None:
    """2 (p - 1 - s) + (v - 1) p + 1 chunk passes: on the first stage 1 + (p - 1)/(p v) times what
    1F1B holds there (Korthikanti 2022, section 4.2.3)."""
    run = _run(p, m, pp=p, schedule="interleaved", virtual_stages=v, overlap_p2p=True)
    _agrees(run)
    layer = next(u for u in _chunks(run, 0)[1].units if u.name == "layer").saved_bytes
    for s, timeline in enumerate(run.memory_timeline.by_stage()[: p - 1]):
        counted = [sum(u.name == "layer" for u in c.units) for c in _chunks(run, s)]
        assert set(counted) == {16 // (p * v)}
        passes = 2 * (p - 1 - s) + (v - 1) * p + 1
        extra = max(u.saved_bytes for c in _chunks(run, s) for u in c.units if u.name != "layer") \
            if s == 0 else 0.0  # fmt: skip
        least = passes * counted[0] * layer
        assert least <= _most(timeline) * (1 + 1e-12) <= least + passes * extra + 1
    assert 2 * (p - 1) + (v - 1) * p + 1 == pytest.approx(p * v * (1 + (p - 1) / (p * v)))


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 13)])
def test_zero_bubble_h1_holds_no_more_than_1f1b_on_its_first_stage(p: int, m: int) -> None:
    """Qi 2023, section 2.2: p micro batches at most, of each stage."""
    run = _run(p, m, pp=p, schedule="zb-h1")
    _agrees(run)
    for s, timeline in enumerate(run.memory_timeline.by_stage()):
        assert _most(timeline) <= p * _chunks(run, s)[0].saved_bytes * (1 + 1e-12)


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 12), (6, 16)])
def test_dualpipe_holds_one_micro_batch_more_than_the_pipeline_is_deep(p: int, m: int) -> None:
    """p + 1 passes through a chunk (DeepSeek-AI 2024, table 2), as its pairs overlap."""
    run = _run(p, m, pp=p, schedule="dualpipe", layers=12)
    _agrees(run)
    for stage, timeline in enumerate(run.memory_timeline.by_stage()):
        counts = [sum(map(sum, _pass(run, stage).in_flight(t))) for t in timeline.times_s]
        assert max(counts) == p + 1
        assert _most(timeline) <= (p + 1) * max(c.saved_bytes for c in _chunks(run, stage))


@pytest.mark.parametrize("schedule", ["zb-v", "pipedream-2bw"])
def test_other_schedules_agree_with_their_closed_form(schedule: str) -> None:
    for m in (4, 7, 11):
        _agrees(_run(4, m, pp=4, schedule=schedule))


def test_batches_that_follow_each_other_hold_as_1f1b_does() -> None:
    """PipeDream-2BW: no flush, so the p - s of 1F1B, on two versions of the weights."""
    run = _run(4, 4, pp=4, schedule="pipedream-2bw")
    one = _run(4, 8, pp=4, schedule="1f1b")
    for two, single in zip(
        run.memory_timeline.by_stage(), one.memory_timeline.by_stage(), strict=True
    ):
        assert _most(two) == _most(single)
        assert two.parts["weights"][0] == 2 * single.parts["weights"][0]


def _unit(saved: float, weight: float) -> Unit:
    return Unit("layer", (), (), (), (), 0.0, saved, weight_bytes=weight)


def _levels(order: Actions, *chunks: tuple[float, float]) -> float:
    held = [[Chunk((_unit(*sizes),)) for sizes in chunks]]
    return activations_in_flight_bytes(order, held, np.zeros(9, dtype=np.int64))


def test_a_pair_allocates_before_it_frees_whichever_stands_first() -> None:
    """By hand: F0 F1, then B0 beside F2: three are there at once."""
    f, b = FORWARD, BACKWARD
    micro, zeros = [0, 1, 0, 2, 1, 2], [0] * 6
    pair = [False, False, True, False, False, False]
    apart = make([f, f, b, f, b, b], micro, zeros)
    together = make([f, f, b, f, b, b], micro, zeros, pair)
    turned = make([f, f, f, b, b, b], [0, 1, 2, 0, 1, 2], zeros, pair)
    assert _levels(apart, (10.0, 0.0)) == 20.0
    assert _levels(together, (10.0, 0.0)) == _levels(turned, (10.0, 0.0)) == 30.0


def test_a_pair_that_begins_with_its_backward_pass_does_so_in_a_run(tmp_path: Path) -> None:
    rows = "0F0,0F1,(0B0;0F2)OVERLAP_F_B,0B1,0B2\n1F0,1B0,1F1,1B1,1F2,1B2\n"
    (tmp_path / "pairs.csv").write_text(rows)
    run = _run(2, 3, pp=2, schedule=str(tmp_path / "pairs.csv"))
    _agrees(run)
    first, last = run.memory_timeline.by_stage()
    assert _most(first) == 3 * _chunks(run, 0)[0].saved_bytes
    assert _most(last) == _chunks(run, 1)[0].saved_bytes
    # All three are there as long as the pair runs, and no longer.
    own, of = run.timeline.program.classes[0], run.timeline.run
    pair = own.begin[1, 0, 0]
    assert pair == own.begin[0, 0, 2]
    counts = (first.parts["activations"] / _chunks(run, 0)[0].saved_bytes).round(9)
    during = (first.times_s >= of.start_s[pair]) & (first.times_s < of.end_s[own.end[1, 0, 0]])
    assert (counts == 3.0).tolist() == during.tolist()


def test_weight_gradients_keep_their_part_by_hand() -> None:
    """F0 F1 I0 F2 I1 I2 W0 W1 W2 with 10 kept, 4 of it until W: 20, 14, 24, 18, 12, ..."""
    kinds = [FORWARD, FORWARD, INPUT, FORWARD, INPUT, INPUT, WEIGHT, WEIGHT, WEIGHT]
    order = make(kinds, [0, 1, 0, 2, 1, 2, 0, 1, 2], [0] * 9)
    assert _levels(order, (10.0, 4.0)) == 24.0
    # What recomputation brings back and the weight gradient needs can be more than was kept.
    assert _levels(order, (1.0, 4.0)) == 12.0


def test_spans_by_hand() -> None:
    """Three spans; one that ends when another begins is gone by then."""
    begins, ends, sizes = [0.0, 2.0, 1.0], [2.0, 5.0, 3.0], [10.0, 40.0, 20.0]
    spans = Spans(np.array(begins), np.array(ends), np.array(sizes))
    times = np.array([0.0, 1.0, 2.0, 3.0, 4.9, 5.0])
    assert spans.alive(times).tolist() == [1, 2, 2, 1, 1, 0]
    assert spans.level(times, np.inf).tolist() == [10.0, 30.0, 60.0, 40.0, 40.0, 0.0]
    assert spans.level(times, 35.0).tolist() == [10.0, 30.0, 35.0, 35.0, 35.0, 0.0]


def test_the_first_stage_of_three_micro_batches_by_hand() -> None:
    """1F1B, p = 2, m = 3: F0 F1 | B0 F2 | B1 B2. B0 ends where F2 begins, so 1, 2, 1, 0."""
    run = _run(2, 3, pp=2, schedule="1f1b", overlap_p2p=True)
    timeline = run.memory_timeline.of(0)
    saved = _chunks(run, 0)[0].saved_bytes
    counts = (timeline.parts["activations"] / saved).round(9)
    changes = counts[np.flatnonzero(np.diff(counts, prepend=-1.0))]
    assert changes.tolist() == [1.0, 2.0, 1.0, 0.0]
    own = run.timeline.program.classes[0]
    begins, ends = run.timeline.run.start_s, run.timeline.run.end_s
    at = timeline.times_s[np.flatnonzero(np.diff(counts, prepend=-1.0))]
    wanted = [begins[own.begin[0, 0, 0]], begins[own.begin[0, 0, 1]]]
    wanted += [ends[own.end[1, 0, 1]], ends[own.end[1, 0, 2]]]
    assert at.tolist() == wanted
    assert wanted[1] <= timeline.peak_s < wanted[2]


def test_without_anything_transient_the_peak_is_the_closed_form() -> None:
    run = _run(1, 3)
    timeline, stage = run.memory_timeline.of(0), run.memory.stages[0]
    assert timeline.peak_bytes == pytest.approx(stage.peak_bytes, rel=1e-15)
    assert sum(h.size_bytes for h in timeline.at_peak.values()) == pytest.approx(stage.peak_bytes)
    # Recomputed activations come when all others are still there.
    again = _run(1, 3, recompute="full")
    assert again.memory_timeline.of(0).peak_bytes == pytest.approx(
        again.memory.stages[0].peak_bytes, rel=1e-15
    )
    assert again.memory_timeline.of(0).at_peak["working"].size_bytes == max(
        u.working_bytes for u in _chunks(again, 0)[0].units
    )


def test_recomputed_activations_are_there_during_input_gradients_only() -> None:
    run = _run(2, 4, pp=2, schedule="zb-h1", recompute="full")
    _agrees(run)
    own, of = run.timeline.program.classes[1], run.timeline.run
    busy = sum(of.end_s[own.end[1, 0]] - of.start_s[own.begin[1, 0]])
    timeline = run.memory_timeline.of(1)
    there = timeline.parts["working"][:-1] > 0
    assert np.diff(timeline.times_s)[there].sum() == pytest.approx(busy, rel=1e-9)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_zero3_gathers_one_unit_and_those_ahead_of_it(prefetch: int) -> None:
    """1 + prefetch units whole at once, and every unit twice a micro batch (Rajbhandari 2020)."""
    run = _run(
        8, 2, dp=8, zero_stage=3, overlap_param_gather=prefetch > 0,
        prefetch_layers=max(prefetch, 1), overlap_grad_reduce=True,
    )  # fmt: skip
    _agrees(run)
    units = _chunks(run, 0)[0].units
    spans = _pass(run).gathered(0)
    assert len(spans.begin_s) == 2 * 2 * len(units)
    assert spans.alive(spans.begin_s).max() == 1 + prefetch
    assert (spans.end_s > spans.begin_s).all()
    wanted = 2 * 2 * 2 * sum(u.parameters for u in units)  # 2 bytes, 2 micro batches, 2 passes
    assert spans.size_bytes.sum() == pytest.approx(wanted, rel=1e-12)
    gathers = [x for x in _spans(run) if x.name.startswith("gather parameters")]
    assert sorted(spans.begin_s) == sorted(x.start_s for x in gathers)
    # A unit is whole at least while it computes.
    busy = run.timeline.run.end_s - run.timeline.run.start_s
    computing = busy[_pass(run).own.gathers[0].task].sum()
    assert (spans.end_s - spans.begin_s).sum() >= computing
    buckets = _pass(run).buckets(0)
    assert buckets.size_bytes.sum() == pytest.approx(
        2 * run.timeline.program.inputs.data.reduce_bytes * sum(u.parameters for u in units)
    )
    reduces = [x for x in _spans(run) if x.name.startswith("reduce gradients")]
    ends = [x.start_s + x.duration_s for x in reduces]
    assert sorted(buckets.end_s) == pytest.approx(sorted(ends), rel=1e-12)
    waited = (buckets.end_s - buckets.begin_s).sum()
    assert waited >= sum(x.duration_s for x in reduces) * (1 - 1e-9) > 0


def test_parameters_that_stay_are_all_whole_until_the_backward_pass_has_ended() -> None:
    run = _run(8, 3, dp=8, zero_stage=3, reshard_after_forward=False, overlap_grad_reduce=True)
    _agrees(run)
    whole = 2 * sum(u.parameters for u in _chunks(run, 0)[0].units)
    timeline = run.memory_timeline.of(0)
    assert _most(timeline, "gathered") == pytest.approx(whole, rel=1e-12)
    assert run.memory.stages[0].buffers.gathered_bytes == pytest.approx((whole,))
    own, ends = _pass(run), run.timeline.run.end_s
    assert set(own.gathered(0).end_s) == set(ends[own.own.end[1, 0]])
    resharded = _run(8, 3, dp=8, zero_stage=3, overlap_grad_reduce=True)
    assert resharded.memory.stages[0].peak_bytes < run.memory.stages[0].peak_bytes


def test_messages_are_there_while_they_are_sent_and_until_they_are_used() -> None:
    """Two stages: each has both ends of one direction; four buffers at most."""
    run = _run(2, 4, pp=2, schedule="1f1b")
    spans = [_pass(run, s).messages(1.0) for s in range(2)]
    kinds = [{name for name, of in s.items() if len(of.begin_s)} for s in spans]
    assert kinds == [
        {"sent forward", "received backward"},
        {"received forward", "sent backward"},
    ]
    assert all(len(of.begin_s) in (0, 4) for s in spans for of in s.values())
    sent, received = spans[0]["sent forward"], spans[1]["received forward"]
    assert (np.sort(sent.end_s) <= np.sort(received.end_s)).all()
    first, last = run.timeline.program.classes
    begins, ends = run.timeline.run.start_s, run.timeline.run.end_s
    assert received.end_s.tolist() == begins[last.begin[0, 0]].tolist()
    assert spans[0]["received backward"].end_s.tolist() == ends[first.end[1, 0]].tolist()
    assert sent.begin_s.tolist() == ends[first.end[0, 0]].tolist()
    size = run.timeline.program.inputs.boundary_bytes
    for timeline in run.memory_timeline.by_stage():
        assert set(timeline.parts["messages"] / size) <= {0.0, 1.0, 2.0}


def test_of_sharded_gradients_that_leave_at_the_end_one_bucket_waits() -> None:
    run = _run(
        8, 4, dp=2, pp=4, zero_stage=2, schedule="1f1b", overlap_grad_reduce=False,
        overlap_param_gather=False, bucket_size="1 MB",
    )  # fmt: skip
    _agrees(run)
    assert run.timeline.program.inputs.data.reduce == "end"
    for timeline, stage in zip(run.memory_timeline.by_stage(), run.memory.stages, strict=True):
        assert _most(timeline, "buckets") == sum(stage.buffers.bucket_bytes) > 0


def test_a_reserve_is_a_share_of_what_the_allocator_manages() -> None:
    buffers = Buffers(1.0, (2.0,), (3.0,), 4.0, 5.0, reserved_bytes=100.0)
    stage = StageMemory(10.0, 20.0, 30.0, 40.0, buffers)
    assert stage.buffers_bytes == 1 + 2 + 3 + 4 * 4 + 5 + 100
    assert stage.reserve_bytes(0.5) == 0.5 * (stage.peak_bytes - 100)
    run = _run(1, 2)
    timeline = run.memory_timeline.of(0)
    managed = timeline.peak_bytes - run.memory.stages[0].buffers.reserved_bytes
    assert timeline.reserve_bytes == pytest.approx(run.memory.fragmentation * managed)
    assert timeline.total_bytes == timeline.peak_bytes + timeline.reserve_bytes
    # The verdict counts what is allocated, not the reserve.
    assert run.memory.peak_bytes == run.memory.stages[0].peak_bytes


def test_plain_values_are_compact_and_complete() -> None:
    run = _run(2, 3, pp=2)
    timeline = run.memory_timeline.of(0)
    plain = timeline.to_dict()
    assert list(plain["bytes"]) == list(CATEGORIES)
    assert isinstance(plain["bytes"]["weights"], float)
    total = sum(np.asarray(plain["bytes"][name]) for name in CATEGORIES)
    assert total.max() == pytest.approx(plain["peak_bytes"])
    assert plain["times_s"][int(np.argmax(total))] == plain["peak_s"]
    summary = run.to_dict()["memory"]["stages"][0]
    assert summary["peak_s"] == timeline.peak_s and summary["holds"] == timeline.holds
    assert "2 micro batches" in timeline.holds


def test_bins_keep_the_peak_and_what_was_there_before() -> None:
    times, part = np.array([0.0, 1.0, 7.0, 8.0]), np.array([5.0, 9.0, 2.0, 2.0])
    timeline = MemoryTimeline(0, 0, times, {"activations": part}, 1.0, {}, 0.0)
    assert timeline.binned(4).tolist() == [9.0, 9.0, 9.0, 9.0]
    assert timeline.binned(8).tolist() == [5.0, *[9.0] * 6, 2.0]


def test_looking_is_lazy_and_the_same_twice() -> None:
    run = _run(2, 3, pp=2)
    assert not run.memory_timeline._made
    assert run.memory_timeline.of(1) is run.memory_timeline.of(1)
    assert list(run.memory_timeline._made) == [1]
