"""Published measurements as scenarios."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distsim.errors import FileError, Place, ValueProblem
from distsim.files import read_text, shipped_directory

_COUNTS = ("devices", "global_batch", "micro_batch", "sequence", "tp", "pp", "virtual_stages", "zero_stage")  # fmt: skip
_TEXTS = ("id", "source", "url", "date", "split", "model", "topology", "schedule", "recompute", "precision", "stack")  # fmt: skip
COLUMNS = (*_TEXTS, *_COUNTS, "sequence_parallel", "measured_s", "derived", "tflops_per_device", "notes")  # fmt: skip
SPLITS = ("calibration", "held_out")


@dataclass(frozen=True, slots=True)
class ValidationRow:
    """One published run.

    Attributes
    ----------
    split : str
        ``calibration`` (parameters were fitted on it) or ``held_out``.
    measured_s : float
        Time of one optimizer step.
    scenario : dict
        The run as a scenario.
    """

    id: str
    split: str
    measured_s: float
    scenario: dict[str, Any]


def sources() -> dict[str, Path]:
    """Return the shipped files of measurements by name."""
    return {p.stem: p for p in sorted(Path(shipped_directory("validation")).glob("*.csv"))}


def _bad(file: str, line: int, message: str, rule: str) -> ValueProblem:
    return ValueProblem(
        "DS240", message, rule=rule, fix="mend the row; see validation/README.md", place=Place(file, line)
    )  # fmt: skip


def rows(path: Path) -> list[ValidationRow]:
    """Read a file of measurements.

    Raises
    ------
    FileError
        DS1xx for the file, DS107 where columns are missing.
    ValueProblem
        DS240 for a row, with its line.
    """
    reader = csv.DictReader(read_text(path).splitlines())
    missing = [c for c in COLUMNS if c not in (reader.fieldnames or [])]
    if missing:
        raise FileError(
            "DS107", f"{path} has no column {', '.join(missing)}", value=missing,
            place=Place(str(path), 1), rule=f"columns {', '.join(COLUMNS)}", fix="add the columns",
        )  # fmt: skip
    return [_row(raw, str(path), number) for number, raw in enumerate(reader, start=2)]


def _row(raw: dict[str, str], file: str, line: int) -> ValidationRow:
    count: dict[str, int] = {}
    for name in _COUNTS:
        try:
            count[name] = int(raw[name])
        except (TypeError, ValueError):
            raise _bad(file, line, f"{name} is {raw[name]!r}", "a whole number") from None
    try:
        measured = float(raw["measured_s"])
    except (TypeError, ValueError):
        measured = 0.0
    if not 0.0 < measured < float("inf"):
        raise _bad(file, line, f"measured_s is {raw['measured_s']!r}", "seconds, greater than 0")
    if raw["split"] not in SPLITS:
        raise _bad(file, line, f"split is {raw['split']!r}", f"one of {', '.join(SPLITS)}")
    if raw["sequence_parallel"] not in ("true", "false"):
        raise _bad(file, line, f"sequence_parallel is {raw['sequence_parallel']!r}", "true or false")
    return ValidationRow(raw["id"], raw["split"], measured, _scenario(raw, count))


def _scenario(raw: dict[str, str], count: dict[str, int]) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": raw["id"],
        "cluster": {"topology": raw["topology"], "devices": count["devices"]},
        "model": raw["model"],
        "batch": {
            "global_size": count["global_batch"],
            "micro_size": count["micro_batch"],
            "sequence_length": count["sequence"],
        },
        "plan": {
            "tp": count["tp"],
            "pp": count["pp"],
            "schedule": raw["schedule"],
            "virtual_stages": count["virtual_stages"],
            "zero_stage": count["zero_stage"],
            "sequence_parallel": raw["sequence_parallel"] == "true",
            "recompute": raw["recompute"],
        },
        "precision": raw["precision"],
        "stack": raw["stack"],
    }
