"""Convolutional networks against published counts, layer tables counted by hand, and arrays."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from distsim.cost.kernel import price
from distsim.files import load_yaml, shipped
from distsim.hardware.catalogue import device
from distsim.workload.families import FAMILIES
from distsim.workload.families.cnn import Cnn
from distsim.workload.families.convolution import (
    WINOGRAD_INPUT_FLOP,
    WINOGRAD_KERNEL_FLOP,
    WINOGRAD_PRODUCTS,
    WINOGRAD_RESULT_FLOP,
    Conv,
    Image,
    after_window,
)
from distsim.workload.op import Fusion, Numerics, Op, WorkKind
from distsim.workload.shape import Shape

#: Parameters of the released checkpoints, and GMACs at 224 x 224 as torchvision prints them.
PUBLISHED = {
    "alexnet": (61_100_840, 0.71),
    "vgg-16": (138_357_544, 15.47),
    "resnet-18": (11_689_512, 1.81),
    "resnet-34": (21_797_672, 3.66),
    "resnet-50": (25_557_032, 4.09),
    "resnet-101": (44_549_160, 7.80),
    "resnet-152": (60_192_808, 11.51),
}
RESNETS = {
    "resnet-18": ("basic", (2, 2, 2, 2)),
    "resnet-34": ("basic", (3, 4, 6, 3)),
    "resnet-50": ("bottleneck", (3, 4, 6, 3)),
    "resnet-101": ("bottleneck", (3, 4, 23, 3)),
    "resnet-152": ("bottleneck", (3, 8, 36, 3)),
}
#: He 2015, table 1: multiply-adds of networks that stride in the first convolution of a block.
HE_2015 = {"resnet-50": 3.8e9, "resnet-101": 7.6e9, "resnet-152": 11.3e9}


def _block(name: str) -> dict[str, Any]:
    data, _ = load_yaml(shipped("families", "cnn"))
    return {**data["defaults"], **data["models"][name]}


def _model(name: str, **changes: object) -> Cnn:
    model = FAMILIES["cnn"]({**_block(name), **changes}, name=name)
    assert isinstance(model, Cnn)
    return model


def _ops(model: Cnn, images: int, fusion: Fusion | None = None) -> list[Op]:
    blocks = model.blocks(Shape(images, 1, Numerics(), fusion or Fusion()))
    layers = [op for kind in blocks.layers for op in blocks.kinds[kind]]
    return [*blocks.embedding, *layers, *blocks.head]


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name: str) -> None:
    model, (parameters, gmacs) = _model(name), PUBLISHED[name]
    assert model.parameters == model.published_parameters == parameters
    assert model.published_macs == round(gmacs * 1e9)
    assert model.forward_flop() / 2e9 == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize("name", HE_2015)
def test_macs_with_the_stride_first_are_those_of_the_paper(name: str) -> None:
    layers = [
        {**entry, "stride_first": True} if "residual" in entry else entry
        for entry in _block(name)["layers"]
    ]
    model = _model(name, layers=layers)
    assert model.parameters == PUBLISHED[name][0]
    assert model.forward_flop() / 2 == pytest.approx(HE_2015[name], rel=0.02)
    assert model.forward_flop() < _model(name).forward_flop()


def test_vgg_by_its_table() -> None:
    parameters = macs = 0
    channels, side = 3, 224
    for wide, number in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(number):
            parameters += 9 * channels * wide + wide
            macs += 9 * channels * wide * side * side
            channels = wide
        side //= 2
    for inputs, outputs in pairwise((512 * 7 * 7, 4096, 4096, 1000)):
        parameters += inputs * outputs + outputs
        macs += inputs * outputs
    model = _model("vgg-16")
    assert (model.parameters, model.forward_flop()) == (parameters, 2 * macs)
    first = 9 * 3 * 64 * 224 * 224
    assert model.model_flop() == 6 * macs - 2 * first  # no gradient of the image


@pytest.mark.parametrize("name", RESNETS)
def test_resnet_by_its_table(name: str) -> None:
    kind, repeats = RESNETS[name]
    convolutions = [(3, 64, 7, 112)]
    channels, side = 64, 56
    for stage, number in enumerate(repeats):
        narrow = 64 * 2**stage
        wide = narrow * (4 if kind == "bottleneck" else 1)
        for index in range(number):
            before, side = side, side // 2 if stage and index == 0 else side
            if kind == "bottleneck":
                convolutions += [(channels, narrow, 1, before), (narrow, narrow, 3, side)]
                convolutions += [(narrow, wide, 1, side)]
            else:
                convolutions += [(channels, wide, 3, side), (wide, wide, 3, side)]
            if channels != wide:
                convolutions += [(channels, wide, 1, side)]
            channels = wide
    weights = sum(i * o * k * k for i, o, k, _ in convolutions)
    norms = sum(2 * o for _, o, _, _ in convolutions)
    macs = sum(i * o * k * k * s * s for i, o, k, s in convolutions)
    model = _model(name)
    dense = channels * 1000 + 1000
    assert model.parameters_by_part() == {"convolutions": weights, "norms": norms, "dense": dense}
    assert model.forward_flop() == 2 * (macs + channels * 1000)
    assert model.layers == sum(repeats)
    assert len(model.blocks(Shape(1, 1, Numerics(), Fusion())).kinds) <= 2 * len(repeats)


# One convolution, by sliding its window over an image.

GEOMETRIES = [
    (8, 9, 3, 1, 1),
    (9, 8, 3, 2, 1),
    (10, 10, 1, 2, 0),
    (11, 13, 5, 3, 2),
    (12, 12, 2, 3, 0),
    (7, 7, 7, 1, 0),
]


def _slid(height: int, width: int, kernel: int, stride: int, padding: int) -> tuple[int, int, int]:
    """Return rows and columns of the result, and how many places of the image a window covers."""
    seen = np.zeros((height + 2 * padding, width + 2 * padding), dtype=bool)
    tops = range(0, height + 2 * padding - kernel + 1, stride)
    lefts = range(0, width + 2 * padding - kernel + 1, stride)
    for top in tops:
        for left in lefts:
            seen[top : top + kernel, left : left + kernel] = True
    inside = seen[padding : padding + height, padding : padding + width]
    return len(tops), len(lefts), int(inside.sum())


@pytest.mark.parametrize(("h", "w", "k", "s", "p"), GEOMETRIES)
def test_convolution_against_a_window_that_slides(h: int, w: int, k: int, s: int, p: int) -> None:
    high, wide, covered = _slid(h, w, k, s, p)
    assert (after_window(h, k, s, p), after_window(w, k, s, p)) == (high, wide)
    images, c, o, e, g = 3, 5, 6, 2, 4
    conv = Conv(Image(c, h, w), Image(o, high, wide), k, s, norm=False, relu=False)
    (op,) = conv.ops(Shape(images, 1, Numerics(), Fusion()))
    macs = images * c * o * k * k * high * wide
    forward, data, weight = op.forward[0], op.backward_data[0], op.backward_weight[0]
    assert (forward.m, forward.n, forward.k) == (images * high * wide, o, c * k * k)
    assert (weight.m, weight.n, weight.k) == (c * k * k, o, images * high * wide)
    for work in (forward, data, weight):
        assert work.kind is WorkKind.GEMM
        assert work.flop == 2 * macs
        assert 2 * work.m * work.n * work.k == pytest.approx(2 * macs, rel=1e-12)
    # Every array moves once: what windows cover of the image, kernels, the result.
    x, y = images * c * covered, images * o * high * wide
    if k < s:  # with larger kernels all of the image counts, a border left over included
        assert forward.moved_bytes == e * (x + c * o * k * k + y)
        assert weight.moved_bytes == e * (x + y) + 2 * g * c * o * k * k
    whole = images * c * h * w
    assert e * (x + y) <= forward.moved_bytes <= e * (whole + c * o * k * k + y)
    assert data.moved_bytes == e * (y + c * o * k * k + whole)
    assert op.saved_bytes == e * whole


# Winograd (Lavin 2015, arXiv 1509.09308, section 4.1).

TO_TILE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], dtype=float)
TO_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
WAYS = ("none", "fused", "separate")
TO_RESULT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], dtype=float)


def test_sixteen_products_make_four_results() -> None:
    rng = np.random.default_rng(2)
    tile, kernel = rng.normal(size=(4, 4)), rng.normal(size=(3, 3))
    pairs = (TO_KERNEL @ kernel @ TO_KERNEL.T) * (TO_TILE @ tile @ TO_TILE.T)
    direct = [[(tile[i : i + 3, j : j + 3] * kernel).sum() for j in (0, 1)] for i in (0, 1)]
    assert np.allclose(TO_RESULT @ pairs @ TO_RESULT.T, direct)
    assert pairs.size == WINOGRAD_PRODUCTS
    assert 4 * kernel.size / pairs.size == 2.25

    def additions(matrix: np.ndarray) -> int:
        return int(((matrix != 0).sum(axis=1) - 1).sum())

    # One transform of a column for each column, then of a row for each row of what that gives.
    assert additions(TO_TILE) * (4 + 4) == WINOGRAD_INPUT_FLOP
    assert additions(TO_RESULT) * (4 + 2) == WINOGRAD_RESULT_FLOP
    # a + c, half of it, and half of b added to that and taken from it: 4 instructions a column.
    assert WINOGRAD_KERNEL_FLOP == 4 * (3 + 4)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("side", [56, 7])
def test_winograd_multiplies_2_25_times_less(side: int, fused: bool) -> None:
    images, c, o, e = 2, 64, 32, 2
    shape = Shape(images, 1, Numerics(), Fusion())
    image, result = Image(c, side, side), Image(o, side, side)
    way = "fused" if fused else "separate"
    (op,) = Conv(image, result, 3, norm=False, relu=False, winograd=way).ops(shape)
    (plain,) = Conv(image, result, 3, norm=False, relu=False).ops(shape)
    padded = side + side % 2  # a tile of 2 x 2 may reach over the border
    tiles = images * (padded // 2) ** 2
    for works, direct, inputs, outputs in (
        (op.forward, plain.forward, c, o),
        (op.backward_data, plain.backward_data, o, c),
    ):
        (work,) = (w for w in works if w.kind is WorkKind.GEMM)
        assert (work.batch, work.m, work.n, work.k) == (16, tiles, outputs, inputs)
        products = 2 * work.batch * work.m * work.n * work.k
        ratio = direct[0].flop / products
        assert ratio == pytest.approx(2.25 * side**2 / padded**2, rel=1e-12)
        transforms = 32 * tiles * inputs + 28 * c * o + 24 * tiles * outputs
        assert sum(w.flop for w in works) == products + transforms
    traffic = images * (c + o) * side**2 + 9 * c * o  # image, result and kernels
    traffic += 2 * 16 * c * o  # transformed kernels, written and read
    traffic += 0 if fused else 2 * 16 * tiles * (c + o)  # and so the others
    assert sum(w.moved_bytes for w in op.forward) == e * traffic
    assert op.backward_weight == plain.backward_weight
    assert op.saved_bytes == plain.saved_bytes


def test_winograd_pays_where_products_are_slow() -> None:
    # In fp32 products bound VGG, and fused Winograd comes near its 2.25; on tensor cores separate
    # transforms take longer than what they save.
    gpu = device("v100-32gb-sxm")
    seconds = {}
    for dtype, way in (*(("fp32", w) for w in WAYS), *(("fp16", w) for w in WAYS)):
        numerics = Numerics(dtype, activation_bytes=4 if dtype == "fp32" else 2)
        blocks = _model("vgg-16", winograd=way).blocks(Shape(64, 1, numerics, Fusion()))
        # Convolutions but the first, which has too few channels.
        works = [w for k in blocks.layers[1:13] for w in blocks.kinds[k][0].forward]
        seconds[dtype, way] = price(works, gpu, dtype).device_s
    assert 1.5 < seconds["fp32", "none"] / seconds["fp32", "fused"] < 2.25
    assert seconds["fp16", "separate"] > seconds["fp16", "none"]


def test_winograd_is_for_3_x_3_kernels_of_stride_1() -> None:
    quick, plain = _model("resnet-50", winograd="fused"), _model("resnet-50")
    changed = [a.name for a, b in zip(_ops(quick, 2), _ops(plain, 2), strict=True) if a != b]
    # One 3 x 3 convolution a block; the first of stages 2 to 4 strides.
    assert changed == ["conv3x3"] * (16 - 3)
    assert quick.forward_flop() == plain.forward_flop()
    assert quick.parameters == plain.parameters


# Kept activations: the arrays that autograd holds, each once, by name.


def _kept(convolutions: list[tuple[str, int, int]], e: int, images: int) -> dict[str, float]:
    """Return bytes by array for convolutions (input, its elements, elements out) with norms."""
    kept: dict[str, float] = {}
    for index, (name, elements, out) in enumerate(convolutions):
        kept[name] = e * images * elements
        kept[f"before norm {index}"] = e * images * out
    return kept


def test_a_bottleneck_keeps_each_array_once() -> None:
    images, e = 4, 2
    blocks = _model("resnet-50").blocks(Shape(images, 1, Numerics(), Fusion()))
    for place, channels in ((0, 64), (1, 256)):
        x, narrow, wide = channels * 56 * 56, 64 * 56 * 56, 256 * 56 * 56
        runs = [("x", x, narrow), ("a", narrow, narrow), ("b", narrow, wide)]
        if place == 0:
            runs.append(("x", x, wide))
        statistics = 8 * (64 + 64 + 256 + (256 if place == 0 else 0))
        ops = blocks.kinds[blocks.layers[place]]
        saved = sum(op.saved_bytes for op in ops)
        assert saved == sum(_kept(runs, e, images).values()) + statistics


def test_vgg_keeps_each_array_once() -> None:
    images, e, kept = 2, 2, 0
    channels, side = 3, 224
    for wide, number in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(number):  # the input; what ReLU makes of the result is the next one's
            kept += e * images * channels * side * side
            channels = wide
        kept += e * images * channels * side * side  # what the pooling reads
        side //= 2
        kept += 8 * images * channels * side * side  # and where its maxima were
    kept += e * images * 512 * 49  # input of the first dense layer
    kept += 2 * images * 4096 * (e + 1 + e)  # ReLU, mask, input of the next
    kept += 4 * images * 1000
    ops = _ops(_model("vgg-16"), images)
    assert sum(op.saved_bytes + op.saved_token_bytes for op in ops) == kept


def test_batch_norm_and_residual_sum_read_and_write_whole_arrays() -> None:
    images, e = 4, 2
    ops = _ops(_model("resnet-18"), images)
    elements = images * 64 * 56 * 56
    block = ops[4:]  # after convolution, norm, ReLU and pooling of the stem
    assert [op.name for op in block[:7]] == [
        *("conv3x3", "batch_norm", "relu", "conv3x3", "batch_norm", "residual_add", "relu"),
    ]
    traffic = {
        op.name: tuple(
            sum(w.moved_bytes for w in works) for works in (op.forward, op.backward_data)
        )
        for op in block[4:7]
    }
    size = e * elements
    assert traffic == {
        "batch_norm": (3 * size, 5 * size),
        "residual_add": (3 * size, 3 * size),
        "relu": (2 * size, 3 * size),
    }
