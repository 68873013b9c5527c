"""Breadth-first pipeline: all micro batches pass a model chunk before the next chunk begins.

Lamy-Poirier 2023, "Breadth-First Pipeline Parallelism" (arXiv 2211.05953), section 4.1. Chunks lie
as in the interleaved schedule, so the bubble is as short; every forward pass precedes the first
backward one, as in GPipe, so all micro batches are in flight. A chunk is used in one go, forward
and backward, so that its gradients can leave long before the end of the step.
"""

from __future__ import annotations

import numpy as np

from distsim.schedule.actions import BACKWARD, FORWARD, Actions, make
from distsim.schedule.schedule import Schedule


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Return the same order for every stage: chunk by chunk down, and back again."""
    chunk = np.repeat(np.arange(virtual_stages), microbatches)
    microbatch = np.tile(np.arange(microbatches), virtual_stages)
    kind = np.repeat([FORWARD, BACKWARD], len(chunk))
    order = make(kind, np.tile(microbatch, 2), np.concatenate([chunk, chunk[::-1]]))
    return [order] * stages


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time, (p - 1) / (v m) (Lamy-Poirier 2023, section 4).

    With fewer micro batches than stages a stage also waits for each chunk to come around: p - m
    passes of a chunk, each time but the first.
    """
    late = max(stages - microbatches, 0) * (virtual_stages - 1)
    return (stages - 1 + late) / (virtual_stages * microbatches)


SCHEDULE = Schedule(
    name="breadth-first",
    order=actions,
    bubble=bubble_fraction,
    summary="all micro batches through one model chunk after the other",
    source="Lamy-Poirier 2023 (arXiv 2211.05953), section 4.1",
    chunks=None,
)
