"""Fused attention: blocks of queries, spread over the multiprocessors.

A fused kernel (Dao 2023, arXiv 2307.08691, section 3) gives each block of `BLOCK_ROWS` queries of a
head to a multiprocessor, which goes over the keys that they meet. Beside the products each score
costs a softmax: an exponential on units that are far slower than the matrix units (Shah 2024,
arXiv 2407.08608, section 2.2), so wide heads come closer to the peak than narrow ones
(`Device.attention_score`). A block also costs its start and end, counted as keys
(`Device.attention_fill`), which long sequences hide. Few blocks leave multiprocessors idle, and no
kernel ends before its longest block. docs/kernels.md has the formulas, what was fitted, and the
errors.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

from distsim.hardware.device import Device
from distsim.workload.op import Work

#: Rows of queries that one block of a fused attention kernel works on (Dao 2023, section 3.3).
BLOCK_ROWS = 128
#: Head dimension at which efficiencies are stated; above it the backward pass needs smaller blocks.
STATED_DIM = 128
#: Backward runs 2.5 times the products of forward, as it computes the scores again (Dao 2023).
BACKWARD_FLOP = 2.5
#: FLOP over 2 m n k of a head: 1 (causal) or 2 (all keys) forward, 2.5 or 5 backward.
MOST_FORWARD = 2.25
#: Blocks do not end together: at the end the multiprocessors wait for this part of the longest.
TAIL = 0.25


def flash_s(work: Work, device: Device, dtype: str) -> float:
    """Seconds of a fused attention kernel, launch excluded: blocks of queries, or memory traffic.

    Parameters
    ----------
    work : Work
        Kernel of kind FLASH: `batch` heads, m queries, n keys, head dimension k. Which pass it is
        and whether a mask halves it follow from its FLOP.
    device : Device
    dtype : str
        Key of `Device.peak_flop_per_s`, where the kernel has none of its own.
    """
    bandwidth = device.memory_bandwidth_bytes_per_s * device.memory_efficiency
    memory_s = work.stream_bytes / bandwidth
    pairs = work.batch * work.m * work.n * work.k
    if not pairs:
        return memory_s
    backward = work.flop > MOST_FORWARD * 2.0 * pairs
    rate = device.peak_flop_per_s[work.dtype or dtype] * device.attention_efficiency
    if score := device.attention_score:
        rate *= (1.0 + score / STATED_DIM) * work.k / (work.k + score)
    if backward:
        rate *= device.attention_backward
        if work.k > STATED_DIM:
            rate *= device.attention_wide
    # FLOP for each key that one row of queries meets.
    row_flop = 4.0 * work.k * (BACKWARD_FLOP if backward else 1.0)
    rows = work.batch * work.m
    flop = work.flop + device.attention_fill * row_flop * rows
    longest = min(work.m, BLOCK_ROWS) * row_flop * (work.n + device.attention_fill)
    units = min(device.sm_count, work.batch * ceil(work.m / BLOCK_ROWS))
    idle = TAIL * (units - 1.0) / units * longest * device.sm_count if units > 1 else 0.0
    return max((flop + idle) / rate, longest * device.sm_count / rate, memory_s)


def with_kernel(device: Device, kernel: str) -> Device:
    """Return the device with the numbers of another kernel of attention.

    The device stays as it is where it has none of that name: nothing is known of it there.
    """
    numbers: dict[str, Any] = dict(device.attention_kernels.get(kernel, {}))
    return replace(device, attention_kernel=kernel, **numbers) if numbers else device
