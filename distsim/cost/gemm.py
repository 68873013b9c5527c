"""Matrix products: a roofline with tiles and waves.

A product is cut into output tiles; the multiprocessors work on them in waves, and the last wave
is rarely full (NVIDIA, "Matrix Multiplication Background User's Guide", tile and wave
quantization). Each tile also pays for filling and draining its pipeline, counted as elements of
the inner dimension (`Device.gemm_fill_k`). A tile of r rows and c columns brings r + c elements
for r c products of an element, so a small one waits for the path from the cache (the roofline
of Williams 2009, at the level of the multiprocessor; `Device.gemm_tile`). The library picks the
tile, and splits the inner dimension where few tiles would leave multiprocessors idle; so does this
model, by the least time. A long product meets the power limit and slows down
(`Device.sustained_efficiency`). docs/kernels.md has the formulas, what was fitted, and the errors.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from distsim.hardware.device import Device
from distsim.workload.op import Work

#: (rows, columns) of the tiles that libraries offer (NVIDIA, as above).
TILES = ((256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64))
SPLITS = (1, 2, 4, 8)
#: A split of the inner dimension shorter than this is not worth its reduction (elements).
MIN_SPLIT_K = 512
#: Partial sums of a split are written and read once as fp32 (bytes an element).
PARTIAL_SUM_BYTES = 8.0
#: Filling and draining a tile takes as long in fp8 as in 16 bit: it is latency, and as many bytes
#: are twice as many elements, which the matrix units work on at twice the rate.
FP8_FILL = 2.0
#: Types that tiles are stated for: elements of two bytes, at that peak.
HALVES = ("bf16", "fp16")


def gemm_s(work: Work, device: Device, dtype: str) -> float:
    """Seconds of one (batched) matrix product on one device, launch excluded.

    Parameters
    ----------
    work : Work
        Kernel of kind GEMM with dimensions in elements.
    device : Device
    dtype : str
        Key of `Device.peak_flop_per_s`, where the kernel has none of its own.
    """
    own = work.dtype or dtype
    peaks = device.peak_flop_per_s
    peak = peaks[own]
    tile = device.gemm_tile
    if tile and own not in HALVES:
        # The path from the cache carries bytes; what it has to keep up with is this peak.
        tile *= work.operand_bytes / 2.0 * peak / _half_peak(device, peak)
    return _gemm_s(
        work,
        peak * device.gemm_efficiency,
        device.memory_bandwidth_bytes_per_s * device.memory_efficiency,
        device.sm_count,
        device.gemm_fill_k * (FP8_FILL if own == "fp8" else 1.0),
        tile,
        device.sustained_after_flop,
        device.sustained_efficiency / device.gemm_efficiency,
    )


def _half_peak(device: Device, default: float) -> float:
    found = (device.peak_flop_per_s[t] for t in HALVES if t in device.peak_flop_per_s)
    return next(found, default)


@lru_cache(maxsize=65536)
def _gemm_s(
    work: Work,
    flop_per_s: float,
    bytes_per_s: float,
    sm_count: int,
    fill_k: float,
    tile: float,
    full_flop: float,
    sustained: float,
) -> float:
    m, n, k, batch = work.m, work.n, work.k, work.batch
    memory_s = work.moved_bytes / bytes_per_s
    sums_s = PARTIAL_SUM_BYTES * batch * m * n / bytes_per_s
    full_s, slower = full_flop / flop_per_s, max(1.0, 1.0 / sustained)
    best = float("inf")
    for rows, columns in TILES:
        tiles = batch * ceil(m / rows) * ceil(n / columns)
        # Seconds of a wave for each element of k.
        element_s = 2.0 * rows * columns * sm_count / flop_per_s
        element_s *= max(1.0, tile * (1.0 / rows + 1.0 / columns))
        if tiles / sm_count * element_s * (k + fill_k) >= best:
            continue  # Full waves and no split: no choice for this tile takes less.
        for split in SPLITS:
            if split > 1 and k / split < MIN_SPLIT_K:
                break
            compute_s = ceil(tiles * split / sm_count) * element_s * (k / split + fill_k)
            if compute_s > full_s:
                compute_s = full_s + (compute_s - full_s) * slower
            sums = split * sums_s if split > 1 else 0.0
            best = min(best, max(compute_s, memory_s + sums))
    return best
