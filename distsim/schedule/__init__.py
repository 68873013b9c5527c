"""Pipeline schedules: integers in, the order of work of every stage out.

A new schedule is one module with ``actions`` and ``bubble_fraction``, and one line in `REGISTRY`.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

from distsim.errors import PlanError
from distsim.schedule import gpipe, interleaved, one_f_one_b
from distsim.schedule.actions import BACKWARD, FORWARD, WEIGHT, Actions, peak_in_flight

REGISTRY: dict[str, ModuleType] = {
    "gpipe": gpipe,
    "1f1b": one_f_one_b,
    "interleaved": interleaved,
}


@lru_cache(maxsize=64)
def _cached(
    schedule: str, stages: int, microbatches: int, virtual_stages: int
) -> tuple[Actions, ...]:
    return tuple(REGISTRY[schedule].actions(stages, microbatches, virtual_stages))


def actions(
    schedule: str, stages: int, microbatches: int, virtual_stages: int = 1
) -> list[Actions]:
    """Return the actions of each stage.

    Parameters
    ----------
    schedule : str
        A key of `REGISTRY`.
    stages, microbatches, virtual_stages : int
        p, m and v.

    Raises
    ------
    PlanError
        DS310 for virtual stages with a schedule that has none; DS311, DS312 from the schedule.
    """
    if virtual_stages > 1 and schedule != "interleaved":
        raise PlanError(
            "DS310",
            f"schedule {schedule!r} has no virtual stages, but virtual_stages is {virtual_stages}",
            path=("plan", "virtual_stages"),
            value=virtual_stages,
            rule="virtual_stages > 1 needs schedule: interleaved",
            fix="set schedule: interleaved, or virtual_stages: 1",
        )
    return list(_cached(schedule, stages, microbatches, virtual_stages))


def bubble_fraction(
    schedule: str, stages: int, microbatches: int, virtual_stages: int = 1
) -> float:
    """Return the closed form of bubble over ideal time, a lower bound where sends take time."""
    return float(REGISTRY[schedule].bubble_fraction(stages, microbatches, virtual_stages))


__all__ = [
    "BACKWARD",
    "FORWARD",
    "REGISTRY",
    "WEIGHT",
    "Actions",
    "actions",
    "bubble_fraction",
    "peak_in_flight",
]
