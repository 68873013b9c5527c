"""A prediction and a check as text, readable at 80 columns."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from distsim.prediction.breakdown import Breakdown
from distsim.prediction.predict import Memory, Prediction
from distsim.report.described import Described, facts, notes, unit_of
from distsim.report.layout import (
    SECONDS,
    bar,
    columns,
    fixed,
    heading,
    pairs,
    percent,
    plural,
    scale_of,
)
from distsim.report.links import links_table
from distsim.report.memory import memory_table
from distsim.report.memory_timeline import MemoryThroughStep
from distsim.units import fmt_bytes, fmt_flop_per_s, fmt_s

#: What each part of the breakdown is called.
PARTS = {
    "compute_s": "compute",
    "tensor_s": "tensor communication, exposed",
    "pipeline_s": "pipeline communication, exposed",
    "data_s": "data communication, exposed",
    "context_s": "context communication, exposed",
    "expert_s": "expert communication, exposed",
    "bubble_s": "bubble",
    "optimizer_s": "optimizer",
    "offload_s": "host memory and its update",
    "host_s": "waiting for the host",
}
_BAR_WIDTH = 24


def run_text(prediction: Prediction, *, through_step: bool = False) -> RenderableType:
    """Return all that `distsim run` prints.

    Parameters
    ----------
    through_step : bool
        Also show memory as it rises and falls through the step.
    """
    seen = prediction.memory_timeline.by_stage()
    through: list[RenderableType] = []
    if through_step:
        through = [Text(), MemoryThroughStep(seen)]
    return Group(
        heading(prediction.scenario),
        pairs(facts(prediction)),
        Text(),
        _rates(prediction),
        Text(),
        heading("Where the time goes, mean over devices"),
        _Parts(prediction.breakdown, prediction.step_s),
        Text(),
        memory_table(prediction.memory, seen),
        *through,
        Text(),
        links_table(prediction.links),
        Text(),
        Text(f"Bottleneck: {prediction.bottleneck.rstrip('.')}."),
        Text(_evaluation(prediction), style="dim"),
        notes(prediction),
    )


def _rates(prediction: Prediction) -> RenderableType:
    unit = unit_of(prediction.resolved)
    # An image of a ViT is a sequence of patches, and counts as one.
    each = prediction.resolved["sequence_length"] if unit != "tokens" else 1
    rows = {
        "step time": f"{fmt_s(prediction.step_s)}{_between(prediction)}",
        **_drawn(prediction),
        **_rest(prediction),
        "throughput": f"{prediction.tokens_per_s / each:,.0f} {unit}/s",
        "  per device": f"{prediction.tokens_per_s_per_device / each:,.1f} {unit}/s",
        "model FLOP rate": f"{fmt_flop_per_s(prediction.model_flop_per_s_per_device)} per device",
        "MFU": f"{percent(prediction.mfu)} of the dense peak",
        "HFU": f"{percent(prediction.hfu)} of it, recomputation included",
    }
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", style="bold", no_wrap=True)
    table.add_column()
    for name, text in rows.items():
        number, _, rest = text.partition(" ")
        table.add_row(f"{name} ", number, rest)
    return table


def _between(prediction: Prediction) -> str:
    """Return the interval of the step time, in its unit: `` (8.0 .. 8.9, 90 %)``."""
    found = prediction.interval
    if found is None:
        return ""
    scale, _ = scale_of(prediction.step_s, SECONDS)
    low, high = (f"{value / scale:.3g}" for value in (found.low_s, found.high_s))
    return f" ({low} .. {high}, {percent(found.level, 0)})"


def _drawn(prediction: Prediction) -> dict[str, str]:
    """Return the quantiles of step times that vary at random."""
    d = prediction.distribution
    if d is None:
        return {}
    scale, unit = scale_of(d.p50_s, SECONDS)
    low, high = (fixed(v, d.p50_s, scale) for v in (d.p10_s, d.p90_s))
    middle = fixed(d.p50_s, d.p50_s, scale)
    return {"  with noise": f"{middle} {unit}, {low} .. {high} for p10 .. p90 of {d.n} samples"}


def _rest(prediction: Prediction) -> dict[str, str]:
    """Return the time from step to step with loading, checkpoints and evaluation."""
    o = prediction.overheads
    if o is None:
        return {}
    named = {"loading": o.data_s, "checkpoints": o.checkpoint_s, "evaluation": o.evaluation_s}
    added = [f"{name} {fmt_s(value)}" for name, value in named.items() if value > 0]
    text = fmt_s(o.step_with_overheads_s)
    return {"  from step to step": f"{text}: {', '.join(added) or 'nothing is exposed'} more"}


class _Parts:
    """The breakdown, with bars where the terminal has the characters for them."""

    def __init__(self, parts: Breakdown, step_s: float) -> None:
        self.parts = parts
        self.step_s = step_s

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        scale, unit = scale_of(self.step_s, SECONDS)
        rows: list[list[str | Text]] = []
        for name, value_s in self.parts.to_dict().items():
            if value_s == 0.0 and name != "compute_s":
                continue
            share = value_s / self.step_s
            shown = bar(share, _BAR_WIDTH, ascii_only=options.ascii_only)
            time = f"{fixed(value_s, self.step_s, scale)} {unit}"
            rows.append([PARTS[name], time, percent(share), Text(shown, style="cyan")])
        total = f"{fixed(self.step_s, self.step_s, scale)} {unit}"
        rows.append(["step", Text(total, style="bold"), percent(1.0), ""])
        yield columns(("part", "time", "share", ""), rows, left=(0, 3))


def _evaluation(prediction: Prediction) -> str:
    bounds, step_s = prediction.bounds, prediction.step_s
    scale, unit = scale_of(step_s, SECONDS)
    lower, upper = (fixed(b, step_s, scale) for b in (bounds.lower_s, bounds.upper_s))
    return (
        f"Evaluator {prediction.evaluator}: {plural(prediction.tasks, 'task')}, "
        f"{plural(prediction.devices, 'rank')} in {plural(prediction.classes, 'class')}. "
        f"Bounds: {lower} {unit} to {upper} {unit}."
    )


class Checked(Described, Protocol):
    """What a check says beside what it says of its scenario."""

    @property
    def memory(self) -> Memory:
        """Memory of every stage."""


def check_text(report: Checked) -> RenderableType:
    """Return all that `distsim check` prints."""
    memory = report.memory
    use = (
        f"{fmt_bytes(memory.peak_bytes)} of {fmt_bytes(memory.capacity_bytes)} "
        f"({percent(memory.peak_bytes / memory.capacity_bytes)}) on the fullest stage"
    )
    verdict = Text("OK", style="bold green") if memory.fits else Text("DOES NOT FIT", "bold red")
    advice = [] if memory.fits else [Text(), memory_table(memory)]
    return Group(
        Text.assemble(verdict, " ", report.scenario),
        pairs(facts(report) | {"memory": use}),
        *advice,
        notes(report),
    )
