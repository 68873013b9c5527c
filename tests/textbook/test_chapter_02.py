"""Chapter 2 of the textbook, first half: FLOP, activations, checkpointing, model states.

Each test checks our number against a closed form, and the book's against its own formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from typing import Any

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-02")
#: BERT-base: layers, hidden, heads; batch and length of the chapter's examples; parameters.
L, D, A, B, N, P = 12, 768, 12, 32, 512, 110_106_428
LAYERS, BERT, GPT3 = "02-05-bert-base-layers", "02-11-bert-base", "02-12-gpt3-adam"
ONE = ("batch.global_size=1", "batch.micro_size=1")
PEAK = (*ONE, "precision=fp16", "cluster.device=devices/02-a100-peak.yaml")
HALF = "precision={compute: fp16, gradients: fp16}"


def close(ours: float, expected: float, relative: float = 1e-9) -> bool:
    return isclose(ours, expected, rel_tol=relative)


def flop(*names: str) -> float:
    """Forward FLOP of one sequence in operators of the 12 layers."""
    return sum(r["times"] * r["forward_flop"] for r in map(_layer_operator, names))


def _layer_operator(name: str) -> Mapping[str, Any]:
    return operator(LAYERS, name, *ONE)


def saved(*names: str) -> float:
    """Activations that operators of one layer keep for 32 sequences."""
    return sum(operator(LAYERS, name)["saved_bytes"] for name in names)


@pytest.mark.example("2.5")
def test_example_2_5_flop_of_bert_base():
    whole = anatomy(LAYERS, *ONE)
    attention, mlp = flop("scores", "context"), flop("mlp_up", "mlp_down")
    projections = flop("qkv", "attention_out")
    forward, both = whole["forward_flop"], whole["forward_and_backward_flop"]
    backward = sum(r["times"] * r["backward_flop"] for r in whole["operators"])
    batch = anatomy(LAYERS)["forward_and_backward_flop"]
    headed = anatomy(BERT, *ONE, "model.predictions=0")["forward_flop"]

    assert attention == L * 4 * N * N * D
    assert mlp == L * 2 * (2 * N * D * 4 * D)
    assert projections == L * 4 * (2 * N * D * D)
    assert close(forward, attention + mlp + projections)
    assert close(backward, 2 * forward) and close(both, forward + backward)
    assert close(headed, forward + 2 * N * D * (D + 30522) + 2 * D * D + 4 * D)
    # The book's formulas do not give its parts; its sum is right all the same.
    assert close(L * 4 * N * N * D / 1e9, 9.664, 1e-3)  # printed as 48
    assert close(L * 2 * N * D * 4 * D / 1e9, 28.99, 1e-3)  # printed as 36, and one product of two
    assert 48 + 36 + 12 == 96
    assert 96 + 97 == 193 and 96 + 193 == 289
    assert close(289 * 32 / 1e3, 9.2, 0.01)

    row = "Example 2.5"
    PAGE.row(row, "products of attention, forward", attention, 48e9)
    PAGE.row(row, "feed-forward, forward", mlp, 36e9)
    PAGE.row(row, "projections (the book: other operations)", projections, 12e9)
    PAGE.row(row, "forward", forward, 96e9)
    PAGE.row(row, "backward", backward, 193e9)
    PAGE.row(row, "forward and backward", both, 289e9)
    PAGE.row(row, "forward and backward over forward (key point 2.2)", both / forward, 2)
    PAGE.row(row, "batch of 32", batch, 9.2e12)
    PAGE.row(row, "forward with all heads, every token predicted", headed)


@pytest.mark.example("2.6")
def test_example_2_6_activations_of_bert_base():
    unit = B * N * D * 4
    qkv = saved("scores", "context")
    scores, out, inner = saved("softmax"), saved("attention_out"), saved("mlp_down")
    kept = sum(r["saved_bytes"] for r in anatomy(LAYERS)["operators"] if r["times"] == L)
    whole = anatomy(LAYERS)["activation_bytes"]
    dropped = anatomy(LAYERS, "model.dropout=true")["activation_bytes"]
    fused = anatomy(LAYERS, "precision=fp16", "stack=megatron-core")["activation_bytes"]

    assert (qkv, out, inner) == (3 * unit, unit, 4 * unit)
    assert scores == B * A * N * N * 4
    # Inputs of 4 products and 2 norms, queries, keys, values, GELU: 16 unit. (Korthikanti 2022,
    # equation 1, twice for FP32, without its masks.)
    assert kept == 16 * unit + scores
    assert whole == L * kept + unit  # the norm after the embedding
    assert dropped == whole + L * (2 * unit / 4 + scores * 5 / 4) + unit / 4
    assert fused == (L * 16 * unit + unit) / 2 + L * B * A * N * 4
    # The book multiplies elements by 3 bytes, but for the scores.
    assert [round(x * B * N * D * 3 / 1e6) for x in (3, 1, 4)] == [113, 38, 151]
    assert 113 + 402 + 38 + 151 == 704
    assert close(704e6 * 12, 8.4e9, 0.01)

    row = "Example 2.6"
    PAGE.row(row, "queries, keys and values of a layer", qkv, 113e6)
    PAGE.row(row, "scores of a layer", scores, 402e6)
    PAGE.row(row, "output of attention", out, 38e6)
    PAGE.row(row, "inside the feed-forward block, once", inner, 151e6)
    PAGE.row(row, "these four", qkv + scores + out + inner, 704e6)
    PAGE.row(row, "all that a layer keeps", kept, 704e6)
    PAGE.row(row, "12 layers", L * kept, 8.4e9)
    PAGE.row(row, "12 layers with dropout, embedding included", dropped)
    PAGE.row(row, "in FP16 with fused attention, embedding included", fused)


@pytest.mark.example("2.7")
def test_example_2_7_forward_and_reverse_mode():
    passes = 1e8
    one = anatomy(LAYERS, *PEAK)
    forward_s = sum(r["times"] * r["forward_s"] for r in one["operators"])
    total, reverse_s = passes * one["forward_flop"], run(LAYERS, *PEAK).step_s

    assert close(total, passes * L * (24 * N * D * D + 4 * N * N * D))
    assert close(forward_s, one["forward_flop"] / 312e12, 1e-6)
    assert close(reverse_s, one["forward_and_backward_flop"] / 312e12, 1e-6)
    assert 1e8 * 100e9 == 1e10 * 1e9 == 1e19  # 10 EFLOP, not 10 PFLOP
    assert round(1e19 / 312e12, -3) == 32_000 and 8.5 < 1e19 / 312e12 / 3600 < 9
    assert close(32_000 / 0.001, 32e6)

    row = "Example 2.7"
    PAGE.row(row, "FLOP of forward mode", total, 10e15)
    PAGE.row(row, "forward mode at the peak of an A100", passes * forward_s, 32_000)
    PAGE.row(row, "reverse mode", reverse_s, 0.001)
    PAGE.row(row, "ratio", passes * forward_s / reverse_s, 32e6)


@pytest.mark.example("2.8")
def test_example_2_8_checkpoints_every_3_layers():
    groups = "plan.recompute={mode: full, every: 3}"
    nine = "plan.recompute={mode: full, every: 3, first: 9}"
    plain, all12, first9 = run(LAYERS), run(LAYERS, groups), run(LAYERS, nine)
    each = run(LAYERS, "plan.recompute=full")

    def activations(p: Any) -> float:
        stage = p.memory.stages[0]
        return float(stage.activations_bytes + stage.buffers.working_bytes)

    step = anatomy(LAYERS, *ONE)["forward_and_backward_flop"]
    unit = B * N * D * 4
    layer = 16 * unit + B * A * N * N * 4
    assert activations(plain) == 12 * layer + unit
    assert activations(all12) == (12 / 3 + 1) * unit + 3 * layer
    assert activations(each) == (12 + 1) * unit + layer
    assert close(all12.hfu / all12.mfu, (3 + 1) / 3)
    assert close(first9.hfu / first9.mfu, (3 + 9 / 12) / 3)
    assert 1.3 < all12.step_s / plain.step_s < 1.36
    assert close(8.4 / 3, 2.8)
    # By the book's own layer: 4 outputs, and 3 whole layers when their backward pass comes.
    assert close(4 * 0.038 + 3 * 0.704, 2.26, 0.01)
    assert 96 + 193 + 72 == 361 and close(361 / 289, 1.25, 0.01) and 72 == 0.75 * 96

    row = "Example 2.8"
    PAGE.row(row, "activations without", activations(plain), 8.4e9)
    PAGE.row(row, "activations with groups of 3", activations(all12), 2.8e9)
    PAGE.row(row, "reduction", activations(plain) / activations(all12), 3)
    PAGE.row(row, "FLOP with 9 of 12 layers again", step * first9.hfu / first9.mfu, 361e9)
    PAGE.row(row, "increase of FLOP, 9 of 12 layers", first9.hfu / first9.mfu, 1.25)
    PAGE.row(row, "increase of FLOP, all layers", all12.hfu / all12.mfu, 1.25)
    PAGE.row(row, "increase of the step time, all layers", all12.step_s / plain.step_s)
    PAGE.row(row, "activations with groups of one layer", activations(each))


def states(*changes: str) -> tuple[float, float, float]:
    """Weights, gradients and optimizer states of BERT-base, bytes."""
    stage = run(BERT, *changes).memory.stages[0]
    return stage.weights_bytes, stage.gradients_bytes, stage.optimizer_bytes


@pytest.mark.example("Section 2.5.1")
def test_section_2_5_1_bytes_a_parameter():
    sgd, momentum = states("optimizer=sgd"), states("optimizer=momentum")
    adam, mixed = states(), states(HALF)

    assert sgd == (4 * P, 4 * P, 0)
    assert momentum == (4 * P, 4 * P, 4 * P)
    assert adam == (4 * P, 4 * P, 8 * P)
    assert mixed == (2 * P, 2 * P, (4 + 4 + 4) * P)
    assert 4 + 4 + 4 == 12  # a parameter and two moments: the book prints 16
    assert 2 + 4 + 4 + 4 == 14  # FP16 parameter, master copy, two moments: the book prints 10
    assert (4 / 4, 8 / 4, 16 / 4, 10 / 4) == (1, 2, 4, 2.5)

    row = "Section 2.5.1"
    PAGE.row(row, "SGD, no gradient", (sgd[0] + sgd[2]) / P, 4)
    PAGE.row(row, "SGD with momentum, no gradient", (momentum[0] + momentum[2]) / P, 8)
    PAGE.row(row, "Adam, no gradient", (adam[0] + adam[2]) / P, 16)
    PAGE.row(row, "Adam, gradient included", sum(adam) / P, 16)
    PAGE.row(row, "Adam in mixed precision, no gradient", (mixed[0] + mixed[2]) / P, 10)
    PAGE.row(row, "Adam in mixed precision, gradient included", sum(mixed) / P, 10)


@pytest.mark.example("2.11")
def test_example_2_11_states_of_bert_base():
    momentum, adam, mixed = states("optimizer=momentum"), states(), states(HALF)
    wide = states("precision=fp16")
    assert run(BERT).parameters == P
    assert sum(adam) == sum(mixed) == 16 * P
    assert sum(wide) == 18 * P  # gradients in FP32, as Megatron-Core keeps them
    assert 110 * 4 == 440 and 440 + 440 == 880
    assert 4 * 440 == 1760 and 220 + 3 * 440 + 220 == 1760

    row = "Example 2.11"
    PAGE.row(row, "weights in FP32", adam[0], 440e6)
    PAGE.row(row, "weights in FP16", mixed[0], 220e6)
    PAGE.row(row, "SGD with momentum, no gradients", momentum[0] + momentum[2], 880e6)
    PAGE.row(row, "SGD with momentum, with gradients", sum(momentum))
    PAGE.row(row, "Adam in FP32, with gradients", sum(adam), 1760e6)
    PAGE.row(row, "Adam in mixed precision, FP16 gradients", sum(mixed), 1760e6)
    PAGE.row(row, "Adam in mixed precision, FP32 gradients", sum(wide))


@pytest.mark.example("2.12")
def test_example_2_12_states_of_gpt3():
    p = run(GPT3)
    stages, count = p.memory.stages, p.parameters
    # What each of the 8 tensor-parallel ranks holds whole (norms, positions) is counted 8 times.
    weights, gradients, optimizer = (
        8 * sum(getattr(s, f"{part}_bytes") for s in stages)
        for part in ("weights", "gradients", "optimizer")
    )
    eight = run(GPT3, "cluster.devices=8", "plan.pp=1")
    h, layers, vocab, positions = 12288, 96, 50257, 2048
    whole = layers * (12 * h * h + 13 * h) + (vocab + positions + 2) * h
    assert count == whole
    total = weights + gradients + optimizer
    # At most 1 % more: replicated vectors, and the table of words on the last stage too.
    assert 1 < total / (16 * count) < 1.01
    assert close(weights, gradients) and close(optimizer, 6 * weights)
    assert p.memory.fits and not eight.memory.fits
    assert 175 * 2 == 350 and 175 * 4 == 700
    assert 350 + 700 + 700 + 700 + 350 == 2800 > 640  # no sharding over 8 makes this fit

    row = "Example 2.12"
    PAGE.row(row, "weights", weights, 350e9)
    PAGE.row(row, "gradients", gradients, 350e9)
    PAGE.row(row, "master copy and moments", optimizer, 2100e9)
    PAGE.row(row, "states of all devices", total, 2800e9)
    PAGE.row(row, "states on each of 8 A100, tp = 8", eight.memory.stages[0].states_bytes)
    PAGE.row(row, "peak of a device with 64 A100, tp = pp = 8", p.memory.peak_bytes)
    PAGE.row(row, "least A100 for the states alone", -(-total // (80 * 2**30 - 1.5e9)))


@pytest.mark.example("2.13")
def test_example_2_13_memory_budget():
    fp32, large = run(BERT), run(BERT, "batch.global_size=256", "batch.micro_size=256")
    stage = fp32.memory.stages[0]
    wide = large.memory.stages[0].activations_bytes
    unit, h = B * N * D * 4, B * 80
    scores = B * A * N * N * 4
    layer = 16 * unit + scores + 2 * unit / 4 + scores * 5 / 4
    head = h * (D * 4 * 4 + 30522 * 4) + B * (2 * D * 4 + 2 * 4)
    assert close(stage.activations_bytes, L * layer + unit + unit / 4 + head, 0.001)
    assert close(wide, 8 * stage.activations_bytes)
    assert not large.memory.fits
    assert close(0.44 + 1.32 + 8.4 + 0.44 + 2, 12.6, 1e-6)
    assert close(8.4 * 8, 67.2, 1e-6)
    # Two moments of 440 MB are 0.88 GB; three copies are 1.32.
    assert close(2 * 0.44, 0.88) and close(3 * 0.44, 1.32)

    row = "Example 2.13"
    PAGE.row(row, "weights", stage.weights_bytes, 0.44e9)
    PAGE.row(row, "optimizer states", stage.optimizer_bytes, 1.32e9)
    PAGE.row(row, "gradients", stage.gradients_bytes, 0.44e9)
    PAGE.row(row, "activations, batch of 32", stage.activations_bytes, 8.4e9)
    PAGE.row(row, "runtime", stage.buffers.reserved_bytes, 2e9)
    PAGE.row(row, "all, batch of 32", fp32.memory.peak_bytes, 12.6e9)
    PAGE.row(row, "activations, batch of 256", wide, 67e9)
    PAGE.row(row, "all, batch of 256", large.memory.peak_bytes, 71e9)
