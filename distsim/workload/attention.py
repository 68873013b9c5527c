"""Attention, from the projected queries, keys and values to the joined heads."""

from __future__ import annotations

from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Op, Work, WorkKind, gemm, stream
from distsim.workload.shape import MASK_BYTES, Shape


def rotary(spec: ModelSpec, shape: Shape) -> Op:
    """Rotary positions on queries and keys: read and written once each way."""
    width = (spec.heads + spec.kv_heads) * spec.head_dim
    work = (stream(2.0 * shape.numerics.activation_bytes * shape.tokens * width),)
    return Op("rotary", Axis.HEADS, work, work)


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
    batch, d = b * spec.heads, spec.head_dim
    scores = float(batch * s * keys)
    mask = MASK_BYTES if spec.dropout else 0
    token_width = float(shape.tokens * spec.heads * d)

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
            query_elements=token_width,
            key_elements=float(source.tokens * spec.kv_heads * d),
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
            (product(s, d, keys), stream(2 * e * token_width)),
            (product(s, keys, d), product(keys, d, s)),
            saved_bytes=e * source.tokens * spec.kv_heads * d,
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
    batch, d = b * spec.heads, spec.head_dim
    flop = 4.0 * batch * s * source.keys * d / (2 if causal else 1)
    out_bytes = e * shape.tokens * d * spec.heads
    qkv_bytes = out_bytes + e * source.tokens * d * 2 * spec.kv_heads
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
            query_elements=float(shape.tokens * spec.heads * d),
            key_elements=float(source.tokens * spec.kv_heads * d),
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


def attention(spec: ModelSpec, shape: Shape, *, causal: bool = True) -> tuple[Op, ...]:
    """Self-attention from the projected queries, keys and values to the joined heads.

    Core attention is that of the whole sequence, also where ranks divide its tokens: how they share
    it is theirs to say (`distsim.parallel.context`).

    Parameters
    ----------
    causal : bool, optional
        See `core_attention`.
    """
    e = shape.numerics.activation_bytes
    width = (spec.heads + 2 * spec.kv_heads) * spec.head_dim
    # Backward joins the gradients of queries, keys and values into one array.
    join = Op("qkv_join", Axis.HEADS, (), (stream(2.0 * e * shape.tokens * width),))
    positions = (rotary(spec, shape),) if spec.positions == "rotary" else ()
    return (join, *positions, *core_attention(spec, shape.whole, causal=causal))
