"""The page of `distsim goodput`: when a training ends, as often as it was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np

from distsim.report.goodput import PARTS, goodput_facts
from distsim.report.html.charts import axis, bars, chart, series
from distsim.report.html.page import Number, Page, Section, html
from distsim.report.html.run import scenario_section
from distsim.report.layout import percent, plural
from distsim.report.money import fmt_energy
from distsim.scenario.schema import Scenario
from distsim.study.goodput.result import Goodput
from distsim.study.money.amount import fmt_money
from distsim.units import fmt_s

_DAY_S = 86400.0
#: Colour of each part of the time.
_KINDS = {
    "useful_s": "ideal",
    "checkpoint_s": "data",
    "lost_s": "pipeline",
    "detect_s": "tensor",
    "restart_s": "expert",
    "wait_s": "bubble",
    "shrunk_s": "host",
}


def goodput_html(found: Goodput, scenario: Scenario) -> Iterator[str]:
    """Yield the page of a training with failures in pieces.

    Parameters
    ----------
    scenario : Scenario
        What is trained; the page shows it as YAML.
    """
    result = found.to_dict()
    yield from html(
        Page(
            title=found.scenario,
            kind="goodput",
            numbers=_numbers(found, result),
            facts=list(goodput_facts(found).items()),
            sections=[_distribution(found), _parts(result), scenario_section(scenario)],
            warnings=found.warnings,
        )
    )


def _numbers(found: Goodput, result: dict[str, Any]) -> list[Number]:
    duration, effective = result["duration_s"], result["effective"]
    finish = result["finish"]
    mean = float(found.runs.duration_s.mean())
    out = [
        Number(
            "duration",
            fmt_s(duration["p50"]),
            f"p10 {fmt_s(duration['p10'])}, p90 {fmt_s(duration['p90'])}",
        ),
        Number(
            "useful share of the time",
            percent(effective["p50"]),
            f"p10 {percent(effective['p10'])}, p90 {percent(effective['p90'])}",
        ),
        Number(
            "failures",
            f"{result['number_of_failures']['p50']:,.0f}",
            f"one in {fmt_s(found.failures.mtbf_s)}",
        ),
        Number(
            "checkpoints",
            f"every {fmt_s(found.intervals.taken_s)}",
            f"the best is {fmt_s(found.intervals.best_s)}",
        ),
        Number(
            "mean duration",
            fmt_s(mean),
            f"{plural(len(found.runs.failures), 'run')}, seed {found.seed}; closed form with spare "
            f"nodes without limit {fmt_s(found.expected_s)}",
        ),
    ]
    if finish is not None:
        out.insert(1, Number("finish", finish["p50"], f"{finish['p10']} to {finish['p90']}"))
    if "money" in result:
        money = result["money"]
        currency = result["currency"] or ""
        ends = " to ".join(fmt_money(money[q], currency) for q in ("p10", "p90"))
        out.append(Number("money", fmt_money(money["p50"], currency), ends))
    if "energy_j" in result:
        out.append(Number("energy", fmt_energy(result["energy_j"]["p50"])))
    return out


def _distribution(found: Goodput) -> Section:
    """Return the histogram of durations: bins by Freedman and Diaconis, between 8 and 60."""
    days = found.runs.duration_s / _DAY_S
    low, high = float(days.min()), float(days.max())
    spread = float(np.subtract(*np.quantile(days, [0.75, 0.25])))
    width = 2.0 * spread / len(days) ** (1 / 3)
    bins = int(np.clip((high - low) / width if width > 0 else 1, 8, 60))
    counts, edges = np.histogram(days, bins=bins)
    points = [
        ((a + b) / 2.0, n / len(days), _said(found.start, a, b, n, len(days)))
        for n, a, b in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]
    bar = series("runs", points, marks=False, tone=0)
    quantiles = found.quantiles(days)
    return chart(
        "finish",
        "When the training ends",
        "Share of the runs by duration, with failures, restarts and steps done again; dashed: the "
        "quantiles.",
        axis("duration", "d"),
        axis("share of runs", "%", zero=True),
        [bar | {"bars": True, "width": float(edges[1] - edges[0])}],
        lines=[[quantiles[q], q] for q in ("p10", "p50", "p90")],
    )


def _said(start: date | None, low: float, high: float, count: int, total: int) -> str:
    text = f"{low:,.4g} to {high:,.4g} d: {count:,} of {total:,} runs"
    if start is None:
        return text
    try:
        ends = [str(start + timedelta(days=day)) for day in (low, high)]
    except OverflowError:
        return text
    return f"{text}, done {ends[0]} to {ends[1]}"


def _parts(result: dict[str, Any]) -> Section:
    whole = sum(result["parts"].values())
    rows, at_s = [], 0.0
    for name, value_s in result["parts"].items():
        if value_s > 0.0:
            rows.append((PARTS[name], at_s, at_s + value_s, _KINDS[name], value_s / whole))
            at_s += value_s
    rows.append(("duration", 0.0, whole, "total", 1.0))
    return bars("parts", "Where the time goes", "Mean over the runs.", rows)
