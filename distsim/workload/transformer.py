"""Decoder-only transformers (GPT and LLaMA) as operators.

A layer is a flat tuple of :class:`~distsim.workload.op.Op` in forward order. Bytes follow the
kernels that frameworks launch; FLOP follow Narayanan et al. 2021 (arXiv 2104.04473, appendix):
24 B s h^2 + 4 B s^2 h for a forward layer with a 4h feed-forward. Saved activations follow
Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1): s b h (34 + 5 a s / h) bytes at 16 bit.
"""

from __future__ import annotations

from distsim.workload import moe
from distsim.workload.activation import activation
from distsim.workload.attention import attention
from distsim.workload.linear import linear
from distsim.workload.model import DENSE, MOE, ModelSpec
from distsim.workload.network import Blocks
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import MASK_BYTES, Shape


def norm(name: str, spec: ModelSpec, shape: Shape) -> Op:
    """LayerNorm or RMSNorm: one pass forward; two backward (input, then scale and bias)."""
    e, elements = shape.numerics.activation_bytes, float(shape.tokens * spec.hidden)
    return Op(
        name,
        Axis.TOKENS,
        forward=(stream(2 * e * elements),),
        backward_data=(stream(3 * e * elements),),
        backward_weight=(stream(2 * e * elements),),
        replicated_parameters=spec.hidden * (2 if spec.norm == "layernorm" else 1),
        saved_bytes=e * elements,
    )


def residual(name: str, spec: ModelSpec, shape: Shape) -> Op:
    """Bias, dropout and residual sum; backward also sums the gradients of the two branches."""
    num, fusion = shape.numerics, shape.fusion
    e, elements = num.activation_bytes, float(shape.tokens * spec.hidden)
    mask = MASK_BYTES if spec.dropout else 0
    if fusion.bias_dropout_add:
        forward = [stream((3 * e + mask) * elements)]
    else:
        forward = [stream(3 * e * elements)]
        forward += [stream((2 * e + mask) * elements)] if spec.dropout else []
        forward += [stream(2 * e * elements)] if spec.bias else []
    backward = [stream(3 * e * elements)]
    if spec.dropout:
        backward.append(stream((2 * e + mask) * elements))
    return Op(name, Axis.TOKENS, tuple(forward), tuple(backward), saved_bytes=mask * elements)


def qk_norm(spec: ModelSpec, shape: Shape) -> Op:
    """RMSNorm of every head of queries and keys; the scales are the same for all heads."""
    e = shape.numerics.activation_bytes
    elements = float(shape.tokens * (spec.heads + spec.kv_heads) * spec.head_dim)
    return Op(
        "qk_norm",
        Axis.HEADS,
        forward=(stream(2 * e * elements),),
        backward_data=(stream(3 * e * elements),),
        backward_weight=(stream(2 * e * elements),),
        replicated_parameters=2 * spec.head_dim,
        saved_bytes=e * elements,
    )


def layer_kinds(spec: ModelSpec) -> tuple[str, ...]:
    """Return the kind of each layer, ``dense`` or ``moe``."""
    return spec.layer_kinds


def blocks(spec: ModelSpec, shape: Shape) -> Blocks:
    """Return the operators of a model for one micro batch."""
    kinds = layer_kinds(spec)
    return Blocks(
        kinds,
        {kind: layer_of(kind, spec, shape) for kind in dict.fromkeys(kinds)},
        embedding(spec, shape),
        head(spec, shape),
        float(shape.tokens * spec.hidden),
    )


def layer(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Operators of one dense layer in forward order."""
    return layer_of(DENSE, spec, shape)


def layer_of(kind: str, spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Operators of one layer in forward order.

    Parameters
    ----------
    kind : str
        One of `layer_kinds`.
    """
    return (
        *_attention_block(spec, shape),
        norm("mlp_norm", spec, shape),
        *(moe.block(spec, shape) if kind == MOE else _feed_forward(spec, shape)),
        residual("mlp_residual", spec, shape),
    )


def _attention_block(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    width = spec.heads * spec.head_dim
    qkv = width + 2 * spec.kv_heads * spec.head_dim
    biased = spec.bias or spec.qkv_bias
    return (
        norm("attention_norm", spec, shape),
        linear(
            "qkv",
            Axis.HEADS,
            shape,
            spec.hidden,
            qkv,
            bias=biased,
            opens=True,
            bias_pass=biased and not shape.fusion.linear_bias_epilogue,
        ),
        *((qk_norm(spec, shape),) if spec.qk_norm else ()),
        *attention(spec, shape),
        linear(
            "attention_out",
            Axis.HEADS,
            shape,
            width,
            spec.hidden,
            bias=spec.bias,
            row=True,
            closes=True,
            shared_input=shape.fusion.flash_attention,
        ),
        residual("attention_residual", spec, shape),
    )


def _feed_forward(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    up = spec.ffn * spec.up_projections
    return (
        # The bias is added with the activation, so the projection itself has no pass for it.
        linear("mlp_up", Axis.FFN, shape, spec.hidden, up, bias=spec.bias, opens=True),
        activation(spec, shape),
        linear(
            "mlp_down",
            Axis.FFN,
            shape,
            spec.ffn,
            spec.hidden,
            bias=spec.bias,
            row=True,
            closes=True,
        ),
    )


def embedding(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Token (and learned position) embedding with its dropout; the first stage runs it."""
    num = shape.numerics
    e, elements = num.activation_bytes, float(shape.tokens * spec.hidden)
    mask = MASK_BYTES if spec.dropout else 0
    learned = spec.positions == "learned"
    table = spec.vocab * spec.hidden
    tail = [stream(3 * e * elements)] if learned else []
    tail += [stream((2 * e + mask) * elements)] if spec.dropout else []
    lookup = Op(
        "embedding",
        Axis.VOCAB,
        forward=(stream(2 * e * elements),),
        # Scatter of token gradients into a dense table, then the sum into the buffer.
        backward_weight=(
            stream(2 * e * elements),
            stream((2 * e + 2 * num.gradient_bytes) * table),
        ),
        parameters=table,
        closes=True,
        region_elements=elements,
        table=(float(spec.vocab), float(spec.hidden)),
    )
    if not tail:
        return (lookup,)
    positions = Op(
        "embedding_positions",
        Axis.TOKENS,
        forward=tuple(tail),
        backward_data=(stream((2 * e + mask) * elements),) if spec.dropout else (),
        backward_weight=(stream(2 * e * elements),) if learned else (),
        replicated_parameters=spec.max_positions * spec.hidden if learned else 0,
        saved_bytes=mask * elements,
    )
    return (lookup, positions)


def head(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Return final norm, LM head and cross entropy; the last stage runs them.

    The loss works on fp32 logits (4 bytes): copied, reduced to maxima, shifted, exponentiated,
    summed and divided in passes of their own (38 + 22 bytes a logit), or in one fused kernel.
    """
    e = shape.numerics.activation_bytes
    logits = float(shape.tokens * spec.vocab)
    fused = shape.fusion.cross_entropy
    passes = [e + 4, 4] if fused else [e + 4, 4, 8, 8, 4, 8]
    backward = [4 + e] if fused else [8, 8, 4 + e]
    loss = Op(
        "cross_entropy",
        Axis.VOCAB,
        tuple(stream(p * logits) for p in passes),
        tuple(stream(p * logits) for p in backward),
        saved_bytes=4 * logits,
        # Where ranks divide the vocabulary: maxima, logits of the targets, sums (fp32 each).
        reduced_bytes=(4.0 * shape.tokens,) * 3,
    )
    return (
        norm("final_norm", spec, shape),
        linear(
            "lm_head",
            Axis.VOCAB,
            shape,
            spec.hidden,
            spec.vocab,
            bias=False,
            opens=True,
            tied=spec.tied_embeddings,
            fp8=False,
        ),
        loss,
    )


def model_flop_per_sequence(spec: ModelSpec, length: int) -> float:
    """FLOP of forward and backward for one sequence, without recomputation.

    Every product counts, attention in full whatever the mask, so that for a 4h feed-forward
    this is 72 s l h^2 (1 + s/6h + V/12lh), the model FLOP of Korthikanti 2022 (appendix A). Of
    experts those count that a token is routed to, and the router.
    """
    width = spec.heads * spec.head_dim
    projections = spec.hidden * (2 * width + 2 * spec.kv_heads * spec.head_dim)
    block = {
        DENSE: spec.hidden * spec.ffn * (spec.up_projections + 1),
        MOE: moe.weights_of_a_token(spec),
    }
    weights = spec.layers * projections + sum(block[kind] for kind in spec.layer_kinds)
    attention = 4.0 * spec.layers * length * length * width
    return 3.0 * (2.0 * length * (weights + spec.hidden * spec.vocab) + attention)


def attention_flop_per_sequence(spec: ModelSpec, length: int) -> float:
    """FLOP of one forward pass of core attention over all layers, counted in full."""
    return 4.0 * spec.layers * length * length * spec.heads * spec.head_dim
