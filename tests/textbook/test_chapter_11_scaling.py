"""Chapter 11, section 11.8: training on several GPUs."""

from __future__ import annotations

import pytest

from tests.textbook.book import Page, operator, run
from tests.textbook.test_chapter_11 import PARAMETERS, stage, states

PAGE = Page("chapter-11-scaling")
EIGHT, PIPE, TENSOR = "11-s8-bert-base-8xa100", "11-s8-pipeline", "11-s8-gpt3-tensor"
GPT3_64 = "11-s8-gpt3-64xa100-zero3"


def sent(name: str, *changes: str) -> float:
    """Return bytes that each rank of one node sends: NVLink has a link each way for each."""
    found = run(name, *changes)
    (nvlink,) = (c for c in found.links.to_dict()["classes"] if c["name"] == "nvlink")
    return float(nvlink["bytes"] / nvlink["links"])


@pytest.mark.example("11.8.1")
def test_section_11_8_1_data_parallelism() -> None:
    of, n, size = "Section 11.8.1", 8, 4 * PARAMETERS
    gradients = stage(EIGHT).gradients_bytes
    assert gradients == pytest.approx(size) and 110e6 * 4 == 440e6
    PAGE.row(of, "gradients", gradients, 440e6)
    ring = 2 * (n - 1) / n * size
    assert sent(EIGHT) == pytest.approx(ring, rel=1e-4)
    PAGE.row(of, "sent by a GPU", sent(EIGHT))
    ours = run(EIGHT).breakdown.data_s
    # 300 GB/s a direction, of which 0.821 are reached (topologies/dgx-a100), and some latency.
    assert ring / 300e9 < ring / (300e9 * 0.821) < ours < 1.2 * ring / (300e9 * 0.821)
    assert round(440e6 / 300e9 * 1e3, 1) == 1.5
    PAGE.row(of, "all-reduce, A100", ours, 1.5e-3)
    v100 = run(EIGHT, "cluster.topology=dgx1-v100").breakdown.data_s
    # Six NVLinks of 25 GB/s a direction: 300 GB/s are both directions together.
    assert v100 > ring / 150e9
    PAGE.row(of, "all-reduce, V100", v100, 1.5e-3)
    compute = run(EIGHT).breakdown.compute_s
    PAGE.row(of, "forward and backward, FP32", compute, 20e-3)
    four = ("precision=bf16", "batch.micro_size=4", "batch.global_size=32", "stack=megatron-core")
    PAGE.row(of, "forward and backward, BF16, 4 sequences", run(EIGHT, *four).breakdown.compute_s)
    exposed = run(EIGHT, "plan.overlap_grad_reduce=true").breakdown.data_s
    assert exposed < ours
    PAGE.row(of, "all-reduce beside backward, exposed", exposed)
    gpt3 = 64 * stage(GPT3_64).weights_bytes
    assert gpt3 == pytest.approx(4 * 174.6e9, rel=1e-3) and 4 * 175 == 700
    PAGE.row(of, "GPT-3, weights in FP32", gpt3, 700e9)


@pytest.mark.example("11.8.2")
def test_section_11_8_2_layers_on_different_gpus() -> None:
    of, n = "Section 11.8.2", 4
    found = run(PIPE, "plan.schedule=naive")
    parts = found.breakdown
    # Beside the update, at which all work: one GPU at a time.
    active = parts.compute_s / (found.step_s - parts.optimizer_s)
    assert active == pytest.approx(1 / n, rel=0.01)
    PAGE.row(of, "share of time that a GPU computes", active, 1 / n)
    bubble = parts.bubble_s / parts.compute_s
    assert bubble == pytest.approx(n - 1, rel=0.01)
    PAGE.row(of, "idle over computing", bubble)
    gpt3 = 64 * states(GPT3_64) / 80e9
    assert gpt3 == pytest.approx(16 * 174.6e9 / 80e9, rel=1e-3) and gpt3 < 100
    PAGE.row(of, "GPUs of 80 GB that hold GPT-3's states in FP32", gpt3)


@pytest.mark.example("11.8.3")
@pytest.mark.parametrize(("m", "book"), [(4, None), (16, 0.25)])
def test_section_11_8_3_pipeline(m: int, book: float | None) -> None:
    of, n = "Section 11.8.3", 4
    found = run(PIPE, f"batch.global_size={m}")
    parts = found.breakdown
    over_ideal = parts.bubble_s / parts.compute_s
    # Huang 2019 (arXiv 1811.06965), section 2.3: (p - 1)/(m + p - 1) of the time, so over the
    # ideal time (p - 1)/m; the book's N/M is neither, and for its own 4 and 4 it is 1.
    assert over_ideal == pytest.approx((n - 1) / m, rel=0.01)
    PAGE.row(of, f"idle over ideal time, {m} micro batches", over_ideal, book)
    idle = parts.bubble_s / (found.step_s - parts.optimizer_s)
    assert idle == pytest.approx((n - 1) / (m + n - 1), rel=0.01)
    PAGE.row(of, f"idle share of the passes, {m} micro batches", idle, book)
    busy = None if book is None else 1 - book
    PAGE.row(of, f"GPUs busy, {m} micro batches", 1 - idle, busy)
    assert book in (None, n / m)


@pytest.mark.example("11.8.3")
def test_section_11_8_3_memory_of_schedules() -> None:
    of, m = "Section 11.8.3", "batch.global_size=16"
    gpipe = stage(PIPE, m).activations_bytes
    other = stage(PIPE, m, "plan.schedule=1f1b").activations_bytes
    # m micro batches at the turn, or p (Narayanan 2021, section 2.2.1).
    assert gpipe / other == pytest.approx(16 / 4)
    PAGE.row(of, "activations, GPipe over 1F1B, 16 micro batches", gpipe / other)


@pytest.mark.example("11.8.4")
def test_section_11_8_4_tensor_parallelism() -> None:
    of, h, t, b_s = "Section 11.8.4", 12_288, 8, 2048
    ffn = sum(operator(TENSOR, op)["parameters"] for op in ("mlp_up", "mlp_down"))
    assert ffn == 2 * h * 4 * h + 5 * h  # and biases
    assert round(2 * 12_288 * 49_152 / 1e9, 1) == 1.2
    PAGE.row(of, "parameters of a feed-forward block", ffn, 1.2e9)
    PAGE.row(of, "the same in FP32", 4 * ffn, 4.8e9)
    one = ("plan.tp=1", "cluster.devices=1")
    whole, part = (stage(TENSOR, *c) for c in (one, ()))
    layers = ("model={base: gpt3-175b, layers: 3}",)
    more = stage(TENSOR, *layers).weights_bytes - part.weights_bytes
    norms = 4 * h + 2 * h  # vectors that every rank holds
    assert more == pytest.approx(4 * (12 * h * h / t + 7 * h / t + norms), rel=1e-4)
    PAGE.row(of, "an eighth of the feed-forward block", more * ffn / (12 * h * h + 13 * h), 600e6)
    PAGE.row(of, "weights, one GPU over one of 8", whole.weights_bytes / part.weights_bytes, 8)
    kept = [stage(TENSOR, *layers, *c).activations_bytes for c in (one, ())]
    less = (kept[0] - whole.activations_bytes) / (kept[1] - part.activations_bytes)
    # In 16 bit 34 s b h and s b h (10 + 24/t) (Korthikanti 2022, equation 2, flash attention).
    assert less == pytest.approx(66 / (18 + 48 / t), rel=1e-3)
    PAGE.row(of, "activations of a layer, one GPU over one of 8", less, 8)
    # Four all-reduces of b s h elements in FP32 a layer: two forward, two backward.
    reduced = sent(TENSOR, *layers) - sent(TENSOR)
    alone = 2 * (t - 1) / t * 4 * b_s * h
    assert reduced == pytest.approx(4 * alone, rel=1e-6)
    PAGE.row(of, "all-reduces of a layer", reduced / alone, 2)
    PAGE.row(of, "sent by a GPU for a layer and sequence", reduced)
    # Data parallelism over 8 GPUs would send the gradients of the layer, once a step.
    dp = 2 * (t - 1) / t * 4 * (12 * h * h + 13 * h)
    PAGE.row(of, "sequences at which it sends as much as data parallelism", dp / reduced)


@pytest.mark.example("11.8.5")
@pytest.mark.parametrize(
    ("stage_", "optimizer", "gradients", "weights", "saved"),
    [
        (1, 110e6, 440e6, 440e6, 770e6),
        (2, 110e6, 55e6, 440e6, 1155e6),
        (3, 110e6, 55e6, 55e6, 1540e6),
    ],
)
def test_section_11_8_5_zero(
    stage_: int, optimizer: float, gradients: float, weights: float, saved: float
) -> None:
    of, n, p4 = "Section 11.8.5", 8, 4 * PARAMETERS
    s = stage(EIGHT, f"plan.zero_stage={stage_}")
    assert s.optimizer_bytes == pytest.approx(2 * p4 / n, rel=1e-4)
    assert s.gradients_bytes == pytest.approx(p4 / n if stage_ > 1 else p4, rel=1e-4)
    assert s.weights_bytes == pytest.approx(p4 / n if stage_ > 2 else p4, rel=1e-4)
    assert (880e6 / 8, 440e6 / 8) == (110e6, 55e6)
    assert saved == {1: 770e6, 2: 770e6 + 385e6, 3: 770e6 + 2 * 385e6}[stage_]
    PAGE.row(of, f"ZeRO-{stage_}, optimizer", s.optimizer_bytes, optimizer)
    PAGE.row(of, f"ZeRO-{stage_}, gradients", s.gradients_bytes, gradients)
    PAGE.row(of, f"ZeRO-{stage_}, weights", s.weights_bytes, weights)
    less = states(EIGHT) - states(EIGHT, f"plan.zero_stage={stage_}")
    PAGE.row(of, f"ZeRO-{stage_}, saved", less, saved)
    peak = run(EIGHT).memory.peak_bytes - run(EIGHT, f"plan.zero_stage={stage_}").memory.peak_bytes
    assert 0 < peak <= less * (1 + 1e-9)
    PAGE.row(of, f"ZeRO-{stage_}, saved of the peak", peak)


@pytest.mark.example("11.8.5")
def test_section_11_8_5_gpt3_on_64() -> None:
    of, s = "Section 11.8.5", stage(GPT3_64)
    assert s.weights_bytes == pytest.approx(4 * 174.6e9 / 64, rel=1e-3)
    assert round(700 / 64) == 11
    PAGE.row(of, "GPT-3 on 64, weights", s.weights_bytes, 11e9)
    assert states(GPT3_64) == pytest.approx(4 * s.weights_bytes)
    PAGE.row(of, "GPT-3 on 64, all states", states(GPT3_64))
    PAGE.row(of, "GPT-3 on 64, peak", run(GPT3_64).memory.peak_bytes)
    assert run(GPT3_64).memory.fits
    assert not run(GPT3_64, "plan.recompute=none", "stack=megatron-2021").memory.fits


@pytest.mark.example("11.8.6")
def test_section_11_8_6_table() -> None:
    of, n = "Section 11.8.6", 8
    book = {1: 4, 2: 8, 3: 8}
    # What a parameter takes in FP32: 4 + 4 + 8 bytes.
    left = {1: 8 + 8 / n, 2: 4 + 12 / n, 3: 16 / n}
    for z in (1, 2, 3):
        ours = states(EIGHT) / states(EIGHT, f"plan.zero_stage={z}")
        assert ours == pytest.approx(16 / left[z], rel=1e-3)
        PAGE.row(of, f"ZeRO-{z}, states over what is left, FP32, 8 GPUs", ours, book[z])
    # Rajbhandari 2020 (arXiv 1910.02054), figure 1: 16 bit, many GPUs: 16/4 and 16/2.
    many = ("cluster={topology: dgx-a100-superpod, devices: 1024}", "batch.global_size=32768")
    for z in (1, 2):
        mixed = ("precision=fp16", f"plan.zero_stage={z}", *many)
        whole = ("precision=fp16", *many)
        ours = states(EIGHT, *whole) / states(EIGHT, *mixed)
        assert ours == pytest.approx(book[z], rel=0.02)
        PAGE.row(of, f"ZeRO-{z}, the same in mixed precision, 1,024 GPUs", ours, book[z])
    plain = sent(EIGHT)
    for z, volume in ((1, 1.0), (2, 1.0), (3, 1.5)):
        ours = sent(EIGHT, f"plan.zero_stage={z}") / plain
        # Section 7 there: 2 P, 2 P and 3 P elements, against 2 P of an all-reduce.
        assert ours == pytest.approx(volume, rel=1e-3)
        PAGE.row(of, f"ZeRO-{z}, sent, over data parallelism", ours)
