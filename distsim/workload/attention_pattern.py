"""Which keys a query meets, or what stands in the place of all of them.

=================  ====================================  =====================================
kind               FLOP of a forward head, s tokens      paper
=================  ====================================  =====================================
``full``           4 s^2 d                               Vaswani 2017, arXiv 1706.03762, 3.2.1
``window``         4 s min(w, s) d                       Beltagy 2020, arXiv 2004.05150, 3.1
``strided``        4 s min(w + s / t, s) d               Child 2019, arXiv 1904.10509, 4.2
``block_sparse``   4 s min(w, s) d                       Zaheer 2020, arXiv 2007.14062, 2
``linear``         4 s r d + 2 s r                       Katharopoulos 2020, arXiv 2006.16236
``low_rank``       4 s k d + 4 s k d to project K, V     Wang 2020, arXiv 2006.04768, eq. 7
=================  ====================================  =====================================

d is the head dimension (half the sum of those of keys and values), w the keys of a window or of a
query's blocks, t the stride, r the features of the kernel (d where nothing else is said), k the
rows to which keys and values are projected. With g global tokens, which meet all tokens and which
all tokens meet, s w becomes (s - g) (w + g) + g s (Beltagy 2020, section 3.1). Heads of keys and
values may be fewer than those of queries (Shazeer 2019, arXiv 1911.02150; Ainslie 2023,
arXiv 2305.13245): FLOP of the products stay, and bytes of keys and values shrink.
"""

from __future__ import annotations

from distsim.record import record

#: Kinds of core attention; the first is the default.
VARIANTS = ("full", "window", "strided", "block_sparse", "linear", "low_rank")
#: Those in which a query meets some of the keys, in one fused kernel.
SPARSE = ("window", "strided", "block_sparse")
#: Those that mix all tokens in sums, and have no scores.
SUMMED = ("linear", "low_rank")


@record
class Variant:
    """A kind of core attention with its numbers.

    Attributes
    ----------
    kind : str
        One of `VARIANTS`.
    size : int
        Keys in a window or in all blocks of a query, features of the kernel (0: the head
        dimension), or rows of the projected keys. Unused for ``full``.
    stride : int
        ``strided``: every so many-th key is met beside those of the window; 0: `size` of them, as
        in Child 2019.
    global_tokens : int
        Tokens that meet all tokens and that all tokens meet, of the kinds in `SPARSE`.
    """

    kind: str = VARIANTS[0]
    size: int = 0
    stride: int = 0
    global_tokens: int = 0

    def parameters(self, positions: int) -> int:
        """Parameters of one layer: two projections (size, positions) that all heads share.

        Only ``low_rank`` has any; sharing over heads is Wang 2020, section 4 (headwise sharing).
        """
        return 2 * self.size * positions if self.kind == "low_rank" else 0

    def scores(self, length: float, *, causal: bool = False) -> float:
        """Pairs of a query and a key that meet, in one head and sequence of `length` tokens.

        Under a causal mask the first queries have fewer keys: w - w/2 on average of the first w,
        and half of those at a stride.
        """
        s = float(length)
        if self.kind not in SPARSE:
            return s * s / 2 if causal else s * s
        near, g = min(float(self.size), s), min(float(self.global_tokens), s)
        far = s / (self.stride or self.size) if self.kind == "strided" else 0.0
        if causal:
            # A global token is met by all after it, and meets all before it: g s in all.
            some = s * near - near * near / 2 + s * far / 2 + g * s
            return min(some, s * s / 2)
        return (s - g) * min(near + far + g, s) + g * s

    def flop(
        self,
        length: float,
        heads: int,
        head_dim: float,
        kv_heads: int | None = None,
    ) -> float:
        """FLOP of the forward pass of one layer for one sequence, a mask not counted.

        Parameters
        ----------
        head_dim : float
            Half the sum of the features of a key and of a value.
        """
        if self.kind == "linear":
            features = self.size or head_dim
            return 4.0 * length * heads * head_dim * features + 2.0 * length * heads * features
        if self.kind == "low_rank":
            each = heads + (kv_heads or heads)
            return 4.0 * length * each * head_dim * self.size
        return 4.0 * heads * head_dim * self.scores(length)
