"""Sharded arrays weight by weight and as lists: volumes and times by hand."""

from __future__ import annotations

import numpy as np
import pytest

from distsim.api import load, simulate
from distsim.program.opgraph import TaskKind
from distsim.program.pieces import cutting, joined, pieces
from distsim.schedule import BACKWARD, FORWARD

LAYERS, HIDDEN, VOCAB, POSITIONS = 12, 768, 50257, 1024
#: Parameters of one layer of GPT-2, and of its second feed-forward product.
LAYER = 12 * HIDDEN**2 + 13 * HIDDEN
DOWN = 4 * HIDDEN**2 + HIDDEN
EMBEDDING, FINAL_NORM = (VOCAB + POSITIONS) * HIDDEN, 2 * HIDDEN
#: Collectives of one step with full recomputation. Forward: two tables and four weights a layer.
#: Backward: four weights again for recomputation, three for their gradients, both tables; four
#: reductions a layer and two for the tables.
GATHERS, REDUCTIONS = (2 + 4 * LAYERS) + (7 * LAYERS + 2), 4 * LAYERS + 2
DEVICES = 8


def _run(recompute: str = "full", model: str = "gpt2", **sharded: bool):
    stack = {"profile": "deepspeed-2021", "sharded": sharded} if sharded else "deepspeed-2021"
    return simulate(
        load(
            {
                "schema": 1,
                "name": "handover",
                "cluster": {"topology": "dgx-a100", "devices": DEVICES, "library": "ideal"},
                "model": model,
                "batch": {"global_size": DEVICES, "micro_size": 1, "sequence_length": 1024},
                "plan": {"zero_stage": 3, "recompute": recompute},
                "precision": "fp16",
                "stack": stack,
            }
        ),
        evaluator="graph",
    )


def _count(prediction) -> int:
    graph = prediction.timeline.program.graph
    carries = np.diff(graph.demand_ptr) > 0
    used = graph.transfer[graph.kind == TaskKind.DATA]
    return int(carries[used].sum())


def _link_bytes(prediction) -> float:
    (nvlink,) = [c for c in prediction.links.classes if c.name == "nvlink"]
    return nvlink.bytes


@pytest.mark.parametrize(
    ("recompute", "gathered"),
    [
        # Once forward; backward once to recompute and once for the gradients, but for the weight
        # that recomputation ends with, which is there.
        ("full", EMBEDDING + LAYERS * (3 * LAYER - DOWN) + FINAL_NORM + EMBEDDING + FINAL_NORM),
        ("none", 2 * (EMBEDDING + LAYERS * LAYER + FINAL_NORM)),
    ],
)
def test_volume_weight_by_weight(recompute, gathered):
    """Every gather and the reduce-scatter move (n - 1)/n of the array on one link each way."""
    p = _run(recompute)
    moved = gathered + EMBEDDING + LAYERS * LAYER + FINAL_NORM
    n = DEVICES
    # Into the switch and out of it, on each of n devices.
    assert _link_bytes(p) == pytest.approx(2 * n * (n - 1) / n * 2 * moved, rel=1e-9)


def test_collectives_are_those_of_single_weights():
    assert _count(_run()) == GATHERS + REDUCTIONS
    # Layers, embedding and head: gathered forward and backward, reduced once.
    assert _count(_run(by_weight=False)) == 3 * (LAYERS + 2)


def test_lists_cost_two_operators_of_the_host_for_each_rank():
    """The device waits, but for the table of tokens, whose copy takes longer than the host."""
    lists, arrays = _run(), _run(lists=False)
    device = lists.timeline.program.inputs.device
    host_s = 2 * DEVICES * device.host_launch_s
    bandwidth = device.memory_bandwidth_bytes_per_s * device.memory_efficiency
    table_s = 2 * 2 * VOCAB * HIDDEN / bandwidth + device.kernel_overhead_s
    assert table_s > host_s
    expected = (GATHERS + REDUCTIONS - 3) * host_s + 3 * table_s
    assert lists.step_s - arrays.step_s == pytest.approx(expected, rel=1e-9)
    assert lists.breakdown.host_s > arrays.breakdown.host_s


def test_nothing_runs_beside_a_collective_that_blocks():
    """The step is the sum of everything: kernels, waits and the time of each collective."""
    p = _run()
    graph = p.timeline.program.graph
    alone = np.zeros(graph.n_types)
    kinds = np.repeat(np.arange(graph.n_types), np.diff(graph.demand_ptr))
    times = graph.demand_bytes / graph.capacity_bytes_per_s[graph.demand_row]
    np.maximum.at(alone, kinds, times)
    moving = graph.transfer >= 0
    total = graph.work_s.sum() + alone[graph.transfer[moving]].sum()
    assert p.step_s == pytest.approx(total, rel=1e-9)
    assert p.breakdown.data_s > 0


def test_a_share_of_the_bandwidth_takes_time_and_no_bytes():
    p = _run()
    share = p.timeline.program.inputs.data.handover.bandwidth
    graph = p.timeline.program.graph
    uses = np.bincount(graph.transfer[graph.kind == TaskKind.DATA], minlength=graph.n_types)
    largest = np.zeros(graph.n_types)
    kinds = np.repeat(np.arange(graph.n_types), np.diff(graph.demand_ptr))
    np.maximum.at(largest, kinds, graph.demand_bytes)
    # What a device sends into the switch, as the links count it and as it takes time.
    sent = _link_bytes(p) / (2 * DEVICES)
    assert 0 < share < 1
    assert float(uses @ largest) == pytest.approx(sent / share, rel=1e-9)


def test_memory_is_that_of_the_largest_weight_twice():
    """The list and the contiguous array that it is copied from or to, 2 bytes an element."""
    (stage,) = _run().memory.stages
    table = VOCAB * HIDDEN * 2
    assert stage.buffers.gathered_bytes == stage.buffers.bucket_bytes == (2 * table,)


@pytest.mark.parametrize("model", ["gpt2", "llama2-7b", "mixtral-8x7b"])
@pytest.mark.parametrize("kind", [FORWARD, BACKWARD])
def test_cuts_keep_all_steps_and_all_parameters(model, kind):
    data = _run(model=model).timeline.program.inputs
    chunk = data.chunks[0][0]
    units = chunk.units if kind == FORWARD else chunk.units[::-1]
    made = pieces(chunk, cutting(data.data), kind=kind, gather=True, reduce=kind == BACKWARD)
    own = [s for p in made for s in joined(p.runs) if s.op not in ("pack", "unpack")]
    assert own == [s for u in units for s in u.steps(kind)]
    for number, domain in enumerate(data.data.domains):
        held = domain.parameters(chunk)
        gathered = sum(p.gathers[number] for p in made if p.gathers)
        reduced = sum(p.reduces[number] for p in made if p.reduces)
        if kind == FORWARD:
            assert (gathered, reduced) == (pytest.approx(held), 0)
        else:
            assert gathered >= held * (1 - 1e-12)
            assert reduced == pytest.approx(held)


@pytest.mark.parametrize("switch", ["blocking", "by_weight", "lists"])
def test_each_habit_costs_time(switch):
    assert _run(**{switch: False}).step_s < _run().step_s


def test_other_stages_of_zero_do_as_ever():
    runs = [
        simulate(
            load(
                {
                    "schema": 1,
                    "name": "zero-2",
                    "cluster": {"topology": "dgx-a100", "devices": DEVICES},
                    "model": "gpt2",
                    "batch": {"global_size": DEVICES, "micro_size": 1, "sequence_length": 1024},
                    "plan": {"zero_stage": 2},
                    "precision": "fp16",
                    "stack": stack,
                }
            )
        ).step_s
        for stack in ("deepspeed-2021", "megatron-2021")
    ]
    assert runs[0] == runs[1]


def test_evaluators_and_folding_agree():
    scenario = load(
        {
            "schema": 1,
            "name": "two nodes",
            "cluster": {"topology": "dgx-a100-superpod", "devices": 16},
            "model": "gpt2",
            "batch": {"global_size": 32, "micro_size": 1, "sequence_length": 1024},
            "plan": {"zero_stage": 3, "recompute": "full"},
            "precision": "fp16",
            "stack": "deepspeed-2021",
        }
    )
    graph, event = (simulate(scenario, evaluator=e) for e in ("graph", "event"))
    assert event.step_s == pytest.approx(graph.step_s, rel=1e-9)
    assert simulate(scenario, fold=False).step_s == pytest.approx(graph.step_s, rel=1e-9)
