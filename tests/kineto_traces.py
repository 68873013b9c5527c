"""Traces in the form of PyTorch's profiler, for tests.

`python -m tests.kineto_traces` writes the one in tests/data/kineto again. Names, counts and mean
times of its kernels, and how long its device idles, are those of a real step (benchmarks/gpu/,
a GPT of 125M parameters, 4 sequences of 1,024 tokens on one H100 under the profiler); in what order
they come and where the gaps lie is made up.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
FILE = ROOT / "data" / "kineto" / "gpt-125m-h100.json.gz"
MEASURED = ROOT.parent / "benchmarks" / "gpu" / "measured" / "h100-80gb-sxm-2026-11-26-steps.json"
#: Where the clock of a trace begins, microseconds.
BEGIN_US = 5_000_000.0
STEPS = 2


def kernel(name: str, start: float, end: float, stream: int = 7, **args: Any) -> dict[str, Any]:
    """Return a kernel by its begin and end in microseconds."""
    details = {"device": 0, "stream": stream, **args}
    return {"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": stream,
            "ts": start, "dur": end - start, "args": details}  # fmt: skip


def nccl(what: str, start: float, end: float, stream: int = 20, **args: Any) -> dict[str, Any]:
    """Return a kernel of NCCL: ``AllReduce_Sum_bf16_RING_LL``."""
    return kernel(f"ncclDevKernel_{what}(ncclDevKernelArgsStorage<4096ul>)", start, end, stream,
                  **args)  # fmt: skip


def annotation(name: str, start: float, end: float) -> dict[str, Any]:
    """Return what the host marks: a step, an optimizer's step."""
    return {"ph": "X", "cat": "user_annotation", "name": name, "pid": 4711, "tid": 4711,
            "ts": start, "dur": end - start, "args": {"External id": 1}}  # fmt: skip


def launch(at: float, correlation: int) -> dict[str, Any]:
    """Return the call that launches a kernel."""
    return {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 4711,
            "tid": 4711, "ts": at, "dur": 3.0,
            "args": {"External id": 1, "cbid": 211, "correlation": correlation}}  # fmt: skip


def trace(*events: dict[str, Any], **head: Any) -> dict[str, Any]:
    """Return a whole trace."""
    device = {"id": 0, "name": "NVIDIA H100 80GB HBM3", "totalGlobalMem": 85017493504}
    return {"schemaVersion": 1, "deviceProperties": [device], **head, "traceEvents": list(events)}


def real_shaped() -> dict[str, Any]:
    """Return a trace with the kernels of a real step, twice."""
    steps = json.loads(MEASURED.read_text())["steps"]
    kernels = next(s for s in steps if s["model"] == "gpt-125m" and s["micro"] == 4
                   and s["sequence"] == 1024 and not s["compiled"])["kernels"]  # fmt: skip
    turns: list[tuple[float, str, float]] = []
    for k in kernels["by_name"]:
        last = "multi_tensor" in k["name"] or "lpnorm" in k["name"]
        for n in range(k["count"]):
            place = 2.0 + n / k["count"] if last else (n + 0.5) / k["count"]
            turns.append((place, k["name"], k["time_s"] / k["count"] * 1e6))
    turns.sort()
    gap = kernels["idle_s"] * 1e6 / len(turns)
    events: list[dict[str, Any]] = []
    at, correlation = BEGIN_US, 0
    for step in range(STEPS):
        first, optimizer = at, None
        for place, name, duration in turns:
            correlation += 1
            start = round(at + gap, 3)
            called = round(start - 0.9 * gap, 3)
            if place >= 2.0 and optimizer is None:
                optimizer = called
            end = round(start + duration, 3)
            events += [launch(called, correlation), kernel(name, start, end,
                                                           correlation=correlation)]  # fmt: skip
            at = end
        assert optimizer is not None
        events.append(annotation("Optimizer.step#AdamW.step", optimizer, at))
        events.append(annotation(f"ProfilerStep#{step + 8}", first, at))
    return trace(*events, displayTimeUnit="ms", baseTimeNanoseconds=1763000000000000000,
                 distributedInfo={"backend": "nccl", "rank": 0, "world_size": 1})  # fmt: skip


def encoded() -> bytes:
    """Return the file of `real_shaped`."""
    return gzip.compress(json.dumps(real_shaped(), separators=(",", ":")).encode(), 9, mtime=0)


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_bytes(encoded())
