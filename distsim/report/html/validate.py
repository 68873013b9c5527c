"""The page of `distsim validate`: predicted against measured, and the errors of each source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from distsim.report.html.charts import axis, chart, column, series, table
from distsim.report.html.page import Number, Page, Section, html
from distsim.units import fmt_bytes, fmt_s

_WRITERS = {"s": fmt_s, "bytes": fmt_bytes}


def validate_html(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the page of a validation in pieces.

    Parameters
    ----------
    report : mapping
        `ValidationReport.to_dict`.
    """
    cases = [c | {"source": s["name"]} for s in report["sources"] for c in s["cases"]]
    sections = [
        found
        for unit, name in (("s", "step time"), ("bytes", "memory of a device"))
        if (found := _scatter(cases, unit, name)) is not None
    ]
    sections.append(_errors("sources", "Errors by source", report["sources"]))
    for key, rows in report["totals"].items():
        if rows:
            sections.append(_errors(key, f"Errors of the step time by {key}", rows))
    yield from html(
        Page(
            title="Predictions and published measurements",
            kind="validate",
            numbers=_numbers(report, cases),
            sections=[*sections, _cases(cases)],
        )
    )


def _numbers(report: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> list[Number]:
    sources = len(report["sources"])
    out = [
        Number(
            "measurements",
            f"{len(cases):,}",
            f"{sources} {'source' if sources == 1 else 'sources'}",
        )
    ]
    memory = [abs(c["error_percent"]) for c in cases if "measured_bytes" in c]
    if memory:
        note = f"of {len(memory):,} peaks of memory"
        out.append(Number("mean absolute error", f"{fmean(memory):.1f} %", note))
    found = report["all"]
    if found is None:
        return out
    for key, label, note in (
        ("mape_percent", "mean absolute error", f"of {found['rows']:,} step times"),
        ("held_out_mape_percent", "of held-out rows", f"{found['held_out_rows']:,} rows"),
        ("calibrated_mape_percent", "of calibrated rows", f"{found['calibrated_rows']:,} rows"),
        ("median_percent", "median error", "of its size"),
        ("worst_percent", "worst error", ""),
        ("signed_mean_percent", "mean error", "with its sign: above 0 is too slow"),
    ):
        if found[key] is not None:
            signed = key in ("worst_percent", "signed_mean_percent")
            out.append(Number(label, f"{found[key]:{'+' if signed else ''}.1f} %", note))
    return out


def _scatter(cases: Sequence[Mapping[str, Any]], unit: str, name: str) -> Section | None:
    here = [c for c in cases if f"measured_{unit}" in c]
    if not here:
        return None
    sets = []
    for at, device in enumerate(sorted({c["device"] for c in here})):
        for split in ("held_out", "calibration"):
            points = [
                _point(c, unit) for c in here if c["device"] == device and c["split"] == split
            ]
            if points:
                hollow = split == "calibration"
                label = f"{device}, calibration" if hollow else device
                sets.append(series(label, points, hollow=hollow, tone=at))
    return chart(
        f"scatter-{unit}",
        f"Predicted against measured {name}",
        "Hollow marks were used to calibrate profiles; the band is 10 % either way.",
        axis("measured", "s" if unit == "s" else "B", log=True),
        axis("predicted", "s" if unit == "s" else "B", log=True),
        sets,
        band=[0.9, 1.1],
    )


def _point(case: Mapping[str, Any], unit: str) -> tuple[float, float, str]:
    write = _WRITERS[unit]
    measured, predicted = case[f"measured_{unit}"], case[f"predicted_{unit}"]
    said = (
        f"{case['source']}/{case['id']}: measured {write(measured)}, predicted {write(predicted)}, "
        f"{case['error_percent']:+.1f} %"
    )
    return measured, predicted, said


def _errors(name: str, title: str, rows: Sequence[Mapping[str, Any]]) -> Section:
    keys = (
        "mape_percent",
        "calibrated_mape_percent",
        "held_out_mape_percent",
        "median_percent",
        "worst_percent",
        "signed_mean_percent",
    )
    return table(
        f"errors-{name}",
        title,
        "Absolute errors but for the last two.",
        [
            column(name.removesuffix("s"), "text"),
            column("rows", number=True),
            column("held out", number=True),
            column("mean", "%", number=True),
            column("calibrated", "%", number=True),
            column("of held out", "%", number=True),
            column("median", "%", number=True),
            column("worst", "+%", number=True),
            column("mean with sign", "+%", number=True),
        ],
        [
            [r["name"], r["rows"], r["held_out_rows"], *(_share(r[key]) for key in keys)]
            for r in rows
        ],
    )


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100.0


def _cases(cases: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        [
            f"{c['source']}/{c['id']}",
            c["source"],
            c["device"],
            c["devices"],
            c["precision"],
            ", ".join(c["kinds"]),
            c["split"].replace("_", " "),
            c.get("measured_s"),
            c.get("predicted_s"),
            c.get("measured_bytes"),
            c.get("predicted_bytes"),
            c["error_percent"] / 100.0,
        ]
        for c in cases
    ]
    heads = [
        column("run", "text"),
        column("source", "text", filters=True),
        column("device", "text", filters=True),
        column("devices", number=True),
        column("precision", "text", filters=True),
        column("kinds", "text", filters=True),
        column("split", "text", filters=True),
        column("measured", "s", number=True),
        column("predicted", "s", number=True),
        column("measured memory", "B", number=True),
        column("predicted memory", "B", number=True),
        column("error", "+%", number=True),
    ]
    kept = [n for n in range(len(heads)) if any(row[n] is not None for row in rows)]
    return table(
        "cases",
        "All measurements",
        "Search, choose and sort.",
        [heads[n] for n in kept],
        [[row[n] for n in kept] for row in rows],
    )
