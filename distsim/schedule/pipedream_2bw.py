"""PipeDream-2BW: 1F1B that never drains, on two versions of the weights (Narayanan 2020)."""

from __future__ import annotations

from distsim.errors import PlanError
from distsim.schedule import one_f_one_b
from distsim.schedule.actions import Actions
from distsim.schedule.schedule import Schedule


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Return the order of 1F1B.

    Batches follow each other without a flush: the order of k batches is that of k m micro batches,
    of which number i belongs to batch i // m. Each batch adds m times forward and backward to the
    time, and nothing else.

    Raises
    ------
    PlanError
        DS314 where m < p; two versions of the weights suffice from p on (section 3.1).
    """
    if microbatches < stages:
        raise PlanError(
            "DS314",
            f"pipedream-2bw with pp({stages}) has only {microbatches} micro batches a batch",
            path=("plan", "schedule"),
            value=microbatches,
            rule=f"micro batches of a batch >= pp({stages}), so that two versions of the weights "
            "suffice",
            fix=f"take at least {stages} micro batches, or schedule: 1f1b",
        )
    return one_f_one_b.actions(stages, microbatches, virtual_stages)


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time in steady state, 0 (Narayanan 2020, section 3.1)."""
    return 0.0


SCHEDULE = Schedule(
    name="pipedream-2bw",
    order=actions,
    bubble=bubble_fraction,
    summary="1F1B without a flush, on two versions of the weights",
    source="Narayanan 2020 (arXiv 2006.09503), section 3.1",
    flush=False,
    weight_versions=2,
)
