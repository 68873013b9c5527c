"""What changed between two scenarios or results, as text."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import SECONDS, columns, fixed, heading, percent, scale_of
from distsim.study.diff.changes import MISSING, Change
from distsim.study.diff.run import Diff
from distsim.study.evaluate import Outcome
from distsim.units import fmt_bytes, fmt_s

_LONGEST_VALUE = 28
#: Parts of the step below which both sides count as having none, as a share of it.
_LEAST = 5e-4


def diff_text(found: Diff) -> RenderableType:
    """Return all that ``distsim diff`` prints."""
    parts: list[RenderableType] = [_sides(found), Text()]
    if not found.changes:
        return Group(*parts, Text("Nothing differs that has an effect."))
    if found.steps or found.alone:
        parts += [heading("Changes, each alone on A"), _alone(found), Text()]
        parts += [heading("Changes, one after another from A to B"), _way(found), Text()]
    else:
        parts += [heading("Changes"), _listed(found), Text()]
    return Group(*parts, heading("Where the time goes"), _breakdown(found))


def _sides(found: Diff) -> RenderableType:
    rows: list[list[str]] = []
    a, b = found.a.result, found.b.result
    heads = ("", f"A: {a['scenario']}", f"B: {b['scenario']}", "B over A")
    rows.append(["step", fmt_s(a["step_s"]), fmt_s(b["step_s"]), _more(a["step_s"], b["step_s"])])
    of_a, of_b = a.get("tokens_per_s"), b.get("tokens_per_s")
    if of_a and of_b:
        rows.append(["tokens/s", f"{of_a:,.0f}", f"{of_b:,.0f}", _more(of_a, of_b)])
    rows.append(["MFU", percent(a["mfu"]), percent(b["mfu"]), _more(a["mfu"], b["mfu"])])
    peaks = a["memory"]["peak_bytes"], b["memory"]["peak_bytes"]
    shown = [f"{fmt_bytes(side['memory']['peak_bytes'])}{_fits(side['memory'])}" for side in (a, b)]
    rows.append(["memory", *shown, _more(*peaks)])
    return columns(heads, rows)


def _fits(memory: dict[str, Any]) -> str:
    return "" if memory["fits"] else " (does not fit)"


def _more(before: float, after: float) -> str:
    if not before:
        return "-"
    share = 100 * (after / before - 1)
    return "0 %" if abs(share) < 0.05 else f"{share:+.1f} %"


def _value(value: object) -> str:
    if value is MISSING:
        return "-"
    text = "yes" if value is True else "no" if value is False else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _change(change: Change) -> str:
    return f"{change.key}: {_value(change.before)} -> {_value(change.after)}"


def _listed(found: Diff) -> RenderableType:
    rows = [[c.key, _value(c.before), _value(c.after)] for c in found.changes]
    return columns(("key", "A", "B"), rows, left=(0, 1, 2))


def _delta(delta_s: float, whole_s: float) -> str:
    scale, unit = scale_of(whole_s, SECONDS)
    shown = fixed(abs(delta_s), whole_s, scale)
    if not float(shown.replace(",", "")):
        return "0"
    return f"{'+' if delta_s > 0 else '-'}{shown} {unit}"


def _cells(outcome: Outcome, delta_s: float, base_s: float) -> list[str]:
    memory = percent(outcome.peak_bytes / outcome.capacity_bytes, 0)
    return [
        _delta(delta_s, base_s),
        fmt_s(outcome.step_s),
        percent(outcome.mfu),
        memory,
        "" if outcome.fits else outcome.reason,
    ]


_HEADS = ("change", "effect", "step", "MFU", "memory", "")


def _alone(found: Diff) -> RenderableType:
    base_s = found.a.result["step_s"]
    rows = []
    for change, outcome in zip(found.changes, found.alone, strict=True):
        if outcome.possible:
            rows.append([_change(change), *_cells(outcome, outcome.step_s - base_s, base_s)])
        else:
            rows.append([_change(change), "-", "-", "-", "-", outcome.reason])
    return columns(_HEADS, rows, left=(0, 5))


def _way(found: Diff) -> RenderableType:
    base_s = found.a.result["step_s"]
    rows = []
    for step in found.steps:
        last = len(step.changes) - 1
        for n, change in enumerate(step.changes):
            if n < last:
                rows.append([_change(change), "", "", "", "", "together with the next"])
            else:
                rows.append([_change(change), *_cells(step.outcome, step.delta_s, base_s)])
    total_s = found.b.result["step_s"] - base_s
    rows.append(["all", _delta(total_s, base_s), "", "", "", ""])
    return columns(_HEADS, rows, left=(0, 5))


def _breakdown(found: Diff) -> RenderableType:
    a_s, b_s = found.a.result["step_s"], found.b.result["step_s"]
    scale, unit = scale_of(max(a_s, b_s), SECONDS)
    rows = []
    for name, a, b in found.parts():
        if max(a / a_s, b / b_s) >= _LEAST:
            both = [f"{fixed(part, max(a_s, b_s), scale)} {unit}" for part in (a, b)]
            rows.append([name.removesuffix("_s"), *both, _delta(b - a, max(a_s, b_s))])
    both = [f"{fixed(part, max(a_s, b_s), scale)} {unit}" for part in (a_s, b_s)]
    rows.append(["step", *both, _delta(b_s - a_s, max(a_s, b_s))])
    return columns(("part", "A", "B", "B - A"), rows)
