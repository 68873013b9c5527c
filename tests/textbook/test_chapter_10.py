"""Examples of chapter 10 up to its decoder: layers of BERT base and of the original Transformer.

n = 512 tokens, d = 768 features, f = 3,072, h = 12 heads of 64, batches of 32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-10")
LAYER, BERT = "10-01-encoder-layer", "10-02-bert-training"
N, D, F, H, BATCH = 512, 768, 3072, 12, 32
FP32, FUSED = "precision=fp32", "stack=megatron-core"
A100_FLOP_PER_S = 312e12
ATTENTION, FFN = ("qkv", "attention_out"), ("mlp_up", "mlp_down")
NORMS = ("attention_norm", "mlp_norm")
CROSS = ("cross_query", "cross_key_value", "cross_out")


def total(name: str, key: str, ops: Iterable[str], *changes: str) -> float:
    """Sum of a number over operators of a layer, each counted once."""
    return float(sum(operator(name, op, *changes)[key] for op in ops))


def stage(name: str, *changes: str) -> Mapping[str, Any]:
    """Memory of the first stage, by part."""
    found = run(name, *changes).memory.to_dict()["stages"][0]
    assert isinstance(found, Mapping)
    return found


def forward_s(name: str, *changes: str) -> float:
    return float(sum(r["times"] * r["forward_s"] for r in anatomy(name, *changes)["operators"]))


@pytest.mark.example("10.1")
def test_example_10_1_parameters_of_an_encoder_layer() -> None:
    attention, ffn, norms = (total(LAYER, "parameters", ops) for ops in (ATTENTION, FFN, NORMS))
    assert attention == 4 * D * D == 2_359_296
    assert ffn == 2 * D * F + F + D == 4_722_432
    assert norms == 2 * 2 * D == 3_072
    for what, ours, book in (
        ("attention", attention, 2_359_296),
        ("feed-forward", ffn, 4_722_432),
        ("norms", norms, 3_072),
        ("layer", attention + ffn + norms, 7_084_800),
    ):
        PAGE.row("Example 10.1", f"parameters: {what}", ours, book)
    bert = total(BERT, "parameters", (*ATTENTION, *FFN, *NORMS))
    assert bert == 7_084_800 + 4 * D
    PAGE.row("Example 10.1", "parameters: layer of BERT", bert, 7_084_800)


@pytest.mark.example("10.1")
def test_example_10_1_memory_of_an_encoder_layer() -> None:
    scores = operator(LAYER, "softmax")["saved_bytes"]
    assert scores == BATCH * H * N * N * 4
    PAGE.row("Example 10.1", "attention scores", scores, 402e6)
    double = operator(LAYER, "softmax", "batch.sequence_length=1024")["saved_bytes"]
    assert double == 4 * scores
    PAGE.row("Example 10.1", "attention scores at 1,024 tokens", double, 1.6e9)
    inner = operator(LAYER, "mlp_down")["saved_bytes"]
    assert inner == BATCH * N * F * 4
    PAGE.row("Example 10.1", "feed-forward, inner", inner, 201e6)
    # What one more layer adds to a step.
    one, two = stage(LAYER), stage(LAYER, "model.encoder_layers=2")
    added = {key: two[f"{key}_bytes"] - one[f"{key}_bytes"] for key in ("weights", "gradients")}
    assert added == {"weights": 4 * 7_084_800, "gradients": 4 * 7_084_800}
    states = two["optimizer_bytes"] - one["optimizer_bytes"]
    kept = two["activations_bytes"] - one["activations_bytes"]
    PAGE.row("Example 10.1", "parameters in fp32", added["weights"], 28.3e6)
    PAGE.row("Example 10.1", "gradients in fp32", added["gradients"], 28.3e6)
    PAGE.row("Example 10.1", "moments of Adam", states, 56.7e6)
    # Six arrays of n d, of which none is counted by the book, dropout masks, scores three times.
    array, square = BATCH * N * D, BATCH * H * N * N
    assert kept == 4 * (8 * array + 2 * 4 * array + 2 * square) + 2 * array + square
    assert 402 + 201 == 603
    PAGE.row("Example 10.1", "activations kept", kept, 603e6)
    assert round(28.3 + 28.3 + 56.7 + 402 + 201) == 716
    layer = sum(added.values()) + states + kept
    PAGE.row("Example 10.1", "layer in training", layer, 716e6)
    assert round(12 * 0.716, 1) == 8.6
    PAGE.row("Example 10.1", "12 layers in training", 12 * layer, 8.6e9)


@pytest.mark.example("10.2")
def test_example_10_2_parameters_of_bert() -> None:
    tables = {
        "token table": ("embedding", 30_000 * D),
        "position table": ("embedding_positions", 512 * D),
        "segment table": ("embedding_segments", 2 * D),
        "norm of embeddings": ("embedding_norm", 2 * D),
        "pooler": ("pooler", D * D + D),
    }
    for what, (op, book) in tables.items():
        ours = operator(BERT, op)["parameters"]
        assert ours == book, what
        PAGE.row("Example 10.2", f"parameters: {what}", ours, book)
    layers = 12 * total(BERT, "parameters", (*ATTENTION, *FFN, *NORMS))
    assert layers == 12 * (7_084_800 + 4 * D)
    PAGE.row("Example 10.2", "parameters: 12 layers", layers, 85_017_600)
    ours = run(BERT).parameters
    rest = sum(book for _, book in tables.values())
    assert rest + 85_017_600 == 109_044_480
    assert ours == rest + layers
    PAGE.row("Example 10.2", "parameters: all", ours, 109_044_480)
    released = run(BERT, "model.vocab=30522").parameters
    assert released == 109_482_240  # Hugging Face's BertModel
    PAGE.row("Example 10.2", "parameters: released vocabulary", released, 110e6)
    PAGE.row("Example 10.2", "token table, share", 30_000 * D / ours, 0.21)
    large = run(BERT, "model.vocab=50000").parameters
    share = 50_000 * D / large
    assert 0.30 < share < 0.31
    PAGE.row("Example 10.2", "token table of 50,000, share", share, 0.35)


@pytest.mark.example("10.2")
def test_example_10_2_memory_of_bert() -> None:
    held, p = stage(BERT, FP32), run(BERT).parameters
    states = [held[f"{k}_bytes"] for k in ("weights", "gradients", "optimizer")]
    assert states == [4 * p, 4 * p, 8 * p]
    for what, ours, book in zip(
        ("parameters", "gradients", "moments"), states, (440e6, 440e6, 880e6), strict=True
    ):
        PAGE.row("Example 10.2", f"memory: {what}, fp32", ours, book)
    PAGE.row("Example 10.2", "memory: activations, fp32", held["activations_bytes"], 12e9)
    fused = stage(BERT, FP32, FUSED)["activations_bytes"]
    # Korthikanti 2022, eq. 1: 34 s b h + 5 a s^2 b at 16 bit, of which 2 and 1 bytes are masks.
    array, square = BATCH * N * D, BATCH * H * N * N
    layers = 12 * (2 * (32 * array + 4 * square) + 2 * array + square)
    assert layers < held["activations_bytes"] < 1.02 * layers
    PAGE.row("Example 10.2", "memory: activations, fp32, fused", fused, 12e9)
    PAGE.row("Example 10.2", "memory: all, fp32", held["peak_bytes"], 13.8e9)
    plain, again = run(BERT), run(BERT, "plan.recompute=full")
    saved = 1 - again.memory.peak_bytes / plain.memory.peak_bytes
    slower = again.step_s / plain.step_s - 1
    PAGE.row("Example 10.2", "checkpointing: memory saved", saved, 0.7)
    PAGE.row("Example 10.2", "checkpointing: slower", slower, 0.3)
    assert 1 / 4 < slower < 0.4  # a third is one more forward pass


@pytest.mark.example("10.2")
def test_example_10_2_flop_and_time_of_bert() -> None:
    ops = (*ATTENTION, *FFN, "scores", "context")
    layer = total(BERT, "forward_flop", ops) / BATCH
    first, second = 24 * N * D * D, 4 * N * N * D
    assert layer == first + second
    # The book's 7.26 is its first term alone, 7.25.
    assert (round(first / 1e9, 2), round(layer / 1e9, 2)) == (7.25, 8.05)
    PAGE.row("Example 10.2", "FLOP of a layer, one sequence", layer, 7.26e9)
    PAGE.row("Example 10.2", "FLOP of 12 layers, one sequence", 12 * layer, 87.1e9)
    batch = anatomy(BERT)["forward_flop"]
    assert batch == pytest.approx(BATCH * 12 * layer, rel=1e-4)
    PAGE.row("Example 10.2", "FLOP of a forward pass of 32", batch, 100e9)
    PAGE.row("Example 10.2", "forward pass at the peak", batch / A100_FLOP_PER_S, 0.32e-3)
    assert round(100e9 / 5e-3 / A100_FLOP_PER_S, 3) == 0.064  # not the 10 to 20 % of the book
    PAGE.row("Example 10.2", "forward pass", forward_s(BERT, FUSED), 10e-3)
    step = run(BERT, FUSED)
    assert step.step_s > 3 * batch / A100_FLOP_PER_S
    PAGE.row("Example 10.2", "step", step.step_s, 30e-3)
    PAGE.row("Example 10.2", "tokens a second", step.tokens_per_s, 500e3)
    most = BATCH * N / (3 * batch / A100_FLOP_PER_S)
    PAGE.row("Example 10.2", "tokens a second at the peak", most, 1e6)


@pytest.mark.example("10.3")
def test_example_10_3_feed_forward_block() -> None:
    into, inner = (operator(LAYER, op)["saved_bytes"] for op in FFN)
    assert (into, inner) == (BATCH * N * D * 4, BATCH * N * F * 4)
    PAGE.row("Example 10.3", "input", into, 50.3e6)
    PAGE.row("Example 10.3", "inner activations", inner, 201.3e6)
    PAGE.row("Example 10.3", "inner activations of 12 layers", 12 * inner, 2.4e9)
    weights = 4 * total(LAYER, "parameters", FFN)
    PAGE.row("Example 10.3", "weights", weights, 18.9e6)
    up = operator(LAYER, "mlp_up")["forward_flop"]
    assert up == 2 * BATCH * N * D * F
    # The book multiplies without the factor 2: these are multiply-adds.
    assert round(BATCH * N * D * F / 1e9, 1) == 38.7
    PAGE.row("Example 10.3", "first product", up, 38.7e9)
    ffn = total(LAYER, "forward_flop", FFN)
    attention = total(LAYER, "forward_flop", (*ATTENTION, "scores", "context"))
    assert attention == BATCH * (8 * N * D * D + 4 * N * N * D)
    PAGE.row("Example 10.3", "feed-forward block", ffn, 77.4e9)
    PAGE.row("Example 10.3", "attention", attention, 51.5e9)
    PAGE.row("Example 10.3", "share of the feed-forward block", ffn / (ffn + attention), 0.6)
    assert round(attention / 2e9, 1) == 51.5
    PAGE.row("Example 10.3", "feed-forward block, one sequence", ffn / BATCH, 2.4e9)
    PAGE.row("Example 10.3", "attention, one sequence", attention / BATCH, 3.2e9)


@pytest.mark.example("10.4")
def test_example_10_4_decoder_layer_sizes() -> None:
    source, target = 20, 15
    sizes = (f"batch.sequence_length={source}", f"model.target_length={target}")
    rows = anatomy(LAYER, *sizes)["operators"]
    kept = {op: [r["saved_bytes"] for r in rows if r["operator"] == op] for op in
            ("softmax", "cross_softmax", "mlp_down")}  # fmt: skip
    own, cross, inner = kept["softmax"][1], kept["cross_softmax"][0], kept["mlp_down"][1]
    assert own == BATCH * H * target * target * 4 == 345_600
    assert cross == BATCH * H * target * source * 4 == 460_800
    assert inner == BATCH * target * F * 4 == 5_898_240
    # The book's three numbers are ten times what its own products give.
    PAGE.row("Example 10.4", "scores of masked self-attention", own, 3.5e6)
    PAGE.row("Example 10.4", "scores of cross attention", cross, 4.6e6)
    PAGE.row("Example 10.4", "feed-forward, inner", inner, 59.0e6)


@pytest.mark.example("10.5")
def test_example_10_5_parameters_of_a_decoder_layer() -> None:
    cross = total(LAYER, "parameters", CROSS)
    assert cross == 4 * D * D
    PAGE.row("Example 10.5", "cross attention", cross, 2_359_296)
    norms = total(LAYER, "parameters", (*NORMS, "cross_norm"))
    PAGE.row("Example 10.5", "three norms", norms, 4_608)
    p = {(e, d): run(LAYER, f"model.encoder_layers={e}", f"model.decoder_layers={d}").parameters
         for e, d in ((1, 1), (1, 7), (7, 1))}  # fmt: skip
    decoder, encoder = p[1, 7] - p[1, 1], p[7, 1] - p[1, 1]
    assert decoder == 6 * (8 * D * D + 2 * D * F + F + D + 6 * D) == 6 * 9_445_632
    PAGE.row("Example 10.5", "decoder layer", decoder / 6, 9_445_632)
    PAGE.row("Example 10.5", "more than an encoder layer", decoder / encoder - 1, 0.33)
    PAGE.row("Example 10.5", "6 decoder layers", decoder, 56.7e6)
    PAGE.row("Example 10.5", "6 encoder layers", encoder, 42.5e6)


@pytest.mark.example("10.6")
def test_example_10_6_keys_and_values_of_100_tokens() -> None:
    changes = (FP32, "model=gpt2", "batch.global_size=1", "batch.micro_size=1")
    name, length = "10-11-three-architectures", "batch.sequence_length={}"
    values = operator(name, "context", *changes, length.format(100))["saved_bytes"]
    assert values == 100 * D * 4
    PAGE.row("Example 10.6", "keys and values of a layer", 2 * values, 614e3)
    PAGE.row("Example 10.6", "keys and values of 12 layers", 24 * values, 7.4e6)
    passes = [anatomy(name, *changes, length.format(t))["forward_flop"] for t in range(1, 101)]
    ratio = sum(passes) / passes[-1]
    assert 100 * 101 / 2 / 100 == 50.5
    assert ratio == pytest.approx(50.5, rel=0.01)
    PAGE.row("Example 10.6", "passes without a cache over one pass", ratio, 50)
