"""What a search found, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import isfinite
from typing import Any

from distsim.scenario.schema import Scenario
from distsim.study.evaluate import Outcome
from distsim.study.plan.meter import Totals
from distsim.study.table import Table

#: Keys of a plan that a search decides, as they are shown.
SHOWN = (
    *("dp", "tp", "pp", "cp", "ep", "etp", "schedule", "virtual_stages", "zero_stage"),
    *("recompute", "sequence_parallel", "overlap_grad_reduce", "overlap_param_gather"),
    *("overlap_p2p", "overlap_tensor", "micro_size", "microbatches", "layers_per_stage"),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One plan on one size of cluster.

    Attributes
    ----------
    scenario : Scenario
        Ready to run.
    outcome : Outcome
    total : Totals
    """

    scenario: Scenario = field(repr=False)
    outcome: Outcome
    total: Totals

    @property
    def devices(self) -> int:
        """Devices of the cluster."""
        return self.outcome.devices

    def plan(self) -> dict[str, Any]:
        """Return the keys of the plan that a search decides."""
        found = dict(self.outcome.plan)
        given = self.scenario.plan.layers_per_stage
        found["layers_per_stage"] = list(given) if given else None
        return {key: found[key] for key in SHOWN if key in found}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        o = self.outcome
        return {
            "devices": o.devices,
            "step_s": o.step_s,
            "mfu": o.mfu,
            "hfu": o.hfu,
            "tokens_per_s": o.tokens_per_s,
            "peak_bytes": o.peak_bytes,
            "capacity_bytes": o.capacity_bytes,
            "evaluator": o.evaluator,
            **self.total.to_dict(),
            "plan": self.plan(),
        }


@dataclass(frozen=True, slots=True)
class Rejected:
    """A plan that differs from the chosen one in one thing, and why it is not chosen.

    Attributes
    ----------
    key : str
    value, to : object
        What the chosen plan has, and what this one has.
    reason : str
    code : str
        Of the error where it is not possible or does not fit; empty where it is worse.
    step_s : float or None
    """

    key: str
    value: object
    to: object
    reason: str
    code: str = ""
    step_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "key": self.key,
            "from": self.value,
            "to": self.to,
            "reason": self.reason,
            "code": self.code,
            "step_s": self.step_s,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """The best plans of a search.

    Attributes
    ----------
    scenario, model, device : str
    parameters : int
    objective : str
    tokens : float
    steps : int
    deadline_s, budget : float
        Infinite where there is none.
    currency : str
    prices, pricing : str
    top : tuple of Choice
        The best plans by the objective, best first.
    pareto : tuple of Choice
        Front of time, money and energy, the fastest first.
    rejected : tuple of Rejected
        Neighbours of the best plan.
    searched : dict
        ``candidates, does_not_fit, bounded, pruned, evaluated``.
    space : dict
        What was varied.
    start : date or None
    notes : tuple of str
    stretch : dict of int to float
        Time with failures over time without, by devices; empty where failures do not count.
    """

    scenario: str
    model: str
    device: str
    parameters: int
    objective: str
    tokens: float
    steps: int
    deadline_s: float
    budget: float
    currency: str
    prices: str
    pricing: str
    top: tuple[Choice, ...]
    pareto: tuple[Choice, ...]
    rejected: tuple[Rejected, ...]
    searched: Mapping[str, int]
    space: Mapping[str, Any] = field(repr=False)
    start: date | None = None
    notes: tuple[str, ...] = ()
    stretch: Mapping[int, float] = field(default_factory=dict)

    @property
    def best(self) -> Choice:
        """The chosen plan."""
        return self.top[0]

    def finish(self, choice: Choice) -> str | None:
        """Return the day on which a plan is done, None without a start."""
        if self.start is None:
            return None
        return (self.start + timedelta(seconds=choice.total.time_s)).isoformat()

    @property
    def table(self) -> Table:
        """The best plans and the front, a row each."""
        rows = []
        for role, choices in (("top", self.top), ("pareto", self.pareto)):
            for choice in choices:
                flat = choice.to_dict()
                rows.append({"list": role, **{k: v for k, v in flat.items() if k != "plan"}} |
                            {f"plan.{k}": v for k, v in flat["plan"].items()})  # fmt: skip
        return Table.from_rows(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        return {
            "scenario": self.scenario,
            "model": self.model,
            "device": self.device,
            "parameters": self.parameters,
            "objective": self.objective,
            "tokens": self.tokens,
            "steps": self.steps,
            "deadline_s": self.deadline_s if isfinite(self.deadline_s) else None,
            "budget": self.budget if isfinite(self.budget) else None,
            "currency": self.currency,
            "prices": self.prices,
            "pricing": self.pricing,
            "start": self.start.isoformat() if self.start else None,
            "finish": self.finish(self.best),
            "best": self.best.to_dict() | {"scenario": self.best.scenario.to_dict()},
            "top": [c.to_dict() for c in self.top],
            "pareto": [c.to_dict() for c in self.pareto],
            "rejected": [r.to_dict() for r in self.rejected],
            "searched": dict(self.searched),
            "space": dict(self.space),
            "failures": {str(d): s for d, s in self.stretch.items()} or None,
            "notes": list(self.notes),
        }
