"""Lists, records and explanations as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.errors import CodeInfo
from distsim.report.layout import (
    bare,
    columns,
    flat,
    heading,
    pairs,
    quantity,
)


def list_text(
    rows: Sequence[Mapping[str, Any]], optional: Sequence[Sequence[str]] = ()
) -> RenderableType:
    """Return records as a table; text aligns left, numbers right. A key may be missing.

    The groups of keys of `optional` are left out where the width is too little for them.
    """
    if not rows:
        return Text("none")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    left = [n for n, key in enumerate(keys) if isinstance(rows[0].get(key, ""), str)]
    body = [[quantity(key, row[key]) if key in row else "" for key in keys] for row in rows]
    heads = [bare(key).replace("_", " ") for key in keys]
    groups = [[keys.index(key) for key in group] for group in optional]
    return columns(heads, body, left=left, optional=groups)


def record_text(record: Mapping[str, Any]) -> RenderableType:
    """Return one record: its name, its values with their units, and where each comes from."""
    sources: Mapping[str, str] = record.get("sources", {})
    values = flat({k: v for k, v in record.items() if k not in ("name", "sources")})
    tables = {key: value for key, value in values.items() if _is_table(value)}
    rows: list[list[str | Text]] = []
    for key, value in values.items():
        if key not in tables:
            name = ".".join(map(bare, key.split(".")))
            row: list[str | Text] = [name, quantity(key.split(".")[0], value) or "-"]
            rows.append([*row, Text(sources[name], style="dim")] if name in sources else row)
    heads = ("", "", "source") if sources else ("", "")
    parts: list[RenderableType] = [heading(str(record["name"]))]
    parts.append(columns(heads, rows, left=range(len(heads))))
    for key, entries in tables.items():
        parts += [Text(), heading(key.replace("_", " ")), *_entries(entries)]
    return Group(*parts)


def _entries(entries: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Return a table of entries, and below it where each comes from: too long for a column."""
    rows = [{k: v for k, v in entry.items() if k != "source"} for entry in entries]
    sources = {str(entry["name"]): str(entry["source"]) for entry in entries if "source" in entry}
    below: list[RenderableType] = [Text(), pairs(sources)] if sources else []
    return [list_text(rows), *below]


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def code_text(code: str, info: CodeInfo) -> RenderableType:
    """Return what an error code means."""
    fix = Text.assemble(("Fix: ", "bold"), info.fix)
    return Group(heading(f"{code}: {info.title}"), Text(), Text(info.explanation), Text(), fix)


def codes_text(codes: Mapping[str, CodeInfo]) -> RenderableType:
    """Return all codes, one a line."""
    return columns(("code", "problem"), [(c, i.title) for c, i in codes.items()], left=(0, 1))
