"""What a person asks a plan for, from what they write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import inf
from typing import Any

from distsim.errors import DistsimError, UsageError, nearest, show
from distsim.scenario.load import load
from distsim.scenario.schema import Scenario
from distsim.study.money.amount import parse_amount
from distsim.study.money.cost import Power, Rate, power_of, rate_of
from distsim.study.money.prices import PriceList, read_prices
from distsim.study.money.training import steps_for
from distsim.study.plan.meter import OBJECTIVES, Meter
from distsim.study.plan.search import Wanted
from distsim.study.plan.setting import Setting, setting
from distsim.study.plan.space import KEYS, Space, space_of
from distsim.study.sweep.axes import axis, axis_of, devices_axis
from distsim.units import parse

Restricted = Mapping[str, tuple[Any, ...]]
EVALUATORS = ("graph", "auto", "event")
_MICRO = "batch.micro_size"


@dataclass(frozen=True, slots=True)
class Question:
    """What a plan is to do, and where it is looked for.

    Attributes
    ----------
    setting : Setting
    space : Space
    wanted : Wanted
    meter : Meter
    prices : str
        Name and date of the list of prices.
    start : date or None
        Day on which the training starts.
    notes : tuple of str
        What was left out of the question.
    evaluator : str
        By which candidates are compared.
    """

    setting: Setting
    space: Space
    wanted: Wanted
    meter: Meter
    prices: str
    start: date | None = None
    notes: tuple[str, ...] = ()
    evaluator: str = "graph"

    @property
    def tokens(self) -> float:
        """Tokens of the whole training."""
        return self.meter.steps * self.setting.step_tokens


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits and prices, as people write them.

    Attributes
    ----------
    tokens, steps : str, float or int, optional
        Length of the training: one of them.
    deadline, budget : str, optional
    objective : str, optional
        By default ``cost`` where there is a deadline and no budget, otherwise ``time``.
    top : int
    pricing, prices, region, currency
        As `distsim.study.money.training.cost`.
    start : str, optional
        ``2027-01-31``.
    stretch : dict of int to float
        As `Meter.stretch`.
    evaluator : str
        ``graph``: candidates are compared by the longest path, and those that are printed are
        predicted by the evaluator of the scenario. ``auto`` or ``event``: all are.
    """

    tokens: float | str | None = None
    steps: int | None = None
    deadline: str | None = None
    budget: str | None = None
    objective: str | None = None
    top: int = 10
    pricing: str = "on-demand"
    prices: str | PriceList | None = None
    region: str | None = None
    currency: str | None = None
    start: str | None = None
    stretch: Mapping[int, float] = field(default_factory=dict)
    evaluator: str = "graph"


def restrictions(given: Sequence[str]) -> tuple[dict[str, tuple[Any, ...]], list[str]]:
    """Part ``KEY=VALUES`` into what a search varies and what changes the scenario.

    Returns
    -------
    tuple
        Values of keys of a search; assignments of all others.
    """
    varied: dict[str, tuple[Any, ...]] = {}
    others = []
    for text in given:
        key = text.partition("=")[0].strip()
        name = "micro_size" if key == _MICRO else key.removeprefix("plan.")
        if key == _MICRO or (key.startswith("plan.") and name in KEYS):
            varied[name] = axis(text).values
        else:
            others.append(text)
    return varied, others


def space_file(path: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of a file of a space: a mapping of keys to values, lists or ranges.

    Raises
    ------
    DistsimError
        Where it cannot be read; DS694 where it is no mapping.
    """
    from distsim.files import read_text
    from distsim.yamlparse import parse_yaml

    found, _ = parse_yaml(read_text(path), path)
    if not isinstance(found, Mapping):
        raise UsageError(
            "DS694",
            f"{path} is no space of plans",
            value=path,
            rule=f"keys with values: {', '.join(KEYS)}",
            fix="write for example tp: [4, 8]",
        )
    return {str(key): axis_of(str(key), value, "--space").values for key, value in found.items()}


def question(
    scenario: Scenario,
    devices: str | int | Iterable[int],
    limits: Limits,
    space: Mapping[str, object] | None = None,
) -> Question:
    """Make a question of what a person writes.

    Parameters
    ----------
    space : mapping, optional
        Values of keys of the search to try in place of the usual ones.

    Raises
    ------
    DistsimError
        DS660 and DS690 for numbers of devices, DS670 to DS676 for money and tokens, DS693 and
        DS694 for what a search does not cover, DS697 for limits.
    """
    counts = list(devices_axis(devices).values)
    base = setting(scenario, max(counts))
    node = base.machine(max(counts)).topology.devices_per_node
    whole, notes = _whole_nodes(counts, node)
    restricted = {k: axis_of(k, v).values for k, v in (space or {}).items()}
    found = space_of(base, whole, restricted)
    prices = limits.prices if isinstance(limits.prices, PriceList) else read_prices(limits.prices)
    currency = limits.currency and limits.currency.upper()
    rate = rate_of(prices, base.device.name, limits.pricing, currency)
    power = power_of(prices, base.device.name, limits.region)
    steps = steps_for(limits.tokens, limits.steps, base.step_tokens, _sample(base))
    wanted = _wanted(limits, rate, power, prices)
    meter = Meter(steps, rate, power, limits.stretch)
    listed = f"{prices.name} of {prices.date}"
    return Question(
        base, found, wanted, meter, listed, _date(limits.start), tuple(notes), _evaluator(limits)
    )


def _evaluator(limits: Limits) -> str:
    if limits.evaluator in EVALUATORS:
        return limits.evaluator
    rule = f"one of {', '.join(EVALUATORS)}"
    raise _bad(f"no evaluator {show(limits.evaluator)}", rule, "choose one of them")


def _sample(base: Setting) -> str:
    from distsim.scenario.lengths import sample_of

    return sample_of(base.model)


def _wanted(limits: Limits, rate: Rate, power: Power | None, prices: PriceList) -> Wanted:
    deadline_s = inf if limits.deadline is None else parse(limits.deadline, "s")
    budget = inf
    if limits.budget is not None:
        amount = parse_amount(limits.budget, path=("budget",))
        budget = prices.rates.convert(amount, rate.currency, path=("budget",))
    usual = "cost" if deadline_s < inf and budget == inf else "time"
    objective = limits.objective or usual
    if objective not in OBJECTIVES:
        near = nearest(objective, OBJECTIVES)
        raise _bad(
            f"no objective {show(objective)}",
            f"one of {', '.join(OBJECTIVES)}",
            f"did you mean {near}?" if near else "choose one of them",
        )
    if objective == "energy" and power is None:
        raise _bad(
            "no power is known for this device, so energy is no objective",
            "energy is power times time",
            "state its power in a file for --prices, or choose time or cost",
        )
    for name, value in (("deadline", deadline_s), ("budget", budget)):
        if value <= 0:
            raise _bad(f"{name} is 0", f"a {name} above 0", "give more")
    if limits.top < 1:
        raise _bad(f"top is {limits.top}", "at least 1", "ask for one plan or more")
    return Wanted(objective, deadline_s, budget, limits.top)


def _whole_nodes(counts: Sequence[int], node: int) -> tuple[list[int], list[str]]:
    whole = [c for c in counts if c % node == 0]
    if not whole:
        raise UsageError(
            "DS690",
            f"none of {', '.join(map(str, counts[:8]))} devices is a whole number of nodes",
            path=("devices",),
            value=counts[0],
            rule=f"a node has {node} devices, and clusters are of whole nodes",
            fix=f"use multiples of {node}, such as {node * max(1, round(counts[0] / node))}",
        )
    left = [c for c in counts if c % node]
    note = f"left out {', '.join(map(str, left))}: a node has {node} devices"
    return whole, [note] if left else []


def _date(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _bad(
            f"{show(text)} is no day", "year, month and day", "write it as 2027-01-31"
        ) from None


def _bad(message: str, rule: str, fix: str) -> UsageError:
    return UsageError("DS697", message, rule=rule, fix=fix)


__all__ = ["DistsimError", "Limits", "Question", "load", "question", "restrictions", "space_file"]
