"""Naive model parallelism: one stage works while all others wait."""

from __future__ import annotations

import numpy as np

from distsim.schedule.actions import BACKWARD, FORWARD, Actions, make
from distsim.schedule.schedule import Schedule


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Return the same order for every stage: forward and backward of one micro batch at a time.

    The next micro batch begins when the first stage is done with the one before, so that a single
    one is in flight. Gradients are accumulated over all of them.
    """
    kind = np.tile([FORWARD, BACKWARD], microbatches)
    microbatch = np.repeat(np.arange(microbatches), 2)
    return [make(kind, microbatch, np.zeros_like(microbatch))] * stages


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time, p - 1: each stage works 1/p of the time (Huang 2019, section 2.3)."""
    return float(stages - 1)


SCHEDULE = Schedule(
    name="naive",
    order=actions,
    bubble=bubble_fraction,
    summary="model parallelism without a pipeline: one stage works at a time",
    source="Huang 2019 (arXiv 1811.06965), section 2.3 and figure 2(b)",
)
