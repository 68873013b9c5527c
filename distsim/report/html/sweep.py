"""The page of `distsim sweep`: scaling curves whose points show their plan, and all rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from distsim.report.html.charts import axis, bars, chart, column, series, table
from distsim.report.html.choices import Choices
from distsim.report.html.page import Number, Page, Section, html
from distsim.report.layout import percent, quantity
from distsim.report.plan_scenario import scenario_yaml
from distsim.report.plan_text import plan_words
from distsim.study.sweep.row import Row
from distsim.study.sweep.run import Sweep
from distsim.study.sweep.scaling import Curve
from distsim.units import fmt_bytes, fmt_count, fmt_flop_per_s, fmt_s

#: Curves beside the best one that are drawn: those that reach the highest rate.
_MOST_CURVES = 6
#: Combinations that have a bar where the number of devices does not vary.
_MOST_BARS = 30
_COLUMNS = (
    ("status", column("status", "text", filters=True)),
    ("step_s", column("step time", "s", number=True)),
    ("tokens_per_s", column("tokens/s", number=True)),
    ("mfu", column("MFU", "%", number=True)),
    ("speedup", column("speed-up", number=True)),
    ("efficiency", column("efficiency", "%", number=True)),
    ("peak_bytes", column("memory peak", "B", number=True)),
    ("best", column("best of its size", "text", filters=True)),
    ("reason", column("reason", "text")),
)


def sweep_html(result: Sweep) -> Iterator[str]:
    """Yield the page of a sweep in pieces."""
    yield from html(sweep_page(result))


def sweep_page(result: Sweep) -> Page:
    """Return the page of a sweep."""
    counts = result.counts
    return Page(
        title=result.scenario,
        kind="sweep",
        numbers=[
            Number(
                "combinations",
                f"{len(result.rows):,}",
                f"{counts['ok']:,} ok, {counts['does not fit']:,} do not fit, "
                f"{counts['not possible']:,} not possible",
            ),
            *_best_numbers(result),
        ],
        facts=[
            *((a.key, ", ".join(quantity("", v) for v in a.values)) for a in result.axes),
            *((f"along: {a.key}", ", ".join(map(str, a.values))) for a in result.along),
        ],
        sections=[*_scaling(result), _rows(result)],
    )


def _best_numbers(result: Sweep) -> list[Number]:
    points = result.best.points
    if not points:
        return [Number("fit", "none", "read the reasons of the rows", "bad")]
    top = max(points, key=lambda p: p.row.flop_per_s)
    o = top.row.outcome
    out = [
        Number("highest rate", fmt_flop_per_s(top.row.flop_per_s), f"on {top.devices:,} devices"),
        Number(
            "its step", fmt_s(o.step_s), f"{fmt_count(float(f'{o.tokens_per_s:.4g}'))} tokens/s"
        ),
        Number("its MFU", percent(o.mfu)),
    ]
    if len(points) > 1:
        base, last = points[0].devices, points[-1]
        note = f"of {last.devices:,} devices against {base:,}"
        out.append(Number("efficiency", percent(last.efficiency), note))
    return out


def _scaling(result: Sweep) -> list[Section]:
    """Return the scaling curves and their efficiency; step times where devices do not vary."""
    best = result.best
    if not best.points:
        return []
    if not result.over_devices:
        return [_fastest(result)]
    curves = [c for c in result.curves if c.points]
    curves.sort(key=lambda c: -max(p.row.flop_per_s for p in c.points))
    shown = [(_name(c.series), c) for c in curves[:_MOST_CURVES]] if len(curves) > 1 else []
    named = [("best", best), *shown]
    choices = Choices()
    drawn = [_curve(name, c, choices, best=at == 0) for at, (name, c) in enumerate(named)]
    first = best.points[0]
    linear = [(p.devices, first.row.flop_per_s * p.linear) for p in best.points]
    if len(linear) > 1:
        ideal = series("ideal", linear, line=True, marks=False, dashed=True, tone=-1)
        drawn.append(ideal | {"plans": []})
    left = len(curves) - len(shown) if shown else 0
    weak = "grows with the devices" if result.weak else "stays the same"
    about = (
        f"Model FLOP a second of all devices; the global batch {weak}. Choose a point to see its "
        "plan and its scenario."
    ) + (f" {left:,} more curves are only in the table." if left else "")
    rate = choices.section(
        "scaling",
        "Scaling",
        about,
        _devices(named),
        axis("model FLOP rate", "FLOP/s", log=True),
        drawn,
        first=choices.number(best.points[-1].row.index),
    )
    return [rate, _efficiency(named)]


def _fastest(result: Sweep) -> Section:
    fitting = sorted((r for r in result.rows if r.outcome.fits), key=lambda r: -r.flop_per_s)
    rows = [
        (_name(r.values), 0.0, r.outcome.step_s, "ideal" if at == 0 else "kernels", r.outcome.mfu)
        for at, r in enumerate(fitting[:_MOST_BARS])
    ]
    about = "Step time and MFU of the combinations with the highest model FLOP rate, best first."
    return bars("fastest", "The fastest", about, rows)


def _efficiency(named: Sequence[tuple[str, Curve]]) -> Section:
    sets = [
        series(
            name,
            (
                (p.devices, p.efficiency, f"{name}: {p.devices:,} devices, {percent(p.efficiency)}")
                for p in c.points
            ),
            line=True,
        )
        for name, c in named
    ]
    ends = [p.devices for p in named[0][1].points]
    ideal = [(ends[0], 1.0), (ends[-1], 1.0)]
    sets.append(series("ideal", ideal, line=True, marks=False, dashed=True, tone=-1))
    return chart(
        "efficiency",
        "Efficiency",
        "Model FLOP a second and device over that of the smallest number of devices that runs.",
        _devices(named),
        axis("efficiency", "%", zero=True),
        sets,
    )


def _devices(named: Sequence[tuple[str, Curve]]) -> dict[str, Any]:
    return axis("devices", log=True, ticks=(p.devices for _, c in named for p in c.points))


def _curve(name: str, curve: Curve, choices: Choices, *, best: bool) -> dict[str, Any]:
    points = []
    for p in curve.points:
        said = (
            f"{name}: {p.devices:,} devices, {fmt_flop_per_s(p.row.flop_per_s)}, "
            f"{fmt_s(p.row.outcome.step_s)} a step, efficiency {percent(p.efficiency)}"
        )
        points.append((p.devices, p.row.flop_per_s, said))
    drawn = series(name, points, line=True, hollow=not best)
    return drawn | {"plans": [_choice(p.row, choices) for p in curve.points]}


def _choice(row: Row, choices: Choices) -> int:
    o = row.outcome
    facts = [
        ("varied", ", ".join(f"{k} {quantity('', v)}" for k, v in row.values.items())),
        ("step", f"{fmt_s(o.step_s)}, MFU {percent(o.mfu)}"),
        ("memory", f"{fmt_bytes(o.peak_bytes)} of {fmt_bytes(o.capacity_bytes)}"),
        ("plan", plan_words(o.plan)),
    ]
    scenario = row.point.scenario
    text = scenario_yaml(scenario) if scenario is not None else ""
    title = f"row {row.index}: {o.devices:,} devices"
    return choices.add(row.index, title, facts, text, f"row-{row.index}.yaml")


def _name(varied: Mapping[str, Any]) -> str:
    return ", ".join(f"{k.rpartition('.')[2]} {quantity('', v)}" for k, v in varied.items())


def _rows(result: Sweep) -> Section:
    rows = result.table.rows()
    names = list(dict.fromkeys((*result.names, "devices")))
    heads = [column(n, number=_numeric(rows, n), filters=True) for n in names]
    keys = [key for key, _ in _COLUMNS]
    return table(
        "rows",
        "All combinations",
        "Those that are impossible or do not fit have their reason.",
        [*heads, *(head for _, head in _COLUMNS)],
        [[_plain(row[n]) for n in (*names, *keys)] for row in rows],
    )


def _numeric(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(isinstance(row[name], int | float) or row[name] is None for row in rows)


def _plain(value: Any) -> Any:
    """Return what JSON has; anything else in words, and nothing for what is not finite."""
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if value is None or isinstance(value, int | float | str) else quantity("", value)
