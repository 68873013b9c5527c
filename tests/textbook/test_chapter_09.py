"""Examples of chapter 9: kinds of attention, on BERT base with n = 4,096 tokens.

d = 768 features, h = 12 heads of k = 64. Sparse kinds run as fused kernels that keep no scores:
what the book stores is here the number of scores that a kernel computes, FLOP / (4 k), of 4 bytes.
"""

from __future__ import annotations

from math import isqrt

import pytest

import distsim as ds
from tests.textbook.book import Page, anatomy, load, operator, run

PAGE = Page("chapter-09")
NAME = "09-s9-attention-variants"
N, D, H, HEAD = 4096, 768, 12, 64
FP16, FUSED = "precision=fp16", "stack=megatron-core"
A100_FLOP_PER_S = 312e12
FULL = ("scores", "softmax", "context")
#: Operators of core attention by kind.
CORE = {
    "full": FULL,
    "fused": ("flash_attention",),
    "window": ("window_attention",),
    "block_sparse": ("block_sparse_attention",),
    "linear": ("feature_map", "attention_state", "attention_output"),
    "low_rank": ("key_value_mix", *FULL),
}


def tokens(count: int) -> str:
    return f"batch.sequence_length={count}"


def core(key: str, kind: str, size: int = 0, *changes: str, name: str = NAME) -> float:
    """Sum of a number over core attention of a layer."""
    model = () if size == 0 else (f"model.attention={kind}", f"model.attention_size={size}")
    stack = (FUSED,) if kind == "fused" else ()
    return float(sum(operator(name, op, *model, *stack, *changes)[key] for op in CORE[kind]))


def scores(kind: str, size: int, *changes: str, name: str = NAME) -> float:
    """Scores that a kernel of a layer computes, over all heads."""
    return core("forward_flop", kind, size, *changes, name=name) / (4 * HEAD)


@pytest.mark.example("9.1")
@pytest.mark.example("Exercise 9.1")
def test_example_9_1_cross_attention() -> None:
    name, kept = "09-x01-cross-attention", "saved_bytes"
    weights = operator(name, "cross_softmax")[kept] / 4
    assert weights == 4 * 7 * 10
    PAGE.row("Exercise 9.1", "numbers of an attention matrix", weights / 4, 7 * 10)
    out = operator(name, "cross_out")[kept] / 4
    PAGE.row("Exercise 9.1", "numbers of the output", out, 1 * 7 * 128)
    words = ("model.hidden=512", "model.heads=8", tokens(3), "model.target_length=2")
    weights = operator(name, "cross_softmax", *words)[kept] / 4
    PAGE.row("Example 9.1", "numbers of an attention matrix", weights / 8, 2 * 3)


@pytest.mark.example("9.2")
def test_example_9_2_padding() -> None:
    found = run("09-02-padding")
    useful = found.tokens_per_s * found.step_s
    assert useful == pytest.approx(5 + 7 + 4)
    PAGE.row("Example 9.2", "tokens that are no padding", useful, 5 + 7 + 4)
    PAGE.row("Example 9.2", "share of the work", useful / (3 * 7))


@pytest.mark.example("Section 9.9")
def test_section_9_9_full_attention() -> None:
    weights = operator(NAME, "softmax")["saved_bytes"]
    assert weights == 12 * 4096**2 * 4
    PAGE.row("Section 9.9", "attention weights of a sequence", weights, 805e6)
    many = operator(NAME, "softmax", "batch.global_size=32", "batch.micro_size=32")["saved_bytes"]
    assert many == 32 * weights
    PAGE.row("Section 9.9", "attention weights of 32", many, 25.8e9)


@pytest.mark.example("Section 9.9.1")
def test_section_9_9_1_local_attention() -> None:
    ratio = core("forward_flop", "full") / core("forward_flop", "window", 256)
    assert ratio == N / 256
    PAGE.row("Section 9.9.1", "fewer FLOP", ratio, 16)
    computed = 4 * scores("window", 256)
    assert computed == 12 * 4096 * 256 * 4
    PAGE.row("Section 9.9.1", "scores that are computed", computed, 50.3e6)
    kept = core("saved_bytes", "window", 256)
    assert kept == 3 * N * D * 4 + N * H * 4
    PAGE.row("Section 9.9.1", "kept by core attention", kept, 50.3e6)
    for what, kind in (("times faster than fused", "fused"), ("times faster than unfused", "full")):
        faster = core("forward_s", kind, 0, FP16) / core("forward_s", "window", 256, FP16)
        PAGE.row("Section 9.9.1", what, faster, 16)
    fused = core("forward_s", "fused", 0, FP16) / core("forward_s", "window", 256, FP16)
    # A block starts and ends at the price of 244 keys (docs/kernels.md); a kernel at that of 3 us.
    blocks = 16 * (1 + 244 / N) / (1 + 244 / 256)
    assert 0.9 * blocks < fused < blocks
    assert round(core("forward_s", "window", 256, FP16) * 1e6) == 43


@pytest.mark.example("Section 9.9.2")
def test_section_9_9_2_sparse_attention() -> None:
    root = isqrt(N)
    ratio = core("forward_flop", "full") / core("forward_flop", "block_sparse", root)
    assert ratio == root == 64
    PAGE.row("Section 9.9.2", "fewer FLOP", ratio, 64)
    computed = 4 * scores("block_sparse", root)
    assert computed == 12 * 4096 * 64 * 4
    PAGE.row("Section 9.9.2", "scores that are computed", computed, 12.6e6)
    faster = core("forward_s", "fused", 0, FP16) / core("forward_s", "block_sparse", root, FP16)
    PAGE.row("Section 9.9.2", "times faster than fused", faster, 64)
    # Q, K, V and the output have to pass whatever is computed.
    least_s = 4 * N * D * 2 / 1.555e12
    assert core("forward_s", "block_sparse", root, FP16) > least_s / 0.678 > 23.5e-6
    assert round(core("forward_s", "block_sparse", root, FP16) * 1e6) == 27
    PAGE.row("Section 9.9.2", "part of the saving in FLOP", faster / 64, 0.7)


@pytest.mark.example("Section 9.9.3")
def test_section_9_9_3_linear_attention() -> None:
    full, linear = core("forward_flop", "full"), core("forward_flop", "linear", HEAD)
    assert full == 4 * N * N * D
    assert linear == 4 * N * H * HEAD**2 + 2 * N * H * HEAD
    # The book: one product of all heads in multiply-adds; and one head as wide as the model.
    assert (round(N * N * D / 1e9, 1), round(N * D * D / 1e9, 1)) == (12.9, 2.4)
    PAGE.row("Section 9.9.3", "full attention, FLOP", full, 12.9e9)
    PAGE.row("Section 9.9.3", "linear attention, FLOP", linear, 2.4e9)
    PAGE.row("Section 9.9.3", "fewer FLOP", full / linear, 5.4)

    def output(n: int) -> float:
        kind = ("model.attention=linear", f"model.attention_size={HEAD}")
        return float(operator(NAME, "attention_output", tokens(n), *kind)["saved_bytes"])

    state = 2 * output(2048) - output(4096)  # what does not grow with the length
    assert state == H * HEAD * (HEAD + 1) * 4
    assert round(12 * 768 * 768 * 4 / 1e6, 1) == 28.3
    PAGE.row("Section 9.9.3", "the state phi(K)^T V", state, 28.3e6)
    kept = core("saved_bytes", "linear", HEAD)
    PAGE.row("Section 9.9.3", "kept by core attention", kept, 28.3e6)
    assert kept == pytest.approx(5 * N * D * 4 + N * H * 4 + state)
    faster = core("forward_s", "fused", 0, FP16) / core("forward_s", "linear", HEAD, FP16)
    PAGE.row("Section 9.9.3", "times faster than fused", faster, 5.4)


@pytest.mark.example("Section 9.9.4")
def test_section_9_9_4_low_rank_attention() -> None:
    rank, short = 256, "model.max_positions=4096"
    one = operator(NAME, "scores", "model.attention=low_rank", f"model.attention_size={rank}")
    assert one["forward_flop"] == 2 * N * rank * D
    assert round(N * rank * D / 1e6) == 805
    PAGE.row("Section 9.9.4", "scores, FLOP", one["forward_flop"], 805e6)
    full, low = core("forward_flop", "full"), core("forward_flop", "low_rank", rank)
    mix = ("model.attention=low_rank", f"model.attention_size={rank}", short)
    projections = operator(NAME, "key_value_mix", *mix)
    assert projections["forward_flop"] == 2 * 2 * rank * N * D == low / 2
    PAGE.row("Section 9.9.4", "fewer FLOP", full / low, 16)
    PAGE.row("Section 9.9.4", "fewer FLOP without projections", 2 * full / low, 16)
    weights = operator(NAME, "softmax", *mix)["saved_bytes"]
    assert weights == H * N * rank * 4
    PAGE.row("Section 9.9.4", "weights of one head", weights / H, 4.2e6)
    PAGE.row("Section 9.9.4", "weights of 12 heads", weights, 50.3e6)
    assert projections["parameters"] == 2 * rank * N
    PAGE.row("Section 9.9.4", "parameters of a layer", projections["parameters"], 2 * 256 * 4096)
    faster = core("forward_s", "full", 0, FP16) / core("forward_s", "low_rank", rank, FP16)
    PAGE.row("Section 9.9.4", "times faster, both unfused", faster, 16)


@pytest.mark.example("Section 9.9.5")
def test_section_9_9_5_table_of_memory() -> None:
    lengths = (512, 4096, 8192, 16384)
    book = {
        "full": (12.6e6, 805e6, 3.2e9, 12.9e9),
        "window": (6.3e6, 50.3e6, 101e6, 201e6),
        "block_sparse": (1.1e6, 12.6e6, 35.7e6, 101e6),
        "low_rank": (6.3e6, 50.3e6, 101e6, 201e6),
    }
    for at, n in enumerate(lengths):
        keys = round(n**0.5)
        ours = {
            "full": core("saved_bytes", "full", 0, tokens(n)) - 3 * n * D * 4,
            "window": 4 * scores("window", 256, tokens(n)),
            "block_sparse": 4 * scores("block_sparse", keys, tokens(n)),
            "low_rank": operator(NAME, "softmax", tokens(n), "model.attention=low_rank",
                                 "model.attention_size=256")["saved_bytes"],
        }  # fmt: skip
        rows = {"full": n, "window": 256, "block_sparse": keys, "low_rank": 256}
        for kind, found in ours.items():
            assert found == 12 * n * rows[kind] * 4, (kind, n)
            PAGE.row("Section 9.9.5", f"{kind} at {n:,}", found, book[kind][at])
    state = H * HEAD * (HEAD + 1) * 4
    for n, printed in ((4096, 2.3e6), (16384, 9.4e6)):
        kept = core("saved_bytes", "linear", HEAD, tokens(n))
        assert kept == 5 * n * D * 4 + n * H * 4 + state
        PAGE.row("Section 9.9.5", f"linear at {n:,}", kept, printed)


@pytest.mark.example("Section 9.9.5")
def test_section_9_9_5_flop_at_8192() -> None:
    n = tokens(8192)
    flop = {
        "full": core("forward_flop", "full", 0, n),
        "window": core("forward_flop", "window", 256, n),
        "block_sparse": core("forward_flop", "block_sparse", 91, n),
        "linear": core("forward_flop", "linear", HEAD, n),
        "low_rank": core("forward_flop", "low_rank", 256, n),
    }
    assert flop["full"] == 4 * 8192**2 * 768
    book = {"window": (3.0e9, 16), "block_sparse": (6.0e9, 8), "linear": (4.5e9, 10.7),
            "low_rank": (3.0e9, 16)}  # fmt: skip
    PAGE.row("Section 9.9.5", "FLOP of full attention", flop["full"], 48.3e9)
    for kind, (count, ratio) in book.items():
        PAGE.row("Section 9.9.5", f"FLOP of {kind}", flop[kind], count)
        PAGE.row("Section 9.9.5", f"fewer FLOP, {kind}", flop["full"] / flop[kind], ratio)
    # The book's ratio for a window is that of 4,096 tokens: 8,192 / 256 is 32.
    assert flop["full"] / flop["window"] == 32
    seconds = core("forward_s", "fused", 0, n, FP16)
    assert seconds > flop["full"] / A100_FLOP_PER_S > 0.6e-3
    PAGE.row("Section 9.9.5", "time of full attention", seconds, 0.15e-3)
    PAGE.row("Section 9.9.5", "time of window", core("forward_s", "window", 256, n, FP16), 20e-6)


@pytest.mark.example("Exercise 9.2")
def test_exercise_9_2_memory_by_length() -> None:
    for n, full, local in ((512, 6, 3), (2048, 96, 12), (4096, 384, 24)):
        ours = operator(NAME, "softmax", tokens(n), FP16)["saved_bytes"]
        assert ours == 12 * n * n * 2 == full * 2**20
        PAGE.row("Exercise 9.2", f"full at {n:,}", ours, full * 2**20)
        ours = 2 * scores("window", 256, tokens(n), FP16)
        assert ours == 12 * n * 256 * 2 == local * 2**20
        PAGE.row("Exercise 9.2", f"window at {n:,}", ours, local * 2**20)
    linear = ("model.attention=linear", f"model.attention_size={HEAD}", FP16)
    short, long = (
        operator(NAME, "attention_output", tokens(n), *linear)["saved_bytes"] for n in (512, 1024)
    )
    state = 2 * short - long
    assert state == 12 * 64 * 65 * 2
    assert round(12 * 768**2 * 2 / 1e6) == 14
    PAGE.row("Exercise 9.2", "state of linear attention", state, 14e6)


@pytest.mark.example("Exercise 9.3")
def test_exercise_9_3_window_of_128() -> None:
    batch = ("batch.global_size=32", "batch.micro_size=32")
    n = tokens(1024)
    full, local = (core("forward_flop", k, s, n) / H for k, s in (("full", 0), ("window", 128)))
    assert (full, local) == (4 * 1024**2 * 64, 4 * 1024 * 128 * 64)
    PAGE.row("Exercise 9.3", "full, FLOP of a head", full, 2 * 1024**2 * 64)
    PAGE.row("Exercise 9.3", "window, FLOP of a head", local, 2 * 1024 * 128 * 64)
    PAGE.row("Exercise 9.3", "fewer FLOP", full / local, 8)
    PAGE.row("Exercise 9.3", "scores of a head", scores("window", 128, n) / H, 131_072)
    fused, window = (
        core("forward_s", kind, size, n, FP16, *batch)
        for kind, size in (("fused", 0), ("window", 128))
    )
    assert fused / window < full / local
    least_s = 4 * 32 * 1024 * D * 2 / (0.678 * 1.555e12)
    assert (round(least_s * 1e6), round(window * 1e6)) == (191, 225)
    PAGE.row("Exercise 9.3", "times faster than fused", fused / window, 5)
    unfused = core("forward_s", "full", 0, n, FP16, *batch)
    PAGE.row("Exercise 9.3", "times faster than unfused", unfused / window, 5)


@pytest.mark.example("Exercise 9.4")
def test_exercise_9_4_window_stride_and_first_token() -> None:
    name, near, far, first = "09-x04-strided-attention", 64, N // 128, 1
    assert near + far + first == 97
    # Model FLOP count pairs whatever the mask; what is not core attention is 24 n d^2 and the head.
    rest = 12 * 24 * N * D * D + 2 * N * D * 50_257
    pairs = (anatomy(name)["forward_flop"] - rest) / (12 * 4 * D)
    assert pairs == (N - 1) * 97 + N  # the first token meets all keys
    PAGE.row("Exercise 9.4", "keys of a token, no mask", pairs / N, 97)
    PAGE.row("Exercise 9.4", "scores of a head, 16 bit", 2 * pairs, 794_624)
    PAGE.row("Exercise 9.4", "part of full attention", pairs / N**2, 0.0237)
    # Causal: the first 64 queries have fewer keys, and half of the strides lie ahead.
    met = operator(name, "strided_attention")["forward_flop"] / (4 * D)
    assert met == N * near - near**2 / 2 + N * far / 2 + N * first
    PAGE.row("Exercise 9.4", "keys of a token, causal", met / N, 97)
    PAGE.row("Exercise 9.4", "part of full causal attention", met / (N**2 / 2))


@pytest.mark.example("Exercise 9.6")
def test_exercise_9_6_attention_of_24_layers() -> None:
    name, n = "09-x06-attention-of-24-layers", 8192
    each = 24 * 8  # a device has one of 8 sequences
    full = each * operator(name, "softmax")["saved_bytes"]
    assert full == 24 * 8 * 12 * 8192**2 * 2 == 309_237_645_312
    PAGE.row("Exercise 9.6", "full", full, 309_237_645_312)
    local = each * 2 * scores("window", 512, name=name)
    assert local == 24 * 8 * 12 * 8192 * 512 * 2
    PAGE.row("Exercise 9.6", "window of 512", local, 19_327_352_832)
    sparse = each * 2 * scores("block_sparse", 90, name=name)
    assert sparse == 24 * 8 * 12 * 8192 * 90 * 2 == 3_397_386_240  # the book: ...,286,400
    PAGE.row("Exercise 9.6", "90 keys", sparse, 3_397_286_400)
    rank = ("model.attention=low_rank", "model.attention_size=256")
    low = each * operator(name, "softmax", *rank)["saved_bytes"]
    assert low == 24 * 8 * 12 * 8192 * 256 * 2
    PAGE.row("Exercise 9.6", "rank 256", low, 9_663_676_416)
    linear = ("model.attention=linear", "model.attention_size=64")
    short, long = (
        operator(name, "attention_output", tokens(t), *linear)["saved_bytes"] for t in (n // 2, n)
    )
    state = each * (2 * short - long)
    assert state == 24 * 8 * 12 * 64 * 65 * 2
    assert 24 * 8 * 12 * 1024**2 * 2 == 4_831_838_208
    PAGE.row("Exercise 9.6", "state of linear attention", state, 4_831_838_208)
    shape = "layers: 1, hidden: 1024, heads: 12, vocab: 8, max_positions: 8"
    with pytest.raises(ds.DistsimError, match="DS223"):
        ds.simulate(load(name, f"model={{family: encoder, {shape}}}"))


@pytest.mark.example("Exercise 9.10")
def test_exercise_9_10_additive_and_dot_product() -> None:
    for n in (512, 4096):
        steps = (tokens(n), f"model.steps={n}")
        name = "09-x10-additive-attention"
        additive = [operator(name, op, *steps) for op in ("attention_keys", "attention")]
        dot = [operator("09-x10-dot-product", op, tokens(n)) for op in FULL]
        flop = [sum(r["forward_flop"] for r in rows) for rows in (additive, dot)]
        assert flop == [4 * n * n * HEAD + 4 * n * HEAD**2, 4 * n * n * HEAD]
        seconds = [sum(r["forward_s"] for r in rows) for rows in (additive, dot)]
        kept = [sum(r["saved_bytes"] for r in rows) for rows in (additive, dot)]
        assert kept[0] == 4 * n * n * (HEAD + 1)
        assert kept[1] == 4 * (n * n + 3 * n * HEAD)
        for what, values in (("FLOP", flop), ("time", seconds), ("kept", kept)):
            for kind, found in zip(("additive", "dot product"), values, strict=True):
                PAGE.row("Exercise 9.10", f"{what} of {kind}, {n:,}", found)
        assert seconds[0] > 50 * seconds[1]
