"""A schedule at fixed times as plain values: bubble, what stages hold, when each action runs."""

from __future__ import annotations

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
    if 2 * stages * microbatches * chunks > MOST_ACTIONS:
        raise PlanError(
            "DS319",
            f"{stages} stages, {microbatches} micro batches and {chunks} chunks a stage are more "
            f"than {MOST_ACTIONS:,} actions",
            rule=f"2 * stages * micro batches * chunks a stage <= {MOST_ACTIONS:,}",
            fix="ask for fewer",
        )

    def times(count: int, pair_s: float | None = None) -> Times:
        return unit_times(
            schedule.order(stages, count, chunks),
            placement,
            replicas=schedule.replicas,
            forward_s=forward,
            input_s=input_,
            weight_s=weight,
            pair_s=pair_s,
        )

    placement = schedule.placement(stages, chunks)
    orders = schedule.order(stages, microbatches, chunks)
    once = times(microbatches)
    ideal = float(once.busy_s.max())
    measured, staggered = once.bubble, once.staggered_bubble
    if False:
        # What one batch more adds, for the pipeline does not drain between two.
        twice = times(2 * microbatches)
        measured = (twice.makespan_s - once.makespan_s) / ideal - 1.0
        staggered = measured
    paired = any(order.paired.any() for order in orders)
    whole = times(microbatches, forward + input_ + weight).bubble if paired else None
    closed = schedule.bubble(stages, microbatches, chunks, forward, input_, weight)
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
        "bubble": {
            "measured": measured,
            "staggered": staggered,
            "paired": whole,
            "closed_form": closed if closed_form else None,
        },
        "order": [
            {
                "stage": stage,
                "chunks": list(placement[stage]),
                "busy": float(once.busy_s[stage]),
                "peak_in_flight": peak_in_flight(order) / passes,
                "peak_held": peak_held(order) / passes,
                "actions": _actions(order, placement[stage], once, stage),
            }
            for stage, order in enumerate(orders)
        ],
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
