"""Core attention that is not all of s^2: windows of keys, kernel features, keys of low rank.

What each costs is in `distsim.workload.attention_pattern`. ``linear`` and ``low_rank`` hold no
s x s array, so selective recomputation has nothing to drop, and both need sums over all tokens that
context parallelism does not exchange here.
"""

from __future__ import annotations

from dataclasses import replace

from distsim.workload.attention import core_attention
from distsim.workload.attention_pattern import SPARSE, VARIANTS, Variant
from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Op, Work, gemm, stream
from distsim.workload.shape import Shape


def variant_attention(
    spec: ModelSpec, shape: Shape, variant: Variant, *, causal: bool = False, positions: int = 0
) -> tuple[Op, ...]:
    """Return core attention of a kind.

    Parameters
    ----------
    shape : Shape
        All tokens of the sequences (`Shape.whole`).
    causal : bool, optional
    positions : int, optional
        Tokens of the longest sequence, which sizes the projections of ``low_rank``; by default the
        length.

    Raises
    ------
    ValueError
        A causal mask with ``low_rank``, whose rows mix all tokens, or a kind that is unknown.
    """
    if variant.kind in SPARSE:
        return sparse(spec, shape, variant, causal=causal)
    if variant.kind == "linear":
        return linear_attention(spec, shape, variant.size or spec.head_dim)
    if variant.kind == "low_rank":
        if causal:
            raise ValueError("low_rank attention mixes all tokens: it cannot be causal")
        return low_rank(spec, shape, variant.size, positions or shape.length)
    if variant.kind != "full":
        raise ValueError(f"attention is {variant.kind!r}, not one of {', '.join(VARIANTS)}")
    return core_attention(spec, shape, causal=causal)


def sparse(
    spec: ModelSpec, shape: Shape, variant: Variant, *, causal: bool = False
) -> tuple[Op, ...]:
    """Fused attention of each query with some of the keys.

    The kernel runs the scores of all pairs that meet (`Variant.scores`), in whole blocks of
    queries; in packed rows, those of a sequence of the mean length that a query sees. Backward runs
    2.5 times the FLOP (Dao 2023, arXiv 2307.08691). It is a fused kernel whatever the stack fuses;
    unfused frameworks have no banded product.
    """
    fused = replace(shape, fusion=replace(shape.fusion, flash_attention=True))
    (op,) = core_attention(spec, fused, causal=False)
    length = shape.keys
    share = variant.scores(length, causal=causal) / (length * length)
    keys = min(variant.scores(length) / length, length)

    def some(work: Work) -> Work:
        return replace(work, n=keys, flop=work.flop * share) if share < 1 else work

    return (
        replace(
            op,
            name=f"{variant.kind}_attention",
            forward=tuple(some(w) for w in op.forward),
            backward_data=tuple(some(w) for w in op.backward_data),
        ),
    )


def linear_attention(spec: ModelSpec, shape: Shape, features: int) -> tuple[Op, ...]:
    """Attention through a feature map: phi(Q) (phi(K)^T V), divided by phi(Q) sum(phi(K)).

    A causal mask costs no more and no less: sums over keys become running sums, with the same
    products (Katharopoulos 2020, section 3.3), the state of each kept in registers. Bytes: feature
    maps of queries and keys read and written once, products as GEMMs, the normalizer as one more
    column of V, and the division as a pass over the output.
    """
    e, b, s = shape.numerics.activation_bytes, shape.sequences, shape.length
    batch, d = b * spec.heads, spec.head_dim
    of_queries, of_keys = shape.tokens * spec.heads, shape.tokens * spec.kv_heads
    mapped = float((of_queries + of_keys) * (d + features))
    out = float(of_queries * d)

    def product(m: float, n: float, k: float) -> Work:
        return gemm(m, n, k, batch=batch, split="batch", operand_bytes=e, result_bytes=e)

    # phi(K)^T V is (features, d); the sum over keys, a reduction, rides along in the feature map.
    return (
        Op(
            "feature_map",
            Axis.HEADS,
            (stream(e * mapped),),
            (stream(1.5 * e * mapped),),
            saved_bytes=e * (of_queries + of_keys) * d,
        ),
        Op(
            "attention_state",
            Axis.HEADS,
            (product(features, d, s),),
            (product(s, features, d), product(s, d, features)),
            saved_bytes=e * of_keys * (features + d),
        ),
        Op(
            "attention_output",
            Axis.HEADS,
            (product(s, d + 1, features), stream(2 * e * out)),
            (product(s, features, d + 1), product(features, d + 1, s), stream(3 * e * out)),
            saved_bytes=e * (of_queries * (features + 1) + batch * features * (d + 1)),
        ),
    )


def low_rank(spec: ModelSpec, shape: Shape, rank: int, positions: int) -> tuple[Op, ...]:
    """Attention of s queries with `rank` keys, each a learned mix of all keys (likewise values).

    Two projections (rank, positions) of a layer serve all heads, so ranks that divide heads hold
    both whole. The gradient of each is one product over sequences, heads and features.
    """
    e, b, s = shape.numerics.activation_bytes, shape.sequences, shape.length
    heads, d = b * spec.kv_heads, spec.head_dim
    mixed = replace(shape, length=rank, segment_length=0.0)

    def project(m: float, k: float) -> Work:
        return gemm(m, d, k, batch=heads, split="batch", operand_bytes=e, result_bytes=e)

    gradient = gemm(rank, s, float(heads * d), split="k", operand_bytes=e, result_bytes=e)
    projection = Op(
        "key_value_mix",
        Axis.HEADS,
        (project(rank, s),) * 2,
        (project(s, rank),) * 2,
        (gradient,) * 2,
        replicated_parameters=2 * rank * positions,
        saved_bytes=2 * e * shape.tokens * spec.kv_heads * d,
    )
    return (projection, *core_attention(spec, shape, mixed, causal=False))
