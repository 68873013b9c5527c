"""Pipeline schedules: integers in, the order of work of every stage out.

A new schedule is one module with a `SCHEDULE` and one line in `_MODULES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module

from distsim.errors import PlanError
from distsim.schedule.actions import BACKWARD, FORWARD, INPUT, WEIGHT, Actions, peak_in_flight
from distsim.schedule.schedule import Placement, Schedule
from distsim.store import Same, Store

#: Modules of this package that have a `SCHEDULE`.
_MODULES = (
    "gpipe",
    "one_f_one_b",
    "interleaved",
    "breadth_first",
    "zero_bubble_h1",
    "zero_bubble_h2",
    "zero_bubble_v",
    "dualpipe",
    "pipedream_2bw",
    "naive",
)
_SCHEDULES: tuple[Schedule, ...] = tuple(
    import_module(f"{__name__}.{module}").SCHEDULE for module in _MODULES
)
#: Schedules by name.
REGISTRY = {schedule.name: schedule for schedule in _SCHEDULES}


#: Orders that were asked for before.
_ORDERS = Store(64 << 20)


def chunks_of(schedule: Schedule, virtual_stages: int) -> int:
    """Return how many model chunks a stage holds.

    Raises
    ------
    PlanError
        DS310 for virtual stages with a schedule that has none of its own choosing.
    """
    if schedule.chunks is None:
        return virtual_stages
    if virtual_stages not in (1, schedule.chunks):
        choosing = ", ".join(n for n, s in REGISTRY.items() if s.chunks is None)
        holds = "no virtual stages" if schedule.chunks == 1 else f"{schedule.chunks} chunks a stage"
        raise PlanError(
            "DS310",
            f"schedule {schedule.name!r} has {holds}, but virtual_stages is {virtual_stages}",
            path=("plan", "virtual_stages"),
            value=virtual_stages,
            rule=f"virtual_stages of one's own choosing need schedule: {choosing}",
            fix=f"set schedule: {choosing}, or leave virtual_stages out",
        )
    return schedule.chunks


def actions(
    schedule: str | Schedule, stages: int, microbatches: int, virtual_stages: int = 1
) -> tuple[Actions, ...]:
    """Return the actions of each stage, one object for those who ask for the same.

    Parameters
    ----------
    schedule : str or Schedule
        A schedule or its key in `REGISTRY`.
    stages, microbatches, virtual_stages : int
        p, m and v.

    Raises
    ------
    PlanError
        DS310 for virtual stages with a schedule that has none; DS311, DS312 from the schedule.
    """
    found = REGISTRY[schedule] if isinstance(schedule, str) else schedule
    chunks = chunks_of(found, virtual_stages)
    return _ORDERS.get(
        (found, stages, microbatches, chunks),
        lambda: tuple(found.order(stages, microbatches, chunks)),
        lambda made: sum(order.nbytes for order in made),
    )


def paired(orders: Sequence[Actions]) -> bool:
    """Say whether some actions run in pairs."""
    return _paired(Same(orders))


@lru_cache(maxsize=1024)
def _paired(orders: Same) -> bool:
    return any(order.paired.any() for order in orders.of)


def bubble_fraction(
    schedule: str, stages: int, microbatches: int, virtual_stages: int = 1
) -> float:
    """Return the closed form of bubble over ideal time, a lower bound where sends take time."""
    return float(REGISTRY[schedule].bubble(stages, microbatches, virtual_stages))


__all__ = [
    "BACKWARD",
    "FORWARD",
    "INPUT",
    "REGISTRY",
    "WEIGHT",
    "Actions",
    "Placement",
    "Schedule",
    "actions",
    "bubble_fraction",
    "chunks_of",
    "paired",
    "peak_in_flight",
]
