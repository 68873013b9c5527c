"""The kernels of one step, as PyTorch's profiler sees them."""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def kernels_of(step: Callable[[], object]) -> dict[str, Any] | None:
    """Return kernels by name (count, seconds), time from first to last, and time with none.

    Parameters
    ----------
    step : callable
        Run twice; the second run counts.
    """
    if not torch.cuda.is_available():
        return None
    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        step()
        torch.cuda.synchronize()
    handle, path = tempfile.mkstemp(suffix=".json")
    os.close(handle)
    try:
        profiled.export_chrome_trace(path)
        with open(path, encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
    finally:
        os.unlink(path)
    return summary(events)


def summary(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return counts and seconds of the kernels in a Kineto trace."""
    spans = []
    named: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for event in events:
        if event.get("cat") not in ("kernel", "gpu_memcpy", "gpu_memset"):
            continue
        begin, length = float(event["ts"]), float(event["dur"])
        spans.append((begin, begin + length))
        entry = named[str(event["name"])]
        entry[0] += 1
        entry[1] += length / 1e6
    spans.sort()
    idle, end = 0.0, spans[0][0] if spans else 0.0
    for begin, last in spans:
        idle += max(0.0, begin - end)
        end = max(end, last)
    listed = sorted(named.items(), key=lambda item: -item[1][1])
    return {
        "span_s": (end - spans[0][0]) / 1e6 if spans else 0.0,
        "idle_s": idle / 1e6,
        "count": len(spans),
        "by_name": [{"name": n[:160], "count": int(c), "time_s": s} for n, (c, s) in listed],
    }
