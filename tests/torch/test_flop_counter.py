"""FLOP by family against what ``torch.utils.flop_counter`` counts on the real module."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distsim.workload.families.linear_regression import LinearModel
from distsim.workload.op import Fusion, Numerics
from distsim.workload.shape import Shape
from tests.torch.cases import CASES, SAMPLES
from tests.torch.required import FlopCounterMode, torch
from tests.torch.summary import COMPARED

#: What the counter and distsim may differ by, relative.
TOLERANCE = 0.01


@pytest.mark.parametrize("name", CASES)
def test_flop_are_those_that_torch_counts(name, record_property) -> None:
    case = CASES[name]
    counted = case.counted
    forward = SAMPLES * case.model.forward_flop(case.length)
    both = SAMPLES * case.model.model_flop(case.length)
    assert forward == pytest.approx(counted[0], rel=TOLERANCE)
    assert both == pytest.approx(counted[1], rel=TOLERANCE)
    # There is one difference, and it is known: the gradient of states that are zeros.
    assert forward == pytest.approx(counted[0], rel=1e-12)
    assert both - case.unmade_flop == pytest.approx(counted[1], rel=1e-12)
    record_property(COMPARED, name)


@pytest.mark.parametrize("name", CASES)
def test_operators_run_the_flop_that_torch_counts(name) -> None:
    # What is priced is the operators: unfused, so that attention runs in full and once.
    case = CASES[name]
    shape = Shape(SAMPLES, case.length, Numerics(), Fusion(flash_attention=False))
    blocks = case.model.blocks(shape)
    layers = [op for kind in blocks.layers for op in blocks.kinds[kind]]
    ops = [*blocks.embedding, *layers, *blocks.head]
    forward = sum(op.forward_flop for op in ops)
    assert forward == pytest.approx(case.counted[0], rel=1e-12)
    both = forward + sum(op.backward_flop for op in ops) - case.unmade_flop
    assert both == pytest.approx(case.counted[1], rel=1e-12)


@pytest.mark.parametrize("order", ["residual", "gram", "precomputed"])
def test_gradient_descent_takes_the_flop_of_its_order(order) -> None:
    samples, features, outputs, steps, rate = 40, 12, 3, 5, 0.01
    x, y = torch.rand(samples, features), torch.rand(samples, outputs)
    w = torch.zeros(features, outputs)
    with FlopCounterMode(display=False) as counter:
        if order == "precomputed":
            gram, target = x.T @ x, x.T @ y
        for _ in range(steps):
            if order == "residual":
                gradient = x.T @ (x @ w - y)
            elif order == "gram":
                gradient = (x.T @ x) @ w - x.T @ y
            else:
                gradient = gram @ w - target
            w = w - rate * gradient
    model = LinearModel(name="", features=features, outputs=outputs, bias=False, order=order)
    assert model.descent_flop(samples, steps) == counter.get_total_flops()


def test_experts_are_chosen_by_the_router_where_there_are_numbers() -> None:
    # Shares are unequal on a processor: equal FLOP do not come from equal shares.
    torch.manual_seed(3)
    module = CASES["moe-small"].module()
    mixture = next(m for m in module.modules() if hasattr(m, "router"))
    rows = torch.randn(2, 48, 64)
    chosen = mixture.router(rows.flatten(0, 1)).topk(mixture.chosen).indices
    assert len(set(mixture._counts(chosen.flatten()))) > 1


@pytest.mark.parametrize("name", ["mlp-784-512-256-10", "gru", "llama-small", "moe-small"])
def test_shapes_alone_count_as_numbers_do(name) -> None:
    # A GRU runs as separate products on a processor too; an LSTM does not.
    case = CASES[name]
    other = replace(case, device="cpu" if case.device == "meta" else "meta")
    assert other.counted == case.counted


def test_recurrent_layers_are_counted_step_by_step() -> None:
    layer, x = torch.nn.LSTM(4, 6, device="meta"), torch.zeros(3, 2, 4, device="meta")
    with FlopCounterMode(display=False) as counter:
        layer(x)
    steps, batch, gates = 3, 2, 4
    assert counter.get_total_flops() == 2 * steps * batch * gates * 6 * (4 + 6)
