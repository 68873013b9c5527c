"""One evaluation of a study: a scenario in, flat numbers or the reason why not out.

Sweeps, plans and what-ifs evaluate thousands of scenarios, most in other processes. An `Outcome`
is what they keep of each: small, plain, and the same when it comes back from a cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, Self

from distsim.errors import DistsimError
from distsim.prediction.case import Case
from distsim.prediction.predict import Prediction, predict
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.interval import interval, traits

#: Code of an outcome that failed inside distsim, as on the command line.
INTERNAL = "DS699"
#: Code of a plan that is predicted and does not fit.
DOES_NOT_FIT = "DS501"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario: numbers of a step, or the code and message of why there are none.

    Attributes
    ----------
    devices : int
        Of the job, as the scenario says.
    model : str
    parameters : int
    device, topology : str
        Their names.
    sample : str
        What a batch has: ``sequence``, ``image``.
    sequence_length : int
        Tokens of a sample.
    tokens : float
        Of one step, over all devices.
    plan : dict
        All of the plan, as `Prediction.plan`; empty where the scenario is not possible.
    step_s, tokens_per_s : float
    mfu, hfu : float
        Shares of the dense peak, 0..1.
    model_flop_per_s_per_device : float
    breakdown : dict
        Seconds by part, as `Breakdown.to_dict`; they sum to `step_s`.
    peak_bytes, capacity_bytes : float
        Of the fullest stage, and what its device has.
    lower_s, upper_s : float
        Bounds of the step under any order of the same tasks.
    low_s, high_s : float
        Interval of the step by the errors of validated runs.
    evaluator : str
        ``graph`` or ``event``, whichever ran.
    warnings : tuple of str
    code, message, rule, fix, key : str
        Of the problem that made the scenario impossible; empty where there is none. `key` is the
        dotted key of the scenario that it concerns.
    """

    devices: int
    model: str = ""
    parameters: int = 0
    device: str = ""
    topology: str = ""
    sample: str = "sequence"
    sequence_length: int = 1
    tokens: float = 0.0
    plan: Mapping[str, Any] = field(default_factory=dict)
    step_s: float = 0.0
    tokens_per_s: float = 0.0
    mfu: float = 0.0
    hfu: float = 0.0
    model_flop_per_s_per_device: float = 0.0
    breakdown: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: float = 0.0
    capacity_bytes: float = 0.0
    lower_s: float = 0.0
    upper_s: float = 0.0
    low_s: float | None = None
    high_s: float | None = None
    evaluator: str = ""
    warnings: tuple[str, ...] = ()
    code: str = ""
    message: str = ""
    rule: str = ""
    fix: str = ""
    key: str = ""

    @property
    def possible(self) -> bool:
        """Whether there is a prediction; it may still not fit into memory."""
        return not self.code

    @property
    def fits(self) -> bool:
        """Whether there is a prediction and it fits into memory."""
        return self.possible and self.peak_bytes <= self.capacity_bytes

    @property
    def over_bytes(self) -> float:
        """Bytes by which the fullest stage is over; 0 where it fits."""
        return max(self.peak_bytes - self.capacity_bytes, 0.0)

    @property
    def tokens_per_s_per_device(self) -> float:
        """Tokens a second of one device."""
        return self.tokens_per_s / self.devices

    @property
    def throughput(self) -> float:
        """What `unit` says a second: tokens, or samples where these are no sequences."""
        return self.tokens_per_s / (1 if self.sample == "sequence" else self.sequence_length)

    @property
    def unit(self) -> str:
        """What `throughput` counts: ``tokens``, ``images``."""
        return "tokens" if self.sample == "sequence" else f"{self.sample}s"

    @property
    def status(self) -> str:
        """Return ``ok``, ``does not fit`` or ``not possible``."""
        return "ok" if self.fits else "does not fit" if self.possible else "not possible"

    @property
    def reason(self) -> str:
        """Code and reason why the scenario cannot run as it is; empty where it can."""
        if not self.possible:
            return f"{self.code}: {self.message}"
        if self.fits:
            return ""
        return f"{DOES_NOT_FIT}: out of memory by {self.over_bytes / 1e9:.1f} GB a device"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back to an equal outcome."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        return out | {"warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the outcome of `to_dict`'s values.

        Raises
        ------
        ValueError
            Where the keys are not those of this version.
        """
        if set(values) != {f.name for f in fields(cls)}:
            raise ValueError("not the keys of an outcome of this version")
        return cls(**{**values, "warnings": tuple(values["warnings"])})


class Runner(Protocol):
    """Whatever evaluates scenarios: here, in other processes, on a cluster, from a cache."""

    def run(
        self,
        scenarios: Sequence[Scenario],
        on_result: Callable[[int, Outcome], None] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield index and outcome of each scenario once, in whatever order they are done.

        Parameters
        ----------
        on_result : callable, optional
            Called with each result before it is yielded.
        """


def evaluate(scenario: Scenario, evaluator: str | None = None) -> Outcome:
    """Predict one step of a scenario; never raises a `DistsimError`.

    Parameters
    ----------
    evaluator : str, optional
        ``auto``, ``graph`` or ``event``; by default what the scenario says.
    """
    try:
        case = resolve(scenario)
        return outcome_of(case, predict(case, evaluator=evaluator))
    except DistsimError as error:
        return impossible(scenario.cluster.devices, error)
    except Exception as error:
        # One scenario of thousands must not end a study; its outcome says what went wrong.
        if os.environ.get("DISTSIM_DEBUG"):
            raise
        what = f"an error in distsim: {type(error).__name__}: {error}".split("\n")[0][:300]
        return Outcome(scenario.cluster.devices, code=INTERNAL, message=what)


def outcome_of(case: Case, prediction: Prediction) -> Outcome:
    """Return what a study keeps of a prediction."""
    between = interval(prediction.step_s, traits(case))
    return Outcome(
        devices=prediction.devices,
        model=prediction.model,
        parameters=prediction.parameters,
        device=case.resolved["device"],
        topology=case.resolved["topology"],
        sample=case.resolved["sample"],
        sequence_length=case.resolved["sequence_length"],
        tokens=case.tokens,
        plan=prediction.plan,
        step_s=prediction.step_s,
        tokens_per_s=prediction.tokens_per_s,
        mfu=prediction.mfu,
        hfu=prediction.hfu,
        model_flop_per_s_per_device=prediction.model_flop_per_s_per_device,
        breakdown=prediction.breakdown.to_dict(),
        peak_bytes=prediction.memory.peak_bytes,
        capacity_bytes=prediction.memory.capacity_bytes,
        lower_s=prediction.bounds.lower_s,
        upper_s=prediction.bounds.upper_s,
        low_s=between.low_s if between else None,
        high_s=between.high_s if between else None,
        evaluator=prediction.evaluator,
        warnings=prediction.warnings,
    )


def impossible(devices: int, error: DistsimError) -> Outcome:
    """Return the outcome of a scenario that cannot be."""
    return Outcome(
        devices,
        code=error.code,
        message=error.message,
        rule=error.rule,
        fix=error.fix,
        key=".".join(map(str, error.path)),
    )
