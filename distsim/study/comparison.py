"""Predicted times of a collective beside measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distsim.study.collective import CollectiveReport
from distsim.study.measured import Measurements

#: From this size on bandwidth counts more than start-up: errors are summed up apart.
LARGE_BYTES = 1e6


@dataclass(frozen=True, slots=True)
class Compared:
    """One measured size; the error is signed, percent of the measurement."""

    size_bytes: float
    measured_s: float
    predicted_s: float
    error_percent: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Absolute errors of the sizes from one on, percent; the worst one with its sign."""

    from_bytes: float
    sizes: int
    median_percent: float
    p90_percent: float
    worst_percent: float
    worst_bytes: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Predictions beside measurements.

    Attributes
    ----------
    in_place : bool
    summaries : tuple of Summary
        Of all sizes, and of the large ones where there are any.
    notes : tuple of str
        What was left out of the file.
    """

    file: str
    in_place: bool
    rows: tuple[Compared, ...]
    summaries: tuple[Summary, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "file": self.file,
            "in_place": self.in_place,
            "rows": [asdict(row) for row in self.rows],
            "summaries": [asdict(summary) for summary in self.summaries],
            "notes": list(self.notes),
        }


def compare(
    report: CollectiveReport, measured: Measurements, *, in_place: bool = False
) -> Comparison:
    """Pair a report, made for the measured sizes, with the measurements."""
    predicted = {row.size_bytes: row.time_s for row in report.rows}
    rows = []
    for point in measured.points:
        time_s = predicted[point.size_bytes]
        error = 100.0 * (time_s / point.time_s - 1.0)
        rows.append(Compared(point.size_bytes, point.time_s, time_s, error))
    large = [row for row in rows if row.size_bytes >= LARGE_BYTES]
    summaries = [_summary(0.0, rows)] + ([_summary(LARGE_BYTES, large)] if large else [])
    return Comparison(measured.file, in_place, tuple(rows), tuple(summaries), measured.notes)


def _summary(from_bytes: float, rows: Sequence[Compared]) -> Summary:
    absolute = [abs(row.error_percent) for row in rows]
    median, p90 = np.percentile(absolute, [50, 90]).tolist()
    worst = max(rows, key=lambda row: abs(row.error_percent))
    return Summary(from_bytes, len(rows), median, p90, worst.error_percent, worst.size_bytes)
