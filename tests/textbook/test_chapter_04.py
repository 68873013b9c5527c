"""Examples of chapter 4: feed-forward networks.

Closed forms are those of dense layers: d f + f parameters, 2 d f FLOP a row forward; BERT-base has
12 layers of h = 768 features, 12 heads and 3,072 features inside, here 32 sequences of 512 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from tests.textbook.book import Page, anatomy, operator, run

PAGE = Page("chapter-04")
BERT, SIZES = "04-s3-bert-base", "04-s3-layer-sizes"
LAYERS, H, F, HEADS, BATCH, N = 12, 768, 3072, 12, 32, 512
TOKENS = BATCH * N
FP32 = "precision=fp32"
PEAK_FLOP_PER_S, BYTES_PER_S = 312e12, 2039e9
ATTENTION = ("qkv", "scores", "context", "attention_out")
FEED_FORWARD = ("mlp_up", "mlp_down")


def batch(size: int) -> tuple[str, str]:
    return f"batch.micro_size={size}", f"batch.global_size={size}"


def total(name: str, key: str, only: tuple[str, ...], *changes: str) -> float:
    """Sum over the named operators, as often as each runs."""
    rows = [r for r in anatomy(name, *changes)["operators"] if r["operator"] in only]
    assert {r["operator"] for r in rows} == set(only)
    return float(sum(r["times"] * r[key] for r in rows))


def dense_layers(name: str) -> list[Mapping[str, Any]]:
    return [r for r in anatomy(name)["operators"] if r["operator"] in ("dense", "output")]


@pytest.mark.example("4.2")
def test_example_4_2_mnist_mlp() -> None:
    widths = (784, 256, 128, 10)
    ours = [r["parameters"] for r in dense_layers("04-02-mnist-mlp")]
    assert ours == [d * f + f for d, f in pairwise(widths)]
    book = (200_960, 32_896, 1_290)
    for what, mine, theirs in zip(
        ("first layer", "second layer", "output"), ours, book, strict=True
    ):
        PAGE.row("Example 4.2", what, mine, theirs)
    assert sum(book) == 235_146  # the book's sum holds
    PAGE.row("Example 4.2", "parameters", run("04-02-mnist-mlp").parameters, 235_146)
    flop = anatomy("04-02-mnist-mlp")["forward_flop"] / 64
    assert flop == 2 * sum(d * f for d, f in pairwise(widths))
    PAGE.row("Example 4.2", "FLOP of an image, forward", flop)


@pytest.mark.example("Section 4.3.1")
def test_section_4_3_1_parameters_against_flop() -> None:
    name, where = "04-s3-mlp-100m", "Section 4.3.1"
    weights = 2000 * 5000 + 3 * 5000**2 + 5000 * 3000
    assert weights == run(name).parameters == 100_000_000
    PAGE.row(where, "parameters", run(name).parameters, 100e6)
    forward, both = (anatomy(name)[k] for k in ("forward_flop", "forward_and_backward_flop"))
    assert forward == 2 * weights
    PAGE.row(where, "FLOP of a sample, forward", forward, 200e6)
    # The first layer makes no gradient of its input, which is data.
    assert both == 6 * weights - 2 * 2000 * 5000
    PAGE.row(where, "FLOP of a sample, forward and backward", both, 6 * 100e6)
    PAGE.row(where, "FLOP of a sample over parameters", both / weights, 3)
    step = anatomy(name, *batch(32))["forward_and_backward_flop"]
    assert step == 32 * both
    PAGE.row(where, "FLOP of a step of 32 samples", step, 0.6e9)
    conv = operator("05-02-rgb-convolution", "conv3x3")["forward_flop"] / (9 * 3 * 64)
    assert conv == 2 * 224 * 224
    PAGE.row(where, "FLOP over weights of a 3 x 3 convolution", conv, 224 * 224)
    PAGE.row(where, "FLOP of an embedding", operator(BERT, "embedding")["forward_flop"], 0)


@pytest.mark.example("Section 4.3.2")
def test_section_4_3_2_activations() -> None:
    name, where = "04-s3-dense-layer", "Section 4.3.2"
    layer = total(name, "saved_bytes", ("dense", "gelu", "output"))
    assert layer == 4 * 32 * (768 + 2 * 3072) != 901_120  # the book's formula, not its result
    PAGE.row(where, "activations of a layer, 32 rows", layer, 901_120)
    relu = total(name, "saved_bytes", ("dense", "relu", "output"), "model.activation=relu")
    assert relu == 4 * 32 * (768 + 3072)
    PAGE.row(where, "the same with ReLU", relu)
    kept = total(BERT, "saved_bytes", (*FEED_FORWARD, "gelu"), FP32)
    assert kept == LAYERS * 4 * TOKENS * (H + 2 * F)
    assert kept / N == pytest.approx(10.3e6, rel=0.04)  # the book's: one token a sequence
    PAGE.row(where, "feed-forward activations of BERT-base", kept, 10.3e6)
    weights = run(BERT, FP32).memory.stages[0].weights_bytes
    assert weights == 4 * 110_106_428
    PAGE.row(where, "weights of BERT-base", weights, 440e6)
    scores = operator(BERT, "softmax", FP32)["saved_bytes"]
    assert scores == 4 * BATCH * HEADS * N * N == 402_653_184
    PAGE.row(where, "scores of a layer", scores, 402_653_184)
    assert 12 * 384 == 4608  # the book's 4.6 GB are 4,608 MiB
    PAGE.row(where, "scores of 12 layers", LAYERS * scores, 4.6e9)
    half = operator(BERT, "softmax", FP32, "batch.sequence_length=256")["saved_bytes"]
    PAGE.row(where, "scores at 512 tokens over 256", scores / half, 4)


#: Outputs and rows of products of section 4.3.3, and the seconds that the book gives or implies.
PRODUCTS = {
    (768, 32): 15e-6,
    (768, 256): 50e-6,
    (768, 2048): 2 * 2048 * 768**2 / 45e12,
    (3072, 32): 25e-6,
    (3072, 256): 2 * 256 * 768 * 3072 / 60e12,
    (3072, 2048): 2 * 2048 * 768 * 3072 / 180e12,
}


@pytest.mark.example("Section 4.3.3")
def test_section_4_3_3_layer_sizes() -> None:
    where = "Section 4.3.3"
    for (outputs, rows), book_s in PRODUCTS.items():
        op = operator(SIZES, "predict", *batch(rows), f"model.outputs={outputs}")
        flop = 2 * rows * 768 * outputs
        assert op["forward_flop"] == flop
        moved = 2 * (rows * 768 + 768 * outputs + rows * outputs)
        assert op["forward_bytes"] == moved
        # Peak and bandwidth bound it from below.
        assert max(flop / PEAK_FLOP_PER_S, moved / BYTES_PER_S) < op["forward_s"] < book_s
        what = f"{rows:,} rows, 768 to {outputs:,}"
        PAGE.row(where, f"{what}: time", op["forward_s"], book_s)
        share = flop / op["forward_s"] / PEAK_FLOP_PER_S
        PAGE.row(where, f"{what}: of the peak", share, flop / book_s / PEAK_FLOP_PER_S)
    # By the book 8 times the rows take the same time once, and 3.3 times as long before.
    assert PRODUCTS[768, 2048] / PRODUCTS[768, 256] == pytest.approx(1.07, abs=0.01)
    assert PRODUCTS[768, 256] / PRODUCTS[768, 32] == pytest.approx(3.33, abs=0.01)
    large = operator(SIZES, "predict", *batch(8192))
    share = large["forward_flop"] / large["forward_s"] / PEAK_FLOP_PER_S
    PAGE.row(where, "8,192 rows, 768 to 768: of the peak", share, 0.9)


#: Batch -> (samples/s, GB) of the book.
BERT_BATCHES = {8: (120, 4.2), 16: (200, 6.8), 32: (320, 12.0), 64: (480, 22.6)}


@pytest.mark.example("Section 4.3.4")
def test_section_4_3_4_batch_size() -> None:
    where, ours = "Section 4.3.4", {}
    for size, (rate, gigabytes) in BERT_BATCHES.items():
        found = run(BERT, *batch(size))
        ours[size] = found.memory.peak_bytes
        PAGE.row(where, f"samples/s at batch {size}", size / found.step_s, rate)
        PAGE.row(where, f"memory at batch {size}", ours[size], gigabytes * 1e9)
    # Memory is a constant and a part for each sample, in the book's numbers as in ours.
    slope = (ours[64] - ours[8]) / 56
    assert ours[32] == pytest.approx(ours[8] + 24 * slope, rel=1e-9)
    book = {b: g for b, (_, g) in BERT_BATCHES.items()}
    per_sample = (book[64] - book[8]) / 56
    assert book[32] == pytest.approx(book[8] + 24 * per_sample, rel=0.01)
    assert all(book[2 * b] / book[b] < 2 for b in (8, 16, 32))  # less than proportional
    PAGE.row(where, "memory at batch 64 over batch 32", ours[64] / ours[32], 1.88)
    most = run(BERT, *batch(256)).memory.peak_bytes
    implied = (book[8] + 248 * per_sample) * 1e9
    assert implied > 85e9  # the book's own line does not fit into 80 GB
    PAGE.row(where, "memory at batch 256", most, 80e9)
    short = "batch.sequence_length=128"
    PAGE.row(where, "samples/s at batch 64 of 128 tokens", 64 / run(BERT, *batch(64), short).step_s)


@pytest.mark.example("Section 4.3.5")
def test_section_4_3_5_feed_forward() -> None:
    where = "Section 4.3.5"
    block = total(BERT, "parameters", FEED_FORWARD) / LAYERS
    assert block == 2 * H * F + F + H == 4_718_592 + 3_840
    PAGE.row(where, "parameters of a block", block, 4_718_592)
    PAGE.row(where, "parameters of 12 blocks", LAYERS * block, 56_623_104)
    every = run(BERT).parameters
    attention = total(BERT, "parameters", ("qkv", "attention_out"))
    assert attention == LAYERS * (4 * H * H + 4 * H)
    tables = ("embedding", "embedding_positions", "embedding_segments")
    embeddings = total(BERT, "parameters", tables)
    assert embeddings == (30_522 + 512 + 2) * H
    PAGE.row(where, "their part of the parameters", LAYERS * block / every, 0.515)
    PAGE.row(where, "attention's part", attention / every, 0.386)
    PAGE.row(where, "the embeddings' part", embeddings / every, 0.099)
    mlp = total(BERT, "forward_flop", FEED_FORWARD)
    core = total(BERT, "forward_flop", ATTENTION)
    assert mlp == LAYERS * 4 * TOKENS * H * F
    assert 9_437_184 * TOKENS == mlp / LAYERS != 154_140_098_048  # the book's product is off
    assert core == LAYERS * (8 * TOKENS * H * H + 4 * TOKENS * N * H)
    PAGE.row(where, "FLOP of a block", mlp / LAYERS, 154_140_098_048)
    PAGE.row(where, "FLOP of 12 blocks", mlp, 1.85e12)
    PAGE.row(where, "FLOP of 12 attention layers", core, 1.57e12)
    PAGE.row(where, "part of the feed-forward blocks", mlp / (mlp + core), 0.541)
    inside = operator(BERT, "gelu", FP32)["saved_bytes"]
    assert inside == 4 * TOKENS * F
    PAGE.row(where, "activations inside a block", inside, 201_326_592)
    PAGE.row(where, "activations inside 12 blocks", LAYERS * inside, 2.3e9)
    rows = [r for r in anatomy(BERT)["operators"] if r["times"] == LAYERS]
    mine = sum(r["forward_s"] for r in rows if r["operator"].startswith(("mlp", "gelu")))
    PAGE.row(where, "part of the layers' time", mine / sum(r["forward_s"] for r in rows))


@pytest.mark.example("Section 4.4.1")
def test_section_4_4_1_relu_and_gelu() -> None:
    name, where, elements = "04-s4-relu", "Section 4.4.1", BATCH * N * H
    for function in ("relu", "gelu"):
        op = operator(name, function, f"model.activation={function}")
        assert op["forward_bytes"] == 2 * 2 * elements
        assert op["forward_s"] == pytest.approx(4 * elements / 1.5e12, rel=1e-9)
        PAGE.row(where, f"traffic of {function}", op["forward_bytes"], 50e6)
        PAGE.row(where, f"time of {function}", op["forward_s"], 33e-6)
        assert op["saved_bytes"] == (2 * elements if function == "gelu" else 0)
        PAGE.row(where, f"kept by {function}", op["saved_bytes"])
    real = operator(name, "relu", "cluster.device=a100-80gb-sxm")["forward_s"]
    PAGE.row(where, "time of relu on the device of the catalogue", real)


@pytest.mark.example("Section 4.4.2")
def test_section_4_4_2_fused_activation() -> None:
    where, array, fused = "Section 4.4.2", 2 * TOKENS * F, "stack.fused.bias_activation=true"
    assert array == 100_663_296  # the book's 100 MB
    apart, together = operator(BERT, "gelu"), operator(BERT, "gelu", fused)
    assert (apart["forward_bytes"], together["forward_bytes"]) == (4 * array, 2 * array)
    PAGE.row(where, "traffic of bias and GELU apart", apart["forward_bytes"], 200e6)
    PAGE.row(where, "traffic of one kernel", together["forward_bytes"], 100e6)
    PAGE.row(where, "time apart", apart["forward_s"], 100e-6)
    PAGE.row(where, "time of one kernel", together["forward_s"], 67e-6)
    gain = LAYERS * (apart["forward_s"] - together["forward_s"])
    book_s = 24 * (100 - 67) * 1e-6  # two fused activations a layer
    assert book_s == pytest.approx(0.8e-3, rel=0.02)
    PAGE.row(where, "gain of a forward pass", gain, 0.8e-3)


@pytest.mark.example("Section 4.6.3")
def test_section_4_6_3_weights() -> None:
    name = "04-s6-gpt3-weights"
    layer = 12 * 12_288**2 + 13 * 12_288
    parameters = 96 * layer + (50_257 + 2048) * 12_288 + 2 * 12_288
    assert run(name).parameters == pytest.approx(parameters, rel=1e-3)
    weights = run(name).memory.stages[0].weights_bytes
    assert weights == 4 * run(name).parameters
    PAGE.row("Section 4.6.3", "weights of GPT-3 in FP32", weights, 700e9)
    bert = run(BERT, FP32).memory.stages[0].weights_bytes
    PAGE.row("Section 4.6.3", "weights of BERT-base in FP32", bert, 440e6)


@pytest.mark.example("Section 4.7.1")
def test_section_4_7_1_forward_pass() -> None:
    where = "Section 4.7.1"
    plain = "model={base: bert-base, mlm_head: false, nsp_head: false, pooler: false}"
    layers = anatomy(BERT, plain)["forward_flop"] / BATCH
    assert layers == LAYERS * N * (8 * H * H + 4 * H * F + 4 * N * H)
    PAGE.row(where, "FLOP of a sequence, layers alone", layers, 96e9)
    by_section_4_3_5 = (1.85e12 + 1.57e12) / BATCH
    PAGE.row(where, "the same by section 4.3.5", layers, by_section_4_3_5)
    heads = anatomy(BERT)["forward_flop"] / BATCH
    assert heads - layers == 2 * N * H * (H + 30_522) + 2 * H * H + 4 * H
    PAGE.row(where, "FLOP of a sequence with the heads of pre-training", heads)


@pytest.mark.example("Section 4.7.3")
def test_section_4_7_3_dropout() -> None:
    where, elements, pairs = "Section 4.7.3", TOKENS * H, BATCH * HEADS * N * N
    mask = operator(BERT, "mlp_residual")["saved_bytes"]
    assert mask == elements  # a byte each; the book's 1.5 MB are bits
    PAGE.row(where, "mask of a residual dropout", mask, elements / 8)
    masks = total(BERT, "saved_bytes", ("attention_residual", "mlp_residual"))
    assert masks == 24 * elements
    PAGE.row(where, "masks of 24 residual dropouts", masks, 36e6)
    kept = operator(BERT, "attention_dropout")["saved_bytes"]
    assert kept == pairs * (1 + 2)  # the mask and what the values are multiplied with
    PAGE.row(where, "kept by dropout of the scores, 12 layers", LAYERS * kept)
    PAGE.row(where, "activations of BERT-base", anatomy(BERT)["activation_bytes"], 10e9)
    without = "model={base: bert-base, dropout: false}"

    def forward_s(*changes: str) -> float:
        return float(sum(r["times"] * r["forward_s"] for r in anatomy(BERT, *changes)["operators"]))

    # What the kernels move more: masks written, scores read and written again.
    more = LAYERS * (2 * 5 * elements + 5 * pairs) + 5 * elements
    cost = forward_s() - forward_s(without)
    assert cost > more / BYTES_PER_S
    PAGE.row(where, "time of dropout, forward", cost, 4.5e-3)
    PAGE.row(where, "its part of the forward pass", cost / forward_s(), 0.09)
    residual_s = sum(
        operator(BERT, op)["forward_s"] - operator(BERT, op, without)["forward_s"]
        for op in ("attention_residual", "mlp_residual")
    )
    PAGE.row(where, "time of 24 residual dropouts", LAYERS * residual_s, 2.16e-3)


@pytest.mark.example("Exercise 4.1")
def test_exercise_4_1_binary_mlp() -> None:
    name, where = "04-x01-binary-mlp", "Exercise 4.1"
    ours = [r["parameters"] for r in dense_layers(name)]
    assert ours == [d * f + f for d, f in pairwise((100, 64, 32, 1))]
    assert 6_400 + 64 + 2_048 + 32 + 32 + 1 == 8_577
    PAGE.row(where, "parameters", run(name).parameters, 8_577)
    PAGE.row(where, "of the first layer", ours[0], 6_464)
    flop = anatomy(name)["forward_flop"] / 64
    assert flop == 2 * (6_400 + 2_048 + 32)
    PAGE.row(where, "FLOP of a sample, forward", flop)
