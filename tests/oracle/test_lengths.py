"""Batches of sequences of different lengths: conserved tokens and squares, and closed forms."""

from __future__ import annotations

from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.errors import WorkloadError
from distsim.workload import transformer
from distsim.workload.attention_block import attention
from distsim.workload.catalogue import model
from distsim.workload.histogram import read_lengths
from distsim.workload.lengths import Batching, MicroBatches, micro_batches, model_flop
from distsim.workload.op import Fusion, Numerics
from distsim.workload.packing import first_fit, pack_rows, sample
from distsim.workload.shape import Shape

#: A busy machine takes longer, and is no failure.
RELAXED = settings(deadline=None)

MODES = ["padded", "bucketed", "packed"]
ROW = 512
#: Entries of histograms with lengths of at most ROW.
entries = st.one_of(
    st.tuples(st.integers(1, ROW), st.floats(0.01, 100)),
    st.tuples(st.integers(1, ROW // 2), st.integers(ROW // 2, ROW), st.floats(0.01, 100)),
)
histograms = st.lists(entries, min_size=1, max_size=6)


def attended(batches: MicroBatches) -> float:
    """Pairs of queries and keys that are computed."""
    return sum(v.count * v.tokens * v.segment_length for v in batches.variants)


def moments(histogram) -> tuple[float, float]:
    """Mean and mean square of the lengths, one whole length at a time."""
    weight = total = square = 0.0
    for *ends, w in histogram:
        low, high = ends[0], ends[-1]
        for length in range(low, high + 1):
            share = w / (high - low + 1)
            weight += share
            total += share * length
            square += share * length**2
    return total / weight, square / weight


@RELAXED
@given(histograms)
def test_a_histogram_keeps_its_mean_and_mean_square(histogram) -> None:
    lengths = read_lengths(histogram)
    assert (lengths.mean, lengths.mean_square) == pytest.approx(moments(histogram), rel=1e-9)
    assert lengths.longest == max(e[-2] for e in histogram)


def test_forms_of_a_histogram() -> None:
    a, b = read_lengths({"64": 1, 128: 3}), read_lengths([[128, 0.75], [64, 0.25]])
    assert a.length.tolist() == b.length.tolist() == [64, 128]
    assert a.weight.tolist() == b.weight.tolist() == [0.25, 0.75]


@RELAXED
@given(
    histograms,
    st.sampled_from(["padded", "bucketed"]),
    st.integers(1, 40),
    st.integers(1, 8),
    st.sampled_from([(), (64, 256), (ROW,)]),
    st.sampled_from([1, 8]),
    st.integers(1, 20),
)
def test_tokens_and_squares_are_those_of_the_distribution(
    histogram, mode, m, rows, edges, multiple, most
) -> None:
    batching = Batching(mode, ROW, edges=edges, multiple=multiple, most_variants=most)
    found = micro_batches(read_lengths(histogram), batching, m, rows)
    mean, square = moments(histogram)
    assert found.microbatches == m
    assert len(found.variants) <= most
    assert found.useful_tokens == pytest.approx(m * rows * mean, rel=1e-7)
    squares = sum(v.count * v.useful_squares for v in found.variants)
    assert squares == pytest.approx(m * rows * square, rel=1e-7)
    for v in found.variants:
        assert v.useful_tokens <= v.tokens * (1 + 1e-7)
        assert v.useful_squares <= v.tokens * v.segment_length * (1 + 1e-7)
        assert v.length <= ROW
        assert v.length % multiple == 0 or v.length in (*edges, ROW)


@pytest.mark.parametrize(("rows", "n"), [(1, 60), (2, 60), (4, 50), (32, 64)])
def test_padded_to_the_longest_of_independent_sequences(rows, n) -> None:
    """The largest of b numbers drawn from 1 to n has the mean sum over k < n of 1 - (k/n)^b."""
    m = 500
    found = micro_batches(
        read_lengths([[1, n, 1.0]]), Batching("padded", ROW, most_variants=m), m, rows
    )
    expected = sum(1 - (k / n) ** rows for k in range(n))
    square = sum(x**2 * ((x / n) ** rows - ((x - 1) / n) ** rows) for x in range(1, n + 1))
    mean = found.computed_tokens / (m * rows)
    assert expected <= mean <= expected + 1  # whole tokens
    assert attended(found) / (m * rows) == pytest.approx(square, rel=0.05)


def test_padding_to_the_row_costs_what_is_short_of_it() -> None:
    lengths = read_lengths([[100, 1], [300, 1]])
    found = micro_batches(lengths, Batching("padded", ROW, to_row=True), 8, 4)
    assert [v.length for v in found.variants] == [ROW]
    assert found.efficiency == pytest.approx(200 / ROW)
    assert attended(found) == pytest.approx(8 * 4 * ROW**2)


def test_buckets_pad_to_their_edges() -> None:
    """With many micro batches the computed tokens are those of the edges, by their shares."""
    histogram = [[1, 100, 0.5], [101, 200, 0.3], [201, 500, 0.2]]
    found = micro_batches(
        read_lengths(histogram), Batching("bucketed", 500, edges=(100, 200)), 1000, 4
    )
    assert [v.length for v in found.variants] == [100, 200, 500]
    assert [v.count for v in found.variants] == [500, 300, 200]
    assert found.computed_tokens == 4 * (500 * 100 + 300 * 200 + 200 * 500)
    # A micro batch that straddles an edge is padded to the upper one.
    few = micro_batches(read_lengths(histogram), Batching("bucketed", 500, edges=(100, 200)), 3, 4)
    assert [(v.length, v.count) for v in few.variants] == [(100, 1), (200, 1), (500, 1)]


@pytest.mark.parametrize("mode", MODES)
def test_sequences_of_one_length_need_no_padding(mode) -> None:
    found = micro_batches(read_lengths([[256, 1]]), Batching(mode, 256), 10, 3)
    (one,) = found.variants
    assert (one.length, one.sequences, one.count) == (256, 3, 10)
    assert one.segment_length == pytest.approx(256)
    assert found.efficiency == pytest.approx(1)


def test_merged_variants_keep_tokens_and_attention() -> None:
    lengths = read_lengths([[1, 64, 1.0], [65, 400, 0.3]])
    for mode in MODES:
        fine, coarse = (
            micro_batches(lengths, Batching(mode, ROW, most_variants=most), 1000, 2)
            for most in (1000, 5)
        )
        assert len(coarse.variants) == 5 < len(fine.variants)
        assert coarse.useful_tokens == pytest.approx(fine.useful_tokens)
        assert fine.computed_tokens <= coarse.computed_tokens <= fine.computed_tokens + 2 * 1000
        assert attended(coarse) == pytest.approx(attended(fine))


def _first_fit_by_hand(lengths: list[int], row: int) -> list[list[int]]:
    rows: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        home = next((r for r in rows if sum(r) + length <= row), None)
        if home is None:
            rows.append(home := [])
        home.append(length)
    return rows


@RELAXED
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(40, 100))
def test_first_fit_is_first_fit(lengths, row) -> None:
    """Rows, their tokens and squares are those of packing one sequence after another."""
    kinds, counts = np.unique(np.asarray(lengths), return_counts=True)
    tokens, squares = first_fit(kinds, counts, row)
    expected = _first_fit_by_hand(lengths, row)
    assert tokens.tolist() == [sum(r) for r in expected]
    assert squares.tolist() == [sum(x * x for x in r) for r in expected]
    # Nothing is lost, and first-fit-decreasing is within 11/9 of the fewest rows (Dósa 2007).
    assert tokens.sum() == sum(lengths)


@RELAXED
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_first_fit_is_near_the_fewest_rows(parts) -> None:
    """Sequences cut from full rows can fill those rows again: the fewest rows are known."""
    row, lengths = 60, []
    for n in parts:
        cuts = sorted({60 * (i * i + 1) // (n * n + 1) for i in range(n)} | {0, 60})
        lengths += [b - a for a, b in pairwise(cuts)]
    kinds, counts = np.unique(np.asarray(lengths), return_counts=True)
    tokens, _ = first_fit(kinds, counts, row)
    assert len(parts) <= len(tokens) <= 11 / 9 * len(parts) + 6 / 9


@RELAXED
@given(histograms, st.integers(1, 30), st.integers(1, 4))
def test_packed_rows_hold_whole_sequences(histogram, m, rows) -> None:
    lengths = read_lengths(histogram)
    found = micro_batches(lengths, Batching("packed", ROW), m, rows)
    ideal = micro_batches(lengths, Batching("packed", ROW, packing="ideal"), m, rows)
    assert found.microbatches == ideal.microbatches == m
    assert found.computed_tokens == ideal.computed_tokens == m * rows * ROW
    assert 0.5 <= found.efficiency <= ideal.efficiency * (1 + 1e-12)
    assert ideal.efficiency == pytest.approx(1)
    kinds, counts = sample(lengths, ROW)
    # The rows of the sample hold its tokens, whole.
    fill = (kinds @ counts) / (len(pack_rows(lengths, ROW)[0]) * ROW)
    assert found.efficiency == pytest.approx(fill)
    # Attention over useful tokens is the mean square over the mean length, whatever the packing.
    expected = (kinds.astype(float) ** 2 @ counts) / (kinds @ counts)
    assert attended(found) / found.useful_tokens == pytest.approx(expected)
    mean, square = moments(histogram)
    assert attended(ideal) / ideal.useful_tokens == pytest.approx(square / mean)


@pytest.mark.parametrize("segments", [(512,), (256, 256), (300, 100, 112), (400, 100)])
def test_attention_of_a_packed_row_is_that_of_its_sequences(segments) -> None:
    """4 a d l^2 FLOP a sequence, half of them masked: the sum over the sequences of a row."""
    spec, fusion = model("llama2-70b"), Fusion()
    keys = sum(s * s for s in segments) / ROW
    packed = attention(spec, Shape(3, ROW, Numerics(), fusion, segment_length=keys))
    expected = sum(2 * 3 * spec.heads * spec.head_dim * s * s for s in segments)
    assert sum(op.forward_flop for op in packed) == pytest.approx(expected)
    assert sum(op.backward_flop for op in packed) == pytest.approx(2.5 * expected)
    alone = [attention(spec, Shape(3, s, Numerics(), fusion)) for s in segments]
    assert expected == pytest.approx(sum(op.forward_flop for ops in alone for op in ops))
    (core,) = (op for op in packed if op.core_attention)
    assert core.query_elements == 3 * ROW * spec.heads * spec.head_dim
    assert core.key_elements == 3 * ROW * spec.kv_heads * spec.head_dim


def test_exchanged_elements_of_unfused_attention_count_once() -> None:
    spec = model("llama2-70b")
    ops = attention(spec, Shape(2, ROW, Numerics(), Fusion(flash_attention=False)))
    assert sum(op.query_elements for op in ops) == 2 * ROW * spec.hidden
    assert sum(op.key_elements for op in ops) == 2 * ROW * 8 * 128


@pytest.mark.parametrize("mode", MODES)
def test_model_flop_are_those_of_the_sequences(mode) -> None:
    spec, histogram = model("llama2-7b"), [[64, 3], [200, 2], [512, 1]]
    m, rows = 600, 2
    found = micro_batches(read_lengths(histogram), Batching(mode, ROW), m, rows)
    mean = sum(l * w for l, w in histogram) / 6  # noqa: E741
    sequences = found.useful_tokens / mean
    each = sum(w / 6 * transformer.model_flop_per_sequence(spec, l) for l, w in histogram)  # noqa: E741
    assert model_flop(spec, found) == pytest.approx(sequences * each, rel=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_draws_tend_to_the_distribution(mode) -> None:
    lengths = read_lengths([[1, 64, 1.0], [100, 400, 0.5]])
    exact = micro_batches(lengths, Batching(mode, ROW), 4000, 2)
    drawn = micro_batches(lengths, Batching(mode, ROW, seed=3), 4000, 2)
    again = micro_batches(lengths, Batching(mode, ROW, seed=3), 4000, 2)
    assert drawn == again != exact
    assert drawn.efficiency == pytest.approx(exact.efficiency, rel=0.03)
    assert attended(drawn) == pytest.approx(attended(exact), rel=0.05)


@pytest.mark.parametrize("rows", [1, 4])
def test_packed_micro_batches_differ_as_draws_of_rows_do(rows) -> None:
    """The mean of b independent rows deviates 1/sqrt(b) as far as one row."""
    lengths = read_lengths([[1, 64, 1.0], [100, 400, 0.5]])

    def deviation(seed: int | None) -> float:
        batching = Batching("packed", ROW, seed=seed, most_variants=4000)
        variants = micro_batches(lengths, batching, 4000, rows).variants
        keys = np.repeat([v.segment_length for v in variants], [v.count for v in variants])
        return float(keys.std())

    assert deviation(None) == pytest.approx(deviation(5), rel=0.05)


@RELAXED
@given(histograms, st.integers(1, 200))
def test_the_order_has_every_variant_spread_over_the_step(histogram, m) -> None:
    found = micro_batches(read_lengths(histogram), Batching("bucketed", ROW, most_variants=4), m, 1)
    order = found.order()
    assert np.bincount(order).tolist() == [v.count for v in found.variants]
    for start in range(0, m, ceil(m / 4)):
        part = order[start : start + ceil(m / 4)]
        for i, v in enumerate(found.variants):
            expected = v.count / m * len(part)
            assert abs(int((part == i).sum()) - expected) <= 4


BAD = [
    ([], "DS236"),
    ("512", "DS236"),
    (7, "DS236"),
    ([[512]], "DS236"),
    ([[0, 1]], "DS236"),
    ([[5, 4, 1]], "DS236"),
    ([[1.5, 1]], "DS236"),
    ([[True, 1]], "DS236"),
    ([[512, -1]], "DS236"),
    ([[512, 0]], "DS236"),
    ([[512, float("nan")]], "DS236"),
    ([["x", 1]], "DS236"),
    ([[ROW + 1, 1]], "DS237"),
]


@pytest.mark.parametrize(("histogram", "code"), BAD)
def test_bad_histograms(histogram, code) -> None:
    path = ("batch", "lengths")
    with pytest.raises(WorkloadError) as caught:
        micro_batches(read_lengths(histogram, path=path), Batching("packed", ROW), 4, 1, path=path)
    assert caught.value.code == code
    assert caught.value.path[:2] == path
    assert caught.value.rule and caught.value.fix


@pytest.mark.parametrize("edges", [(0, 5), (5, 5), (7, 3), (100, ROW + 1)])
def test_bad_edges(edges) -> None:
    with pytest.raises(WorkloadError) as caught:
        micro_batches(
            read_lengths([[5, 1]]), Batching("bucketed", ROW, edges=edges), 4, 1,
            path=("batch", "lengths"),
        )  # fmt: skip
    assert caught.value.code == "DS238"
    assert caught.value.path == ("batch", "bucket_edges")
