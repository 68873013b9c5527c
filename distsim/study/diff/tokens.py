"""Words of a condition: numbers with their units, keys of a result, operators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from distsim.errors import UsageError, show
from distsim.units import UNITS

#: Characters of a condition.
LONGEST = 1000
OPERATORS = ("<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "(", ")")
WORDS = ("and", "or", "not", "true", "false")

_BLANK = re.compile(r"\s+")
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
_TEXT = re.compile(r"'([^']*)'|\"([^\"]*)\"")
#: Units with the dimension that they are of, the longest first: ``GB/s`` before ``GB``.
_UNITS = sorted(
    ((unit, dimension) for dimension, units in UNITS.items() for unit in units if unit),
    key=lambda pair: -len(pair[0]),
)


class Token(NamedTuple):
    """One word.

    Attributes
    ----------
    kind : str
        ``number``, ``name``, ``text``, ``word``, ``operator``, or ``end``.
    text : str
        As written.
    at : int
        Where, in characters from 0.
    value : float
        Of a number, in SI units.
    dimension : str
        Of a number, as in `distsim.units.UNITS`; empty for a plain one.
    """

    kind: str
    text: str
    at: int
    value: float = 0.0
    dimension: str = ""


def tokens(text: str) -> Iterator[Token]:
    """Yield the words of a condition, and ``end``.

    Raises
    ------
    UsageError
        DS731.
    """
    if len(text) > LONGEST:
        raise bad(text, LONGEST, f"it has {len(text):,} characters")
    at = 0
    while at < len(text):
        if match := _BLANK.match(text, at):
            at = match.end()
            continue
        token = _token(text, at)
        yield token
        at += len(token.text)
    yield Token("end", "", at)


def _token(text: str, at: int) -> Token:
    if match := _NUMBER.match(text, at):
        return _quantity(text, at, match)
    if match := _NAME.match(text, at):
        return Token("word" if match[0] in WORDS else "name", match[0], at)
    if match := _TEXT.match(text, at):
        return Token("text", match[0], at)
    for operator in OPERATORS:
        if text.startswith(operator, at):
            return Token("operator", operator, at)
    raise bad(text, at, f"{show(text[at])} means nothing here")


def _quantity(text: str, at: int, number: re.Match[str]) -> Token:
    """Return a number with the unit that stands behind it, if any."""
    end = number.end()
    blank = _BLANK.match(text, end)
    begin = blank.end() if blank else end
    for unit, dimension in _UNITS:
        stop = begin + len(unit)
        if text.startswith(unit, begin) and not _NAME.match(text[stop : stop + 1] or " "):
            value = float(number[0]) * UNITS[dimension][unit]
            plain = "" if dimension == "1" else dimension
            return Token("number", text[at:stop], at, value, plain)
    if name := _NAME.match(text, begin):
        if name[0] not in WORDS:
            raise bad(text, begin, f"{show(name[0])} is no unit")
    elif end < len(text) and text[end] == ".":
        raise bad(text, at, "a number has one point")
    return Token("number", number[0], at, float(number[0]))


def bad(text: str, at: int, why: str) -> UsageError:
    """Return the error of a condition that cannot be read."""
    return UsageError(
        "DS731",
        f"the condition {show(text)} cannot be read: {why} (character {at + 1})",
        value=text,
        rule="comparisons of keys of the result and numbers, joined by and, or, not: "
        "mfu < 0.4, memory.peak_bytes > 70 GiB or step_s > 1.05 * base.step_s",
        fix="put it in quotes, so that the shell leaves < and > alone",
    )
