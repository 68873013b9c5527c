"""Each change estimated from the critical path and the breakdown, then run, and ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distsim.errors import DistsimError
from distsim.prediction.case import Case
from distsim.prediction.predict import Prediction, predict
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.evaluate import Outcome, impossible, outcome_of
from distsim.study.table import Table
from distsim.study.whatif import scaling
from distsim.study.whatif.changes import Change, usual
from distsim.study.whatif.hardware import altered
from distsim.study.whatif.path import estimate_s, explained


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does.

    Attributes
    ----------
    change : Change
    outcome : Outcome
    estimate : float or None
        Estimated gain; None where there is no estimate.
    gain : float or None
        Share of the time of a token that is saved, by running it; negative where it is slower.
        None where it is not possible.
    """

    change: Change
    outcome: Outcome
    estimate: float | None
    gain: float | None

    @property
    def rank(self) -> tuple[int, float]:
        """Order: what fits by gain, what does not fit, what is not possible."""
        group = 0 if self.outcome.fits else 1 if self.outcome.possible else 2
        return group, -(self.gain or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        o = self.outcome
        return {
            "change": self.change.name,
            "kind": self.change.kind,
            "gain": self.gain,
            "estimate": self.estimate,
            "step_s": o.step_s if o.possible else None,
            "tokens_per_s": o.tokens_per_s if o.possible else None,
            "mfu": o.mfu if o.possible else None,
            "peak_bytes": o.peak_bytes if o.possible else None,
            "capacity_bytes": o.capacity_bytes if o.possible else None,
            "fits": o.fits,
            "code": o.code or None,
            "reason": o.reason or None,
            "set": dict(self.change.set),
        }


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What small changes gain.

    Attributes
    ----------
    scenario : str
    base : Outcome
    resources : dict
        Seconds of the critical path by what explains them; they sum to the step.
    effects : tuple of Effect
        The best first.
    """

    scenario: str
    base: Outcome
    resources: dict[str, float]
    effects: tuple[Effect, ...]

    @property
    def table(self) -> Table:
        """A row of each change."""
        return Table.from_rows([e.to_dict() for e in self.effects])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        return {
            "scenario": self.scenario,
            "base": self.base.to_dict(),
            "critical_path": self.resources,
            "changes": [e.to_dict() for e in self.effects],
        }


def changes_of(scenario: Scenario) -> list[Change]:
    """Return the changes that are tried where nobody says which."""
    return usual(scenario, resolve(scenario))


def whatif(
    scenario: Scenario,
    changes: Sequence[Change] | None = None,
    *,
    on_result: Callable[[Effect], None] | None = None,
) -> WhatIf:
    """Return what each of some changes gains.

    Parameters
    ----------
    changes : sequence of Change, optional
        Those of `changes.usual` by default.
    on_result : callable, optional
        Called with each effect.

    Raises
    ------
    DistsimError
        Where the scenario itself is not possible.
    """
    case = resolve(scenario)
    prediction = predict(case)
    base = outcome_of(case, prediction)
    resources = _resources(prediction)
    effects = []
    for change in usual(scenario, case) if changes is None else changes:
        effects.append(_effect(scenario, case, base, resources, change))
        if on_result is not None:
            on_result(effects[-1])
    effects.sort(key=lambda effect: effect.rank)
    return WhatIf(scenario.name, base, resources, tuple(effects))


def _resources(prediction: Prediction) -> dict[str, float]:
    """Return what explains the step; of a schedule without a flush, of a step in a long run."""
    line = prediction.timeline
    found = explained(line.program, line.run)
    scale = prediction.step_s / line.run.makespan
    return {name: seconds * scale for name, seconds in found.items()}


def _effect(
    scenario: Scenario, case: Case, base: Outcome, resources: dict[str, float], change: Change
) -> Effect:
    try:
        other = change.applied(scenario)
        profile = altered(other, change.hardware) if change.hardware else None
        changed = resolve(other, profile)
    except DistsimError as error:
        return Effect(change, impossible(scenario.cluster.devices, error), None, None)
    estimated = _estimate(case, changed, base, resources, change)
    try:
        outcome = outcome_of(changed, predict(changed))
    except DistsimError as error:
        return Effect(change, impossible(scenario.cluster.devices, error), estimated, None)
    gain = 1.0 - base.tokens_per_s / outcome.tokens_per_s
    return Effect(change, outcome, estimated, gain)


def _estimate(
    case: Case, changed: Case, base: Outcome, resources: dict[str, float], change: Change
) -> float | None:
    """Return the gain that the critical path, or the breakdown, lets expect."""
    if change.hardware is not None:
        if change.set:
            return None
        return 1.0 - estimate_s(resources, change.hardware) / base.step_s
    if change.kind != "plan" or base.breakdown is None:
        return None
    found = scaling.estimate_s(case, changed, base.breakdown)
    return None if found is None else 1.0 - found / base.step_s
