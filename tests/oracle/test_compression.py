"""Compressed gradients against published ratios, and against real codes in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.collectives.algorithms import pattern
from distsim.errors import ValueProblem
from distsim.parallel.compression import COMPRESSIONS, Options, TopK, compression
from distsim.workload.op import Numerics
from distsim.workload.optimizer import Matrix

FP32 = Numerics("bf16")  # gradients in fp32
NARROW = Numerics("bf16", gradient_bytes=2)

#: ResNet-18 for CIFAR-10 as matrices, and elements of its vectors (Vogels 2019, appendix F).
RESNET18 = [
    Matrix(64, 27),
    Matrix(64, 576, 4),
    Matrix(128, 576),
    Matrix(128, 1152, 3),
    Matrix(128, 64),
    Matrix(256, 1152),
    Matrix(256, 2304, 3),
    Matrix(256, 128),
    Matrix(512, 2304),
    Matrix(512, 4608, 3),
    Matrix(512, 256),
    Matrix(10, 512),
]
VECTORS = 9610
TOTAL = sum(m.elements for m in RESNET18) + VECTORS


def _sent(name: str, elements: float, ranks: int, options: Options | None = None) -> float:
    """Bytes that one rank sends, by the flows of the collectives' own schedules."""
    algorithm = {"all_to_all": "direct"}
    return sum(
        size * pattern(c, algorithm.get(c, "ring"), (ranks,)).fraction.sum() / ranks
        for c, size in compression(name, options or Options()).exchanges(elements, ranks)
    )


@pytest.mark.parametrize(("rank", "published"), [(1, 243), (2, 136), (4, 72)])
def test_powersgd_on_resnet18_is_as_published(rank, published):
    """Ratios of Vogels 2019, table 3."""
    found = compression("powersgd", Options(rank=rank, matrices=RESNET18, parameters=TOTAL))
    sent = sum(size for _, size in found.exchanges(TOTAL, 16))
    assert 4 * TOTAL / sent == pytest.approx(published, rel=0.005)


def test_powersgd_sends_its_factors():
    """One step of the algorithm: the factors are the arrays that are summed."""
    rng = np.random.default_rng(3)
    m, q = rng.standard_normal((300, 200)), rng.standard_normal((200, 4))
    p = np.linalg.qr(m @ q)[0].astype(np.float32)
    right = (m.T @ p).astype(np.float32)
    residual = (m - p @ right.T).astype(np.float32)
    assert np.linalg.norm(residual) < np.linalg.norm(m)
    found = compression("powersgd", Options(rank=4, matrices=[Matrix(300, 200)]))
    first, second = found.exchanges(300 * 200, 8)
    assert (first.collective, first.size_bytes) == ("all_reduce", pytest.approx(p.nbytes))
    assert (second.collective, second.size_bytes) == ("all_reduce", pytest.approx(right.nbytes))
    assert found.state_bytes(300 * 200) == pytest.approx(residual.nbytes + right.nbytes)


def test_powersgd_leaves_alone_what_would_not_shrink():
    """Vectors, and a matrix with fewer elements than its factors, are sent whole."""
    options = Options(rank=4, matrices=[Matrix(5, 10)], parameters=100)
    found = compression("powersgd", options)
    assert [size for _, size in found.exchanges(100, 8)] == [400, 0]
    assert sum(w.stream_bytes for w in found.compress(100, FP32)) == 0
    assert found.state_bytes(100) == 0


def test_deep_gradient_compression_stays_under_the_bound_of_its_encoding():
    """32-bit values and 16-bit run lengths, 0.1 %: at most 667 times.

    Lin 2018: ResNet-50 from 97 MB to 0.35 MB, DeepSpeech from 488 MB to 0.74 MB (abstract).
    """
    sent = TopK("topk", density=0.001, index_bytes=2.0).wire_bytes(1e9, 1)
    assert 4e9 / sent == pytest.approx(2000 / 3)
    assert max(97 / 0.35, 488 / 0.74) < 4e9 / sent


def test_a_selection_is_what_is_gathered_from_every_rank():
    g = np.random.default_rng(4).standard_normal((8, 10_000)).astype(np.float32)
    places = np.argpartition(-np.abs(g), 100, axis=1)[:, :100].astype(np.int32)
    values = np.take_along_axis(g, places, 1)
    (gathered,) = compression("topk", Options(density=0.01)).exchanges(10_000, 8)
    assert gathered == ("all_gather", values.nbytes + places.nbytes)
    residual = g[0].copy()
    residual[places[0]] = 0
    assert compression("topk").state_bytes(10_000) == residual.nbytes


@given(st.integers(2, 512))
def test_a_selection_beats_an_all_reduce_only_below_one_over_ranks(ranks):
    for factor, less in ((0.99, True), (1.01, False)):
        options = Options(density=factor / ranks)
        gain = _sent("none", 1e6, ranks) / _sent("topk", 1e6, ranks, options)
        assert gain == pytest.approx(1 / factor) and (gain > 1) == less


@given(st.integers(2, 64), st.floats(1e3, 1e12))
def test_int8_sends_what_a_ring_all_reduce_of_its_codes_would(ranks, elements):
    """2 (n - 1)/n of the codes: a quarter of fp32, half of bf16, but for the scales."""
    codes = elements * (1 + 4 / 2048)
    assert _sent("int8", elements, ranks) == pytest.approx(2 * (ranks - 1) / ranks * codes)
    assert _sent("none", elements, ranks) / _sent("int8", elements, ranks) == pytest.approx(
        4, rel=0.002
    )
    assert _sent("bf16", elements, ranks) / _sent("int8", elements, ranks) == pytest.approx(
        2, rel=0.002
    )


def test_int8_codes_and_scales():
    """Blocks of 2048 with the largest value as scale: the arrays, and their error."""
    g = np.random.default_rng(5).standard_normal((50, 2048)).astype(np.float32)
    scales = np.abs(g).max(1, keepdims=True).astype(np.float32)
    codes = np.round(g / scales * 127).astype(np.int8)
    assert np.abs(codes / 127 * scales - g).max() <= scales.max() / 254 * 1.01
    assert compression("int8").wire_bytes(g.size, 8) == codes.nbytes + scales.nbytes
    (kernel,) = compression("int8").compress(g.size, FP32)
    assert kernel.stream_bytes == g.nbytes + codes.nbytes + scales.nbytes


def test_int8_is_summed_in_full_precision_by_owners():
    """A rank reads the codes of its share from all, writes new ones, and unpacks all shares."""
    n, ranks = 2048 * 64, 8
    code = n * (1 + 4 / 2048)
    whole = compression("int8").decompress(n, ranks, FP32)
    assert [w.stream_bytes for w in whole] == [code + code / ranks, code + 4 * n]
    (share,) = compression("int8").decompress(n, ranks, FP32, scattered=True)
    assert share.stream_bytes == code + 4 * n / ranks
    assert [e.collective for e in compression("int8").exchanges(n, ranks, scattered=True)] == [
        "all_to_all"
    ]


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_16_bit_is_a_cast_each_way_and_half_the_bytes(name):
    found = compression(name)
    assert found.exchanges(1e6, 8) == (("all_reduce", 2e6),)
    assert found.exchanges(1e6, 8, scattered=True) == (("reduce_scatter", 2e6),)
    assert [w.stream_bytes for w in found.compress(1e6, FP32)] == [6e6]
    assert [w.stream_bytes for w in found.decompress(1e6, 8, FP32)] == [6e6]
    assert found.compress(1e6, NARROW) == () == found.decompress(1e6, 8, NARROW)
    assert _sent("none", 1e6, 8) == pytest.approx(2 * _sent(name, 1e6, 8))


def test_none_changes_nothing():
    found = compression("none", Options(reduce_bytes=2))
    assert found.exchanges(1e6, 8) == (("all_reduce", 2e6),)
    assert found.compress(1e6, FP32) == () == found.decompress(1e6, 8, FP32)
    assert found.state_bytes(1e6) == 0


@given(st.integers(2, 1024), st.floats(1e-4, 1.0))
def test_top_k_moves_no_less_than_it_reads_and_no_more_than_dense_sums_would(ranks, density):
    """Bounds of the kernels: every gradient and residual once; entries of all ranks, dense."""
    n, found = 1e6, compression("topk", Options(density=density))
    before = sum(w.stream_bytes for w in found.compress(n, FP32))
    assert before >= (4 + 8 + 4) * n
    after = sum(w.stream_bytes for w in found.decompress(n, ranks, FP32))
    entries = ranks * density * n
    assert 4 * n + 16 * entries * (1 - 1e-12) <= after
    assert after <= 4 * n + 8 * entries + 8 * ranks * n * (1 + 1e-12)


def test_powersgd_reads_a_matrix_for_each_product():
    """M for P, M for Q, and M, its residual and the result at the end: the least there is."""
    n = 4096.0 * 4096
    found = compression("powersgd", Options(rank=2, matrices=[Matrix(4096, 4096)]))
    works = (*found.compress(n, FP32), *found.decompress(n, 8, FP32))
    least = (4 + 8) * n + 4 * n + 4 * n + (4 + 8) * n
    assert sum(w.stream_bytes for w in works) == pytest.approx(least, rel=0.01)
    assert sum(w.stream_bytes for w in works) > least


@pytest.mark.parametrize("name", list(COMPRESSIONS))
def test_every_compression_answers_everything(name):
    found = compression(name, Options(matrices=[Matrix(1000, 1000)]))
    assert found.name == name
    for scattered in (False, True):
        (first, *_) = found.exchanges(1e6, 4, scattered=scattered)
        assert first.size_bytes == found.wire_bytes(1e6, 4)
        assert first.collective == found.collective or scattered
        works = found.decompress(1e6, 4, FP32, scattered=scattered)
        assert all(w.stream_bytes >= 0 for w in works)
    assert (name == "none") or found.source


@pytest.mark.parametrize(
    ("name", "options", "code", "text"),
    [
        ("top-k", Options(), "DS248", "did you mean 'topk'"),
        ("topk", Options(density=0.0), "DS249", "density is 0.0"),
        ("topk", Options(density=1.5), "DS249", "0 < density <= 1"),
        ("topk", Options(density=float("nan")), "DS249", "density is nan"),
        ("powersgd", Options(rank=0), "DS249", "rank >= 1"),
    ],
)
def test_compressions_that_cannot_be(name, options, code, text):
    with pytest.raises(ValueProblem, match=text) as caught:
        compression(name, options)
    assert caught.value.code == code
