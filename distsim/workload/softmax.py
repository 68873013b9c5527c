"""The product with the vocabulary and the loss, in full or less, as operators.

What each costs is in `distsim.workload.vocabulary`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from distsim.record import record
from distsim.workload.families.layers import dense, loss_passes
from distsim.workload.linear import linear
from distsim.workload.op import Axis, Op, Work, gemm, stream
from distsim.workload.shape import Shape
from distsim.workload.vocabulary import Cluster, Softmax, clusters


class Output(Protocol):
    """What a model says of its end."""

    @property
    def hidden(self) -> int:
        """Features that go in."""

    @property
    def vocab(self) -> int:
        """Words."""

    @property
    def tied_embeddings(self) -> bool:
        """The table is that of the embedding."""

    @property
    def head_bias(self) -> bool:
        """The full product adds a bias."""

    @property
    def output_softmax(self) -> Softmax:
        """The kind."""


@record
class End:
    """The end of a model that is no decoder-only transformer; see `Output`."""

    hidden: int
    vocab: int
    output_softmax: Softmax
    tied_embeddings: bool = False
    head_bias: bool = False


def output(spec: Output, shape: Shape) -> tuple[Op, ...]:
    """Return the LM head and the loss of a model."""
    chosen = spec.output_softmax
    if chosen.kind == "sampled":
        return sampled(spec, shape, chosen.samples)
    if chosen.kind == "adaptive":
        tail = clusters(spec.hidden, chosen.cutoffs, spec.vocab, chosen.shares)
        return adaptive(spec, shape, chosen.cutoffs[0], tail)
    return full(spec, shape)


def full(spec: Output, shape: Shape) -> tuple[Op, ...]:
    """Return the product with the whole vocabulary and its cross entropy."""
    product = linear(
        "lm_head",
        Axis.VOCAB,
        shape,
        spec.hidden,
        spec.vocab,
        bias=False,
        opens=True,
        tied=spec.tied_embeddings,
        fp8=False,
    )
    bias = (_bias(spec, shape),) if spec.head_bias else ()
    return (product, *bias, cross_entropy(spec.vocab, shape))


def _bias(spec: Output, shape: Shape) -> Op:
    """Return the bias of the LM head: its gradient is a sum over tokens."""
    logits = shape.numerics.activation_bytes * float(shape.tokens) * spec.vocab
    apart = () if shape.fusion.linear_bias_epilogue else (stream(2 * logits),)
    return Op("lm_head_bias", Axis.VOCAB, apart, (), (stream(logits),), parameters=spec.vocab)


def cross_entropy(words: int, shape: Shape) -> Op:
    """Return the loss of every token on fp32 logits (4 bytes) of `words` words.

    The logits are copied, reduced to maxima, shifted, exponentiated, summed and divided in passes
    of their own (38 + 22 bytes a logit), or by log-softmax (14 + 22), or in one fused kernel.
    """
    logits = float(shape.tokens * words)
    passes, backward, saved = loss_passes(shape)
    return Op(
        "cross_entropy",
        Axis.VOCAB,
        tuple(stream(p * logits) for p in passes),
        tuple(stream(p * logits) for p in backward),
        saved_bytes=saved * logits,
        # Where ranks divide the vocabulary: maxima, logits of the targets, sums (fp32 each).
        reduced_bytes=(4.0 * shape.tokens,) * 3,
    )


def sampled(spec: Output, shape: Shape, samples: int) -> tuple[Op, ...]:
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
    loss = cross_entropy(samples + 1, shape)
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


def adaptive(spec: Output, shape: Shape, frequent: int, tail: Sequence[Cluster]) -> tuple[Op, ...]:
    """Return a softmax over frequent words and clusters, and one inside each cluster.

    All tokens pass the first one; the rows of tokens with a target in cluster i are gathered for
    its projection (on every rank of a tensor-parallel group) and its product. The count of such
    tokens is rounded to a whole number, at least one.

    Parameters
    ----------
    frequent : int
        V_0.
    tail : sequence of Cluster
    """
    e, h = shape.numerics.activation_bytes, spec.hidden
    ops: list[Op] = [*_level("adaptive_head", spec, shape, h, frequent + len(tail))]
    for i, cluster in enumerate(tail, start=1):
        rows = max(round(shape.tokens * cluster.share), 1)
        part = replace(shape, sequences=rows, length=1, context=1, segment_length=0.0)
        moved = (stream(2 * e * float(rows * h)),)
        name = f"adaptive_cluster_{i}"
        ops.append(Op(f"{name}_rows", Axis.TOKENS, moved, moved))
        ops.append(dense(f"{name}_projection", shape, rows, h, cluster.features, bias=False))
        ops += _level(name, spec, part, cluster.features, cluster.words)
    return tuple(ops)


def _level(name: str, spec: Output, shape: Shape, inputs: int, words: int) -> tuple[Op, Op]:
    loss = cross_entropy(words, shape)
    product = linear(name, Axis.VOCAB, shape, inputs, words, bias=False, opens=True, fp8=False)
    return product, replace(loss, name=f"{name}_loss")
