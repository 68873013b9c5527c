"""Claims of chapter 16 of the notes, and the slides on linear models (docs/textbook/notes.md)."""

from __future__ import annotations

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("notes")
#: The slides' data: samples and features.
N, D = 100_000, 1000
#: What streams of an A100 with 40 GB reach, bytes/s, and the host needs for a launch, s.
STREAM, LAUNCH_S = 0.678 * 1.555e12, 6e-6


def rows(tag: str, *numbers: tuple[str, float, float | None]) -> None:
    """Check rows of a section: quantity, our number, the notes'."""
    for quantity, ours, book in numbers:
        PAGE.row(tag, quantity, ours, book)


@pytest.mark.example("16.6")
def test_notes_16_6_resnet_forward() -> None:
    name, images = "16-c1-resnet-50-forward", 256
    whole, half = anatomy(name), anatomy(name, "precision=fp16")
    flop = whole["forward_flop"]
    seconds = {
        kind: sum(o["times"] * o["forward_s"] for o in a["operators"])
        for kind, a in (("fp32", whole), ("fp16", half))
    }
    # Published: 4.09 GMACs an image (torchvision).
    assert flop / images == pytest.approx(2 * 4.09e9, rel=1e-3)
    # The notes: 2 TFLOP at 16 TFLOP/s are an eighth of a second.
    assert pytest.approx(0.125) == 2e12 / 16e12 and pytest.approx(16, rel=0.03) == 0.8 * 19.5
    assert seconds["fp32"] > flop / 19.5e12
    assert seconds["fp16"] > flop / 312e12
    rows(
        "Notes 16.6",
        ("FLOP of an image", flop / images, 8e9),
        ("FLOP of 256 images", flop, 2e12),
        ("time of these at 16 TFLOP/s", flop / 16e12, 0.1e-3),
        ("forward pass, fp32", seconds["fp32"], 0.1e-3),
        ("forward pass, fp16", seconds["fp16"], 0.1e-3),
        ("share of the fp32 peak", flop / seconds["fp32"] / 19.5e12, 0.8),
    )


@pytest.mark.example("16.7")
def test_notes_16_7_imagenet() -> None:
    name, images = "16-c2-resnet-50-8xv100", 90 * 1_281_167
    half, whole = run(name), run(name, "precision=fp32")
    hours_s = images / half.tokens_per_s
    assert hours_s == pytest.approx(images / 1024 * half.step_s)
    # Three passes of 8.18 GFLOP, less the gradient of the images, at all of 8 x 125 TFLOP/s.
    flop = images * (3 * 8.18e9 - 2 * 64 * 3 * 49 * 112 * 112)
    floor_s = flop / (8 * 125e12)
    assert hours_s * half.mfu == pytest.approx(floor_s, rel=2e-3)
    assert floor_s > 20 * 100
    rows(
        "Notes 16.7",
        ("step", half.step_s, None),
        ("images a second", half.tokens_per_s, None),
        ("90 epochs", hours_s, 100),
        ("90 epochs at 100 % of the peak", floor_s, 100),
        ("mixed precision over fp32", whole.step_s / half.step_s, 3),
    )


@pytest.mark.example("16.8")
def test_notes_16_8_gpt3() -> None:
    found, tokens = run("16-c3-gpt3-1024xa100"), 300e9
    flop = anatomy("16-c3-gpt3-1024xa100")["forward_and_backward_flop"] / 2048 * tokens
    days_s = tokens / found.tokens_per_s
    # 6 N D without the positions' table, and scores and values: 12 layers h s a token.
    parameters = 12 * 96 * 12_288**2 + 50_257 * 12_288
    assert flop == pytest.approx((6 * parameters + 12 * 96 * 12_288 * 2048) * tokens, rel=1e-3)
    assert 6 * found.parameters * tokens == pytest.approx(3.14e23, rel=2e-3)
    assert days_s == pytest.approx(flop / (1024 * 312e12 * found.mfu), rel=5e-3)
    rows(
        "Notes 16.8",
        ("FLOP of the training", flop, 3.0e11),
        ("days on 1,024 A100", days_s, None),
        ("share of the peak rate", found.mfu, None),
    )


@pytest.mark.example("16.9")
def test_notes_16_9_attention_share() -> None:
    whole = anatomy("16-c3-gpt3-1024xa100", "stack=megatron-2021")
    ops = whole["operators"]
    core = [o for o in ops if o["operator"] in ("scores", "softmax", "context")]
    flop = sum(o["times"] * o["forward_flop"] for o in core) / whole["forward_flop"]
    time = sum(o["times"] * o["forward_s"] for o in core)
    time /= sum(o["times"] * o["forward_s"] for o in ops)
    h, s = 12_288, 2048
    layers = 96 * (24 * s * h * h + 4 * s * s * h)
    assert flop == pytest.approx(96 * 4 * s * s * h / (layers + 2 * s * h * 50_257), rel=3e-3)
    assert flop < s / (6 * h) == pytest.approx(0.028, abs=5e-4)
    rows(
        "Notes 16.9",
        ("share of the forward FLOP", flop, None),
        ("share of the forward time, one device", time, None),
    )


@pytest.mark.example("16.10")
def test_notes_16_10_bert_on_tpus() -> None:
    name = "16-c4-bert-large-1024xtpu"
    phase_2 = ("batch.sequence_length=512", "batch.global_size=32768", "batch.micro_size=16")
    flop, time, expected = 0.0, 0.0, 0.0
    h, layers, words = 1024, 24, 30_522
    for steps, sequences, s, changes in (
        (7037, 65_536, 128, ()),
        (1562, 32_768, 512, phase_2),
    ):
        found = anatomy(name, *changes)
        flop += steps * sequences * found["forward_and_backward_flop"] / found["samples"]
        time += steps * run(name, *changes).step_s
        # Projections and feed-forward block, scores and values, masked-LM head, pooler.
        forward = layers * (24 * s * h * h + 4 * s * s * h) + 2 * s * h * (h + words) + 2 * h * h
        expected += steps * sequences * 3 * forward
    assert flop == pytest.approx(expected, rel=1e-3)
    published_s, v3, v4 = 76.19 * 60, 123e12, 275e12
    share = flop / (1024 * v3 * published_s)
    assert flop / (1024 * v4) < time < published_s
    assert v3 / v4 == pytest.approx(0.45, abs=0.005)
    assert flop / (1024 * v4 * time) == pytest.approx(0.42, abs=0.01)
    rows(
        "Notes 16.10",
        ("FLOP of both phases", flop, None),
        ("time on 1,024 TPU v4", time, 76 * 60),
        ("share of the peak of 1,024 TPU v3 in 76 minutes", share, None),
        ("share of the peak of 32k TPU v3 in 76 minutes", share / 32, None),
    )


@pytest.mark.example("Linear models 1")
def test_linear_models_1_inference() -> None:
    op = operator("00-02-perceptron", "predict")
    assert op["forward_flop"] == 2 * D
    assert op["forward_bytes"] == 4 * (D + D + 1)
    assert operator("00-01-residual", "predict")["forward_flop"] == 2 * D * N
    rows(
        "Linear models 1",
        ("FLOP of a sample", op["forward_flop"], 2000),
        ("bytes of a sample", op["forward_bytes"], 8004),
        ("FLOP per byte", op["flop_per_byte"], None),
    )


@pytest.mark.example("Linear models 2")
def test_linear_models_2_normal_equations() -> None:
    gram = operator("00-01-residual", "normal_equations", "model.order=gram")
    wrong = operator("00-01-residual", "predict", "model.outputs=1000")
    right = operator("00-01-residual", "predict")
    assert gram["forward_flop"] == 2 * D * D * N + 2 * D * N
    assert wrong["forward_flop"] == 2 * D * D * N
    assert right["backward_flop"] == 2 * D * N
    assert gram["saved_bytes"] == 4 * (D * D + D)
    # X^T y is a pass over X; X^T X is bounded by 19.5 TFLOP/s.
    assert right["backward_s"] == pytest.approx(4 * N * D / STREAM, rel=0.02)
    assert gram["forward_s"] > gram["forward_flop"] / 19.5e12
    assert round(wrong["forward_s"] / right["backward_s"]) == 37
    rows(
        "Linear models 2",
        ("X^T X and X^T y", gram["forward_flop"], 200.2e9),
        ("wrong order, its product of matrices", wrong["forward_flop"], 200.0e9),
        ("right order, X^T y", right["backward_flop"], 0.2e9),
        ("time of X^T X and X^T y on an A100, fp32", gram["forward_s"], None),
        ("time of the product of the wrong order", wrong["forward_s"], None),
        ("time of X^T y", right["backward_s"], None),
        ("memory kept", gram["saved_bytes"], 4.004e6),
    )


@pytest.mark.example("Linear models 3")
def test_linear_models_3_descent() -> None:
    name, option_1 = "00-01-residual", "model.order=precomputed"
    second, first, both = run(name), run(name, option_1), run(name, "model.order=gram")
    kept_1, kept_2 = (p.memory.stages[0].activations_bytes for p in (first, second))
    once = operator(name, "normal_equations", "model.order=gram")["forward_flop"]
    step_1 = operator(name, "normal_equations", option_1)["backward_flop"]
    step_2 = anatomy(name)["forward_and_backward_flop"]
    assert step_1 == 2 * D * D
    assert step_2 == 4 * D * N
    assert kept_1 == 4 * (D * D + D)
    # X, and predictions and targets.
    assert kept_2 == 4 * N * (D + 2)
    # A step of option 2 passes twice over X; option 1 waits for the host to launch 7 kernels.
    assert second.step_s == pytest.approx(2 * 4 * N * D / STREAM, rel=0.06)
    assert first.step_s == pytest.approx(7 * LAUNCH_S)
    # The slides: 2 d^2 N + 2 d N once and 2 d^2 + d a step against 2 d N and 4 d N + d.
    book = 2 * D * D * N / ((4 * D * N + D) - (2 * D * D + D))
    assert book == pytest.approx((D + 1) / 2, rel=0.01)
    once_s = both.step_s - first.step_s
    rows(
        "Linear models 3",
        ("once, option 1", once, 200.2e9),
        ("a step, option 1", step_1, 2.0e6),
        ("once, option 2", 0.0, 0.2e9),
        ("a step, option 2", step_2, 400e6),
        ("kept, option 1", kept_1, 4.004e6),
        ("kept, option 2", kept_2, 400.0e6),
        ("time of a step, option 1", first.step_s, None),
        ("time of a step, option 2", second.step_s, None),
        ("steps from which option 1 pays, by FLOP", once / (step_2 - step_1), round(book + 0.5)),
        (
            "steps from which option 1 pays, by time",
            once_s / (second.step_s - first.step_s),
            round(book + 0.5),
        ),
    )


@pytest.mark.example("Linear models 4")
def test_linear_models_4_perceptron() -> None:
    op, one = operator("00-02-perceptron", "predict"), run("00-02-perceptron")
    many = run("00-02-perceptron", f"batch.global_size={N}", f"batch.micro_size={N}")
    score = op["forward_flop"]
    update = op["backward_flop"]
    assert (score, update) == (2 * D, 2 * D)
    assert one.step_s == pytest.approx(8 * LAUNCH_S)
    assert many.step_s == pytest.approx(2 * 4 * N * D / STREAM, rel=0.06)
    assert round(N * one.step_s / many.step_s, -3) == 6000
    rows(
        "Linear models 4",
        ("FLOP of a step, score", score, 2000),
        ("FLOP of a step, score and update", score + update, 2000),
        ("time of a step", one.step_s, None),
        ("time of 100,000 steps", N * one.step_s, None),
        ("time of one step of 100,000 samples", many.step_s, None),
    )
