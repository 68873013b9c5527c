"""Conditions of --fail-if: what they mean, what is refused, and that nothing else ever happens."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distsim.cli import main
from distsim.errors import CheckFailed, DistsimError
from distsim.study.diff.condition import parse
from distsim.study.diff.tokens import OPERATORS, WORDS

RESULT: dict[str, Any] = {
    "scenario": "a",
    "step_s": 10.0,
    "mfu": 0.4,
    "tokens_per_s": 2000.0,
    "plan": {"tp": 8, "schedule": "1f1b", "overlap": True},
    "memory": {"peak_bytes": 70 * 2**30, "fits": True, "stages": [{"peak_bytes": 5e9}]},
    "interval": None,
    "links": {"classes": [{"bytes": 1e9, "name": "nvlink"}]},
    "warnings": ["x"],
}
BASE = RESULT | {"step_s": 8.0}


def holds(text: str, base: dict[str, Any] | None = None) -> bool:
    return parse(text).holds(RESULT, base)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mfu < 0.4", False),
        ("mfu <= 0.4", True),
        ("mfu < 40.1%", True),
        ("mfu<0.41", True),
        ("step_s > 9999 ms", True),
        ("step_s > 9 s and step_s < 0.2 min", True),
        ("step_s == 10", True),
        ("memory.peak_bytes > 70 GiB", False),
        ("memory.peak_bytes > 70GB", True),
        ("memory.peak_bytes >= 70GiB", True),
        ("memory.stages.0.peak_bytes == 5 GB", True),
        ("links.classes.0.bytes != 1e9", False),
        ("plan.tp == 8 and plan.schedule == '1f1b'", True),
        ('plan.schedule != "gpipe"', True),
        ("not memory.fits", False),
        ("memory.fits", True),
        ("plan.overlap == true and not false", True),
        ("1 + 2 * 3 == 7", True),
        ("(1 + 2) * 3 == 9", True),
        ("8 / 2 / 2 == 2", True),
        ("10 - 2 - 3 == 5", True),
        ("-2 * -3 == 6", True),
        ("2 - -1 == 3", True),
        ("mfu < 0.1 or mfu > 0.3 and step_s > 1", True),
        ("(mfu < 0.1 or mfu > 0.3) and step_s > 100", False),
        ("not mfu < 0.1 and step_s > 100", False),
        ("not (mfu < 0.1 and step_s > 100)", True),
        ("memory.peak_bytes / step_s > 7 GB/s", True),
        ("tokens_per_s * step_s == 20000", True),
        ("mfu > 1 and missing > 2", False),
        ("mfu < 1 or missing > 2", True),
        (".5 < 1e0", True),
        ("3 h > 2 min", True),
    ],
)
def test_meaning(text: str, expected: bool) -> None:
    assert holds(text) is expected


def test_base_is_what_it_is_compared_with() -> None:
    assert holds("step_s > 1.2 * base.step_s", BASE)
    assert not holds("step_s > 1.3 * base.step_s", BASE)
    assert holds("base.memory.peak_bytes == memory.peak_bytes", BASE)


def test_what_fails_says_the_values() -> None:
    condition = parse(" mfu < 0.5 and step_s > base.step_s ")
    with pytest.raises(CheckFailed) as caught:
        condition.check(RESULT, BASE)
    assert caught.value.code == "DS730" and caught.value.exit_code == 1
    assert caught.value.message == (
        "mfu < 0.5 and step_s > base.step_s holds: mfu is 0.4, step_s is 10, base.step_s is 8"
    )
    parse("mfu < 0.4").check(RESULT)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "mfu <", "< 0.4", "mfu 0.4", "mfu = 0.4", "mfu < 0.4 and", "and mfu < 1",
        "(mfu < 1",
        "mfu < 1)", "mfu < 0.4 0.5", "1 < 2 < 3", "mfu < 70 XB", "mfu < 1.2.3", "mfu ** 2 > 1",
        "mfu < 0.4; import os", "__import__('os').system('x')", "mfu[0] > 1", "step_s > 5 minutes",
        "mfu < $HOME", "a" * 2000, "(" * 500 + "1" + ")" * 500, "not " * 500 + "true",
        "-" * 500 + "1",
        "mfu < 'x", "mfu < 1_000", "mfu..x < 1", "mfu. < 1",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(DistsimError) as caught:
        parse(text)
    assert caught.value.code == "DS731" and caught.value.fix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mfuu < 1", "did you mean mfu?"),
        ("memory.peak < 1", "memory.peak_bytes"),
        ("plan < 1", "no single value"),
        ("interval < 1", "nothing"),
        ("interval.low_s < 1", "no key"),
        ("warnings == 1", "no single value"),
        ("memory.stages.7.peak_bytes < 1", "no key"),
        ("scenario < 1", "cannot be compared"),
        ("scenario < 'b'", "cannot be compared"),
        ("memory.fits < 1", "cannot be compared"),
        ("mfu", "0.4"),
        ("mfu + 1", "1.4"),
        ("scenario", "'a'"),
        ("not mfu", "neither true nor false"),
        ("mfu and true", "neither true nor false"),
        ("1 / 0 > 1", "divides by 0"),
        ("1e300 * 1e300 > 1", "too large"),
        ("step_s > 70 GiB", "s and bytes"),
        ("memory.peak_bytes > 3 s", "bytes and s"),
        ("step_s + memory.peak_bytes > 1", "s and bytes"),
        ("scenario + 1 > 2", "no calculation"),
        ("base.step_s > 1", "nothing to compare with"),
        ("mfu.__class__ == 1", "no key"),
    ],
)
def test_what_cannot_be_checked_is_refused(text: str, said: str) -> None:
    with pytest.raises(DistsimError) as caught:
        holds(text)
    assert caught.value.code == "DS732"
    assert said in str(caught.value)


_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@given(
    st.lists(st.tuples(st.sampled_from("+-*"), st.integers(1, 50)), min_size=1, max_size=6),
    st.integers(1, 50),
    st.sampled_from(sorted(_COMPARE)),
    st.integers(-1000, 1000),
)
def test_arithmetic_is_that_of_python(
    terms: list[tuple[str, int]], first: int, sign: str, limit: int
) -> None:
    text = f"{first}" + "".join(f" {op} {n}" for op, n in terms)
    # The oracle alone evaluates code, of digits and signs that it made itself.
    expected = _COMPARE[sign](eval(text), limit)
    assert holds(f"{text} {sign} {limit}") is expected


_PIECES = [
    *OPERATORS,
    *WORDS,
    "mfu",
    "step_s",
    "base.step_s",
    "1",
    "70 GiB",
    "2 s",
    "'a'",
    "%",
    ".",
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(_PIECES)).map(" ".join)))
@example("0x10 < 1")
@example("1e999 > 1")
@example("\u0663 < 4")
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        found = parse(text).holds(RESULT, BASE)
    except DistsimError as error:
        assert error.code in ("DS731", "DS732")
    else:
        assert isinstance(found, bool)


def test_run_exits_with_1_when_one_holds(capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "gpt3-175b-1024xa100", "--json"]
    assert main([*run, "--fail-if", "mfu < 0.01", "--fail-if", "step_s > 1 h"]) == 0
    assert main([*run, "--fail-if", "mfu < 0.01", "--fail-if", "memory.peak_bytes > 1 GB"]) == 1
    captured = capsys.readouterr()
    assert "DS730: memory.peak_bytes > 1 GB holds: memory.peak_bytes is " in captured.err
    assert captured.out.count('"step_s"') == 2
    assert main([*run, "--fail-if", "mfu <"]) == 2
    assert main([*run, "--fail-if", "mfo < 1"]) == 2
    assert main([*run, "--fail-if", "base.mfu < 1"]) == 2
