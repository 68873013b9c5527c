"""Attention of a decoder: projections, core attention of its kind, and the projection back."""

from __future__ import annotations

from dataclasses import replace

from distsim.workload import eager
from distsim.workload.attention_pattern import Variant
from distsim.workload.attention_variants import variant_attention
from distsim.workload.latent_attention import projections
from distsim.workload.linear import linear
from distsim.workload.model import ModelSpec
from distsim.workload.norms import qk_norm
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import Shape

FULL = Variant()


def rotary(spec: ModelSpec, shape: Shape) -> Op:
    """Rotary positions on queries and keys: read and written once each way, if in one kernel."""
    width = (spec.heads + spec.kv_heads) * spec.head_dim
    e = shape.numerics.activation_bytes
    passes = (2.0 * e,) if shape.fusion.rotary else eager.rotary(e)
    work = tuple(stream(one * shape.tokens * width) for one in passes)
    return Op("rotary", Axis.HEADS, work, work)


def alibi(spec: ModelSpec, shape: Shape) -> Op:
    """Bias by distance on the scores (Press 2021, arXiv 2108.12409): a slope for each head.

    A fused kernel makes it in registers. Otherwise it is added to the scores in a pass of its own,
    read from one array (heads, s) (the same for all queries, as softmax does not see a shift).
    """
    e, s = shape.numerics.activation_bytes, shape.length
    scores = float(shape.sequences * spec.heads * s * shape.keys)
    fused = shape.fusion.flash_attention
    work = () if fused else (stream(2 * e * scores + e * spec.heads * s),)
    return Op("alibi", Axis.HEADS, work, (), core_attention=True)


def sinks_apart(spec: ModelSpec, shape: Shape, variant: Variant) -> tuple[Shape, Variant]:
    """Return how attention runs: as it would, or unfused for sinks that no kernel knows.

    Softmax with a sink is a function of its own then (Megatron-Core 0.15, fused_softmax.py: the
    fused kernel is left out), and windows are no more than a mask. Transformer Engine has a fused
    kernel for both from 2.8 on (Megatron-Bridge 0.3.1, gpt_oss_provider.py).
    """
    if not spec.attention_sinks or shape.fusion.sink_attention:
        return shape, variant
    apart = replace(shape.fusion, flash_attention=False, causal_softmax=False)
    return replace(shape, fusion=apart), FULL


def attention(
    spec: ModelSpec, shape: Shape, variant: Variant = FULL, *, causal: bool = True
) -> tuple[Op, ...]:
    """Self-attention from the projected queries, keys and values to the joined heads.

    Core attention is that of the whole sequence, also where ranks divide its tokens: how they share
    it is theirs to say (`distsim.parallel.context`).

    Parameters
    ----------
    variant : Variant, optional
    causal : bool, optional
        See `distsim.workload.attention.core_attention`.
    """
    shape, variant = sinks_apart(spec, shape, variant)
    e = shape.numerics.activation_bytes
    width = spec.heads * spec.key_dim + 2.0 * spec.kv_heads * spec.core_dim
    # Backward joins the gradients of queries, keys and values into one array.
    join = Op("qkv_join", Axis.HEADS, (), (stream(2.0 * e * shape.tokens * width),))
    before: list[Op] = [join]
    if spec.positions == "rotary" and not spec.latent:
        before.append(rotary(spec, shape))
    if spec.positions == "alibi":
        before.append(alibi(spec, shape.whole))
    if spec.attention_sinks:
        before.append(Op("attention_sinks", Axis.HEADS, (), parameters=spec.heads))
    whole = shape.whole
    core = variant_attention(spec, whole, variant, causal=causal, positions=spec.max_positions)
    return (*before, *core)


def attention_block(spec: ModelSpec, shape: Shape, variant: Variant) -> tuple[Op, ...]:
    """Return projections to queries, keys and values, core attention, and the one back."""
    width = spec.heads * spec.value_dim
    fused = sinks_apart(spec, shape, variant)[0].fusion.flash_attention
    if spec.latent:
        before = projections(spec, shape)
    else:
        apart = spec.biased_qkv and not shape.fusion.linear_bias_epilogue
        before = (
            linear(
                "qkv",
                Axis.HEADS,
                shape,
                spec.hidden,
                (spec.heads + 2 * spec.kv_heads) * spec.head_dim,
                bias=spec.biased_qkv,
                opens=True,
                bias_pass=apart,
                parts=tuple(n * spec.head_dim for n in (spec.heads, spec.kv_heads, spec.kv_heads)),
            ),
            *((qk_norm(spec, shape),) if spec.qk_norm else ()),
        )
    return (
        *before,
        *attention(spec, shape, variant),
        linear(
            "attention_out",
            Axis.HEADS,
            shape,
            width,
            spec.hidden,
            bias=spec.biased_out,
            row=True,
            closes=True,
            shared_input=fused,
        ),
    )
