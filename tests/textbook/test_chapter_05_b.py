"""Examples of chapter 5, second part: convolutions on the device, whole networks, exercises."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-05")
RGB, RESNET, LATE = "05-02-rgb-convolution", "05-s3-resnet-50", "05-s5-late-convolution"
AREA = 224 * 224
#: A100: multiprocessors, matrix units and clock of the whitepaper; rates as the book has them.
UNITS, CLOCK_HZ, PEAK_FLOP_PER_S, BYTES_PER_S = 432, 1.41e9, 312e12, 1.5e12
CATALOGUE = "cluster.device=a100-80gb-sxm"


def batch(size: int) -> tuple[str, str]:
    return f"batch.micro_size={size}", f"batch.global_size={size}"


def of_peak(name: str, op: str, *changes: str) -> float:
    row = operator(name, op, *changes)
    return float(row["forward_flop"] / row["forward_s"] / PEAK_FLOP_PER_S)


def total(name: str, key: str, only: str, *changes: str) -> float:
    rows = [r for r in anatomy(name, *changes)["operators"] if r["operator"].startswith(only)]
    assert rows
    return float(sum(r["times"] * r[key] for r in rows))


def layers(*convolutions: tuple[int, int]) -> str:
    """Return the change to convolutions of (channels, kernel) and global pooling."""
    entries = [f"{{conv: {c}, kernel: {k}, padding: {k // 2}}}" for c, k in convolutions]
    return f"model.layers=[{', '.join(entries)}, {{pool: global}}]"


@pytest.mark.example("Section 5.5.1")
def test_section_5_5_1_matrix_units() -> None:
    where = "Section 5.5.1"
    found = run(RESNET)
    peak = found.model_flop_per_s_per_device / found.mfu
    assert peak == pytest.approx(PEAK_FLOP_PER_S)
    PAGE.row(where, "peak of an A100", peak, 312e12)
    # 256 fused multiply-adds a unit and clock (NVIDIA A100 whitepaper), not 16^3.
    assert pytest.approx(peak, rel=1e-3) == UNITS * 2 * 256 * CLOCK_HZ
    assert pytest.approx(4.99e15, rel=1e-3) == UNITS * 2 * 16**3 * CLOCK_HZ
    PAGE.row(where, "FLOP of a matrix unit and clock", peak / UNITS / CLOCK_HZ, 2 * 16**3)
    rgb = of_peak(RGB, "conv3x3", *batch(32))
    # Bound by memory: FLOP a byte over 208.
    moved = 2 * (32 * 67 * AREA + 1_728)
    assert rgb == pytest.approx(2 * 1_728 * 32 * AREA / moved * BYTES_PER_S / PEAK_FLOP_PER_S)
    PAGE.row(where, "RGB convolution without losses, 32 images", rgb, 0.80)
    real = of_peak(RGB, "conv3x3", *batch(32), CATALOGUE)
    assert real < rgb
    PAGE.row(where, "RGB convolution on the device of the catalogue", real)
    for size, book in ((1, 0.10), (32, 0.60), (128, 0.85)):
        late = operator(LATE, "conv3x3", *batch(size))
        # Reading 512 x 512 kernels and two images takes at least so long, whatever the batch.
        assert late["forward_s"] > 2 * (9 * 512 * 512 + 2 * size * 512 * 49) / 2039e9
        share = of_peak(LATE, "conv3x3", *batch(size))
        PAGE.row(where, f"7 x 7 convolution, batch {size}", share, book)
    wide = ("model.image=[3, 56, 56]", *batch(32))
    rates = {
        c: operator(LATE, "conv3x3", layers((64, 1), (c, 3)), *wide)["forward_flop"]
        / operator(LATE, "conv3x3", layers((64, 1), (c, 3)), *wide)["forward_s"]
        for c in (63, 64)
    }
    PAGE.row(where, "63 channels over 64", rates[63] / rates[64], 0.75)


@pytest.mark.example("Section 5.5.2")
def test_section_5_5_2_library() -> None:
    where = "Section 5.5.2"
    late = operator(LATE, "conv3x3", *batch(32))
    assert late["forward_flop"] == 2 * 512 * 4_608 * 1_568
    PAGE.row(where, "7 x 7 convolution, batch 32: FLOP", late["forward_flop"])
    rate = late["forward_flop"] / late["forward_s"]
    assert rate < 312e12
    PAGE.row(where, "7 x 7 convolution, batch 32: rate", rate, 250e12)
    # 1,568 x 512 results are 13 x 4 tiles of 128 x 128, in two halves of the sum: 104 on 108.
    tiles_s = 2 * 128 * 128 * (4_608 / 2) * 108 / (312e12 * 0.79)
    assert late["forward_s"] > tiles_s
    result = operator(RGB, "average_pool", *batch(32))["saved_bytes"]
    assert result == 2 * 32 * 64 * AREA
    PAGE.row(where, "result of the RGB convolution, 32 images", result, 250e6)
    conv, relu = (operator(RGB, op, *batch(32))["forward_bytes"] for op in ("conv3x3", "relu"))
    assert conv + relu == 3 * result + 2 * (32 * 3 * AREA + 1_728)
    PAGE.row(where, "convolution and ReLU apart", conv + relu, 375e6)
    PAGE.row(where, "convolution alone", conv)
    PAGE.row(where, "apart over alone", (conv + relu) / conv, 1.5)
    winograd = operator(RGB, "conv3x3", *batch(32), "model.winograd=fused")["forward_s"]
    plain = operator(RGB, "conv3x3", *batch(32))["forward_s"]
    PAGE.row(where, "gain of Winograd, 32 images", plain / winograd, 1.5)


@pytest.mark.example("Section 5.5.3")
def test_section_5_5_3_roofline() -> None:
    where = "Section 5.5.3"
    relu, conv = operator(RGB, "relu"), operator(RGB, "conv3x3")
    bandwidth = relu["forward_bytes"] / relu["forward_s"]
    found = run(RGB)
    ridge = found.model_flop_per_s_per_device / found.mfu / bandwidth
    assert ridge == pytest.approx(PEAK_FLOP_PER_S / BYTES_PER_S)
    PAGE.row(where, "FLOP per byte where both bounds meet", ridge, 208)
    moved = 301_056 + 3_456 + 6_422_528
    assert conv["forward_bytes"] == moved == 2 * (3 * AREA + 1_728 + 64 * AREA)
    PAGE.row(where, "bytes of the RGB convolution", moved, 6.7e6)
    PAGE.row(where, "FLOP per byte of the RGB convolution", conv["flop_per_byte"], 25.8)
    assert conv["bound"] == "memory"
    late, many = operator(LATE, "conv3x3"), operator(LATE, "conv3x3", *batch(32))
    assert late["forward_flop"] == 2 * 512 * 512 * 9 * 49 != 230_686_720  # the book's product
    PAGE.row(where, "FLOP of the 7 x 7 convolution", late["forward_flop"], 230_686_720)
    kernels, image = 2 * 512 * 512 * 9, 2 * 512 * 49
    assert late["forward_bytes"] == kernels + 2 * image
    assert many["forward_bytes"] == kernels + 32 * 2 * image
    PAGE.row(where, "its bytes", late["forward_bytes"], 4.8e6)
    PAGE.row(where, "its FLOP per byte", late["flop_per_byte"], 48)
    PAGE.row(where, "the same, batch 32", many["flop_per_byte"], 48 * 32)
    assert (late["bound"], many["bound"]) == ("memory", "compute")


#: Batch -> (images/s, GB) of the book.
RESNET_BATCHES = {1: (140, 1.2), 8: (680, 3.8), 32: (1_920, 12.4), 128: (3_840, 47.6)}


@pytest.mark.example("Section 5.5.4")
def test_section_5_5_4_batch_size() -> None:
    where, peaks = "Section 5.5.4", {}
    for size, (rate, gigabytes) in RESNET_BATCHES.items():
        found = run(RESNET, *batch(size))
        peaks[size] = found.memory.peak_bytes
        PAGE.row(where, f"images/s of training, batch {size}", size / found.step_s, rate)
        PAGE.row(where, f"memory, batch {size}", peaks[size], gigabytes * 1e9)
    parts = anatomy(RESNET, *batch(128))["operators"]
    forward_s = sum(r["times"] * r["forward_s"] for r in parts)
    # No kernel moves its bytes faster than the memory does.
    assert forward_s > sum(r["times"] * r["forward_bytes"] for r in parts) / 2039e9
    PAGE.row(where, "images/s, forward alone, batch 128", 128 / forward_s)
    ours = (peaks[128] - peaks[32]) / 96
    assert ours == pytest.approx((peaks[32] - peaks[8]) / 24)
    book = {b: g * 1e9 for b, (_, g) in RESNET_BATCHES.items()}
    theirs = (book[128] - book[1]) / 127
    assert book[32] == pytest.approx(book[1] + 31 * theirs, rel=0.02)  # the book's is a line too
    PAGE.row(where, "memory of an image", ours, theirs)
    image = anatomy(RESNET, *batch(1), "precision=fp32")["activation_bytes"]
    PAGE.row(where, "activations of an image in FP32", image, 8.2e9 / 32)


@pytest.mark.example("Section 5.7")
def test_section_5_7_networks() -> None:
    where, vgg = "Section 5.7", "05-s7-vgg-16"
    channels = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    sides = (224, 224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14)
    pairs = list(zip(channels[:-1], channels[1:], sides, strict=True))
    dense = ((512 * 7 * 7, 4096), (4096, 4096), (4096, 1000))
    parameters = sum(9 * c * k + k for c, k, _ in pairs) + sum(d * f + f for d, f in dense)
    assert run(vgg).parameters == parameters
    PAGE.row(where, "parameters of VGG-16", parameters, 138e6)
    flop = anatomy(vgg)["forward_flop"] / 32
    products = sum(9 * c * k * s * s for c, k, s in pairs) + sum(d * f for d, f in dense)
    assert flop == 2 * products
    PAGE.row(where, "FLOP of VGG-16, forward", flop)
    PAGE.row(where, "parameters of ResNet-50", run(RESNET).parameters, 25.6e6)
    ratio = flop / (anatomy(RESNET)["forward_flop"] / 32)
    PAGE.row(where, "FLOP, VGG-16 over ResNet-50", ratio)


@pytest.mark.example("Exercise 5.1")
def test_exercise_5_1_two_convolutions() -> None:
    name, where = "05-x01-two-convolutions", "Exercise 5.1"
    first, second = (operator(name, op)["parameters"] for op in ("conv5x5", "conv3x3"))
    assert (first, second) == ((5 * 5 * 3 + 1) * 64, (3 * 3 * 64 + 1) * 128)
    PAGE.row(where, "first convolution", first, 4_864)
    PAGE.row(where, "second convolution", second, 73_856)
    PAGE.row(where, "parameters", first + second, 78_720)
    pools = [r["saved_bytes"] for r in anatomy(name)["operators"] if r["operator"] == "max_pool"]
    # Pooling keeps its input in fp32 and 64-bit places of its output, a quarter as many.
    assert [p / 64 / (4 + 8 / 4) for p in pools] == [32 * 32 * 64, 16 * 16 * 128]
    PAGE.row(where, "elements after the first convolution", pools[0] / 64 / 6, 32 * 32 * 64)
    PAGE.row(where, "elements after the second convolution", pools[1] / 64 / 6, 16 * 16 * 128)
    features = operator(name, "dense")["saved_bytes"] / 64 / 4
    PAGE.row(where, "elements at the end", features, 8 * 8 * 128)


@pytest.mark.example("Exercise 5.2")
def test_exercise_5_2_kernels() -> None:
    name, where, two = "05-x02-kernels", "Exercise 5.2", layers((64, 3), (64, 3))
    large, small = total(name, "parameters", "conv"), total(name, "parameters", "conv", two)
    assert (large, small) == ((25 * 64 + 1) * 64, 2 * (9 * 64 + 1) * 64)
    PAGE.row(where, "parameters of one 5 x 5", large, 102_464)
    PAGE.row(where, "parameters of two 3 x 3", small, 73_856)
    PAGE.row(where, "fewer parameters", 1 - small / large, 0.28)
    flop = [total(name, "forward_flop", "conv", *c) for c in ((), (two,))]
    assert flop == [64 * 2 * 64 * 64 * 56**2 * k for k in (25, 18)]
    PAGE.row(where, "fewer FLOP", 1 - flop[1] / flop[0])
    kept = [anatomy(name, *c)["activation_bytes"] for c in ((), (two,))]
    assert kept[1] - kept[0] == 64 * 2 * 64 * 56**2  # one more array
    PAGE.row(where, "activations, two over one", kept[1] / kept[0])
    seconds = [
        sum(r["times"] * (r["forward_s"] + r["backward_s"]) for r in anatomy(name, *c)["operators"])
        for c in ((), (two,))
    ]
    PAGE.row(where, "time of training, two over one", seconds[1] / seconds[0])


@pytest.mark.example("Exercise 5.3")
def test_exercise_5_3_cifar() -> None:
    name, where = "05-x03-cifar", "Exercise 5.3"
    rows = [r for r in anatomy(name)["operators"] if r["operator"].startswith("conv")]
    ours = [r["parameters"] for r in rows for _ in range(r["times"])]
    channels = (3, 64, 64, 128, 128, 256, 256)
    assert ours == [(9 * c + 1) * k for c, k in pairwise(channels)]
    for index, book in enumerate((38_720, 221_440, 885_248)):
        block = ours[2 * index] + ours[2 * index + 1]
        PAGE.row(where, f"block {index + 1}", block, book)
    PAGE.row(where, "classifier", operator(name, "dense")["parameters"], 2_570)
    assert 38_720 + 221_440 + 885_248 + 2_570 == 1_147_978
    PAGE.row(where, "parameters", run(name).parameters, 1_147_978)
    flop = anatomy(name)["forward_flop"] / 128
    sides = (32, 32, 16, 16, 8, 8)
    convolutions = zip(channels[:-1], channels[1:], sides, strict=True)
    assert flop == 2 * (sum(9 * c * k * s * s for c, k, s in convolutions) + 2_560)
    PAGE.row(where, "FLOP of an image, forward", flop)
