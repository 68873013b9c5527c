"""Both evaluators on graphs whose answers are known by hand, with exact event counts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from distsim.engine import event, graph
from distsim.errors import InfeasibleError
from distsim.program.segment import Cost
from tests.graphs import op_graph

TRANSFER = [{0: 10.0}]  # 10 bytes on row 0


def _ends(g):
    return event.evaluate(g).end_s.tolist()


def test_a_chain_adds_up_with_one_event_a_task():
    g = op_graph([(0, 1.0, -1, []), (0, 2.0, -1, [0]), (0, 3.0, -1, [1])])
    run = event.evaluate(g)
    assert run.end_s.tolist() == graph.evaluate(g).end_s.tolist() == [1.0, 3.0, 6.0]
    assert run.n_events == 3


def test_a_transfer_is_its_latency_and_its_bytes_in_two_events():
    g = op_graph([(0, 0.5, 0, [])], TRANSFER, [10.0])
    run = event.evaluate(g)
    assert run.end_s.tolist() == graph.evaluate(g).end_s.tolist() == [1.5]
    assert run.n_events == 2


def test_two_equal_transfers_share_a_link():
    g = op_graph([(0, 0.0, 0, []), (1, 0.0, 0, [])], TRANSFER, [10.0])
    assert _ends(g) == [2.0, 2.0]
    assert not graph.is_valid(g, graph.evaluate(g))


def test_the_rest_speeds_up_when_a_short_one_leaves():
    # 10 and 20 bytes at 10 bytes/s: half each until 2 s, then 10 bytes alone until 3 s.
    g = op_graph([(0, 0.0, 0, []), (1, 0.0, 1, [])], [{0: 10.0}, {0: 20.0}], [10.0])
    assert _ends(g) == pytest.approx([2.0, 3.0])


def test_one_that_comes_later_takes_its_half_from_then_on():
    # 20 bytes alone for 1 s, then half each: the second ends at 3 s, the first as well.
    tasks = [(0, 0.0, 0, []), (1, 1.0, -1, []), (2, 0.0, 1, [1])]
    g = op_graph(tasks, [{0: 20.0}, {0: 10.0}], [10.0])
    assert _ends(g) == pytest.approx([3.0, 1.0, 3.0])


def test_parking_lot():
    # One transfer over both rows, one on each: everyone gets half of the links it crosses.
    demands = [{0: 10.0, 1: 10.0}, {0: 10.0}, {1: 10.0}]
    g = op_graph([(i, 0.0, i, []) for i in range(3)], demands, [10.0, 10.0])
    assert _ends(g) == [2.0, 2.0, 2.0]


def test_a_slow_link_leaves_the_rest_of_a_fast_one():
    # The first is held to 2 bytes/s by row 1, so the second has 8 of 10 on row 0.
    g = op_graph([(0, 0.0, 0, []), (1, 0.0, 1, [])], [{0: 2.0, 1: 2.0}, {0: 8.0}], [10.0, 2.0])
    assert _ends(g) == pytest.approx([1.0, 1.0])


def test_one_after_the_other_do_not_meet():
    g = op_graph([(0, 0.0, 0, []), (1, 0.0, 0, [0])], TRANSFER, [10.0])
    run = graph.evaluate(g)
    assert graph.is_valid(g, run)
    assert _ends(g) == run.end_s.tolist() == [1.0, 2.0]


def test_kernels_slow_down_while_bytes_move():
    # 4 s of compute beside 1 s of transfer at factor 1: 1 s does 0.5 s of work, 3.5 s remain.
    g = op_graph([(0, 4.0, -1, []), (1, 0.0, 0, [])], TRANSFER, [10.0], factor=[1.0], touches=[[0]])
    assert _ends(g) == pytest.approx([4.5, 1.0])
    assert not graph.is_valid(g, graph.evaluate(g))


def test_latency_does_not_slow_kernels():
    g = op_graph([(0, 1.0, -1, []), (1, 1.0, 0, [])], TRANSFER, [10.0], factor=[1.0], touches=[[0]])
    assert _ends(g) == [1.0, 2.0]
    assert graph.is_valid(g, graph.evaluate(g))


def test_a_transfer_elsewhere_slows_nothing():
    g = op_graph(
        [(0, 4.0, -1, []), (1, 0.0, 0, [])], TRANSFER, [10.0], factor=[1.0, 1.0], touches=[[1]]
    )
    assert _ends(g)[0] == 4.0


def test_nothing_to_move_and_nothing_to_wait_for():
    g = op_graph([(0, 0.0, 0, []), (0, 0.0, -1, [0]), (0, 0.0, 1, [1])], [{}, {0: 0.0}])
    assert _ends(g) == graph.evaluate(g).end_s.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("evaluate", [graph.evaluate, event.evaluate])
def test_a_cycle_is_an_error(evaluate):
    g = op_graph([(0, 1.0, -1, [1]), (0, 1.0, -1, [0])])
    with pytest.raises(InfeasibleError) as caught:
        evaluate(g)
    assert caught.value.code == "DS520"


def test_a_segment_is_slowed_as_much_as_it_is_kernels():
    # 3 s of kernels and 1 s of communication, all beside a transfer of 9 s: 3 (1 + 0.5) + 1 s.
    cost = Cost(compute_s=3.0, tensor_s=1.0)
    share = np.asarray([cost.kernel_share(0.5), 1.0])
    g = op_graph([(0, 4.0, -1, []), (1, 0.0, 0, [])], [{0: 90.0}], [10.0], factor=[0.5],
                 touches=[[0]])  # fmt: skip
    assert event.evaluate(replace(g, kernel_share=share)).end_s == pytest.approx([5.5, 9.0])
    # The host launches for 5 s: it is waited for until kernels take longer; 2.5 s of restart.
    assert Cost(compute_s=3.0, tensor_s=1.0, host_s=6.0).kernel_share(0.5) == 0.0
    waited = Cost(compute_s=3.0, tensor_s=1.0, host_s=5.0, restart_s=2.5)
    assert waited.kernel_share(0.5) == pytest.approx((5.5 - 5.0) / (0.5 * 7.5))
    assert Cost().kernel_share(0.5) == Cost(compute_s=1.0).kernel_share(0.0) == 1.0


def test_contention_free_pipeline_takes_two_events_a_transfer_and_one_a_kernel():
    import distsim.api as ds

    s = ds.load("megatron-22b-8xa100").with_(
        cluster={"topology": "dgx-a100-superpod", "devices": 16},
        plan={"pp": 2, "tp": 8},
        batch={"global_size": 16},
        stack="megatron-2021",
    )
    p = ds.simulate(s, evaluator="event")
    kernels = int((p.timeline.program.graph.transfer < 0).sum())
    moving = p.tasks - kernels
    latency_only = 1  # the global norm moves no bytes
    assert p.events == kernels + 2 * (moving - latency_only) + latency_only


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_same_bytes_under_any_hash_seed(seed):
    code = (
        "import distsim.api as ds, hashlib;"
        "r = ds.simulate(ds.load('gpt3-175b-1024xa100'), evaluator='event').timeline.run;"
        "print(hashlib.sha256(r.start_s.tobytes() + r.end_s.tobytes()).hexdigest(), r.n_events)"
    )
    out = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": s},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for s in (seed, "2")
    ]
    assert out[0] == out[1]


def test_evaluators_return_arrays_of_all_tasks():
    g = op_graph([(0, 1.0, -1, []), (1, 1.0, -1, [])])
    for run in (graph.evaluate(g), event.evaluate(g)):
        assert run.start_s.shape == run.end_s.shape == (2,)
        assert run.start_s.dtype == np.float64
        assert run.makespan == 1.0
