"""Trainings with failures and a pool of spare nodes that may run out.

All runs go from event to event side by side: a failure, the end, or, with fewer replicas than
usual, the checkpoint after which a repaired node joins again. Nodes come back in the order in
which they failed, since all repairs take as long.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from distsim.study.goodput.montecarlo import PARTS, Draws, Runs, Shape
from distsim.study.goodput.process import Failures, Spares

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(slots=True)
class _Repairs:
    """Instants at which nodes come back, a ring for each run.

    Attributes
    ----------
    back_s : float64[runs, width]
    head, out : int64[runs]
        Place of the next to come back, and how many are out.
    """

    back_s: Floats
    head: Ints
    out: Ints

    @classmethod
    def of(cls, runs: int, width: int) -> _Repairs:
        """Return rings with no node out."""
        zero = np.zeros(runs, np.int64)
        return cls(np.full((runs, width), np.inf), zero, zero.copy())

    def add(self, rows: Ints, back_s: Floats) -> None:
        """Take a node out of each of some runs, until an instant."""
        width = self.back_s.shape[1]
        if len(rows) and int(self.out[rows].max()) == width:
            order = (self.head[:, None] + np.arange(width)) % width
            ordered = np.take_along_axis(self.back_s, order, axis=1)
            self.back_s = np.concatenate([ordered, np.full_like(ordered, np.inf)], axis=1)
            self.head[:] = 0
            width *= 2
        self.back_s[rows, (self.head[rows] + self.out[rows]) % width] = back_s
        self.out[rows] += 1

    def next_s(self, rows: Ints) -> Floats:
        """Return when the next node of some runs comes back; infinite where none is out."""
        soonest = self.back_s[rows, self.head[rows]]
        return np.where(self.out[rows] > 0, soonest, np.inf)

    def collect(self, rows: Ints, now_s: Floats) -> None:
        """Take back the nodes that are repaired."""
        while len(rows):
            ready = self.next_s(rows) <= now_s
            rows, now_s = rows[ready], now_s[ready]
            self.out[rows] -= 1
            self.head[rows] = (self.head[rows] + 1) % self.back_s.shape[1]


@dataclass(slots=True)
class _State:
    """Where each run is; arrays [runs]."""

    now_s: Floats
    done: Ints
    repairs: _Repairs
    parts: dict[str, Floats] = field(default_factory=dict)
    restarts: Flags = field(default_factory=lambda: np.zeros(0, np.bool_))

    def spend(self, part: str, rows: Ints, seconds: Floats | float) -> None:
        """Let time pass."""
        self.parts[part][rows] += seconds
        self.now_s[rows] += seconds


def draw_with_pool(
    shape: Shape, failures: Failures, spares: Spares, draws: Draws, runs: int
) -> Runs:
    """Draw trainings with a pool of spare nodes; see `montecarlo.draw`."""
    state = _State(
        np.zeros(runs), np.zeros(runs, np.int64), _Repairs.of(runs, max(4, 2 * spares.nodes)),
        {part: np.zeros(runs) for part in PARTS}, np.zeros(runs, np.bool_),
    )  # fmt: skip
    count, column = np.zeros(runs, np.int64), 0
    times, shares = draws.times(), draws.shares()
    of, share = next(times), next(shares)
    active = np.arange(runs)
    while len(active):
        if column == draws.size:
            of, share, column = next(times), next(shares), 0
        failed = _segment(shape, failures, spares, state, active, of[active, column])
        count[failed] += 1
        broken = share[failed, column] < spares.hardware_share
        _replace(failures, spares, state, failed, failed[broken])
        active, column = failed, column + 1
    return Runs(**state.parts, failures=count)


def _segment(
    shape: Shape, failures: Failures, spares: Spares, state: _State, rows: Ints, left_s: Floats
) -> Ints:
    """Run from restart to failure, or to the end; return the runs that failed."""
    failed: list[Ints] = []
    while len(rows):
        restart_s = np.where(state.restarts[rows], failures.restart_s, 0.0)
        paid_s = np.minimum(restart_s, left_s)
        state.spend("restart_s", rows, paid_s)
        state.restarts[rows] = True
        trained_s = left_s - paid_s
        slow, joins_s = _speed(spares, state, rows)
        rows, left_s, over = _train(shape, state, rows, trained_s, slow, joins_s)
        failed.append(over)
        state.repairs.collect(rows, state.now_s[rows])
    return np.sort(np.concatenate(failed)) if failed else rows


def _speed(spares: Spares, state: _State, rows: Ints) -> tuple[Floats, Floats]:
    """Return how many times as long steps take, and when a node comes back that speeds them up."""
    missing = np.maximum(state.repairs.out[rows] - spares.nodes, 0)
    gone = np.ceil(missing / spares.nodes_per_replica - 1e-9)
    slow = spares.replicas / np.maximum(spares.replicas - gone, 1.0)
    joins_s = np.where(missing > 0, state.repairs.next_s(rows) - state.now_s[rows], np.inf)
    return slow, np.maximum(joins_s, 0.0)


def _train(
    shape: Shape, state: _State, rows: Ints, until_s: Floats, slow: Floats, joins_s: Floats
) -> tuple[Ints, Floats, Ints]:
    """Train until a failure, the end, or the checkpoint after which a node joins.

    Returns
    -------
    tuple
        Runs that go on with more nodes, the time to their failures, and runs that failed.
    """
    t = shape.training
    work_s, of_checkpoints = shape.rest_s(state.done[rows])
    ends_s = work_s * slow + of_checkpoints
    each_s = t.interval_s * slow + t.checkpoint_s
    left = shape.intervals - state.done[rows]
    joins = np.maximum(np.ceil(np.minimum(joins_s / each_s, left)), 1.0)
    pauses_s = np.where(np.isfinite(joins_s) & (joins < left), joins * each_s, np.inf)
    ending = (ends_s <= until_s) & (ends_s <= pauses_s)
    pausing = ~ending & (pauses_s <= until_s)
    failing = ~ending & ~pausing
    one = rows[ending]
    state.spend("useful_s", one, work_s[ending])
    state.spend("shrunk_s", one, (work_s * (slow - 1.0))[ending])
    state.spend("checkpoint_s", one, of_checkpoints[ending])
    _save(shape, state, rows[pausing], joins[pausing].astype(np.int64), slow[pausing])
    lost = rows[failing]
    trained_s = until_s[failing]
    whole = np.floor((trained_s - t.durable_s) / each_s[failing])
    saved = np.maximum(whole, 0.0).astype(np.int64)
    _save(shape, state, lost, saved, slow[failing])
    state.spend("lost_s", lost, trained_s - saved * each_s[failing])
    return rows[pausing], (until_s - pauses_s)[pausing], lost


def _save(shape: Shape, state: _State, rows: Ints, saved: Ints, slow: Floats) -> None:
    """Count so many intervals with their checkpoints as done."""
    t = shape.training
    count = saved.astype(np.float64)
    state.spend("useful_s", rows, count * t.interval_s)
    state.spend("shrunk_s", rows, count * t.interval_s * (slow - 1.0))
    state.spend("checkpoint_s", rows, count * t.checkpoint_s)
    state.done[rows] += saved


def _replace(failures: Failures, spares: Spares, state: _State, failed: Ints, broken: Ints) -> None:
    """Take broken nodes out, notice, and wait for another where there is none."""
    state.repairs.add(broken, state.now_s[broken] + spares.repair_s)
    state.spend("detect_s", failed, failures.detect_s)
    state.repairs.collect(failed, state.now_s[failed])
    most = float(spares.nodes)
    if spares.when_empty == "shrink":
        # One replica must be left.
        most += np.floor((spares.replicas - 1) * spares.nodes_per_replica + 1e-9)
    rows = failed
    while len(rows := rows[state.repairs.out[rows] > most]):
        state.spend("wait_s", rows, state.repairs.next_s(rows) - state.now_s[rows])
        state.repairs.collect(rows, state.now_s[rows])
