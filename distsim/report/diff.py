"""What changed between two scenarios or results, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.columns import Columns
from distsim.report.layout import SECONDS, aligned, columns, fixed, heading, percent, scale_of
from distsim.study.diff.changes import MISSING, Change
from distsim.study.diff.run import Diff
from distsim.study.evaluate import Outcome
from distsim.units import fmt_bytes, fmt_s

_LONGEST_VALUE = 60
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
    text = _plain(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _plain(value: object) -> str:
    """Return a value as YAML would have it in one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_plain(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return "null" if value is None else str(value)


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


#: Numbers of a row where there are none.
_NOTHING = ("", "", "", "")


def _changes(rows: Sequence[tuple[str, Outcome | None, float, str]], base_s: float) -> Columns:
    """Return a row for each change: effect, what comes of it, the change itself and why not."""
    known = [o.step_s for _, o, _, _ in rows if o is not None and o.possible]
    steps = iter(aligned(known, SECONDS))
    body: list[Sequence[str]] = []
    for name, outcome, delta_s, why in rows:
        text = f"{name}; {why}" if why else name
        if outcome is None:
            body.append([*_NOTHING, text])
        elif not outcome.possible:
            body.append(["-", "-", "-", "-", text])
        else:
            used = percent(outcome.peak_bytes / outcome.capacity_bytes, 0)
            numbers = (_delta(delta_s, base_s), next(steps), percent(outcome.mfu), used)
            body.append([*numbers, text])
    return columns(("effect", "step", "MFU", "memory", "change"), body, left=(4,))


def _alone(found: Diff) -> RenderableType:
    base_s = found.a.result["step_s"]
    rows = [
        (_change(change), o, o.step_s - base_s, "" if o.fits else o.reason)
        for change, o in zip(found.changes, found.alone, strict=True)
    ]
    return _changes(rows, base_s)


def _way(found: Diff) -> RenderableType:
    rows: list[tuple[str, Outcome | None, float, str]] = []
    for step in found.steps:
        *others, last = step.changes
        rows += [(_change(change), None, 0.0, "together with the next") for change in others]
        why = "" if step.outcome.fits else step.outcome.reason
        rows.append((_change(last), step.outcome, step.delta_s, why))
    base_s = found.a.result["step_s"]
    total = Text(f"{_delta(found.b.result['step_s'] - base_s, base_s)} in all")
    return Group(_changes(rows, base_s), total)


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
