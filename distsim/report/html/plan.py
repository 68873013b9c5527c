"""The page of `distsim plan`: the front of time and money, whose points show plan and scenario."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from distsim.report.html.charts import axis, column, series, table
from distsim.report.html.choices import Choices
from distsim.report.html.page import Number, Page, Section, html
from distsim.report.layout import parameters, percent, quantity
from distsim.report.money import fmt_energy, fmt_mass
from distsim.report.plan_scenario import scenario_yaml
from distsim.report.plan_text import plan_words
from distsim.study.money.amount import fmt_money
from distsim.study.plan.result import Choice, Planned
from distsim.units import fmt_bytes, fmt_count, fmt_s

_DAY_S = 86400.0


def plan_html(planned: Planned) -> Iterator[str]:
    """Yield the page of a search in pieces."""
    best = planned.best
    yield from html(
        Page(
            title=planned.scenario,
            kind="plan",
            numbers=_numbers(planned),
            facts=[
                ("model", f"{planned.model}, {parameters(planned.parameters)}"),
                ("training", f"{fmt_count(planned.tokens)} tokens, {planned.steps:,} steps"),
                ("plan", plan_words(best.plan())),
                ("prices", f"{planned.pricing}, {planned.prices}"),
                ("searched", _searched(planned)),
            ],
            sections=[_front(planned), _table(planned), _rejected(planned)],
            warnings=planned.notes,
        )
    )


def _numbers(planned: Planned) -> list[Number]:
    best, total = planned.best, planned.best.total
    o = best.outcome
    finish = planned.finish(best)
    deadline = _of(total.time_s, planned.deadline_s, "deadline")
    numbers = [
        Number("devices", f"{best.devices:,}", planned.device),
        Number("time", fmt_s(total.time_s), f"until {finish}{deadline}" if finish else deadline),
        Number(
            "money",
            fmt_money(total.money, planned.currency),
            _of(total.money, planned.budget, "budget"),
        ),
        Number("step time", fmt_s(o.step_s), f"MFU {percent(o.mfu)}, by {o.evaluator}"),
        Number(
            "memory peak",
            fmt_bytes(o.peak_bytes),
            f"{percent(o.peak_bytes / o.capacity_bytes)} of {fmt_bytes(o.capacity_bytes)}",
        ),
    ]
    if total.energy_j is not None:
        co2 = fmt_mass(total.co2_kg) + " CO2" if total.co2_kg is not None else ""
        numbers.insert(3, Number("energy", fmt_energy(total.energy_j), co2))
    return numbers


def _of(value: float, limit: float, name: str) -> str:
    return f" {percent(value / limit)} of the {name}" if isfinite(limit) else ""


def _searched(planned: Planned) -> str:
    s = planned.searched
    return (
        f"{s['candidates']:,} plans: {s['does_not_fit']:,} do not fit, {s['pruned']:,} cannot win "
        f"by their lower bound, {s['evaluated']:,} were predicted"
    )


def _front(planned: Planned) -> Section:
    """Return the section with the front and the best plans."""
    choices = Choices()
    front = [_add(planned, choice, choices) for choice in planned.pareto]
    others = [c for c in planned.top if _add(planned, c, choices) not in front]
    sets = [
        _series(planned, "front of time, money and energy", planned.pareto, choices, line=True),
        _series(planned, "other good plans", others, choices),
    ]
    more: dict[str, Any] = {}
    if isfinite(planned.deadline_s):
        more["lines"] = [[planned.deadline_s / _DAY_S, "deadline"]]
    return choices.section(
        "front",
        "Plans to choose from",
        "No plan is better than one of the front in time, money and energy at once. Choose a point "
        "to see its plan and its scenario.",
        axis("duration", "d"),
        axis("money", f"money {planned.currency}"),
        [s for s in sets if s["points"]],
        first=_add(planned, planned.best, choices),
        **more,
    )


def _series(
    planned: Planned,
    name: str,
    found: Sequence[Choice],
    choices: Choices,
    *,
    line: bool = False,
) -> dict[str, Any]:
    ordered = sorted(found, key=lambda c: (c.total.time_s, c.total.money))
    points = [
        (c.total.time_s / _DAY_S, c.total.money, f"{_title(c)}: {_said(planned, c)}")
        for c in ordered
    ]
    plans = [_add(planned, c, choices) for c in ordered]
    return series(name, points, line=line, dashed=True, hollow=not line) | {"plans": plans}


def _title(choice: Choice) -> str:
    return f"{choice.devices:,} devices, {fmt_s(choice.total.time_s)}"


def _said(planned: Planned, choice: Choice) -> str:
    return f"{fmt_money(choice.total.money, planned.currency)}; {plan_words(choice.plan())}"


def _add(planned: Planned, choice: Choice, choices: Choices) -> int:
    o, total = choice.outcome, choice.total
    facts = [
        ("plan", plan_words(choice.plan())),
        ("time", fmt_s(total.time_s)),
        ("money", fmt_money(total.money, planned.currency)),
        ("step", f"{fmt_s(o.step_s)}, MFU {percent(o.mfu)}, HFU {percent(o.hfu)}"),
        ("memory", f"{fmt_bytes(o.peak_bytes)} of {fmt_bytes(o.capacity_bytes)}"),
    ]
    if total.energy_j is not None:
        facts.append(("energy", fmt_energy(total.energy_j)))
    text = scenario_yaml(choice.scenario)
    return choices.add(text, _title(choice), facts, text, f"plan-{choice.devices}.yaml")


def _table(planned: Planned) -> Section:
    # The same plan may be in both lists.
    fronts = {scenario_yaml(c.scenario) for c in planned.pareto}
    listed = {scenario_yaml(c.scenario): c for c in (*planned.top, *planned.pareto)}
    rows = [
        [
            c.devices,
            plan_words(c.plan()),
            c.total.time_s,
            c.total.money,
            c.total.energy_j and c.total.energy_j / 3.6e9,
            c.outcome.step_s,
            c.outcome.mfu,
            c.outcome.peak_bytes,
            "yes" if text in fronts else "no",
        ]
        for text, c in listed.items()
    ]
    return table(
        "plans",
        "The best plans and the front",
        f"By {planned.objective}, the best first.",
        [
            column("devices", number=True, filters=True),
            column("plan", "text"),
            column("time", "s", number=True),
            column("money", f"money {planned.currency}", number=True),
            column("energy", "MWh", number=True),
            column("step time", "s", number=True),
            column("MFU", "%", number=True),
            column("memory peak", "B", number=True),
            column("on the front", "text", filters=True),
        ],
        rows,
        chosen=[0],
    )


def _rejected(planned: Planned) -> Section:
    return table(
        "rejected",
        "Next to the chosen plan",
        "Plans that differ from the chosen one in one thing, and why they are not chosen.",
        [
            column("key", "text", filters=True),
            column("from", "text"),
            column("to", "text"),
            column("step time", "s", number=True),
            column("why not", "text"),
        ],
        [
            [r.key, quantity("", r.value), quantity("", r.to), r.step_s, r.reason]
            for r in planned.rejected
        ],
    )
