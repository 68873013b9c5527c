"""Kernel times against closed forms, bounds, and published timings that calibrated nothing."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.cost.attention import flash_s, with_kernel
from distsim.cost.gemm import gemm_s
from distsim.cost.kernel import kernel_s
from distsim.hardware.catalogue import device, device_names
from distsim.workload.op import Work, WorkKind, gemm

H100 = device("h100-80gb-sxm")
#: Nothing but FLOP over rate: one multiprocessor and no cost of any kind.
IDEAL = replace(
    H100,
    sm_count=1,
    gemm_fill_k=0.0,
    gemm_tile=0.0,
    gemm_efficiency=1.0,
    sustained_efficiency=1.0,
    attention_efficiency=1.0,
    attention_backward=1.0,
    attention_wide=1.0,
    attention_score=0.0,
    attention_fill=0.0,
    memory_bandwidth_bytes_per_s=1e30,
    kernel_overhead_s=0.0,
)
PEAK = 989.4e12


def attention(
    s: int, heads: int, dim: int, *, batch: int = 1, causal: bool = True, backward: bool = False
) -> Work:
    """Fused attention: 4 s^2 d FLOP a head (Dao 2023, section 4.1), half of it causal."""
    flop = 4.0 * batch * heads * s * s * dim / (2 if causal else 1) * (2.5 if backward else 1)
    return Work(WorkKind.FLASH, batch * heads, s, s, dim, flop=flop, stream_bytes=1.0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize("dim", [64, 128, 256])
def test_ideal_attention_is_flop_over_peak(causal, backward, dim):
    work = attention(4096, 16, dim, causal=causal, backward=backward)
    assert flash_s(work, IDEAL, "bf16") == pytest.approx(work.flop / PEAK, rel=1e-12)


def test_softmax_narrows_the_rate_of_narrow_heads():
    """A score takes 4 d / F for its products and 4 x / F for its softmax: d / (d + x) of F."""
    unit = replace(IDEAL, attention_score=64.0)
    took = {d: flash_s(attention(4096, 1, d), unit, "bf16") for d in (64, 128, 256)}
    ideal = {d: flash_s(attention(4096, 1, d), IDEAL, "bf16") for d in (64, 128, 256)}
    assert took[128] == pytest.approx(ideal[128], rel=1e-12)  # where efficiencies are stated
    ratio = {d: ideal[d] / took[d] for d in took}
    assert ratio[64] / ratio[256] == pytest.approx((64 / 128) / (256 / 320), rel=1e-12)


@pytest.mark.parametrize(("causal", "mean"), [(True, 0.5), (False, 1.0)])
def test_a_block_costs_its_fill_beside_the_keys_that_it_meets(causal, mean):
    unit = replace(IDEAL, attention_fill=200.0)
    work = attention(1024, 8, 128, causal=causal)
    expected = work.flop / PEAK * (1 + 200 / (1024 * mean))
    assert flash_s(work, unit, "bf16") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("fill", [0.0, 64.0])
def test_one_block_uses_one_multiprocessor(fill):
    unit = replace(IDEAL, sm_count=132, attention_fill=fill)
    work = attention(128, 1, 128, causal=False)
    expected = 132 * work.flop / PEAK * (1 + fill / 128)
    assert flash_s(work, unit, "bf16") == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 64), st.integers(1, 256), st.sampled_from([64, 128, 192, 256]), st.booleans())
def test_attention_is_between_full_use_and_one_multiprocessor(blocks, heads, dim, backward):
    unit = replace(IDEAL, sm_count=132)
    work = attention(128 * blocks, heads, dim, backward=backward)
    assert work.flop / PEAK <= flash_s(work, unit, "bf16") <= 132.001 * 2 * work.flop / PEAK


@given(st.integers(1, 128), st.integers(1, 64))
def test_more_heads_take_longer_in_all_and_no_longer_each(heads, blocks):
    few = flash_s(attention(128 * blocks, heads, 128), H100, "bf16")
    many = flash_s(attention(128 * blocks, 2 * heads, 128), H100, "bf16")
    assert few <= many <= 2 * few * (1 + 1e-12)


def test_backward_is_slower_and_wide_heads_more_so():
    for dim, factor in ((128, 1 / 0.8), (256, 1 / 0.8 / 0.5)):
        unit = replace(IDEAL, attention_backward=0.8, attention_wide=0.5)
        work = attention(4096, 16, dim, backward=True)
        assert flash_s(work, unit, "bf16") == pytest.approx(work.flop / PEAK * factor, rel=1e-12)
        forward = attention(4096, 16, dim)
        assert flash_s(forward, unit, "bf16") == pytest.approx(forward.flop / PEAK, rel=1e-12)


def test_a_named_kernel_replaces_the_numbers_and_an_unknown_one_nothing():
    work = attention(8192, 32, 128)
    default, second, third = (
        flash_s(work, unit, "bf16")
        for unit in (H100, with_kernel(H100, "flash-2"), with_kernel(H100, "flash-3"))
    )
    assert third < default < second  # Shah 2024, figure 5
    assert with_kernel(H100, "flash-9") is H100


def test_a_tile_waits_for_its_operands():
    """A 64 x 64 tile with r c / (r + c) = 32 runs at 32/64 of the rate where 64 is needed."""
    unit = replace(IDEAL, gemm_tile=64.0)
    small, large = gemm(64, 64, 4096), gemm(256, 128, 4096)
    assert gemm_s(small, unit, "bf16") == pytest.approx(2 * small.flop / PEAK, rel=1e-12)
    assert gemm_s(large, unit, "bf16") == pytest.approx(large.flop / PEAK, rel=1e-12)


def test_operands_of_other_types_come_by_the_byte():
    """fp8: half the bytes at twice the peak. fp32: twice the bytes at 66.9/989.4 of it."""
    unit = replace(IDEAL, gemm_tile=64.0)
    work = replace(gemm(64, 64, 4096), operand_bytes=1)
    took = gemm_s(work, unit, "fp8")
    assert took == pytest.approx(2 * work.flop / 1978.9e12, rel=1e-3)
    work = replace(gemm(64, 64, 4096), operand_bytes=4)
    assert gemm_s(work, unit, "fp32") == pytest.approx(work.flop / 66.9e12, rel=1e-12)


def test_a_long_product_slows_down_after_its_full_rate():
    unit = replace(IDEAL, gemm_efficiency=0.8, sustained_efficiency=0.5, sustained_after_flop=1e12)
    work = gemm(8192, 8192, 8192)
    expected = 1e12 / (0.8 * PEAK) + (work.flop - 1e12) / (0.5 * PEAK)
    assert gemm_s(work, unit, "bf16") == pytest.approx(expected, rel=1e-12)
    short = gemm(4096, 4096, 4096)
    assert gemm_s(short, unit, "bf16") == pytest.approx(short.flop / (0.8 * PEAK), rel=1e-12)


#: m, n, k, bytes moved for an element of the result, microseconds.
PRODUCTS = {
    "a100-80gb-sxm": (
        (256, 4096, 512, 2, 12),
        (256, 8192, 3072, 2, 93),
        (2048, 8192, 1024, 2, 160),
        (2048, 4096, 3584, 2, 236),
        (256, 8192, 24576, 2, 454),
        (4096, 4096, 4096, 2, 611),
        (2048, 4096, 11008, 2, 851),
        (4096, 8192, 4096, 2, 1286),
        (2048, 8192, 12288, 2, 1743),
        (4096, 5120, 13824, 2, 2347),
        (8192, 8192, 7168, 2, 3970.5),
        (32768, 8192, 3584, 2, 8272.5),
    ),
    "a100-80gb-pcie": (
        (4096, 4096, 768, 2, 115.4),
        (4096, 1536, 4096, 2, 211.1),
        (7168, 2048, 4096, 8, 613.2),
        (4096, 4096, 4096, 2, 607.8),
        (4096, 2560, 8192, 2, 696.3),
        (24576, 1536, 4096, 8, 1387),
        (4096, 4096, 16128, 2, 2288),
        (4096, 5120, 16384, 2, 2940),
        (4096, 7168, 16384, 2, 4154),
        (4096, 4096, 64256, 2, 9177),
        (4096, 36864, 7168, 2, 9129),
    ),
    "h100-80gb-sxm": (
        (256, 4096, 512, 2, 7),
        (256, 3072, 8192, 2, 37),
        (2048, 5120, 1280, 2, 46),
        (4096, 4096, 1376, 2, 69),
        (2048, 2560, 8192, 2, 131),
        (1024, 6144, 8192, 2, 167),
        (4096, 8192, 2752, 2, 212.5),
        (2048, 8192, 7168, 2, 294),
        (2048, 5120, 13824, 2, 426),
        (4096, 12288, 4096, 2, 584),
        (2048, 22016, 8192, 2, 1007),
        (4096, 27648, 5120, 2, 1579),
    ),
    "b200-180gb-sxm": (
        (4096, 7168, 256, 2, 30.57),
        (8192, 2048, 2048, 8, 89),
        (4096, 4096, 3584, 2, 136.9),
        (4096, 6144, 4096, 2, 140.3),
        (576, 5120, 65536, 8, 379),
        (8192, 8192, 5120, 2, 608.3),
        (14336, 8192, 4096, 8, 872.9),
        (16384, 1536, 24576, 2, 1155),
        (65536, 5120, 3072, 2, 1866),
        (8192, 8192, 16384, 8, 1993),
        (4096, 8192, 57344, 2, 3542),
        (4096, 128256, 8192, 2, 7849),
        (4096, 128256, 16384, 2, 15590),
    ),
}
#: Sequence, heads, head dimension, batch, causal, passes, microseconds.
ATTENTION = {
    ("a100-80gb-sxm", "flash-2"): (
        (1024, 32, 64, 16, False, "fwd+bwd", 3144),
        (4096, 32, 64, 4, False, "fwd+bwd", 11252),
        (16384, 32, 64, 1, False, "fwd+bwd", 43731),
        (1024, 16, 128, 16, False, "fwd+bwd", 2780.6),
        (8192, 16, 128, 2, False, "fwd+bwd", 19146),
        (1024, 32, 64, 16, True, "fwd+bwd", 2021.2),
        (4096, 32, 64, 4, True, "fwd+bwd", 6167.1),
        (16384, 32, 64, 1, True, "fwd+bwd", 22505),
        (1024, 16, 128, 16, True, "fwd+bwd", 1808.4),
        (8192, 16, 128, 2, True, "fwd+bwd", 10572),
    ),
    ("a100-80gb-pcie", "flash-2"): (
        (4096, 128, 160, 1, True, "fwd", 4106),
        (4096, 32, 128, 1, True, "fwd", 778.3),
        (4096, 8, 128, 1, True, "fwd", 283.5),
        (4096, 16, 128, 1, True, "fwd", 446),
        (4096, 128, 160, 1, True, "bwd", 13730),
        (4096, 32, 128, 1, True, "bwd", 2256),
        (4096, 8, 128, 1, True, "bwd", 721.8),
        (4096, 16, 128, 1, True, "bwd", 1240),
    ),
    ("h100-80gb-sxm", "flash-2"): (
        (1024, 32, 64, 16, False, "fwd+bwd", 1893.8),
        (1024, 16, 128, 16, False, "fwd+bwd", 1636.2),
        (4096, 32, 64, 4, True, "fwd+bwd", 3743.5),
        (8192, 16, 128, 2, True, "fwd+bwd", 6247.2),
        (16384, 32, 64, 1, False, "fwd", 6787.1),
        (16384, 32, 64, 1, True, "fwd", 3677.3),
        (1024, 16, 128, 16, True, "fwd", 264.31),
        (4096, 8, 256, 4, False, "fwd", 1702),
        (4096, 8, 256, 4, True, "fwd", 938.15),
    ),
    ("h100-80gb-sxm", "flash-3"): (
        (1024, 32, 64, 16, False, "fwd", 350.61),
        (16384, 32, 64, 1, False, "fwd", 4424.6),
        (4096, 32, 64, 4, True, "fwd", 654.47),
        (1024, 16, 128, 16, False, "fwd", 243.25),
        (1024, 16, 128, 16, True, "fwd", 162.46),
        (4096, 8, 256, 4, False, "fwd", 746.95),
        (1024, 8, 256, 16, True, "fwd", 160.94),
        (16384, 8, 256, 1, True, "fwd", 1712.6),
    ),
    ("h100-80gb-sxm", "cudnn"): (
        (1024, 32, 64, 16, False, "fwd", 368.47),
        (16384, 32, 64, 1, False, "fwd", 5324.5),
        (4096, 32, 64, 4, True, "fwd", 757.24),
        (1024, 16, 128, 16, False, "fwd", 239.44),
        (1024, 16, 128, 16, True, "fwd", 167.61),
        (1024, 8, 256, 16, False, "fwd", 251.72),
        (16384, 8, 256, 1, False, "fwd", 3784.9),
        (4096, 8, 256, 4, True, "fwd", 569.11),
    ),
    ("b200-180gb-sxm", "cudnn"): (
        (4096, 32, 128, 1, True, "fwd", 166.9),
        (4096, 8, 128, 1, True, "fwd", 98.47),
        (4096, 128, 160, 1, True, "fwd", 735.4),
        (4096, 32, 128, 1, True, "fwd", 169.1),
        (4096, 8, 128, 1, True, "fwd", 96.28),
        (32768, 64, 160, 1, True, "fwd", 24070),
        (4096, 16, 128, 1, True, "bwd", 201.8),
        (4096, 128, 128, 1, True, "bwd", 1482),
        (4096, 32, 160, 1, True, "bwd", 624.5),
        (4096, 16, 128, 1, True, "bwd", 209.3),
        (32768, 16, 128, 1, True, "bwd", 11210),
    ),
}


@pytest.mark.parametrize(("name", "rows"), PRODUCTS.items())
def test_products_that_calibrated_nothing_are_within_a_tenth(name, rows):
    """Median. cuBLAS, 16 bit: tables of the Vidur and SimuMax projects (docs/kernels.md).

    Every so many rows of the half of the shapes that took no part in the fit, by FLOP.
    """
    errors = [
        kernel_s(gemm(m, n, k, result_bytes=e), device(name), "bf16") / (us * 1e-6) - 1
        for m, n, k, e, us in rows
    ]
    assert median(map(abs, errors)) <= 0.10


@pytest.mark.parametrize(("key", "rows"), ATTENTION.items())
def test_attention_that_calibrated_nothing_is_within_an_eighth(key, rows):
    """Median. Charts of the FlashAttention repository and SimuMax tables (docs/kernels.md)."""
    unit = with_kernel(device(key[0]), key[1])
    errors = []
    for s, heads, dim, batch, causal, passes, us in rows:
        took = sum(
            kernel_s(attention(s, heads, dim, batch=batch, causal=causal, backward=b), unit, "bf16")
            for b, word in ((False, "fwd"), (True, "bwd"))
            if word in passes
        )
        errors.append(took / (us * 1e-6) - 1)
    assert median(map(abs, errors)) <= 0.12


@pytest.mark.parametrize("name", device_names())
def test_every_profile_is_complete_and_says_what_was_fitted(name):
    unit = device(name)
    assert all(text.strip() for text in unit.sources.values())
    assert unit.sustained_efficiency <= 1.0 and 0.0 < unit.gemm_efficiency <= 1.0
    fitted = [key for key, text in unit.sources.items() if text.startswith("fitted")]
    assert bool(fitted) == (unit.status == "calibrated")
    limit = min(unit.gemm_efficiency, unit.sustained_efficiency)
    assert 0.3 <= limit <= 0.95
    assert unit.attention_efficiency < unit.gemm_efficiency
    # The path from the cache never starves the largest tile: 256 x 128 / 384 = 85.3.
    assert unit.gemm_tile <= 256 * 128 / 384


def test_kernel_names_and_numbers_are_bounded():
    for name in device_names():
        unit = device(name)
        for kernel in unit.attention_kernels:
            other = with_kernel(unit, kernel)
            assert other.attention_kernel == kernel
            assert 0.1 < other.attention_efficiency < 1.0
            work = attention(16384, 32, 128, causal=False)
            assert flash_s(work, other, "bf16") >= work.flop / max(unit.peak_flop_per_s.values())
