"""Sharded and replicated states: bytes, order and memory, against Rajbhandari 2020 and Zhao 2023.

P is the number of parameters; all elements on the wire have 16 bit, so volumes are in 2 P bytes.
"""

from __future__ import annotations

import numpy as np
import pytest

from distsim.prediction.predict import Prediction
from distsim.program.opgraph import TaskKind
from distsim.program.pattern import Entry, beside
from tests.strategies import (
    DENSE,
    HIDDEN,
    LAYERS,
    MIXTURE,
    TOKENS,
    VOCAB,
    case_of,
    moved,
    on,
    parameters,
    run,
    sent,
    step,
    transfers,
)

WHOLE = 2 * parameters()
LAYER = 2 * (parameters() - 2 * VOCAB * HIDDEN - HIDDEN) / LAYERS


def _around(n: int) -> float:
    return (n - 1) / n


@pytest.mark.parametrize(
    ("plan", "volume"),
    [
        ({}, 2),
        ({"zero_stage": 1}, 2),
        ({"zero_stage": 2}, 2),
        ({"zero_stage": 3}, 3),
        ({"zero_stage": 3, "reshard_after_forward": False}, 2),
        ({"zero_stage": 3, "max_gathered": "1 MB", "prefetch_layers": 3}, 3),
    ],
)
@pytest.mark.parametrize("n", [2, 4, 8])
def test_volumes_of_the_stages(plan, volume, n):
    """2P, 2P, 2P and 3P (Rajbhandari 2020, section 7); kept parameters are gathered once."""
    assert sent(step(plan, n)) == pytest.approx(volume * _around(n) * WHOLE, rel=1e-9)


# Hybrid sharding.


@pytest.mark.parametrize(("shard", "replicas"), [(2, 2), (4, 2), (2, 4), (8, 1), (1, 8), (1, 2)])
@pytest.mark.parametrize(("stage", "inside"), [(1, 2), (2, 2), (3, 3)])
@pytest.mark.parametrize("overlap", [False, True])
def test_hybrid_sharding_gathers_inside_and_sums_shares_across(
    shard, replicas, stage, inside, overlap
):
    """(s - 1) / s of each gather and scatter, 2 (r - 1) / r of a share (Zhao 2023, 3.2.2)."""
    plan = {"zero_stage": stage, "dp_replicas": replicas}
    p = step(plan | {"overlap_grad_reduce": overlap}, shard * replicas)
    wanted = inside * _around(shard) * WHOLE + 2 * _around(replicas) * WHOLE / shard
    assert sent(p) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_only_shares_leave_a_node(stage):
    """Shards in nodes of 8: rails carry the all-reduce of shares between 2 nodes, no more."""
    plan = {"zero_stage": stage, "dp_replicas": 2}
    p = step(plan, 16, topology="dgx-a100-superpod")
    carried = {c.name: c.bytes for c in p.links.classes}
    shares = 16 * 2 * _around(2) * WHOLE / 8
    assert carried["rail"] == pytest.approx(2 * shares, rel=1e-9)
    whole = step(plan | {"dp_replicas": 1}, 16, topology="dgx-a100-superpod")
    assert {c.name: c.bytes for c in whole.links.classes}["rail"] > carried["rail"]


@pytest.mark.parametrize("plan", [{"tp": 2, "overlap_tensor": False}, {"cp": 2}])
def test_shards_span_data_and_context_ranks(plan):
    """States are sharded over dp * cp ranks of the same tensor-parallel part."""
    hybrid = {"zero_stage": 2, "dp_replicas": 2}
    n = 8 // plan.get("tp", 1)
    p, one = step(plan | hybrid, 8), step(plan, 2)
    held = (2 * p.timeline.program.classes[0].parameters[0]) * 1.0
    inside = sent(one) - (2 * _around(2) * held if "cp" in plan else 0.0)
    wanted = 2 * _around(n // 2) * held + 2 * _around(2) * held / (n // 2)
    assert sent(p) == pytest.approx(inside + wanted, rel=1e-9)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_experts_have_shards_and_replicas_of_their_own(stage):
    """Of 8 ranks 4 hold the same experts: 2 shards, twice."""
    plan = {"ep": 2, "zero_stage": stage, "dp_replicas": 2}
    p, free = step(plan, 8, model=MIXTURE), step({"ep": 2}, 8, model=MIXTURE)
    dense = 2 * parameters(experts=8)
    experts = 2 * (free.parameters * 2 - dense) / 2 / 2
    rows = sent(free) - 2 * _around(8) * dense - 2 * _around(4) * experts
    inside = 3 if stage == 3 else 2
    wanted = inside * (_around(4) * dense + _around(2) * experts)
    wanted += 2 * _around(2) * (dense / 4 + experts / 2)
    assert sent(p) == pytest.approx(rows + wanted, rel=1e-9)
    assert rows == pytest.approx(2 * 2 * LAYERS * TOKENS * 2 * HIDDEN * 2 / 2, rel=1e-9)


# Gathered parameters.


def most_gathered(p: Prediction) -> float:
    """Most bytes of parameters that are there at once, gathered ones of other ranks included.

    A gather takes its room when it starts; a unit gives it back when it ends.
    """
    program, run_ = p.timeline.program, p.timeline.run
    lead = program.classes[0]
    gathers = transfers(p, "gather parameters")
    needed, amount = lead.gathers[0].task, lead.gathers[0].amount * 2
    assert len(gathers) == len(needed)
    left = run_.end_s[np.append(needed[1:] - 1, lead.last)]
    times = np.concatenate([run_.start_s[gathers], left])
    change = np.concatenate([amount, -amount])
    order = np.lexsort((change, times.round(15)))
    return float(np.cumsum(change[order]).max())


@pytest.mark.parametrize("layers", [2, 3, 4.5, 100])
@pytest.mark.parametrize("prefetch", [1, 2, 4])
@pytest.mark.parametrize("bandwidth_factor", [0.01, 1.0])
def test_gathered_parameters_stay_under_their_limit(layers, prefetch, bandwidth_factor):
    """The limit holds as far as one unit and the next fit under it, and no less is gathered."""
    limit = layers * LAYER
    model = DENSE | {"layers": 8, "vocab": 128}
    plan = {"zero_stage": 3, "prefetch_layers": prefetch, "max_gathered": f"{limit:.0f} B"}
    speed = {"memory_bandwidth_bytes_per_s": 3e12 * bandwidth_factor}
    p = run(on(case_of(plan, 4, model=model), **speed))
    most = most_gathered(p)
    assert most <= limit * (1 + 1e-9)
    assert most <= (1 + prefetch) * LAYER * (1 + 1e-9)
    if layers > 1 + prefetch:
        free = on(case_of({**plan, "max_gathered": None}, 4, model=model), **speed)
        assert run(free).step_s == p.step_s


def test_a_limit_of_one_unit_gathers_one_at_a_time():
    """Nothing can be gathered ahead, so every gather is exposed."""
    model = DENSE | {"layers": 8, "vocab": 128}
    plan = {"zero_stage": 3, "prefetch_layers": 4, "max_gathered": f"{LAYER:.0f} B"}
    p = run(on(case_of(plan, 4, model=model)))
    assert most_gathered(p) == pytest.approx(LAYER)
    run_ = p.timeline.run
    tasks = transfers(p, "gather parameters")
    assert p.breakdown.data_s >= (run_.end_s - run_.start_s)[tasks].sum() * (1 - 1e-9)


def test_two_passes_at_once_wait_for_the_parameters_of_both():
    """Each a single segment: joined, one of the two would run on parameters that are not there."""
    one, other = ([Entry(name, gathers=(count,))] for name, count in (("F", 1.0), ("B", 2.0)))
    together = beside("F with B", one, other, 0.0)
    assert sum(sum(entry.gathers) for entry in together) == 3.0
    single = beside("F with B", one, [Entry("B", reduces=(2.0,))], 0.0)
    assert [(e.gathers, e.reduces) for e in single] == [((1.0,), (2.0,))]


# Memory.


def _buffers(plan: dict, n: int = 4) -> float:
    model = DENSE | {"layers": 8, "vocab": 128}
    stage = run(on(case_of(plan, n, model=model))).memory.stages[0]
    return stage.buffers_bytes - stage.buffers.working_bytes  # without copies of the logits


def test_memory_of_gathered_parameters():
    """The unit that runs and those gathered ahead of it, or the limit."""
    base = {"zero_stage": 3, "overlap_param_gather": True}
    reduced = LAYER  # one unit of gradients waits to be reduced
    for prefetch in (1, 3):
        found = _buffers(base | {"prefetch_layers": prefetch})
        assert found - reduced == pytest.approx((1 + prefetch) * LAYER)
    limited = _buffers(base | {"prefetch_layers": 3, "max_gathered": f"{1.5 * LAYER:.0f} B"})
    assert limited - reduced == pytest.approx(1.5 * LAYER, rel=1e-6)


@pytest.mark.parametrize(("replicas", "shard"), [(1, 8), (2, 4), (4, 2)])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_states_are_divided_over_a_shard_group(stage, replicas, shard):
    """2 + 2 + 12 bytes a parameter (Rajbhandari 2020, 3.1), each divided from its stage on."""
    p = step({"zero_stage": stage, "dp_replicas": replicas}, 8)
    m = p.memory.stages[0]
    parts = [shard if stage >= of else 1 for of in (3, 2, 1)]
    found = (m.weights_bytes, m.gradients_bytes, m.optimizer_bytes)
    each = (2, 2, 12)
    assert found == pytest.approx(
        [e * parameters() / n for e, n in zip(each, parts, strict=True)], rel=1e-9
    )


def test_parameters_that_are_kept_are_all_there():
    """Gathered in the forward pass and not dropped, they take the room of whole weights."""
    kept = {"zero_stage": 3, "reshard_after_forward": False}
    p = step(kept, 8)
    m = p.memory.stages[0]
    assert m.weights_bytes + m.buffers_bytes - p.timeline.program.inputs.device.reserved_bytes >= (
        2 * parameters()
    )
    assert m.optimizer_bytes == pytest.approx(12 * parameters() / 8)
    assert m.peak_bytes > step({"zero_stage": 3}, 8).memory.stages[0].peak_bytes


def test_compute_waits_for_its_parameters():
    """No unit starts before its parameters have arrived, also where the host is late."""
    for device in ({}, {"host_launch_s": 1e-3}):
        for plan in ({}, {"tp": 2, "sequence_parallel": True, "overlap_tensor": True}):
            plan = plan | {"zero_stage": 3}
            p = run(on(case_of(plan, 4 * plan.get("tp", 1)), **device))
            graph, run_ = p.timeline.program.graph, p.timeline.run
            gathers = transfers(p, "gather parameters")
            hook = p.timeline.program.classes[0].gathers[0].task
            ends = np.append(hook[1:], p.timeline.program.classes[0].last + 1)
            for gather, first, end in zip(gathers, hook, ends, strict=True):
                inside = np.arange(first, end)
                kinds = graph.kind[inside]
                runs = inside[(kinds == TaskKind.COMPUTE) | (kinds == TaskKind.TENSOR)]
                assert run_.start_s[runs].min() >= run_.end_s[gather] * (1 - 1e-12)
    assert moved(p, "gather parameters").min() > 0
