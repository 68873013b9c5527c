"""Exercises of chapter 1, and its analysis of BERT-base (docs/textbook/chapter-01.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-01")
PEAK, BANDWIDTH = 312e12, 1.6e12
IDEAL = "cluster.device=devices/ideal-a100-textbook.yaml"
ONE = ("batch.global_size=1", "batch.micro_size=1")
MIB = 2.0**20
BERT, FP32 = "01-b1-bert-base", "precision=fp32"
#: BERT-base: sequences, tokens, features, features of the feed-forward block, heads, layers.
B, N, H, F, HEADS, LAYERS = 32, 512, 768, 3072, 12, 12


def rows(tag: str, *numbers: tuple[str, float, float | None]) -> None:
    """Check rows of a section: quantity, our number, the book's."""
    for quantity, ours, book in numbers:
        PAGE.row(tag, quantity, ours, book)


def bert(*changes: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the operators of BERT-base by name."""
    return {o["operator"]: o for o in anatomy(BERT, *changes)["operators"]}


@pytest.mark.example("x1.2")
def test_exercise_1_2_feed_forward() -> None:
    up, down = (operator("01-06-bert-layer", op) for op in ("mlp_up", "mlp_down"))
    parameters = up["parameters"] + down["parameters"]
    both = up["forward_flop"] + down["forward_flop"]
    step = both + up["backward_flop"] + down["backward_flop"]
    assert parameters == 2 * H * F + F + H
    assert up["forward_flop"] == 2 * B * N * H * F == 77_309_411_328
    assert step == 3 * both
    rows(
        "Exercise 1.2",
        ("parameters", parameters, 4_722_432),
        ("FLOP of the first product", up["forward_flop"], 77.309e9),
        ("FLOP of both", both, 154.6e9),
        ("FLOP of both in a training step", step, None),
    )


@pytest.mark.example("x1.4")
def test_exercise_1_4_rank() -> None:
    full = run("01-12-full-rank", "model.features=4096", "model.outputs=1024").parameters
    sizes = ("model.inputs=4096", "model.outputs=1024")
    ours = {k: run("01-12-low-rank", *sizes, f"model.hidden=[{k}]").parameters for k in (204, 205)}
    assert full == 1024 * 4096
    assert ours == {k: k * (1024 + 4096) for k in (204, 205)}
    assert 0.25 * full / 5120 == pytest.approx(204.8)
    assert 1 - ours[205] / full < 0.75 <= 1 - ours[204] / full
    saved = 4 * (full - ours[204])
    assert saved / MIB == pytest.approx(12.0, abs=0.05)
    rows(
        "Exercise 1.4",
        ("parameters, full", full, 4_194_304),
        ("parameters, rank 205", ours[205], 1_048_576),
        ("saved, rank 205", 1 - ours[205] / full, 0.75),
        ("saved, rank 204", 1 - ours[204] / full, None),
        ("memory saved in fp32, rank 204", saved, 12e6),
    )


@pytest.mark.example("x1.5")
def test_exercise_1_5_scores() -> None:
    batch, n, d = 16, 1024, 64
    op = operator("01-x05-scores", "scores")
    flop, moved = op["forward_flop"], op["forward_bytes"]
    assert flop == batch * 2 * n * n * d
    assert moved == 4 * batch * (2 * n * d + n * n) == 75_497_472
    assert moved / MIB == 72
    assert op["bound"] == "memory"
    assert op["forward_s"] == pytest.approx(moved / BANDWIDTH)
    # The book: 72 MiB over MB/s, and 6.5 from these.
    assert pytest.approx(45e-6) == 72 / 1.6e6
    assert round(45 / 6.9, 1) == 6.5
    rows(
        "Exercise 1.5",
        ("FLOP", flop, 2.15e9),
        ("bytes moved", moved, 72e6),
        ("FLOP per byte", op["flop_per_byte"], 28.4),
        ("time of the FLOP", flop / PEAK, 6.9e-6),
        ("time of the product", op["forward_s"], 45e-6),
        ("bytes over FLOP in time", op["forward_s"] / (flop / PEAK), 6.5),
    )


@pytest.mark.example("x1.6")
def test_exercise_1_6_embedding() -> None:
    table = operator("01-x06-embedding", "embedding")
    vectors = operator("01-x06-embedding", "input")["saved_bytes"]
    changes = ("model.inputs=32000", "model.outputs=512", "model.hidden=[16]")
    lora = run("01-12-low-rank", *changes).parameters
    parameters = table["parameters"]
    assert parameters == 32_000 * 512
    assert vectors == 64 * 256 * 512 * 4 == table["forward_bytes"] / 2
    assert (parameters * 4 / MIB, vectors / MIB) == (62.5, 32)
    assert lora == 512 * 16 + 16 * 32_000
    rows(
        "Exercise 1.6",
        ("parameters", parameters, 16_384_000),
        ("table in fp32", parameters * 4, 62.5e6),
        ("vectors of 64 x 256 tokens", vectors, 32e6),
        ("parameters with LoRA, rank 16", lora, 520_192),
        ("share of the table", lora / parameters, 0.032),
    )


def _orders(*changes: str) -> tuple[float, float, float, float]:
    """Return FLOP of (A B) x and A (B x), and their seconds."""
    vector = ("model.features=512", *ONE)
    first = [
        operator("01-x07-matrix-first", "predict", *changes),
        operator("01-x07-matrix-first", "predict", *vector, *changes),
    ]
    second = [operator("01-x07-vector-first", op, *changes) for op in ("dense", "output")]
    flop, time = "forward_flop", "forward_s"
    return (
        sum(o[flop] for o in first),
        sum(o[flop] for o in second),
        sum(o[time] for o in first),
        sum(o[time] for o in second),
    )


@pytest.mark.example("x1.7")
def test_exercise_1_7_order() -> None:
    m, n, p = 512, 2048, 512
    matrix, vector, matrix_s, vector_s = _orders()
    _, _, ideal_matrix_s, ideal_vector_s = _orders(IDEAL)
    assert matrix == 2 * m * n * p + 2 * m * p == 1_074_266_112
    assert vector == 2 * n * p + 2 * m * n == 4_194_304
    # Roofline: A B at the peak rate, every product with a vector at the bandwidth.
    x, y = 2 * (m * p + m + p), 2 * (n * p + n + p + m * n + m + n)
    assert ideal_vector_s == pytest.approx(y / BANDWIDTH)
    assert ideal_matrix_s == pytest.approx(2 * m * n * p / PEAK + x / BANDWIDTH, rel=0.03)
    # Streams at 0.678 of 1.555 TB/s and two launches of 3 us.
    assert vector_s == pytest.approx(y / (0.678 * 1.555e12) + 2 * 3e-6)
    assert matrix_s > ideal_matrix_s
    rows(
        "Exercise 1.7",
        ("FLOP of (A B) x", matrix, 1.074266112e9),
        ("FLOP of A (B x)", vector, 4.194304e6),
        ("FLOP, one over the other", matrix / vector, 256),
        ("time of (A B) x on an A100", matrix_s, None),
        ("time of A (B x) on an A100", vector_s, None),
        ("time, one over the other", matrix_s / vector_s, 256),
        ("time, one over the other, at the book's rates", ideal_matrix_s / ideal_vector_s, 256),
    )


@pytest.mark.example("x1.8")
def test_exercise_1_8_gemm() -> None:
    n = 2048
    op = operator("01-x08-gemm-2048", "predict")
    flop, moved = op["forward_flop"], op["forward_bytes"]
    assert (flop, moved) == (2 * n**3, 3 * n * n * 4)
    assert op["forward_s"] == pytest.approx(flop / 100e12)
    assert op["bound"] == "compute"
    assert moved / MIB == 48 and round(48 / 0.9e6 * 1e3, 3) == 0.053
    rows(
        "Exercise 1.8",
        ("FLOP", flop, 17.2e9),
        ("bytes moved", moved, 48e6),
        ("FLOP per byte", op["flop_per_byte"], 341.3),
        ("time of the product", op["forward_s"], 0.172e-3),
        ("time for its bytes", moved / 900e9, 0.053e-3),
    )


@pytest.mark.example("BERT-base 1")
def test_bert_base_1_parameters() -> None:
    ours, large = run(BERT).parameters, run(BERT, "model.vocab=50000").parameters
    ops, words = bert(), bert("model.vocab=50000")["embedding"]["parameters"]
    layer = sum(o["parameters"] for o in ops.values() if o["times"] == LAYERS)
    book_layer = 4 * H * H + 2 * H * F + F + H + 4 * H
    book = 30_000 * H + N * H + 2 * H + 2 * H + LAYERS * book_layer + H * H + H
    assert book == 109_044_480
    assert ours == book + LAYERS * 4 * H
    assert words / large == pytest.approx(50_000 * H / (book + 20_000 * H), abs=1e-4)
    rows(
        "BERT-base 1",
        ("parameters", ours, 109_044_480),
        ("parameters of a layer", layer, 7_084_800),
        ("share of the token table", ops["embedding"]["parameters"] / ours, 0.21),
        ("share of the token table, 50,000 words", words / large, 0.35),
    )


@pytest.mark.example("BERT-base 2")
def test_bert_base_2_flop() -> None:
    ops = bert(*ONE)
    parts = ("qkv", "scores", "context", "attention_out", "mlp_up", "mlp_down")
    flop = {k: ops[k]["forward_flop"] for k in parts}
    assert flop["qkv"] == 3 * 2 * N * H * H
    assert flop["scores"] == flop["context"] == HEADS * 2 * N * N * 64
    assert flop["attention_out"] == 2 * N * H * H
    assert flop["mlp_up"] == flop["mlp_down"] == 2 * N * H * F
    attention, feed_forward = sum(flop[k] for k in parts[:4]), flop["mlp_up"] + flop["mlp_down"]
    layer = attention + feed_forward
    whole = anatomy(BERT, *ONE)
    # The pooler is the only other product: one token, h x h.
    assert whole["forward_flop"] == LAYERS * layer + 2 * H * H
    assert round(1.81 + 0.40 + 0.40 + 0.60, 2) == 3.21 and round(2.42 + 2.42, 2) == 4.84
    rows(
        "BERT-base 2",
        ("Q, K and V", flop["qkv"], 1.81e9),
        ("scores", flop["scores"], 0.40e9),
        ("weighted values", flop["context"], 0.40e9),
        ("output of attention", flop["attention_out"], 0.60e9),
        ("attention", attention, 3.21e9),
        ("feed-forward block", feed_forward, 4.84e9),
        ("a layer", layer, 8.05e9),
        ("forward pass", whole["forward_flop"], 96.6e9),
        ("training step", whole["forward_and_backward_flop"], 290e9),
        ("share of the feed-forward block", feed_forward / layer, 0.60),
        ("share of scores and values", (flop["scores"] + flop["context"]) / layer, 0.10),
    )


@pytest.mark.example("BERT-base 3")
def test_bert_base_3_activations() -> None:
    ops = bert(FP32)
    kept = {k: o["saved_bytes"] for k, o in ops.items() if o["times"] == LAYERS}
    qkv = kept["scores"] + kept["context"]
    four = qkv + kept["softmax"] + kept["attention_out"] + kept["mlp_down"]
    x, scores = B * N * H * 4, B * HEADS * N * N * 4
    assert (qkv, kept["softmax"], kept["attention_out"]) == (3 * x, scores, x)
    assert kept["mlp_down"] == 4 * x
    # The book's numbers of 113, 38 and 151 MB have 3 bytes an element.
    assert [round(k * x * 3 / 4 / 1e6) for k in (3, 1, 4)] == [113, 38, 151]
    assert 113 + 402 + 38 + 151 == 704 and round(12 * 0.704, 1) == 8.4
    # All: as Korthikanti 2022 (arXiv 2205.05198), equation 1, with 4 bytes in place of 2: inputs
    # of 16 x and three masks of a byte; scores twice and a mask of theirs.
    assert sum(kept.values()) == 16 * x + 2 * x / 4 + 2 * scores + scores / 4
    longer = bert(FP32, "batch.sequence_length=1024", "model.max_positions=1024")["softmax"]
    assert longer["saved_bytes"] == 4 * scores
    rows(
        "BERT-base 3",
        ("Q, K and V", qkv, 113e6),
        ("scores after the softmax", kept["softmax"], 402e6),
        ("output of attention", kept["attention_out"], 38e6),
        ("middle of the feed-forward block", kept["mlp_down"], 151e6),
        ("these four", four, 704e6),
        ("share of the scores", kept["softmax"] / four, 0.57),
        ("these four, 12 layers", LAYERS * four, 8.4e9),
        ("all that a layer keeps", sum(kept.values()), 704e6),
        ("scores with 1024 tokens", longer["saved_bytes"], 1.6e9),
    )


@pytest.mark.example("BERT-base 4")
def test_bert_base_4_memory() -> None:
    whole, again = run(BERT, FP32), run(BERT, FP32, "plan.recompute=full")
    stage, peak = whole.memory.stages[0], whole.memory.peak_bytes
    assert stage.weights_bytes == stage.gradients_bytes == 4 * whole.parameters
    assert stage.optimizer_bytes == 8 * whole.parameters
    share = stage.activations_bytes / peak
    saved, added = 1 - again.memory.peak_bytes / peak, again.step_s / whole.step_s - 1
    # The book: a sum of its rows, and a share that its rows do not give.
    assert round(0.44 + 0.44 + 0.88 + 8.4 + 3.6, 1) == 13.8
    assert round(8.4 / 13.8, 2) == 0.61 and round((8.4 + 3.6) / 13.8, 2) == 0.87
    # Without the activations of the layers there is room for 16 times the parameters, one layer
    # and the inputs of twelve; a forward pass again is a third of the FLOP.
    layers = B * N * H * 4 * LAYERS + 1.74e9
    assert again.memory.peak_bytes == pytest.approx(
        16 * whole.parameters + 1.5e9 + layers, rel=0.02
    )
    assert 1 / 3 - 0.05 < added < 0.4
    fp16, fused = (run(BERT, *c).memory.peak_bytes for c in ((), ("stack=megatron-core",)))
    assert (round(fp16 / 1e9, 1), round(fused / 1e9, 1)) == (14.5, 8.6)
    rows(
        "BERT-base 4",
        ("parameters in fp32", stage.weights_bytes, 440e6),
        ("gradients", stage.gradients_bytes, 440e6),
        ("Adam's moments", stage.optimizer_bytes, 880e6),
        ("activations", stage.activations_bytes, 8.4e9),
        ("all", peak, 13.8e9),
        ("share of activations", share, 0.87),
        ("memory saved by checkpointing", saved, 0.70),
        ("time added by checkpointing", added, 0.30),
    )


@pytest.mark.example("BERT-base 5")
def test_bert_base_5_times() -> None:
    step, one, fused = run(BERT), bert(*ONE), run(BERT, "stack=megatron-core")
    forward_s = sum(o["times"] * o["forward_s"] for o in bert().values())
    one_s = sum(o["times"] * o["forward_s"] for o in one.values())
    flop = anatomy(BERT)["forward_flop"]
    ideal = run(BERT, IDEAL)
    layer = 8 * B * N * H * H + 4 * B * N * N * H + 4 * B * N * H * F
    assert flop == pytest.approx(LAYERS * layer, rel=1e-3)
    # The book's arithmetic follows from its FLOP.
    assert round(96.6e9 / (0.7 * PEAK) * 1e3, 2) == 0.44 and round(32 * 0.44) == 14
    assert pytest.approx(390_000, rel=1e-3) == 32 * 512 / 42e-3
    # No step is faster than its FLOP at the peak rate; nor than reading and writing what a layer
    # moves beside them at the full bandwidth.
    for found in (step, fused, ideal):
        assert found.step_s > 3 * flop / PEAK
        assert found.mfu == pytest.approx(3 * flop / found.step_s / PEAK, rel=1e-3)
    assert round(ideal.step_s * 1e3) == 72
    rows(
        "BERT-base 5",
        ("FLOP of the forward pass at 70 % of the peak", flop / (0.7 * PEAK), 14e-3),
        ("forward pass", forward_s, 14e-3),
        ("step", step.step_s, 42e-3),
        ("tokens a second", step.tokens_per_s, 390_000),
        ("share of the peak rate", step.mfu, 0.7),
        ("step with fused attention", fused.step_s, 42e-3),
        ("forward pass of one sequence", one_s, 0.44e-3),
        ("reading the weights once, fp32", step.parameters * 4 / BANDWIDTH, 0.28e-3),
    )
