"""Examples of chapter 5, first part: convolutions, feature maps, attention and ViT beside them.

Closed forms are those of convolutions: C K R S weights, 2 C K R S H' W' FLOP an image.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-05")
RGB, RESNET, VIT = "05-02-rgb-convolution", "05-s3-resnet-50", "05-s3-vit-b-16"
AREA = 224 * 224
FP32 = "precision=fp32"
#: Stages of ResNet-50: channels inside, blocks, stride of the first block.
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def batch(size: int) -> tuple[str, str]:
    return f"batch.micro_size={size}", f"batch.global_size={size}"


def total(name: str, key: str, only: str, *changes: str) -> float:
    """Sum over the operators whose name begins so, as often as each runs."""
    rows = [r for r in anatomy(name, *changes)["operators"] if r["operator"].startswith(only)]
    assert rows
    return float(sum(r["times"] * r[key] for r in rows))


def resnet_convolutions(side: int = 224) -> Iterator[tuple[int, int, int, int, int, bool]]:
    """Channels in and out, kernel, side in and out of each; whether its input is kept elsewhere."""
    yield 3, 64, 7, side, side // 2, False
    side, before = side // 4, 64
    for channels, blocks, stride in STAGES:
        for block in range(blocks):
            after = side // (stride if block == 0 else 1)
            yield before, channels, 1, side, side, False
            yield channels, channels, 3, side, after, False
            yield channels, 4 * channels, 1, after, after, False
            if block == 0:
                yield before, 4 * channels, 1, side, after, True
            side, before = after, 4 * channels


def resnet_kept_bytes(images: int, side: int = 224, e: int = 4) -> float:
    """Inputs of convolutions, norms, pooling and the head; places of maxima; logits; statistics."""
    inputs = sum(c * s * s for c, _, _, s, _, again in resnet_convolutions(side) if not again)
    norms = sum(k * s * s for _, k, _, _, s, _ in resnet_convolutions(side))
    pools = 64 * (side // 2) ** 2 + 2048 * (side // 32) ** 2
    indices = 8 * 64 * (side // 4) ** 2
    statistics = 8 * sum(k for _, k, *_ in resnet_convolutions(side))
    elements = inputs + norms + pools + 2048
    return float(images * (e * elements + indices + 4 * 1000) + statistics)


@pytest.mark.example("5.2")
def test_example_5_2_rgb_convolution() -> None:
    where = "Example 5.2"
    conv = operator(RGB, "conv3x3")
    assert conv["parameters"] == 64 * 3 * 9 + 64 == 1_792
    PAGE.row(where, "parameters", conv["parameters"], 1_792)
    result = operator(RGB, "average_pool")["saved_bytes"] / 2
    assert result == 64 * ((224 + 2 - 3) // 1 + 1) ** 2
    PAGE.row(where, "elements of the result", result, 64 * AREA)
    dense = run("05-02-rgb-dense").parameters
    assert dense == 3 * AREA * 64 * AREA
    PAGE.row(where, "parameters of a dense layer", dense, 483e9)


@pytest.mark.example("Section 5.3.1")
def test_section_5_3_1_flop() -> None:
    where = "Section 5.3.1"
    flop = operator(RGB, "conv3x3")["forward_flop"]
    assert flop == 2 * 64 * 3 * 9 * AREA == 173_408_256  # the book's product is 64 less
    PAGE.row(where, "FLOP of the RGB convolution", flop, 173_408_192)
    PAGE.row(where, "FLOP over its parameters", flop / 1_792, 96_768)
    weights = sum(c * k * r * r for c, k, r, *_ in resnet_convolutions())
    macs = sum(c * k * r * r * s * s for c, k, r, _, s, _ in resnet_convolutions()) + 2_048_000
    norms = 2 * sum(k for _, k, *_ in resnet_convolutions())
    parameters, forward = run(RESNET).parameters, anatomy(RESNET)["forward_flop"] / 32
    assert parameters == weights + norms + 2_049_000 == 25_557_032
    assert forward == 2 * macs
    PAGE.row(where, "parameters of ResNet-50", parameters, 25.6e6)
    PAGE.row(where, "FLOP of ResNet-50, forward", forward, 4.1e9)
    PAGE.row(where, "FLOP over parameters of ResNet-50", forward / parameters, 160)
    first, last = operator(RESNET, "conv7x7"), operator(RESNET, "dense")
    shares = {
        "parameters in the first convolution": (first["parameters"] / parameters, 0.004),
        "FLOP in the first convolution": (first["forward_flop"] / 32 / forward, 0.058),
        "parameters in the last layer": (last["parameters"] / parameters, 0.078),
        "FLOP in the last layer": (last["forward_flop"] / 32 / forward, 0.001),
    }
    assert shares["parameters in the first convolution"][0] == 9_408 / 25_557_032
    # The book divides FLOP of one layer by multiply-accumulates of the network.
    assert pytest.approx(0.058, abs=0.0005) == 2 * 9_408 * 112**2 / 4.1e9
    assert pytest.approx(0.001, abs=0.0001) == 2 * 2_048_000 / 4.1e9
    for what, (ours, book) in shares.items():
        PAGE.row(where, what, ours, book)


@pytest.mark.example("Section 5.3.2")
def test_section_5_3_2_feature_maps() -> None:
    where, many = "Section 5.3.2", (*batch(32), FP32)
    rgb = sum(operator(RGB, op, *many)["saved_bytes"] for op in ("conv3x3", "average_pool"))
    assert rgb == 4 * 32 * (3 + 64) * AREA != 130_809_792  # the book's formula, not its result
    PAGE.row(where, "input and result, 32 images", rgb, 130_809_792)
    PAGE.row(where, "the same over the parameters", rgb / (4 * 1_792), 70_000)
    image = operator(RESNET, "conv7x7", FP32)["saved_bytes"]
    assert image == 4 * 32 * 3 * AREA
    PAGE.row(where, "32 images", image, 6.4e6)
    for size, book in ((32, 8.2e9), (256, 65.6e9)):
        kept = anatomy(RESNET, *batch(size), FP32)["activation_bytes"]
        assert kept == resnet_kept_bytes(size)
        PAGE.row(where, f"activations of ResNet-50, batch {size}", kept, book)
    large = "model={base: resnet-50, image: [3, 448, 448]}"
    kept = anatomy(RESNET, large, FP32)["activation_bytes"]
    assert kept == resnet_kept_bytes(32, 448)
    PAGE.row(where, "at 448 x 448, batch 32", kept, 32.8e9)
    PAGE.row(where, "at 448 x 448 over 224 x 224", kept / resnet_kept_bytes(32), 4)
    weights = run(RESNET, FP32).memory.stages[0].weights_bytes
    PAGE.row(where, "weights of ResNet-50", weights, 102e6)
    ratio = resnet_kept_bytes(32) / weights
    PAGE.row(where, "activations over weights, batch 32", ratio, 80)


@pytest.mark.example("Section 5.3.3")
def test_section_5_3_3_im2col_and_winograd() -> None:
    where = "Section 5.3.3"
    conv = operator(RGB, "conv3x3")
    rows = conv["forward_flop"] / (2 * 64)  # what each of 64 kernels is multiplied with
    assert rows == 27 * AREA
    PAGE.row(where, "im2col matrix of an image", 4 * rows, 5_419_008)
    source = operator(RGB, "conv3x3", FP32)["saved_bytes"]
    assert source == 4 * 3 * AREA
    assert 4 * 1_792 == 7_168  # the book's input is its parameters
    PAGE.row(where, "the image itself", source, 7_168)
    PAGE.row(where, "matrix over image", 4 * rows / source, 757)
    PAGE.row(where, "im2col matrix of 32 images", 32 * 4 * rows, 167e6)
    moved = 2 * (3 * AREA + 1_728 + 64 * AREA)
    assert conv["forward_bytes"] == moved
    assert conv["forward_s"] == pytest.approx(moved / 1.5e12)
    assert pytest.approx(0.62e-6, rel=0.01) == 173.4e6 / 280e12
    PAGE.row(where, "time of the product", conv["forward_s"], 0.6e-6)
    fast = operator(RGB, "conv3x3", "model.winograd=fused")
    tiles = (224 // 2) ** 2
    products = 2 * 16 * tiles * 3 * 64
    assert products == 2 * 64 * 27 * AREA / 2.25
    assert fast["forward_flop"] == products + 32 * tiles * 3 + 24 * tiles * 64 + 28 * 3 * 64
    PAGE.row(where, "FLOP by Winograd", fast["forward_flop"], 77_070_752)
    PAGE.row(where, "gain of Winograd", conv["forward_s"] / fast["forward_s"], 1.5)
    apart = operator(RGB, "conv3x3", "model.winograd=separate")["forward_s"]
    PAGE.row(where, "gain with separate transforms", conv["forward_s"] / apart)


@pytest.mark.example("Section 5.3.4")
def test_section_5_3_4_attention_over_pixels() -> None:
    name, where, d = "05-s3-pixel-attention", "Section 5.3.4", 768

    def core(tokens: int) -> float:
        flop = operator(name, "flash_attention", f"model.max_positions={tokens}")["forward_flop"]
        assert flop == 4 * tokens**2 * d  # Q K^T and the product with V
        return float(flop)

    pixels, large, patches = core(AREA), core(4 * AREA), core(196)
    conv = operator(RGB, "conv3x3")["forward_flop"]
    assert 2 * 196**2 * d == 59_006_976  # the book's product is 8,192 more
    for what, ours, book in (
        ("FLOP over pixels", pixels, 3.86e12),
        ("over the convolution", pixels / conv, 22_000),
        ("FLOP over 448 x 448 pixels", large, 61.8e12),
        ("448 x 448 over 224 x 224", large / pixels, 16),
        ("FLOP over patches", patches, 59_015_168),
        ("pixels over patches", pixels / patches, 65),
    ):
        PAGE.row(where, what, ours, book)
    assert (AREA / 196) ** 2 == 65_536
    qkv = operator(name, "qkv")["parameters"]
    assert qkv == 3 * d * d + 3 * d
    PAGE.row(where, "parameters of Q, K and V", qkv, 1_769_472)
    vit, resnet = run(VIT).parameters, run(RESNET).parameters
    PAGE.row(where, "parameters, ViT over ResNet", vit / resnet, 3.4)
    flop = anatomy(VIT)["forward_flop"]
    PAGE.row(where, "FLOP of ViT-B/16", flop, 17.6e9)
    PAGE.row(where, "FLOP, ViT over ResNet", flop / (anatomy(RESNET)["forward_flop"] / 32), 4.3)


@pytest.mark.example("Section 5.4.1")
def test_section_5_4_1_shared_weights() -> None:
    where = "Section 5.4.1"
    layer = "{conv: 64, kernel: 3, padding: 1, bias: false}"
    changes = ("model.image=[64, 224, 224]", f"model.layers=[{layer}, {{pool: global}}]")
    conv = operator(RGB, "conv3x3", *changes)["parameters"]
    assert conv == 64 * 64 * 9
    PAGE.row(where, "weights of the convolution", conv, 36_864)
    dense = run("05-02-rgb-dense", f"model.features={64 * AREA}").parameters
    assert dense == (64 * AREA) ** 2
    PAGE.row(where, "weights of the dense layer", dense, 1.3e11)
    PAGE.row(where, "dense over convolution", dense / conv, 3.5e6)


def residual_block(channels: int, image: str, repeat: int) -> str:
    block = f"{{residual: bottleneck, channels: {channels}, repeat: {repeat}}}"
    return f"model={{base: resnet-50, image: {image}, layers: [{block}, {{pool: global}}]}}"


@pytest.mark.example("Section 5.4.2")
def test_section_5_4_2_vit_and_resnet() -> None:
    where, n, d = "Section 5.4.2", 197, 768
    parts = {op: total(VIT, "parameters", op) for op in ("patch_embedding", "qkv", "attention_out")}
    attention = (parts["qkv"] + parts["attention_out"]) / 12
    mlp = (total(VIT, "parameters", "mlp_up") + total(VIT, "parameters", "mlp_down")) / 12
    norms = 4 * d
    layer = attention + mlp + norms
    assert (attention, mlp) == (4 * d * d + 4 * d, 8 * d * d + 5 * d)
    every = run(VIT).parameters
    assert every == 12 * layer + 769 * d + n * d + d + 2 * d + d * 1000 + 1000
    head = operator(VIT, "head")["parameters"]
    for what, ours, book in (
        ("patch embedding of ViT-B/16", parts["patch_embedding"], 589_824),
        ("attention of a layer", attention, 2.4e6),
        ("feed-forward block of a layer", mlp, 4.7e6),
        ("classifier of ViT-B/16", head, 768_000),
        ("ViT-B/16", every, 86e6),
        ("part in the layers", 12 * layer / every, 0.85),
    ):
        PAGE.row(where, what, ours, book)
    weights = sum(c * k * r * r for c, k, r, *_ in resnet_convolutions())
    scales = 2 * sum(k for _, k, *_ in resnet_convolutions())
    assert total(RESNET, "parameters", "conv") == weights
    assert total(RESNET, "parameters", "batch_norm") == scales
    PAGE.row(where, "convolutions of ResNet-50", weights, 23.5e6)
    PAGE.row(where, "norms of ResNet-50", scales, 1.1e6)
    PAGE.row(where, "classifier of ResNet-50", operator(RESNET, "dense")["parameters"], 1.0e6)
    last = residual_block(512, "[2048, 7, 7]", 1)
    block = total(RESNET, "parameters", "conv", last) + total(
        RESNET, "parameters", "batch_norm", last
    )
    assert block == 2 * 2048 * 512 + 9 * 512**2 + 2 * (512 + 512 + 2048)
    PAGE.row(where, "last residual block", block, 7.1e6)
    first = total(RESNET, "forward_flop", "conv", residual_block(64, "[64, 56, 56]", 1)) / 32
    assert first == 2 * 56**2 * (64 * 64 + 9 * 64 * 64 + 2 * 64 * 256)
    PAGE.row(where, "FLOP of the first residual block", first, 1.2e9)
    late = total(RESNET, "forward_flop", "conv", last) / 32
    assert late == 2 * 7**2 * (2 * 2048 * 512 + 9 * 512**2)
    PAGE.row(where, "FLOP of the last residual block", late, 0.1e9)
    forward = {r["operator"]: r["forward_flop"] for r in anatomy(VIT)["operators"]}
    core = sum(forward[op] for op in ("qkv", "scores", "context", "attention_out"))
    assert core == 8 * n * d * d + 4 * n * n * d
    PAGE.row(where, "FLOP of attention in a layer", core, 0.6e9)
    inner = forward["mlp_up"] + forward["mlp_down"]
    assert inner == 16 * n * d * d
    assert 2 * 196 * 768 * 3072 * 2 == 1_849_688_064  # what the book's formula for 0.8 G gives
    PAGE.row(where, "FLOP of the block in a layer", inner, 0.8e9)
    PAGE.row(where, "FLOP of a layer", core + inner, 1.4e9)
    ends = forward["patch_embedding"] + forward["head"]
    assert ends == 2 * 196 * d * d + 2 * d * 1000
    PAGE.row(where, "FLOP of patches and classifier", ends, 0.8e9)
