"""A calibration as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import columns, heading, percent, plural
from distsim.scenario.profile import is_time
from distsim.units import fmt_s

#: Lines of each list in the text; the JSON has all.
_MOST = 10


def calibration_text(found: Mapping[str, Any]) -> RenderableType:
    """Return what was fitted, how well, and what was left out or is distrusted.

    Parameters
    ----------
    found : mapping
        `distsim.study.calibration.calibrate.Calibration.to_dict`.
    """
    where = f" on {found['topology']}" if found["topology"] else ""
    kinds = ", ".join(plural(e["count"], _NOUN[kind]) for kind, e in found["errors"].items())
    files = plural(len(found["files"]), "file")
    parts: list[RenderableType] = [
        heading(f"Calibrated {found['device']}{where} on {kinds} of {files}"),
        Text(),
        _numbers(found),
        Text(),
        _errors(found),
    ]
    kept = ", ".join(one["key"] for one in found["not_identified"])
    if kept:
        parts += [Text(), Text(f"Not identified, left as shipped: {kept}.")]
    for title, lines in (
        ("Distrusted: far from all others", [_distrusted(one) for one in found["distrusted"]]),
        ("Left out", _left_out(found["left_out"])),
        ("Notes", list(found["notes"])),
    ):
        if lines:
            parts += [Text(), heading(title), *(Text(f"  {line}") for line in lines[:_MOST])]
            if len(lines) > _MOST:
                parts.append(Text(f"  and {len(lines) - _MOST} more; --json has all"))
    return Group(*parts)


def _left_out(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each reason: where it was met first, and how often."""
    first: dict[str, str] = {}
    for one in found:
        first.setdefault(one["reason"], one["source"])
    times = Counter(one["reason"] for one in found)
    return [
        f"{where}: {reason}" + (f" ({times[reason]} of them)" if times[reason] > 1 else "")
        for reason, where in first.items()
    ]


_NOUN = {
    "step": "step time",
    "collective": "collective",
    "gemm": "product",
    "attention": "attention kernel",
    "memory": "memory-bound kernel",
    "launch": "launch",
    "host": "dispatch",
}


def _quantity(key: str, value: float) -> str:
    if is_time(key):
        return fmt_s(value)
    return f"{value:.3g}"


def _numbers(found: Mapping[str, Any]) -> RenderableType:
    rows = [
        [
            one["key"],
            _quantity(one["key"], one["shipped"]),
            _quantity(one["key"], one["value"]),
            f"{_quantity(one['key'], one['low'])} .. {_quantity(one['key'], one['high'])}",
            percent(one["identified"], 0),
        ]
        for one in found["fitted"]
    ]
    return columns(("number", "shipped", "fitted", "90 % interval", "identified"), rows)


def _errors(found: Mapping[str, Any]) -> RenderableType:
    rows = []
    for kind, one in found["errors"].items():
        for when in ("shipped", "fitted", "cross_validated"):
            error = one[when]
            if error["mape_percent"] is None:
                continue
            rows.append(
                [
                    kind if when == "shipped" else "",
                    when.replace("_", "-"),
                    f"{error['mape_percent']:.2f} %",
                    f"{error['median_percent']:.2f} %",
                    f"{error['worst_percent']:+.1f} %",
                    f"{error['signed_mean_percent']:+.2f} %",
                ]
            )
    heads = ("errors of", "numbers", "mean absolute", "median", "worst", "signed mean")
    return columns(heads, rows, left=(0, 1))


def _distrusted(one: Mapping[str, Any]) -> str:
    return (
        f"{one['source']}: {one['what']}: measured {fmt_s(one['measured_s'])}, "
        f"fitted {fmt_s(one['fitted_s'])}, {one['spreads']:.1f} spreads away"
    )
