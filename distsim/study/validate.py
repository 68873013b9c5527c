"""Predictions against published measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from statistics import fmean, median
from typing import Any

from distsim.errors import UsageError
from distsim.prediction.predict import predict
from distsim.scenario.load import load
from distsim.scenario.resolve import resolve
from distsim.study.validate_rows import ValidationRow, rows, sources


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One published run and its prediction."""

    id: str
    split: str
    measured_s: float
    predicted_s: float

    @property
    def error_percent(self) -> float:
        """Signed error of the prediction, percent of the measurement."""
        return 100.0 * (self.predicted_s / self.measured_s - 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "id": self.id,
            "split": self.split,
            "measured_s": self.measured_s,
            "predicted_s": self.predicted_s,
            "error_percent": self.error_percent,
        }


@dataclass(frozen=True, slots=True)
class SourceReport:
    """All rows of one source and their errors in percent."""

    name: str
    cases: tuple[ComparedRow, ...]

    def _errors(self, split: str | None = None) -> list[float]:
        return [c.error_percent for c in self.cases if split is None or c.split == split]

    def mape_percent(self, split: str | None = None) -> float | None:
        """Return the mean absolute error, of one split if given (None where it has no rows)."""
        errors = self._errors(split)
        return fmean(abs(e) for e in errors) if errors else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        errors = self._errors()
        calibrated = sum(c.split == "calibration" for c in self.cases)
        return {
            "name": self.name,
            "rows": len(self.cases),
            "calibrated_rows": calibrated,
            "held_out_rows": len(self.cases) - calibrated,
            "mape_percent": self.mape_percent(),
            "held_out_mape_percent": self.mape_percent("held_out"),
            "median_percent": median(abs(e) for e in errors),
            "worst_percent": max(errors, key=abs),
            "signed_mean_percent": fmean(errors),
            "cases": [c.to_dict() for c in self.cases],
        }


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Errors of all sources."""

    sources: tuple[SourceReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        return {"sources": [s.to_dict() for s in self.sources]}


def compare(row: ValidationRow) -> ComparedRow:
    """Predict one published run."""
    prediction = predict(resolve(load(row.scenario)))
    return ComparedRow(row.id, row.split, row.measured_s, prediction.step_s)


def compare_all(name: str, selected: Sequence[ValidationRow]) -> SourceReport:
    """Predict all rows of a source."""
    return SourceReport(name, tuple(compare(row) for row in selected))


def validate(source: str | None = None) -> ValidationReport:
    """Compare predictions with the published runs of one source, or of all.

    Raises
    ------
    UsageError
        DS610, an unknown source.
    """
    known = sources()
    if source is not None and source not in known:
        near = get_close_matches(source, list(known), 1)
        raise UsageError(
            "DS610",
            f"unknown validation source {source!r}",
            value=source,
            rule=f"one of {', '.join(known)}",
            fix=f"did you mean {near[0]!r}?" if near else "leave --source out for all",
        )
    chosen = [source] if source is not None else list(known)
    return ValidationReport(tuple(compare_all(n, rows(known[n])) for n in chosen))
