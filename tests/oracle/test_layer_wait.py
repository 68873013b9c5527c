"""What a pass through a layer takes beside its kernels, where a stack says so."""

from __future__ import annotations

from typing import Any

import pytest

from distsim.cost.stack import load_stack, stack_names
from distsim.prediction.predict import Prediction
from tests.strategies import DENSE, INSTANT, step

STACK = "deepspeed-pipeline-2022"
LAYERS = 4


def run(stack: str, pp: int = 1, **plan: Any) -> Prediction:
    return step(
        {"pp": pp, **plan},
        pp * plan.get("tp", 1),
        topology=INSTANT,
        stack=stack,
        model=DENSE | {"layers": LAYERS},
        global_size=8,
    )


def test_it_is_that_of_the_profile_and_of_no_other():
    assert load_stack(STACK).layer_wait_s == 6.7e-3
    assert [n for n in stack_names() if load_stack(n).layer_wait_s] == [STACK]


@pytest.mark.parametrize("plan", [{}, {"tp": 2}, {"recompute": "full"}])
def test_every_layer_waits_twice_a_micro_batch(plan):
    """Forward and backward; not the embedding, not the head."""
    waited = run(STACK, **plan).step_s - run("megatron-2021", **plan).step_s
    assert waited == pytest.approx(2 * LAYERS * 8 * 6.7e-3, rel=1e-3)


@pytest.mark.parametrize(("pp", "schedule"), [(2, "1f1b"), (4, "gpipe")])
def test_stages_wait_at_the_same_time(pp, schedule):
    """m + pp - 1 passes of a stage's layers, each way (Narayanan 2021, section 2.2.1)."""
    plan = {"schedule": schedule}
    waited = run(STACK, pp, **plan).step_s - run("megatron-2021", pp, **plan).step_s
    assert waited == pytest.approx((8 + pp - 1) * 2 * LAYERS / pp * 6.7e-3, rel=1e-2)


def test_it_is_no_compute():
    one, other = run(STACK).breakdown, run("megatron-2021").breakdown
    assert one.compute_s == pytest.approx(other.compute_s, rel=1e-9)
    assert one.host_s - other.host_s == pytest.approx(2 * LAYERS * 8 * 6.7e-3, rel=1e-3)


def test_weight_gradients_apart_do_not_wait_again():
    plan = {"schedule": "zb-h1", "overlap_p2p": True}
    waited = run(STACK, 2, **plan).step_s - run("megatron-2021", 2, **plan).step_s
    of_a_layer = waited / (2 * LAYERS / 2 * 6.7e-3)
    assert 8 * 0.99 <= of_a_layer <= (8 + 1) * 1.01
