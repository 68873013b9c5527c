"""Matrix products: a roofline with tiles and waves.

A product is cut into output tiles; the multiprocessors work on them in waves, and the last wave
is rarely full (NVIDIA, "Matrix Multiplication Background User's Guide", tile and wave
quantization). Each tile also pays for filling and draining its pipeline, counted as elements of
the inner dimension (`Device.gemm_fill_k`). The library picks the tile, and splits the inner
dimension where few tiles would leave multiprocessors idle; so does this model, by the least time.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from distsim.hardware.device import Device
from distsim.workload.op import Work

#: (rows, columns, rate relative to the largest tile). A small tile reads more operand bytes per
#: FLOP from shared memory. Rates are fitted to published cuBLAS timings on A100 (475 shapes from
#: the Vidur and SimuMax projects' tables); median error of the whole model on them is 4%.
TILES = (
    (256, 128, 1.0),
    (128, 256, 1.0),
    (128, 128, 0.976),
    (128, 64, 0.75),
    (64, 128, 0.75),
    (64, 64, 0.70),
)
SPLITS = (1, 2, 4, 8)
#: A split of the inner dimension shorter than this is not worth its reduction (elements).
MIN_SPLIT_K = 512
#: Partial sums of a split are written and read once as fp32 (bytes an element).
PARTIAL_SUM_BYTES = 8.0
#: Filling and draining a tile takes as long in fp8 as in 16 bit: it is latency, and as many bytes
#: are twice as many elements, which the matrix units work on at twice the rate.
FP8_FILL = 2.0


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
    return _gemm_s(
        work,
        device.peak_flop_per_s[own] * device.gemm_efficiency,
        device.memory_bandwidth_bytes_per_s * device.memory_efficiency,
        device.sm_count,
        device.gemm_fill_k * (FP8_FILL if own == "fp8" else 1.0),
    )


@lru_cache(maxsize=65536)
def _gemm_s(
    work: Work, flop_per_s: float, bytes_per_s: float, sm_count: int, fill_k: float
) -> float:
    memory_s = work.moved_bytes / bytes_per_s
    best = float("inf")
    for rows, columns, rate in TILES:
        tiles = work.batch * ceil(work.m / rows) * ceil(work.n / columns)
        tile_flop_per_k = 2.0 * rows * columns
        for split in SPLITS:
            if split > 1 and work.k / split < MIN_SPLIT_K:
                break
            waves = ceil(tiles * split / sm_count)
            inner = work.k / split + fill_k
            compute_s = waves * tile_flop_per_k * inner * sm_count / (flop_per_s * rate)
            sums = split * PARTIAL_SUM_BYTES * work.batch * work.m * work.n if split > 1 else 0.0
            best = min(best, max(compute_s, memory_s + sums / bytes_per_s))
    return best
