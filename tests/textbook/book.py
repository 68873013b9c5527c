"""What the tests of textbook examples share: running a scenario, and reading the pages about it.

A page of ``docs/textbook`` has a section for each example, ``## Example 1.8: title``, with a table
``| quantity | distsim | book | who is right |``. `Page.row` finds a row and checks the numbers that
it prints, so that a page never says what a test did not compute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

import distsim as ds

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS, PAGES = ROOT / "scenarios" / "textbook", ROOT / "docs" / "textbook"
#: What the last column of a table may begin with.
VERDICTS = ("agree", "distsim", "book", "both")
_SCALE = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def load(name: str, *changes: str) -> Any:
    """Return the scenario of that name, without ``.yaml``."""
    return ds.load(SCENARIOS / f"{name}.yaml", list(changes))


@lru_cache(maxsize=256)
def run(name: str, *changes: str) -> Any:
    """Return the prediction of a scenario."""
    return ds.simulate(load(name, *changes))


@lru_cache(maxsize=256)
def anatomy(name: str, *changes: str) -> Mapping[str, Any]:
    """Return `distsim.operators` of a scenario."""
    return ds.operators(load(name, *changes))


def operator(name: str, op: str, *changes: str) -> Mapping[str, Any]:
    """Return one operator of a scenario; the first of that name."""
    rows = [r for r in anatomy(name, *changes)["operators"] if r["operator"] == op]
    assert rows, f"{name} has no operator {op}"
    return rows[0]


def value(text: str) -> tuple[float, float]:
    """Return a printed number in SI units, and half a unit of its last digit.

    ``312 TFLOP/s``, ``8.59 GFLOP``, ``1.5 GiB``, ``13 %``, ``2.1 ms``, ``25,557,032``, ``7.8e12``.
    """
    found = re.match(r"^(-?[\d,]*\.?\d+)(e[+-]?\d+)?\s*([^\s\d].*)?$", text.strip())
    assert found, f"{text!r} is no number with a unit"
    digits, power, unit = found.group(1).replace(",", ""), found.group(2) or "", found.group(3)
    half = 0.5 * 10.0 ** -(len(digits.partition(".")[2])) * float(f"1{power}")
    factor = _factor((unit or "").strip())
    return float(digits + power) * factor, half * factor


def _factor(unit: str) -> float:
    word = unit.split(" ")[0].split("/")[0]
    if word == "%":
        return 0.01
    if word in _TIMES:
        return _TIMES[word]
    if word[:2] in _BINARY and word[2:3] in ("", "B"):
        return _BINARY[word[:2]]
    if word[:1] in _SCALE and (word[1:] in ("", "B", "FLOP", "MAC", "MACs")):
        return _SCALE[word[:1]]
    assert not re.match(r"^[KkMGTP]i?(b|B|bit|FLOPS?)$", word), (
        f"{word!r}: write 10^3 as k, as in kB"
    )
    return 1.0


class Page:
    """A page of ``docs/textbook``.

    Parameters
    ----------
    name : str
        Of the file, without ``.md``.
    """

    def __init__(self, name: str) -> None:
        self.text = (PAGES / f"{name}.md").read_text(encoding="utf-8")

    def section(self, example: str) -> str:
        """Return the section of an example, such as ``Example 1.8`` or ``Section 11.9.4``."""
        parts = re.split(r"^## ", self.text, flags=re.MULTILINE)
        found = [p for p in parts if p.split("\n")[0].split(":")[0].strip() == example]
        assert len(found) == 1, f"{len(found)} sections for {example}"
        return found[0]

    def row(self, example: str, quantity: str, ours: float, book: float | None = None) -> None:
        """Check a row: that it prints our number and the book's, rounded as it prints them.

        Parameters
        ----------
        ours : float
            What distsim gives, in SI units (FLOP, bytes, seconds; a share of 1 for a percentage).
        book : float, optional
            What the book prints, likewise; None where it prints no such number (a dash).
        """
        for line in self.section(example).splitlines():
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            if len(cells) == 4 and cells[0] == quantity:
                break
        else:
            pytest.fail(f"{example} has no row {quantity!r}")
        _printed(cells[1], ours, f"{example}, {quantity}, distsim")
        if book is None:
            assert cells[2] == "-", f"{example}, {quantity}: the book's cell is {cells[2]!r}"
        else:
            _printed(cells[2], book, f"{example}, {quantity}, book")
        verdict = cells[3].split(":")[0].split(",")[0].strip()
        assert verdict in VERDICTS, f"{example}, {quantity}: verdict {verdict!r}"
        if verdict == "agree":
            printed, half = value(cells[2])
            assert abs(ours - printed) <= max(2 * half, 0.01 * abs(printed)), (
                f"{example}, {quantity}: {cells[1]} and {cells[2]} do not agree"
            )


def _printed(text: str, number: float, what: str) -> None:
    printed, half = value(text)
    slack = half * (1 + 1e-9) + 1e-12 * abs(number)
    assert abs(printed - number) <= slack, f"{what}: the page prints {text}, the test has {number}"
