"""Sequences of different lengths: how they become micro batches, and what padding costs.

``padded``: sequences meet by chance and are as long as the longest of their micro batch, or all
as long as a row. ``bucketed``: sequences are sorted, so that those of a micro batch are of similar
length, and padded to the edge of their bucket. ``packed``: whole sequences share rows, and
attention stays inside each of them (Krell 2021, arXiv 2107.02027), so that its FLOP follow the sum
of squared lengths.

Nothing is drawn unless a seed is given: micro batch j of m stands for the part [j/m, (j+1)/m] of
the distribution, sorted by length, with the means of that part. Its tokens, and its squares, which
attention counts, are therefore those of the distribution exactly.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.errors import WorkloadError
from distsim.record import record
from distsim.workload import transformer
from distsim.workload.histogram import Lengths, Path
from distsim.workload.model import ModelSpec
from distsim.workload.packing import pack_rows

Floats = npt.NDArray[np.float64]

Mode = Literal["padded", "bucketed", "packed"]
Packing = Literal["first_fit", "ideal"]
#: Relative rounding error of sums of weights, which must not cost a token or a bucket.
SLACK = 1e-9
#: Fractional part of the golden ratio.
GOLDEN = 0.6180339887498949


@record
class Batching:
    """How sequences become micro batches.

    Attributes
    ----------
    mode : {"padded", "bucketed", "packed"}
    row_length : int
        Tokens of a row at most: the sequence length of the scenario.
    to_row : bool
        Padded micro batches are all as long as a row; otherwise as their longest sequence.
    edges : tuple of int
        Upper edges of buckets, ascending; the last may be less than `row_length`, which is then
        one more. Empty: rows are as long as their longest sequence.
    packing : {"first_fit", "ideal"}
        ``first_fit``: whole sequences, the longest first, each into the first row with room.
        ``ideal``: no padding at all, a bound that no packing of whole sequences beats.
    multiple : int
        Lengths that are not `row_length` are rounded up to a multiple of this.
    most_variants : int
        Kinds of micro batches at most; those of like length are merged into one.
    seed : int or None
        Draw lengths instead of taking parts of the distribution.
    """

    mode: Mode
    row_length: int
    to_row: bool = False
    edges: tuple[int, ...] = ()
    packing: Packing = "first_fit"
    multiple: int = 1
    most_variants: int = 16
    seed: int | None = None


@record
class MicroBatch:
    """Micro batches that are alike.

    Attributes
    ----------
    length : int
        Tokens of a row, padding included.
    sequences : int
        Rows.
    count : int
        How many of the micro batches of a step are like this.
    segment_length : float
        Keys that a query meets on average, before the causal mask: `length`, or less in packed
        rows (sum of squared segment lengths over `length`). Where one variant stands for several
        lengths it is above `length`, so that the FLOP of attention are theirs.
    useful_tokens : float
        Tokens of one micro batch that are not padding.
    useful_squares : float
        Sum of the squared lengths of the sequences of one micro batch.
    """

    length: int
    sequences: int
    count: int
    segment_length: float
    useful_tokens: float
    useful_squares: float

    @property
    def tokens(self) -> int:
        """Tokens that one micro batch computes."""
        return self.length * self.sequences

    @property
    def attention_factor(self) -> float:
        """FLOP of attention over those of rows without segments."""
        return self.segment_length / self.length


@record
class MicroBatches:
    """The micro batches of one replica in one step.

    Attributes
    ----------
    variants : tuple of MicroBatch
        By length and attention, the shortest first.
    method : str
        How they came about, for reports.
    """

    variants: tuple[MicroBatch, ...]
    method: str

    @property
    def microbatches(self) -> int:
        """Micro batches in all."""
        return sum(v.count for v in self.variants)

    @property
    def useful_tokens(self) -> float:
        """Tokens that are not padding."""
        return sum(v.count * v.useful_tokens for v in self.variants)

    @property
    def computed_tokens(self) -> float:
        """Tokens, padding included."""
        return float(sum(v.count * v.tokens for v in self.variants))

    @property
    def efficiency(self) -> float:
        """Useful over computed tokens, in (0, 1]."""
        return self.useful_tokens / self.computed_tokens

    def order(self) -> npt.NDArray[np.int64]:
        """Return the variant of each micro batch of a step in order, int64[m].

        Multiples of the golden ratio, modulo 1, spread every variant evenly over the step, and
        mix long and short.
        """
        sorted_ = np.repeat(np.arange(len(self.variants)), [v.count for v in self.variants])
        return sorted_[np.argsort(np.arange(len(sorted_)) * GOLDEN % 1.0, kind="stable")]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "method": self.method,
            "microbatches": self.microbatches,
            "efficiency": self.efficiency,
            "useful_tokens": self.useful_tokens,
            "computed_tokens": self.computed_tokens,
            "variants": [asdict(v) for v in self.variants],
        }


def model_flop(spec: ModelSpec, batches: MicroBatches) -> float:
    """Return FLOP of forward and backward over useful tokens, without recomputation.

    Projections count each token once, attention the square of each sequence's length, as
    `transformer.model_flop_per_sequence` does for one sequence; padding is no work of the model.
    """
    token = transformer.model_flop_per_sequence(spec, 1)
    token -= 3.0 * transformer.attention_flop_per_sequence(spec, 1)
    useful = sum(v.count * v.useful_tokens for v in batches.variants)
    return token * useful + 3.0 * attention_flop(spec, batches)


def attention_flop(spec: ModelSpec, batches: MicroBatches) -> float:
    """Return FLOP of one forward pass of core attention over useful tokens.

    Sequences of a kind of micro batch count as if each had the length that a token meets in the
    mean (their squares over their tokens), which is exact where attention is the square.
    """
    total = 0.0
    for v in batches.variants:
        if v.useful_tokens:
            length = v.useful_squares / v.useful_tokens
            per_token = transformer.attention_flop_per_sequence(spec, length) / length
            total += v.count * v.useful_tokens * per_token
    return total


def micro_batches(
    lengths: Lengths, batching: Batching, microbatches: int, rows: int, *, path: Path = ()
) -> MicroBatches:
    """Return the micro batches of one replica in one step.

    Parameters
    ----------
    lengths : Lengths
        Distribution of sequence lengths.
    batching : Batching
    microbatches : int
        Micro batches in a step (m).
    rows : int
        Rows of a micro batch: sequences, or rows of packed sequences.
    path : tuple, optional
        Where the lengths stand, for errors.

    Raises
    ------
    WorkloadError
        DS237 for a sequence that is longer than a row, DS238 for edges that are no edges.
    """
    _check(lengths, batching, path)
    if batching.mode == "packed":
        return _packed(lengths, batching, microbatches, rows)
    if batching.seed is not None:
        found = _drawn(lengths, batching, microbatches, rows)
    elif batching.mode == "padded":
        found = _longest(lengths, microbatches, rows)
    else:
        found = _sorted(lengths, microbatches, rows)
    length = _rounded(found.length, batching)
    spread = 1.0 if batching.to_row else found.spread
    how = "padded to a row" if batching.to_row and batching.mode == "padded" else batching.mode
    return MicroBatches(
        _merged(length, rows, length * spread, found.useful, found.squares, batching),
        f"{how}, {'drawn' if batching.seed is not None else 'by parts of the distribution'}",
    )


class _Found(NamedTuple):
    """Of each micro batch: its longest sequence, its useful tokens, the sum of squared lengths.

    `spread` is the mean square of the longest over the square of its mean, where a micro batch
    stands for several.
    """

    length: Floats
    useful: Floats
    squares: Floats
    spread: Floats | float = 1.0


def _check(lengths: Lengths, batching: Batching, path: Path) -> None:
    row, edges = batching.row_length, batching.edges
    if lengths.longest > row:
        raise WorkloadError(
            "DS237",
            f"a sequence has {lengths.longest} tokens and a row {row}",
            path=path,
            value=lengths.longest,
            rule="the longest sequence <= batch.sequence_length",
            fix=f"set batch.sequence_length: {lengths.longest}, or cut the lengths",
        )
    if any(b <= a for a, b in zip((0, *edges), edges, strict=False)) or max(edges, default=0) > row:
        raise WorkloadError(
            "DS238",
            f"bucket edges {list(edges)} do not ascend from 1 to {row}",
            path=(*path[:-1], "bucket_edges"),
            value=list(edges),
            rule="0 < first edge < next edge < ... <= batch.sequence_length",
            fix="sort the edges and drop those that are too long",
        )


def _rounded(length: Floats, batching: Batching) -> Floats:
    """Return lengths as rows have them: to an edge or multiple, never beyond a row."""
    if batching.mode == "padded" and batching.to_row:
        return np.full_like(length, batching.row_length)
    out: Floats = batching.multiple * np.ceil(length / batching.multiple * (1 - SLACK))
    if batching.mode == "bucketed" and batching.edges:
        edges = np.asarray((*batching.edges, batching.row_length), dtype=np.float64)
        out = edges[np.searchsorted(edges, length * (1 - SLACK))]
    return np.minimum(out, batching.row_length)


def _parts(level: Floats, cumulative: Floats, parts: int) -> Floats:
    """Return the mean over each of so many equal parts of [0, 1].

    Parameters
    ----------
    level, cumulative : float64[k]
        A piecewise linear function from (0, 0), the integral of what is averaged.
    """
    bounds = np.arange(parts + 1) / parts
    values = np.interp(bounds, np.append(0.0, level), np.append(0.0, cumulative))
    means: Floats = np.diff(values) * parts
    return means


def _longest(lengths: Lengths, m: int, rows: int) -> _Found:
    """Return m equal parts of the distribution of the longest of so many sequences.

    The longest of b independent sequences is at most x with probability F(x)^b, and their sum,
    where none exceeds x, has the mean b F(x)^(b-1) times the sum of l p(l) over l <= x.
    """
    below = lengths.below
    level = below**rows
    some, step = rows * below ** (rows - 1), np.diff(level, prepend=0.0)
    longest, longest_square, useful, squares = (
        _parts(level, total, m)
        for total in (
            np.cumsum(lengths.length * step),
            np.cumsum(lengths.square * step),
            some * np.cumsum(lengths.length * lengths.weight),
            some * np.cumsum(lengths.square * lengths.weight),
        )
    )
    return _Found(longest, useful, squares, longest_square / longest**2)


def _sorted(lengths: Lengths, m: int, rows: int) -> _Found:
    """Return m equal parts of the sorted sequences, each as long as its longest."""
    upper = np.arange(1, m + 1) / m * (1 - SLACK)
    longest = lengths.length[np.searchsorted(lengths.below, upper)]
    useful, squares = (
        rows * _parts(lengths.below, np.cumsum(x * lengths.weight), m)
        for x in (lengths.length, lengths.square)
    )
    return _Found(longest, useful, squares)


def _drawn(lengths: Lengths, batching: Batching, m: int, rows: int) -> _Found:
    rng = np.random.default_rng(batching.seed)
    drawn = rng.choice(lengths.length, (m, rows), p=lengths.weight)
    if batching.mode == "bucketed":
        drawn = np.sort(drawn, axis=None).reshape(m, rows)
    return _Found(drawn.max(axis=1), drawn.sum(axis=1), (drawn**2).sum(axis=1))


def _packed(lengths: Lengths, batching: Batching, m: int, rows: int) -> MicroBatches:
    row = batching.row_length
    if batching.packing == "ideal":
        keys = lengths.mean_square / lengths.mean
        one = MicroBatch(row, rows, m, keys, float(rows * row), rows * row * keys)
        return MicroBatches((one,), "packed without any padding, a bound")
    tokens, squares = pack_rows(lengths, row)
    if batching.seed is not None:
        rng = np.random.default_rng(batching.seed)
        picked = rng.integers(len(tokens), size=(m, rows))
        useful, attended = tokens[picked].mean(axis=1), squares[picked].mean(axis=1)
    else:
        order = np.argsort(squares, kind="stable")
        level = np.arange(1, len(order) + 1) / len(order)
        sums = (np.cumsum(x[order]) / len(order) for x in (tokens, squares))
        # The mean of b rows deviates from that of all by 1/sqrt(b) of what one row does.
        useful, attended = (
            s[-1] + (_parts(level, s, m) - s[-1]) / rows**0.5 for s in map(np.asarray, sums)
        )
    length = np.full(m, float(row))
    how = "drawn" if batching.seed is not None else "by parts of the sorted rows"
    return MicroBatches(
        _merged(length, rows, attended / row, rows * useful, rows * attended, batching),
        f"packed by first fit of whole sequences, {how}",
    )


def _merged(
    length: Floats,
    rows: int,
    keys: Floats,
    useful: Floats,
    squares: Floats,
    batching: Batching,
) -> tuple[MicroBatch, ...]:
    """Return variants: micro batches that are alike, or that are merged to be few enough."""
    order = np.lexsort((squares, keys, length))
    length, keys, useful, squares = (x[order] for x in (length, keys, useful, squares))
    change = (np.diff(length) != 0) | (np.diff(keys) > SLACK * keys[1:])
    start = np.append(0, np.flatnonzero(change) + 1)
    if len(start) > batching.most_variants:
        bounds = np.linspace(0, len(length), batching.most_variants + 1)
        start = np.unique(np.rint(bounds[:-1]).astype(np.int64))
    count = np.diff(start, append=len(length))

    def mean(x: Floats) -> Floats:
        return np.add.reduceat(x, start) / count

    attention = mean(length * keys)
    multiple = 1 if batching.mode == "packed" else batching.multiple
    wide = multiple * np.ceil(mean(length) / multiple * (1 - SLACK))
    wide = np.minimum(wide, batching.row_length)
    return tuple(
        MicroBatch(int(w), rows, int(n), float(a / w), float(u), float(s))
        for w, n, a, u, s in zip(wide, count, attention, mean(useful), mean(squares), strict=True)
    )
