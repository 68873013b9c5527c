"""Biases of experts that elementwise operators add, as Megatron-Core 0.15 and 0.16 do."""

from __future__ import annotations

import pytest

from distsim.cost.stack import load_stack
from distsim.workload import moe
from distsim.workload.model_block import from_mapping
from distsim.workload.op import Fusion, Numerics, Op, Work
from distsim.workload.shape import Shape
from tests.strategies import MIXTURE

TOKENS, HIDDEN, CHOICES = 64, 256, 2


def ops(*, biased: bool, fused: bool) -> dict[str, Op]:
    spec = from_mapping({**MIXTURE, "mlp_bias": biased})
    fusion = Fusion(expert_bias=fused)
    return {op.name: op for op in moe.block(spec, Shape(1, TOKENS, Numerics(), fusion))}


def moved(works: tuple[Work, ...]) -> float:
    return sum(w.stream_bytes for w in works)


def test_passes_of_the_second_product():
    """Forward and backward, bytes an element of the rows of all experts, by hand.

    bias x probability (fp32): write 4; sum: read 2 and 4, write 4; join: 4 and 4; cast: 4 and 2.
    Gradients: cast 2 and 4; of the rows, cast 4 and 2, join 2 and 2; of the bias, product 4 and 4,
    sum 4; likewise of the probability. The sum of the fused bias gradient (2) goes.
    """
    fused, apart = (ops(biased=True, fused=f)["expert_down"] for f in (True, False))
    elements = TOKENS * CHOICES * HIDDEN
    assert moved(apart.forward) - moved(fused.forward) == (4 + 10 + 8 + 6) * elements
    backward = moved((*apart.backward_data, *apart.backward_weight)) - moved(
        (*fused.backward_data, *fused.backward_weight)
    )
    assert backward == (6 + 6 + 4 + 12 + 12 - 2) * elements
    assert len(apart.forward) - len(fused.forward) == 4


def test_the_first_product_adds_its_bias_itself():
    fused, apart = (ops(biased=True, fused=f)["expert_up"] for f in (True, False))
    assert fused == apart


@pytest.mark.parametrize("name", ["expert_up", "expert_down"])
def test_without_biases_there_is_nothing_to_add(name):
    fused, apart = (ops(biased=False, fused=f)[name] for f in (True, False))
    assert fused == apart


def test_megatron_core_adds_them_so():
    assert not load_stack("megatron-core").fusion.expert_bias
