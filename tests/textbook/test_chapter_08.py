"""Examples of chapter 8: self-attention and multi-head attention.

Sizes of BERT base: n = 512 tokens, d = 768 features, h = 12 heads of 64, batches of 32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.textbook.book import Page, anatomy, operator

PAGE = Page("chapter-08")
BERT, LENGTHS = "08-02-bert-attention", "08-s4-bert-lengths"
N, D, H, HEAD, BATCH = 512, 768, 12, 64, 32
FP32, ONE, FUSED = "precision=fp32", "batch.micro_size=1", "stack=megatron-core"
#: Core attention, where the array of scores is written.
CORE = ("scores", "softmax", "attention_dropout", "context")
A100_FLOP_PER_S, A100_BYTES_PER_S = 312e12, 1555e9


def tokens(count: int) -> str:
    return f"batch.sequence_length={count}"


def layer(name: str, *changes: str) -> list[Mapping[str, Any]]:
    """Operators of an encoder layer; BERT base has twelve of them."""
    return [r for r in anatomy(name, *changes)["operators"] if r["times"] == 12]


def total(rows: Iterable[Mapping[str, Any]], key: str, only: tuple[str, ...] = ()) -> float:
    return float(sum(r[key] for r in rows if not only or r["operator"] in only))


def forward_s(name: str, *changes: str) -> float:
    """Seconds of all kernels of a forward pass on the device."""
    return float(sum(r["times"] * r["forward_s"] for r in anatomy(name, *changes)["operators"]))


@pytest.mark.example("Section 8.1.1")
def test_section_8_1_1_bytes_of_attention_weights() -> None:
    long = ("model.max_positions=4096", FP32)
    weights = {
        n: operator(BERT, "softmax", tokens(n), *long)["saved_bytes"] for n in (N, 2048, 4096)
    }
    assert weights == {n: BATCH * H * n * n * 4 for n in weights}
    one = operator(BERT, "softmax", FP32, ONE, "batch.global_size=1")["saved_bytes"] / H
    for what, ours, book in (
        ("weights of one head", one, N * N * 4),
        ("weights of 32 sequences", weights[N], 12 * 32 * 2**20),
        ("the same at 2,048 tokens", weights[2048], 16 * 12 * 32 * 2**20),
        ("the same at 4,096 tokens", weights[4096], 4096**2 * 4 * 12 * 32),
    ):
        assert ours == book, what
        PAGE.row("Section 8.1.1", what, ours, book)
    # Dropout keeps its result and a byte of mask beside the weights.
    kept = total(layer(BERT, FP32), "saved_bytes", ("softmax", "attention_dropout"))
    assert kept == BATCH * H * N * N * (4 + 4 + 1)
    PAGE.row("Section 8.1.1", "kept by a layer in training", kept, 384 * 2**20)
    PAGE.row("Section 8.1.1", "kept by 12 layers", 12 * kept)


@pytest.mark.example("Section 8.1.1")
def test_section_8_1_1_intensity_of_scores() -> None:
    scores = operator(BERT, "scores")
    flop, read = 2 * N * N * HEAD, 2 * N * HEAD * 2
    assert (flop, read) == (33_554_432, 131_072)
    assert scores["forward_flop"] == BATCH * H * flop
    PAGE.row("Section 8.1.1", "FLOP of Q K^T, one head", scores["forward_flop"] / BATCH / H, flop)
    # The book leaves out the result, four times as large as both operands.
    assert flop / read == 256
    assert scores["flop_per_byte"] == pytest.approx(flop / (read + N * N * 2))
    assert scores["bound"] == "memory"
    assert scores["flop_per_byte"] < A100_FLOP_PER_S / A100_BYTES_PER_S < flop / read
    PAGE.row("Section 8.1.1", "FLOP per byte of Q K^T", scores["flop_per_byte"], 256)


@pytest.mark.example("8.2")
def test_example_8_2_parameters_of_bert_attention() -> None:
    qkv, out = (operator(BERT, op)["parameters"] for op in ("qkv", "attention_out"))
    weights = 3 * H * D * HEAD, D * D
    assert weights == (1_769_472, 589_824)
    assert (qkv, out) == (weights[0] + 3 * D, weights[1] + D)
    PAGE.row("Example 8.2", "queries, keys and values", qkv, weights[0])
    PAGE.row("Example 8.2", "output projection", out, weights[1])
    PAGE.row("Example 8.2", "attention layer", qkv + out, 2_359_296)
    # Without biases, in the layers of the original transformer.
    bare = [operator("10-01-encoder-layer", op)["parameters"] for op in ("qkv", "attention_out")]
    assert tuple(bare) == weights
    PAGE.row("Example 8.2", "attention layer without biases", sum(bare), sum(weights))


@pytest.mark.example("Section 8.2.2")
def test_section_8_2_2_traffic_of_attention() -> None:
    array = BATCH * N * D * 2
    assert (array, 3 * array) == (25_165_824, 75_497_472)
    qkv = operator(BERT, "qkv", FUSED)["forward_bytes"]
    assert qkv == array + 3 * array + 3 * D * D * 2
    PAGE.row("Section 8.2.2", "traffic of the QKV product", qkv, 4 * array)
    fused = operator(BERT, "flash_attention", FUSED)["forward_bytes"]
    assert fused == 4 * array
    PAGE.row("Section 8.2.2", "core attention, fused", fused, 100e6)
    PAGE.row("Section 8.2.2", "the same, 12 layers", 12 * fused, 1.2e9)
    # Unfused: scores written; read, written; read, written, a mask; read. Join of heads: 2 arrays.
    scores = BATCH * H * N * N
    unfused = total(layer(BERT), "forward_bytes", CORE)
    assert unfused == scores * (2 + 4 + 5 + 2) + array * (2 + 2 + 2)
    PAGE.row("Section 8.2.2", "core attention, unfused", unfused, 100e6)


@pytest.mark.example("Section 8.2.2")
def test_section_8_2_2_time_of_a_forward_pass() -> None:
    rows = layer(BERT, FUSED)
    flop = 12 * total(rows, "forward_flop")
    assert flop == 12 * BATCH * (24 * N * D * D + 4 * N * N * D)
    least_s, ours_s = flop / A100_FLOP_PER_S, 12 * total(rows, "forward_s")
    assert 3e-3 < 9.8e-3 < least_s < ours_s
    PAGE.row("Section 8.2.2", "forward pass of 12 layers", ours_s, 3e-3)
    PAGE.row("Section 8.2.2", "the same at the peak rate", least_s)


@pytest.mark.example("Section 8.2.2")
def test_section_8_2_2_one_head_or_twelve() -> None:
    one, twelve = layer(BERT, "model.heads=1"), layer(BERT)
    flop = [total(r, "forward_flop", ("scores",)) / BATCH for r in (one, twelve)]
    assert flop == [2 * N * N * D] * 2 == [402_653_184] * 2
    PAGE.row("Section 8.2.2", "FLOP of scores, 12 heads", flop[1], 12 * 33_554_432)
    PAGE.row("Section 8.2.2", "FLOP of scores, one head", flop[0], 402_653_184)
    seconds = [total(r, "forward_s", CORE) for r in (one, twelve)]
    written = [total(r, "saved_bytes", ("softmax",)) for r in (one, twelve)]
    assert written[1] == 12 * written[0] == BATCH * H * N * N * 2
    assert seconds[1] > 5 * seconds[0]
    PAGE.row("Section 8.2.2", "core attention, 12 heads", seconds[1])
    PAGE.row("Section 8.2.2", "core attention, one head", seconds[0])
    fused = [operator(BERT, "flash_attention", FUSED, f"model.heads={h}") for h in (1, 12)]
    assert fused[0]["forward_flop"] == fused[1]["forward_flop"]


@pytest.mark.example("Section 8.3.1")
def test_section_8_3_1_learned_positions() -> None:
    table = operator(BERT, "embedding_positions")["parameters"]
    assert table == N * D
    assert N * D * 4 == 1_572_864
    PAGE.row("Section 8.3.1", "table of positions", table * 4, 1_572_864)


@pytest.mark.example("Section 8.4.1")
def test_section_8_4_1_weights_against_queries_keys_values() -> None:
    long = ("model.max_positions=2048", FP32)

    def kept(n: int, *ops: str) -> float:
        return total(layer(BERT, tokens(n), *long), "saved_bytes", ops)

    qkv = kept(N, "scores", "context")
    assert qkv == 3 * 32 * 12 * 512 * 64 * 4 == 150_994_944
    PAGE.row("Section 8.4.1", "attention weights", kept(N, "softmax"), 402_653_184)
    PAGE.row("Section 8.4.1", "queries, keys and values", qkv, 150_994_944)
    for n, book in ((1024, 1.5 * 2**30), (2048, 6 * 2**30)):
        assert kept(n, "softmax") == 4 * 32 * 12 * n * n == book
        PAGE.row("Section 8.4.1", f"attention weights at {n:,} tokens", kept(n, "softmax"), book)
    equal = [n for n in range(64, 321, 64) if kept(n, "softmax") == kept(n, "scores", "context")]
    assert equal == [3 * HEAD]
    PAGE.row("Section 8.4.1", "tokens at which both are equal", equal[0], 192)
