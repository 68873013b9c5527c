"""Reading CSV of sizes and times, of one system or of many."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import dropwhile

from distsim.collectives.costs import bus_bandwidth_factor
from distsim.errors import Place, ValueProblem, show
from distsim.study.measured import Asked, Measured, Measurements, listed, only, other, possible
from distsim.study.names import collective_of

#: Columns that are read, as `_bare` leaves their names; the first that a row fills counts.
_SIZES = ("size_bytes", "size_b", "size", "bytes")
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_SIDES = ("out_of_place", "in_place")
_RATES = {"gbps": 1e9, "gb_s": 1e9, "bytes_per_s": 1.0}
_OPERATIONS = ("op", "operation", "collective")
_RANKS = ("nranks", "ranks", "n_ranks", "world_size", "devices")
_PLACES = ("placement", "place")
_SYSTEMS = ("id", "system", "cluster", "device", "gpu")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Record:
    """A row: its line, and its cells by column."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV.

    Attributes
    ----------
    columns : tuple of str
        As the header spells them.
    """

    file: str
    head_line: int
    columns: tuple[str, ...]
    records: Sequence[Record]

    def column(self, names: Sequence[str]) -> str | None:
        """Return the first column there that has one of these names."""
        by_name = {_bare(c): c for c in self.columns}
        return next((by_name[n] for n in names if n in by_name), None)

    def refuse(self, message: str, rule: str, fix: str, line: int = 0) -> ValueProblem:
        """Return the error for a table that cannot be used."""
        place = Place(self.file, line or self.head_line)
        return ValueProblem("DS241", message, rule=rule, fix=fix, place=place)


def is_csv(text: str) -> bool:
    """Say whether a text is a CSV with a column of sizes, or of times, and not a log."""
    head = next(dropwhile(_is_remark, text.splitlines()), "")
    names = {_bare(cell) for cell in head.split(",")}
    return "," in head and bool(names & {*_SIZES, "time_us", "time_s", "algbw_gbps", "busbw_gbps"})


def of_csv(text: str, file: str, asked: Asked) -> Measurements:
    """Return the measurements that are wanted.

    Raises
    ------
    ValueProblem
        DS241, DS242, DS243.
    """
    table = _read(text, file)
    size = table.column(_SIZES)
    if size is None:
        raise table.refuse("the file has no column of sizes", _SIZES[0], "add the column")
    notes: list[str] = []
    kept = only(table.records, asked.where, table.columns, lambda r, c: r.cells[c], file)
    kept, used = _of_collective(table, kept, asked)
    kept, side = _of_side(table, kept, asked, notes)
    _one_system(table, kept)
    measures = _measures(table, asked, side, notes)
    points = [point for r in kept if (point := _point(table, r, size, measures)) is not None]
    if len(kept) < len(table.records):
        what = ", ".join([*used, *(f"{c.strip()} {v.strip()}" for c, v in asked.where)])
        notes.insert(0, f"{len(kept):,} of {len(table.records):,} rows: {what or side}")
    if 0 < len(points) < len(kept):
        notes.append(f"{len(kept) - len(points)} of {len(kept)} rows have no size or no time")
    return Measurements(file, tuple(points), tuple(notes))


def _of_collective(
    table: Table, records: list[Record], asked: Asked
) -> tuple[list[Record], list[str]]:
    """Return the rows of the collective and number of ranks asked for, and by which columns."""
    used = []
    op, ranks = table.column(_OPERATIONS), table.column(_RANKS)
    kept = records
    if op is not None:
        kept = [r for r in kept if _is_op(r.cells[op], asked)]
        used.append(f"{op} {asked.collective}")
    if ranks is not None:
        kept = [r for r in kept if r.cells[ranks] in ("", str(asked.devices))]
        used.append(f"{ranks} {asked.devices}")
    if records and not kept:
        names = [
            " over ".join(r.cells[c] or "unknown" for c in (op, ranks) if c is not None)
            for r in records
        ]
        place = Place(table.file, records[0].line)
        raise other(asked, place, listed(names), "ask for what is there")
    return kept, used


def _is_op(cell: str, asked: Asked) -> bool:
    found = collective_of(cell)
    return not cell or (found is not None and asked.same(found))


def _of_side(
    table: Table, records: list[Record], asked: Asked, notes: list[str]
) -> tuple[list[Record], str]:
    """Return the rows that are out of place, or in place, and which of them; others have none."""
    wanted, instead = _SIDES[asked.in_place], _SIDES[not asked.in_place]
    column = table.column(_PLACES)
    if column is None:
        return records, wanted
    kept = [r for r in records if _bare(r.cells[column]) != instead]
    if kept or not records:
        return kept, wanted
    notes.append(f"all of these times are {instead.replace('_', ' ')}")
    return records, instead


def _one_system(table: Table, records: Sequence[Record]) -> None:
    """Refuse rows of several systems."""
    for name in _SYSTEMS:
        column = table.column((name,))
        if column is None:
            continue
        values = list(dict.fromkeys(r.cells[column] for r in records))
        if len(values) > 1:
            raise ValueProblem(
                "DS243",
                f"the file has rows of {len(values)} systems",
                value=values[0],
                rule=f"one system at a time; {column} is {listed(values)}",
                fix=f"pick one: --where {column}={_quoted(values[0])}",
                place=Place(table.file, records[0].line),
            )


def _quoted(value: str) -> str:
    return value if re.fullmatch(r"[\w.:/+-]+", value) else f"'{value}'"


@dataclass(frozen=True, slots=True)
class _Measure:
    """A column with times, or with bandwidths: bytes times `factor` over what stands there."""

    column: str
    unit: float
    factor: float


def _measures(table: Table, asked: Asked, side: str, notes: list[str]) -> list[_Measure]:
    """Return the columns to take times from, the best first.

    A table may have a column of times for each side, or one for both.
    """
    own, plain = _times(table, f"{side}_"), _times(table, "time_")
    out = [*own, *plain, *_rates(table, asked)]
    if asked.in_place and out and not own and table.column(_PLACES) is None:
        notes.append("the file does not say which of its times are in place")
    if not out:
        instead = next(s for s in _SIDES if s != side)
        out = _times(table, f"{instead}_")
        if out:
            notes.append(f"all of these times are {instead.replace('_', ' ')}")
    if not out:
        names = [f"time_{unit}" for unit in _TIMES]
        rule = f"one of {', '.join(names)}, out_of_place_us, algbw_GBps, busbw_GBps"
        raise table.refuse("the file has no column of times", rule, "add the column")
    return out


def _times(table: Table, head: str) -> list[_Measure]:
    """Return the columns of times whose names begin so, before their unit."""
    found = ((table.column((f"{head}{unit}",)), factor) for unit, factor in _TIMES.items())
    return [_Measure(column, factor, 0.0) for column, factor in found if column is not None]


def _rates(table: Table, asked: Asked) -> list[_Measure]:
    """Return the columns of bandwidths."""
    bus = bus_bandwidth_factor(asked.collective, asked.devices)
    out = []
    for name, factor in (("algbw", 1.0), ("busbw", bus)):
        for ending, unit in _RATES.items():
            column = table.column((f"{name}_{ending}",))
            if column is not None and factor > 0:
                out.append(_Measure(column, unit, factor))
    return out


def _point(
    table: Table, record: Record, size: str, measures: Sequence[_Measure]
) -> Measured | None:
    """Return what a row measures; nothing where it leaves that empty, or the size is 0."""
    measure = next((m for m in measures if record.cells[m.column]), None)
    if measure is None or not record.cells[size]:
        return None
    size_bytes = _number(table, record, size)
    value = _number(table, record, measure.column) * measure.unit
    if size_bytes == 0:
        return None
    if not measure.factor:
        time_s = value
    else:
        time_s = measure.factor * size_bytes / value if value > 0 else 0.0
    if not possible(size_bytes, time_s):
        raise table.refuse(
            f"{size} {show(record.cells[size])} with "
            f"{measure.column} {show(record.cells[measure.column])}",
            "sizes up to 10^18 bytes that take 1 ns to 10^6 s",
            "mend the row",
            record.line,
        )
    return Measured(size_bytes, time_s, record.line)


def _number(table: Table, record: Record, column: str) -> float:
    text = record.cells[column]
    if _NUMBER.fullmatch(text) and len(text) < 100:
        return float(text)
    raise table.refuse(
        f"{column} is {show(text)}",
        "a plain number, without separators or a unit",
        "mend the row",
        record.line,
    )


def _bare(name: str) -> str:
    """Return the name of a column without case, blanks and signs.

    >>> _bare("algbw (GB/s)"), _bare("time_us")
    ('algbw_gb_s', 'time_us')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _is_remark(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _read(text: str, file: str) -> Table:
    """Return header and rows; remarks (#) and empty lines are left out."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        records = [(reader.line_num, record) for record in reader if _is_data(record)]
    except csv.Error as error:
        raise ValueProblem(
            "DS241", f"the file is no CSV: {error}", rule="comma-separated values",
            fix="mend the line", place=Place(file, reader.line_num),
        ) from None  # fmt: skip
    (head_line, head), *body = records
    columns = [c.strip() for c in head]
    table = Table(
        file,
        head_line,
        tuple(columns),
        # A row that is too short has nothing in its last columns.
        [
            Record(
                line, dict(zip(columns, [*map(str.strip, r), *[""] * len(columns)], strict=False))
            )
            for line, r in body
        ],
    )
    twice = [c for c in columns if c and columns.count(c) > 1]
    if twice:
        raise table.refuse(f"column {twice[0]} stands twice", "each column once", "rename one")
    return table


def _is_data(record: list[str]) -> bool:
    first = record[0].lstrip() if record else ""
    return any(cell.strip() for cell in record) and not first.startswith("#")
