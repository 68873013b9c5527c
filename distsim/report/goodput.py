"""A training with failures as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from distsim.report.layout import bar, columns, heading, pairs, percent, plural
from distsim.report.money import fmt_energy, fmt_mass
from distsim.study.goodput.result import Goodput
from distsim.study.money.amount import fmt_money
from distsim.units import fmt_bytes, fmt_bytes_per_s, fmt_count, fmt_s

#: What each part of the time is called.
PARTS = {
    "useful_s": "useful steps",
    "checkpoint_s": "checkpoints",
    "lost_s": "steps done again",
    "detect_s": "detection",
    "restart_s": "restart",
    "wait_s": "waiting for a spare node",
    "shrunk_s": "fewer replicas",
}
_BAR_WIDTH = 24
_MODES = {"sync": "waited for", "async": "in the background", "overlapped": "in the background"}


def goodput_text(found: Goodput) -> RenderableType:
    """Return all that `distsim goodput` prints."""
    result = found.to_dict()
    return Group(
        heading(found.scenario),
        pairs(goodput_facts(found)),
        Text(),
        _quantiles(found, result),
        Text(),
        heading("Where the time goes, mean over runs"),
        _Parts(result["parts"]),
        Text(),
        Text(_check(found)),
        Text(f"{plural(len(found.runs.failures), 'run')}, seed {found.seed}.", style="dim"),
        *(Text(f"warning: {text}", style="yellow") for text in found.warnings),
    )


def goodput_facts(found: Goodput) -> dict[str, str]:
    """Return training, cluster, failures, checkpoints and their interval, each in a few words."""
    fails, t, taken, saved = found.failures, found.training, found.intervals, found.checkpoint
    shape = "" if fails.shape == 1.0 else f", Weibull of shape {fails.shape:g}"
    rate = fmt_bytes_per_s(saved.write_bytes_per_s)
    return {
        "training": f"{fmt_count(found.tokens)} tokens in {found.steps:,} steps of "
        f"{fmt_s(found.step_s)}: {fmt_s(t.work_s)} without failures",
        "cluster": f"{found.devices:,} x {found.device}{_spares(found)}",
        "failures": f"one in {fmt_s(fails.mtbf_s)}{shape}; detection {fmt_s(fails.detect_s)}, "
        f"restart {fmt_s(fails.restart_s)}",
        "checkpoint": f"{fmt_bytes(saved.size_bytes)} at {rate}, {_MODES[saved.mode]}: delays "
        f"training by {fmt_s(t.checkpoint_s)}, on storage {fmt_s(t.durable_s)} later",
        "interval": f"{fmt_s(taken.taken_s)}, {plural(taken.every_steps, 'step')}; the best is "
        f"{fmt_s(taken.best_s)} (Young {fmt_s(taken.young_s)}, Daly {fmt_s(taken.daly_s)})",
    }


def _spares(found: Goodput) -> str:
    pool = found.spares
    if pool is None:
        return ", spare nodes without limit"
    empty = "wait" if pool.when_empty == "wait" else "go on with fewer replicas"
    return (
        f" and {plural(pool.nodes, 'spare node')}, repaired in {fmt_s(pool.repair_s)}; without "
        f"one, {empty}"
    )


def _quantiles(found: Goodput, result: Mapping[str, Any]) -> RenderableType:
    money = result["currency"] or ""
    rows: list[list[str | Text]] = []

    def row(name: str, key: str, write: Callable[[float], str]) -> None:
        if key in result:
            of = result[key]
            middle = Text(write(of["p50"]), style="bold")
            rows.append([name, write(of["mean"]), write(of["p10"]), middle, write(of["p90"])])

    row("duration", "duration_s", fmt_s)
    if result["finish"] is not None:
        dates = result["finish"]
        rows.append(["finish", "", dates["p10"], Text(dates["p50"], style="bold"), dates["p90"]])
    row("useful share of the time", "effective", percent)
    row("failures", "number_of_failures", lambda v: f"{v:,.0f}")
    row("money", "money", lambda v: fmt_money(v, money))
    row("energy", "energy_j", fmt_energy)
    row("CO2", "co2_kg", fmt_mass)
    return columns(("", "mean", "p10", "p50", "p90"), rows)


class _Parts:
    """Parts of the time, with bars where the terminal has the characters for them."""

    def __init__(self, parts: Mapping[str, float]) -> None:
        self.parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = sum(self.parts.values())
        rows: list[list[str | Text]] = []
        for name, value_s in self.parts.items():
            if value_s > 0.0:
                shown = bar(value_s / whole, _BAR_WIDTH, ascii_only=options.ascii_only)
                share = percent(value_s / whole)
                rows.append([PARTS[name], fmt_s(value_s), share, Text(shown, style="cyan")])
        yield columns(("part", "time", "share", ""), rows, left=(0, 3))


def _check(found: Goodput) -> str:
    """Return the mean beside the closed form."""
    mean, error = float(found.runs.duration_s.mean()), found.error_s
    text = (
        f"Mean {fmt_s(mean)} +- {fmt_s(error)}; closed form (Daly 2006) {fmt_s(found.expected_s)}"
    )
    if found.spares is not None:
        text += ", with spare nodes without limit"
    if found.failures.shape != 1.0:
        text += ", for exponential times between failures"
    return f"{text}."
