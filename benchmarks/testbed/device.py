"""How fast one core is: matrix products, memory, small operators, by PyTorch itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

#: (m, k, n) of products: square ones, and those of a transformer's layers and head.
PRODUCTS = (
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (1536, 1536, 1536),
    (512, 512, 2048),
    (512, 2048, 512),
    (128, 64, 128),
)
#: Bytes of arrays whose copying is timed: well beyond the last cache.
COPY_BYTES = 64 << 20
#: Products of the calibration loop.
LOOP_SIZE, LOOP_TIMES = 192, 4
_LOOP: list[torch.Tensor] = []


def loop_s() -> float:
    """Return the seconds of a fixed piece of arithmetic, about 1 ms on a free core."""
    if not _LOOP:
        _LOOP.append(torch.ones(LOOP_SIZE, LOOP_SIZE))
    array = _LOOP[0]
    start = time.monotonic()
    for _ in range(LOOP_TIMES):
        array @ array
    return time.monotonic() - start


def _times(call: Callable[[], Any], seconds: float) -> list[float]:
    call()
    times: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(times) < 5:
        start = time.monotonic()
        call()
        times.append(time.monotonic() - start)
    return sorted(times)


def _entry(times: list[float], **what: Any) -> dict[str, Any]:
    at = [times[int(q * (len(times) - 1))] for q in (0.1, 0.5, 0.9)]
    named = dict(zip(("low_s", "time_s", "high_s"), at, strict=True))
    return what | named | {"repeats": len(times)}


def measure(seconds: float) -> dict[str, Any]:
    """Return operator timings, in the form of ``distsim measure``.

    Parameters
    ----------
    seconds : float
        In all.
    """
    each = seconds / (len(PRODUCTS) + 3)
    timings = []
    with torch.no_grad():
        for m, k, n in PRODUCTS:
            a, b, c = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
            times = _times(partial(torch.mm, a, b, out=c), each)
            what = {"kind": "gemm", "batch": 1, "m": m, "n": n, "k": k}
            timings.append(_entry(times, **what, dtype="fp32", layout="nn"))
        source, target = torch.ones(COPY_BYTES // 4), torch.ones(COPY_BYTES // 4)
        for op, call, moved in (
            ("copy", lambda: target.copy_(source), 2 * COPY_BYTES),
            ("add", lambda: torch.add(source, target, out=target), 3 * COPY_BYTES),
        ):
            what = {"kind": "memory", "op": op, "moved_bytes": moved, "dtype": "fp32"}
            timings.append(_entry(_times(call, each), **what))
        one = torch.ones(16)
        small = _times(lambda: [one.add_(1.0) for _ in range(100)], each)
        timings.append(_entry([t / 100 for t in small], kind="host", op="dispatch"))
    return {"timings": timings}
