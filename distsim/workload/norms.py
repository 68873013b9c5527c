"""Norms of the residual stream, of queries and keys, and of latent vectors."""

from __future__ import annotations

from distsim.workload import eager
from distsim.workload.model import NORMS, ModelSpec
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import Shape


def norm(name: str, spec: ModelSpec, shape: Shape) -> Op:
    """LayerNorm or RMSNorm: one pass forward; two backward (input, then scale and bias)."""
    return _norm(name, Axis.TOKENS, shape, float(shape.tokens * spec.hidden), spec.hidden, spec)


def _norm(name: str, axis: Axis, shape: Shape, elements: float, width: int, spec: ModelSpec) -> Op:
    e, vectors = shape.numerics.activation_bytes, NORMS[spec.norm]
    if spec.norm == "rmsnorm" and not shape.fusion.rms_norm:
        forward, data, weight = (
            tuple(stream(b * elements) for b in part) for part in eager.rms_norm(e)
        )
        return Op(
            name,
            axis,
            forward,
            data,
            weight,
            replicated_parameters=width * vectors,
            saved_bytes=eager.rms_norm_kept(e) * elements,
        )
    return Op(
        name,
        axis,
        forward=(stream(2 * e * elements),),
        backward_data=(stream(3 * e * elements),),
        backward_weight=(stream(2 * e * elements),) if vectors else (),
        replicated_parameters=width * vectors,
        saved_bytes=e * elements,
    )


def qk_norm(spec: ModelSpec, shape: Shape) -> Op:
    """Norm of every head of queries and keys; the scales are the same for all heads, or each's."""
    heads = spec.heads + spec.kv_heads
    elements = float(shape.tokens * heads * spec.head_dim)
    op = _norm("qk_norm", Axis.HEADS, shape, elements, 2 * spec.head_dim, spec)
    if spec.qk_norm_scales == "shared":
        return op
    each = heads * spec.head_dim * NORMS[spec.norm]
    return Op(
        op.name,
        op.axis,
        op.forward,
        op.backward_data,
        op.backward_weight,
        parameters=each,
        saved_bytes=op.saved_bytes,
    )


def latent_norm(name: str, shape: Shape, rank: int) -> Op:
    """RMSNorm of a latent vector of `rank` features, whole on every rank."""
    e, elements = shape.numerics.activation_bytes, float(shape.tokens * rank)
    return Op(
        name,
        Axis.TOKENS,
        forward=(stream(2 * e * elements),),
        backward_data=(stream(3 * e * elements),),
        backward_weight=(stream(2 * e * elements),),
        replicated_parameters=rank,
        saved_bytes=e * elements,
    )
