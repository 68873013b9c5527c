"""Predictions of all published runs as they were when `docs/accuracy.md` was written.

``validation/predictions.json`` ships with the measurements, so that errors are known without
predicting hundreds of runs anew. Tests predict a part of them and compare.
"""

from __future__ import annotations

import json

from distsim.study.validate import SourceReport, ValidationReport, compare
from distsim.study.validate_rows import rows, sources
from distsim.study.validation_known import NAME, OF, made_of, stored


def dumped(report: ValidationReport) -> str:
    """Return the text of the file that holds the predictions of a report."""
    content = {
        source.name: {
            case.id: {
                "value": float(f"{case.predicted:.9g}"),
                "device": case.device,
                "devices": case.devices,
                "precision": case.precision,
                "kinds": list(case.kinds),
            }
            for case in source.cases
        }
        for source in report.sources
    }
    lines = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"    {json.dumps(id_)}: {json.dumps(value)}" for id_, value in cases.items())
        + "\n  }"
        for name, cases in content.items()
    ]
    head = f"  {json.dumps(OF)}: {json.dumps(made_of())},\n"
    return "{\n" + head + ",\n".join(lines) + "\n}\n"


def stored_report() -> ValidationReport:
    """Return the report that the shipped predictions give.

    Raises
    ------
    KeyError
        For a row that has no prediction yet.
    """
    known = stored()
    reports = [
        SourceReport(name, tuple(compare(name, row, known[name][row.id]) for row in rows(path)))
        for name, path in sources().items()
    ]
    return ValidationReport(tuple(reports))


__all__ = ["NAME", "dumped", "stored", "stored_report"]
