"""How the loss deals with a large vocabulary: all of it, samples, or clusters of rare words.

=============  ======================================================  =========================
softmax        FLOP of a forward token                                 paper
=============  ======================================================  =========================
``full``       2 h V                                                   Shoeybi 2019, section 3
``sampled``    2 h (n + 1)                                             Jean 2015, arXiv 1412.2007
``adaptive``   2 h (V_0 + c) + 2 sum over c clusters of                Grave 2017,
               p_i (h d_i + d_i V_i)                                   arXiv 1609.04309
=============  ======================================================  =========================

h features, V words, n samples; V_0 frequent words, and clusters of V_i rarer ones, of which a token
has one as its target with probability p_i. The gradient is two products for each of these. Whether
the loss is one fused kernel is `Fusion.cross_entropy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distsim.record import record

#: Kinds; the first is the default.
SOFTMAXES = ("full", "sampled", "adaptive")
#: Features of a cluster are those of the one before over this (Grave 2017, whose words of a
#: cluster have vectors a quarter as long; the default of PyTorch's AdaptiveLogSoftmaxWithLoss).
REDUCTION = 4


@record
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


@record
class Softmax:
    """A kind of softmax over the vocabulary with its numbers.

    Attributes
    ----------
    kind : str
        One of `SOFTMAXES`.
    samples : int
        ``sampled``: words beside the target that all tokens of a micro batch share.
    cutoffs, shares : tuple
        ``adaptive``: see `clusters`.
    """

    kind: str = SOFTMAXES[0]
    samples: int = 0
    cutoffs: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the keys of a block that say something; none of a full softmax."""
        if self == Softmax():
            return {}
        values = {
            "softmax": self.kind,
            "softmax_samples": self.samples,
            "softmax_cutoffs": list(self.cutoffs),
            "softmax_shares": list(self.shares),
        }
        return {key: value for key, value in values.items() if value}

    def problem(self, vocab: int, *, tied: bool) -> tuple[str, str] | None:
        """Return the key that is wrong and the rule it breaks, or None."""
        if self.kind == "sampled" and not 1 <= self.samples < vocab:
            return "softmax_samples", f"1 <= softmax_samples < vocab ({vocab}) of a sampled softmax"
        if self.kind != "sampled" and self.samples:
            return "softmax_samples", "softmax_samples belong to softmax: sampled"
        if self.kind != "adaptive":
            if self.cutoffs or self.shares:
                key = "softmax_cutoffs" if self.cutoffs else "softmax_shares"
                return key, f"{key} belong to softmax: adaptive"
            return None
        if tied:
            return "softmax", "an adaptive softmax has tables of its own: tied_embeddings: false"
        try:
            clusters(1, self.cutoffs, vocab, self.shares)
        except ValueError as error:
            return "softmax_shares" if "shares" in str(error) else "softmax_cutoffs", (
                "softmax_cutoffs rise from above 0 to below vocab, and softmax_shares has a number "
                f"for each, at least 0 and together at most 1; {error}"
            )
        return None

    def parameters(self, hidden: int, vocab: int, *, tied: bool) -> int:
        """Weights of the output: V h, or the tables and projections of head and clusters."""
        if self.kind != "adaptive":
            return 0 if tied else vocab * hidden
        tail = clusters(hidden, self.cutoffs, vocab, self.shares)
        head = (self.cutoffs[0] + len(tail)) * hidden
        return head + sum(c.features * (hidden + c.words) for c in tail)

    def weights_of_a_token(self, hidden: int, vocab: int) -> float:
        """Return elements of the weights that a token is multiplied with, on average."""
        if self.kind == "sampled":
            return hidden * (self.samples + 1.0)
        if self.kind == "full":
            return float(hidden * vocab)
        tail = clusters(hidden, self.cutoffs, vocab, self.shares)
        head = hidden * (self.cutoffs[0] + len(tail))
        return head + sum(c.share * c.features * (hidden + c.words) for c in tail)
