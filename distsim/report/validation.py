"""Predictions against published measurements, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import BYTES, SECONDS, columns, fixed, heading, scale_of

#: Rows that the summary names.
WORST = 12
_HEADS = ("rows", "held out", "MAPE", "calibrated", "held out", "median", "worst", "mean")
_TITLES = {
    "device": "By device, in %",
    "kind": "By kind of run, in %",
    "precision": "By precision, in %",
}


def validation_text(report: Mapping[str, Any], *, rows: bool = False) -> RenderableType:
    """Return the errors of each source and of groups of runs.

    Parameters
    ----------
    report : mapping
        As `ValidationReport.to_dict` gives it.
    rows : bool
        Whether every run is listed, source by source, and not only the worst ones.
    """
    sources: Sequence[Mapping[str, Any]] = report["sources"]
    parts: list[RenderableType] = []
    if rows:
        for source in sources:
            parts += [heading(source["name"]), _cases(source["cases"]), Text()]
    for quantity, title in (("step", "step time"), ("memory", "memory")):
        found = [s for s in sources if s["quantity"] == quantity]
        if found:
            parts += [heading(f"Errors of the {title}, in %"), _errors("source", found), Text()]
    if len(sources) > 1 and report["all"]:
        parts += _totals(report)
    if not rows:
        parts += [heading("The worst runs"), _worst(sources), Text()]
    if report["shipped"]:
        note = "Predictions as shipped, made by this very version; --again makes them anew."
        parts += [Text(note, style="dim"), Text()]
    return Group(*parts[:-1])


def _totals(report: Mapping[str, Any]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for key, title in _TITLES.items():
        parts += [heading(title), _errors(key, report["totals"][key]), Text()]
    return [*parts, heading("All step times, in %"), _errors("", [report["all"]]), Text()]


def _worst(sources: Sequence[Mapping[str, Any]]) -> RenderableType:
    cases = [{**c, "source": s["name"]} for s in sources for c in s["cases"]]
    cases.sort(key=lambda c: -abs(c["error_percent"]))
    return _cases(cases[:WORST])


def _cases(cases: Sequence[Mapping[str, Any]]) -> RenderableType:
    named = any("source" in case for case in cases)
    left = (0, 4, 5) if named else (0, 4)
    rows = []
    for case in cases:
        unit = "s" if "measured_s" in case else "bytes"
        scale, name = scale_of(case[f"measured_{unit}"], SECONDS if unit == "s" else BYTES)
        values = [
            f"{fixed(case[key], case[f'measured_{unit}'], scale)} {name}"
            for key in (f"measured_{unit}", f"predicted_{unit}")
        ]
        split = case["split"].replace("_", " ")
        source = [case["source"]] if named else []
        rows.append([case["id"], *values, f"{case['error_percent']:+.2f} %", split, *source])
    heads = ("run", "measured", "predicted", "error", "split")
    return columns((*heads, "source") if named else heads, rows, left=left, optional=((4,),))


def _errors(what: str, groups: Sequence[Mapping[str, Any]]) -> RenderableType:
    rows = [[group["name"], *(n.removesuffix(" %") for n in numbers(group))] for group in groups]
    calibrated = 1 + _HEADS.index("calibrated")
    return columns((what, *_HEADS), rows, optional=((calibrated,),))


def numbers(group: Mapping[str, Any]) -> list[str]:
    """Return the counts and errors of a group of runs as texts."""
    return [
        f"{group['rows']}",
        f"{group['held_out_rows']}",
        f"{group['mape_percent']:.2f} %",
        percent_or_nothing(group["calibrated_mape_percent"]),
        percent_or_nothing(group["held_out_mape_percent"]),
        f"{group['median_percent']:.2f} %",
        f"{group['worst_percent']:+.2f} %",
        f"{group['signed_mean_percent']:+.2f} %",
    ]


def percent_or_nothing(value: float | None) -> str:
    """Return an error, or a dash where there are no rows."""
    return "-" if value is None else f"{value:.2f} %"
