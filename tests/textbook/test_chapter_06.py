"""Examples of chapter 6: recurrent networks, and transformers beside them.

A cell of G gates from d to h features takes 2 G h (d + h) FLOP a step; an encoder layer of d
features, n tokens and a feed-forward block of 4 d takes 24 n d^2 + 4 n^2 d.
"""

from __future__ import annotations

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-06")
LSTM, ENCODER = "06-s2-lstm-layer", "06-s2-transformer-layer"
BIG_LSTM, BERT = "06-s6-lstm-110m", "06-s6-bert-base"
RECURRENT, ATTENTION = "06-x03-recurrent", "06-x03-attention"
N, D, HEADS = 512, 768, 12
FP32 = "precision=fp32"
CELL = ("input", "recurrence")
CORE = ("qkv", "scores", "context", "attention_out")
PEAK_FLOP_PER_S, BYTES_PER_S, GAP_S = 312e12, 2039e9, 3e-6
#: The fused kernels of a training library; dropout is off.
FUSED = ("stack=megatron-core", "model={base: bert-base, layers: 1, dropout: false}")


def batch(size: int) -> tuple[str, str]:
    return f"batch.micro_size={size}", f"batch.global_size={size}"


def total(name: str, key: str, only: tuple[str, ...], *changes: str) -> float:
    rows = [r for r in anatomy(name, *changes)["operators"] if r["operator"] in only]
    assert {r["operator"] for r in rows} == set(only)
    return float(sum(r["times"] * r[key] for r in rows))


def layer(key: str, *changes: str) -> float:
    """Sum over the operators of the encoder layer: neither embeddings nor heads."""
    outside = ("embedding", "mlm", "lm_head", "cross_entropy", "pooler", "nsp")
    rows = anatomy(ENCODER, *changes)["operators"]
    return float(sum(r[key] for r in rows if not r["operator"].startswith(outside)))


@pytest.mark.example("6.2")
def test_example_6_2_lstm_parameters() -> None:
    where, d, h = "Example 6.2", 512, 1024
    ours = total("06-02-lstm", "parameters", CELL)
    assert ours == 4 * h * (d + h) + 8 * h
    book = 4 * ((d + h) * h + h)
    assert book == 6_295_552
    PAGE.row(where, "parameters", ours, book)
    weights = total("06-02-lstm", "parameters", CELL, "model.bias=false")
    assert weights == 4 * 1_572_864
    PAGE.row(where, "weights", weights, 4 * 1_572_864)
    wide = ("model.hidden=1024", "model.heads=16")
    attention = total(ATTENTION, "parameters", ("qkv", "attention_out"), *wide)
    assert attention == 4 * h * h + 4 * h
    PAGE.row(where, "attention of 1,024 features", attention)


@pytest.mark.example("Section 6.2.1")
def test_section_6_2_1_cost_of_an_lstm() -> None:
    where = "Section 6.2.1"
    flop = total(LSTM, "forward_flop", CELL)
    assert flop == N * 8 * D * (D + D)
    PAGE.row(where, "FLOP of a step", flop / N, 9_437_184)
    PAGE.row(where, "FLOP of a sequence", flop, 4_831_838_208)
    core = total(ENCODER, "forward_flop", CORE)
    mlp = total(ENCODER, "forward_flop", ("mlp_up", "mlp_down"))
    assert (core, mlp) == (8 * N * D * D + 4 * N * N * D, 16 * N * D * D)
    PAGE.row(where, "FLOP of attention", core, 12.9e9)
    PAGE.row(where, "FLOP of the feed-forward block", mlp, 9.4e9)
    PAGE.row(where, "FLOP of an encoder layer", core + mlp, 22.3e9)
    PAGE.row(where, "encoder layer over LSTM, FLOP", (core + mlp) / flop, 4.6)
    lstm_s, layer_s = total(LSTM, "forward_s", CELL), layer("forward_s")
    # Two kernels a step with a gap each; weights of the states read each time, 16 bit.
    assert lstm_s > N * (2 * GAP_S + 2 * 4 * D * D / BYTES_PER_S)
    PAGE.row(where, "time of a step", lstm_s / N, 3e-6)
    PAGE.row(where, "time of the LSTM layer", lstm_s, 1.5e-3)
    assert layer_s > (core + mlp) / PEAK_FLOP_PER_S
    PAGE.row(where, "time of the encoder layer", layer_s, 100e-6)
    PAGE.row(where, "the same with fused kernels", layer("forward_s", *FUSED))
    assert (round(512 / 100), round(1536 / 50)) == (5, 31)
    PAGE.row(where, "LSTM over encoder layer, time", lstm_s / layer_s, 30)
    many = (*batch(32), FP32)
    kept = operator(LSTM, "recurrence", *many)["saved_bytes"]
    state = 4 * 32 * N * D
    assert kept == 6 * state  # four gates, cell, output
    PAGE.row(where, "kept by the LSTM, 32 sequences", kept, 2 * state)
    scores = operator(ENCODER, "softmax", *many)["saved_bytes"]
    assert scores == 4 * 32 * HEADS * N * N
    PAGE.row(where, "scores of the encoder layer", scores, 384 * 2**20)


def tokens(count: int) -> tuple[str, str]:
    return f"model.max_positions={count}", f"batch.sequence_length={count}"


@pytest.mark.example("Section 6.6.1")
def test_section_6_6_1_long_sequences() -> None:
    where = "Section 6.6.1"
    base_lstm, base = total(LSTM, "forward_s", CELL), layer("forward_flop")
    for count, lstm_book, layer_book in ((2048, 6e-3, 400e-6), (4096, 12e-3, 1600e-6)):
        steps = f"batch.sequence_length={count}"
        lstm = total(LSTM, "forward_s", CELL, steps)
        assert lstm == pytest.approx(base_lstm * count / N, rel=0.01)
        PAGE.row(where, f"LSTM layer, {count:,} steps", lstm, lstm_book)
        mine = layer("forward_s", *tokens(count))
        PAGE.row(where, f"encoder layer, {count:,} tokens", mine, layer_book)
        PAGE.row(where, f"LSTM over encoder layer, {count:,}", lstm / mine, 30)
    long = layer("forward_flop", *tokens(4096))
    assert long == 24 * 4096 * D * D + 4 * 4096**2 * D
    PAGE.row(where, "FLOP of an encoder layer, 4,096 over 512", long / base, 8)


@pytest.mark.example("Section 6.6.2")
def test_section_6_6_2_bytes() -> None:
    where = "Section 6.6.2"
    scores = operator(ENCODER, "softmax", *batch(32), FP32, *tokens(2048))["saved_bytes"]
    assert scores == 4 * 32 * HEADS * 2048**2
    PAGE.row(where, "scores of a layer at 2,048 tokens", scores, 6.1e9)
    PAGE.row(where, "scores of 12 layers", 12 * scores, 73.7e9)
    recurrence = operator(LSTM, "recurrence", FP32)["forward_bytes"]
    weights = 4 * N * 4 * D * D
    # Beside the weights: state in, four gates out, and 15 arrays of the elementwise kernel.
    assert recurrence == weights + 4 * N * (1 + 4 + 15) * D
    PAGE.row(where, "bytes of the recurrence", recurrence, 4 * N * D * D)
    projections = 4 * operator(ENCODER, "qkv")["parameters"]
    assert projections == 4 * (3 * D * D + 3 * D)
    PAGE.row(where, "weights of Q, K and V", projections, 7_077_888)
    PAGE.row(where, "recurrence over Q, K and V", weights / (4 * 3 * D * D), 170)
    many = operator(LSTM, "recurrence", FP32, *batch(32))["forward_bytes"]
    assert many == weights + 32 * (recurrence - weights)
    PAGE.row(where, "bytes of the recurrence, 32 sequences", many, 36.8e9)


#: Sequences of 512 in 16 billion tokens, and the rate of the book's 64 TPU cores.
SEQUENCES, CORES_FLOP_PER_S = 16e9 / 512, 64 * 45e12


@pytest.mark.example("Section 6.6.3")
def test_section_6_6_3_training_time() -> None:
    where = "Section 6.6.3"
    one = total(LSTM, "parameters", CELL)
    assert one == 8 * D * D + 8 * D
    PAGE.row(where, "parameters of a layer", one, 4_718_592)
    every = run(BIG_LSTM).parameters
    assert every == 23 * one + D + 1
    PAGE.row(where, "parameters of 23 layers", every, 110e6)
    parts = anatomy(BIG_LSTM)
    forward, both = parts["forward_flop"] / 4, parts["forward_and_backward_flop"] / 4
    assert forward == 23 * N * 16 * D * D + 2 * D
    assert both == 3 * forward - 8 * N * D * D  # the first input is data
    PAGE.row(where, "FLOP of a sequence, forward", forward, 110.4e9)
    PAGE.row(where, "FLOP of a sequence, training", both, 110.4e9)
    PAGE.row(where, "FLOP of 16 billion tokens", SEQUENCES * both, 3.45e18)
    assert pytest.approx(1_198, rel=1e-3) == 3.45e18 / CORES_FLOP_PER_S  # not 1,197,917
    peak_s = SEQUENCES * both / CORES_FLOP_PER_S
    PAGE.row(where, "time at the peak of 64 TPU cores", peak_s, 14 * 86400)
    PAGE.row(where, "time at 3 % of it", peak_s / 0.03, 467 * 86400)
    lstm, bert = run(BIG_LSTM), run(BERT)
    steps = SEQUENCES / 256
    PAGE.row(where, "LSTM on 64 A100", steps * lstm.step_s)
    PAGE.row(where, "BERT-base on 64 A100", steps * bert.step_s)
    PAGE.row(where, "LSTM over BERT-base, time", lstm.step_s / bert.step_s, 25)
    PAGE.row(where, "LSTM, of the peak", lstm.mfu, 0.03)
    PAGE.row(where, "BERT-base, of the peak", bert.mfu)
    # A million steps of 256 sequences (Devlin 2019, appendix A.2), at most 131 billion tokens.
    assert pytest.approx(131e9, rel=1e-3) == 1e6 * 256 * 512
    PAGE.row(where, "BERT-base, a million steps", 1e6 * bert.step_s, 4 * 86400)


@pytest.mark.example("Section 6.6.4")
def test_section_6_6_4_batch_size() -> None:
    where = "Section 6.6.4"
    for size, book in ((32, 0.03), (256, 0.10), (2048, 0.20)):
        flop = total(LSTM, "forward_flop", CELL, *batch(size))
        assert flop == size * N * 16 * D * D
        share = flop / total(LSTM, "forward_s", CELL, *batch(size)) / PEAK_FLOP_PER_S
        assert share < 0.79  # what large products sustain
        PAGE.row(where, f"LSTM layer, batch {size:,}: of the peak", share, book)
    for what, changes in (("plain", ()), ("fused", FUSED)):
        many = (*batch(256), *changes)
        share = layer("forward_flop", *many) / layer("forward_s", *many) / PEAK_FLOP_PER_S
        PAGE.row(where, f"encoder layer, {what} kernels: of the peak", share, 0.60)
    both = operator(ENCODER, "scores", *batch(32), FP32)["saved_bytes"]  # Q and K
    assert both / 2 == 4 * 32 * N * D
    assert both / 2 > 40 * 2**20  # larger than the L2 cache
    PAGE.row(where, "Q of 32 sequences", both / 2, 50.3e6)


@pytest.mark.example("Exercise 6.1")
def test_exercise_6_1_vanilla_rnn() -> None:
    name, where, d, h, words, steps = "06-x01-vanilla-rnn", "Exercise 6.1", 128, 256, 10_000, 50
    ours = {op: operator(name, op) for op in (*CELL, "output")}
    inputs, states, head = (ours[op]["parameters"] for op in (*CELL, "output"))
    assert (inputs, states, head) == (h * d + h, h * h + h, h * words + words)
    assert 32_768 + 65_536 + 2_560_000 + 10_512 == 2_668_816
    PAGE.row(where, "parameters", run(name).parameters, 2_668_816)
    PAGE.row(where, "input weights and bias", inputs, 32_768 + 256)
    PAGE.row(where, "state weights and bias", states, 65_536 + 256)
    PAGE.row(where, "output weights and bias", head, 2_560_000 + 10_000)
    cells = total(name, "forward_flop", CELL) / 32
    assert cells == steps * 2 * h * (d + h)
    PAGE.row(where, "FLOP of the cells, a sequence", cells, 9_843_200)
    every = anatomy(name)["forward_flop"] / 32
    assert every == cells + steps * 2 * h * words
    PAGE.row(where, "FLOP of a sequence with the output", every, 9.8e6)
    seconds = total(name, "forward_s", CELL)
    assert seconds > steps * 2 * GAP_S
    PAGE.row(where, "time of the cells, batch 32", seconds, 0.05e-3)
    PAGE.row(where, "of the peak", 32 * cells / seconds / PEAK_FLOP_PER_S, 0.02)


@pytest.mark.example("Exercise 6.3")
def test_exercise_6_3_three_layers() -> None:
    where, d = "Exercise 6.3", 512
    shares = {}
    for cell, gates, book, flop_book in (
        ("lstm", 4, 2_099_200, 2.15e9),
        ("gru", 3, 1_574_400, 1.61e9),
    ):
        change = f"model.cell={cell}"
        parameters = total(RECURRENT, "parameters", CELL, change)
        assert parameters == gates * (2 * d * d + 2 * d)
        assert book == gates * (2 * d * d + d)  # one bias a gate
        PAGE.row(where, f"parameters of the {cell.upper()}", parameters, book)
        flop = total(RECURRENT, "forward_flop", CELL, change)
        assert flop == N * 4 * gates * d * d
        PAGE.row(where, f"FLOP of the {cell.upper()}", flop, flop_book)
        shares[cell] = flop / total(RECURRENT, "forward_s", CELL, change) / PEAK_FLOP_PER_S
    parameters = total(ATTENTION, "parameters", ("qkv", "attention_out"))
    assert parameters == 4 * d * d + 4 * d
    PAGE.row(where, "parameters of attention", parameters, 1_048_576)
    flop = total(ATTENTION, "forward_flop", CORE)
    assert flop == 8 * N * d * d + 4 * N * N * d
    PAGE.row(where, "FLOP of attention", flop, 1.61e9)
    fused = ("qkv", "flash_attention", "attention_out")
    seconds = total(ATTENTION, "forward_s", fused, "stack=megatron-core")
    PAGE.row(where, "LSTM, of the peak", shares["lstm"], 0.02)
    PAGE.row(where, "attention, of the peak", flop / seconds / PEAK_FLOP_PER_S, 0.40)
    many = ("stack=megatron-core", *batch(32))
    share = 32 * flop / total(ATTENTION, "forward_s", fused, *many) / PEAK_FLOP_PER_S
    PAGE.row(where, "attention, 32 sequences, of the peak", share, 0.40)


@pytest.mark.example("Exercise 6.4")
def test_exercise_6_4_bidirectional() -> None:
    name, where = "06-x04-bidirectional", "Exercise 6.4"
    width = operator(name, "output")["forward_flop"] / 2 / 10
    assert width == 2 * 32
    PAGE.row(where, "features of a step", width, 64)
    kept = total(name, "saved_bytes", ("recurrence", "recurrence_reverse"))
    assert kept == 2 * 6 * (6 * 32 * 4)
    PAGE.row(where, "kept by both directions", kept, 3_072)
    six = (FP32, "model.max_positions=6")
    scores = operator(ATTENTION, "softmax", *six)["saved_bytes"]
    assert scores == 8 * 6 * 6 * 4
    PAGE.row(where, "scores of 8 heads", scores, 1_152)
    PAGE.row(where, "LSTM over scores", kept / scores, 2.7)


@pytest.mark.example("Exercise 6.5")
def test_exercise_6_5_memory_of_twelve_layers() -> None:
    where, many = "Exercise 6.5", (*batch(32), FP32)
    lstm = 12 * operator(LSTM, "recurrence", *many)["saved_bytes"]
    states = 12 * 2 * 4 * 32 * N * D
    assert lstm == 3 * states
    assert states / 2**30 == pytest.approx(1.13, abs=0.006)  # GiB
    PAGE.row(where, "LSTM, 12 layers", lstm, 1.13e9)
    scores = 12 * operator(ENCODER, "softmax", *many)["saved_bytes"]
    assert scores / 2**30 == 4.5
    PAGE.row(where, "scores, 12 layers", scores, 4.5e9)
    # 6 arrays of n d against heads n^2: equal at 6 d / heads tokens.
    equal = 6 * D // HEADS
    at = f"batch.sequence_length={equal}"
    ours = operator(LSTM, "recurrence", *many, at)["saved_bytes"]
    assert ours == operator(ENCODER, "softmax", *many, at)["saved_bytes"]
    assert 2 * D / HEADS == 128
    PAGE.row(where, "tokens where both are equal", equal, 128)


@pytest.mark.example("Exercise 6.6")
def test_exercise_6_6_training_time() -> None:
    where = "Exercise 6.6"
    both = anatomy(BIG_LSTM)["forward_and_backward_flop"] / 4
    days = SEQUENCES * both / (0.03 * CORES_FLOP_PER_S) / 86400
    # 6 FLOP a parameter and token, the usual rule, comes to the same.
    assert pytest.approx(days, rel=0.03) == 6 * 110e6 * 16e9 / (0.03 * CORES_FLOP_PER_S) / 86400
    PAGE.row(where, "LSTM at 3 % of 64 TPU cores", days * 86400, 8.4 * 86400)
    lstm, bert = run(BIG_LSTM), run(BERT)
    PAGE.row(where, "gain of BERT-base on 64 A100", lstm.step_s / bert.step_s, 2.1)
    launches = lstm.breakdown.host_s / lstm.step_s
    # The host launches a kernel in 6 us; a step of a layer has two.
    step_s = operator(BIG_LSTM, "recurrence")["forward_s"] / N
    assert step_s == pytest.approx(12.3e-6, abs=0.05e-6) and step_s > 2 * 6e-6
    PAGE.row(where, "LSTM's part waiting for launches", launches)
