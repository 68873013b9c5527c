"""Elementwise operators that no kernel joins, and attention sinks that no fused kernel knows."""

from __future__ import annotations

import pytest

from distsim.cost.stack import load_stack, stack_names
from distsim.workload.attention_block import attention_block
from distsim.workload.model_block import from_mapping
from distsim.workload.op import Fusion, Numerics, Op, WorkKind
from distsim.workload.shape import Shape
from distsim.workload.softmax import cross_entropy
from distsim.workload.transformer import layer
from tests.strategies import DENSE, FFN, HEADS, HIDDEN

TOKENS, KV_HEADS, VOCAB = 64, 2, 96
SPEC = from_mapping({**DENSE, "kv_heads": KV_HEADS})
SINKS = from_mapping(
    {
        **DENSE,
        "attention": "window",
        "attention_size": 16,
        "full_attention_every": 2,
        "attention_sinks": True,
    }
)


def layer_ops(fusion: Fusion) -> dict[str, Op]:
    return {op.name: op for op in layer(SPEC, Shape(1, TOKENS, Numerics(), fusion))}


def read(name: str, **fusion: bool) -> tuple[float, float]:
    """Bytes of an operator's kernels, forward and backward."""
    op = layer_ops(Fusion(**fusion))[name]
    backward = (*op.backward_data, *op.backward_weight)
    return sum(w.stream_bytes for w in op.forward), sum(w.stream_bytes for w in backward)


@pytest.mark.parametrize("name", ["attention_norm", "mlp_norm"])
def test_a_norm_step_by_step(name):
    """Reads and writes of x.float(), x^2, mean, x * r, to bf16, * g; 16 bit in and out.

    Backward: dy * g (2, 2), to fp32 (2, 4), * r (4, 4), * x (4 + 4, 4), sum (4), 2 x (4, 4),
    * d(x^2) (4, 4), sum of both (4 + 4, 4), to bf16 (4, 2); of g: dy * n (2 + 2, 2), sum (2).
    """
    elements = TOKENS * HIDDEN
    forward = (2 + 4) + (4 + 4) + 4 + (4 + 4) + (4 + 2) + (2 + 2)
    backward = 4 + 6 + 8 + 12 + 4 + 8 + 8 + 12 + 6 + 6 + 2
    assert read(name, rms_norm=False) == (forward * elements, backward * elements)
    assert read(name) == (4 * elements, (6 + 4) * elements)


def test_rotary_positions_as_complex_numbers():
    elements = TOKENS * HIDDEN * (1 + KV_HEADS / HEADS)
    one_way = (2 + 4) + (4 + 4) + (4 + 2)
    assert read("rotary", rotary=False) == (one_way * elements, one_way * elements)
    assert read("rotary") == (4 * elements, 4 * elements)


def test_a_gate_in_two_steps():
    """silu (2, 2), product (2 + 2, 2); backward two products and the function, 6 bytes each."""
    elements = TOKENS * FFN
    assert read("swiglu", gated_activation=False) == ((4 + 6) * elements, 18 * elements)
    assert read("swiglu") == (6 * elements, 10 * elements)


def test_arrays_that_gradients_need():
    one, each = layer_ops(Fusion()), layer_ops(Fusion(rms_norm=False, gated_activation=False))
    norm = each["mlp_norm"].saved_bytes - one["mlp_norm"].saved_bytes
    assert norm == 4 * TOKENS * HIDDEN  # fp32 input and 16-bit result in place of the input
    assert each["swiglu"].saved_bytes - one["swiglu"].saved_bytes == 2 * TOKENS * FFN


@pytest.mark.parametrize("layer_number", [0, 1])
def test_sinks_that_no_kernel_knows_take_all_scores(layer_number):
    """Products over s x s, under a window, too; with the kernel, FLOP of what is seen."""
    variant, s = SINKS.variant_of(layer_number), TOKENS
    apart, fused = (
        attention_block(SINKS, Shape(1, s, Numerics(), Fusion(sink_attention=known)), variant)
        for known in (False, True)
    )
    core = [op for op in apart if op.core_attention]
    assert all(w.kind is not WorkKind.FLASH for op in core for w in op.forward)
    assert sum(op.forward_flop for op in core) == 4.0 * s * s * HIDDEN
    # Scores, softmax in three passes more than a fused one each way, and the output.
    assert sum(op.saved_bytes for op in core) > 2.0 * HEADS * s * s
    assert any(w.kind is WorkKind.FLASH for op in fused for w in op.forward)


def test_who_knows_sinks():
    """Transformer Engine 2.8 with Megatron-Core; nothing before."""
    known = [name for name in stack_names() if load_stack(name).fusion.sink_attention]
    assert {"megatron-core", "megatron-core-2026"} <= set(known)
    assert not {"nemo-2024", "megatron-2022", "pytorch-fsdp"} & set(known)


def test_models_without_sinks_do_not_care():
    shape = Shape(1, TOKENS, Numerics(), Fusion(sink_attention=False))
    assert layer(SPEC, shape) == layer(SPEC, Shape(1, TOKENS, Numerics(), Fusion()))


def test_the_loss_by_log_softmax():
    """Cast (2, 4), log-softmax (4, 4); dense gradient (4), both read and one written (8, 4), cast.

    At the peak the result, its gradient and that of the logits are there in fp32.
    """
    one, each = (
        cross_entropy(
            VOCAB, Shape(1, TOKENS, Numerics(), Fusion(cross_entropy=False, log_softmax=on))
        )
        for on in (False, True)
    )
    logits = TOKENS * VOCAB
    assert [w.stream_bytes / logits for w in each.forward] == [2 + 4, 4 + 4]
    assert [w.stream_bytes / logits for w in each.backward_data] == [4, 8 + 4, 4 + 2]
    assert each.saved_bytes == 3 * 4 * logits == 3 * one.saved_bytes
