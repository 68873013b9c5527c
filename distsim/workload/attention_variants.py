"""Attention in less than s^2: windows of keys, kernel features, keys of low rank.

=============  ==================================  =============================================
variant        FLOP of a forward head, s tokens    paper
=============  ==================================  =============================================
``full``       4 s^2 d                             Vaswani 2017, arXiv 1706.03762, section 3.2.1
``window``     4 s min(w, s) d                     Beltagy 2020, arXiv 2004.05150, section 3.1
``linear``     4 s r d + 2 s r                     Katharopoulos 2020, arXiv 2006.16236, eq. 5, 6
``low_rank``   4 s k d + 4 s k d to project K, V   Wang 2020, arXiv 2006.04768, equation 7
=============  ==================================  =============================================

d is the head dimension, r the features of the kernel (d where nothing else is said), k the rows to
which keys and values are projected. Heads of keys and values may be fewer than those of queries
(``kv_heads``: Shazeer 2019, arXiv 1911.02150; Ainslie 2023, arXiv 2305.13245): FLOP of the products
stay, and bytes of keys and values shrink.

``linear`` and ``low_rank`` hold no s x s array, so selective recomputation has nothing to drop, and
both need sums over all tokens that context parallelism does not exchange here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from distsim.workload.attention import core_attention
from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Op, Work, gemm, stream
from distsim.workload.shape import Shape

#: Kinds of core attention; the first is the default.
VARIANTS = ("full", "window", "linear", "low_rank")


@dataclass(frozen=True, slots=True)
class Variant:
    """A kind of core attention with its one number.

    Attributes
    ----------
    kind : str
        One of `VARIANTS`.
    size : int
        Keys in a window, features of the kernel (0: the head dimension), or rows of the projected
        keys. Unused for ``full``.
    """

    kind: str = VARIANTS[0]
    size: int = 0

    def parameters(self, positions: int) -> int:
        """Parameters of one layer: two projections (size, positions) that all heads share.

        Only ``low_rank`` has any; sharing over heads is Wang 2020, section 4 (headwise sharing).
        """
        return 2 * self.size * positions if self.kind == "low_rank" else 0

    def flop(self, length: int, heads: int, head_dim: int, kv_heads: int | None = None) -> float:
        """FLOP of the forward pass of one layer for one sequence, a mask not counted."""
        products = 4.0 * length * heads * head_dim
        if self.kind == "window":
            return products * min(self.size, length)
        if self.kind == "linear":
            features = self.size or head_dim
            return products * features + 2.0 * length * heads * features
        if self.kind == "low_rank":
            return (products + 4.0 * length * (kv_heads or heads) * head_dim) * self.size
        return products * length


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
    if variant.kind == "window":
        return window(spec, shape, variant.size, causal=causal)
    if variant.kind == "linear":
        return linear_attention(spec, shape, variant.size or spec.head_dim)
    if variant.kind == "low_rank":
        if causal:
            raise ValueError("low_rank attention mixes all tokens: it cannot be causal")
        return low_rank(spec, shape, variant.size, positions or shape.length)
    if variant.kind != "full":
        raise ValueError(f"attention is {variant.kind!r}, not one of {', '.join(VARIANTS)}")
    return core_attention(spec, shape, causal=causal)


def window(spec: ModelSpec, shape: Shape, size: int, *, causal: bool = False) -> tuple[Op, ...]:
    """Fused attention of each query with `size` keys around it, or up to it under a causal mask.

    A banded kernel runs all s x min(w, s) scores. Under a causal mask the first w queries have
    fewer keys: s w - w^2 / 2 scores, which at w = s is half the square. Backward runs 2.5 times
    the FLOP (Dao 2023, arXiv 2307.08691). The kernel is a fused one whatever the stack fuses;
    unfused frameworks have no banded product.
    """
    fused = replace(shape, fusion=replace(shape.fusion, flash_attention=True))
    (op,) = core_attention(spec, fused, causal=False)
    length, keys = float(shape.length), float(min(size, shape.length))
    scores = length * keys - (keys * keys / 2 if causal else 0.0)
    share = scores / (length * shape.keys)

    def banded(work: Work) -> Work:
        return replace(work, n=keys, flop=work.flop * share) if share < 1 else work

    return (
        replace(
            op,
            name="window_attention",
            forward=tuple(banded(w) for w in op.forward),
            backward_data=tuple(banded(w) for w in op.backward_data),
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
