"""The overview of the textbook: complete, and no scenario that does not run."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

import distsim as ds
from distsim.cli import cli
from tests.textbook import overview
from tests.textbook.book import PAGES, SCENARIOS, run

#: Examples that are required by number, and sections that have them.
REQUIRED = (
    "Example 1.8", "Example 1.9", "Example 10.8", "Example 1.15", "Section 10.5.1", "Example 2.5",
    "Example 2.6", "Example 2.11", "Example 2.13", "Example 10.7", "Section 11.2.6", "Example 2.8",
    "Section 11.7.1", "Example 2.17", "Section 11.5.3", "Example 2.18", "Section 11.6.3",
    "Example 2.19", "Exercise 2.9", "Exercise 11.5", "Example 2.12", "Example 10.9",
    "Section 11.11.1", "Section 11.11.2", "Section 11.11.3", "Section 3.3.1", "Section 4.3.3",
    "Section 4.3.4", "Section 5.3.1", "Section 5.5.3", "Section 6.2.1", "Section 6.6.2",
    "Section 8.4.1", "Section 9.9", "Section 11.8.3", "Section 11.8.5", "Section 11.9.1",
    "Section 11.9.3", "Section 11.9.4", "Exercise 11.8", "Exercise 11.7", "Notes 16.5",
    "Notes 16.5b",
)  # fmt: skip
#: What does not fit on the device that the book names.
TOO_LARGE = {"04-s6-gpt3-weights", "05-02-rgb-dense"}


def test_overview_lists_every_example() -> None:
    """As ``python -m tests.textbook.overview`` writes it."""
    assert overview.examples() in overview.OVERVIEW.read_text(encoding="utf-8")
    assert {path.stem for path in PAGES.glob("*.md")} == set(overview.ORDER)


def test_overview_gives_the_totals() -> None:
    text = overview.OVERVIEW.read_text(encoding="utf-8").partition(overview.BEGIN)[0]
    printed = [int(n.replace(",", "")) for n in re.findall(r"\*\*([\d,]+)\*\*", text)]
    totals = overview.totals()
    assert printed == [totals["sections"], len(overview.names()), *list(totals.values())[1:]]


def test_required_examples_are_there() -> None:
    found = {s.title.split(":")[0] for page in overview.ORDER for s in overview.sections(page)}
    assert set(REQUIRED) <= found
    assert len(found) >= 40


def test_every_section_runs_a_scenario_and_judges_its_rows() -> None:
    used: set[str] = set()
    for page in overview.ORDER:
        for section in overview.sections(page):
            assert section.scenarios, f"{page}, {section.title} names no scenario"
            assert section.verdicts, f"{page}, {section.title} has no table"
            used |= set(section.scenarios)
    assert used == set(overview.names())


@pytest.mark.parametrize("name", overview.names())
def test_scenario_runs(name: str) -> None:
    prediction = run(name)
    assert prediction.step_s > 0
    assert prediction.memory.fits == (name not in TOO_LARGE)


def test_scenarios_are_found_by_name() -> None:
    assert ds.load("textbook/01-08-square-gemm") == ds.load(SCENARIOS / "01-08-square-gemm.yaml")


def test_command_lists_and_shows_them() -> None:
    listed = CliRunner().invoke(cli, ["scenarios", "--textbook", "--json"])
    names = [row["name"] for row in json.loads(listed.output)["scenarios"]]
    assert names == [f"textbook/{name}" for name in overview.names()]
    shown = CliRunner().invoke(cli, ["scenarios", "show", "textbook/01-08-square-gemm"])
    assert shown.output == (SCENARIOS / "01-08-square-gemm.yaml").read_text(encoding="utf-8")
