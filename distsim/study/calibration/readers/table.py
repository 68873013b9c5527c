"""Tables of text: delimiter and locale found out, every row with its line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from distsim.study.calibration.readers.findings import Findings
from distsim.study.calibration.readers.numbers import decimal_comma

_DELIMITERS = ",;\t"
#: Longer headers, more lines before one, and longer rows are none of a table of measurements.
_LONGEST_CELL, _MOST_REMARKS, _LONGEST_ROW = 100_000, 1000, 20


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes
    ----------
    columns : tuple of str
        As the header spells them.
    head_line : int
    rows : tuple of (int, mapping)
        Line, and cells by column.
    comma : bool
        Numbers have a decimal comma.
    """

    columns: tuple[str, ...]
    head_line: int
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    comma: bool


def plain_name(column: str) -> str:
    """Return the name of a column without case, blanks and signs, dots kept.

    >>> plain_name("Iter time (ms)"), plain_name("plan.TP")
    ('iter_time_ms', 'plan.tp')
    """
    return re.sub(r"[^a-z0-9.]+", "_", column.lower()).strip("_")


def head_of(text: str) -> list[str]:
    """Return the cells of the header of a text, if it is a table; remarks (#) come before."""
    start = 0
    for _ in range(_MOST_REMARKS):
        end = text.find("\n", start)
        line = text[start : end if end >= 0 else len(text)]
        if not _is_remark(line):
            return _split(line[:_LONGEST_CELL], _delimiter(line)) or []
        if end < 0:
            break
        start = end + 1
    return []


def _is_remark(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _delimiter(head: str) -> str:
    """Return the mark that a header has most of."""
    return max(_DELIMITERS, key=head.count)


def _split(line: str, delimiter: str) -> list[str] | None:
    """Return the cells of a row, None where it cannot be split."""
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return None
    return [cell.strip() for cell in cells]


def read_table(findings: Findings) -> Table:
    """Return the table that a document is; rows that are too short or too long are left out."""
    lines = findings.document.text.split("\n")
    at = next((i for i, line in enumerate(lines) if not _is_remark(line)), 0)
    delimiter = _delimiter(lines[at])
    columns = tuple(_split(lines[at], delimiter) or ())
    rows = tuple(_rows(lines, at + 1, delimiter, columns, findings))
    # A comma between cells cannot stand in a number, unless it is quoted and separates thousands.
    comma = delimiter != "," and decimal_comma(_numeric(cells for _, cells in rows))
    if comma:
        findings.note("numbers have a decimal comma")
    return Table(columns, at + 1, rows, comma)


def _rows(
    lines: Sequence[str], at: int, delimiter: str, columns: Sequence[str], findings: Findings
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield line and cells of each row; what is wrong with one takes nothing from the next."""
    while at < len(lines):
        line, used = lines[at], 1
        if _is_remark(line):
            at += 1
            continue
        cells = _split(line, delimiter)
        if line.count('"') % 2:
            cells, used = _over_lines(lines, at, delimiter, len(columns))
        if cells is not None and not any(cells):
            at += used
            continue
        if cells is None:
            findings.reject(at + 1, "a quote is opened and not closed")
        elif len(cells) != len(columns):
            cut = findings.document.is_cut and at + used == len(lines)
            what = "the last line is cut off: " if cut and len(cells) < len(columns) else ""
            findings.reject(at + 1, f"{what}{len(cells)} cells in {len(columns)} columns")
        else:
            yield at + 1, dict(zip(columns, cells, strict=True))
        at += used


def _over_lines(
    lines: Sequence[str], at: int, delimiter: str, width: int
) -> tuple[list[str] | None, int]:
    """Return the cells of a row with line ends in a quote, and its lines; None if none fits."""
    for used in range(2, _LONGEST_ROW + 1):
        row = " ".join(lines[at : at + used])
        if row.count('"') % 2 == 0:
            cells = _split(row, delimiter)
            return (cells, used) if cells is not None and len(cells) == width else (None, 1)
    return None, 1


def _numeric(rows: Iterator[Mapping[str, str]]) -> Iterator[str]:
    for cells in rows:
        for cell in cells.values():
            if "," in cell and cell.replace(",", "").replace(".", "").isdecimal():
                yield cell
