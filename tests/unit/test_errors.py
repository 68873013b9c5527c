"""The error tree and the table of codes."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from distsim.errors import (
    CODES,
    BadInput,
    DistsimError,
    Failed,
    InfeasibleError,
    Place,
    PlanError,
    UsageError,
    code_info,
    markdown,
    nearest,
    show,
)

ROOT = Path(__file__).parents[2]


def _codes_in_source() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted((ROOT / "distsim").rglob("*.py")):
        if file.parent.name != "codes":
            for code in re.findall(r"[\"'](DS\d{3})[\"']", file.read_text(encoding="utf-8")):
                found[code] = str(file.relative_to(ROOT))
    return found


def test_every_code_that_is_raised_is_explained() -> None:
    assert {c: f for c, f in _codes_in_source().items() if c not in CODES} == {}


def test_every_code_that_is_explained_is_raised() -> None:
    assert sorted(set(CODES) - set(_codes_in_source())) == []


def test_codes_are_sorted_and_explained_in_sentences() -> None:
    assert list(CODES) == sorted(CODES)
    for code, info in CODES.items():
        assert re.fullmatch(r"DS[1-7]\d\d", code)
        assert info.title and info.explanation.endswith(".") and info.fix.endswith("."), code


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    update = "python -c 'from distsim.errors import markdown; print(markdown(), end=\"\")'"
    assert page == markdown(), f"run: {update} > docs/errors.md"


@pytest.mark.parametrize("spelling", ["DS301", "ds301", " 301 "])
def test_a_code_is_looked_up(spelling: str) -> None:
    assert code_info(spelling) is CODES["DS301"]


def test_an_unknown_code_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        code_info("DS3001")
    assert caught.value.code == "DS601"
    assert "DS301" in caught.value.fix


def test_exit_codes() -> None:
    assert PlanError("DS301", "x").exit_code == 2
    assert InfeasibleError("DS501", "x").exit_code == 1
    assert issubclass(PlanError, BadInput) and issubclass(InfeasibleError, Failed)


def test_the_text_shows_place_code_key_rule_and_fix() -> None:
    error = PlanError("DS301", "no", path=("plan", "tp"), rule="tp >= 1", fix="set tp")
    error.at(Place("a.yaml", 3, 5)).at(Place("b.yaml", 9))
    assert str(error) == "a.yaml:3: DS301: no [plan.tp]\n  rule: tp >= 1\n  fix:  set tp"


def test_an_error_survives_the_way_between_processes() -> None:
    error = PlanError("DS301", "no", path=("plan",), value=3, place=Place("a", 1))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is PlanError
    assert (str(again), again.value, again.place) == (str(error), 3, Place("a", 1))


def test_nearest_and_show() -> None:
    assert nearest("ZERO_STAG", ["tp", "zero_stage"]) == "zero_stage"
    assert nearest("xyz", ["tp", "zero_stage"]) is None
    assert len(show("x" * 10**6)) <= 80
    assert "digits" in show(10**5000)
    assert issubclass(DistsimError, Exception)
