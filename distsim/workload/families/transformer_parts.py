"""Blocks of transformers that are not decoders alone: norms before or after, full attention, cross.

The operators are those of `distsim.workload.transformer`, so they divide over tensor-parallel
groups as a decoder's do. `parts` is what they read of a model: its widths and switches.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from distsim.record import record
from distsim.workload.activation import activation
from distsim.workload.attention import core_attention
from distsim.workload.attention_pattern import Variant
from distsim.workload.attention_variants import variant_attention
from distsim.workload.families import layers
from distsim.workload.linear import linear
from distsim.workload.model import ModelSpec
from distsim.workload.model_block import _head_dim
from distsim.workload.norms import norm
from distsim.workload.op import Axis, Op, Work, WorkKind, stream
from distsim.workload.shape import Shape
from distsim.workload.transformer import residual

#: Activations of a feed-forward block; the gated ones have two projections up (Shazeer 2020,
#: arXiv 2002.05202).
GATED = ("geglu", "swiglu")
ACTIVATIONS = ("gelu", "relu", *GATED)
FULL = Variant()


def fill_head_dim(values: dict[str, Any], path: tuple[str | int, ...]) -> None:
    """Fill in hidden / heads where a block says nothing else.

    Raises
    ------
    WorkloadError
        DS223 if heads do not divide it.
    """
    if "head_dim" not in values:
        values["head_dim"] = _head_dim(values["hidden"], values["heads"], path)


def plain(spec: Any) -> dict[str, Any]:
    """Return the fields of a spec, its family and its counts of parameters."""
    return {
        "family": spec.family,
        **{field.name: getattr(spec, field.name) for field in fields(spec)},
        "parameters": spec.parameters,
        "parameters_by_part": spec.parameters_by_part(),
    }


@record
class Widths:
    """Weights of one layer's blocks.

    Attributes
    ----------
    hidden, heads, head_dim, ffn : int
    gated : bool
        Two projections up.
    """

    hidden: int
    heads: int
    head_dim: int
    ffn: int
    gated: bool = False

    @property
    def query(self) -> int:
        """Features of all heads."""
        return self.heads * self.head_dim

    @property
    def attention(self) -> int:
        """Weights of the four projections."""
        return 4 * self.hidden * self.query

    @property
    def attention_biases(self) -> int:
        """Biases of queries, keys, values and the output."""
        return 3 * self.query + self.hidden

    @property
    def mlp(self) -> int:
        """Weights of a feed-forward block."""
        return self.hidden * self.ffn * (3 if self.gated else 2)

    @property
    def mlp_biases(self) -> int:
        """Biases of a feed-forward block."""
        return self.ffn * (2 if self.gated else 1) + self.hidden


def parts(
    widths: Widths,
    *,
    vocab: int = 1,
    positions: int = 0,
    norm: str = "layernorm",
    bias: bool = True,
    dropout: bool = True,
) -> ModelSpec:
    """Return what the operators of a decoder read of a model.

    Parameters
    ----------
    positions : int, optional
        Learned positions; 0: none.
    bias : bool, optional
        Projections add one.
    """
    return ModelSpec(
        name="",
        family="gpt",
        layers=1,
        hidden=widths.hidden,
        heads=widths.heads,
        kv_heads=widths.heads,
        head_dim=widths.head_dim,
        ffn=widths.ffn,
        vocab=vocab,
        max_positions=positions,
        norm=norm,
        activation="swiglu" if widths.gated else "gelu",
        positions="learned" if positions else "none",
        tied_embeddings=True,
        bias=bias,
        dropout=dropout,
        source="",
    )


def sublayer(
    name: str, spec: ModelSpec, shape: Shape, ops: tuple[Op, ...], *, norm_first: bool
) -> tuple[Op, ...]:
    """Return a residual branch with its norm before it (pre-norm) or after the sum (post-norm).

    Post-norm is Vaswani 2017 (arXiv 1706.03762, section 3.1), pre-norm Xiong 2020
    (arXiv 2002.04745); kernels and bytes are the same.
    """
    scale = norm(name, spec, shape)
    return (scale, *ops) if norm_first else (*ops, scale)


def self_attention(
    spec: ModelSpec,
    shape: Shape,
    *,
    causal: bool = False,
    variant: Variant = FULL,
    relative: bool = False,
) -> tuple[Op, ...]:
    """Return projections, core attention and the residual sum.

    Parameters
    ----------
    relative : bool
        A bias for each head and pair of places is added to the scores (`pair_bias`).
    """
    width, whole = spec.heads * spec.head_dim, shape.whole
    e = shape.numerics.activation_bytes
    core = variant_attention(spec, whole, variant, causal=causal, positions=spec.max_positions)
    return (
        linear(
            "qkv",
            Axis.HEADS,
            shape,
            spec.hidden,
            3 * width,
            bias=spec.bias,
            opens=True,
            bias_pass=spec.bias and not shape.fusion.linear_bias_epilogue,
        ),
        # Backward joins the gradients of queries, keys and values into one array.
        Op("qkv_join", Axis.HEADS, (), (stream(6.0 * e * shape.tokens * width),)),
        *((pair_bias(spec, whole),) if relative else ()),
        *core,
        _out("attention_out", spec, shape),
        residual("attention_residual", spec, shape),
    )


def _out(name: str, spec: ModelSpec, shape: Shape) -> Op:
    return linear(
        name,
        Axis.HEADS,
        shape,
        spec.heads * spec.head_dim,
        spec.hidden,
        bias=spec.bias,
        row=True,
        closes=True,
        shared_input=shape.fusion.flash_attention,
    )


def pair_bias(spec: ModelSpec, shape: Shape) -> Op:
    """Bias of every pair of places and head, added to the scores (Raffel 2020, section 2.1).

    The array (heads, s, s) is the same for all sequences. Without fused attention it is added to
    the scores in a pass of its own; the gradient is summed over sequences. A fused kernel reads it
    once forward, and adds to its gradient.
    """
    e, s = shape.numerics.activation_bytes, shape.length
    bias = e * spec.heads * float(s * s)
    if shape.fusion.flash_attention:
        forward, backward = bias, 3 * bias
    else:
        scores = bias * shape.sequences
        forward, backward = 2 * scores + bias, scores + bias
    work = (stream(forward),)
    return Op("pair_bias", Axis.HEADS, work, (stream(backward),), core_attention=True)


def bucket_bias(spec: ModelSpec, shape: Shape, buckets: int, name: str) -> Op:
    """Look up of the bias of all pairs of places, once for a stack of layers.

    `buckets` learned numbers for each head; places fall into buckets by their distance.
    """
    pairs = shape.numerics.activation_bytes * spec.heads * float(shape.length**2)
    return Op(
        name,
        Axis.HEADS,
        (stream(pairs),),
        (),
        (stream(pairs),),
        parameters=buckets * spec.heads,
    )


def cross_attention(
    spec: ModelSpec, shape: Shape, source: Shape, *, keeps_source: bool
) -> tuple[Op, ...]:
    """Return attention of the decoder's tokens to the encoder's output.

    Keys and values are projected anew in each layer. Its gradient is one more term in the
    gradient of the encoder's output, added in a pass of its own.

    Parameters
    ----------
    shape, source : Shape
        Tokens of the decoder and of the encoder.
    keeps_source : bool
        The encoder's output counts as kept here: it is one array for all layers. An fp8 product
        keeps a copy of its own in any case.
    """
    width, e = spec.heads * spec.head_dim, shape.numerics.activation_bytes
    apart = spec.bias and not shape.fusion.linear_bias_epilogue

    def project(name: str, of: Shape, outputs: int) -> Op:
        return linear(
            name,
            Axis.HEADS,
            of,
            spec.hidden,
            outputs,
            bias=spec.bias,
            opens=True,
            bias_pass=apart,
        )

    key_value = project("cross_key_value", source, 2 * width)
    if not keeps_source and source.numerics.fp8 is None:
        key_value = replace(key_value, saved_token_bytes=0.0)
    added = stream(3.0 * e * source.tokens * spec.hidden)
    core = core_attention(spec, shape.whole, source.whole, causal=False)
    return (
        project("cross_query", shape, width),
        Op("source_gradient_sum", Axis.TOKENS, (), (added,)),
        key_value,
        Op("key_value_join", Axis.HEADS, (), (stream(4.0 * e * source.tokens * width),)),
        *(replace(op, name=f"cross_{op.name}") for op in core),
        _out("cross_out", spec, shape),
        residual("cross_residual", spec, shape),
    )


def feed_forward(spec: ModelSpec, shape: Shape, function: str) -> tuple[Op, ...]:
    """Return both projections, the activation and the residual sum."""
    up = spec.ffn * spec.up_projections
    return (
        # The bias is added with the activation, so the projection itself has no pass for it.
        linear("mlp_up", Axis.FFN, shape, spec.hidden, up, bias=spec.bias, opens=True),
        activation(spec, shape, name=function),
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
        residual("mlp_residual", spec, shape),
    )


def whole_dense(
    name: str, shape: Shape, rows: int, inputs: int, outputs: int, *, first: bool = False
) -> Op:
    """Return a dense layer with a bias whose weights every rank of a tensor group holds.

    With sequence parallelism the ranks divide its rows.
    """
    op = layers.dense(name, shape, rows, inputs, outputs, bias=True, first=first)

    def by_rows(works: tuple[Work, ...], dim: str) -> tuple[Work, ...]:
        return tuple(replace(w, split=dim) if w.kind is WorkKind.GEMM else w for w in works)

    return replace(
        op,
        forward=by_rows(op.forward, "m"),
        backward_data=by_rows(op.backward_data, "m"),
        backward_weight=by_rows(op.backward_weight, "k"),
    )
