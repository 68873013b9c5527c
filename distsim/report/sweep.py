"""A sweep as text: every combination, how it scales, where the time goes at each count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import columns, heading, pairs, percent, plural, quantity
from distsim.study.sweep.axes import DEVICES, Axis
from distsim.study.sweep.row import Row
from distsim.study.sweep.run import PARTS, Sweep
from distsim.study.sweep.scaling import Scaled
from distsim.study.sweep.space import BATCH
from distsim.units import fmt_count, fmt_flop_per_s, fmt_s

#: Most rows that are printed; of more, the best of each number of devices.
MOST_ROWS = 200
#: Most warnings that are printed.
_MOST_WARNINGS = 5


def sweep_text(
    sweep: Sweep, *, best: bool = False, evaluated: int = 0, found: int = 0
) -> RenderableType:
    """Return all that `distsim sweep` prints.

    Parameters
    ----------
    best : bool
        Only the best combination of each number of devices.
    evaluated, found : int
        Combinations that were evaluated now, and that were known.
    """
    names = short_names(sweep)
    few = best or len(sweep.rows) > MOST_ROWS
    chosen = [p.row for p in sweep.best.points] if few else list(sweep.rows)
    parts: list[RenderableType] = [
        heading(sweep.scenario),
        pairs(_facts(sweep, evaluated, found)),
        Text(),
    ]
    if few and not best:
        parts.append(Text(f"More than {MOST_ROWS} rows: the best of each; -o FILE has them all."))
    parts.append(_rows(sweep, chosen, names) if chosen else Text("Nothing fits.", style="bold red"))
    if few:
        parts += _reasons(sweep, names)
    if sweep.best.points:
        parts += [Text(), *_breakdown(sweep, names)]
        parts += _summary(sweep, names)
    return Group(*parts, *_warnings(chosen))


def short_names(sweep: Sweep) -> dict[str, str]:
    """Return what columns are called: the last word of a key where it is enough."""
    last = [name.rpartition(".")[2] for name in sweep.names]
    return {
        name: word if last.count(word) == 1 else name
        for name, word in zip(sweep.names, last, strict=True)
    }


def varying(sweep: Sweep) -> list[str]:
    """Return the columns that have more than one value, and always the number of devices."""
    axes = (*sweep.axes, *sweep.along)
    return [a.name for a in axes if len(set(map(repr, a.values))) > 1 or a.key == DEVICES]


def shown(value: object) -> str:
    """Return a value of an axis as it would be written in a scenario."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return quantity("", value) if isinstance(value, int) else str(value)


def described(values: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return what a row varies, in words: ``64 devices, tp 8, pp 4``."""
    return ", ".join(
        f"{shown(value)} devices" if name == "devices" else f"{names[name]} {shown(value)}"
        for name, value in values.items()
    )


def unit_of(rows: Sequence[Row]) -> str:
    """Return what the throughput of rows counts."""
    units = {row.outcome.unit for row in rows if row.outcome.possible}
    return units.pop() if len(units) == 1 else "tokens"


def several_models(sweep: Sweep) -> bool:
    """Return whether the model varies."""
    return len({row.outcome.model for row in sweep.rows if row.outcome.possible}) > 1


def _facts(sweep: Sweep, evaluated: int, found: int) -> dict[str, str]:
    keys = varying(sweep)
    axes = " x ".join(_axis(a) for a in sweep.axes if a.name in keys) or "the scenario as it is"
    facts = {"sweep": f"{axes}: {plural(len(sweep.rows), 'combination')}"}
    fixed = [f"{a.key} {shown(a.values[0])}" for a in sweep.axes if a.name not in keys]
    if fixed:
        facts["set"] = ", ".join(fixed)
    if sweep.along:
        facts["along"] = f"with the devices: {', '.join(a.key for a in sweep.along)}"
    if sweep.over_devices:
        kind = "weak: the global batch grows" if sweep.weak else "strong: the global batch stays"
        given = any(a.key == BATCH for a in sweep.along)
        facts["scaling"] = "the global batch goes along" if given else kind
    counts = sweep.counts
    text = (
        f"{counts['ok']:,} fit, {counts['does not fit']:,} do not fit, "
        f"{counts['not possible']:,} are not possible"
    )
    if evaluated or found:
        text += f"; {evaluated:,} evaluated now, {found:,} known"
    return facts | {"result": text}


def _axis(axis: Axis) -> str:
    many = len(axis.values)
    if axis.key == DEVICES:
        span = f"{shown(axis.values[0])} .. {shown(axis.values[-1])}"
        return f"{span} devices ({many})" if many > 1 else f"{shown(axis.values[0])} devices"
    if many > 6:
        return f"{axis.key} {shown(axis.values[0])} .. {shown(axis.values[-1])} ({many})"
    return f"{axis.key} {', '.join(map(shown, axis.values))}"


def _rows(sweep: Sweep, rows: Sequence[Row], names: Mapping[str, str]) -> RenderableType:
    """Return the table of rows: their values, numbers, and why they cannot run."""
    scaled = _scaled(sweep, rows)
    keys = varying(sweep)
    reasons = any(row.outcome.reason for row in rows)
    rate = "FLOP/s a device" if several_models(sweep) else f"{unit_of(rows)}/s"
    heads = [*(names[k] for k in keys), "step time", rate, "MFU"]
    heads += ["speed-up", "of linear"] if sweep.over_devices else []
    heads += ["memory"] + ["why not"] * reasons
    body = []
    for row in rows:
        cells: list[str | Text] = [shown(row.values.get(k)) for k in keys]
        cells += _numbers(sweep, row, scaled.get(row.index))
        body.append([*cells, Text(row.outcome.reason, style="red")] if reasons else cells)
    left = [n for n, k in enumerate(keys) if any(isinstance(r.values.get(k), str) for r in rows)]
    return columns(heads, body, left=[*left, len(heads) - 1] if reasons else left)


def _scaled(sweep: Sweep, rows: Sequence[Row]) -> dict[int, Scaled]:
    """Return what is known of the scaling of rows: on the curve of the best, or their own."""
    best = {p.row.index: p for p in sweep.best.points}
    if {row.index for row in rows} == set(best):
        return best
    return {p.row.index: p for curve in sweep.curves for p in curve.points}


def _numbers(sweep: Sweep, row: Row, scaled: Scaled | None) -> list[str]:
    outcome = row.outcome
    if not outcome.possible:
        return ["-"] * (6 if sweep.over_devices else 4)
    rate = fmt_count(round(outcome.throughput))
    if several_models(sweep):  # whose tokens do not compare
        rate = fmt_flop_per_s(outcome.model_flop_per_s_per_device).removesuffix("FLOP/s")
    scaling = [f"{scaled.speedup:.2f}", percent(scaled.efficiency)] if scaled else ["-", "-"]
    memory = percent(outcome.peak_bytes / outcome.capacity_bytes)
    numbers = [fmt_s(outcome.step_s), rate, percent(outcome.mfu)]
    return [*numbers, *(scaling if sweep.over_devices else []), memory]


def _reasons(sweep: Sweep, names: Mapping[str, str]) -> list[RenderableType]:
    """Return why combinations cannot run, by reason, with an example of each."""
    if not sweep.reasons:
        return []
    keys = varying(sweep)
    body: list[list[str | Text]] = []
    for code, rows in sweep.reasons.items():
        first = rows[0]
        at = described({k: first.values[k] for k in keys}, names)
        message = first.outcome.reason.partition(": ")[2]
        body.append([code, f"{len(rows):,}", Text(f"{at}: {message}" if at else message)])
    title = heading("Why the others cannot run")
    return [Text(), title, columns(("code", "number", "the first"), body, left=(0, 2))]


def _breakdown(sweep: Sweep, names: Mapping[str, str]) -> list[RenderableType]:
    """Return where the time of a step goes, for the best of each number of devices."""
    points = sweep.best.points
    used = [p for p in PARTS if any(s.row.outcome.breakdown[p] > 0 for s in points)]
    beside = {axis.name for axis in sweep.along}  # the table above has them
    keys = [key for key in varying(sweep) if key not in beside]
    alone = len(sweep.rows) == len(points)
    which = "" if alone else ", the best of each count" if sweep.over_devices else ", the fastest"
    title = f"Where the time of a step goes{which}"
    body = []
    for point in points:
        outcome = point.row.outcome
        cells = [shown(point.row.values.get(k)) for k in keys]
        body.append([*cells, *(percent(outcome.breakdown[p] / outcome.step_s) for p in used)])
    heads = [*(names[k] for k in keys), *(p.removesuffix("_s") for p in used)]
    left = [
        n for n, k in enumerate(keys) if any(isinstance(s.row.values.get(k), str) for s in points)
    ]
    return [heading(title), columns(heads, body, left=left)]


def _summary(sweep: Sweep, names: Mapping[str, str]) -> list[RenderableType]:
    lines = []
    points = sweep.best.points
    if len(points) > 1:
        first, last = points[0], points[-1]
        lines.append(
            f"From {first.devices:,} to {last.devices:,} devices: {last.linear:.4g} times as many, "
            f"{last.speedup:.4g} times as fast, {percent(last.efficiency)} of linear."
        )
    if len(sweep.rows) > len(points):
        top = max(points, key=lambda p: p.row.flop_per_s).row
        at = described({k: top.values[k] for k in varying(sweep)}, names)
        lines.append(f"Fastest: {at}, {fmt_s(top.outcome.step_s)} a step.")
    return [Text(), *map(Text, lines)] if lines else []


def _warnings(rows: Sequence[Row]) -> list[RenderableType]:
    """Return what a person should know of the rows, once each."""
    said = dict.fromkeys(
        w for row in rows for w in row.outcome.warnings if "fit into device memory" not in w
    )
    lines = [Text(f"warning: {text}", style="yellow") for text in list(said)[:_MOST_WARNINGS]]
    more = len(said) - _MOST_WARNINGS
    return [*lines, Text(f"and {plural(more, 'warning')} more")] if more > 0 else [*lines]
