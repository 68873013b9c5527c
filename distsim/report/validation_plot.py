"""Predicted over measured step times, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distsim.report.figure import COLOURS, figure, file_format, rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A shape for each device beside its colour, so that neither alone has to tell them apart.
_MARKERS = "osD^vP*Xp<>h"
_BAND = 0.10


def validation_plot(report: Mapping[str, Any], path: str) -> bytes:
    """Return the plot as the content of a file of the format of `path`.

    Above, predicted over measured time; below, the error. Filled marks are held out, hollow ones
    calibrated a profile; the band is 10 % either way.

    Raises
    ------
    UsageError
        DS640 where matplotlib is not installed, DS641 for another format.
    """
    file_format(path)
    return rendered(validation_figure(report), path)


def validation_figure(report: Mapping[str, Any]) -> Figure:
    """Return the plot.

    Raises
    ------
    UsageError
        DS640 where matplotlib is not installed.
    """
    cases = [c for s in report["sources"] for c in s["cases"] if "measured_s" in c]
    drawn = figure(8.0, 8.4)
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    for device, cell in _by_device(cases).items():
        _scatter(above, cell, [c["predicted_s"] for c in cell], *_style(device, cases), device)
        _scatter(below, cell, [c["error_percent"] for c in cell], *_style(device, cases), device)
    _lines(above, below, cases)
    above.set(xscale="log", yscale="log", ylabel="predicted step time, s")
    above.set_title(
        f"{len(cases)} published runs; hollow: calibration; band: 10 %",
        loc="left",
        fontsize="medium",
    )
    below.set(xlabel="measured step time, s", ylabel="error, %")
    for axes in (above, below):
        axes.grid(alpha=0.3, which="major")
    if cases:
        above.legend(frameon=False, fontsize="small", loc="upper left")
    return drawn


def _by_device(cases: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    names = sorted({case["device"] for case in cases})
    return {name: [case for case in cases if case["device"] == name] for name in names}


def _style(device: str, cases: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return colour and marker of a device."""
    at = sorted({case["device"] for case in cases}).index(device)
    return COLOURS[at % len(COLOURS)], _MARKERS[at % len(_MARKERS)]


def _scatter(
    axes: Axes,
    cases: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    colour: str,
    marker: str,
    label: str,
) -> None:
    """Draw the runs of a device, held-out ones filled."""
    for split, filled in (("held_out", True), ("calibration", False)):
        chosen = [n for n, case in enumerate(cases) if case["split"] == split]
        if chosen:
            axes.scatter(
                [cases[n]["measured_s"] for n in chosen],
                [values[n] for n in chosen],
                s=26,
                marker=marker,
                facecolors=colour if filled else "none",
                edgecolors=colour,
                linewidths=1.0,
                alpha=0.85,
                label=label if filled or len(chosen) == len(cases) else None,
                zorder=2,
            )


def _lines(above: Axes, below: Axes, cases: Sequence[Mapping[str, Any]]) -> None:
    """Draw where prediction and measurement agree, and the band."""
    times = [case["measured_s"] for case in cases]
    if not times:
        return
    ends = [0.8 * min(times), 1.25 * max(times)]
    above.plot(ends, ends, color="0.4", linewidth=1, zorder=1)
    above.fill_between(
        ends,
        [(1 - _BAND) * t for t in ends],
        [(1 + _BAND) * t for t in ends],
        color="0.9",
        zorder=0,
    )
    below.axhline(0.0, color="0.4", linewidth=1, zorder=1)
    below.axhspan(-100 * _BAND, 100 * _BAND, color="0.9", zorder=0)
