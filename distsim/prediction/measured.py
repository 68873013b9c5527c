"""What is measured in a run: time, where it goes, what links carry; and the steady state of many.

A schedule that flushes ends every step with an empty pipeline, so one step is measured by itself.
One that does not flush is measured by the difference of two runs, the longer one by one batch:
what filling and draining cost is in both, and what is left is one batch in the steady state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import numpy.typing as npt

from distsim.engine.result import Run
from distsim.parallel.plan import Plan
from distsim.prediction.bounds import Bounds, bounds
from distsim.prediction.breakdown import Breakdown, breakdown
from distsim.prediction.usage import link_bytes
from distsim.program.build import Program


@dataclass(frozen=True, slots=True)
class Measured:
    """One step.

    Attributes
    ----------
    step_s : float
    parts : Breakdown
    link_bytes : float64[links]
    bounds : Bounds
    """

    step_s: float
    parts: Breakdown
    link_bytes: npt.NDArray[np.float64]
    bounds: Bounds


def measure(program: Program, run: Run) -> Measured:
    """Measure a run as a whole."""
    return Measured(run.makespan, breakdown(program, run)[0], link_bytes(program), bounds(program))


def batches(plan: Plan) -> tuple[int, ...]:
    """Return how many batches to run: one, or two lengths of which the shorter fills the pipeline.

    A pipeline of p stages is full after p micro batches.
    """
    if plan.pipeline.flush:
        return (1,)
    least = 1 + ceil(plan.pp / plan.microbatches)
    return (least, least + 1)


def difference(shorter: Measured, longer: Measured) -> Measured:
    """Return the batch by which two runs differ."""
    step_s = longer.step_s - shorter.step_s
    before, after = shorter.parts.to_dict(), longer.parts.to_dict()
    parts = {k: max(after[k] - before[k], 0.0) for k in after if k != "bubble_s"}
    return Measured(
        step_s,
        replace(longer.parts, **parts, bubble_s=max(step_s - sum(parts.values()), 0.0)),
        longer.link_bytes - shorter.link_bytes,
        Bounds(
            longer.bounds.lower_s - shorter.bounds.lower_s,
            longer.bounds.upper_s - shorter.bounds.upper_s,
        ),
    )
