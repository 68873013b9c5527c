"""A plan as text: the answer first, then the front, the best plans, and why others lose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import (
    DURATIONS,
    SECONDS,
    aligned,
    columns,
    heading,
    pairs,
    parameters,
    percent,
)
from distsim.report.money import fmt_energy, fmt_mass
from distsim.study.money.amount import fmt_money
from distsim.study.plan.result import Choice, Planned
from distsim.units import fmt_bytes, fmt_count, fmt_s

#: Share of the memory below which what is left is worth a word.
_LITTLE = 0.05
_OBJECTIVES = {"time": "the fastest", "cost": "the cheapest", "energy": "the least energy"}


def plan_text(planned: Planned, *, written: str | None = None) -> RenderableType:
    """Return all that `distsim plan` prints.

    Parameters
    ----------
    written : str, optional
        File that the plan was written to.
    """
    parts: list[RenderableType] = [_answer(planned), Text()]
    parts += [heading("Front of time, money and energy"), _table(planned, planned.pareto), Text()]
    name = _OBJECTIVES[planned.objective]
    parts += [heading(f"The best plans, {name} first"), _table(planned, planned.top), Text()]
    parts += [heading("Next to the chosen plan"), _rejected(planned), Text()]
    parts.append(_searched(planned))
    notes = (*planned.notes, *_tight(planned.best))
    parts += [Text(f"note: {note}", style="yellow") for note in notes]
    if written is not None:
        parts.append(Text(f"Written to {written}: distsim run {written}"))
    return Group(*parts)


def _tight(best: Choice) -> tuple[str, ...]:
    """Say that little memory is left, if so: gaps of an allocator are not in the peak."""
    left = best.outcome.capacity_bytes - best.outcome.peak_bytes
    if left > _LITTLE * best.outcome.capacity_bytes:
        return ()
    return (
        f"{fmt_bytes(left)} of memory are left for the gaps of the allocator, which may need more: "
        "distsim run FILE --memory says how much",
    )


def _answer(planned: Planned) -> RenderableType:
    """Answer which cluster size is needed."""
    best, total = planned.best, planned.best.total
    head = Text(f"{best.devices:,} {planned.device}", style="bold")
    head.append(
        f" train {planned.model} on {_tokens(planned.tokens)} tokens in {_days(total.time_s)}"
    )
    finish = planned.finish(best)
    if finish:
        head.append(f", until {finish}")
    outcome = best.outcome
    values: dict[str, str | Text] = {
        "money": f"{fmt_money(total.money, planned.currency)} ({planned.pricing}, "
        f"prices {planned.prices}){_of_limit(total.money, planned.budget, 'budget')}",
        "time": f"{_days(total.time_s)}, {planned.steps:,} steps"
        f"{_of_limit(total.time_s, planned.deadline_s, 'deadline')}",
        "energy": _energy(total.energy_j)
        + (f", {fmt_mass(total.co2_kg)} CO2" if total.co2_kg is not None else ""),
        "step": f"{fmt_s(outcome.step_s)}, MFU {percent(outcome.mfu)}, "
        f"{outcome.tokens_per_s:,.0f} tokens/s",
        "plan": plan_words(best.plan()),
        "memory": f"{fmt_bytes(outcome.peak_bytes)} of {fmt_bytes(outcome.capacity_bytes)}",
        "model": f"{planned.model}, {parameters(planned.parameters)}",
    }
    if planned.stretch:
        more = planned.stretch[best.devices] - 1.0
        values["failures"] = f"{percent(more)} more time for failures and checkpoints"
    return Group(head, pairs(values))


def _of_limit(value: float, limit: float, name: str) -> str:
    return f", {percent(value / limit)} of the {name}" if isfinite(limit) else ""


def _tokens(count: float) -> str:
    return fmt_count(float(f"{count:.4g}"))


def _days(seconds: float) -> str:
    return f"{seconds / 86400:.3g} d" if seconds >= 86400 else fmt_s(seconds)


def _energy(joule: float | None) -> str:
    return "not known" if joule is None else fmt_energy(joule)


def plan_words(plan: Mapping[str, Any]) -> str:
    """Return a plan in one line: ``tp 8, pp 8 interleaved 3, dp 16, micro 1, ZeRO 1, ...``."""
    return ", ".join(_words(plan))


def _words(plan: Mapping[str, Any]) -> Iterable[str]:
    if plan["tp"] > 1:
        yield f"tp {plan['tp']}" + (" with sequence" if plan["sequence_parallel"] else "")
    if plan["pp"] > 1:
        v = plan["virtual_stages"]
        uneven = " uneven" if plan.get("layers_per_stage") else ""
        yield f"pp {plan['pp']} {plan['schedule']}" + (f" {v}" if v > 1 else "") + uneven
    for key in ("cp", "ep"):
        if plan.get(key, 1) > 1:
            yield f"{key} {plan[key]}"
    if plan.get("ep", 1) > 1 and plan.get("etp", 1) != plan["tp"]:
        yield f"etp {plan['etp']}"
    yield f"dp {plan['dp']}"
    yield f"micro {plan['micro_size']}"
    if plan["zero_stage"]:
        yield f"ZeRO {plan['zero_stage']}"
    if plan["recompute"] != "none":
        yield f"recompute {plan['recompute']}"


def _table(planned: Planned, choices: Iterable[Choice]) -> RenderableType:
    heads = ("devices", "time", planned.currency, "energy", "step", "MFU", "plan")
    chosen = list(choices)
    durations = aligned([c.total.time_s for c in chosen], DURATIONS)
    steps = aligned([c.outcome.step_s for c in chosen], SECONDS)
    rows = [
        (
            f"{c.devices:,}",
            duration,
            fmt_money(c.total.money, "").strip(),
            _energy(c.total.energy_j),
            step,
            percent(c.outcome.mfu),
            plan_words(c.plan()),
        )
        for c, duration, step in zip(chosen, durations, steps, strict=True)
    ]
    return columns(heads, rows, left=(6,))


def _rejected(planned: Planned) -> RenderableType:
    rows = [
        (r.key, _value(r.value), _value(r.to), r.reason + (f" ({r.code})" if r.code else ""))
        for r in planned.rejected
    ]
    return columns(("change", "from", "to", "why not"), rows, left=(0, 1, 2, 3))


def _value(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _searched(planned: Planned) -> Text:
    s = planned.searched
    return Text(
        f"{s['candidates']:,} plans: {s['does_not_fit']:,} do not fit, {s['pruned']:,} cannot win "
        f"by their lower bound, {s['evaluated']:,} were predicted.",
        style="dim",
    )
