"""Chapter 11, sections 11.5 to 11.7 and exercises 11.1 to 11.3, on one GPU."""

from __future__ import annotations

import pytest

from tests.textbook.book import Page, anatomy, operator, run
from tests.textbook.test_chapter_11 import (
    BERT,
    GPT2,
    PARAMETERS,
    SBH,
    SCORES,
    WORDS,
    B,
    H,
    L,
    S,
    bert_activation_bytes,
    largest,
    layer_flop,
    stage,
    states,
)

PAGE = Page("chapter-11")
#: Mixed precision as section 11.5.2 keeps it: gradients in FP32.
MIXED = "precision={compute: fp16, gradients: fp32}"
FULL = "plan.recompute=full"
V100_BYTES = 16 * 2**30


@pytest.mark.example("11.5.2")
def test_section_11_5_2_mixed_precision() -> None:
    of = "Section 11.5.2"
    fp32, mixed = states(BERT), states(BERT, MIXED)
    assert fp32 == pytest.approx(16 * PARAMETERS, rel=1e-9)
    assert mixed == pytest.approx(18 * PARAMETERS, rel=1e-9)
    PAGE.row(of, "FP32, states", fp32, 1760e6)
    PAGE.row(of, "mixed, states", mixed, 1980e6)
    whole, half = stage(BERT).activations_bytes, stage(BERT, MIXED).activations_bytes
    assert whole == pytest.approx(bert_activation_bytes(4, B, S))
    assert half == pytest.approx(bert_activation_bytes(2, B, S))
    PAGE.row(of, "FP32, activations", whole, 12_000e6)
    PAGE.row(of, "mixed, activations", half, 6000e6)
    PAGE.row(of, "activations, mixed over FP32", half / whole, 0.5)
    assert 1760 + 12_000 == 13_760 and 220 + 1760 + 6000 == 7980
    assert round((13.76 - 7.98) / 13.76, 2) == 0.42
    PAGE.row(of, "FP32, total", fp32 + whole, 13.8e9)
    PAGE.row(of, "mixed, total", mixed + half, 8.0e9)
    PAGE.row(of, "saved", 1 - (mixed + half) / (fp32 + whole), 0.42)


@pytest.mark.example("11.5.3")
def test_section_11_5_3_speed_of_the_a100() -> None:
    of, step, peak = "Section 11.5.3", {}, {}
    for kind in ("fp32", "tf32", "fp16"):
        found = run(BERT, f"precision={kind}")
        step[kind] = found.step_s
        peak[kind] = found.model_flop_per_s_per_device / found.mfu
        # No run beats the roofline of its products.
        assert found.step_s > anatomy(BERT)["forward_and_backward_flop"] / peak[kind]
    # NVIDIA A100 datasheet: FP32, TF32 Tensor Core, FP16 Tensor Core.
    assert (peak["fp32"], peak["tf32"], peak["fp16"]) == pytest.approx((19.5e12, 156e12, 312e12))
    PAGE.row(of, "peak in FP32", peak["fp32"], 156e12)
    PAGE.row(of, "peak in TF32", peak["tf32"])
    PAGE.row(of, "peak in FP16", peak["fp16"], 312e12)
    assert 312 / 156 == 2 and 4 / 1.6 == 2.5
    assert 1 < step["tf32"] / step["fp16"] < 2
    assert 2 < step["fp32"] / step["fp16"] < 16
    PAGE.row(of, "step, TF32 over FP16", step["tf32"] / step["fp16"], 1.6)
    PAGE.row(of, "step, FP32 over FP16", step["fp32"] / step["fp16"], 2)


@pytest.mark.example("11.6.3")
def test_section_11_6_3_accumulation() -> None:
    of, once = "Section 11.6.3", ("batch.global_size=512", "batch.micro_size=512")
    many = run(BERT, "batch.global_size=512")
    passes = 2 * many.plan["microbatches"]
    assert passes == 2 * 512 // 32 == 32
    PAGE.row(of, "passes, forward and backward", passes, 32)
    small = states(BERT) + stage(BERT, "batch.global_size=512").activations_bytes
    assert small == pytest.approx(16 * PARAMETERS + bert_activation_bytes(4, 32, S))
    PAGE.row(of, "memory, 16 times 32", small, 13.8e9)
    large = states(BERT) + stage(BERT, *once).activations_bytes
    assert large == pytest.approx(16 * PARAMETERS + bert_activation_bytes(4, 512, S))
    # The book multiplies all of its 13.76 GB, states included: its own parts give 193.8 GB.
    assert round(16 * 13.76) == 220 and pytest.approx(193.8, abs=0.05) == 1.76 + 16 * 12
    PAGE.row(of, "memory, 512 at once", large, 220e9)
    slower = many.step_s / run(BERT, *once).step_s - 1
    assert 0 < slower < 0.15
    PAGE.row(of, "time that 16 times 32 adds", slower, 0.15)
    two = run(BERT, "batch.global_size=512", "batch.micro_size=2").step_s
    PAGE.row(of, "time that 256 times 2 adds", two / run(BERT, *once).step_s - 1)


@pytest.mark.example("11.7.1")
def test_section_11_7_1_cost_of_recomputation() -> None:
    of, none, full = "Section 11.7.1", run(BERT), run(BERT, FULL)
    parts = anatomy(BERT)
    again = sum(r["times"] * r["forward_flop"] for r in parts["operators"] if r["times"] == L)
    more = again / parts["forward_and_backward_flop"]
    head = S * H * (H + WORDS) + H * H + 2 * H
    layers = layer_flop(L, H, S)
    assert more == pytest.approx(layers / (3 * (layers + 2 * head)))
    PAGE.row(of, "FLOP that it adds", more, 0.33)
    slower = full.step_s / none.step_s - 1
    assert 0.2 < slower < 0.33
    PAGE.row(of, "time that it adds", slower, 0.25)
    kept, all_ = (stage(BERT, *c).activations_bytes for c in ((FULL,), ()))
    inputs = L * 4 * SBH
    rest = bert_activation_bytes(4, B, S) - L * (66 * SBH + 9 * SCORES)
    assert kept == pytest.approx(inputs + rest)
    PAGE.row(of, "activations that it drops", 1 - kept / all_, 0.80)
    PAGE.row(of, "the same, layers alone", 1 - inputs / (all_ - rest))


@pytest.mark.example("11.7.2")
def test_section_11_7_2_every_other_layer() -> None:
    of, other = "Section 11.7.2", "plan.recompute={mode: full, layers: [0, 2, 4, 6, 8, 10]}"
    kept, all_ = (stage(BERT, *c).activations_bytes for c in ((other,), ()))
    layer = 66 * SBH + 9 * SCORES
    assert all_ - kept == pytest.approx(6 * (layer - 4 * SBH))
    PAGE.row(of, "activations dropped", 1 - kept / all_, 0.5)
    half, full, none = (run(BERT, *c).step_s for c in ((other,), (FULL,), ()))
    assert half - none == pytest.approx((full - none) / 2, rel=1e-3)
    PAGE.row(of, "time added", half / none - 1, 0.15)


@pytest.mark.example("11.7.3")
def test_section_11_7_3_gpt2() -> None:
    of, s, b = "Section 11.7.3", 1024, 32
    sbh, scores = s * H, 12 * s * s
    layer = sum(r["saved_bytes"] for r in anatomy(GPT2)["operators"] if r["times"] == 12) / b
    assert layer == pytest.approx(66 * sbh + 9 * scores)
    PAGE.row(of, "a layer and sequence", layer, 85e6)
    all_ = stage(GPT2).activations_bytes
    # Token vectors with dropout's mask; norm, head and logits in FP32.
    ends = b * (sbh + 2 * 4 * sbh + 4 * s * 50_257)
    assert all_ == pytest.approx(12 * b * layer + ends, rel=2e-3)
    assert 12 * 85 == 1020 and round(32 * 1.02) == 33  # the book rounds 1.02 to 1 before
    PAGE.row(of, "all activations", all_, 32e9)
    assert pytest.approx(1308e6, rel=1e-3) == 13 * 32 * 1024 * 768 * 4
    kept = stage(GPT2, FULL).activations_bytes
    assert kept == pytest.approx(12 * b * sbh * 4 + ends, rel=5e-3)
    PAGE.row(of, "kept with recomputation", kept, 1308e6)
    PAGE.row(of, "of it the logits", operator(GPT2, "cross_entropy")["saved_bytes"])
    PAGE.row(of, "activations dropped", 1 - kept / all_, 0.96)
    full = run(GPT2, FULL)
    flop = layer_flop(12, H, s)
    more = full.hfu / full.mfu - 1
    assert more == pytest.approx(flop / (3 * (flop + 2 * s * H * 50_257)))
    PAGE.row(of, "FLOP added", more)
    slower = full.step_s / run(GPT2).step_s - 1
    assert more < slower < 1 / 3
    PAGE.row(of, "time added", slower, 0.25)


@pytest.mark.example("11.7.3")
def test_section_11_7_3_largest_batch_in_16_gib() -> None:
    of = "Section 11.7.3"
    most = [largest(GPT2, V100_BYTES, f"plan.recompute={mode}") for mode in ("none", "full")]
    # States, what the runtime takes, layers and ends: as in the test above.
    parameters = (50_257 + 1024) * H + L * (12 * H * H + 13 * H) + 2 * H
    sbh, scores, logits = 1024 * H, 12 * 1024**2, 4 * 1024 * 50_257
    each = L * (66 * sbh + 9 * scores) + 9 * sbh + logits
    room = V100_BYTES - 16 * parameters - 1.5e9
    assert most[0] == pytest.approx(room / each, abs=1)
    # Recomputed: inputs alone, and one layer at a time in full.
    again = L * 4 * sbh + (66 * sbh + 9 * scores) + 9 * sbh + logits
    assert most[1] == pytest.approx(room / again, abs=1)
    PAGE.row(of, "most sequences in 16 GiB", most[0], 4)
    PAGE.row(of, "most sequences in 16 GiB, recomputed", most[1], 20)
    PAGE.row(of, "one over the other", most[1] / most[0], 5)


@pytest.mark.example("11.1")
def test_exercise_11_1_small_transformer() -> None:
    of, name, mixed = "Exercise 11.1", "11-x01-small-transformer", "precision=fp16"
    b, s, h, heads, words, layers = 32, 128, 256, 8, 10_000, 4
    sbh, scores = b * s * h, b * heads * s * s
    for element, change in ((4, "precision=fp32"), (2, mixed)):
        kept = stage(name, change).activations_bytes
        layer = (16 * element + 2) * sbh + (2 * element + 1) * scores
        ends = (5 * element + 1) * sbh + 4 * b * s * words + 2 * element * b * h + 8 * b
        assert kept == pytest.approx(layers * layer + ends)
    fp32 = states(name) + stage(name).activations_bytes
    fp16 = states(name, mixed) + stage(name, mixed).activations_bytes
    PAGE.row(of, "memory, FP32", fp32, 2.4e9)
    PAGE.row(of, "memory, mixed", fp16, 1.3e9)
    assert round(1 - 1.3 / 2.4, 2) == 0.46 and round(45.2 / 28.7, 2) == 1.57
    PAGE.row(of, "memory saved", 1 - fp16 / fp32, 0.45)
    times = {p: run(name, f"precision={p}").step_s for p in ("fp32", "tf32", "fp16")}
    PAGE.row(of, "step, FP32 over mixed", times["fp32"] / times["fp16"], 1.57)
    PAGE.row(of, "step, TF32 over mixed", times["tf32"] / times["fp16"])


@pytest.mark.example("11.2")
def test_exercise_11_2_states_and_layers() -> None:
    of = "Exercise 11.2"
    ours = run(BERT).parameters
    parts = (23_040_000, 393_216, 84_971_520, 589_824)
    assert 109_994_560 - sum(parts) == 1_000_000  # the printed sum is a million too large
    assert ours == PARAMETERS
    PAGE.row(of, "parameters", ours, 109_994_560)
    s = stage(BERT)
    PAGE.row(of, "weights and optimizer", s.weights_bytes + s.optimizer_bytes, 1320e6)
    soft = operator(BERT, "softmax")["saved_bytes"]
    assert soft == 4 * SCORES == 32 * 12 * 512 * 512 * 4
    PAGE.row(of, "attention scores, one array", soft, 402.7e6)
    wide = operator(BERT, "mlp_down")["saved_bytes"]
    assert wide == 4 * 32 * 512 * 3072
    PAGE.row(of, "feed-forward block, one array", wide, 201.3e6)
    layer = sum(r["saved_bytes"] for r in anatomy(BERT)["operators"] if r["times"] == L)
    assert layer == 66 * SBH + 9 * SCORES
    assert pytest.approx(754.9) == 402.7 + 50.3 + 201.3 + 100.6
    PAGE.row(of, "activations of a layer", layer, 754.9e6)


@pytest.mark.example("11.2")
def test_exercise_11_2_totals() -> None:
    of, other = "Exercise 11.2", "plan.recompute={mode: full, layers: [0, 2, 4, 6, 8, 10]}"
    kept, s = stage(BERT).activations_bytes, stage(BERT)
    assert kept == pytest.approx(bert_activation_bytes(4, B, S))
    assert pytest.approx(9058.8) == 12 * 754.9
    PAGE.row(of, "activations", kept, 9059e6)
    assert s.gradients_bytes == pytest.approx(4 * PARAMETERS, rel=1e-9)
    PAGE.row(of, "gradients", s.gradients_bytes, 9059e6)
    assert 440 + 880 + 2 * 9059 == 19_438
    PAGE.row(of, "total", states(BERT) + kept, 19.4e9)
    some = states(BERT, other) + stage(BERT, other).activations_bytes
    assert round((440 + 880 + 4529 + 9059) / 1e3, 1) == 14.9
    PAGE.row(of, "total, every other layer recomputed", some, 14.9e9)
    PAGE.row(of, "saved", 1 - some / (states(BERT) + kept), 0.23)
    added = run(BERT, other).step_s / run(BERT).step_s - 1
    # Six of twelve layers forward again are a sixth of three passes through twelve.
    assert 0 < added < 6 / (3 * 12)
    PAGE.row(of, "time added", added, 0.33)


@pytest.mark.example("11.3")
def test_exercise_11_3_accumulation() -> None:
    of, once = "Exercise 11.3", ("batch.global_size=512", "batch.micro_size=512")
    assert round(145 / 120 - 1, 3) == 0.208 and round(1 - 4.2 / 18.5, 3) == 0.773
    slower = run(BERT, "batch.global_size=512").step_s / run(BERT, *once).step_s - 1
    PAGE.row(of, "time added", slower, 0.208)
    small = states(BERT) + stage(BERT).activations_bytes
    large = states(BERT, *once) + stage(BERT, *once).activations_bytes
    PAGE.row(of, "memory saved", 1 - small / large, 0.773)
    a, f = bert_activation_bytes(4, 1, S), 16 * PARAMETERS
    assert small / large == pytest.approx((f + 32 * a) / (f + 512 * a))
    # The book's own two numbers, split into a fixed part and one a sequence: 3.25 GB and 30 MB.
    a_sequence = (18.5 - 4.2) / (512 - 32)
    assert 4.2 - 32 * a_sequence == pytest.approx(3.25, abs=0.01)
    assert a_sequence == pytest.approx(0.0298, abs=1e-4)
