"""Published measurements as scenarios: the only reader of ``validation/*.csv``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from math import isfinite
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NoReturn

from distsim.errors import Place, ValueProblem, show
from distsim.files import read_text, shipped_directory

SPLITS = ("calibration", "held_out")


@dataclass(frozen=True, slots=True)
class ValidationRow:
    """One published run.

    Attributes
    ----------
    id : str
        Unique in its file.
    source, url, date : str
        The publication, where it is and its year and month.
    split : {"calibration", "held_out"}
        Whether parameters were fitted on this run.
    measured_s : float
        Time of one optimizer step.
    derived : bool
        The time follows from the printed `tflops_per_device`, with its rounding.
    tflops_per_device : float or None
        Rate as printed, 10^12 FLOP/s, by the source's own count of FLOP.
    notes : str
    scenario : dict
        The run as a scenario, as `distsim.scenario.load.load` takes it.
    """

    id: str
    source: str
    url: str
    date: str
    split: str
    measured_s: float
    derived: bool
    tflops_per_device: float | None
    notes: str
    scenario: dict[str, Any]


def sources() -> dict[str, Path]:
    """Return the shipped files of measurements by name, sorted."""
    found = {p.stem: p for p in shipped_directory("validation").glob("*.csv")}
    return dict(sorted(found.items()))


def rows(path: str | PathLike[str]) -> list[ValidationRow]:
    """Return the published runs of a file, in its order.

    Parameters
    ----------
    path : str or path
        A CSV file with exactly the columns of `COLUMNS`, in any order.

    Raises
    ------
    FileError
        DS101 to DS106 where the file cannot be read.
    ValueProblem
        DS240 where it is no such table, with the line.
    """
    file = fspath(path)
    found: dict[str, ValidationRow] = {}
    for line, cells in _records(read_text(path), file):
        row = _row(cells, Place(file, line))
        if row.id in found:
            _refuse("id", row.id, Place(file, line), "an id stands once in a file")
        found[row.id] = row
    return list(found.values())


def _records(text: str, file: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line and cells of each record under the header."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        if sorted(header) != sorted(COLUMNS):
            wrong = sorted(set(header) ^ set(COLUMNS)) or "a column twice"
            _refuse("the header", wrong, Place(file, 1), f"the columns {', '.join(COLUMNS)}")
        for record in reader:
            if not record:
                continue
            if len(record) != len(header):
                rule = f"{len(header)} fields a row, as the header has"
                _refuse("the row", f"{len(record)} fields", Place(file, reader.line_num), rule)
            yield reader.line_num, dict(zip(header, map(str.strip, record), strict=True))
    except csv.Error as error:
        _refuse("the file", str(error), Place(file, reader.line_num), "comma-separated values")


def _refuse(what: str, value: object, place: Place, rule: str) -> NoReturn:
    raise ValueProblem(
        "DS240",
        f"{what}: {show(value)}",
        value=value,
        rule=rule,
        fix="mend the file; validation/README.md describes the columns",
        place=place,
    )


def _text(cell: str) -> str:
    if not cell:
        raise ValueError
    return cell


def _split(cell: str) -> str:
    if cell not in SPLITS:
        raise ValueError
    return cell


def _count(cell: str) -> int:
    if not (cell.isascii() and cell.isdecimal() and len(cell) < 10):
        raise ValueError
    return int(cell)


def _switch(cell: str) -> bool:
    return {"true": True, "false": False}[cell]


def _positive(cell: str) -> float:
    value = float(cell)
    if not (isfinite(value) and value > 0):
        raise ValueError
    return value


def _optional(cell: str) -> float | None:
    return _positive(cell) if cell else None


#: What a cell must be: its reader, and the columns of that form.
_FORMS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "a text": (
        _text,
        "id source url date model topology schedule recompute precision stack",
    ),
    f"one of {', '.join(SPLITS)}": (_split, "split"),
    "a whole number": (
        _count,
        "devices global_batch micro_batch sequence tp pp virtual_stages zero_stage",
    ),
    "true or false": (_switch, "sequence_parallel derived"),
    "a number of seconds above 0": (_positive, "measured_s"),
    "a number above 0, or nothing": (_optional, "tflops_per_device"),
    "any text": (str, "notes"),
}
_READERS = {name: (form, read) for form, (read, names) in _FORMS.items() for name in names.split()}

#: All columns; each must be there.
COLUMNS = tuple(_READERS)


def _row(cells: Mapping[str, str], place: Place) -> ValidationRow:
    value: dict[str, Any] = {}
    for name, (form, read) in _READERS.items():
        try:
            value[name] = read(cells[name])
        except (ValueError, KeyError):
            _refuse(name, cells[name], place, f"{name} is {form}")
    if value["derived"] and value["tflops_per_device"] is None:
        _refuse("tflops_per_device", "", place, "a derived time needs the rate it comes from")
    kept = ("id", "source", "url", "date", "split", "measured_s", "derived", "tflops_per_device")
    return ValidationRow(
        **{name: value[name] for name in (*kept, "notes")}, scenario=_scenario(value)
    )


def _scenario(value: Mapping[str, Any]) -> dict[str, Any]:
    plan = ("tp", "pp", "schedule", "virtual_stages", "zero_stage", "sequence_parallel")
    return {
        "schema": 1,
        "name": value["id"],
        "cluster": {"topology": value["topology"], "devices": value["devices"]},
        "model": value["model"],
        "batch": {
            "global_size": value["global_batch"],
            "micro_size": value["micro_batch"],
            "sequence_length": value["sequence"],
        },
        "plan": {name: value[name] for name in (*plan, "recompute")},
        "precision": value["precision"],
        "stack": value["stack"],
    }
