"""Predictions against published measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from distsim.errors import UsageError, nearest
from distsim.study.validate_rows import SPLITS, ValidationRow, rows, sources
from distsim.study.validation_known import stored, unchanged
from distsim.study.validation_run import KINDS, Predicted, predict_all


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One published run and its prediction.

    Attributes
    ----------
    measured, predicted : float
        Seconds of a step; bytes of a device where `memory_kind` says which.
    derived : bool
        The measurement was computed from a printed rate.
    kinds : tuple of str
        Some of `KINDS`.
    """

    source: str
    id: str
    split: str
    measured: float
    predicted: float
    memory_kind: str | None
    derived: bool
    device: str
    devices: int
    precision: str
    kinds: tuple[str, ...]

    @property
    def error_percent(self) -> float:
        """Signed error of the prediction, percent of the measurement."""
        return 100.0 * (self.predicted / self.measured - 1.0)

    @property
    def measured_s(self) -> float:
        """Measured time of a step."""
        return self.measured

    @property
    def predicted_s(self) -> float:
        """Predicted time of a step."""
        return self.predicted

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        unit = "s" if self.memory_kind is None else "bytes"
        memory = {} if self.memory_kind is None else {"memory_kind": self.memory_kind}
        return {
            "id": self.id,
            "split": self.split,
            f"measured_{unit}": self.measured,
            f"predicted_{unit}": self.predicted,
            "error_percent": self.error_percent,
            "derived": self.derived,
            "device": self.device,
            "devices": self.devices,
            "precision": self.precision,
            "kinds": list(self.kinds),
            **memory,
        }


@dataclass(frozen=True, slots=True)
class Errors:
    """What rows have in common, and their errors in percent."""

    name: str
    cases: tuple[ComparedRow, ...]

    def _errors(self, split: str | None = None) -> list[float]:
        return [c.error_percent for c in self.cases if split is None or c.split == split]

    def mape_percent(self, split: str | None = None) -> float | None:
        """Return the mean absolute error, of one split if given (None where it has no rows)."""
        errors = self._errors(split)
        return fmean(abs(e) for e in errors) if errors else None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, without the rows."""
        errors = self._errors()
        calibrated = len(self._errors("calibration"))
        return {
            "name": self.name,
            "rows": len(self.cases),
            "calibrated_rows": calibrated,
            "held_out_rows": len(self.cases) - calibrated,
            "mape_percent": self.mape_percent(),
            "calibrated_mape_percent": self.mape_percent("calibration"),
            "held_out_mape_percent": self.mape_percent("held_out"),
            "median_percent": median(abs(e) for e in errors),
            "worst_percent": max(errors, key=abs),
            "signed_mean_percent": fmean(errors),
        }


@dataclass(frozen=True, slots=True)
class SourceReport(Errors):
    """All rows of one source and their errors in percent."""

    @property
    def quantity(self) -> str:
        """What its rows measure: ``step`` or ``memory``."""
        return "step" if self.cases[0].memory_kind is None else "memory"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, rows included."""
        numbers = Errors.to_dict(self)
        return numbers | {
            "quantity": self.quantity,
            "cases": [c.to_dict() for c in self.cases],
        }


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Errors of all sources.

    Attributes
    ----------
    shipped : bool
        The predictions are those that ship with this very version, and were not made anew.
    """

    sources: tuple[SourceReport, ...]
    shipped: bool = False

    @property
    def steps(self) -> tuple[ComparedRow, ...]:
        """All rows that measure the time of a step."""
        return tuple(c for s in self.sources if s.quantity == "step" for c in s.cases)

    def totals(self) -> dict[str, list[dict[str, Any]]]:
        """Return the errors of the step time by device, by kind and by precision."""
        by: dict[str, Callable[[ComparedRow], Iterable[str]]] = {
            "device": lambda c: (c.device,),
            "kind": lambda c: c.kinds,
            "precision": lambda c: (c.precision,),
        }
        return {name: [e.to_dict() for e in _grouped(self.steps, of)] for name, of in by.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        return {
            "sources": [s.to_dict() for s in self.sources],
            "totals": self.totals(),
            "all": Errors("all", self.steps).to_dict() if self.steps else None,
            "shipped": self.shipped,
        }


def _grouped(
    cases: Sequence[ComparedRow], of: Callable[[ComparedRow], Iterable[str]]
) -> list[Errors]:
    """Return the groups of rows, kinds in their order and other names sorted."""
    groups: dict[str, list[ComparedRow]] = {}
    for case in cases:
        for name in of(case):
            groups.setdefault(name, []).append(case)
    order = {name: at for at, name in enumerate(KINDS)}
    names = sorted(groups, key=lambda name: (order.get(name, 0), name))
    return [Errors(name, tuple(groups[name])) for name in names]


def compare(source: str, row: ValidationRow, found: Predicted) -> ComparedRow:
    """Put a published run beside its prediction."""
    measured = row.measured_s if row.measured_bytes is None else row.measured_bytes
    assert measured is not None, "rows without a measurement are refused when they are read"
    return ComparedRow(
        source,
        row.id,
        row.split,
        measured,
        found.value,
        row.memory_kind,
        row.derived,
        found.device,
        found.devices,
        found.precision,
        found.kinds,
    )


def validate(
    source: str | None = None,
    *,
    device: str | None = None,
    kind: str | None = None,
    processes: int = 1,
    again: bool = True,
) -> ValidationReport:
    """Compare predictions with the published runs of one source, or of all.

    Parameters
    ----------
    device : str, optional
        Only runs on this device of the catalogue.
    kind : str, optional
        Only runs of this kind, one of `KINDS`.
    processes : int
        Processes to share the work among.
    again : bool
        False takes the predictions that ship, if nothing has changed since they were made.

    Raises
    ------
    UsageError
        DS610, an unknown source, or a device or kind that no run of it has.
    """
    known = sources()
    if source is not None and source not in known:
        raise _unknown("validation source", source, list(known), "leave --source out for all")
    chosen = [source] if source is not None else list(known)
    table = [(name, row) for name in chosen for row in rows(known[name])]
    ready = stored() if not again and unchanged() else {}
    done = bool(ready) and all(row.id in ready.get(name, {}) for name, row in table)
    if done:
        found = [ready[name][row.id] for name, row in table]
    else:
        found = predict_all([row for _, row in table], processes)
    cases = [compare(name, row, f) for (name, row), f in zip(table, found, strict=True)]
    if device is not None:
        cases = _only(cases, "device", device, lambda c: (c.device,))
    if kind is not None:
        cases = _only(cases, "kind", kind, lambda c: c.kinds)
    reports = [(name, tuple(c for c in cases if c.source == name)) for name in chosen]
    return ValidationReport(tuple(SourceReport(n, made) for n, made in reports if made), done)


def _only(
    cases: list[ComparedRow], what: str, name: str, of: Callable[[ComparedRow], Iterable[str]]
) -> list[ComparedRow]:
    """Return the rows of a device or kind.

    Raises
    ------
    UsageError
        DS610 where there is none.
    """
    kept = [case for case in cases if name in of(case)]
    if not kept:
        known = sorted({n for case in cases for n in of(case)})
        raise _unknown(f"validated {what}", name, known, f"leave --{what} out for all")
    return kept


def _unknown(what: str, value: str, known: list[str], otherwise: str) -> UsageError:
    near = nearest(value, known)
    return UsageError(
        "DS610",
        f"unknown {what} {value!r}",
        value=value,
        rule=f"one of {', '.join(known)}",
        fix=f"did you mean {near!r}?" if near else otherwise,
    )


__all__ = [
    "KINDS",
    "SPLITS",
    "ComparedRow",
    "Errors",
    "SourceReport",
    "ValidationReport",
    "compare",
    "validate",
]
