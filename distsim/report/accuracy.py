"""The tables of ``docs/accuracy.md``, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distsim.report.validation import numbers

BEGIN = "<!-- validate: {name} (python benchmarks/accuracy.py) -->"
END = "<!-- end -->"
_HEADS = ("rows", "held out", "MAPE", "calibrated", "held out", "median", "worst", "mean")
_GROUPS = {"device": "device", "kind": "kind of run", "precision": "precision"}


def accuracy_tables(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the generated tables by the name that stands in their mark.

    Parameters
    ----------
    report : mapping
        As `ValidationReport.to_dict` gives it.
    """
    by = {q: [s for s in report["sources"] if s["quantity"] == q] for q in ("step", "memory")}
    tables = {
        "sources": _table("source", [*by["step"], {**report["all"], "name": "**all**"}]),
        "memory": _table("source", by["memory"]),
    }
    for key, title in _GROUPS.items():
        tables[key] = _table(title, report["totals"][key])
    return tables


def with_tables(page: str, report: Mapping[str, Any]) -> str:
    """Return a page with the tables between its marks written anew."""
    for name, table in accuracy_tables(report).items():
        begin = BEGIN.format(name=name)
        before, mark, rest = page.partition(begin)
        if mark:
            _, _, after = rest.partition(END)
            page = f"{before}{begin}\n{table}\n{END}{after}"
    return page


def _table(first: str, groups: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| " + " | ".join((first, *_HEADS)) + " |", "|---" * (len(_HEADS) + 1) + "|"]
    lines += ["| " + " | ".join((group["name"], *numbers(group))) + " |" for group in groups]
    return "\n".join(lines)
