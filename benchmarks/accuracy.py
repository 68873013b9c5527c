"""Predict all published runs; write validation/predictions.json and the tables of docs/accuracy.md.

Usage: python benchmarks/accuracy.py
"""

from __future__ import annotations

import os
import time
from math import log
from pathlib import Path

from distsim.report.accuracy import with_tables
from distsim.scenario.resolve import resolve
from distsim.study.interval import Validated, coverage, residuals_text, traits
from distsim.study.validate import ValidationReport, validate
from distsim.study.validate_rows import rows, sources
from distsim.study.validation_stored import NAME, dumped, stored_report

ROOT = Path(__file__).resolve().parent.parent


def write_residuals(report: ValidationReport) -> None:
    """Write what intervals rest on: traits and error of each step time."""
    shipped = {(name, row.id): row for name, file in sources().items() for row in rows(file)}
    found = [
        Validated(
            case.source,
            case.id,
            traits(resolve(shipped[case.source, case.id].load())),
            log(case.measured / case.predicted),
        )
        for case in report.steps
    ]
    target = ROOT / "distsim" / "data" / "accuracy" / "residuals.csv"
    target.parent.mkdir(exist_ok=True)
    target.write_text(residuals_text(found), encoding="utf-8")
    inside = coverage(found)
    for source, (count, share) in sorted(inside.items()):
        print(f"  {source:24} {count:4} rows, {share:.1%} inside their 90 % interval")
    print(f"  all: {sum(c * s for c, s in inside.values()) / len(found):.1%} of {len(found)}")


def main() -> None:
    """Write both files."""
    begin = time.perf_counter()
    report = validate(processes=os.cpu_count() or 1)
    print(f"{len(report.steps)} step times in {time.perf_counter() - begin:.0f} s")
    (ROOT / "validation" / NAME).write_text(dumped(report), encoding="utf-8")
    write_residuals(report)
    page = ROOT / "docs" / "accuracy.md"
    text = page.read_text(encoding="utf-8")
    # Of the stored digits, as the test that compares the page has them.
    page.write_text(with_tables(text, stored_report().to_dict()), encoding="utf-8")


if __name__ == "__main__":
    main()
