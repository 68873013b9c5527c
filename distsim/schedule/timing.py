"""When each action of a schedule runs if each kind takes the same time everywhere.

A longest path over the actions: an evaluator of its own for schedules, without a model, hardware or
contention. Times are in seconds or in any other unit; the results are in the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distsim.record import record
from distsim.schedule.actions import BACKWARD, FORWARD, INPUT, WEIGHT, Actions
from distsim.schedule.check import first_fault
from distsim.schedule.flat import Flat, flatten, illegal, needs, walk
from distsim.schedule.schedule import Placement

Floats = npt.NDArray[np.float64]


@record
class Times:
    """When the actions of each stage run.

    Attributes
    ----------
    start_s, end_s : tuple of float64[a]
        Begin and end of the actions of each stage.
    busy_s : float64[stages]
        Time in which each stage works.
    """

    start_s: tuple[Floats, ...]
    end_s: tuple[Floats, ...]
    busy_s: Floats

    @property
    def makespan_s(self) -> float:
        """Time from the first begin to the last end of all stages."""
        begin = min(float(s[0]) for s in self.start_s)
        return max(float(e[-1]) for e in self.end_s) - begin

    @property
    def span_s(self) -> Floats:
        """Time from the first begin to the last end of each stage."""
        return np.asarray([e[-1] - s[0] for s, e in zip(self.start_s, self.end_s, strict=True)])

    @property
    def bubble(self) -> float:
        """Bubble over ideal time if all stages wait for the last one before the next step."""
        return self.makespan_s / float(self.busy_s.max()) - 1.0

    @property
    def staggered_bubble(self) -> float:
        """Bubble over ideal time if each stage begins the next step when it is done itself.

        The next step, shifted by the longest span of a stage, keeps all dependencies. So zero-
        bubble schedules are measured: their optimizer step is validated afterwards (Qi 2023,
        sections 4 and 5.3).
        """
        return float(self.span_s.max() / self.busy_s.max()) - 1.0


def unit_times(
    orders: Sequence[Actions],
    placement: Placement,
    *,
    replicas: int = 1,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
    hop_s: float = 0.0,
    pair_s: float | None = None,
) -> Times:
    """Run a schedule on times that are the same for all stages and micro batches.

    Parameters
    ----------
    orders : sequence of Actions
        Actions of each stage.
    placement : tuple of tuple of int
        ``[stage][chunk]`` -> number of the model chunk.
    replicas : int
        Copies of the model.
    forward_s, input_s, weight_s : float
        Forward pass, input gradient and weight gradient of one micro batch through all chunks of
        its copy on one stage; a whole backward pass takes the sum of the last two.
    hop_s : float
        Time from one stage to another.
    pair_s : float, optional
        Time of a forward and a backward pass that are paired and run together (F&B in DeepSeek-AI
        2024, table 2), through all chunks of a copy on a stage. Without it one runs after the
        other.

    Returns
    -------
    Times

    Raises
    ------
    PlanError
        DS317 for an order that is no schedule.
    """
    flat = flatten(orders, placement, replicas)
    fault = first_fault(flat)
    if fault is not None:
        raise illegal(fault.message, fault.rule, fault.fix)
    by_kind = np.zeros(4)
    by_kind[[FORWARD, BACKWARD, INPUT, WEIGHT]] = forward_s, input_s + weight_s, input_s, weight_s
    share = np.asarray([replicas / len(chunks) for chunks in placement])[flat.stage]
    took = by_kind[flat.kind] * share
    if pair_s is not None:
        first = np.flatnonzero(flat.paired)
        took[first], took[first + 1] = pair_s * share[first], 0.0
    start, end = longest_path(flat, took, hop=hop_s, joint=pair_s is not None)
    cuts = flat.first[1:-1].tolist()
    busy = np.bincount(flat.stage, took, minlength=len(orders)).astype(np.float64)
    return Times(tuple(np.split(start, cuts)), tuple(np.split(end, cuts)), busy)


def longest_path(
    flat: Flat, took: Floats, *, hop: float = 0.0, joint: bool = False
) -> tuple[Floats, Floats]:
    """Return begin and end of each action.

    Parameters
    ----------
    flat : Flat
        A legal schedule.
    took : float64[a]
        Time of each action.
    hop : float
        Time from one stage to another.
    joint : bool
        Paired actions begin and end together and take the sum of their times.
    """
    waits = needs(flat)
    order = walk(flat, waits, joint=joint)
    hops = np.where(flat.stage != flat.stage[waits], hop, 0.0).tolist()
    need, times, paired = waits.tolist(), took.tolist(), (flat.paired & joint).tolist()
    fresh = (np.diff(flat.stage, prepend=-1) > 0).tolist()
    start, end = [0.0] * len(need), [0.0] * len(need)
    for action in order:
        if action and not fresh[action] and paired[action - 1]:
            continue  # timed with the one before it
        begin = 0.0 if fresh[action] else end[action - 1]
        if need[action] >= 0:
            begin = max(begin, end[need[action]] + hops[action])
        start[action] = begin
        if paired[action]:
            second = action + 1
            if 0 <= need[second] != action:
                begin = max(begin, end[need[second]] + hops[second])
            start[action] = start[second] = begin
            end[second] = begin + times[action] + times[second]
            end[action] = end[second]
        else:
            end[action] = begin + times[action]
    return np.asarray(start), np.asarray(end)
