"""Chapter 11, sections 11.1 to 11.3: what BERT-base and GPT-2 compute and keep on one GPU."""

from __future__ import annotations

from math import floor
from typing import Any

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-11")
BERT, GPT2 = "11-s2-bert-base", "11-s7-gpt2-checkpointing"
#: BERT-base (Devlin 2019): layers, width, heads, words of the released vocabulary.
L, H, HEADS, WORDS = 12, 768, 12, 30522
B, S = 32, 512
SBH, SCORES = B * S * H, B * HEADS * S * S
PARAMETERS = (
    (WORDS + 512 + 2 + 2) * H  # tables of words, positions and segments, and a norm
    + L * (12 * H * H + 13 * H)  # four projections, two matrices of 4 h^2, biases, two norms
    + (H * H + H)  # pooler
    + (H * H + 3 * H + WORDS)  # masked-LM head, its table tied
    + (2 * H + 2)  # next-sentence head
)


def layer_flop(layers: int, width: int, length: int) -> float:
    """FLOP of one sequence through layers, forward: 24 s h^2 + 4 s^2 h each."""
    return float(layers * (24 * length * width**2 + 4 * length**2 * width))


def bert_activation_bytes(element: int, batch: int, length: int) -> float:
    """Bytes that BERT-base keeps for backward, attention not fused.

    A layer keeps 16 arrays of s b h elements and two masks of s b h bytes; of s x s scores the
    softmax, the dropped-out softmax and a mask (Korthikanti 2022, section 4.1, where an element has
    2 bytes: 34 and 5). Embedding: an array and a mask. Head: four arrays, and logits in FP32.
    """
    sbh, scores = batch * length * H, batch * HEADS * length**2
    layer = (16 * element + 2) * sbh + (2 * element + 1) * scores
    head = 4 * element * sbh + 4 * batch * length * WORDS + 2 * element * batch * H + 8 * batch
    return float(L * layer + (element + 1) * sbh + head)


def stage(name: str, *changes: str) -> Any:
    """Return the memory of the first stage."""
    return run(name, *changes).memory.stages[0]


def states(name: str, *changes: str) -> float:
    """Return bytes of weights, gradients and optimizer states."""
    s = stage(name, *changes)
    return float(s.weights_bytes + s.gradients_bytes + s.optimizer_bytes)


def largest(name: str, room: float, *changes: str) -> int:
    """Return the largest micro batch, alone in its step, whose peak is within `room` bytes."""

    def peak(batch: int) -> float:
        sizes = (f"batch.global_size={batch}", f"batch.micro_size={batch}")
        return float(run(name, *changes, *sizes).memory.peak_bytes)

    # Bytes are linear in the batch: two runs say where the room ends, two more prove it.
    guess = 8 + floor((room - peak(8)) / ((peak(16) - peak(8)) / 8))
    assert peak(guess) <= room < peak(guess + 1)
    return guess


@pytest.mark.example("11.1.1")
def test_section_11_1_1_logits_of_bert() -> None:
    words, masked = 30_000, "model={base: bert-base, vocab: 30000, predictions: 77}"
    ours = operator(BERT, "cross_entropy", "model={base: bert-base, vocab: 30000}")["saved_bytes"]
    assert ours == B * S * words * 4 == 1_966_080_000
    PAGE.row("Section 11.1.1", "logits of a batch", ours, 1_966_080_000)
    few = operator(BERT, "lm_head", masked)["forward_flop"] / (2 * H * words)
    assert few == B * 77 and round(0.15 * S) == 77
    PAGE.row("Section 11.1.1", "masked tokens of a batch", few, 2464)
    small = operator(BERT, "cross_entropy", masked)["saved_bytes"]
    assert small == 2464 * words * 4
    PAGE.row("Section 11.1.1", "logits of masked tokens alone", small)


@pytest.mark.example("11.1.2")
def test_section_11_1_2_logits_of_gpt2() -> None:
    length = "batch.sequence_length=512"
    ours = operator(GPT2, "cross_entropy", length)["saved_bytes"]
    assert ours == 32 * 512 * 50_257 * 4
    assert ours != 3_296_019_456  # what the book prints for that product
    PAGE.row("Section 11.1.2", "logits of a batch", ours, 3_296_019_456)
    every = operator(BERT, "lm_head")["backward_flop"]
    some = operator(BERT, "lm_head", "model={base: bert-base, predictions: 77}")["backward_flop"]
    assert every / some == pytest.approx(16_384 / 2464)
    name = "backward FLOP of the head, all tokens over masked ones"
    PAGE.row("Section 11.1.2", name, every / some)


@pytest.mark.example("11.2.5")
def test_section_11_2_5_gradients_of_weights() -> None:
    of = "Section 11.2.5"
    # Without biases, which the book leaves out: 3 of 3 h, and h.
    qkv = (operator(BERT, "qkv")["parameters"] - 3 * H) / 3 * 4
    assert qkv == HEADS * (768 * 64 * 4) == HEADS * 196_608
    PAGE.row(of, "queries of a layer", qkv, 2.4e6)
    down = (operator(BERT, "mlp_down")["parameters"] - H) * 4
    assert down == 3072 * 768 * 4 == 9_437_184
    PAGE.row(of, "second matrix of the feed-forward block", down, 9.4e6)
    up = (operator(BERT, "mlp_up")["parameters"] - 4 * H) * 4
    assert up == down
    PAGE.row(of, "first matrix of the feed-forward block", up, 9.4e6)
    table = operator(BERT, "embedding", "model={base: bert-base, vocab: 30000}")["parameters"] * 4
    assert table == 768 * 30_000 * 4 == 92_160_000
    PAGE.row(of, "output projection", table, 92.16e6)


@pytest.mark.example("11.2.6")
def test_section_11_2_6_flop_and_activations() -> None:
    of, parts = "Section 11.2.6", anatomy(BERT)
    layers = [r for r in parts["operators"] if r["times"] == L]
    forward = sum(r["times"] * r["forward_flop"] for r in layers) / B
    backward = sum(r["times"] * r["backward_flop"] for r in layers) / B
    assert forward == pytest.approx(layer_flop(L, H, S))
    assert round(forward / 1e9, 1) == 96.6 and pytest.approx(289.8) == 96.6 * 3
    assert backward == pytest.approx(2 * forward)
    PAGE.row(of, "forward, layers of one sequence", forward, 96.6e9)
    PAGE.row(of, "backward, layers of one sequence", backward, 193.2e9)
    PAGE.row(of, "forward and backward, layers of one sequence", forward + backward, 289.8e9)
    whole = parts["forward_and_backward_flop"] / B
    heads = S * H * (H + WORDS) + H * H + 2 * H
    assert whole == pytest.approx(3 * (layer_flop(L, H, S) + 2 * heads))
    PAGE.row(of, "the same with the heads", whole)
    PAGE.row(of, "the same for the batch of 32", whole * B)
    kept = stage(BERT).activations_bytes
    assert kept == pytest.approx(bert_activation_bytes(4, B, S))
    PAGE.row(of, "activations of the batch", kept, 12e9)
    fused = stage(BERT, "stack=megatron-core").activations_bytes
    # Flash attention keeps a statistic of 4 bytes a row and head in place of s x s arrays.
    assert fused == pytest.approx(kept - L * 9 * SCORES + L * 4 * B * S * HEADS, rel=1e-3)
    PAGE.row(of, "activations with flash attention", fused)


@pytest.mark.example("11.3.1")
def test_section_11_3_1_adam() -> None:
    of = "Section 11.3.1"
    ours = states(BERT)
    assert run(BERT).parameters == PARAMETERS
    assert ours == pytest.approx(16 * PARAMETERS, rel=1e-9) and 16 * 110e6 == 1.76e9
    PAGE.row(of, "BERT-base, all four", ours, 1.76e9)
    share = ours / stage(BERT).weights_bytes
    assert share == pytest.approx(4)
    PAGE.row(of, "over the weights alone", share, 4)
    gpt3 = 64 * states("11-s8-gpt3-64xa100-zero3")
    width, layers, words = 12_288, 96, 50_257
    parameters = (words + 2048) * width + layers * (12 * width**2 + 13 * width) + 2 * width
    # The vocabulary is padded to a multiple of 128.
    assert gpt3 == pytest.approx(16 * parameters, rel=1e-4) and 16 * 175e9 == 2800e9
    PAGE.row(of, "GPT-3, all four", gpt3, 2800e9)


@pytest.mark.example("11.3.4")
@pytest.mark.parametrize(
    ("optimizer", "row", "a_parameter", "book"),
    [
        ("sgd", "SGD", 8, 880e6),
        ("momentum", "SGD with momentum", 12, 1320e6),
        ("adamw", "AdamW", 16, 1760e6),
        ("lamb", "LAMB", 16, 1760e6),
    ],
)
def test_section_11_3_4_optimizers(optimizer: str, row: str, a_parameter: int, book: float) -> None:
    ours = states(BERT, f"optimizer={optimizer}")
    assert ours == pytest.approx(a_parameter * PARAMETERS, rel=1e-9)
    assert a_parameter * 110e6 == book
    PAGE.row("Section 11.3.4", row, ours, book)


@pytest.mark.example("11.3.4")
def test_section_11_3_4_time_of_the_update() -> None:
    adam, lamb = (run(BERT, f"optimizer={o}").breakdown.optimizer_s for o in ("adamw", "lamb"))
    # Bytes a parameter: norm, clip and clear 4 + 8 + 4; Adam 28, LAMB 48 (docs/strategies).
    assert lamb / adam == pytest.approx((16 + 48) / (16 + 28), rel=0.01)
    share = (lamb - adam) / run(BERT).step_s
    PAGE.row("Section 11.3.4", "what LAMB adds to a step", share)
