"""The step of one candidate, as the evaluators give it, and nothing else of a prediction."""

from __future__ import annotations

from dataclasses import dataclass

from distsim.errors import DistsimError
from distsim.prediction.predict import memory, step_time_s
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.evaluate import DOES_NOT_FIT


@dataclass(frozen=True, slots=True)
class Timed:
    """What a step of a scenario takes, or why there is none.

    Attributes
    ----------
    step_s : float
        Infinite where there is none.
    code, message : str
        Of the problem; empty where there is none.
    """

    step_s: float
    code: str = ""
    message: str = ""


def timed(scenario: Scenario, evaluator: str, *, weighed: bool = False) -> Timed:
    """Return the time of a step; never raises a `DistsimError`.

    Parameters
    ----------
    evaluator : str
        ``graph``, ``auto`` or ``event``.
    weighed : bool
        Its memory is known to fit.
    """
    try:
        case = resolve(scenario)
        needs = None if weighed else memory(case)
        if needs is not None and not needs.fits:
            over = (needs.peak_bytes - needs.capacity_bytes) / 1e9
            return Timed(float("inf"), DOES_NOT_FIT, f"out of memory by {over:.1f} GB")
        return Timed(step_time_s(case, evaluator=evaluator))
    except DistsimError as error:
        return Timed(float("inf"), error.code, error.message)
