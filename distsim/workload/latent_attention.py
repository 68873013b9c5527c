"""Multi-head latent attention (MLA) of DeepSeek-V2 (arXiv 2405.04434, section 2.1).

A product down makes one latent vector of c features for the keys and values of all heads, and one
key part of r features with rotary positions that all heads share; a product up makes the rest of
the keys (d features a head) and the values (v features). Queries may go through a latent vector of
c' features, too. Core attention then has heads of d + r features of queries and keys, and v of
values; in training nothing is absorbed.

Under tensor parallelism the products down are on every rank and those up are divided by heads
(Megatron-Core, ``multi_latent_attention``): what is gathered or reduced at the border of the
divided region is the latent vector, not the residual stream.
"""

from __future__ import annotations

from dataclasses import replace

from distsim.workload.linear import linear
from distsim.workload.model import ModelSpec
from distsim.workload.norms import latent_norm
from distsim.workload.op import Axis, Op, Work, WorkKind, stream
from distsim.workload.shape import Shape


def projections(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Return the operators from the normalized input to queries, keys and values."""
    h, heads, rope = spec.hidden, spec.heads, spec.rope_head_dim
    rank, biased = spec.q_lora_rank, spec.biased_qkv
    ops: list[Op] = []
    if rank:
        ops.append(_down("query_down", spec, shape, rank, bias=biased))
        ops.append(latent_norm("query_norm", shape, rank))
        ops.append(_up("query_up", shape, rank, heads * spec.key_dim))
    else:
        ops.append(
            linear(
                "query",
                Axis.HEADS,
                shape,
                h,
                heads * spec.key_dim,
                bias=False,
                opens=True,
            )
        )
    down = _down("key_value_down", spec, shape, spec.kv_lora_rank + rope, bias=biased)
    # Both products down read the same array, which counts once.
    ops.append(replace(down, saved_bytes=0.0, saved_token_bytes=0.0))
    ops.append(latent_norm("key_value_norm", shape, spec.kv_lora_rank))
    up = _up("key_value_up", shape, spec.kv_lora_rank, heads * (spec.head_dim + spec.v_head_dim))
    # The shared part of the key is gathered and reduced with the latent vector.
    width = float(shape.tokens * (spec.kv_lora_rank + rope))
    ops.append(replace(up, region_elements=width))
    return (*ops, _rotary(spec, shape))


def _down(name: str, spec: ModelSpec, shape: Shape, rank: int, *, bias: bool) -> Op:
    """Return a product that every rank of a tensor-parallel group has whole."""
    op = linear(name, Axis.TOKENS, shape, spec.hidden, rank, bias=bias)

    def by_rows(works: tuple[Work, ...], dim: str) -> tuple[Work, ...]:
        return tuple(replace(w, split=dim) if w.kind is WorkKind.GEMM else w for w in works)

    return replace(
        op,
        forward=by_rows(op.forward, "m"),
        backward_data=by_rows(op.backward_data, "m"),
        backward_weight=by_rows(op.backward_weight, "k"),
        parameters=0,
        replicated_parameters=op.parameters + op.replicated_parameters,
        weight_bytes=op.weight_bytes + op.weight_token_bytes,
        weight_token_bytes=0.0,
    )


def _up(name: str, shape: Shape, rank: int, outputs: int) -> Op:
    return linear(name, Axis.HEADS, shape, rank, outputs, bias=False, opens=True)


def _rotary(spec: ModelSpec, shape: Shape) -> Op:
    """Rotary positions of r features of each query and of the shared key, and their joining.

    Queries are written anew with both parts side by side, and so are keys, for which the shared
    part is repeated for each head; backward their gradients come apart again and the shared part
    is summed over heads.
    """
    e, tokens = shape.numerics.activation_bytes, shape.tokens
    turned = 2.0 * e * tokens * spec.rope_head_dim * (spec.heads + 1)
    joined = 2.0 * e * tokens * spec.heads * 2 * spec.key_dim
    work = (stream(turned), stream(joined))
    return Op("latent_rotary", Axis.HEADS, work, work)
