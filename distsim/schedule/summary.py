"""A schedule at fixed times as plain values: bubble, what stages hold, when each action runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distsim.errors import PlanError
from distsim.schedule.actions import FORWARD, INPUT, LETTERS, Actions, peak_in_flight
from distsim.schedule.schedule import Schedule
from distsim.schedule.timing import Times, unit_times

#: Most actions of a schedule that is shown action by action.
MOST_ACTIONS = 1 << 20


def peak_held(actions: Actions) -> int:
    """Return the most chunk passes whose activations are kept: until B, or until W after an I."""
    change = np.where(actions.kind == FORWARD, 1, np.where(actions.kind == INPUT, 0, -1))
    return int(np.cumsum(change).max(initial=0))


def summary(
    schedule: Schedule,
    stages: int,
    microbatches: int,
    chunks: int,
    *,
    forward: float = 1.0,
    input_: float = 1.0,
    weight: float = 1.0,
    closed_form: bool = True,
) -> dict[str, Any]:
    """Return all that is to be said of a schedule at fixed times.

    Parameters
    ----------
    schedule : Schedule
    stages, microbatches, chunks : int
        p, m, and model chunks a stage, as `chunks_of` gives them.
    forward, input_, weight : float
        Times of one micro batch on a stage, in any unit.
    closed_form : bool
        Whether the schedule has one.

    Returns
    -------
    dict
        Times are in the unit of the arguments, bubbles over ideal time, peaks in micro batches
        (chunk passes over the chunks that a micro batch passes on a stage).

    Raises
    ------
    PlanError
        DS311 to DS316 from the schedule; DS319 for more than `MOST_ACTIONS` actions.
    """
    _check_size(stages, microbatches, chunks)
    fiw = (forward, input_, weight)
    once = _times(schedule, stages, microbatches, chunks, fiw)
    placement = schedule.placement(stages, chunks)
    orders = schedule.order(stages, microbatches, chunks)
    closed = schedule.bubble(stages, microbatches, chunks, *fiw) if closed_form else None
    passes = chunks // schedule.replicas
    return {
        "name": schedule.name,
        "summary": schedule.summary,
        "source": schedule.source,
        "stages": stages,
        "microbatches": microbatches,
        "virtual_stages": chunks,
        "replicas": schedule.replicas,
        "flush": schedule.flush,
        "weight_versions": schedule.weight_versions,
        "forward": forward,
        "input": input_,
        "weight": weight,
        "makespan": once.makespan_s,
        "bubble": _bubbles(schedule, orders, chunks, fiw, once) | {"closed_form": closed},
        "order": [
            _stage(stage, order, placement[stage], once, passes)
            for stage, order in enumerate(orders)
        ],
    }


def _check_size(stages: int, microbatches: int, chunks: int) -> None:
    """Refuse more actions than are shown."""
    if 2 * stages * microbatches * chunks > MOST_ACTIONS:
        raise PlanError(
            "DS319",
            f"{stages} stages, {microbatches} micro batches and {chunks} chunks a stage are more "
            f"than {MOST_ACTIONS:,} actions",
            rule=f"2 * stages * micro batches * chunks a stage <= {MOST_ACTIONS:,}",
            fix="ask for fewer",
        )


def _times(
    schedule: Schedule,
    stages: int,
    microbatches: int,
    chunks: int,
    fiw: tuple[float, float, float],
    pair: float | None = None,
) -> Times:
    """Return when the actions of a schedule run at times of F, I and W."""
    return unit_times(
        schedule.order(stages, microbatches, chunks),
        schedule.placement(stages, chunks),
        replicas=schedule.replicas,
        forward_s=fiw[0],
        input_s=fiw[1],
        weight_s=fiw[2],
        pair_s=pair,
    )


def _bubbles(
    schedule: Schedule,
    orders: Sequence[Actions],
    chunks: int,
    fiw: tuple[float, float, float],
    once: Times,
) -> dict[str, float | None]:
    """Return the bubbles that are measured, over ideal time."""
    stages, microbatches = len(orders), 1 + max(int(o.microbatch.max()) for o in orders)
    measured, staggered = once.bubble, once.staggered_bubble
    if not schedule.flush:
        # What one batch more adds, for the pipeline does not drain between two.
        twice = _times(schedule, stages, 2 * microbatches, chunks, fiw)
        measured = (twice.makespan_s - once.makespan_s) / float(once.busy_s.max()) - 1.0
        staggered = measured
    whole = None
    if any(order.paired.any() for order in orders):
        whole = _times(schedule, stages, microbatches, chunks, fiw, pair=sum(fiw)).bubble
    return {"measured": measured, "staggered": staggered, "paired": whole}


def _stage(
    stage: int, order: Actions, chunks: tuple[int, ...], times: Times, passes: int
) -> dict[str, Any]:
    """Return what a stage holds and when it does what; a micro batch passes it so many times."""
    return {
        "stage": stage,
        "chunks": list(chunks),
        "busy": float(times.busy_s[stage]),
        "peak_in_flight": peak_in_flight(order) / passes,
        "peak_held": peak_held(order) / passes,
        "actions": _actions(order, chunks, times, stage),
    }


def _actions(
    order: Actions, chunks: tuple[int, ...], times: Times, stage: int
) -> list[dict[str, Any]]:
    """Return the actions of a stage with their times."""
    rows = zip(
        order.kind.tolist(),
        order.chunk.tolist(),
        order.microbatch.tolist(),
        order.paired.tolist(),
        times.start_s[stage].tolist(),
        times.end_s[stage].tolist(),
        strict=True,
    )
    return [
        {
            "action": f"{chunks[chunk]}{LETTERS[kind]}{microbatch}",
            "start": start,
            "end": end,
            "paired": paired,
        }
        for kind, chunk, microbatch, paired, start, end in rows
    ]
