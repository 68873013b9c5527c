"""Whole steps on devices and links that are not alike, and what comes beside a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distsim.api import load, simulate
from distsim.prediction.overheads import Loading

MODEL = {
    "family": "gpt",
    "layers": 8,
    "hidden": 2048,
    "heads": 16,
    "vocab": 8192,
    "max_positions": 1024,
}


def _run(devices: int = 16, fold: bool = True, **changes: Any):
    scenario = load(
        {
            "schema": 1,
            "name": "unequal",
            "cluster": {
                "topology": "dgx-a100-superpod",
                "devices": devices,
                "library": "ideal",
                **changes.pop("cluster", {}),
            },
            "model": MODEL,
            "batch": {"global_size": 8 * devices, "micro_size": 4, "sequence_length": 1024},
            "precision": "bf16",
            **changes,
        }
    )
    return simulate(scenario, fold=fold)


@pytest.mark.parametrize("speed", [0.5, 0.8])
def test_data_parallel_ranks_wait_for_the_slowest_device(speed: float) -> None:
    """Its kernels, and they alone, take 1 / speed as long; all others wait at the reduction."""
    plan = {"overlap_grad_reduce": False}
    even = _run(plan=plan)
    slow = _run(plan=plan, cluster={"unequal": [{"devices": 5, "speed": speed}]})
    kernels = even.breakdown.compute_s + even.breakdown.optimizer_s
    assert even.breakdown.host_s == 0.0
    assert slow.step_s - even.step_s == pytest.approx(kernels * (1 / speed - 1), rel=1e-6)
    # One device in 16 works longer; on average that is a sixteenth of it.
    longer = slow.breakdown.compute_s - even.breakdown.compute_s
    assert longer == pytest.approx(even.breakdown.compute_s * (1 / speed - 1) / 16, rel=1e-6)
    assert slow.model_flop_per_s_per_device == pytest.approx(
        even.model_flop_per_s_per_device * even.step_s / slow.step_s
    )
    # MFU counts the peak that the devices have at their nominal speed.
    assert slow.mfu / even.mfu == pytest.approx(even.step_s / slow.step_s)


def test_only_what_is_unequal_unfolds() -> None:
    """One slow node in 32 is one more class for each stage, not one for each rank."""
    plan = {"tp": 8, "pp": 2, "zero_stage": 1}
    even = _run(256, plan=plan)
    slow = _run(256, plan=plan, cluster={"unequal": [{"devices": "node 3", "speed": 0.9}]})
    assert even.classes == 2
    # Its pipeline is a class apart on both of its stages.
    assert slow.classes == 4
    assert slow.step_s > even.step_s


@pytest.mark.parametrize(
    "cluster",
    [
        {"unequal": [{"devices": [1, "node 1"], "speed": 0.7}]},
        {"unequal": [{"devices": "8:12", "device": "a100-40gb-sxm", "speed": 0.9}]},
        {"slow_links": [{"pattern": "n1.nic0->*", "bandwidth": 0.25, "latency": "20 us"}]},
    ],
    ids=["speed", "type", "link"],
)
@pytest.mark.parametrize(
    "plan",
    [{"tp": 2, "zero_stage": 1, "overlap_grad_reduce": True}, {"pp": 2, "zero_stage": 2}],
    ids=["tp", "pp"],
)
def test_folded_is_unfolded(cluster: dict[str, Any], plan: dict[str, Any]) -> None:
    folded, whole = (_run(plan=plan, cluster=cluster, fold=fold) for fold in (True, False))
    assert folded.step_s == pytest.approx(whole.step_s, rel=1e-6)
    assert folded.classes <= whole.classes == 16


def test_a_ring_runs_at_the_pace_of_its_slowest_link() -> None:
    """2 (n - 1)/n of the gradients leave every node by each of 8 rails; one rail at 1/4 is last."""
    plan = {"overlap_grad_reduce": False}
    even = _run(plan=plan)
    rails = [{"link_class": "rail", "bandwidth": 0.25}]
    slow = _run(plan=plan, cluster={"slow_links": rails})
    one = _run(plan=plan, cluster={"slow_links": [{"pattern": "n1.nic0->*", "bandwidth": 0.25}]})
    assert one.step_s == pytest.approx(slow.step_s, rel=1e-3)
    assert slow.step_s > even.step_s


def test_a_step_waits_for_a_batch_that_loads_longer() -> None:
    slow = _run(loading={"samples_per_s": 1.0})
    nodes = 2
    assert slow.overheads is not None
    assert slow.overheads.step_with_overheads_s == pytest.approx(8 * 16 / nodes)
    fast = _run(loading={"samples_per_s": 1e6})
    assert fast.overheads is not None
    assert fast.overheads.step_with_overheads_s == fast.step_s
    assert Loading(8 * 16, 1.0, nodes).load_s == 64.0


def test_a_checkpoint_that_blocks_costs_its_bytes_over_the_bandwidth_every_n_steps() -> None:
    """Weights and optimizer states of mixed-precision Adam are 14 bytes a parameter."""
    p = _run(checkpoint={"every_steps": 10, "bandwidth": "1 GB/s", "mode": "sync"})
    assert p.overheads is not None
    expected = 14 * p.parameters / 2e9 / 10
    assert p.overheads.checkpoint_s == pytest.approx(expected, rel=1e-9)


def test_packed_rows_compute_their_tokens_and_not_their_padding() -> None:
    """Half of the sequences are 1/8 of a row: padded to rows, 7/16 of all tokens are padding."""
    lengths = [[128, 0.5], [1024, 0.5]]
    batch = {"global_size": 256, "micro_size": 4, "sequence_length": 1024, "lengths": lengths}
    padded = _run(batch=batch | {"batching": "padded", "pad_to": "sequence_length"})
    packed = _run(batch=batch | {"batching": "packed"})
    shares = [p.resolved["micro_batches"]["efficiency"] for p in (padded, packed)]
    assert shares == [pytest.approx(9 / 16, rel=0.01), pytest.approx(1.0, abs=0.01)]
    ratio = packed.tokens_per_s / padded.tokens_per_s
    # Attention of packed rows also skips what is between sequences, so it gains a little more.
    assert 16 / 9 <= ratio <= 16 / 9 * 1.1
    assert np.isfinite(ratio)
