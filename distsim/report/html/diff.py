"""Two scenarios side by side: their numbers, what each change between them did, their timelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distsim.prediction.predict import Prediction
from distsim.report.html.charts import bars, column, table
from distsim.report.html.page import Number, Page, Section
from distsim.report.html.spans import timeline_section
from distsim.report.layout import percent
from distsim.study.diff.changes import MISSING, Change
from distsim.study.diff.run import Diff
from distsim.study.evaluate import Outcome
from distsim.units import fmt_bytes, fmt_count, fmt_s

#: Share of the step below which a part is left out on both sides.
_LEAST = 5e-4
_LONGEST_VALUE = 60


def diff_page(found: Diff, timelines: Sequence[Section] = ()) -> Page:
    """Return the page of two scenarios.

    Parameters
    ----------
    timelines : sequence of Section
        Of both sides, `timelines_of`.
    """
    a, b = found.a.result, found.b.result
    sections = [_sides(a, b)]
    if found.steps:
        sections.append(_way(found))
    if found.changes:
        sections.append(_changes(found))
    sections += [_parts(found), *timelines]
    count = len(found.changes)
    names = dict.fromkeys((a["scenario"], b["scenario"]))
    return Page(
        title=" and ".join(names) if len(names) > 1 else f"{a['scenario']}: A and B",
        kind="diff",
        numbers=_numbers(a, b),
        facts=[
            ("A", a["scenario"]),
            ("B", b["scenario"]),
            ("changes", f"{count:,}" if count else "none that has an effect"),
        ],
        sections=sections,
        warnings=[
            f"{name}: {text}" for name, side in (("A", a), ("B", b)) for text in side["warnings"]
        ],
    )


def timelines_of(a: Prediction, b: Prediction) -> list[Section]:
    """Return the timelines of both sides, over the time of the longer one."""
    found = []
    for name, prediction in (("A", a), ("B", b)):
        one = timeline_section(prediction)
        own = {"id": f"timeline-{name.lower()}", "title": f"Pipeline timeline of {name}"}
        found.append(one | own)
    longest = max(one["end_s"] for one in found)
    return [one | {"end_s": longest} for one in found]


def _numbers(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Number]:
    peaks = [side["memory"]["peak_bytes"] for side in (a, b)]
    fits = b["memory"]["fits"]
    faster = b["step_s"] < a["step_s"]
    tone = "" if b["step_s"] == a["step_s"] else "good" if faster else "bad"
    delta_s = b["step_s"] - a["step_s"]
    sign = "+" if delta_s > 0 else "-" if delta_s < 0 else ""
    return [
        Number("step time of A", fmt_s(a["step_s"]), f"MFU {percent(a['mfu'])}"),
        Number("step time of B", fmt_s(b["step_s"]), f"MFU {percent(b['mfu'])}"),
        Number(
            "B against A", f"{sign}{fmt_s(abs(delta_s))}", _more(a["step_s"], b["step_s"]), tone
        ),
        Number("tokens a second", _more(a["tokens_per_s"], b["tokens_per_s"]), "B against A"),
        Number(
            "memory peak of B",
            fmt_bytes(peaks[1]),
            f"{_more(*peaks)} against A" + ("" if fits else ": does not fit"),
            "" if fits else "bad",
        ),
    ]


def _more(before: float, after: float) -> str:
    if not before:
        return "-"
    share = 100 * (after / before - 1)
    return "0 %" if abs(share) < 0.05 else f"{share:+.1f} %"


def _sides(a: Mapping[str, Any], b: Mapping[str, Any]) -> Section:
    def row(name: str, key: str, shown: Callable[[float], str]) -> list[Any]:
        of_a, of_b = a[key], b[key]
        return [name, shown(of_a), shown(of_b), _more(of_a, of_b)]

    memory = [side["memory"] for side in (a, b)]
    peaks = [m["peak_bytes"] for m in memory]
    rows = [
        row("step time", "step_s", fmt_s),
        row("tokens/s", "tokens_per_s", _count),
        row("tokens/s per device", "tokens_per_s_per_device", _count),
        row("MFU", "mfu", percent),
        row("HFU", "hfu", percent),
        ["memory peak", *map(fmt_bytes, peaks), _more(*peaks)],
        ["fits", *("yes" if m["fits"] else "no" for m in memory), ""],
        row("devices", "devices", lambda number: f"{number:,}"),
        ["evaluator", a["evaluator"], b["evaluator"], ""],
    ]
    numbers = (column(name, "text", number=True) for name in ("A", "B", "B over A"))
    heads = [column("quantity", "text"), *numbers]
    return table("sides", "Side by side", "", heads, rows, plain=True)


def _count(value: float) -> str:
    return fmt_count(float(f"{value:.4g}"))


def _way(found: Diff) -> Section:
    at_s = float(found.a.result["step_s"])
    rows: list[Sequence[Any]] = [("step of A", 0.0, at_s, "total", None)]
    for step in found.steps:
        name = ", ".join(_shown(change) for change in step.changes)
        kind = "data" if step.delta_s < 0 else "tensor"
        rows.append((name, at_s, at_s + step.delta_s, kind, None))
        at_s += step.delta_s
    rows.append(("step of B", 0.0, float(found.b.result["step_s"]), "total", None))
    about = (
        "The changes one after another. What a change does here depends on those above it; changes "
        "that are only possible together are one bar."
    )
    return bars("way", "From A to B", about, rows)


def _changes(found: Diff) -> Section:
    heads = [
        column("key", "text"),
        column("A", "text"),
        column("B", "text"),
        column("effect", "s", number=True),
        column("step", "s", number=True),
        column("MFU", "%", number=True),
        column("memory peak", "B", number=True),
        column("reason", "text"),
    ]
    rows = []
    for at, change in enumerate(found.changes):
        named = [change.key, _value(change.before), _value(change.after)]
        alone = found.alone[at] if found.alone else None
        rows.append([*named, *_cells(alone, float(found.a.result["step_s"]))])
    about = "Each change alone on A: what it adds to the step, and why it cannot be made alone."
    return table("changes", "Each change alone", about, heads, rows)


def _cells(outcome: Outcome | None, base_s: float) -> list[Any]:
    if outcome is None or not outcome.possible:
        return [None, None, None, None, outcome.reason if outcome else None]
    return [
        outcome.step_s - base_s,
        outcome.step_s,
        outcome.mfu,
        outcome.peak_bytes,
        outcome.reason or None,
    ]


def _parts(found: Diff) -> Section:
    a_s, b_s = found.a.result["step_s"], found.b.result["step_s"]
    heads = [column("part", "text"), *(column(h, "s", number=True) for h in ("A", "B", "B - A"))]
    rows: list[list[Any]] = [
        [name.removesuffix("_s"), a, b, b - a]
        for name, a, b in found.parts()
        if max(a / a_s, b / b_s) >= _LEAST
    ]
    rows.append(["step", a_s, b_s, b_s - a_s])
    about = "Mean over devices. Communication counts where it is exposed."
    return table("parts", "Where the time goes", about, heads, rows, plain=True)


def _shown(change: Change) -> str:
    return f"{change.key} {_value(change.before)} to {_value(change.after)}"


def _value(value: object) -> str:
    if value is MISSING:
        return "-"
    text = "yes" if value is True else "no" if value is False else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
