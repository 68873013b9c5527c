"""Examples of chapter 7: additive attention, dot-product attention, projections.

Additive attention between T steps of a decoder of q features and S states of c features, with a
hidden layer of a: 2 S c a once, and 2 (q a + S a + S c) FLOP a step (Bahdanau 2014, arXiv
1409.0473, appendix A.1.2). Dot products of n queries and keys of d features: 4 n^2 d.
"""

from __future__ import annotations

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-07")
ADDITIVE, DOT, QKV = "07-s2-additive-attention", "07-s3-dot-product", "07-04-qkv-projection"
LSTM, ENCODER, BERT = "06-s2-lstm-layer", "06-s2-transformer-layer", "04-s3-bert-base"
HEADS_8 = "06-x03-attention"
CATALOGUE, FP32 = "cluster.device=a100-80gb-sxm", "precision=fp32"
#: Sizes of section 7.2.
STEPS, STATE, WIDTH = 50, 512, 256
CORE = ("scores", "softmax", "context")
ATTENTION = ("attention_keys", "attention")
FUSED = ("stack=megatron-core", "model={base: bert-base, layers: 1, dropout: false}")
PEAK_FLOP_PER_S, BYTES_PER_S, GAP_S = 312e12, 2039e9, 3e-6


def batch(size: int) -> tuple[str, str]:
    return f"batch.micro_size={size}", f"batch.global_size={size}"


def total(name: str, key: str, only: tuple[str, ...], *changes: str) -> float:
    rows = [r for r in anatomy(name, *changes)["operators"] if r["operator"] in only]
    assert {r["operator"] for r in rows} == set(only)
    return float(sum(r["times"] * r[key] for r in rows))


def length(count: int) -> str:
    return f"batch.sequence_length={count}"


def additive_flop(steps: int) -> float:
    """FLOP of scores and contexts, as many steps on both sides."""
    once = 2 * steps * STATE * WIDTH
    return float(once + steps * 2 * (STATE * WIDTH + steps * WIDTH + steps * STATE))


def alignment_flop_of_the_book(steps: int) -> float:
    return 2.0 * steps * steps * WIDTH * (STATE + STATE + 3)


@pytest.mark.example("Section 7.1")
def test_section_7_1_memory_of_encoder_and_decoder() -> None:
    where, wide = "Section 7.1", "model.hidden=1024"
    simple = total(ADDITIVE, "saved_bytes", ("recurrence",), wide, "model.cell=rnn")
    assert simple == (50 + 50) * 1024 * 4
    PAGE.row(where, "states of simple cells", simple, 400 * 1024)
    lstm = total(ADDITIVE, "saved_bytes", ("recurrence",), wide)
    assert lstm == 6 * simple  # four gates, cell, output
    PAGE.row(where, "states of LSTMs, with what backward needs", lstm)
    for steps, book in ((50, 10e3), (1000, 4e6)):
        kept = operator(ADDITIVE, "attention", length(steps))["saved_bytes"]
        assert kept == steps * steps * (WIDTH + 1) * 4
        PAGE.row(where, f"weights, {steps:,} steps", kept / (WIDTH + 1), book)
    kept = operator(ADDITIVE, "attention", length(1000), *batch(32))["saved_bytes"]
    PAGE.row(where, "weights, 1,000 steps, 32 sequences", kept / (WIDTH + 1), 128e6)
    PAGE.row(where, "weights and tanh, 1,000 steps, 32 sequences", kept)


@pytest.mark.example("Section 7.2")
def test_section_7_2_additive_attention() -> None:
    where = "Section 7.2"
    parameters = total(ADDITIVE, "parameters", ATTENTION)
    assert parameters == WIDTH * (STATE + STATE) + WIDTH
    PAGE.row(where, "parameters", parameters, 262_400)
    flop = total(ADDITIVE, "forward_flop", ATTENTION)
    assert flop == additive_flop(STEPS)
    assert alignment_flop_of_the_book(STEPS) == pytest.approx(1.3e9, rel=0.02)
    PAGE.row(where, "FLOP of scores and contexts", flop, 1.3e9)
    states = operator(ADDITIVE, "recurrence")["saved_bytes"] / 6
    assert states == STEPS * STATE * 4
    PAGE.row(where, "states of the encoder", states, 102e3)
    kept = operator(ADDITIVE, "attention")["saved_bytes"]
    tanh = kept * WIDTH / (WIDTH + 1)
    assert tanh == STEPS * STEPS * WIDTH * 4
    PAGE.row(where, "kept tanh", tanh, 2.5e6)
    many = operator(ADDITIVE, "attention", *batch(32))["saved_bytes"]
    PAGE.row(where, "kept tanh, 32 sequences", many * WIDTH / (WIDTH + 1), 80e6)
    half = ("precision=fp16", *batch(32))
    attention = operator(ADDITIVE, "attention", *half)
    PAGE.row(where, "FLOP per byte, 16 bit", attention["flop_per_byte"], 5)
    seconds = total(ADDITIVE, "forward_s", ATTENTION, *half)
    assert seconds > STEPS * 5 * GAP_S  # five kernels a step, one after another
    share = 32 * flop / seconds / PEAK_FLOP_PER_S
    PAGE.row(where, "of the peak, 32 sequences, 16 bit", share, 0.15)


@pytest.mark.example("Section 7.3.2")
def test_section_7_3_2_dot_product() -> None:
    where, n, d = "Section 7.3.2", 512, 64
    dot = total(DOT, "forward_flop", ("scores", "context"))
    assert dot == 4 * n * n * d == 67_108_864
    PAGE.row(where, "FLOP of dot-product attention", dot, 67_108_864)
    additive = total(ADDITIVE, "forward_flop", ATTENTION, length(n))
    assert additive == additive_flop(n)
    assert alignment_flop_of_the_book(n) == pytest.approx(138e9, rel=0.01)  # not 69 G
    PAGE.row(where, "FLOP of additive attention", additive, 69e9)
    PAGE.row(where, "additive over dot product, FLOP", additive / dot, 1000)
    layer = total(HEADS_8, "forward_flop", ("qkv", "scores", "context", "attention_out"))
    assert layer == 8 * n * 512**2 + 4 * n * n * 512
    PAGE.row(where, "FLOP of a layer of 8 heads with projections", layer)
    scores = operator(DOT, "scores")
    assert scores["forward_flop"] == 2 * n * n * d != 67e6
    moved = 2 * (2 * n * d + n * n)
    assert scores["forward_bytes"] == moved
    PAGE.row(where, "FLOP of Q K^T", scores["forward_flop"], 67e6)
    PAGE.row(where, "FLOP per byte of Q K^T", scores["flop_per_byte"], 511)
    many = (*batch(32), CATALOGUE)
    dot_s = total(DOT, "forward_s", CORE, *many)
    half = ("precision=fp16", length(n), *batch(32))
    additive_s = total(ADDITIVE, "forward_s", ATTENTION, *half)
    # Energies of a step are an array of 32 x 512 x 256, read and written.
    assert additive_s > n * (2 * 32 * n * WIDTH * 2 / BYTES_PER_S)
    assert 32 * dot / 0.8e-3 == pytest.approx(2.7e12, rel=0.01)  # not 250 TFLOP/s
    PAGE.row(where, "time of dot products, 32 sequences", dot_s, 0.8e-3)
    PAGE.row(where, "time of additive attention, 32 sequences", additive_s, 15e-3)
    PAGE.row(where, "additive over dot product, time", additive_s / dot_s, 19)


@pytest.mark.example("Section 7.4")
def test_section_7_4_ways_to_score() -> None:
    where, n, d = "Section 7.4", 512, 512
    additive = total(ADDITIVE, "forward_flop", ATTENTION, length(n))
    assert n * n * 2 * WIDTH * (d + d) == pytest.approx(137e9, rel=0.01)  # the book's arithmetic
    PAGE.row(where, "FLOP of additive attention", additive, 137e9)
    PAGE.row(where, "FLOP of a pair", additive / n**2, 524_288)
    scores = operator(DOT, "scores")["forward_flop"]
    assert scores == 2 * n * n * 64
    PAGE.row(where, "FLOP of dot products, 64 features", scores, 33.5e6)
    without_contexts = additive - 2 * n * n * STATE
    PAGE.row(where, "additive over dot product", without_contexts / scores, 250)
    general = ("model.features=512", "model.outputs=512", *batch(512))
    product = operator("07-x02-scores", "predict", *general)
    assert product["forward_flop"] == 2 * n * d * d
    PAGE.row(where, "parameters of general attention", product["parameters"], 262_144)
    # W k for every key once, then the dot products: both of these sizes.
    PAGE.row(where, "FLOP of general attention", 2 * product["forward_flop"], 524_288 * n * n)
    fused = operator(DOT, "flash_attention", "stack=megatron-core")
    assert fused["flop_per_byte"] == 4 * n * n * 64 / (4 * 2 * n * 64)
    PAGE.row(where, "FLOP per byte of dot products, fused", fused["flop_per_byte"], 256)


@pytest.mark.example("Section 7.5.2")
def test_section_7_5_2_projections() -> None:
    where, n, d = "Section 7.5.2", 512, 768
    qkv = operator(ENCODER, "qkv")
    assert qkv["forward_flop"] == 6 * n * d * d
    PAGE.row(where, "FLOP of the projections", qkv["forward_flop"], 1_811_939_328)
    whole = total(ENCODER, "forward_flop", ("qkv", "scores", "context", "attention_out"))
    assert whole == 8 * n * d * d + 4 * n * n * d
    PAGE.row(where, "part of attention's FLOP", qkv["forward_flop"] / whole, 0.20)
    long = ("model.max_positions=4096", length(4096))
    core = total(ENCODER, "forward_flop", ("scores", "context"), *long)
    PAGE.row(
        where,
        "the same at 4,096 tokens",
        operator(ENCODER, "qkv", *long)["forward_flop"]
        / (core + total(ENCODER, "forward_flop", ("qkv", "attention_out"), *long)),
    )
    assert qkv["parameters"] == 3 * d * d + 3 * d
    PAGE.row(where, "parameters of a layer", qkv["parameters"], 1_769_472)
    every = total(BERT, "parameters", ("qkv",))
    PAGE.row(where, "parameters of 12 layers", every, 21.2e6)
    PAGE.row(where, "part of BERT-base", every / run(BERT).parameters, 0.19)


@pytest.mark.example("7.4")
def test_example_7_4_qkv_projection() -> None:
    where, n, d, head = "Example 7.4", 5, 512, 64
    qkv = operator(QKV, "qkv")
    assert qkv["forward_flop"] == 3 * 2 * n * d * head
    PAGE.row(where, "FLOP of three projections", qkv["forward_flop"], 983_040)
    PAGE.row(where, "FLOP of one", qkv["forward_flop"] / 3, 327_680)
    assert qkv["parameters"] == 3 * (d * head + head)
    PAGE.row(where, "parameters of one, with biases", qkv["parameters"] / 3, 32_768)
    weights = operator(QKV, "softmax")["saved_bytes"] / 2
    assert weights == n * n
    PAGE.row(where, "weights of attention", weights, 5 * 5)
    core = total(QKV, "forward_flop", ("scores", "context"))
    assert core == 4 * n * n * head
    PAGE.row(where, "FLOP of scores and context", core)


def layer_s(*changes: str) -> tuple[float, float]:
    """FLOP and seconds of the encoder layer: neither embeddings nor heads."""
    outside = ("embedding", "mlm", "lm_head", "cross_entropy", "pooler", "nsp")
    rows = anatomy(ENCODER, *changes)["operators"]
    inside = [r for r in rows if not r["operator"].startswith(outside)]
    return sum(r["forward_flop"] for r in inside), sum(r["forward_s"] for r in inside)


@pytest.mark.example("Section 7.6.1")
def test_section_7_6_1_steps_and_tokens() -> None:
    where, many, n, d = "Section 7.6.1", batch(32), 512, 768
    cell = ("input", "recurrence")
    flop, seconds = (total(LSTM, key, cell, *many) for key in ("forward_flop", "forward_s"))
    assert flop == 32 * n * 16 * d * d
    assert seconds > n * 2 * GAP_S
    layer_flop, fused_s = layer_s(*many, *FUSED)
    assert layer_flop == 32 * (24 * n * d * d + 4 * n * n * d)
    # The book's times and shares of the peak mean as many FLOP in both, of no whole layers.
    assert pytest.approx(3e-3 * 0.75) == 45e-3 * 0.05
    assert 45e-3 * 0.05 * PEAK_FLOP_PER_S / flop == pytest.approx(4.5, abs=0.05)
    assert 3e-3 * 0.75 * PEAK_FLOP_PER_S / layer_flop == pytest.approx(2.7, abs=0.05)
    _, plain_s = layer_s(*many)
    for what, ours, book in (
        ("LSTM layer", seconds, 45e-3),
        ("LSTM layer, of the peak", flop / seconds / PEAK_FLOP_PER_S, 0.05),
        ("encoder layer, fused kernels", fused_s, 3e-3),
        ("encoder layer, of the peak", layer_flop / fused_s / PEAK_FLOP_PER_S, 0.75),
        ("LSTM over encoder layer", seconds / fused_s, 15),
    ):
        PAGE.row(where, what, ours, book)
    PAGE.row(where, "LSTM over encoder layer, plain kernels", seconds / plain_s)


@pytest.mark.example("Section 7.6.2")
def test_section_7_6_2_bytes() -> None:
    where, n, d = "Section 7.6.2", 512, 64
    scores = operator(DOT, "scores")
    assert scores["flop_per_byte"] == 2 * n * n * d / (2 * (2 * n * d + n * n))
    assert (scores["bound"], 312e12 / 1.5e12) == ("memory", 208)
    PAGE.row(where, "FLOP of Q K^T", scores["forward_flop"], 33.5e6)
    PAGE.row(where, "bytes of Q K^T", scores["forward_bytes"], 131_072)
    PAGE.row(where, "FLOP per byte of Q K^T", scores["flop_per_byte"], 256)
    share = scores["forward_flop"] / scores["forward_s"] / PEAK_FLOP_PER_S
    assert share == pytest.approx(scores["flop_per_byte"] / 208)
    PAGE.row(where, "of the peak without losses", share, 0.80)
    weights = operator(BERT, "softmax", FP32)["saved_bytes"]
    assert weights == 32 * 12 * n * n * 4
    PAGE.row(where, "attention weights of BERT-base", weights, 402_653_184)
    for size, book in ((1, 1), (32, 10)):
        found = operator(LSTM, "recurrence", *batch(size))["flop_per_byte"]
        PAGE.row(where, f"FLOP per byte of LSTM steps, batch {size}", found, book)


@pytest.mark.example("Section 7.6.3")
def test_section_7_6_3_batches() -> None:
    where, n, d = "Section 7.6.3", 512, 64
    one, many = (operator(DOT, "scores", CATALOGUE, *batch(b)) for b in (1, 32))
    assert (one["forward_flop"], many["forward_flop"]) == (2 * n * n * d, 32 * 2 * n * n * d)
    assert 2 * (32 * n) ** 2 * d == pytest.approx(34.4e9, rel=0.002)  # every sequence with every
    PAGE.row(where, "FLOP of one sequence", one["forward_flop"], 33.5e6)
    PAGE.row(where, "FLOP of 32 sequences", many["forward_flop"], 34.4e9)
    assert one["forward_s"] > GAP_S + one["forward_bytes"] / BYTES_PER_S
    PAGE.row(where, "time of one sequence", one["forward_s"], 0.15e-3)
    PAGE.row(where, "time of 32 sequences", many["forward_s"], 120e-3)
    gain = 32 * one["forward_s"] / many["forward_s"]
    assert pytest.approx(0.04) == 32 / 120e-3 / (1 / 0.15e-3)  # the book's times: a loss
    PAGE.row(where, "sequences a second, 32 over one", gain, 40)


@pytest.mark.example("Exercise 7.2")
def test_exercise_7_2_scores() -> None:
    name, where = "07-x02-scores", "Exercise 7.2"
    scores = operator(name, "predict")
    assert scores["forward_flop"] == 2 * 10 * 64 * 20
    PAGE.row(where, "FLOP of Q K^T", scores["forward_flop"], 25_600)
    result = operator(name, "squared_error")["saved_bytes"] / 2 / 2  # results and targets, 16 bit
    assert result == 10 * 20
    PAGE.row(where, "elements of the attention matrix", result, 10 * 20)
    context = operator(name, "predict", "model.features=20", "model.outputs=128")["forward_flop"]
    assert context == 2 * 10 * 20 * 128
    PAGE.row(where, "FLOP of A V", context)
