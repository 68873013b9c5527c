"""Core attention in full: products of queries with keys, softmax, and products with values."""

from __future__ import annotations

from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Op, Work, WorkKind, gemm, stream
from distsim.workload.shape import MASK_BYTES, Shape


def _softmax(shape: Shape, scores: float, causal: bool) -> Op:
    e = shape.numerics.activation_bytes
    # The fused causal kernel skips masked scores on reads and writes them as zeros.
    half = 0.5 if causal and shape.fusion.causal_softmax else 1.0
    extra = () if shape.fusion.causal_softmax else (stream(4 * e * scores),)
    return Op(
        "softmax",
        Axis.HEADS,
        (stream((half * e + e) * scores), *extra),
        (stream((2 * half * e + e) * scores), *extra),
        saved_bytes=e * scores,
        core_bytes=e * scores,
        core_attention=True,
    )


def _unfused_attention(
    spec: ModelSpec, shape: Shape, source: Shape, causal: bool
) -> tuple[Op, ...]:
    """Products, softmax and dropout on arrays of s x s, in packed rows too: they only mask more."""
    e, b, s, keys = shape.numerics.activation_bytes, shape.sequences, shape.length, source.length
    batch, d, v = b * spec.heads, spec.key_dim, spec.value_dim
    scores = float(batch * s * keys)
    mask = MASK_BYTES if spec.dropout else 0
    out_width = float(shape.tokens * spec.heads * v)

    def product(m: float, n: float, k: float) -> Work:
        return gemm(m, n, k, batch=batch, split="batch", operand_bytes=e, result_bytes=e)

    kv_width = (shape.tokens * spec.heads + source.tokens * spec.kv_heads) * d
    ops = [
        Op(
            "scores",
            Axis.HEADS,
            (product(s, keys, d),),
            (product(s, d, keys), product(keys, d, s)),
            saved_bytes=e * kv_width,
            core_attention=True,
            # Of all core attention, so that what is exchanged around it counts once.
            query_elements=shape.tokens * spec.heads * spec.core_dim,
            key_elements=source.tokens * spec.kv_heads * spec.core_dim,
        ),
        _softmax(shape, scores, causal),
    ]
    if spec.dropout:
        ops.append(
            Op(
                "attention_dropout",
                Axis.HEADS,
                (stream((2 * e + mask) * scores),),
                (stream((2 * e + mask) * scores),),
                saved_bytes=(mask + e) * scores,
                core_bytes=(mask + e) * scores,
                core_attention=True,
            )
        )
    ops.append(
        Op(
            "context",
            Axis.HEADS,
            (product(s, v, keys), stream(2 * e * out_width)),
            (product(s, keys, v), product(keys, v, s)),
            saved_bytes=e * source.tokens * spec.kv_heads * v,
            core_attention=True,
        )
    )
    return tuple(ops)


def _flash_attention(spec: ModelSpec, shape: Shape, source: Shape, causal: bool) -> tuple[Op, ...]:
    """Fused attention (Dao 2023, arXiv 2307.08691): causal blocks are skipped.

    Forward runs 4 b a s^2 d FLOP, halved by the causal mask; backward 2.5 times as many, since
    the scores are computed again. In packed rows blocks between sequences are skipped too (its
    kernel for sequences of variable length): s^2 becomes the sum of their squared lengths.
    """
    e, b, s = shape.numerics.activation_bytes, shape.sequences, shape.length
    batch, d = b * spec.heads, spec.core_dim
    flop = 4.0 * batch * s * source.keys * d / (2 if causal else 1)
    out_bytes = e * shape.tokens * spec.value_dim * spec.heads
    query_bytes = e * shape.tokens * spec.key_dim * spec.heads
    qkv_bytes = query_bytes + e * source.tokens * 2 * d * spec.kv_heads
    statistics_bytes = 4.0 * shape.tokens * spec.heads

    def work(factor: float, traffic: float) -> Work:
        return Work(
            WorkKind.FLASH,
            batch=batch,
            m=s,
            n=source.keys,
            k=d,
            flop=factor * flop,
            stream_bytes=traffic,
            split="batch",
        )

    return (
        Op(
            "flash_attention",
            Axis.HEADS,
            (work(1.0, qkv_bytes + out_bytes),),
            (work(2.5, 2 * qkv_bytes + 3 * out_bytes),),
            saved_bytes=qkv_bytes + statistics_bytes,
            core_bytes=statistics_bytes,
            core_attention=True,
            query_elements=shape.tokens * spec.heads * d,
            key_elements=source.tokens * spec.kv_heads * d,
        ),
    )


def core_attention(
    spec: ModelSpec, shape: Shape, source: Shape | None = None, *, causal: bool = True
) -> tuple[Op, ...]:
    """Products and softmax of queries with keys, values and the output.

    Parameters
    ----------
    source : Shape, optional
        Whose tokens the keys and values come from (cross attention); by default `shape`.
    causal : bool, optional
        A query meets the keys up to its own place, otherwise all of them. In the fused kernel this
        halves the FLOP (Dao 2023, arXiv 2307.08691, section 3.1).
    """
    core = _flash_attention if shape.fusion.flash_attention else _unfused_attention
    return core(spec, shape, source or shape, causal)
