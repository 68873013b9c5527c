"""Chapter 2 of the textbook, second half: time on devices, batches, several GPUs, exercises."""

from __future__ import annotations

from math import isclose, log2
from typing import Any

import pytest

from distsim.study.collective import collective_report
from tests.textbook.book import Page, anatomy, run

PAGE = Page("chapter-02")
LAYERS, BERT, XL = "02-05-bert-base-layers", "02-11-bert-base", "02-18-gpt2-xl-accumulation"
EIGHT, DEEP, FIXED = "02-19-bert-base-8xa100", "02-x08-24-layers", "02-x09-eight-gpus"
#: FLOP of a step of one sequence of 512 tokens in the layers of BERT-base.
STEP_FLOP = 3 * 12 * (24 * 512 * 768**2 + 4 * 512**2 * 768)
P = 110_106_428
ONE = ("batch.global_size=1", "batch.micro_size=1")
HALF = "precision={compute: fp16, gradients: fp16}"
PEAK = "cluster.device=devices/02-a100-peak.yaml"
XEON = "cluster.device=devices/02-xeon-peak.yaml"


def close(ours: float, expected: float, relative: float = 1e-9) -> bool:
    return isclose(ours, expected, rel_tol=relative)


def batch(size: int) -> tuple[str, str]:
    return f"batch.global_size={size}", f"batch.micro_size={size}"


def needed(p: Any, reserve: float) -> float:
    """Peak of the fullest stage, and a share of what the allocator manages on top."""
    return float(max(s.peak_bytes + s.reserve_bytes(reserve) for s in p.memory.stages))


def largest_batch(name: str, *changes: str, reserve: float = 0.0) -> int:
    """Sequences of the largest micro batch that fits on one device; memory is linear in it."""
    one, two = (needed(run(name, *changes, *batch(n)), reserve) for n in (1, 2))
    room = run(name, *changes, *batch(1)).memory.capacity_bytes
    most = int((room - one) // (two - one)) + 1
    for size, fits in ((most, True), (most + 1, False)):
        assert (needed(run(name, *changes, *batch(size)), reserve) <= room) is fits
    return most


@pytest.mark.example("2.15")
def test_example_2_15_larger_batches():
    def rate(size: int) -> float:
        micro = min(size, 256)  # 512 sequences at once do not fit
        p = run(BERT, HALF, "stack=megatron-core", batch(size)[0], batch(micro)[1])
        assert p.memory.fits
        return float(size / p.step_s)

    gain = rate(512) / rate(32)
    # Even at its peak the device could not gain as much as the book says.
    assert 1 < gain < 312e12 / STEP_FLOP / rate(32) < 4.6
    # The optimizer runs once a step, whatever the batch; that is a part of the gain.
    small = run(BERT, HALF, "stack=megatron-core", *batch(32))
    assert gain > 1 + 0.9 * small.breakdown.optimizer_s / small.step_s

    row = "Example 2.15"
    PAGE.row(row, "samples/s, batch of 32", rate(32))
    PAGE.row(row, "samples/s, batch of 512", rate(512))
    PAGE.row(row, "gain", gain, 4.6)


@pytest.mark.example("2.16")
def test_example_2_16_gpu_and_cpu():
    gpu, cpu = ("precision=fp16", PEAK, *ONE), (XEON, *ONE)
    forward_s = [
        sum(r["times"] * r["forward_s"] for r in anatomy(LAYERS, *c)["operators"])
        for c in (gpu, cpu)
    ]
    step_s = [run(LAYERS, *c).step_s for c in (gpu, cpu)]
    real, same = run(LAYERS, "precision=fp16"), run(LAYERS)
    for seconds, peak in zip(step_s, (312e12, 2.1e12), strict=True):
        assert close(seconds, STEP_FLOP / peak, 1e-6)
    assert close(step_s[1] / step_s[0], 312 / 2.1, 1e-6)
    assert [round(96 / 312, 2), round(193 / 312, 2)] == [0.31, 0.62]
    assert [round(96 / 2.1), round(193 / 2.1), 45 + 90] == [46, 92, 135]
    assert round(1 / 0.93e-3) == 1075 and round(135 / 0.93) == 145

    row = "Example 2.16"
    PAGE.row(row, "forward, GPU at its peak", forward_s[0], 0.31e-3)
    PAGE.row(row, "backward, GPU at its peak", step_s[0] - forward_s[0], 0.62e-3)
    PAGE.row(row, "both, GPU at its peak", step_s[0], 0.93e-3)
    PAGE.row(row, "sequences/s, GPU at its peak", 1 / step_s[0], 1075)
    PAGE.row(row, "both, CPU at 2.1 TFLOP/s", step_s[1], 135e-3)
    PAGE.row(row, "GPU over CPU", step_s[1] / step_s[0], 145)
    PAGE.row(row, "a sequence in a batch of 32, FP16, catalogue A100", real.step_s / 32, 0.93e-3)
    PAGE.row(row, "a sequence in a batch of 32, FP32, catalogue A100", same.step_s / 32)


@pytest.mark.example("2.17")
def test_example_2_17_mixed_precision():
    fp32, tf32, fp16 = run(BERT), run(BERT, "precision=tf32"), run(BERT, HALF)
    double = run(BERT, HALF, *batch(64))
    # No step can be faster than its FLOP at the peak of the type.
    for p, peak, size in (
        (fp32, 19.5e12, 32), (tf32, 156e12, 32), (fp16, 312e12, 32), (double, 312e12, 64)
    ):  # fmt: skip
        assert p.step_s > size * STEP_FLOP / peak
    batches = (64 / double.step_s) / (32 / fp16.step_s)
    assert 1 < batches < 1.1
    assert 1.5 < tf32.step_s / fp16.step_s < 2
    assert round(0.93 / 0.48, 2) == 1.94 and round(1 - 8.2 / 12.6, 2) == 0.35
    assert round(32 / 0.93e-3, -2) == 34_400 and round(64 / 0.48e-3, -2) == 133_300
    assert round(133_300 / 34_400, 2) in (3.87, 3.88)
    assert 34_400 * STEP_FLOP / 1e12 > 30 * 312  # the book's rate is 32 times the peak

    row = "Example 2.17"
    PAGE.row(row, "step in FP32", fp32.step_s, 0.93e-3)
    PAGE.row(row, "step in FP16", fp16.step_s, 0.48e-3)
    PAGE.row(row, "FP32 over FP16", fp32.step_s / fp16.step_s, 1.94)
    PAGE.row(row, "TF32 over FP16", tf32.step_s / fp16.step_s)
    PAGE.row(row, "memory in FP32", fp32.memory.peak_bytes, 12.6e9)
    PAGE.row(row, "memory in mixed precision", fp16.memory.peak_bytes, 8.2e9)
    PAGE.row(row, "memory saved", 1 - fp16.memory.peak_bytes / fp32.memory.peak_bytes, 0.35)
    PAGE.row(row, "samples/s in FP32, batch of 32", 32 / fp32.step_s, 34_400)
    PAGE.row(row, "samples/s in FP16, batch of 64", 64 / double.step_s, 133_300)
    PAGE.row(row, "gain of a batch of 64 over 32", batches, 2)
    PAGE.row(row, "largest batch in FP32", largest_batch(BERT, "precision=fp32"), 32)


@pytest.mark.example("2.18")
def test_example_2_18_accumulation():
    many, one = run(XL), run(XL, "batch.global_size=4")
    most = largest_batch(XL)
    reserved = largest_batch(XL, reserve=0.2)
    # 16 bytes a parameter; a layer keeps s b h (34 + 5 a s / h) bytes (Korthikanti 2022).
    s, h, layers, heads, vocab = 1024, 1600, 48, 25, 50257
    # Logits are kept in fp32, and for a moment there in fp16 besides.
    kept = layers * s * h * (34 + 5 * heads * s / h) + s * (h * (2 + 2 + 1) + (4 + 2) * vocab)
    fixed = 16 * 1_557_611_200 + 1.5e9
    assert close(many.memory.peak_bytes, fixed + 4 * kept, 0.001)
    assert most == int((80 * 2**30 - fixed) // kept)
    assert many.memory.peak_bytes == one.memory.peak_bytes
    assert close(many.breakdown.compute_s, 32 * one.breakdown.compute_s, 1e-6)
    assert 4 * 32 == 128

    row = "Example 2.18"
    PAGE.row(row, "largest micro batch that is allocated", most, 4)
    PAGE.row(row, "largest micro batch with 20 % for gaps of the allocator", reserved, 4)
    PAGE.row(row, "largest micro batch that is allocated, fused attention",
             largest_batch(XL, "stack=megatron-core"), 4)  # fmt: skip
    PAGE.row(row, "memory, micro batch of 4", one.memory.peak_bytes)
    PAGE.row(
        row, "memory, 32 micro batches over one", many.memory.peak_bytes / one.memory.peak_bytes, 1
    )
    PAGE.row(row, "forward and backward, 32 micro batches over one",
             many.breakdown.compute_s / one.breakdown.compute_s, 32)  # fmt: skip
    PAGE.row(row, "step, 32 micro batches over one", many.step_s / one.step_s, 32)
    PAGE.row(row, "samples/s, batch of 4", 4 / one.step_s)
    PAGE.row(row, "samples/s, batch of 128", 128 / many.step_s)


@pytest.mark.example("2.19")
def test_example_2_19_eight_a100():
    alone = run(EIGHT, "cluster.devices=1", *batch(32))
    blocking, hidden = run(EIGHT), run(EIGHT, "plan.overlap_grad_reduce=true")
    exposed = blocking.breakdown.data_s
    ring_s = 2 * 7 / 8 * 2 * P / 300e9  # at what NVLink states for one direction
    assert ring_s < exposed < 1.5 * ring_s
    assert close(blocking.step_s, alone.step_s + exposed, 1e-6)
    assert alone.step_s < hidden.step_s < blocking.step_s
    assert ring_s > 10 * 0.12e-3
    assert round(256 / 1.05e-3, -2) == 243_800 and round(32 / 0.93e-3, -2) == 34_400
    assert round(243_800 / (8 * 34_400), 3) == 0.886 and round(0.12 / 1.05, 3) == 0.114

    def efficiency(p: Any) -> float:
        return float(alone.step_s / p.step_s)

    row = "Example 2.19"
    PAGE.row(row, "step on one GPU", alone.step_s, 0.93e-3)
    PAGE.row(row, "samples/s on one GPU", 32 / alone.step_s, 34_400)
    PAGE.row(row, "all-reduce after the backward pass", exposed, 0.12e-3)
    PAGE.row(row, "step on 8", blocking.step_s, 1.05e-3)
    PAGE.row(row, "samples/s on 8", 256 / blocking.step_s, 243_800)
    PAGE.row(row, "scaling efficiency", efficiency(blocking), 0.886)
    PAGE.row(row, "scaling efficiency, all-reduce beside the backward pass", efficiency(hidden))


@pytest.mark.example("Exercise 2.5")
def test_exercise_2_5_gpt2_xl():
    p = run(XL, *batch(1))
    stage = p.memory.stages[0]
    h, layers = 1600, 48
    count = layers * (12 * h * h + 13 * h) + (50257 + 1024 + 2) * h
    assert p.parameters == count == 1_557_611_200
    assert (stage.weights_bytes, stage.gradients_bytes) == (2 * count, 2 * count)
    assert stage.optimizer_bytes == 12 * count
    assert p.memory.fits
    assert 1.5 * 2 == 3 and 3 * (1.5 * 4) == 18 and 3 + 18 + 3 == 24 and 24 / 80 == 0.3

    row = "Exercise 2.5"
    PAGE.row(row, "weights in FP16", stage.weights_bytes, 3e9)
    PAGE.row(row, "master copy and moments", stage.optimizer_bytes, 18e9)
    PAGE.row(row, "gradients in FP16", stage.gradients_bytes, 3e9)
    PAGE.row(row, "all states", stage.states_bytes, 24e9)
    PAGE.row(row, "states over the memory of an A100", stage.states_bytes / (80 * 2**30), 0.3)
    PAGE.row(row, "activations of one sequence", stage.activations_bytes)


@pytest.mark.example("Exercise 2.6")
def test_exercise_2_6_batch_of_64():
    half = ("precision=fp16", *batch(64))
    flop = anatomy(LAYERS, *batch(64))["forward_and_backward_flop"]
    peak_s = run(LAYERS, *half, PEAK).step_s
    real, fused = run(LAYERS, *half), run(LAYERS, *half, "stack=megatron-core")
    tf32 = run(LAYERS, "precision=tf32", PEAK, *batch(64)).step_s
    most = largest_batch(BERT, HALF, "stack=megatron-core")
    kept = run(BERT, HALF, "stack=megatron-core", *ONE).memory.stages[0].activations_bytes
    assert close(flop, 64 * STEP_FLOP)
    assert 1 < peak_s / (flop / 312e12) < 1.03
    assert close(tf32, 2 * peak_s)
    # 34 s h bytes a layer, and the log of sums of fused attention (Korthikanti 2022; Dao 2023).
    layer = 34 * 512 * 768 + 4 * 12 * 512
    rest = 512 * 768 * (2 + 1) + 80 * (4 * 2 * 768 + 4 * 30522)
    assert close(kept, 12 * layer + rest, 0.001)
    copies = 80 * 2 * 30522  # logits in fp16, beside the fp32 that are kept
    assert most == int((80 * 2**30 - 1.5e9 - 16 * P) // (kept + copies))
    assert 289 * 64 == 18_496 and round(18.5 / 312 * 1e3) == 59
    assert int(75_860 / 130) == 583

    row = "Exercise 2.6"
    PAGE.row(row, "FLOP of a step", flop, 18.5e12)
    PAGE.row(row, "step at the peak of FP16", peak_s, 59e-3)
    PAGE.row(row, "step on the A100, FP16", real.step_s, 100e-3)
    PAGE.row(row, "step on the A100, FP16, fused attention", fused.step_s, 100e-3)
    PAGE.row(row, "step with FP16 tensor cores, at the peak", peak_s, 30e-3)
    PAGE.row(row, "step with TF32, at the peak", tf32)
    PAGE.row(row, "activations of a sequence, FP16, fused attention", kept, 130e6)
    PAGE.row(row, "largest batch, FP16, fused attention", most, 583)
    PAGE.row(row, "largest batch, FP32", largest_batch(BERT, "precision=fp32"))


@pytest.mark.example("Exercise 2.7")
def test_exercise_2_7_finite_differences():
    whole, step = anatomy(LAYERS), run(LAYERS)
    forward_s = sum(r["times"] * r["forward_s"] for r in whole["operators"])
    forward, backward = (
        sum(r["times"] * r[key] for r in whole["operators"])
        for key in ("forward_flop", "backward_flop")
    )
    flop = (forward + backward) / forward
    # Each product Y = X W has two backward, dX and dW, of as many FLOP.
    assert close(flop, 1 + 2)
    assert 2.8 < step.breakdown.compute_s / forward_s < 3.1
    assert 1e7 * 10e-3 == 100_000 and round(100_000 / 3600, 1) == 27.8
    assert round(1e5 / 30e-3 / 1e6, 1) == 3.3 and 1e5 / 20e-3 == 5e6

    row = "Exercise 2.7"
    PAGE.row(row, "backpropagation over a forward pass, FLOP", flop, 2)
    PAGE.row(
        row,
        "backpropagation over a forward pass, time on the A100",
        step.breakdown.compute_s / forward_s,
        2,
    )


@pytest.mark.example("Exercise 2.8")
def test_exercise_2_8_24_layers():
    def activations(p: Any) -> float:
        stage = p.memory.stages[0]
        return float(stage.activations_bytes + stage.buffers.working_bytes)

    none, six = run(DEEP, "plan.recompute=none"), run(DEEP)
    most = run(DEEP, "plan.recompute={mode: full, every: 6, first: 18}")
    every = {k: run(DEEP, f"plan.recompute={{mode: full, every: {k}}}") for k in (1, 2, 3, 4, 8)}
    unit = 32 * 512 * 768 * 4
    layer = 16 * unit + 32 * 12 * 512**2 * 4
    assert activations(none) == 24 * layer + unit
    assert activations(six) == (24 / 6 + 1) * unit + 6 * layer
    best = min(every, key=lambda k: activations(every[k]))
    # n / k inputs and k layers are least at k = sqrt(n input / layer), below one layer here.
    assert best == 1 and (24 * unit / layer) ** 0.5 < 1.01
    assert close(six.hfu / six.mfu, 4 / 3) and close(most.hfu / most.mfu, (3 + 18 / 24) / 3)
    assert 24 * 700 == 16_800 and round(16_800 / 1024, 1) == 16.4
    assert 4 * 700 == 2_800 and round(16.4 / 2.7) == 6
    # One forward, one backward, 3/4 forward, backward counted as one: over two, 1.375.
    assert (1 + 1 + 0.75) / 2 == 1.375

    row = "Exercise 2.8"
    PAGE.row(row, "activations without", activations(none), 16.4e9)
    PAGE.row(row, "activations with groups of 6", activations(six), 2.7e9)
    PAGE.row(row, "reduction", activations(none) / activations(six), 6)
    PAGE.row(row, "increase of FLOP, 18 of 24 layers again", most.hfu / most.mfu, 1.875)
    PAGE.row(row, "increase of FLOP, all layers again", six.hfu / six.mfu, 1.875)
    PAGE.row(row, "increase of the step time, all layers again", six.step_s / none.step_s, 1.875)
    PAGE.row(row, "activations with groups of one layer", activations(every[1]))


@pytest.mark.example("Exercise 2.9")
def test_exercise_2_9_scaling_efficiency():
    alone = run(FIXED, "cluster.devices=1", "batch.micro_size=8").step_s
    strong = {
        n: run(FIXED, f"batch.global_size={8 * n}", f"batch.micro_size={n}") for n in (1, 2, 4)
    }
    weak = run(FIXED, *("batch.global_size=64", "batch.micro_size=8"))
    beside = run(FIXED, "plan.overlap_grad_reduce=true")

    def efficiency(n: int) -> float:
        return float(n * alone / 8 / strong[n].step_s)

    assert close(alone, 0.1, 1e-6) and close(strong[1].breakdown.data_s, 0.015, 1e-6)
    for n, ms in ((1, 27.5), (2, 40), (4, 65)):
        assert close(strong[n].step_s, ms / 1e3, 1e-6)
    assert close(alone / weak.step_s, 100 / 115, 1e-6)
    # The last gradients are there when the backward pass ends; what overlaps is at most that pass.
    assert 15e-3 + 12.5e-3 / 3 < beside.step_s < 27.5e-3

    row = "Exercise 2.9"
    PAGE.row(row, "step on one device", alone, 0.1)
    PAGE.row(row, "step on 8, batch divided", strong[1].step_s, 27.5e-3)
    PAGE.row(row, "efficiency, batch divided", efficiency(1), 0.455)
    PAGE.row(row, "efficiency, twice the batch", efficiency(2), 0.625)
    PAGE.row(row, "efficiency, 4 times the batch", efficiency(4), 0.769)
    PAGE.row(row, "efficiency, the whole batch on each", alone / weak.step_s)
    PAGE.row(
        row,
        "efficiency, batch divided, all-reduce beside the backward pass",
        alone / 8 / beside.step_s,
    )


@pytest.mark.example("Exercise 2.9")
def test_exercise_2_9_ring_and_tree_over_64():
    hop_s = 2 * 2e-6  # up to the switch and down, in the topology's own file

    def times(algorithm: str) -> list[float]:
        report = collective_report(
            "all_reduce", "example-single-switch-1024", 64, [8.0, 440e6], algorithm, "ideal"
        )
        return [r.time_s for r in report.rows]

    ring, tree = times("ring"), times("binomial")
    steps = [round(t / hop_s) for t in (ring[0], tree[0])]
    assert steps == [2 * 63, 2 * log2(64)]
    assert ring[0] > 10 * tree[0] and ring[1] < tree[1] / 5

    row = "Exercise 2.9"
    PAGE.row(row, "steps of a ring over 64", steps[0], 64)
    PAGE.row(row, "steps of a tree over 64", steps[1], 6)
    PAGE.row(row, "440 MB by ring over 64, 45 GB/s", ring[1])
    PAGE.row(row, "440 MB by binomial tree over 64, 45 GB/s", tree[1])
