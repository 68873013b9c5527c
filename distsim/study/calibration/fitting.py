"""Fitting physical numbers to measurements.

The fit minimises, over the numbers that can move (`Knob`), the sum of a robust loss of
log(predicted / measured) over its spread, and the square of each number's distance from the
shipped one in deviations of its prior: the most probable numbers (maximum a posteriori). With few
measurements it stays close to what is shipped; with many they decide. A measurement far off weighs
little (soft absolute loss), and many of one kind weigh no more than `MOST_OF_A_KIND`: a thousand
kernels say less about a step than ten steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.errors import UsageError
from distsim.scenario.profile import NO_PROFILE, Profile
from distsim.study.calibration.knobs import Knob, profile_at
from distsim.study.calibration.predicting import Predictor

Floats = npt.NDArray[np.float64]

#: What remains between prediction and measurement (standard deviation of the logarithm), by kind:
#: where a fit starts, and the least that it assumes after having seen the rest.
SPREAD = {"step": 0.05, "collective": 0.10}
KERNEL_SPREAD, LEAST_SPREAD = 0.08, 0.01
#: Measurements of one kind count together as at most so many.
MOST_OF_A_KIND = 30.0
#: A number whose prior variance the measurements leave at this share or more is not identified.
UNKNOWN_SHARE = 0.7
#: Deviations from the fit, in robust spreads, from which a measurement is distrusted.
DISTRUST = 4.0
#: Half width of a 90 % interval in standard deviations.
Z90 = 1.645
#: Change of a logarithm below which a number does not matter for a measurement.
_NOTHING = 1e-7
_STEP = 0.1  #: of numerical derivatives, in deviations of the prior
#: A step below this, in deviations of the prior, ends a search.
_CLOSE = 0.05
_STEPS, _ROUNDS = 4, 3


@dataclass(frozen=True, slots=True)
class Fitted:
    """A number after the fit.

    Attributes
    ----------
    knob : Knob
    x : float
        Deviations of the prior from the shipped value.
    deviation : float
        Standard error, in deviations of the prior.
    """

    knob: Knob
    x: float
    deviation: float

    @property
    def known(self) -> float:
        """Share of the prior's variance that the measurements took away."""
        return max(0.0, 1.0 - self.deviation**2)

    @property
    def value(self) -> float:
        """The number, SI."""
        return self.knob.value(self.x)

    @property
    def interval(self) -> tuple[float, float]:
        """Its 90 % interval."""
        width = Z90 * self.deviation
        return self.knob.value(self.x - width), self.knob.value(self.x + width)


@dataclass(frozen=True, slots=True)
class Fit:
    """The result of a fit.

    Attributes
    ----------
    numbers : tuple of Fitted
        Those that the measurements tell something of.
    unknown : tuple of Knob
        Those that could have moved and stay: not identified, or nothing depends on them.
    before, after, crossed : float64[items]
        log(predicted / measured) with the shipped numbers, with the fitted ones, and of each item
        with numbers that were fitted without it (NaN where there are too few).
    spread : float64[items]
        Standard deviation of the logarithm that the fit assumed.
    """

    numbers: tuple[Fitted, ...]
    unknown: tuple[Knob, ...]
    before: Floats
    after: Floats
    crossed: Floats
    spread: Floats

    def distrusted(self) -> list[int]:
        """Return the items that lie far from the fit, farthest first."""
        away = np.abs(self.after) / self.spread
        order = np.argsort(-away)
        return [int(i) for i in order if away[i] > DISTRUST]


class Problem:
    """Measurements, and what may be fitted to them."""

    def __init__(self, predictor: Predictor, knobs: Sequence[Knob], topology: str) -> None:
        self.predictor, self.knobs = predictor, tuple(knobs)
        self._topology = topology
        self.measured_s = np.array([item.measured_s for item in predictor.items])
        self.kinds = [item.kind for item in predictor.items]
        self.spread = np.array([SPREAD.get(kind, KERNEL_SPREAD) for kind in self.kinds])
        count = Counter(self.kinds)
        shared = [min(1.0, MOST_OF_A_KIND / count[kind]) for kind in self.kinds]
        self.weight = np.array([item.weight for item in predictor.items]) * np.array(shared)

    def profile(self, x: Sequence[float], knobs: Sequence[Knob] | None = None) -> Profile:
        """Return the profile with numbers at `x`."""
        return profile_at(
            self.knobs if knobs is None else knobs,
            x,
            name="fit",
            device=self.predictor.device.name,
            topology=self._topology,
        )

    def logs(
        self,
        x: Floats,
        knobs: Sequence[Knob],
        chosen: Sequence[int] | None = None,
        *,
        evaluator: str | None = None,
    ) -> Floats:
        """Return log(predicted / measured)."""
        profile = self.profile(x.tolist(), knobs) if len(knobs) else NO_PROFILE
        measured = self.measured_s if chosen is None else self.measured_s[list(chosen)]
        times = self.predictor.times_s(profile, chosen, evaluator=evaluator)
        logs: Floats = np.log(times / measured)
        return logs

    def jacobian(self, x: Floats, knobs: Sequence[Knob]) -> Floats:
        """Return derivatives of `logs` by `x`, float64[items, knobs].

        Differences of the longest path (the ``graph`` evaluator), which is several times cheaper
        than the engine; links that are shared change by as much.
        """
        at = self.logs(x, knobs, evaluator="graph")
        out = np.zeros((len(at), len(knobs)))
        for column, knob in enumerate(knobs):
            moved = x.copy()
            # Away from a bound, beyond which nothing changes.
            step = -_STEP if knob.value(x[column] + _STEP) >= knob.high else _STEP
            moved[column] += step
            out[:, column] = (self.logs(moved, knobs, evaluator="graph") - at) / step
        return out


def fit(problem: Problem, *, folds: int = 5, keep: Sequence[str] = ()) -> Fit:
    """Fit what the measurements identify.

    Parameters
    ----------
    folds : int
        Of the cross-validation; fewer than 10 measurements are left out one by one.
    keep : sequence of str, optional
        Keys that stay as they are shipped.

    Raises
    ------
    UsageError
        DS637 where nothing can be predicted, DS638 where nothing can be identified, DS640 without
        scipy.
    """
    _optimizer()
    if not len(problem.measured_s):
        raise UsageError(
            "DS637",
            "no measurement can be used",
            rule="a fit needs at least one measured step, kernel or collective of this cluster",
            fix="see the lines that were left out, and give what they lack",
        )
    movable = [knob for knob in problem.knobs if knob.key not in keep]
    start = np.zeros(len(movable))
    before = problem.logs(start, movable)
    jacobian = problem.jacobian(start, movable)
    felt = np.abs(jacobian).max(axis=0) > _NOTHING
    knobs = [knob for knob, matters in zip(movable, felt, strict=True) if matters]
    x, after, jacobian = _solve(problem, knobs, np.zeros(len(knobs)), before, jacobian[:, felt])
    for _ in range(_ROUNDS):
        known = _deviations(problem, after, jacobian) ** 2 < UNKNOWN_SHARE
        if not known.any():
            raise _nothing_identified()
        knobs = [knob for knob, one in zip(knobs, known, strict=True) if one]
        at = x[known]
        x, after, jacobian = _solve(
            problem, knobs, at, problem.logs(at, knobs), problem.jacobian(at, knobs)
        )
        if known.all() and np.abs(x - at).max() < _CLOSE:
            break
    deviation = _deviations(problem, after, jacobian)
    numbers = tuple(
        Fitted(knob, float(at), float(error))
        for knob, at, error in zip(knobs, x, deviation, strict=True)
    )
    left = tuple(knob for knob in movable if knob.key not in {k.key for k in knobs})
    crossed = _crossed(problem, knobs, x, after, jacobian, folds)
    return Fit(numbers, left, before, after, crossed, problem.spread.copy())


def _nothing_identified() -> UsageError:
    return UsageError(
        "DS638",
        "the measurements identify none of the numbers",
        rule="a number is identified where its interval is narrower than before by a sixth",
        fix="give more measurements, or of other kinds: steps, kernels, collectives",
    )


def _solve(
    problem: Problem, knobs: Sequence[Knob], at: Floats, logs: Floats, jacobian: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the best x, the logs there and their derivatives; sets the spreads of kinds.

    Around `at` logs are taken as linear; the step to their best is halved until it is better in
    truth, and derivatives follow the secant (Broyden 1965).
    """
    for _ in range(_STEPS):
        best = _linear(problem, knobs, at, logs, jacobian)
        step, now = best - at, _cost(problem, at, logs)
        if np.abs(step).max(initial=0.0) < _CLOSE:
            break
        for _ in range(4):
            found = problem.logs(at + step, knobs)
            if _cost(problem, at + step, found) <= now:
                break
            step = 0.5 * step
        else:
            break
        secant = np.outer(found - logs - jacobian @ step, step) / float(step @ step)
        at, logs, jacobian = at + step, found, jacobian + secant
        _respread(problem, logs)
    return at, logs, jacobian


def _optimizer() -> Any:
    """Return scipy's ``least_squares``, or say that it is not installed (DS640)."""
    try:
        from scipy.optimize import least_squares
    except ImportError:
        raise UsageError(
            "DS640",
            "calibrating needs scipy, which is not installed",
            rule="scipy is an extra, so that distsim itself stays small",
            fix="pip install 'distsim-train[calibrate]'",
        ) from None
    return least_squares


def _linear(
    problem: Problem, knobs: Sequence[Knob], at: Floats, logs: Floats, jacobian: Floats
) -> Floats:
    """Return the best x where logs are linear around `at`."""
    least_squares = _optimizer()
    scale = np.sqrt(problem.weight) / problem.spread
    slope = np.vstack([jacobian * scale[:, None], np.eye(len(knobs))])
    offset = np.concatenate([(logs - jacobian @ at) * scale, np.zeros(len(knobs))])
    low, high = _bounds(knobs)
    found = least_squares(
        lambda x: slope @ x + offset,
        np.clip(at, low, high),
        jac=lambda x: slope,
        bounds=(low, high),
        loss=lambda z: _robust(z, len(scale)),
    )
    return np.asarray(found.x, dtype=float)


def _cost(problem: Problem, x: Floats, logs: Floats) -> float:
    z = problem.weight * (logs / problem.spread) ** 2
    return float(np.sum(2.0 * (np.sqrt(1.0 + z) - 1.0)) + x @ x)


def _bounds(knobs: Sequence[Knob]) -> tuple[list[float], list[float]]:
    low = [knob.position(knob.low) - 1e-6 for knob in knobs]
    high = [knob.position(knob.high) + 1e-6 for knob in knobs]
    return low, high


def _robust(z: Floats, rows: int) -> Floats:
    """Return a soft absolute loss of the first `rows` squares and the plain one of the others."""
    rho = np.empty((3, len(z)))
    rho[0], rho[1], rho[2] = z, 1.0, 0.0
    root = np.sqrt(1.0 + z[:rows])
    rho[0, :rows], rho[1, :rows], rho[2, :rows] = 2.0 * (root - 1.0), 1.0 / root, -0.5 / root**3
    return rho


def _respread(problem: Problem, after: Floats) -> None:
    """Set the spread of each kind to what was found, by its median absolute deviation.

    Around the median: what all measurements have in common is for the numbers to explain, and
    would otherwise make every measurement seem uncertain.
    """
    for kind in set(problem.kinds):
        chosen = np.array([one == kind for one in problem.kinds])
        if chosen.sum() < 5:
            continue
        found = 1.4826 * float(np.median(np.abs(after[chosen] - np.median(after[chosen]))))
        problem.spread[chosen] = max(found, LEAST_SPREAD)


def _weights(problem: Problem, after: Floats) -> Floats:
    """Return the square roots of the weights that a robust fit gives to the items."""
    z = problem.weight * (after / problem.spread) ** 2
    weights: Floats = np.sqrt(problem.weight / np.sqrt(1.0 + z)) / problem.spread
    return weights


def _deviations(problem: Problem, after: Floats, jacobian: Floats) -> Floats:
    """Return the standard error of each number, in deviations of its prior."""
    scaled = jacobian * _weights(problem, after)[:, None]
    information = scaled.T @ scaled + np.eye(jacobian.shape[1])
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(information))))


def _crossed(
    problem: Problem,
    knobs: Sequence[Knob],
    x: Floats,
    after: Floats,
    jacobian: Floats,
    folds: int,
) -> Floats:
    """Return each item's log with numbers fitted without its fold.

    Around the full fit a prediction's logarithm is close to linear in the numbers, so the fit
    without a fold is a linear problem; what it predicts for the fold is computed in full.
    """
    count = len(after)
    out = np.full(count, np.nan)
    if count < 4:
        return out
    parts = count if count < 10 else folds
    weights = _weights(problem, after)
    fold_of = np.arange(count) % parts
    for fold in range(parts):
        kept = fold_of != fold
        scaled = jacobian[kept] * weights[kept, None]
        target = (after[kept] - jacobian[kept] @ x) * weights[kept]
        information = scaled.T @ scaled + np.eye(len(knobs))
        moved = np.linalg.solve(information, -scaled.T @ target)
        low, high = _bounds(knobs)
        moved = np.clip(moved, low, high)
        chosen = np.flatnonzero(~kept).tolist()
        out[chosen] = problem.logs(moved, knobs, chosen)
    return out


def errors(logs: Floats) -> dict[str, Any]:
    """Return mean, median, worst and signed mean of the errors, percent of the measurements."""
    found = np.expm1(logs[np.isfinite(logs)]) * 100.0
    if not len(found):
        return {"mape_percent": None, "median_percent": None, "worst_percent": None,
                "signed_mean_percent": None}  # fmt: skip
    return {
        "mape_percent": float(np.mean(np.abs(found))),
        "median_percent": float(np.median(np.abs(found))),
        "worst_percent": float(found[np.argmax(np.abs(found))]),
        "signed_mean_percent": float(np.mean(found)),
    }
