"""Decoder-only transformers (GPT and LLaMA) as operators.

A layer is a flat tuple of :class:`~distsim.workload.op.Op` in forward order. Bytes follow the
kernels that frameworks launch; FLOP follow Narayanan et al. 2021 (arXiv 2104.04473, appendix):
24 B s h^2 + 4 B s^2 h for a forward layer with a 4h feed-forward. Saved activations follow
Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1): s b h (34 + 5 a s / h) bytes at 16 bit.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from distsim.workload import moe
from distsim.workload.activation import activation
from distsim.workload.attention_block import attention_block
from distsim.workload.attention_pattern import Variant
from distsim.workload.linear import linear
from distsim.workload.model import DENSE, MOE, ModelSpec
from distsim.workload.network import Blocks
from distsim.workload.norms import norm
from distsim.workload.op import Axis, Op, stream
from distsim.workload.parameters import attention_weights
from distsim.workload.shape import MASK_BYTES, Shape
from distsim.workload.softmax import output


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


def layer_kinds(spec: ModelSpec) -> tuple[str, ...]:
    """Return the kind of each layer: ``dense`` or ``moe``, and its attention if layers differ."""
    if not spec.full_attention_every or spec.attention == "full":
        return spec.layer_kinds
    return tuple(f"{kind} {spec.variant_of(i).kind}" for i, kind in enumerate(spec.layer_kinds))


def blocks(spec: ModelSpec, shape: Shape) -> Blocks:
    """Return the operators of a model for one micro batch."""
    kinds = layer_kinds(spec)

    def of(layer: int) -> tuple[Op, ...]:
        return layer_of(spec.layer_kinds[layer], spec, shape, spec.variant_of(layer))

    return Blocks(
        kinds,
        {kind: of(kinds.index(kind)) for kind in dict.fromkeys(kinds)},
        embedding(spec, shape),
        head(spec, shape),
        float(shape.tokens * spec.hidden),
    )


def layer(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Operators of one dense layer in forward order."""
    return layer_of(DENSE, spec, shape)


def layer_of(
    kind: str, spec: ModelSpec, shape: Shape, variant: Variant | None = None
) -> tuple[Op, ...]:
    """Operators of one layer in forward order.

    Parameters
    ----------
    kind : {"dense", "moe"}
        Its feed-forward block.
    variant : Variant, optional
        Its attention; by default that of the first layer.
    """
    attention = attention_block(spec, shape, variant or spec.variant_of(0))
    mlp = moe.block(spec, shape) if kind == MOE else feed_forward(spec, shape)
    if spec.parallel_block:
        return _side_by_side(spec, shape, attention, mlp)
    return (*_branch("attention", spec, shape, attention), *_branch("mlp", spec, shape, mlp))


def _branch(name: str, spec: ModelSpec, shape: Shape, ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """Return a residual branch with its norms (`NORM_PLACES`)."""
    before = (norm(f"{name}_norm", spec, shape),) if spec.norm_place != "after" else ()
    behind = (norm(f"{name}_norm_behind", spec, shape),) if spec.norm_place != "before" else ()
    return (*before, *ops, *behind, residual(f"{name}_residual", spec, shape))


def _side_by_side(
    spec: ModelSpec, shape: Shape, attention: tuple[Op, ...], mlp: tuple[Op, ...]
) -> tuple[Op, ...]:
    """Return attention and feed-forward block behind one norm, added to the input together.

    Both read one array, so it enters a divided region once; both results are summed before they
    leave it (Chowdhery 2022, arXiv 2204.02311, section 2): 2 all-reduces a layer in place of 4.
    """
    e, elements = shape.numerics.activation_bytes, float(shape.tokens * spec.hidden)
    last, up = attention[-1], mlp[0]
    inside = replace(last, closes=False, region_elements=0.0)
    same = replace(up, opens=False, region_elements=0.0, saved_token_bytes=0.0)
    # Forward the sum of both branches, backward that of both gradients of the norm's result.
    added = Op("branch_sum", Axis.TOKENS, (stream(3 * e * elements),), (stream(3 * e * elements),))
    return (
        norm("attention_norm", spec, shape),
        *attention[:-1],
        inside,
        same,
        *mlp[1:],
        added,
        residual("residual", spec, shape),
    )


def feed_forward(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Return both projections and the activation of a dense layer."""
    up = spec.ffn * spec.up_projections
    return (
        # The bias is added with the activation, so the projection itself has no pass for it.
        linear(
            "mlp_up",
            Axis.FFN,
            shape,
            spec.hidden,
            up,
            bias=spec.biased_mlp,
            opens=True,
            parts=(spec.ffn,) * spec.up_projections,
        ),
        activation(spec, shape),
        linear(
            "mlp_down",
            Axis.FFN,
            shape,
            spec.ffn,
            spec.hidden,
            bias=spec.biased_mlp,
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
    table, rows = spec.vocab * spec.hidden, spec.max_positions + spec.extra_positions
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
    normalized = (norm("embedding_norm", spec, shape),) if spec.embedding_norm else ()
    if not tail:
        return (lookup, *normalized)
    positions = Op(
        "embedding_positions",
        Axis.TOKENS,
        forward=tuple(tail),
        backward_data=(stream((2 * e + mask) * elements),) if spec.dropout else (),
        backward_weight=(stream(2 * e * elements),) if learned else (),
        replicated_parameters=rows * spec.hidden if learned else 0,
        saved_bytes=mask * elements,
    )
    return (lookup, positions, *normalized)


def head(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Return final norm, LM head and the loss; the last stage runs them."""
    return (norm("final_norm", spec, shape), *output(spec, shape))


@lru_cache(maxsize=256)
def model_flop_per_sequence(spec: ModelSpec, length: int) -> float:
    """FLOP of forward and backward for one sequence, without recomputation.

    Every product counts, attention whatever the mask, so that for a 4h feed-forward
    this is 72 s l h^2 (1 + s/6h + V/12lh), the model FLOP of Korthikanti 2022 (appendix A). Of
    experts those count that a token is routed to, and the router.
    """
    block = {
        DENSE: spec.hidden * spec.ffn * (spec.up_projections + 1),
        MOE: moe.weights_of_a_token(spec),
    }
    weights = spec.layers * attention_weights(spec) + sum(block[k] for k in spec.layer_kinds)
    vocabulary = spec.output_softmax.weights_of_a_token(spec.hidden, spec.vocab)
    core = attention_flop_per_sequence(spec, length)
    return 3.0 * (2.0 * length * (weights + vocabulary) + core)


@lru_cache(maxsize=256)
def attention_flop_per_sequence(spec: ModelSpec, length: float) -> float:
    """FLOP of one forward pass of core attention over all layers, no mask counted."""
    kinds = [spec.variant_of(i) for i in range(spec.layers)]
    return sum(
        kinds.count(v) * v.flop(length, spec.heads, spec.core_dim, spec.kv_heads)
        for v in dict.fromkeys(kinds)
    )
