"""Rate of products by the share of the time that they take, under the power limit of a GPU.

    python -m benchmarks.gpu.duty -o duty.json

Cycles of some products and some additions of long arrays run for seconds; products alone meet the
power limit, products between memory-bound kernels meet it less.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.train_step import Sampler, machine

SIZE, LONG = 8192, 1 << 28
#: Products and additions of a cycle.
CYCLES = ((4, 0), (8, 1), (6, 3), (4, 4), (4, 8), (2, 8), (1, 8))
SECONDS, SETTLED = 4.0, 2.0


def run(dtype: torch.dtype, products: int, additions: int, device: torch.device) -> dict[str, Any]:
    """Return rates of one kind of cycle, from those after `SETTLED` seconds."""
    with device:
        sets = [(torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)) for _ in range(2)]
        pairs = [(a.to(dtype), b.to(dtype).t()) for a, b in sets]
        x, y = (torch.randn(LONG, dtype=torch.bfloat16) for _ in range(2))
        out, one = torch.empty_like(x), torch.ones(())
    eight = dtype == torch.float8_e4m3fn

    def product(number: int) -> None:
        a, b = pairs[number % 2]
        if eight:
            torch._scaled_mm(
                a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
            )
        else:
            torch.mm(a, b)

    marks: list[tuple[torch.cuda.Event, ...]] = []
    sampler, sampling = Sampler(), False
    torch.cuda.synchronize()
    began_s = time.perf_counter()
    while (now_s := time.perf_counter() - began_s) < SECONDS:
        if now_s > SETTLED and not sampling:
            marks.clear()
            sampler.start()
            sampling = True
        three = tuple(torch.cuda.Event(enable_timing=True) for _ in range(3))
        three[0].record()
        for number in range(products):
            product(number)
        three[1].record()
        for _ in range(additions):
            torch.add(x, y, out=out)
        three[2].record()
        marks.append(three)
        if len(marks) > 8:  # the host stays a few cycles ahead
            marks[-8][2].synchronize()
    torch.cuda.synchronize()
    clocks = sampler.stop()
    times = [(a.elapsed_time(b) / 1e3, b.elapsed_time(c) / 1e3) for a, b, c in marks]
    product_s, addition_s = (median(t[i] for t in times) for i in range(2))
    return {
        "dtype": {torch.bfloat16: "bf16", torch.float8_e4m3fn: "fp8"}[dtype],
        "products": products,
        "additions": additions,
        "share": product_s / (product_s + addition_s),
        "flop_per_s": 2.0 * SIZE**3 * products / product_s,
        "bytes_per_s": 6.0 * LONG * additions / addition_s if additions else None,
        "cycles": len(times),
        **clocks,
    }


def main() -> None:
    """Write the rates."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    device = torch.device("cuda")
    rows = []
    for dtype in (torch.bfloat16, torch.float8_e4m3fn):
        for products, additions in CYCLES:
            rows.append(run(dtype, products, additions, device))
            print(
                {
                    k: round(v, 3) if isinstance(v, float) and v < 10 else v
                    for k, v in rows[-1].items()
                },
                flush=True,
            )
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump({"machine": machine(device), "cycles": rows}, file, indent=1)


if __name__ == "__main__":
    main()
