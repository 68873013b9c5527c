"""GPipe: all forwards, then all backwards (Huang 2019, arXiv 1811.06965)."""

from __future__ import annotations

import numpy as np

from distsim.schedule.actions import BACKWARD, FORWARD, Actions, make
from distsim.schedule.schedule import Schedule


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Return the same order for every stage; all micro batches are in flight at the turn."""
    kind = np.repeat([FORWARD, BACKWARD], microbatches)
    microbatch = np.concatenate([np.arange(microbatches), np.arange(microbatches)])
    return [make(kind, microbatch, np.zeros_like(microbatch))] * stages


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time, (p - 1) / m (Huang 2019, section 2.3; Narayanan 2021, 2.2.1)."""
    return (stages - 1) / microbatches


SCHEDULE = Schedule(
    name="gpipe",
    order=actions,
    bubble=bubble_fraction,
    summary="all forwards, then all backwards",
    source="Huang 2019 (arXiv 1811.06965)",
)
