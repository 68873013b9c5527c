"""Chapter 1 of the textbook: examples, checked by running them (docs/textbook/chapter-01.md)."""

from __future__ import annotations

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-01")
#: The A100 of example 1.8.
PEAK, BANDWIDTH = 312e12, 1.6e12
REAL = "cluster.device=a100-40gb-sxm"
MIB = 2.0**20


def rows(tag: str, *numbers: tuple[str, float, float | None]) -> None:
    """Check rows of a section: quantity, our number, the book's."""
    for quantity, ours, book in numbers:
        PAGE.row(tag, quantity, ours, book)


def square(n: int) -> tuple[str, ...]:
    """Return the changes that make scenario 01-08 a product of n x n matrices."""
    return (
        f"model.features={n}",
        f"model.outputs={n}",
        f"batch.global_size={n}",
        f"batch.micro_size={n}",
    )


@pytest.mark.example("1.3")
def test_example_1_3_dense_layer() -> None:
    ours = run("01-03-dense-layer").parameters
    assert ours == 256 * 784 + 256 == 200_960
    rows("Example 1.3", ("parameters", ours, 200_960))


@pytest.mark.example("1.5")
def test_example_1_5_scores() -> None:
    name, n, d = "01-05-gpt3-scores", 2048, 128
    flop = operator(name, "scores")["forward_flop"]
    longer = operator(name, "scores", "batch.sequence_length=4096")["forward_flop"]
    layer = operator(name, "scores", "model.heads=96", "model.kv_heads=96")["forward_flop"]
    fused = operator(name, "flash_attention", "stack=megatron-core")["forward_flop"]
    assert flop == 2 * n**2 * d == 1_073_741_824
    assert longer == 4 * flop
    assert layer == 96 * flop
    # Both products, half of the pairs.
    assert fused == 2 * (2 * n**2 * d) / 2
    rows(
        "Example 1.5",
        ("FLOP of the scores", flop, 1.07e9),
        ("FLOP at twice the tokens", longer, None),
        ("FLOP of a layer, 96 heads", layer, None),
        ("FLOP of scores and values, fused and causal", fused, None),
    )


@pytest.mark.example("1.6")
def test_example_1_6_feed_forward() -> None:
    tokens, h, f = 32 * 512, 768, 3072
    up, down = (operator("01-06-bert-layer", op) for op in ("mlp_up", "mlp_down"))
    flop = up["forward_flop"] + down["forward_flop"]
    assert flop == 4 * tokens * h * f == 154_618_822_656
    intensity = 2 * tokens * h * f / (2 * (tokens * h + h * f + tokens * f))
    assert up["flop_per_byte"] == pytest.approx(intensity)
    assert up["bound"] == "compute"
    assert intensity > 312e12 / 1.555e12 == pytest.approx(201, rel=0.01)
    rows(
        "Example 1.6",
        ("FLOP of both products", flop, 154.6e9),
        ("FLOP per byte of a product, 16 bit", up["flop_per_byte"], None),
    )


@pytest.mark.example("1.7")
def test_example_1_7_heads() -> None:
    batch, n, d = 32 * 12, 512, 64
    op = operator("01-06-bert-layer", "scores")
    assert op["forward_flop"] == batch * 2 * n**2 * d == 12_884_901_888
    assert op["flop_per_byte"] == pytest.approx(2 * n * n * d / (2 * (2 * n * d + n * n)))
    assert op["bound"] == "memory"
    rows(
        "Example 1.7",
        ("FLOP of the scores", op["forward_flop"], 12.9e9),
        ("FLOP per byte, 16 bit", op["flop_per_byte"], None),
    )


@pytest.mark.example("1.2.5")
def test_section_1_2_5_levels() -> None:
    n, one = 4096, ("batch.global_size=1", "batch.micro_size=1")
    third = operator("01-s2-hardware", "predict")
    second = operator("01-s2-hardware", "predict", *one)
    shares = [o["forward_flop"] / o["forward_s"] / PEAK for o in (third, second)]
    assert third["flop_per_byte"] == pytest.approx(n / 3)
    assert second["flop_per_byte"] == pytest.approx(2 * n * n / (2 * (n * n + 2 * n)))
    # 512 tiles in 5 waves of 108 use 94.8 % of them, and no product beats what the chip sustains.
    assert 0.9 * 0.79 * 512 / (5 * 108) < shares[0] < 0.79
    # Reading the weights alone takes n^2 elements of 2 bytes at the full bandwidth.
    assert second["forward_s"] > 2 * n * n / 1.555e12
    assert shares[1] < 2 * 1.555e12 / 2 / PEAK
    rows(
        "Section 1.2.5",
        ("level 3, FLOP per byte", third["flop_per_byte"], None),
        ("level 2, FLOP per byte", second["flop_per_byte"], None),
        ("level 3, share of the peak rate", shares[0], None),
        ("level 2, share of the peak rate", shares[1], None),
    )


@pytest.mark.example("1.8")
def test_example_1_8_square_gemm() -> None:
    n = 4096
    op = operator("01-08-square-gemm", "predict")
    flop, moved = op["forward_flop"], op["forward_bytes"]
    half = operator("01-08-square-gemm", "predict", REAL, "precision=fp16")
    whole = operator("01-08-square-gemm", "predict", REAL)
    assert flop == 2 * n**3
    assert moved == 3 * n**2 * 4 == 201_326_592
    assert op["forward_s"] == pytest.approx(flop / PEAK)
    assert op["flop_per_byte"] == pytest.approx(n / 6)
    assert op["bound"] == "compute"
    # The book's arithmetic: 192 are MiB, divided by MB/s.
    assert moved / MIB == 192
    assert round(192 / 1.6e6 * 1e3, 2) == 0.12
    assert moved / BANDWIDTH == pytest.approx(1.05 * 0.12e-3, rel=0.01)
    # 16 bits: 312 TFLOP/s and half of the bytes; TF32: 156 TFLOP/s.
    assert half["forward_bytes"] == moved / 2
    assert flop / 312e12 / 0.79 < half["forward_s"] < flop / 312e12 / 0.7
    assert flop / 156e12 / 0.79 < whole["forward_s"] < flop / 156e12 / 0.7
    rows(
        "Example 1.8",
        ("FLOP", flop, 137.4e9),
        ("bytes moved, 4 an element", moved, 192e6),
        ("time of the product", op["forward_s"], 0.44e-3),
        ("time for its bytes at 1.6 TB/s", moved / BANDWIDTH, 0.12e-3),
        ("FLOP per byte", op["flop_per_byte"], None),
        ("time on an A100, fp16", half["forward_s"], 0.44e-3),
        ("time on an A100, 4 bytes (TF32)", whole["forward_s"], 0.44e-3),
    )


@pytest.mark.example("1.9")
def test_example_1_9_intensity() -> None:
    relu = operator("01-09-relu", "relu")
    large, small = (operator("01-08-square-gemm", "predict", *square(n)) for n in (1024, 64))
    half = operator("01-08-square-gemm", "predict", *square(1024), REAL, "precision=fp16")
    ridge = PEAK / BANDWIDTH
    assert relu["forward_bytes"] == 8 * 1024**2
    assert relu["forward_s"] == pytest.approx(8 * 1024**2 / BANDWIDTH)
    assert large["flop_per_byte"] == pytest.approx(1024 / 6)
    assert small["flop_per_byte"] == pytest.approx(64 / 6)
    # On the book's device both are bounded by memory, not the larger by compute.
    assert ridge == pytest.approx(195) and ridge > 1024 / 6
    assert large["bound"] == small["bound"] == "memory"
    assert large["forward_s"] == pytest.approx(12 * 1024**2 / BANDWIDTH)
    assert pytest.approx(6.88e-6, rel=1e-3) == 2 * 1024**3 / PEAK
    assert half["bound"] == "compute"
    assert half["flop_per_byte"] == pytest.approx(1024 / 3)
    tf32 = operator("01-08-square-gemm", "predict", *square(1024), REAL)
    assert tf32["bound"] == "compute" and pytest.approx(100, rel=0.01) == 156 / 1.555
    rows(
        "Example 1.9",
        ("ReLU, bytes an element", relu["forward_bytes"] / 1024**2, 8),
        ("product with n = 1024, FLOP per byte", large["flop_per_byte"], 170.7),
        ("product with n = 64, FLOP per byte", small["flop_per_byte"], 10.7),
        ("FLOP per byte where the book's device is balanced", ridge, None),
        ("product with n = 1024, time at the book's rates", large["forward_s"], None),
        ("FLOP per byte with n = 1024, fp16", half["flop_per_byte"], None),
    )


def _rank(k: int, inputs: int = 2048, outputs: int = 512) -> tuple[str, ...]:
    return (f"model.inputs={inputs}", f"model.hidden=[{k}]", f"model.outputs={outputs}")


@pytest.mark.example("1.12")
def test_example_1_12_low_rank() -> None:
    full = run("01-12-full-rank").parameters
    narrow = {k: run("01-12-low-rank", *_rank(k)).parameters for k in (64, 128)}
    assert full == 512 * 2048
    assert narrow == {k: 512 * k + 2048 * k for k in (64, 128)}
    one = operator("01-12-full-rank", "predict")
    first, second = (operator("01-12-low-rank", op, *_rank(64)) for op in ("dense", "output"))
    flop = one["forward_flop"] / (first["forward_flop"] + second["forward_flop"])
    time = one["forward_s"] / (first["forward_s"] + second["forward_s"])
    assert flop == pytest.approx(512 * 2048 / (2560 * 64))
    assert first["bound"] == second["bound"] == "memory" and one["bound"] == "compute"
    # Bytes of 16,384 rows bound the narrow products: with 3 us a launch, at the rate of streams.
    moved = 2 * (16384 * (2048 + 2 * 64 + 512) + 64 * 2560)
    narrow_s = moved / (1.555e12 * 0.678) + 2 * 3e-6
    assert first["forward_s"] + second["forward_s"] == pytest.approx(narrow_s, rel=0.01)
    rows(
        "Example 1.12",
        ("parameters, full", full, 1_048_576),
        ("parameters, rank 64", narrow[64], 163_840),
        ("saved, rank 64", 1 - narrow[64] / full, 0.844),
        ("saved, rank 128", 1 - narrow[128] / full, 0.688),
        ("FLOP saved, rank 64", flop, None),
        ("time saved, rank 64, A100", time, None),
    )


@pytest.mark.example("1.13")
def test_example_1_13_compression() -> None:
    full = run("01-12-full-rank").parameters
    for k, book in ((256, 0.5), (128, 0.75), (64, 0.875), (32, 0.9375)):
        ours = 1 - run("01-12-low-rank", *_rank(k)).parameters / full
        assert ours == 1 - 2560 * k / (512 * 2048)
        assert book == 1 - k / 512
        rows("Example 1.13", (f"saved, rank {k}", ours, book))


@pytest.mark.example("Key point 1.6")
def test_key_point_1_6_lora() -> None:
    full = run("01-12-full-rank", "model.features=4096", "model.outputs=4096").parameters
    ours = run("01-12-low-rank", *_rank(8, 4096, 4096)).parameters
    assert (full, ours) == (4096**2, 8 * (4096 + 4096))
    rows(
        "Key point 1.6",
        ("parameters, full", full, 16_777_216),
        ("parameters, rank 8", ours, 65_536),
        ("saved", 1 - ours / full, 0.996),
    )


@pytest.mark.example("1.14")
def test_example_1_14_embedding() -> None:
    name = "01-14-gpt3-embedding"
    table = operator(name, "embedding")
    looked_up = operator(name, "attention_norm")["saved_bytes"]
    parameters = table["parameters"]
    assert parameters == 50_257 * 12_288
    assert looked_up == 32 * 2048 * 12_288 * 4 == 3_221_225_472
    # The look-up reads and writes as much.
    assert table["forward_bytes"] == 2 * looked_up
    # The book prints GiB as GB.
    assert round(parameters * 4 / 2**30, 1) == 2.3 and looked_up / 2**30 == 3.0
    assert parameters * 2 / 2**30 == pytest.approx(1.15, abs=0.005)
    states = run(name).memory.stages[0]
    total = states.weights_bytes + states.gradients_bytes + states.optimizer_bytes
    per_parameter = total / run(name).parameters
    assert per_parameter == pytest.approx(4 + 4 + 8)
    rows(
        "Example 1.14",
        ("parameters", parameters, 617_558_016),
        ("table in fp32", parameters * 4, 2.3e9),
        ("table in 16 bits", parameters * 2, 1.15e9),
        ("32 sequences of 2048 tokens in fp32", looked_up, 3.0e9),
        (
            "weights, gradients and Adam's moments of the table",
            parameters * per_parameter,
            None,
        ),
    )


@pytest.mark.example("1.15")
def test_example_1_15_layer() -> None:
    tokens, n, h, f = 32 * 512, 512, 768, 3072
    ops = {o["operator"]: o for o in anatomy("01-b1-bert-base")["operators"]}
    layer = [o for o in ops.values() if o["times"] == 12]
    parameters = sum(o["parameters"] for o in layer)
    attention = sum(ops[k]["forward_flop"] for k in ("qkv", "scores", "context", "attention_out"))
    feed_forward = ops["mlp_up"]["forward_flop"] + ops["mlp_down"]["forward_flop"]
    total = 12 * (attention + feed_forward)
    forward_s = sum(o["times"] * o["forward_s"] for o in ops.values())
    # The book's sum has no biases of Q, K, V and the output.
    book = 4 * h * h + 2 * h * f + f + h + 2 * 2 * h
    assert (book, parameters) == (7_084_800, 7_084_800 + 4 * h)
    # Its formula of attention does not give its number, and is short of two factors of two.
    assert 4 * tokens * h * h + 2 * tokens * n * h == pytest.approx(51.5e9, rel=1e-3)
    assert attention == 8 * tokens * h * h + 4 * tokens * n * h
    assert feed_forward == 4 * tokens * h * f
    assert round(2 * 154.6) == 309 and round(12 * 0.309, 1) == 3.7
    assert round(3.7e12 / PEAK * 1e3) == 12
    assert forward_s > total / PEAK
    rows(
        "Example 1.15",
        ("parameters of a layer", parameters, 7_084_800),
        ("parameters of 12 layers", 12 * parameters, 85_017_600),
        ("weights of 12 layers in fp32", 12 * parameters * 4, 324e6),
        ("FLOP of attention in a layer", attention, 154.6e9),
        ("FLOP of the feed-forward block", feed_forward, 154.6e9),
        ("FLOP of a layer", attention + feed_forward, 309e9),
        ("FLOP of 12 layers", total, 3.7e12),
        ("time of these FLOP at 312 TFLOP/s", total / PEAK, 12e-3),
        ("forward pass on an A100", forward_s, 12e-3),
    )
