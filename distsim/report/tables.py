"""Lists, records, explanations and validation as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.errors import CodeInfo
from distsim.report.layout import bare, columns, flat, heading, quantity
from distsim.units import fmt_s


def list_text(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return records of the same keys as a table; text aligns left, numbers right."""
    if not rows:
        return Text("none")
    keys = list(rows[0])
    left = [n for n, key in enumerate(keys) if isinstance(rows[0][key], str)]
    body = [[quantity(key, row[key]) for key in keys] for row in rows]
    return columns([bare(key).replace("_", " ") for key in keys], body, left=left)


def record_text(record: Mapping[str, Any]) -> RenderableType:
    """Return one record: its name, its values with their units, and where each comes from."""
    values = flat({k: v for k, v in record.items() if k not in ("name", "sources")})
    sources: Mapping[str, str] = record.get("sources", {})
    lists = {k: v for k, v in values.items() if _is_table(v)}
    rows = []
    for key, value in values.items():
        if key not in lists:
            name = ".".join(bare(part) for part in key.split("."))
            rows.append([name, quantity(key.split(".")[0] if "." in key else key, value),
                         Text(sources.get(name, ""), style="dim")])
    parts: list[RenderableType] = [heading(str(record.get("name", "")))]
    parts.append(columns(("", "", "source" if sources else ""), rows, left=(0, 1, 2)))
    for key, value in lists.items():
        parts += [Text(), heading(key.replace("_", " ")), list_text(value)]
    return Group(*parts)


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def code_text(code: str, info: CodeInfo) -> RenderableType:
    """Return what an error code means."""
    fix = Text.assemble(("Fix: ", "bold"), info.fix)
    return Group(heading(f"{code}: {info.title}"), Text(), Text(info.explanation), Text(), fix)


def codes_text(codes: Mapping[str, CodeInfo]) -> RenderableType:
    """Return all codes, one a line."""
    return columns(("code", "problem"), [(c, i.title) for c, i in codes.items()], left=(0, 1))


def validation_text(report: Mapping[str, Any]) -> RenderableType:
    """Return every published run beside its prediction, and the errors of each source.

    Parameters
    ----------
    report : mapping
        As `ValidationReport.to_dict` gives it.
    """
    parts: list[RenderableType] = []
    for source in report["sources"]:
        rows = [
            [
                case["id"],
                case["split"].replace("_", " "),
                fmt_s(case["measured_s"]),
                fmt_s(case["predicted_s"]),
                _signed(case["error_percent"]),
            ]
            for case in source["cases"]
        ]
        heads = ("run", "split", "measured", "predicted", "error")
        parts += [heading(source["name"]), columns(heads, rows, left=(0, 1)), Text()]
    rows = [
        [
            source["name"],
            f"{source['rows']}",
            f"{source['held_out_rows']}",
            f"{source['mape_percent']:.2f} %",
            "-" if source["held_out_mape_percent"] is None
            else f"{source['held_out_mape_percent']:.2f} %",
            f"{source['median_percent']:.2f} %",
            _signed(source["worst_percent"]),
            _signed(source["signed_mean_percent"]),
        ]
        for source in report["sources"]
    ]
    heads = ("source", "rows", "held out", "MAPE", "held-out MAPE", "median", "worst", "mean")
    return Group(*parts, heading("Errors of the step time"), columns(heads, rows))


def _signed(value_percent: float) -> str:
    return f"{value_percent:+.2f} %"
