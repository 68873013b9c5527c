"""Chapter 16 of the lecture notes: its worked examples (docs/textbook/notes.md)."""

from __future__ import annotations

import math

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("notes")
V100 = "cluster.device=v100-32gb-sxm"
MIB = 2.0**20


def rows(tag: str, *numbers: tuple[str, float, float | None]) -> None:
    """Check rows of a section: quantity, our number, the notes'."""
    for quantity, ours, book in numbers:
        PAGE.row(tag, quantity, ours, book)


def batch(n: int) -> tuple[str, str]:
    """Return the changes that make a batch of n samples on one device."""
    return f"batch.global_size={n}", f"batch.micro_size={n}"


@pytest.mark.example("16.1")
def test_notes_16_1_shapes() -> None:
    k, peak, bandwidth = 1024, 20e12, 900e9
    ours, rate, book, book_rate = {}, {}, {}, {}
    for m in (128, 1024, 4096):
        op = operator("16-01-gemm-shapes", "predict", *batch(m), f"model.outputs={m}")
        flop, elements = 2 * m * k * m, m * k + k * m + m * m
        assert op["forward_flop"] == flop
        assert op["flop_per_byte"] == pytest.approx(flop / (4 * elements))
        book[m] = flop / (8 * elements)
        book_rate[m] = min(peak, bandwidth * book[m])
        ours[m], rate[m] = op["flop_per_byte"], flop / op["forward_s"]
        # A roofline, with the compute side the lower one for all three.
        assert rate[m] == pytest.approx(peak)
        size = f"{m} x {m}"
        shown = {128: 34e6, 1024: 2.147e9, 4096: 34.36e9}[m]
        rows("Notes 16.1", (f"FLOP, {size}", flop, shown))
        rows("Notes 16.1", (f"FLOP per byte, {size}", ours[m], round(book[m], 2)))
    assert book_rate == pytest.approx({128: 13.55e12, 1024: peak, 4096: peak}, rel=1e-3)
    short = 1024**3 / (4 * 3 * 1024)
    assert short == pytest.approx(87_381, abs=0.5)
    real = operator("16-01-gemm-shapes", "predict", *batch(4096), "model.outputs=4096", V100)
    real_rate = real["forward_flop"] / real["forward_s"]
    assert 0.6 * 15.7e12 < real_rate < 0.75 * 15.7e12
    rows(
        "Notes 16.1",
        ("rate, 128 x 128", rate[128], 13.55e12),
        ("rate, 4096 x 4096", rate[4096], peak),
        ("square over narrow, FLOP per byte", ours[4096] / ours[128], 10),
        ("FLOP per byte, 1024 x 1024, by the short form", ours[1024], 87_381),
        ("rate on a real V100, 4096 x 4096", real_rate, peak),
    )


@pytest.mark.example("16.2")
def test_notes_16_2_batched() -> None:
    rates = {}
    for n in (1, 16, 256):
        op = operator("16-02-batched-gemm", "scores", *batch(n))
        assert op["forward_flop"] == n * 2 * 1024**3
        rates[n] = op["forward_flop"] / op["forward_s"]
    half = [
        n / operator("16-02-batched-gemm", "scores", *batch(n), "precision=fp16")["forward_s"]
        for n in (1, 256)
    ]
    assert rates[1] < rates[16] < rates[256] < 15.7e12
    # One product: 64 tiles of 128 x 128, or 256 of 64 x 64, on 80 multiprocessors. Both fill four
    # fifths of their waves. Many products: nearly full waves.
    assert 64 / 80 * 0.9 < rates[1] / rates[256] < 1
    assert 1 < half[1] / half[0] < 80 / 64 * 1.15
    rows(
        "Notes 16.2",
        ("FLOP, one product", 2 * 1024**3, 2.147e9),
        ("FLOP, 256 products", 256 * 2 * 1024**3, 549.8e9),
        ("rate, one product", rates[1], None),
        ("rate, 16 products", rates[16], None),
        ("rate, 256 products", rates[256], None),
        ("gain of 256 over one, fp16", half[1] / half[0], None),
    )


@pytest.mark.example("16.3")
def test_notes_16_3_convolution() -> None:
    pixels, c, k, r = 32 * 64 * 64, 3, 16, 3
    conv = operator("16-03-convolution", "conv3x3")
    product = operator("16-03-im2col", "predict")
    image, patches = conv["saved_bytes"], product["saved_bytes"]
    assert conv["forward_flop"] == product["forward_flop"] == 2 * pixels * k * c * r * r
    assert (image, patches) == (4 * pixels * c, 4 * pixels * c * r * r)
    assert product["forward_bytes"] == patches + 4 * (c * r * r * k + pixels * k)
    # Kernels and, for this layer has no norm, a bias.
    assert conv["forward_bytes"] == pytest.approx(image + 4 * pixels * k, rel=1e-3)
    rows(
        "Notes 16.3",
        ("FLOP, convolution", conv["forward_flop"], None),
        ("FLOP, product", product["forward_flop"], None),
        ("image", image, None),
        ("patches", patches, None),
        ("patches over image", patches / image, 4),
        ("FLOP per byte, convolution", conv["flop_per_byte"], None),
        ("FLOP per byte, product", product["flop_per_byte"], None),
    )


def _attention(length: int, *changes: str) -> tuple[float, float, float]:
    """Return FLOP of both products, memory of the scores, and their share of a layer's FLOP."""
    ops = anatomy("16-04-attention", f"batch.sequence_length={length}", *changes)["operators"]
    flop = {o["operator"]: o["forward_flop"] for o in ops}
    core = flop["scores"] + flop["context"]
    rest = sum(flop[k] for k in ("qkv", "attention_out", "mlp_up", "mlp_down"))
    kept = next(o["saved_bytes"] for o in ops if o["operator"] == "softmax")
    return core, kept, core / (core + rest)


@pytest.mark.example("16.4")
def test_notes_16_4_attention() -> None:
    d, heads = 768, 12
    found = {n: _attention(n) for n in (128, 512, 1024, 2048, 4096)}
    for n, (core, kept, share) in found.items():
        assert core == 4 * n * n * d
        assert kept == heads * n * n * 4
        assert share == pytest.approx(n / (n + 6 * d))
    one = {n: _attention(n, "model.heads=1", "model.head_dim=64")[1] for n in (4096, 8192)}
    assert {n: b / MIB for n, b in one.items()} == {4096: 64, 8192: 256}
    assert 2 * 4096**2 * d == pytest.approx(25.8e9, rel=2e-3)
    rows(
        "Notes 16.4",
        ("FLOP, 128 tokens", found[128][0], 50e6),
        ("FLOP, 512 tokens", found[512][0], 805e6),
        ("FLOP, 2048 tokens", found[2048][0], 12.885e9),
        ("memory of scores, 128 tokens", found[128][1], 0.8e6),
        ("memory of scores, 2048 tokens", found[2048][1], 201.3e6),
        ("memory of scores, 4096 tokens", found[4096][1], 15e9),
        ("one head, 4096 tokens", one[4096], 64e6),
        ("one head, 8192 tokens", one[8192], 256e6),
        ("FLOP, 4096 tokens", found[4096][0], 25.8e9),
        ("share of a layer's FLOP, 1024 tokens", found[1024][2], None),
        ("share of a layer's FLOP, 4096 tokens", found[4096][2], None),
    )


def _program(devices: int) -> tuple[float, float]:
    """Return compute and communication, seconds, as the program of the notes has them."""
    compute_s = 2 * (256 // devices) * 2048 * 2048 / 100e9
    rounds = int(math.log2(devices)) + 1
    return compute_s, rounds * 2048 * 4 / 25e9


@pytest.mark.example("16.5")
def test_notes_16_5_data_parallel() -> None:
    name, gradient = "16-05-data-parallel", 2048 * 2048 * 4
    step, product = {}, {}
    for devices in (1, 8, 32):
        changes = (f"cluster.devices={devices}", f"batch.micro_size={256 // devices}")
        step[devices] = run(name, *changes).breakdown
        product[devices] = operator(name, "predict", *changes)["forward_s"]
        # A ring of D devices sends 2 (D - 1) / D of the gradient, one way at 25 GB/s.
        ring_s = 2 * (devices - 1) / devices * gradient / 25e9
        assert step[devices].data_s == pytest.approx(ring_s)
    assert product[1] == pytest.approx(_program(1)[0])
    # 8 rows cost what 64 do, in the narrowest tile.
    assert product[32] == pytest.approx(2 * 64 * 2048 * 2048 / 100e9)
    links = run(name, "cluster.devices=32", "batch.micro_size=8").links.to_dict()["classes"][0]
    sent = links["bytes"] / links["links"]
    assert sent == pytest.approx(2 * 31 / 32 * gradient)
    real = run(name, "cluster.devices=32", "batch.micro_size=8", V100)
    assert real.breakdown.data_s == pytest.approx(step[32].data_s)
    assert real.breakdown.data_s > 3 * real.breakdown.compute_s
    compute_s, sends_s = _program(32)
    assert compute_s == pytest.approx(0.671e-3, rel=1e-3)
    rows(
        "Notes 16.5",
        ("forward product, 1 device", product[1], 21.475e-3),
        ("forward product, 32 devices", product[32], 0.671e-3),
        ("all-reduce, 8 devices", step[8].data_s, round(_program(8)[1] * 1e6, 2) / 1e6),
        ("all-reduce, 32 devices", step[32].data_s, round(sends_s * 1e6, 2) / 1e6),
        ("bytes that a device sends, 32 devices", sent, round(6 * 8.192, 1) * 1e3),
        (
            "compute over communication, 32 devices",
            step[32].compute_s / step[32].data_s,
            round(compute_s / sends_s, 1),
        ),
        (
            "share of communication, 32 real V100",
            real.breakdown.data_s / real.step_s,
            None,
        ),
    )


@pytest.mark.example("16.5b")
def test_notes_16_5b_tensor_parallel() -> None:
    name, eight = "16-05-tensor-parallel", "batch.global_size=8"
    one, many = run(name), run(name, eight, "batch.micro_size=8")
    data = run(name, "plan.tp=1", eight)
    ring = 2 * 7 / 8 / 25e9
    activations, gradients = 256 * 2048 * 4, 4 * one.parameters
    # Two all-reduces each way in the layer, and one after the embedding.
    assert one.breakdown.tensor_s == pytest.approx(5 * ring * activations)
    assert many.breakdown.tensor_s == pytest.approx(8 * one.breakdown.tensor_s)
    assert data.breakdown.data_s == pytest.approx(ring * gradients, rel=1e-4)
    # Every rank has positions, segments, norms and biases that are added after a sum; the rest of
    # the weights is divided. Gradients are as large, and activations come on top.
    everywhere = 4 * 2048 * (256 + 2 + 3 * 2 + 2)
    share = (gradients - everywhere) / 8 + everywhere
    assert many.memory.stages[0].weights_bytes == pytest.approx(share, rel=1e-3)
    assert data.memory.peak_bytes > 2 * gradients
    assert many.memory.peak_bytes > 2 * share
    rows(
        "Notes 16.5b",
        ("communication, tensor parallel, 1 sequence", one.breakdown.tensor_s, None),
        ("communication, tensor parallel, 8 sequences", many.breakdown.tensor_s, None),
        ("communication, data parallel, 8 sequences", data.breakdown.data_s, None),
        ("memory of a device, tensor parallel", many.memory.peak_bytes, None),
        ("memory of a device, data parallel", data.memory.peak_bytes, None),
    )
