"""Bytes that data, pipeline and tensor parallelism put on the wire, counted in the op graph."""

from __future__ import annotations

import numpy as np
import pytest

from distsim.api import load, simulate
from distsim.cost.stack import load_stack
from distsim.program.opgraph import TaskKind


def _run(**changes: object):
    scenario = load(
        {
            "schema": 1,
            "name": "volumes",
            "cluster": {"topology": "dgx-a100", "devices": 8, "library": "ideal"},
            "model": "gpt2",
            "batch": {"global_size": 32, "micro_size": 1, "sequence_length": 1024},
            "precision": {"compute": "bf16", "gradients": "bf16"},
            "stack": "megatron-2021",
        }
    )
    return simulate(scenario.with_(**changes), evaluator="graph")


def _sent_bytes(prediction, kind: TaskKind) -> float:
    """Bytes that the busiest link carries for one kind of transfer: what one rank sends."""
    graph = prediction.timeline.program.graph
    uses = np.bincount(graph.transfer[graph.kind == kind], minlength=graph.n_types)
    largest = np.zeros(graph.n_types)
    types = np.repeat(np.arange(graph.n_types), np.diff(graph.demand_ptr))
    np.maximum.at(largest, types, graph.demand_bytes)
    return float(uses @ largest)


@pytest.mark.parametrize(("stage", "volume"), [(0, 2), (1, 2), (3, 3)])
@pytest.mark.parametrize("overlap", [False, True])
def test_zero_volumes_in_parameters(stage, volume, overlap):
    """2P, 2P and 3P elements a rank and step (Rajbhandari 2020, section 7), times (n - 1) / n."""
    p = _run(
        plan={"zero_stage": stage, "overlap_grad_reduce": overlap, "overlap_param_gather": overlap},
        batch={"global_size": 8},
    )
    expected = volume * 7 / 8 * 2 * p.parameters
    assert _sent_bytes(p, TaskKind.DATA) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("stage", "times"), [(0, 2), (1, 2), (2, 4 + 1), (3, 4 * 3)])
def test_accumulation_over_four_micro_batches(stage, times):
    """Whole gradients are reduced once; sharded ones, and sharded parameters, every time."""
    p = _run(plan={"zero_stage": stage, "overlap_grad_reduce": True}, batch={"global_size": 32})
    assert _sent_bytes(p, TaskKind.DATA) == pytest.approx(
        times * 7 / 8 * 2 * p.parameters, rel=1e-9
    )


@pytest.mark.parametrize(("divided", "parts"), [(True, 2), (False, 1)])
def test_a_stage_sends_its_activation_for_every_micro_batch(divided, parts):
    p = _run(plan={"pp": 4, "tp": 2, "scatter_gather_p2p": divided}, batch={"global_size": 6})
    one = 1024 * 768 * 2 / parts
    # Forward and backward go opposite ways, so the busiest link of a sender carries one of them.
    assert _sent_bytes(p, TaskKind.PIPELINE) == pytest.approx(3 * 6 * one * 2, rel=1e-9)


def test_tensor_parallel_bytes_of_a_layer_when_they_are_tasks():
    """4 all-reduces of b s h a layer and micro batch, 2 (n - 1) / n of each sent by a rank."""
    p = _run(
        plan={"tp": 2, "overlap_grad_reduce": True, "bucket_size": "1 MB"},
        batch={"global_size": 4},
    )
    graph = p.timeline.program.graph
    expanded = np.unique(graph.segment[graph.kind == TaskKind.TENSOR])
    assert {graph.names[s] for s in expanded} == {"qkv", "mlp_up", "lm_head"}
    # Only the backward of the last micro batch runs beside gradients: 2 a layer and 1 at the head.
    size = 1024 * 768 * 2
    assert _sent_bytes(p, TaskKind.TENSOR) == pytest.approx((2 * 12 + 1) * size, rel=1e-9)


def test_gradient_reduction_overlaps_with_the_last_backward():
    apart = _run(plan={"overlap_grad_reduce": False})
    beside = _run(plan={"overlap_grad_reduce": True, "bucket_size": "20 MB"})
    assert 0 < beside.breakdown.data_s < 0.5 * apart.breakdown.data_s
    assert beside.step_s < apart.step_s


def test_prefetching_hides_gathers():
    late = _run(plan={"zero_stage": 3, "overlap_param_gather": False, "overlap_grad_reduce": True})
    early = _run(plan={"zero_stage": 3, "overlap_param_gather": True, "overlap_grad_reduce": True})
    assert early.step_s < late.step_s


def _link(source: str, target: str, bandwidth: str) -> dict[str, object]:
    return {"from": source, "to": target, "bandwidth": bandwidth, "latency": "0 us"}


def test_the_slowest_port_of_an_edge_list_sets_the_pace():
    """A ring puts (n - 1) / n of the array on every port of a star, so the slow one is last."""
    star = {
        "kind": "edges",
        "device": "a100-80gb-sxm",
        "devices": ["a", "b", "c", "d"],
        "switches": ["hub"],
        "links": [_link(d, "hub", "10 GB/s") for d in "abc"] + [_link("d", "hub", "5 GB/s")],
    }
    p = _run(
        cluster={"topology": star, "devices": 4},
        plan={"zero_stage": 1, "overlap_grad_reduce": False, "overlap_param_gather": False},
        batch={"global_size": 4},
    )
    reduced_and_gathered = 3 / 4 * (2 + 2) * p.parameters
    assert p.breakdown.data_s == pytest.approx(reduced_and_gathered / 5e9, rel=1e-3)


def test_sends_that_do_not_overlap_hold_up_their_sender():
    plan = {"pp": 4, "tp": 2, "schedule": "1f1b"}
    held = _run(plan=plan | {"overlap_p2p": False}, batch={"global_size": 16})
    free = _run(plan=plan | {"overlap_p2p": True}, batch={"global_size": 16})
    assert free.step_s < held.step_s
    assert free.breakdown.pipeline_s < held.breakdown.pipeline_s


def test_reductions_that_do_not_overlap_hold_up_compute():
    held = _run(plan={"zero_stage": 2, "overlap_grad_reduce": False})
    free = _run(plan={"zero_stage": 2, "overlap_grad_reduce": True})
    # Blocking, every byte of every reduction is exposed.
    assert held.breakdown.data_s > 1.5 * free.breakdown.data_s


@pytest.mark.parametrize(("schedule", "v"), [("1f1b", 1), ("gpipe", 1), ("interleaved", 3)])
def test_blocking_exchanges_cost_a_restart_a_pass(schedule, v):
    """m micro batches pass v chunks, there and back; overlapped sends cost none."""
    plan = {"pp": 4, "tp": 2, "schedule": schedule, "virtual_stages": v}
    p = _run(plan=plan | {"overlap_p2p": False}, batch={"global_size": 64, "micro_size": 8})
    expected = 2 * v * 8 * load_stack("megatron-2021").restart_s
    assert p.breakdown.host_s == pytest.approx(expected, rel=1e-9)
    free = _run(plan=plan | {"overlap_p2p": True}, batch={"global_size": 64, "micro_size": 8})
    assert free.breakdown.host_s == 0.0
