"""Operators beside those of ``distsim measure``: few rows, cuDNN's attention, passes of a step.

    python -m benchmarks.gpu.operators -o more.json [--budget 60]

Written in the same form, to a file of its own: calibration takes all attention to be of one kernel.
"""

from __future__ import annotations

import argparse
import json
from itertools import product

from distsim.measure import cases
from distsim.measure.cases import Case
from distsim.measure.document import Measured, Skipped, Timings
from distsim.measure.grid import interleaved
from distsim.measure.machine import TorchMachine
from distsim.measure.session import METHODS, run_cases

_LEAST_S = 0.1


def wanted() -> list[Case]:
    """Return the cases."""
    found = [
        cases.gemm(m, n, k, "bf16")
        for m, (n, k) in product(
            (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512),
            ((4096, 4096), (12288, 4096), (22016, 4096), (4096, 11008), (28672, 8192)),
        )
    ]
    found += [
        cases.attention(
            16384 // s, h, s, d, "bf16", causal=causal, direction=direction, kernel=kernel
        )
        for s, (h, d), causal, direction, kernel in product(
            (512, 1024, 2048, 4096, 8192),
            ((16, 64), (32, 128)),
            (True, False),
            ("forward", "backward"),
            ("cudnn",),
        )
    ]
    # As a step of GPT-2 small has them: narrow heads, and few of them.
    found += [
        cases.attention(b, h, s, d, "bf16", direction=direction, kernel=kernel)
        for (b, h, s, d), direction, kernel in product(
            ((4, 12, 1024, 64), (16, 12, 1024, 64), (1, 32, 2048, 128), (4, 16, 2048, 128)),
            ("forward", "backward"),
            ("", "cudnn"),
        )
    ]
    return interleaved(found)


def main() -> None:
    """Time them and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="")
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    machine = TorchMachine(options.device)
    method = METHODS[machine.kind]
    found = list(run_cases(wanted(), machine, method, options.budget, _LEAST_S))
    from distsim.measure.clock import today

    timings = Timings(
        date=today(),
        device=machine.device_record(),
        versions=machine.versions(),
        method={
            "batch_s": method.batch_s,
            "max_calls": method.max_calls,
            "batches": method.batches,
            "budget_s": options.budget,
            "rotation_bytes": machine.rotation_bytes,
            "quick": False,
        },
        measured=tuple(one for one in found if isinstance(one, Measured)),
        skipped=tuple(one for one in found if isinstance(one, Skipped)),
        notes=tuple(machine.notes),
    )
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump(timings.to_dict(), file, indent=1)
    for entry in timings.skipped:
        print(entry.to_dict())
    print(f"{options.output}: {len(timings.measured)} timings")


if __name__ == "__main__":
    main()
