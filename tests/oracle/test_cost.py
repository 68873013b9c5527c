"""Prices of kernels against the roofline, closed forms and the event engine."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.cost.gemm import gemm_s
from distsim.cost.kernel import kernel_s, overlapped_s, price
from distsim.engine import event
from distsim.hardware.catalogue import device
from distsim.workload.op import Numerics, gemm, stream
from distsim.workload.optimizer import OPTIMIZERS, update_passes
from tests.graphs import op_graph

A100 = device("a100-80gb-sxm")
RATE = A100.peak_flop_per_s["bf16"] * A100.gemm_efficiency
BANDWIDTH = A100.memory_bandwidth_bytes_per_s * A100.memory_efficiency
dims = st.integers(1, 20_000)


@given(dims, dims, dims, st.integers(1, 64))
def test_no_product_beats_the_roofline(m, n, k, batch):
    work = gemm(m, n, k, batch=batch)
    least = max(work.flop / RATE, work.moved_bytes / BANDWIDTH)
    assert gemm_s(work, A100, "bf16") >= least * (1 - 1e-12)


def test_full_waves_of_the_largest_tile_take_flop_over_rate_and_the_fill():
    # 108 multiprocessors, 3 waves of 256 x 128 tiles, inner dimension 8192.
    work = gemm(256 * 12, 128 * 27, 8192)
    expected = work.flop / RATE * (8192 + A100.gemm_fill_k) / 8192
    assert gemm_s(work, A100, "bf16") == pytest.approx(expected, rel=1e-12)


def test_one_tile_more_costs_a_wave():
    # The next row of tiles opens a fourth wave; smaller tiles soften it, but it is not free.
    full = gemm_s(gemm(256 * 12, 128 * 27, 8192), A100, "bf16")
    more = gemm_s(gemm(256 * 12 + 1, 128 * 27, 8192), A100, "bf16")
    assert full * 1.05 < more <= full * 4 / 3


def test_a_long_thin_product_is_bound_by_memory():
    work = gemm(1, 16384, 16384)
    assert gemm_s(work, A100, "bf16") == pytest.approx(work.moved_bytes / BANDWIDTH, rel=1e-9)


def test_published_products_are_within_a_tenth():
    """cuBLAS bf16 on A100 80GB, seconds: published operator tables (SimuMax, Vidur)."""
    published = [
        ((4096, 8192, 4096), 1237e-6),
        ((4096, 14336, 4096), 2091e-6),
        ((8192, 28672, 8192), 16198e-6),
        ((2048, 3072, 8192), 469.5e-6),
        ((4096, 5120, 3072), 575.6e-6),
        ((8192, 2560, 8192), 1449e-6),
    ]
    for (m, n, k), seconds in published:
        assert kernel_s(gemm(m, n, k), A100, "bf16") == pytest.approx(seconds, rel=0.1), (m, n, k)


def test_a_stream_is_bytes_over_bandwidth_and_a_gap():
    expected = 1e9 / BANDWIDTH + A100.kernel_overhead_s
    assert kernel_s(stream(1e9), A100, "bf16") == pytest.approx(expected, rel=1e-12)


def test_the_host_pays_for_every_launch():
    total = price([stream(1e6)] * 7, A100, "bf16")
    assert total.host_s == pytest.approx(7 * A100.host_launch_s)


@given(st.floats(0.01, 10.0), st.floats(0.01, 10.0), st.floats(0.0, 2.0))
def test_overlap_in_a_segment_is_what_the_event_engine_does(compute_s, transfer_s, factor):
    g = op_graph(
        [(0, compute_s, -1, []), (1, 0.0, 0, [])],
        [{0: transfer_s}],
        [1.0],
        factor=[factor],
        touches=[[0]],
    )
    expected = event.evaluate(g).makespan
    assert overlapped_s(compute_s, transfer_s, factor) == pytest.approx(expected, rel=1e-9)


def test_update_traffic_of_mixed_precision_adam():
    """fp32 gradients: unscale 8, norm 4, clip 8, Adam 28, copy 6, clear 4; bf16 has no scale."""
    fp16 = Numerics("fp16", loss_scaling=True)
    assert sum(update_passes(OPTIMIZERS["adam"], fp16)) == 58
    assert sum(update_passes(OPTIMIZERS["adam"], Numerics("bf16"))) == 50
    halves = dataclasses.replace(fp16, gradient_bytes=2)
    assert sum(update_passes(OPTIMIZERS["adam"], halves)) == 58 + 6 - 2


def test_the_optimizer_step_streams_its_traffic():
    import distsim.api as ds

    s = ds.load("megatron-22b-8xa100")
    p = ds.simulate(s)
    held = p.parameters / 8  # all but norms and biases are divided
    expected = 58 * held / BANDWIDTH
    assert p.breakdown.optimizer_s == pytest.approx(expected, rel=0.01)
