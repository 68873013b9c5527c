"""Heads for large vocabularies: the product with the vocabulary and the loss, in full or less.

=============  ======================================================  =========================
head           FLOP of a forward token                                 paper
=============  ======================================================  =========================
``full``       2 h V                                                   Shoeybi 2019, section 3
``sampled``    2 h (n + 1)                                             Jean 2015, arXiv 1412.2007
``adaptive``   2 h (V_0 + c) + 2 sum over c clusters of                Grave 2017,
               p_i (h d_i + d_i V_i)                                   arXiv 1609.04309
=============  ======================================================  =========================

h features, V words, n samples; V_0 frequent words, and clusters of V_i rarer ones, of which a token
has one as its target with probability p_i. The gradient is two products for each of these.
Whether the loss is one fused kernel is `Fusion.cross_entropy`. No head here has a bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distsim.workload.families.layers import dense
from distsim.workload.linear import linear
from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Op, Work, gemm, stream
from distsim.workload.shape import Shape
from distsim.workload.transformer import head

#: Features of a cluster are those of the one before over this (Grave 2017, whose words of a
#: cluster have vectors a quarter as long; the default of PyTorch's AdaptiveLogSoftmaxWithLoss).
REDUCTION = 4


def full(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Return the product with the whole vocabulary and its cross entropy."""
    return head(spec, shape)[1:]


def sampled(spec: ModelSpec, shape: Shape, samples: int) -> tuple[Op, ...]:
    """Return a softmax over the target and `samples` words that all tokens of a micro batch share.

    Rows of the table are copied together for the product; their gradients are added back into the
    gradient of the table, whose other rows are not touched.

    Raises
    ------
    ValueError
        More samples than there are words, or none.
    """
    if not 1 <= samples <= spec.vocab:
        raise ValueError(f"samples is {samples}, not 1 <= samples <= vocab ({spec.vocab})")
    num, tokens, h = shape.numerics, shape.tokens, spec.hidden
    e, g = num.activation_bytes, num.gradient_bytes
    rows, elements = float((samples + tokens) * h), float(tokens * h)

    def product(m: int, n: int, k: int, split: str) -> Work:
        return gemm(m, n, k, split=split, operand_bytes=e, result_bytes=e)

    # The target's own logit: one dot product a token, bounded by reading both vectors.
    target = replace(stream(e * (2 * elements + tokens)), flop=2.0 * elements)
    loss = head(replace(spec, vocab=samples + 1), shape)[-1]
    return (
        Op(
            "sampled_rows",
            Axis.VOCAB,
            (stream(2 * e * rows),),
            (),
            (stream((e + 2 * g) * rows),),
            parameters=0 if spec.tied_embeddings else spec.vocab * h,
            saved_bytes=e * rows,
            table=(float(spec.vocab), float(h)),
        ),
        Op(
            "sampled_logits",
            Axis.VOCAB,
            (product(tokens, samples, h, "n"), target),
            (product(tokens, h, samples, "k"), target),
            (product(h, samples, tokens, "n"), target),
            saved_token_bytes=e * elements,
            opens=True,
            region_elements=elements,
            weight_bytes=e * float(tokens * samples),
            weight_token_bytes=e * elements,
        ),
        loss,
    )


@dataclass(frozen=True, slots=True)
class Cluster:
    """Rarer words that share a projection.

    Attributes
    ----------
    words : int
        V_i.
    features : int
        d_i: the projection reduces h to this before the product.
    share : float
        p_i: the part of tokens whose target is one of these words.
    """

    words: int
    features: int
    share: float


def clusters(
    hidden: int, cutoffs: Sequence[int], vocab: int, shares: Sequence[float]
) -> tuple[Cluster, ...]:
    """Return the clusters between cutoffs, words being sorted by falling frequency.

    Cluster i = 1, 2, ... has ``hidden // REDUCTION ** i`` features.

    Parameters
    ----------
    cutoffs : sequence of int
        The first is V_0; each next one ends a cluster, and `vocab` ends the last.
    shares : sequence of float
        p_i of each cluster, which is data: text with a Zipf tail has little in the last ones.

    Raises
    ------
    ValueError
        Cutoffs that do not rise to below `vocab`, or shares that are not one for each cluster, each
        at least 0 and together at most 1.
    """
    ends = [*cutoffs, vocab]
    if not cutoffs or any(b <= a for a, b in zip([0, *ends], ends, strict=False)):
        raise ValueError(f"cutoffs {list(cutoffs)} do not rise from above 0 to below {vocab}")
    if len(shares) != len(cutoffs) or min(shares) < 0 or sum(shares) > 1:
        raise ValueError(
            f"shares {list(shares)} are not {len(cutoffs)} numbers >= 0 that sum to at most 1"
        )
    return tuple(
        Cluster(end - begin, max(hidden // REDUCTION**i, 1), share)
        for i, (begin, end, share) in enumerate(zip(ends, ends[1:], shares, strict=False), start=1)
    )


def adaptive(
    spec: ModelSpec, shape: Shape, frequent: int, tail: Sequence[Cluster]
) -> tuple[Op, ...]:
    """Return a softmax over frequent words and clusters, and one inside each cluster.

    All tokens pass the first one; the rows of tokens with a target in cluster i are gathered for
    its projection (on every rank of a tensor-parallel group) and its product. The count of such
    tokens is rounded to a whole number.

    Parameters
    ----------
    frequent : int
        V_0.
    tail : sequence of Cluster
    """
    e, h = shape.numerics.activation_bytes, spec.hidden
    ops: list[Op] = [*_level("adaptive_head", spec, shape, h, frequent + len(tail))]
    for i, cluster in enumerate(tail, start=1):
        rows = round(shape.tokens * cluster.share)
        part = replace(shape, sequences=rows, length=1, context=1, segment_length=0.0)
        moved = (stream(2 * e * float(rows * h)),)
        name = f"adaptive_cluster_{i}"
        ops.append(Op(f"{name}_rows", Axis.TOKENS, moved, moved))
        ops.append(dense(f"{name}_projection", shape, rows, h, cluster.features, bias=False))
        ops += _level(name, spec, part, cluster.features, cluster.words)
    return tuple(ops)


def _level(name: str, spec: ModelSpec, shape: Shape, inputs: int, words: int) -> tuple[Op, Op]:
    loss = head(replace(spec, vocab=words), shape)[-1]
    product = linear(name, Axis.VOCAB, shape, inputs, words, bias=False, opens=True, fp8=False)
    return product, replace(loss, name=f"{name}_loss")
