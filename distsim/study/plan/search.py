"""Branch and bound: candidates are timed while their bound beats what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import numpy as np
import numpy.typing as npt

from distsim.study.evaluate import Outcome, Runner
from distsim.study.plan.bound import bound
from distsim.study.plan.columns import Sources, batches
from distsim.study.plan.memory import peak_bytes
from distsim.study.plan.meter import OBJECTIVES, Meter, Totals
from distsim.study.plan.pareto import dominated, front
from distsim.study.plan.space import Candidates, scenario_of
from distsim.study.plan.timing import Timed, timed

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
OnResult = Callable[[object], None]

#: Timed at once: few at first, since the first results prune most.
_FIRST, _MOST = 8, 64
#: How often what is printed is predicted anew after its ranks changed.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Bounded:
    """Candidates with what is known of them before any is timed.

    Attributes
    ----------
    candidates : Candidates
    peak_bytes : float64[n]
    step_s, compute_s, exposed_s : float64[n]
        As `bound.Bound`; infinite and 0 where the peak does not fit.
    fits : bool[n]
    """

    candidates: Candidates
    peak_bytes: Floats
    step_s: Floats
    compute_s: Floats
    exposed_s: Floats
    fits: Flags


def bounded(sources: Sources, found: Candidates) -> Bounded:
    """Return memory of all candidates, and bounds of those that fit."""
    n = len(found)
    peak, step_s = np.zeros(n), np.full(n, inf)
    compute_s, exposed_s = np.zeros((2, n))
    capacity = sources.setting.device.memory_bytes
    for batch in batches(sources, found):
        peak[batch.rows] = peak_bytes(batch)
        fits = peak[batch.rows] <= capacity
        if fits.any():
            some = batch.take(fits)
            least = bound(some)
            step_s[some.rows] = least.step_s
            compute_s[some.rows], exposed_s[some.rows] = least.compute_s, least.exposed_s
    return Bounded(found, peak, step_s, compute_s, exposed_s, peak <= capacity)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan is to do.

    Attributes
    ----------
    objective : str
        One of `OBJECTIVES`.
    deadline_s, budget : float
        Infinite where there is none.
    top : int
        How many of the best plans are to be exact.
    front : bool
        Also find the Pareto front of time, money and energy.
    energy_tolerance : float
        A plan that takes longer is on the front only if it saves more energy than this share. Time
        and money are exact.
    """

    objective: str
    deadline_s: float = inf
    budget: float = inf
    top: int = 1
    front: bool = True
    energy_tolerance: float = 0.01

    @property
    def column(self) -> int:
        """Column of the objective among time, money and energy."""
        return OBJECTIVES.index(self.objective)

    @property
    def slack(self) -> Floats:
        """What time, money and energy of a plan count where others are to be better."""
        return np.asarray([1.0, 1.0, 1.0 - self.energy_tolerance])

    def allows(self, values: Floats) -> Flags:
        """Say which rows of (time, money, energy) are within the limits."""
        return np.asarray((values[:, 0] <= self.deadline_s) & (values[:, 1] <= self.budget))


@dataclass(slots=True)
class Found:
    """What was timed.

    Attributes
    ----------
    values : float64[n, 3]
        Time, money and energy of each candidate that was timed; infinite for the others.
    step_s : float64[n]
    refused : dict of int to Timed
        Candidates that turned out not to be possible.
    settled : dict of int to Outcome
        Predictions, by the evaluator of the scenario, of what is printed.
    """

    values: Floats
    step_s: Floats
    refused: dict[int, Timed] = field(default_factory=dict)
    settled: dict[int, Outcome] = field(default_factory=dict)

    @property
    def timed(self) -> int:
        """How many were timed."""
        return int(np.isfinite(self.step_s).sum()) + len(self.refused)

    def ranked(self, wanted: Wanted) -> list[int]:
        """Return what is within the limits, the best first; of equal ones the first candidate."""
        rows = np.flatnonzero(np.isfinite(self.values[:, 0]))
        rows = rows[wanted.allows(self.values[rows])]
        order = np.lexsort((rows, self.values[rows, wanted.column]))
        return [int(i) for i in rows[order]]

    def front(self, wanted: Wanted) -> list[int]:
        """Return the Pareto front of time, money and energy within the limits, by time."""
        right = np.asarray(self.ranked(wanted), dtype=np.int64)
        if not len(right):
            return []
        return [int(right[row]) for row in front(self.values[right], wanted.slack)]


def search(
    sources: Sources,
    given: Bounded,
    meter: Meter,
    wanted: Wanted,
    found: Found | None = None,
    on_result: OnResult | None = None,
    *,
    evaluator: str = "graph",
) -> Found:
    """Time what can still be among the best, or on the front, until nothing can.

    Every candidate that is not timed takes at least its bound; it is left out when the bound does
    not beat the `top` best by the objective, and some timed candidate is at most its bounds of
    time, money and energy. So what is found is what timing all of them would find.

    Parameters
    ----------
    found : Found, optional
        Of an earlier search over the same candidates.
    evaluator : str
        By which candidates are compared.
    """
    n = len(given.fits)
    found = found or Found(np.full((n, 3), inf), np.full(n, inf))
    devices = given.candidates["devices"]
    least = np.full((n, 3), inf)
    rows = np.flatnonzero(given.fits)
    least[rows] = meter.least(
        devices[rows], given.step_s[rows], given.compute_s[rows], given.exposed_s[rows]
    )
    left = rows[~np.isfinite(found.step_s[rows])]
    left = left[~np.isin(left, list(found.refused))]
    size = _FIRST
    while len(needed := left[_needed(least[left], found, wanted)]):
        chosen = _choose(needed, least, devices, wanted.column, size)
        for index in chosen:
            _time(sources, given, meter, found, index, evaluator)
            if on_result is not None:
                on_result(index)
        left = left[~np.isin(left, chosen)]
        size = min(2 * size, _MOST)
    return found


def _time(
    sources: Sources, given: Bounded, meter: Meter, found: Found, index: int, evaluator: str
) -> None:
    scenario = scenario_of(sources.setting, given.candidates, index, evaluator)
    result = timed(scenario, evaluator, weighed=True)
    if result.code:
        found.refused[index] = result
        return
    found.step_s[index] = result.step_s
    found.values[index] = meter.least(
        given.candidates["devices"][[index]],
        np.asarray([result.step_s]),
        given.compute_s[[index]],
        given.exposed_s[[index]],
    )[0]


def _needed(least: Floats, found: Found, wanted: Wanted) -> Flags:
    """Say which candidates can still be among the best or on the front, by their bounds."""
    ranked = found.ranked(wanted)
    worst = inf
    if len(ranked) >= wanted.top:
        worst = float(found.values[ranked[wanted.top - 1], wanted.column])
    wins = least[:, wanted.column] < worst
    if wanted.front:
        wins |= ~dominated(least, found.values[found.front(wanted)] * wanted.slack)
    return np.asarray(wanted.allows(least) & wins)


def _choose(needed: Ints, least: Floats, devices: Ints, column: int, size: int) -> list[int]:
    """Return the candidates to time next: the best bounds, also of each size of cluster."""
    best = needed[np.lexsort((needed, least[needed, column]))][: size // 2]
    by_time = needed[np.lexsort((needed, least[needed, 0]))]
    _, first = np.unique(devices[by_time], return_index=True)
    each = by_time[np.sort(first)]
    return list(dict.fromkeys([*best.tolist(), *each.tolist()]))[:size]


def settle(
    sources: Sources,
    given: Bounded,
    meter: Meter,
    wanted: Wanted,
    runner: Runner,
    found: Found,
    on_result: OnResult | None = None,
) -> Found:
    """Predict what is to be printed by the evaluator of the scenario, and rank it by that.

    A candidate may fall behind those that follow it, which then are predicted, too, for `_ROUNDS`
    rounds.

    Returns
    -------
    Found
        Of the candidates that were predicted.
    """
    out = Found(found.values.copy(), found.step_s, found.refused)
    for _ in range(_ROUNDS):
        shown = dict.fromkeys([*out.ranked(wanted)[: wanted.top], *out.front(wanted)])
        open_ = [i for i in shown if i not in out.settled]
        if not open_:
            break
        scenarios = [scenario_of(sources.setting, given.candidates, i) for i in open_]
        for index, outcome in runner.run(scenarios):
            out.settled[open_[index]] = outcome
            out.values[open_[index]] = meter.values(outcome) if outcome.fits else inf
            if on_result is not None:
                on_result(outcome)
    rest = np.ones(len(out.values), dtype=bool)
    rest[list(out.settled)] = False
    out.values[rest] = inf
    return out


def counted(given: Bounded, found: Found) -> dict[str, int]:
    """Return how many candidates came to what."""
    fits = int(given.fits.sum())
    return {
        "candidates": len(given.fits),
        "does_not_fit": len(given.fits) - fits,
        "bounded": fits,
        "pruned": fits - found.timed,
        "evaluated": found.timed,
    }


__all__ = ["Bounded", "Found", "Totals", "Wanted", "bounded", "counted", "search", "settle"]
