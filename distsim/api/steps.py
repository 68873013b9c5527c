"""One step: load, check, predict, and show as a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from distsim.prediction.anatomy import case_anatomy
from distsim.prediction.jobs import JobsPrediction, predict_jobs
from distsim.prediction.predict import Memory, Prediction, memory, predict
from distsim.scenario.jobs import Jobs, resolve_jobs
from distsim.scenario.jobs import load_any as _load_any
from distsim.scenario.jobs import load_jobs as _load_jobs
from distsim.scenario.load import load as _load
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.interval import interval, traits


def load(source: str | PathLike[str] | Mapping[str, Any], set_: Sequence[str] = ()) -> Scenario:
    """Load a scenario from a path, the name of a shipped one, or a mapping.

    Parameters
    ----------
    set_ : sequence of str
        Changes such as ``plan.tp=4``.

    Raises
    ------
    DistsimError
        With code, file, line, value, rule and fix.
    """
    return _load(source, set_)


def simulate(scenario: Scenario, *, evaluator: str | None = None, fold: bool = True) -> Prediction:
    """Predict one optimizer step of a scenario.

    Parameters
    ----------
    evaluator : str, optional
        ``auto``, ``graph`` or ``event``; by default what the scenario says.
    fold : bool
        False simulates every rank instead of one of each kind.
    """
    case = resolve(scenario)
    prediction = predict(case, evaluator=evaluator, fold=fold)
    return replace(prediction, interval=interval(prediction.step_s, traits(case)))


def load_jobs(source: str | PathLike[str] | Mapping[str, Any], set_: Sequence[str] = ()) -> Jobs:
    """Load a scenario of several jobs on one cluster.

    Raises
    ------
    DistsimError
        As `load`; DS246 where the file has no ``jobs``.
    """
    return _load_jobs(source, set_)


def load_any(
    source: str | PathLike[str] | Mapping[str, Any], set_: Sequence[str] = ()
) -> Scenario | Jobs:
    """Load a scenario of one job or of several, whichever the source is; see `load`."""
    return _load_any(source, set_)


def simulate_jobs(jobs: Jobs, *, fold: bool = True) -> JobsPrediction:
    """Predict the steps of several jobs that share a fabric."""
    return predict_jobs(jobs.name, resolve_jobs(jobs), fold=fold)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a scenario comes to without running it."""

    scenario: str
    model: str
    parameters: int
    plan: dict[str, Any]
    resolved: dict[str, Any]
    memory: Memory
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "scenario": self.scenario,
            "model": self.model,
            "parameters": self.parameters,
            "plan": self.plan,
            "resolved": self.resolved,
            "memory": self.memory.to_dict(),
            "warnings": list(self.warnings),
        }


def check(scenario: Scenario) -> CheckReport:
    """Check a scenario: names, plan, memory."""
    case = resolve(scenario)
    return CheckReport(
        case.name,
        case.model,
        case.parameters,
        case.inputs.plan.to_dict(),
        case.resolved,
        memory(case),
        case.warnings,
    )


def operators(scenario: Scenario) -> dict[str, Any]:
    """Return what one micro batch of a scenario computes, moves and keeps, operator by operator.

    Returns
    -------
    dict
        ``samples, length, forward_flop, forward_and_backward_flop, activation_bytes`` of the micro
        batch, and ``operators``: a dict for each, with ``operator, times, parameters, forward_flop,
        forward_bytes, flop_per_byte, backward_flop, saved_bytes, bound, forward_s, backward_s`` of
        one time that it runs. Of the whole model, before the plan divides it.
    """
    return case_anatomy(resolve(scenario))


def check_jobs(jobs: Jobs) -> list[CheckReport]:
    """Check every job of a scenario of several: names, plan, memory, devices that are free."""
    resolve_jobs(jobs)
    return [check(scenario) for scenario in jobs.scenarios]


def trace(prediction: Prediction) -> Iterator[str]:
    """Yield a prediction's timeline as a trace that Perfetto opens, in pieces of JSON."""
    from distsim.report.trace_prediction import prediction_chunks

    return prediction_chunks(prediction)
