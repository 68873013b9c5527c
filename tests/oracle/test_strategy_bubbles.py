"""Bubbles of whole steps against the closed forms of the schedules' papers.

Stages are made equal by leaving out embedding, head and update; the network is so fast that sends
take no time. What is left of a step is compute and bubble.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from distsim.prediction.case import Case
from distsim.prediction.predict import Prediction
from distsim.program.opgraph import TaskKind
from distsim.schedule import REGISTRY, chunks_of
from distsim.schedule.csv_actions import write
from distsim.schedule.timing import unit_times
from tests.strategies import DENSE, INSTANT, case_of, on, run, star, transfers

MODEL = DENSE | {"layers": 16, "hidden": 1024, "ffn": 4096, "vocab": 128}
#: Nothing to say about a step: sends beside compute, all gradients at the end.
BESIDE = {"overlap_p2p": True, "overlap_grad_reduce": False}


def only_layers(case: Case) -> Case:
    """Leave out all that makes stages unequal."""
    inputs = case.inputs
    variants = tuple(
        replace(
            v,
            chunks=[
                [replace(c, units=tuple(u for u in c.units if u.name == "layer")) for c in stage]
                for stage in v.chunks
            ],
        )
        for v in inputs.variants
    )
    bare = replace(inputs.update, works=((),) * inputs.plan.pp, synchronized=False, shared=())
    return replace(case, inputs=replace(inputs, variants=variants, update=bare))


def equal_stages(
    schedule: str, p: int, m: int, v: int = 1, network: Mapping[str, Any] = INSTANT, **more: Any
) -> Prediction:
    plan = {"pp": p, "schedule": schedule, "virtual_stages": v, **BESIDE, **more}
    case = case_of(plan, p, model=MODEL, length=2048, topology=network, global_size=m)
    return run(on(only_layers(case)))


class Took(NamedTuple):
    """Times of one micro batch through all chunks of a stage; 0 where they do not occur."""

    forward: float
    backward: float
    input: float
    weight: float
    pair: float


def took(prediction: Prediction, chunks: int) -> Took:
    """Return what the program's own segments take."""
    program = prediction.timeline.program
    cost = {
        name: one.total_s
        for name, one in zip(program.graph.names, program.segment_cost, strict=True)
    }
    each = [
        chunks * next((c for name, c in cost.items() if name.startswith(f"{letter} stage 0")), 0.0)
        for letter in "FBIW"
    ]
    pair = next((c for name, c in cost.items() if " with " in name), 0.0)
    return Took(*each, pair)


def bubble(prediction: Prediction) -> float:
    return prediction.breakdown.bubble_s / prediction.breakdown.compute_s


@pytest.mark.parametrize(("p", "m"), [(2, 2), (2, 8), (4, 4), (4, 16), (8, 16)])
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_gpipe_and_1f1b_idle_p_minus_1_of_m(schedule, p, m):
    """Huang 2019 and Narayanan 2021, section 2.2.1: (p - 1) / m."""
    found = equal_stages(schedule, p, m)
    assert bubble(found) == pytest.approx((p - 1) / m, rel=1e-6)
    assert found.breakdown.bubble_s + found.breakdown.compute_s == pytest.approx(found.step_s)


@pytest.mark.parametrize(("p", "m", "v"), [(2, 4, 2), (2, 4, 8), (4, 8, 2), (4, 8, 4), (8, 8, 2)])
def test_interleaving_divides_the_bubble(p, m, v):
    """Narayanan 2021, section 2.2.2: (p - 1) / (v m)."""
    assert bubble(equal_stages("interleaved", p, m, v)) == pytest.approx(
        (p - 1) / (v * m), rel=1e-6
    )


@pytest.mark.parametrize(("p", "m"), [(2, 3), (4, 8)])
def test_one_stage_of_a_naive_pipeline_works_at_a_time(p, m):
    found = equal_stages("naive", p, m)
    assert found.breakdown.compute_s / found.step_s == pytest.approx(1 / p, rel=1e-6)


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 12), (8, 16)])
def test_zb_h1_moves_weight_gradients_into_the_bubble(p, m):
    """Qi 2023, table 2: (p - 1) (F + I - W)."""
    found = equal_stages("zb-h1", p, m)
    f, _, i, w, _ = took(found, 1)
    assert 0 < w <= min(f, i) * 1.3
    work = m * (f + i + w)
    assert found.breakdown.compute_s == pytest.approx(work, rel=1e-9)
    assert bubble(found) == pytest.approx((p - 1) * (f + i - w) / work, rel=1e-6)


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 16)])
def test_pipedream_2bw_never_drains(p, m):
    """Narayanan 2021 (arXiv 2006.09503): no flush, hence no bubble in the steady state."""
    found = equal_stages("pipedream-2bw", p, m)
    assert bubble(found) == pytest.approx(0.0, abs=1e-6)
    f, b, *_ = took(found, 1)
    assert found.step_s == pytest.approx(m * (f + b), rel=1e-6)


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 16)])
def test_updates_without_a_flush_run_on_all_stages_at_once(p, m):
    """An update takes its own time of each batch, and delays no send of the pass before it."""
    plan = {"pp": p, "schedule": "pipedream-2bw", **BESIDE}
    case = on(case_of(plan, p, model=MODEL, length=2048, topology=INSTANT, global_size=m))
    bare = only_layers(case)
    update = replace(case.inputs.update, works=(case.inputs.update.works[1],) * p)
    found = run(replace(bare, inputs=replace(bare.inputs, update=update)))
    assert found.breakdown.optimizer_s > 0.01 * found.step_s
    assert found.step_s == pytest.approx(run(bare).step_s + found.breakdown.optimizer_s, rel=1e-6)


# At equal times of F, I and W: products alone, without tiles to fill.

ALIKE = {
    "memory_bandwidth_bytes_per_s": 1e30,
    "attention_efficiency": 1e9,
    "gemm_fill_k": 0.0,
}


def alike(schedule: str, p: int, m: int, v: int = 1) -> Prediction:
    plan = {"pp": p, "schedule": schedule, "virtual_stages": v, **BESIDE}
    model = MODEL | {"hidden": 2048, "ffn": 8192}
    case = case_of(plan, p, model=model, length=2048, topology=INSTANT, global_size=m)
    return run(on(only_layers(case), **ALIKE))


def test_products_of_all_parts_take_as_long():
    f, _, i, w, _ = took(alike("zb-v", 2, 4, 2), 2)
    assert (i, w) == pytest.approx((f, f), rel=1e-6)


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 16), (8, 16)])
def test_zb_v_is_idle_only_until_its_last_stage_begins(p, m):
    """Qi 2023, section 6: no bubble within a stage; the last begins (p - 1) / 2 of an F later."""
    assert bubble(alike("zb-v", p, m, 2)) == pytest.approx((p - 1) / 2 / (3 * m), rel=1e-6)


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 16), (8, 16)])
def test_zb_h1_has_a_third_of_the_bubble_of_1f1b(p, m):
    """Qi 2023, section 2.3, at F = I = W."""
    assert bubble(alike("zb-h1", p, m)) == pytest.approx((p - 1) / m / 3, rel=1e-6)


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8), (4, 16), (8, 16)])
def test_dualpipe_idles_half_as_many_stages(p, m):
    """DeepSeek-AI 2024, table 2: (p / 2 - 1) (F&B + B - 3 W), where F is as long as I.

    Where it is not, the formula at the shorter and at the longer of the two bounds what is found.
    """
    same, found = alike("dualpipe", p, m), equal_stages("dualpipe", p, m)
    f, b, _, w, pair = took(same, 1)
    w = w or b - f
    assert pair == pytest.approx(f + b, rel=1e-9)
    idle = (p / 2 - 1) * (pair + b - 3 * w)
    assert same.breakdown.bubble_s == pytest.approx(idle, rel=1e-6, abs=1e-9 * f)
    f, b, i, w, _ = took(found, 1)
    if p > 2:
        low, high = ((p / 2 - 1) * (3 * x - w) for x in sorted((f, i)))
        assert low < found.breakdown.bubble_s < high
    assert found.breakdown.compute_s == pytest.approx(m * (f + b), rel=1e-9)


CASES = [
    ("gpipe", 4, 6, 1),
    ("1f1b", 4, 6, 1),
    ("1f1b", 8, 8, 1),
    ("interleaved", 4, 8, 2),
    ("zb-h1", 4, 6, 1),
    ("zb-h2", 4, 10, 1),
    ("zb-v", 4, 8, 2),
    ("zb-v", 2, 5, 2),
    ("dualpipe", 4, 10, 1),
    ("dualpipe", 8, 16, 1),
    ("naive", 4, 3, 1),
]


@pytest.mark.parametrize(("name", "p", "m", "v"), CASES)
@pytest.mark.parametrize("hop_s", [0.0, 10e-6])
def test_the_step_is_that_of_the_schedule_by_itself(name, p, m, v, hop_s):
    """The second evaluator knows orders and times only, and takes these from the segments.

    A message crosses two links, and both ends wait for as long.
    """
    latency = f"{hop_s / 2 * 1e6:.3f} us"
    network = star("1000000000 TB/s", latency)
    found = equal_stages(name, p, m, v, network)
    schedule = REGISTRY[name]
    chunks = chunks_of(schedule, v)
    f, b, i, w, pair = took(found, chunks if schedule.replicas == 1 else 1)
    i = i or b - w
    times = unit_times(
        schedule.order(p, m, chunks),
        schedule.placement(p, chunks),
        replicas=schedule.replicas,
        forward_s=f,
        input_s=i,
        weight_s=w or b - i,
        hop_s=hop_s,
        **({"pair_s": pair} if pair else {}),
    )
    assert found.step_s == pytest.approx(times.makespan_s, rel=1e-6)


# Sends.


@pytest.mark.parametrize(("p", "m"), [(2, 4), (4, 8)])
def test_sends_that_block_lengthen_every_pass(p, m):
    """GPipe with sends of c: behind compute they delay the first micro batch, blocking all."""
    network = star("100 GB/s")
    beside, blocking = (
        equal_stages("gpipe", p, m, network=network, overlap_p2p=overlap)
        for overlap in (True, False)
    )
    f, b, *_ = took(beside, 1)
    c = 2048 * 1024 * 2 / 100e9
    assert c < min(f, b)
    wanted = (m + p - 1) * (f + b) + 2 * (p - 1) * c
    assert beside.step_s == pytest.approx(wanted, rel=1e-9)
    f, b, *_ = took(blocking, 1)  # with the restart of the host after each exchange
    assert blocking.step_s == pytest.approx((m + p - 2) * (f + b + 2 * c) + f + b, rel=1e-9)


@pytest.mark.parametrize("host_launch_s", [0.0, 1e-4])
@pytest.mark.parametrize(
    "more", [{}, {"sequence_parallel": True}, {"sequence_parallel": True, "async_tensor": True}]
)
def test_no_pass_begins_before_its_message_has_arrived(more, host_launch_s):
    """Kernels and collectives of a pass each are tasks here, and the host may be the later one."""
    plan = {"pp": 2, "tp": 2, "schedule": "1f1b", "overlap_p2p": True, **more}
    case = case_of(plan, 4, global_size=4, topology=star("1 GB/s"))
    p = run(on(case, host_launch_s=host_launch_s))
    program, timed = p.timeline.program, p.timeline.run
    busy = (program.graph.kind == TaskKind.COMPUTE) | (program.graph.kind == TaskKind.TENSOR)
    assert (program.graph.kind == TaskKind.TENSOR).sum() > 50
    for row, name, stage in ((0, "send forward", 1), (1, "send backward", 0)):
        arrived = timed.end_s[transfers(p, name)]
        to = next(c for c in program.classes if c.stage == stage)
        for at, first, last in zip(arrived, to.begin[row, 0], to.end[row, 0], strict=True):
            inside = np.arange(first, last + 1)
            assert timed.start_s[inside[busy[inside]]].min() >= at * (1 - 1e-12)


# Schedules from a file.


@pytest.mark.parametrize(("name", "p", "m", "v"), [c for c in CASES if c[0] != "naive"])
@pytest.mark.parametrize("more", [{}, {"tp": 2, "sequence_parallel": True}, {"zero_stage": 1}])
def test_a_schedule_from_a_csv_takes_the_same_step(tmp_path, name, p, m, v, more):
    schedule = REGISTRY[name]
    chunks = chunks_of(schedule, v)
    path = tmp_path / "schedule.csv"
    path.write_text(write(schedule.order(p, m, chunks), schedule.placement(p, chunks)))
    devices = 2 * p
    replicas = devices // p // more.get("tp", 1)
    model = MODEL if v == 1 or p < 8 else MODEL | {"layers": 32}
    changes = {"model": model, "global_size": m * replicas}
    plan = {"pp": p, "virtual_stages": v, **more}
    built_in = run(case_of(plan | {"schedule": name}, devices, **changes))
    listed = run(case_of(plan | {"schedule": str(path)}, devices, **changes))
    assert listed.step_s == pytest.approx(built_in.step_s, rel=1e-9)
    assert listed.memory.peak_bytes == built_in.memory.peak_bytes
    assert listed.breakdown.bubble_s == pytest.approx(built_in.breakdown.bubble_s, rel=1e-6)
