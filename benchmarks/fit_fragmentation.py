"""Gaps between the blocks of PyTorch's allocator, from measured memory.

    python benchmarks/fit_fragmentation.py

* `distsim.parallel.memory.FRAGMENTATION`: training steps on one GPU that say both what was
  allocated and what the allocator had taken (benchmarks/gpu/measured), the mean of their ratio.
* `fragmentation` of a stack: calibration rows of validation/ that say what devices or allocators
  held. What the model has all of it at its peak without gaps is taken off, and so is what the
  runtime takes; the median over the rows of a source.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path

from distsim.prediction.predict import memory
from distsim.scenario.resolve import resolve
from distsim.study.validate_rows import rows, sources

MEASURED = Path(__file__).parent / "gpu" / "measured"


def of_steps() -> list[float]:
    """Return reserved over allocated bytes, less one, of each measured step."""
    found = []
    for file in sorted(MEASURED.glob("*-steps.json")):
        steps = json.loads(file.read_text(encoding="utf-8"))["steps"]
        found += [s["reserved_bytes"] / s["allocated_bytes"] - 1 for s in steps]
    return found


def of_rows(path: Path) -> Iterator[float]:
    """Yield what was held over what the fullest stage has without gaps, less one, of each row."""
    for row in rows(path):
        if row.split != "calibration" or row.memory_kind not in ("reserved", "device"):
            continue
        stage = max(memory(resolve(row.load())).stages, key=lambda s: s.peak_bytes)
        runtime = stage.buffers.reserved_bytes
        held = float(row.measured_bytes or 0) - (runtime if row.memory_kind == "device" else 0.0)
        yield held / (stage.peak_bytes - runtime + stage.reserve_bytes(0.0)) - 1


def main() -> None:
    """Print both."""
    steps = of_steps()
    print(
        f"measured steps: {len(steps)}, mean {statistics.mean(steps):.3f}, "
        f"median {statistics.median(steps):.3f}, {min(steps):.3f} to {max(steps):.3f}"
    )
    for name, path in sources().items():
        found = list(of_rows(path)) if name.endswith("-memory") else []
        if len(found) < 2:
            continue
        low, middle, high = statistics.quantiles(found, n=4)
        # Standard error of a median: 1.253 standard deviations, each 1 / 1.349 of the quartiles.
        error = 1.253 / 1.349 * (high - low) / len(found) ** 0.5
        print(
            f"{name}: {len(found)} rows, median {middle:.3f} +- {error:.3f}, "
            f"quartiles {low:.3f} {high:.3f}"
        )


if __name__ == "__main__":
    main()
