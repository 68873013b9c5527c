"""1F1B, PipeDream-Flush: at most p micro batches in flight (Narayanan 2021, section 2.2.1)."""

from __future__ import annotations

import numpy as np

from distsim.schedule.actions import FORWARD, Actions, make, one_forward_one_backward
from distsim.schedule.schedule import Schedule


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Stage r runs p - 1 - r forwards before its first pair."""
    out = []
    for stage in range(stages):
        kind = one_forward_one_backward(microbatches, stages - 1 - stage)
        microbatch = np.zeros(2 * microbatches, dtype=np.int32)
        microbatch[kind == FORWARD] = np.arange(microbatches)
        microbatch[kind != FORWARD] = np.arange(microbatches)
        out.append(make(kind, microbatch, np.zeros(2 * microbatches)))
    return out


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time, (p - 1) / m (Narayanan 2021, section 2.2.1)."""
    return (stages - 1) / microbatches


SCHEDULE = Schedule(
    name="1f1b",
    order=actions,
    bubble=bubble_fraction,
    summary="one forward, one backward; at most p micro batches in flight",
    source="Narayanan 2021 (arXiv 2104.04473), section 2.2.1",
)
