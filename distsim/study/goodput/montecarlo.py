"""Trainings with failures, drawn many at a time.

A run is a chain of segments: from a restart (the first one from the start) to the next failure.
What a segment saves follows from its length alone, so while spare nodes suffice a whole block of
segments of all runs is drawn and added up at once. Where they may run out, segments depend on when
nodes come back, and runs go from failure to failure side by side (`pool`).

Segment number k of a run takes the same draw either way, so both give the same where spares
suffice. Memory is that of one block, whatever the number of runs and failures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt

from distsim.errors import ValueProblem
from distsim.study.goodput.process import Failures, Spares, Training
from distsim.units import REL_TOL

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Numbers in an array of a block: 8 MiB.
_BLOCK = 1 << 20
#: Segments that all runs together may have.
MOST_SEGMENTS = 2e9


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """What became of each run; arrays [runs], seconds that sum to `duration_s`.

    Attributes
    ----------
    useful_s : float64[runs]
        Steps that counted.
    checkpoint_s : float64[runs]
        Delay by checkpoints that counted.
    lost_s : float64[runs]
        Steps and checkpoints that were done again.
    detect_s, restart_s : float64[runs]
    wait_s : float64[runs]
        Until a spare node was there.
    shrunk_s : float64[runs]
        What steps with fewer replicas took longer.
    failures : int64[runs]
    """

    useful_s: Floats
    checkpoint_s: Floats
    lost_s: Floats
    detect_s: Floats
    restart_s: Floats
    wait_s: Floats
    shrunk_s: Floats
    failures: Ints

    @property
    def duration_s(self) -> Floats:
        """From start to finish."""
        return np.asarray(sum(getattr(self, part) for part in PARTS), dtype=np.float64)

    @property
    def effective(self) -> Floats:
        """Useful share of the time."""
        return np.asarray(self.useful_s / self.duration_s, dtype=np.float64)


#: Parts of the duration.
PARTS = (
    "useful_s", "checkpoint_s", "lost_s", "detect_s", "restart_s", "wait_s", "shrunk_s",
)  # fmt: skip


class Draws:
    """Times to failures: number k of a run is the same whoever asks for it, in blocks.

    Parameters
    ----------
    failures : Failures
    runs, seed : int
    expected : float
        Failures that a run will have, about.
    """

    def __init__(self, failures: Failures, runs: int, seed: int, expected: float) -> None:
        if runs * (expected + 1.0) > MOST_SEGMENTS:
            raise ValueProblem(
                "DS677",
                f"{runs:,} runs of about {expected:,.0f} failures each",
                value=runs,
                rule=f"at most {MOST_SEGMENTS:.0e} failures in all",
                fix="ask for fewer runs",
            )
        self._failures, self._runs = failures, runs
        self._generator = np.random.default_rng(seed)
        wanted = ceil(1.05 * expected + 3.0 * sqrt(expected + 1.0)) + 2
        self.size = max(1, min(wanted, _BLOCK // runs))

    def times(self) -> Iterator[Floats]:
        """Yield float64[runs, size]."""
        scale_s, power = self._failures.scale_s, 1.0 / self._failures.shape
        while True:
            drawn = self._generator.standard_exponential((self._runs, self.size))
            yield scale_s * (drawn if power == 1.0 else drawn**power)

    def shares(self) -> Iterator[Floats]:
        """Yield float64[runs, size], uniform in [0, 1), from a stream of their own."""
        (generator,) = self._generator.spawn(1)
        while True:
            yield generator.random((self._runs, self.size))


@dataclass(frozen=True, slots=True)
class Shape:
    """A training in whole intervals, of which the last may be shorter; no checkpoint follows it."""

    training: Training

    @property
    def intervals(self) -> int:
        """Number of intervals."""
        return max(1, ceil(self.training.work_s / self.training.interval_s * (1 - REL_TOL)))

    def rest_s(self, done: Ints) -> tuple[Floats, Floats]:
        """Return the work that is left after so many intervals, and its checkpoints."""
        t = self.training
        work_s = np.asarray(t.work_s - done * t.interval_s, np.float64)
        checkpoints_s: Floats = np.maximum(self.intervals - done - 1, 0) * t.checkpoint_s
        return work_s, checkpoints_s

    def saved(self, trained_s: Floats) -> Ints:
        """Return the intervals that are on storage after training for so long."""
        t = self.training
        whole = np.floor((trained_s - t.durable_s) / (t.interval_s + t.checkpoint_s))
        return np.maximum(whole, 0.0).astype(np.int64)


def draw(
    training: Training,
    failures: Failures,
    runs: int,
    seed: int,
    *,
    spares: Spares | None = None,
    expected: float,
) -> Runs:
    """Draw trainings.

    Parameters
    ----------
    runs, seed : int
    spares : Spares, optional
        Without it there are always enough.
    expected : float
        Failures that a run will have, about: for the size of blocks.

    Raises
    ------
    ValueProblem
        DS677 for more failures than `MOST_SEGMENTS`.
    """
    draws = Draws(failures, runs, seed, expected)
    if spares is not None:
        from distsim.study.goodput.pool import draw_with_pool

        return draw_with_pool(Shape(training), failures, spares, draws, runs)
    return _draw(Shape(training), failures, draws, runs)


def _draw(shape: Shape, failures: Failures, draws: Draws, runs: int) -> Runs:
    t = shape.training
    done, count = np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    lost, restart = np.zeros(runs), np.zeros(runs)
    active = np.arange(runs)
    first = True
    for block in draws.times():
        of = block[active]
        paid = np.full(of.shape, failures.restart_s)
        if first:
            paid[:, 0] = 0.0  # the first segment starts, the others restart
        first = False
        trained = np.maximum(of - paid, 0.0)
        saved = shape.saved(trained)
        after = done[active, None] + np.cumsum(saved, axis=1)
        before = after - saved
        left, of_checkpoints = shape.rest_s(before)
        ends = trained >= left + of_checkpoints
        last = np.where(ends.any(axis=1), ends.argmax(axis=1), of.shape[1])
        fails = np.arange(of.shape[1]) < last[:, None]
        count[active] += last
        kept = saved * (t.interval_s + t.checkpoint_s)
        lost[active] += np.sum((trained - kept) * fails, axis=1)
        restart[active] += np.sum(np.minimum(of, paid) * fails, axis=1)
        finished = last < of.shape[1]
        rows = np.flatnonzero(finished)
        restart[active[rows]] += paid[rows, last[rows]]
        done[active] = after[:, -1]
        active = active[~finished]
        if not len(active):
            break
    whole = np.full(runs, (shape.intervals - 1) * t.checkpoint_s)
    nothing = np.zeros(runs)
    return Runs(
        np.full(runs, t.work_s),
        whole,
        lost,
        np.asarray(count * failures.detect_s, np.float64),
        restart,
        nothing,
        nothing.copy(),
        count,
    )
