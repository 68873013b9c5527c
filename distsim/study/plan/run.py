"""A plan from a question: search, and say what was found or by how much it is missed."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isfinite

from distsim.errors import InfeasibleError
from distsim.scenario.schema import Scenario
from distsim.store import seldom_collected
from distsim.study.evaluate import Runner
from distsim.study.money.amount import fmt_money
from distsim.study.plan.columns import Sources
from distsim.study.plan.question import Question
from distsim.study.plan.reasons import Reasons
from distsim.study.plan.result import Choice, Planned
from distsim.study.plan.search import (
    Bounded,
    Found,
    OnResult,
    Wanted,
    bounded,
    counted,
    search,
    settle,
)
from distsim.study.plan.space import candidates, scenario_of
from distsim.units import fmt_s

#: Best plans by the longest path that are simulated, however few are asked for.
SETTLED = 10


def plan(asked: Question, runner: Runner, on_result: OnResult | None = None) -> Planned:
    """Search the best plans.

    Parameters
    ----------
    on_result : callable, optional
        Called with each outcome as it comes.

    Raises
    ------
    InfeasibleError
        DS691 where no plan multiplies out, DS692 where none fits, DS695 and DS696 where none meets
        the deadline, the budget or both.
    """
    setting = asked.setting
    found = candidates(setting, asked.space)
    if not len(found):
        raise _empty(asked, found.refused.most_common(3))
    sources = Sources(setting)
    given = bounded(sources, found)
    if not given.fits.any():
        raise _too_large(asked, given)
    # Candidates that are close by the longest path may change places once they are simulated.
    wide = replace(asked.wanted, top=max(asked.wanted.top, SETTLED))
    common = (sources, given, asked.meter, wide)
    with seldom_collected():
        done = search(*common, None, on_result, evaluator=asked.evaluator)
        final = settle(*common, runner, done, on_result)
    if not final.ranked(asked.wanted):
        raise _missed(asked, sources, given, done, runner)
    return _planned(asked, given, done, final)


def _planned(asked: Question, given: Bounded, done: Found, final: Found) -> Planned:
    wanted, setting = asked.wanted, asked.setting

    def choice(index: int) -> Choice:
        scenario = named(scenario_of(setting, given.candidates, index))
        outcome = final.settled[index]
        return Choice(scenario, outcome, asked.meter.total(outcome))

    ranked = final.ranked(wanted)
    reasons = Reasons(setting, given, done, asked.meter, wanted, asked.evaluator, final)
    best = final.settled[ranked[0]]
    return Planned(
        scenario=setting.scenario.name,
        model=best.model,
        device=best.device,
        parameters=best.parameters,
        objective=wanted.objective,
        tokens=asked.tokens,
        steps=asked.meter.steps,
        deadline_s=wanted.deadline_s,
        budget=wanted.budget,
        currency=asked.meter.rate.currency,
        prices=asked.prices,
        pricing=asked.meter.rate.pricing,
        top=tuple(choice(i) for i in ranked[: wanted.top]),
        pareto=tuple(choice(i) for i in final.front(wanted)),
        rejected=reasons.rejected(asked.space, ranked[0]),
        searched=counted(given, done),
        space=asked.space.to_dict(),
        start=asked.start,
        notes=asked.notes,
        stretch=asked.meter.stretch,
    )


def named(scenario: Scenario) -> Scenario:
    """Return a scenario whose name says how many devices it has."""
    name = f"{scenario.name[:150]}-planned-{scenario.cluster.devices}"
    return scenario if name == scenario.name else scenario.with_(name=name)


def _empty(asked: Question, refused: list[tuple[str, int]]) -> InfeasibleError:
    why = "; ".join(reason for reason, _ in refused)
    return InfeasibleError(
        "DS691",
        "no plan in this space multiplies out" + (f": {why}" if why else ""),
        value=list(asked.space.devices),
        rule="devices = dp * tp * pp * cp, and global_size = microbatches * micro_size * dp, with "
        "whole numbers; tp divides heads, and pp the layers or is balanced",
        fix="allow more values, another global_size, or other numbers of devices",
    )


def _too_large(asked: Question, given: Bounded) -> InfeasibleError:
    index = int(given.peak_bytes.argmin())
    row = given.candidates.row(index)
    capacity = asked.setting.device.memory_bytes
    over = given.peak_bytes[index] - capacity
    return InfeasibleError(
        "DS692",
        f"none of {len(given.fits):,} plans fits: the smallest needs "
        f"{given.peak_bytes[index] / 1e9:.1f} GB of {capacity / 1e9:.1f} GB",
        value=float(given.peak_bytes[index]),
        rule="every stage fits into the memory of a device",
        fix=f"{over / 1e9:.1f} GB are missing on {row['devices']:,} devices (tp {row['tp']}, "
        f"pp {row['pp']}, dp {row['dp']}): use more devices, or devices with more memory",
    )


def _missed(
    asked: Question, sources: Sources, given: Bounded, done: Found, runner: Runner
) -> InfeasibleError:
    """Return by how much the limits are missed: by the fastest plan and by the cheapest."""
    wanted, currency = asked.wanted, asked.meter.rate.currency

    def best(objective: str, deadline_s: float) -> tuple[float, float, int] | None:
        """Return time, money and devices of the best plan."""
        limits = Wanted(objective, deadline_s, inf, 1, front=False)
        search(sources, given, asked.meter, limits, done, evaluator=asked.evaluator)
        final = settle(sources, given, asked.meter, limits, runner, done)
        ranked = final.ranked(limits)
        if not ranked:
            return None
        time_s, money, _ = final.values[ranked[0]].tolist()
        return time_s, money, final.settled[ranked[0]].devices

    fastest = best("time", inf)
    if fastest is None:
        message = next((r.message for r in done.refused.values()), "none of them can be predicted")
        return InfeasibleError("DS691", f"no plan in this space can run: {message}")
    time_s, _, devices = fastest
    if time_s > wanted.deadline_s:
        return InfeasibleError(
            "DS695",
            f"no plan meets the deadline of {fmt_s(wanted.deadline_s)}: the fastest takes "
            f"{fmt_s(time_s)} on {devices:,} devices, {fmt_s(time_s - wanted.deadline_s)} too long",
            path=("deadline",),
            value=wanted.deadline_s,
            rule="tokens / (tokens per second) <= deadline",
            fix=f"allow {fmt_s(time_s)}, more devices, or a larger global_size",
        )
    cheapest = best("cost", wanted.deadline_s)
    assert cheapest is not None, "the fastest plan meets the deadline"
    _, money, devices = cheapest
    limit = f" within {fmt_s(wanted.deadline_s)}" if isfinite(wanted.deadline_s) else ""
    over = fmt_money(money - wanted.budget, currency)
    return InfeasibleError(
        "DS696",
        f"no plan keeps to the budget of {fmt_money(wanted.budget, currency)}{limit}: the cheapest "
        f"costs {fmt_money(money, currency)} on {devices:,} devices, {over} too much",
        path=("budget",),
        value=wanted.budget,
        rule="devices * time * price <= budget",
        fix=f"allow {fmt_money(money, currency)}, more time, or another --pricing",
    )
