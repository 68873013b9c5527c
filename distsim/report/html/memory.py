"""Memory over time of each stage, thinned out to what a screen shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.prediction.memory_timeline import CATEGORIES, MemoryTimeline
from distsim.prediction.predict import Prediction
from distsim.report.html.page import Section, section

#: Instants of a stage that are kept, each the fullest of its part of the step.
_BINS = 600


def memory_section(prediction: Prediction) -> Section:
    """Return the section with memory over time against the capacity."""
    about = (
        "What one rank of each stage holds through the step; of each moment the fullest instant. "
        "The line is the memory of the device. The reserve of the allocator comes on top."
    )
    return section(
        "memory",
        "memory",
        "Memory over time",
        about,
        capacity_bytes=prediction.memory.capacity_bytes,
        end_s=prediction.timeline.run.makespan,
        categories=list(CATEGORIES),
        stages=[_stage(seen) for seen in prediction.memory_timeline.by_stage()],
    )


def _stage(seen: MemoryTimeline) -> dict[str, Any]:
    kept = _fullest(seen.times_s, seen.allocated_bytes, _BINS)
    parts = {name: part[kept] for name, part in seen.parts.items() if part.any()}
    return {
        "stage": seen.stage,
        "rank": seen.rank,
        "peak_bytes": seen.peak_bytes,
        "peak_s": seen.peak_s,
        "reserve_bytes": seen.reserve_bytes,
        "holds": seen.holds,
        "times_s": [float(f"{t:.6g}") for t in seen.times_s[kept].tolist()],
        "parts": {
            name: float(part[0]) if (part == part[0]).all() else np.rint(part).tolist()
            for name, part in parts.items()
        },
    }


def _fullest(
    times_s: npt.NDArray[np.float64], level: npt.NDArray[np.float64], bins: int
) -> npt.NDArray[np.int64]:
    """Return places of instants: all of few, else the fullest of each of equal parts of the time.

    The first and the last stay, so that the step keeps its length.
    """
    n = len(times_s)
    if n <= bins:
        return np.arange(n)
    span = times_s[-1] - times_s[0] or 1.0
    part = np.minimum(((times_s - times_s[0]) / span * bins).astype(np.int64), bins - 1)
    order = np.lexsort((-level, part))
    first = np.flatnonzero(np.diff(part[order], prepend=-1))
    return np.unique(np.concatenate([[0], order[first], [n - 1]]))
