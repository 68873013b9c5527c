"""The file of operator timings, format ``distsim-timings/1`` (docs/measure.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distsim.measure.cases import Case
from distsim.measure.timing import Timing

FORMAT = "distsim-timings/1"


@dataclass(frozen=True, slots=True)
class Measured:
    """A case and its time."""

    case: Case
    timing: Timing

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the file: the shape, then the times in seconds."""
        return {
            "kind": self.case.kind,
            **self.case.shape,
            "time_s": self.timing.time_s,
            "low_s": self.timing.low_s,
            "high_s": self.timing.high_s,
            "repeats": self.timing.repeats,
        }


@dataclass(frozen=True, slots=True)
class Skipped:
    """A case without a time, and why."""

    case: Case
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the file."""
        return {"kind": self.case.kind, **self.case.shape, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Timings:
    """All that was measured on one machine.

    Attributes
    ----------
    date : str
    device : Mapping[str, Any]
        ``name, kind, memory_bytes, multiprocessors, threads``.
    versions : Mapping[str, str]
        ``python, torch``, and ``cuda, hip, nccl`` where there are such.
    method : Mapping[str, Any]
        How times were taken: seconds and most calls of a batch, batches, bytes that operands
        rotate over, budget.
    measured : tuple of Measured
    skipped : tuple of Skipped
    notes : tuple of str
    """

    date: str
    device: Mapping[str, Any]
    versions: Mapping[str, str]
    method: Mapping[str, Any]
    measured: tuple[Measured, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the document, in SI units."""
        return {
            "format": FORMAT,
            "date": self.date,
            "device": dict(self.device),
            "versions": dict(self.versions),
            "method": dict(self.method),
            "timings": [entry.to_dict() for entry in self.measured],
            "skipped": [entry.to_dict() for entry in self.skipped],
            "notes": list(self.notes),
        }
