"""Reading saved nccl-tests output, and CSV of sizes and times."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from distsim.errors import Place, ValueProblem
from distsim.files import read_text
from distsim.study.collective import CollectiveReport

#: A row of nccl-tests: size, count, type, optionally operation and root, then out of place and in
#: place (time in us, algbw, busbw in GB/s, wrong); some launchers put a prefix before each line.
_ROW = re.compile(
    r"(?:^|[\]:>|]\s*|\s)(?P<size>\d+)\s+(?P<count>\d+)\s+(?P<type>[a-z]\w*)"
    r"(?:\s+(?P<redop>[a-z]\w*))?(?:\s+(?P<root>-?\d+))?"
    r"\s+(?P<time>\d+(?:\.\d+)?)\s+(?P<algbw>\d+(?:\.\d+)?)\s+(?P<busbw>\d+(?:\.\d+)?)\s+\S+"
    r"(?:\s+(?P<time2>\d+(?:\.\d+)?)\s+\S+\s+\S+\s+\S+)?\s*$"
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured size."""

    size_bytes: float
    time_s: float
    line: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Predictions beside measurements."""

    file: str
    rows: tuple[tuple[float, float, float], ...]

    @property
    def errors_percent(self) -> list[float]:
        """Signed error of each size, percent of the measurement."""
        return [100.0 * (predicted / measured - 1.0) for _, measured, predicted in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "file": self.file,
            "rows": [
                {"size_bytes": s, "measured_s": m, "predicted_s": p, "error_percent": e}
                for (s, m, p), e in zip(self.rows, self.errors_percent, strict=True)
            ],
            "median_percent": median(abs(e) for e in self.errors_percent),
        }


def read_measurements(path: str | Path) -> list[Measured]:
    """Read times by size, out of place, from nccl-tests output or a CSV.

    A CSV has the columns ``size_bytes`` and one of ``time_s``, ``time_us``, ``out_of_place_ns``.
    Lines of a log that are no rows are skipped, as are times of zero; several runs of one size
    are kept.

    Raises
    ------
    FileError
        DS1xx.
    ValueProblem
        DS241 where nothing is found, or a row of a CSV is not numbers.
    """
    text = read_text(path)
    head = text.lstrip().splitlines()[0] if text.strip() else ""
    found = _csv(text, str(path)) if "size_bytes" in head and "," in head else _log(text)
    if not found:
        raise ValueProblem(
            "DS241",
            f"{path} holds no measured sizes",
            rule="rows of nccl-tests (size count type ... time algbw busbw #wrong), or a CSV with "
            "size_bytes and time_us",
            fix="save the whole output of all_reduce_perf or its sisters",
            place=Place(str(path)),
        )
    return found


def _log(text: str) -> list[Measured]:
    out = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = _ROW.search(line) if "#" not in line[:1] else None
        if match and float(match["time"]) > 0 and int(match["size"]) > 0:
            out.append(Measured(float(match["size"]), float(match["time"]) * 1e-6, number))
    return out


_TIMES = {"time_s": 1.0, "time_us": 1e-6, "out_of_place_ns": 1e-9}


def _csv(text: str, file: str) -> list[Measured]:
    reader = csv.DictReader(text.splitlines())
    column = next((c for c in _TIMES if c in (reader.fieldnames or ())), None)
    if column is None:
        raise ValueProblem(
            "DS241", f"{file} has no column of times", place=Place(file, 1),
            rule=f"one of {', '.join(_TIMES)}", fix="add the column",
        )  # fmt: skip
    out = []
    for number, row in enumerate(reader, start=2):
        try:
            size, time_s = float(row["size_bytes"]), float(row[column]) * _TIMES[column]
        except (TypeError, ValueError):
            size, time_s = 0.0, 0.0
        if not (0 < size < float("inf") and 0 < time_s < float("inf")):
            raise ValueProblem(
                "DS241", f"size_bytes {row['size_bytes']!r} took {row[column]!r}",
                rule="numbers greater than 0", fix="mend the row", place=Place(file, number),
            )  # fmt: skip
        out.append(Measured(size, time_s, number))
    return out


def compare(report: CollectiveReport, measured: list[Measured], file: str) -> Comparison:
    """Pair a report, made for the measured sizes, with the measurements."""
    predicted = {row.size_bytes: row.time_s for row in report.rows}
    return Comparison(
        file, tuple((m.size_bytes, m.time_s, predicted[m.size_bytes]) for m in measured)
    )
