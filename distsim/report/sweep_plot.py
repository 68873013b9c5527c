"""A sweep as a picture: step time, throughput and efficiency over devices, and where time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distsim.report.figure import COLOURS, figure, file_format, rendered
from distsim.report.sheet import SMALL, fitted, missing_glyphs_allowed
from distsim.report.sweep import described, several_models, short_names, unit_of, varying
from distsim.study.sweep.row import Row
from distsim.study.sweep.run import PARTS, Sweep
from distsim.study.sweep.scaling import Curve
from distsim.units import fmt_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Curves that are drawn; of more, the best of each number of devices.
MOST_CURVES = 6
#: Bars that are drawn where the number of devices does not vary: the fastest.
MOST_BARS = 24
#: Colours of the parts of a step (Okabe and Ito, and greys), with a pattern where two are near.
_PARTS = {
    "compute_s": ("#0072B2", ""),
    "tensor_s": ("#D55E00", ""),
    "pipeline_s": ("#CC79A7", ""),
    "data_s": ("#009E73", ""),
    "context_s": ("#56B4E9", ""),
    "expert_s": ("#E69F00", ""),
    "bubble_s": ("#D0D0D0", ""),
    "optimizer_s": ("#333333", ""),
    "offload_s": ("#F0E442", ""),
    "host_s": ("#888888", "///"),
}
#: Step times are on a logarithmic scale where the longest is more than so many of the shortest.
_NARROW = 2.5
_MARKERS = "osD^vP"
_SMALL = "small"
#: Inches that a label beside a bar may take.
_LABEL_IN = 3.2


def sweep_plot(sweep: Sweep, path: str) -> bytes:
    """Return the plot as the content of a file of the format of `path`.

    Raises
    ------
    UsageError
        DS640 where matplotlib is not installed, DS641 for another format.
    """
    file_format(path)
    with missing_glyphs_allowed():
        return rendered(sweep_figure(sweep), path)


def sweep_figure(sweep: Sweep) -> Figure:
    """Return the plot: over numbers of devices if they vary, else a bar for each combination.

    Raises
    ------
    UsageError
        DS640 where matplotlib is not installed.
    """
    return _over_devices(sweep) if sweep.over_devices else _bars(sweep)


def drawn_curves(sweep: Sweep) -> list[tuple[str, Curve]]:
    """Return the curves that are drawn, with their names."""
    curves = [c for c in sweep.curves if c.points]
    if len(curves) > MOST_CURVES:
        return [("the best of each count", sweep.best)]
    names = short_names(sweep)
    keys = [k for k in varying(sweep) if k != "devices"]
    named = []
    for curve in curves:
        series = {k: curve.series[k] for k in keys if k in curve.series}
        named.append((described(series, names) or "predicted", curve))
    return named


def _over_devices(sweep: Sweep) -> Figure:
    drawn = figure(11.0, 8.2)
    _roomy(drawn)
    (step, rate), (share, parts) = drawn.subplots(2, 2)
    several = several_models(sweep)
    curves = drawn_curves(sweep)
    for n, (name, curve) in enumerate(curves):
        style = {"color": COLOURS[n % len(COLOURS)], "marker": _MARKERS[n % len(_MARKERS)]}
        style |= {"label": fitted(name, 5.0, SMALL)}
        _curve(step, rate, share, curve, style, flop=several)
    _ideals(sweep, step, rate, share, [curve for _, curve in curves])
    times = [p.row.outcome.step_s for _, curve in curves for p in curve.points] or [1.0]
    if max(times) > _NARROW * min(times):
        _logarithmic(step, "step time, s")
    else:  # a scale that begins at 0 keeps small differences small
        step.set(ylabel="step time, s", ylim=(0, 1.1 * max(times)))
    _logarithmic(rate, "model PFLOP/s" if several else f"throughput, {unit_of(sweep.rows)}/s")
    top = max((p.efficiency for _, curve in curves for p in curve.points), default=1.0)
    share.set(ylabel="efficiency, % of linear", ylim=(0, 106 * max(top, 1.0)))
    counts = sorted({p.devices for _, curve in curves for p in curve.points})
    for axes in (step, rate, share):
        _device_axis(axes, counts)
    _stacked(parts, [p.row for p in sweep.best.points], alone=len(curves) == 1)
    if not curves:
        parts.text(0.5, 0.5, "nothing fits", ha="center", transform=parts.transAxes)
    drawn.suptitle(fitted(_title(sweep), 10.0, 11.0), fontsize=11)
    if curves:
        handles, labels = rate.get_legend_handles_labels()
        columns = 1 if max(map(len, labels)) > 60 else min(len(labels), 4)
        drawn.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=_SMALL,
        )
    return drawn


def _roomy(drawn: Figure) -> None:
    """Leave a margin around what is drawn, in inches."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    drawn.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def _logarithmic(axes: Axes, label: str) -> None:
    """Make the vertical axis logarithmic, with numbers as people write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(ylabel=label, yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: fmt_count(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _title(sweep: Sweep) -> str:
    kind = "weak" if sweep.weak else "strong"
    return f"{sweep.scenario}: {kind} scaling"


def _rate(row: Row, *, flop: bool) -> float:
    """Return the throughput, or PFLOP/s of the model where models differ."""
    return row.flop_per_s / 1e15 if flop else row.outcome.throughput


def _curve(
    step: Axes, rate: Axes, share: Axes, curve: Curve, style: Mapping[str, Any], *, flop: bool
) -> None:
    counts = [p.devices for p in curve.points]
    style = {"markersize": 5, "linewidth": 1.6, "zorder": 3, **style}
    step.plot(counts, [p.row.outcome.step_s for p in curve.points], **style)
    rate.plot(counts, [_rate(p.row, flop=flop) for p in curve.points], **style)
    share.plot(counts, [100 * p.efficiency for p in curve.points], **style)


def _ideals(sweep: Sweep, step: Axes, rate: Axes, share: Axes, curves: Sequence[Curve]) -> None:
    """Draw what linear scaling from the first point of each curve would reach.

    Of the step time only where the work of a step is known to stay, or to grow with the devices.
    """
    flop, known = several_models(sweep), not sweep.along
    style: dict[str, Any] = {"color": "0.45", "linestyle": "--", "linewidth": 1.0, "zorder": 2}
    label: str | None = "linear"
    for curve in curves:
        if len(curve.points) < 2:
            continue
        first = curve.points[0].row
        ends = (curve.points[0].devices, curve.points[-1].devices)
        grown = ends[1] / ends[0]
        start = _rate(first, flop=flop)
        rate.plot(ends, (start, start * grown), label=label, **style)
        label = None
        if known:
            least = first.outcome.step_s / (1 if sweep.weak else grown)
            step.plot(ends, (first.outcome.step_s, least), **style)
    share.axhline(100.0, **style)


def _device_axis(axes: Axes, counts: Sequence[int]) -> None:
    """Put the numbers of devices on a logarithmic axis; of many, only some."""
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xlabel("devices")
    every = max(1, -(-len(counts) // 9))
    ticks = list(counts[::every])
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks], fontsize=_SMALL)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", rotation=30 if len(ticks) > 6 else 0)
    axes.grid(alpha=0.3, which="major")


def _stacked(axes: Axes, rows: Sequence[Row], *, alone: bool) -> None:
    """Draw where the time goes at each number of devices, as shares of the step."""
    labels = [f"{row.devices:,}" for row in rows]
    places = range(len(rows))
    used = _used(rows)
    below = [0.0] * len(rows)
    for part in used:
        tall = [100 * r.outcome.breakdown[part] / r.outcome.step_s for r in rows]
        colour, hatch = _PARTS[part]
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white"}
        axes.bar(places, tall, 0.8, below, label=part[:-2], linewidth=0.4, **style)
        below = [b + t for b, t in zip(below, tall, strict=True)]
    every = max(1, -(-len(rows) // 12))
    axes.set_xticks(list(places)[::every], labels[::every], fontsize=_SMALL)
    axes.tick_params(axis="x", rotation=30 if len(rows) > 6 else 0)
    best = "" if alone else ", best of each count"
    axes.set(xlabel=f"devices{best}", ylabel="share of the step, %", ylim=(0, 100))
    _legend(axes)


def _used(rows: Sequence[Row]) -> list[str]:
    """Return the parts that are at least a thousandth of some step."""
    return [p for p in PARTS if any(r.outcome.breakdown[p] > 1e-3 * r.outcome.step_s for r in rows)]


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles[::-1],
            labels[::-1],
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            fontsize=_SMALL,
        )


def _bars(sweep: Sweep) -> Figure:
    """Return a bar for each combination, the fastest above, in its parts."""
    fitting = [row for row in sweep.rows if row.outcome.fits]
    rows = sorted(fitting, key=lambda row: -row.flop_per_s)[:MOST_BARS]
    names, keys = short_names(sweep), varying(sweep)
    drawn = figure(10.0, 1.6 + 0.3 * max(len(rows), 3))
    _roomy(drawn)
    axes = drawn.subplots()
    left = [0.0] * len(rows)
    for part in _used(rows):
        long = [row.outcome.breakdown[part] for row in rows]
        colour, hatch = _PARTS[part]
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white"}
        axes.barh(range(len(rows)), long, 0.8, left, label=part[:-2], linewidth=0.4, **style)
        left = [a + b for a, b in zip(left, long, strict=True)]
    words = [described({k: row.values[k] for k in keys}, names) or "as it is" for row in rows]
    axes.set_yticks(range(len(rows)), [fitted(w, _LABEL_IN, SMALL) for w in words], fontsize=_SMALL)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    hidden = len(fitting) - len(rows)
    axes.set_xlabel("step time, s" + (f" ({hidden} slower ones are not drawn)" if hidden else ""))
    axes.set_title(fitted(sweep.scenario, 9.0, 11.0), fontsize=11)
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    _legend(axes)
    return drawn
