"""docs/accuracy.md against the shipped predictions, and those against the present code."""

from __future__ import annotations

from pathlib import Path

import pytest

from distsim.report.accuracy import BEGIN, accuracy_tables, with_tables
from distsim.study.validate_rows import rows, sources
from distsim.study.validation_run import cost_of, predicted
from distsim.study.validation_stored import dumped, stored, stored_report

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"
FIX = "run python benchmarks/accuracy.py, read the difference, and commit it"


def test_tables_of_the_page_are_those_of_the_shipped_predictions() -> None:
    text, report = PAGE.read_text(encoding="utf-8"), stored_report().to_dict()
    assert all(BEGIN.format(name=name) in text for name in accuracy_tables(report))
    assert with_tables(text, report) == text, FIX


def test_there_is_one_prediction_for_every_row_and_no_other() -> None:
    ids = {name: [row.id for row in rows(path)] for name, path in sources().items()}
    assert {name: list(cases) for name, cases in stored().items()} == ids, FIX
    assert len(dumped(stored_report())) > 1000


@pytest.mark.parametrize("name", sources())
def test_shipped_predictions_are_those_of_the_code(name: str) -> None:
    """The least work of each split of a source; all of them take minutes."""
    shipped = stored()[name]
    chosen = {row.split: row for row in sorted(rows(sources()[name]), key=cost_of, reverse=True)}
    for row in chosen.values():
        now, then = predicted(row), shipped[row.id]
        assert now.value == pytest.approx(then.value, rel=1e-7), f"{row.id}: {FIX}"
        assert (now.device, now.precision, now.kinds) == (then.device, then.precision, then.kinds)
