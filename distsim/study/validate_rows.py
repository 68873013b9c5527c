"""Published measurements as scenarios: the only reader of ``validation/*.csv``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from io import StringIO
from math import isfinite
from os import PathLike, fspath
from os.path import dirname
from pathlib import Path
from typing import Any, NoReturn

from distsim.errors import DistsimError, Place, ValueProblem, nearest, show
from distsim.files import read_text, shipped_directory
from distsim.positions import Positions
from distsim.scenario.load import build
from distsim.scenario.overrides import apply
from distsim.scenario.schema import Scenario

SPLITS = ("calibration", "held_out")
#: What a measured memory is of, by what was read; the closed forms give the first.
MEMORY_KINDS = ("allocated", "reserved", "device")
#: The row whose cells stand for the empty ones of all others.
DEFAULTS = "*"


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
    measured_s : float or None
        Time of one optimizer step.
    measured_bytes : float or None
        Memory of one device, where the row states that instead.
    memory_kind : {"allocated", "reserved", "device"} or None
        What was read: the most that tensors took, the most that the allocator held, or what the
        whole process held on the device.
    memory_stage : int or None
        Pipeline stage that it was read on; None for the fullest one.
    derived : bool
        The measurement was computed from a printed figure, with its rounding; `notes` or
        `tflops_per_device` say from which.
    tflops_per_device : float or None
        Rate as printed, 10^12 FLOP/s, by the source's own count of FLOP.
    notes : str
    scenario : dict
        The run as a scenario, as `distsim.scenario.load.load` takes it.
    positions : Positions
        Where its values stand in the file.
    """

    id: str
    source: str
    url: str
    date: str
    split: str
    measured_s: float | None
    measured_bytes: float | None
    memory_kind: str | None
    memory_stage: int | None
    derived: bool
    tflops_per_device: float | None
    notes: str
    scenario: dict[str, Any]
    positions: Positions = field(repr=False, compare=False)

    def load(self) -> Scenario:
        """Return the run as a checked scenario.

        Raises
        ------
        ValueProblem
            As `distsim.scenario.load.load`, at the line and column of the file.
        """
        return build(self.scenario, self.positions)


def sources() -> dict[str, Path]:
    """Return the shipped files of measurements by name, sorted."""
    found = {p.stem: p for p in shipped_directory("validation").glob("*.csv")}
    return dict(sorted(found.items()))


def rows(path: str | PathLike[str]) -> list[ValidationRow]:
    """Return the published runs of a file, in its order.

    Parameters
    ----------
    path : str or path
        A CSV file with the columns of `COLUMNS`, those of `OPTIONAL` that it needs, and one for
        each value of a scenario that its rows state, named by its dotted key. A first row whose id
        is ``*`` fills in what other rows leave empty.

    Raises
    ------
    FileError
        DS101 to DS106 where the file cannot be read.
    ValueProblem
        DS240 where it is no such table, with line and column.
    UsageError, SyntaxProblem
        DS620, DS621 or DS1xx for a value of a scenario that is none.
    """
    file = fspath(path)
    found: dict[str, ValidationRow] = {}
    defaults: Mapping[str, _Cell] = {}
    for number, cells in enumerate(_records(read_text(path), file)):
        if cells["id"].text == DEFAULTS:
            if number:
                _refuse("id", DEFAULTS, cells["id"].place, "what holds for all rows comes first")
            defaults = {name: cell for name, cell in cells.items() if name != "id" and cell.text}
            continue
        row = _row({n: c if c.text else defaults.get(n, c) for n, c in cells.items()}, file)
        if row.id in found:
            _refuse("id", row.id, cells["id"].place, "an id stands once in a file")
        found[row.id] = row
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Cell:
    """Text of a cell, and where it stands."""

    text: str
    place: Place


def _records(text: str, file: str) -> Iterator[dict[str, _Cell]]:
    """Yield the cells of each record under the header."""
    reader, lines = csv.reader(StringIO(text, newline=""), strict=True), text.splitlines()
    header: list[str] = []
    try:
        for record in reader:
            line = reader.line_num
            at = [Place(file, line, c) for c in _starts(lines[line - 1], len(record))]
            if not header:
                header = [name.strip() for name in record]
                _check_header(header, at, file)
            elif record:
                if len(record) != len(header):
                    rule = f"{len(header)} fields a row, as the header has"
                    _refuse("the row", f"{len(record)} fields", Place(file, line), rule)
                cells = map(_Cell, map(str.strip, record), at)
                yield dict(zip(header, cells, strict=True))
    except csv.Error as error:
        place = Place(file, reader.line_num)
        _refuse("the file", str(error), place, "comma-separated values")


def _starts(line: str, fields: int) -> list[int]:
    """Return the column, from 1, at which each field of a line begins.

    A record of several lines has its fields at the line's beginning.
    """
    starts, quoted = [1], False
    for n, character in enumerate(line, 1):
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            starts.append(n + 1)
    return starts if len(starts) == fields else [1] * fields


def _check_header(header: list[str], at: list[Place], file: str) -> None:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        rule = f"the columns {', '.join(COLUMNS)}, and keys of a scenario"
        _refuse("the header lacks", missing, Place(file, 1), rule)
    for name, place in zip(header, at, strict=True):
        if header.count(name) > 1:
            _refuse("a column twice", name, place, "every column once")
        block = name.partition(".")[0]
        if name not in _READERS and block not in _scenario_keys():
            near = nearest(block, [*_READERS, *_scenario_keys()])
            rule = "a column of measurements, or a dotted key of a scenario such as plan.tp"
            _refuse("column", name, place, rule + (f"; did you mean {near}?" if near else ""))


@lru_cache(maxsize=1)
def _scenario_keys() -> frozenset[str]:
    """Return the blocks and values of a scenario that a column may begin with."""
    fields = Scenario.model_fields
    return frozenset(fields) - {"schema_version", "name", "evaluator"}


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


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(cell: str) -> str:
        if cell not in choices:
            raise ValueError
        return cell

    return read


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


def _or_nothing(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda cell: read(cell) if cell else None


#: What a cell must be: its reader, and the columns of that form.
_FORMS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "a text": (_text, "id source url date"),
    f"one of {', '.join(SPLITS)}": (_one_of(*SPLITS), "split"),
    "true or false": (_switch, "derived"),
    "any text": (str, "notes"),
    "a number above 0, or nothing": (
        _or_nothing(_positive),
        "measured_s measured_bytes tflops_per_device",
    ),
    f"one of {', '.join(MEMORY_KINDS)}, or nothing": (
        _or_nothing(_one_of(*MEMORY_KINDS)),
        "memory_kind",
    ),
    "a whole number, or nothing": (_or_nothing(_count), "memory_stage"),
}
_READERS = {name: (form, read) for form, (read, names) in _FORMS.items() for name in names.split()}

#: Columns that each file has, and those that it may leave out.
COLUMNS = ("id", "source", "url", "date", "split", "derived", "notes")
OPTIONAL = tuple(name for name in _READERS if name not in COLUMNS)


def _row(cells: Mapping[str, _Cell], file: str) -> ValidationRow:
    value: dict[str, Any] = dict.fromkeys(_READERS)
    for name, (form, read) in _READERS.items():
        if name not in cells:
            continue
        try:
            value[name] = read(cells[name].text)
        except (ValueError, KeyError):
            _refuse(name, cells[name].text, cells[name].place, f"{name} is {form}")
    place = Place(file, cells["id"].place.line)
    if (value["measured_s"] is None) == (value["measured_bytes"] is None):
        _refuse("measured", value["id"], place, "a row has measured_s, or measured_bytes")
    if (value["measured_bytes"] is None) != (value["memory_kind"] is None):
        _refuse("memory_kind", value["memory_kind"], place, "memory says what was read")
    if value["derived"] and not (value["tflops_per_device"] or value["notes"]):
        _refuse("notes", "", cells["notes"].place, "a derived value says what it comes from")
    scenario, positions = _scenario(value["id"], cells, file)
    return ValidationRow(**value, scenario=scenario, positions=positions)


def _scenario(name: str, cells: Mapping[str, _Cell], file: str) -> tuple[dict[str, Any], Positions]:
    """Return the scenario that dotted columns state, as ``--set`` would, and its places."""
    data: dict[str, Any] = {"schema": 1, "name": name}
    positions = Positions(file, dirname(file))
    positions.override((), Place(file, cells["id"].place.line))
    for key, cell in cells.items():
        if key in _READERS or not cell.text:
            continue
        try:
            data = apply(data, [f"{key}={cell.text}"])
        except DistsimError as error:
            error.place = cell.place
            raise
        positions.override(tuple(key.split(".")), cell.place)
    return data, positions
