"""The bisection of a topology and the check of one as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.hardware.bisection import Bisection
from distsim.report.layout import columns, heading, plural
from distsim.report.tables import list_text
from distsim.units import fmt_bytes_per_s, fmt_s


def ratio(value: float | None) -> str:
    """Return an oversubscription: ``4:1``.

    >>> ratio(4.0), ratio(1.6), ratio(None)
    ('4:1', '1.6:1', '-')
    """
    return "-" if value is None else f"{value:.3g}:1"


def bisection_words(found: Bisection) -> str:
    """Return the bisection bandwidth in one phrase."""
    form = {"exact": "exact", "formula": "closed form", "bound": "at most"}[found.found_by]
    return f"bisection {fmt_bytes_per_s(found.bisection_bytes_per_s)} one way ({form})"


def bisection_text(record: Mapping[str, Any]) -> RenderableType:
    """Return the bisection of a topology and what it is compared with.

    Parameters
    ----------
    record : mapping
        As ``distsim topology bisection --json`` prints it.
    """
    smaller, larger = record["halves"]
    injection = fmt_bytes_per_s(record["injection_bytes_per_s"])
    rows = [
        (
            "bisection",
            fmt_bytes_per_s(record["bisection_bytes_per_s"]),
            f"one way, {plural(smaller, 'device')} to {larger:,}",
        ),
        (
            "at fitted capacity",
            fmt_bytes_per_s(record["fitted_bisection_bytes_per_s"]),
            "what long messages reach"
            + ("" if record["found_by"] == "exact" else ", over the best of the cuts tried"),
        ),
        ("found by", record["found_by"], record["how"]),
        (
            "full bisection",
            fmt_bytes_per_s(record["full_bisection_bytes_per_s"]),
            f"{plural(smaller, 'device')} of {injection} each",
        ),
        ("oversubscription", ratio(record["oversubscription"]), "full bisection over bisection"),
        (
            "diameter",
            plural(record["diameter_links"], "link"),
            f"{fmt_s(record['diameter_s'])} at most between two devices",
        ),
    ]
    if record["unused_links"]:
        number = f"{record['unused_links']:,} of {record['links']:,}"
        rows.append(("on no route", number, "links that do not count"))
    title = (
        f"{record['name']}, {plural(record['devices'], 'device')} "
        f"on {plural(record['nodes'], 'node')}"
    )
    parts: list[RenderableType] = [heading(title), columns(("", "", ""), rows, left=(0, 1, 2))]
    if record["cut"]:
        parts += [Text(), heading("Links of the least cut"), list_text(record["cut"])]
    return Group(*parts)


def check_text(record: Mapping[str, Any]) -> RenderableType:
    """Return what a check found.

    Parameters
    ----------
    record : mapping
        As ``distsim topology check --json`` prints it.
    """
    where = f"{plural(record['devices'], 'device')} on {plural(record['nodes'], 'node')}"
    where += f", {plural(record['links'], 'directed link')}"
    good = Text.assemble(("OK", "bold green"), f" {record['file']}: {where}")
    reach = (
        f"Every device reaches every other over at most "
        f"{plural(record['diameter_links'], 'link')}, in at most {fmt_s(record['diameter_s'])}."
    )
    parts: list[RenderableType] = [good, Text(reach), Text(), _classes(record)]
    if record["warnings"]:
        parts += [Text(), *(Text(f"warning: {w}", style="yellow") for w in record["warnings"])]
    return Group(*parts)


def import_text(path: str, shape: Mapping[str, Any], notes: Sequence[str]) -> RenderableType:
    """Return what was written, the links by class, and what the reader should know."""
    where = f"{plural(shape['devices'], 'device')} on {plural(shape['nodes'], 'node')}"
    links = plural(shape["links"], "directed link")
    title = f"{path}: {where}, {links}, of kind {shape['kind']}"
    parts: list[RenderableType] = [heading(title), Text(), _classes(shape)]
    return Group(*parts, *([Text()] if notes else []), *(Text(f"note: {note}") for note in notes))


def _classes(shape: Mapping[str, Any]) -> RenderableType:
    keys = ("name", "links", "bandwidth_bytes_per_s", "efficiency", "latency_s")
    return list_text([{key: entry[key] for key in keys} for entry in shape["link_classes"]])
