"""Write ``validation/*.csv`` from tables of published step times and memory.

Usage: python benchmarks/retype_published.py DIRECTORY

DIRECTORY holds `step_times_calibration.csv` and `memory_calibration.csv`: published runs, one a
row, with what each source states. A row becomes a scenario by the rules of its source
(`retype_rules.py`), which never look at the measured value; one that does not state enough is left
out, and the reason is counted in validation/README.md. Which rows calibrate is decided by position:
in each file every other model as published (all rows of one model together); every other row where
there is one model; none where there are 3 rows or fewer. Files that are not in `SOURCES` stay as
they are.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retype_common import LeftOut, Source
from retype_memory import MEMORY_SOURCES
from retype_rules import REPEATED, SOURCES

VALIDATION = Path(__file__).resolve().parent.parent / "validation"
MARKS = ("<!-- left out: written by benchmarks/retype_published.py -->", "<!-- end -->")
FIRST = ("id", "source", "url", "date", "split", "derived")
#: Columns of the measurement beside.
MEASURED = ("measured_s", "measured_bytes", "memory_kind", "memory_stage", "tflops_per_device")
#: Scenario columns, in the order in which files have them; others follow, notes come last.
ORDER = (
    "model",
    "cluster.topology",
    "cluster.devices",
    "batch.global_size",
    "batch.micro_size",
    "batch.sequence_length",
    "plan.tp",
    "plan.pp",
    "plan.cp",
    "plan.ep",
)


def flow(value: Any) -> str:
    """Return a value as YAML in one line: ``{base: llama3-405b, layers: 7}``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return str(value)


def splits(models: Sequence[str]) -> list[str]:
    """Return the split of each row, by position alone."""
    if len(models) <= 3:
        return ["held_out"] * len(models)
    order = list(dict.fromkeys(models))
    alone = len(order) == 1
    places = range(len(models)) if alone else (order.index(m) for m in models)
    return [("calibration", "held_out")[place % 2] for place in places]


def alike(model: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    """Return a model without what a longer sequence alone changes."""
    if isinstance(model, str):
        return model
    rest = {key: value for key, value in model.items() if key != "max_positions"}
    return rest["base"] if list(rest) == ["base"] else rest


def retyped(
    source: Source, rows: list[dict[str, str]]
) -> tuple[list[dict[str, str]], Counter[str]]:
    """Return the rows of a source as records of a file, and why others are left out."""
    found: list[dict[str, str]] = []
    models, left = [], Counter[str]()
    ids = Counter[str]()
    for row in rows:
        try:
            values = source.scenario(row)
        except LeftOut as reason:
            left[str(reason)] += 1
            continue
        name = source.name(row, values)
        ids[name] += 1
        values["id"] = name if ids[name] == 1 else f"{name}-{ids[name]}"
        models.append(flow(alike(values["model"])))
        found.append({key: flow(value) for key, value in values.items()})
    for record, split in zip(found, splits(models), strict=True):
        record["split"] = split
    return found, left


def write(path: Path, records: list[dict[str, str]]) -> None:
    """Write a file; what all rows have in common stands once, in the row ``*``."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    known = (*FIRST, *MEASURED, *ORDER)
    rest = [key for key in keys if key not in (*known, "notes")]
    header = [key for key in (*known, *rest, "notes") if key in keys]
    apart = ("id", "split", *MEASURED, "notes")
    common = {
        key: records[0][key]
        for key in header
        if key not in apart and len({record.get(key) for record in records}) == 1
    }
    if len(records) == 1:
        common = {}
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, header, restval="", lineterminator="\n")
        out.writeheader()
        if common:
            out.writerow({"id": "*", **common})
        for record in records:
            out.writerow({key: cell for key, cell in record.items() if key not in common})


def main(directory: str) -> None:
    """Write all files and the table of what is left out."""
    lines = ["| published as | rows | stated | left out, and why |", "|---|---|---|---|"]
    for name, sources in (("step_times", SOURCES), ("memory", MEMORY_SOURCES)):
        with Path(directory, f"{name}_calibration.csv").open(encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        REPEATED.update(row["id"] for row in table)
        lines += [line_of(s, [row for row in table if row["source_key"] == s.key]) for s in sources]
    readme = VALIDATION / "README.md"
    text = readme.read_text(encoding="utf-8")
    begin, end = MARKS
    body = f"{begin}\n" + "\n".join(lines) + f"\n{end}"
    readme.write_text(
        re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: body, text, flags=re.DOTALL),
        encoding="utf-8",
    )


def line_of(source: Source, rows: list[dict[str, str]]) -> str:
    """Write the file of a source and return its line of the table."""
    records, left = retyped(source, rows)
    if records:
        write(VALIDATION / f"{source.file}.csv", records)
    why = "; ".join(f"{n}: {reason}" for reason, n in left.most_common())
    where = f"`{source.file}.csv`" if records else source.title
    return f"| {where} | {len(rows)} | {len(records)} | {why} |"


if __name__ == "__main__":
    main(sys.argv[1])
