"""Numbers as logs print them, in whatever locale."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite

#: A number with what may separate its digits: dots, commas, apostrophes and narrow blanks.
NUMBER = (
    r"(?:[-+]?(?:[0-9](?:[.,'\u2019\u00a0\u202f]?[0-9])*(?:[eE][-+]?[0-9]{1,4})?"
    r"|nan\b|inf(?:inity)?\b))"
)
_NUMBER = re.compile(NUMBER, re.IGNORECASE)
#: Nearly all numbers.
_PLAIN = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_SEPARATORS = re.compile("['\u2019\u00a0\u202f]")
#: Groups of three digits, which a comma or a dot may separate.
_GROUPS = {mark: re.compile(rf"[-+]?[1-9][0-9]{{0,2}}(?:\{mark}[0-9]{{3}})+") for mark in ",."}
_LONGEST = 60
#: Times outside of these are none of a training step, a kernel or a transfer.
_SHORTEST_S, _LONGEST_S = 1e-9, 1e6


def decimal_comma(texts: Iterable[str]) -> bool:
    """Say whether some of these numbers can only be read with a decimal comma.

    >>> decimal_comma(["1,234", "987,5"]), decimal_comma(["1,234", "1,234.5"])
    (True, False)
    """
    for text in texts:
        comma = text.find(",")
        if comma < 0 or text.count(",") > 1:
            continue
        dot = text.find(".")
        if (dot < 0 and not _GROUPS[","].fullmatch(text)) or 0 <= dot < comma:
            return True
    return False


def number(text: str, comma: bool = False) -> float | None:
    """Return the value of a number as it is printed; None for what is none.

    Parameters
    ----------
    comma : bool
        Read ``1,234`` as a fraction and not as a thousand, and ``1.234`` as a thousand.

    Examples
    --------
    >>> [number(text) for text in ("1234.5", "1234,5", "1,234.5", "1.234,5", "5,762")]
    [1234.5, 1234.5, 1234.5, 1234.5, 5762.0]
    >>> number("1,234", comma=True)
    1.234
    """
    if _PLAIN.fullmatch(text) and not comma:
        return float(text)
    text = text.strip()
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        return None
    plain = _SEPARATORS.sub("", text)
    mantissa, mark, exponent = plain.partition("e" if "e" in plain else "E")
    if mantissa.lower().lstrip("+-")[:1] in ("n", "i"):
        return float(plain)
    digits = _with_point(mantissa, comma)
    return float(digits + mark + exponent) if digits is not None else None


def _with_point(text: str, comma: bool) -> str | None:
    """Return the digits with a decimal point and nothing else between them."""
    dots, commas = text.count("."), text.count(",")
    if not dots and not commas:
        return text
    if dots and commas:
        last = "," if text.rfind(",") > text.rfind(".") else "."
        whole, fraction = text.rsplit(last, 1)
        other = "." if last == "," else ","
        return None if last in whole else f"{whole.replace(other, '')}.{fraction}"
    mark = "," if commas else "."
    if dots + commas > 1 or (comma == (mark == ".") and _GROUPS[mark].fullmatch(text)):
        return text.replace(mark, "") if _GROUPS[mark].fullmatch(text) else None
    return text.replace(",", ".")


def why_no_time(text: str, time_s: float | None) -> str | None:
    """Return why something is no time; None if it is one."""
    if time_s is None:
        return f"{text[:_LONGEST]!r} is no number"
    if not isfinite(time_s):
        return f"the time is {time_s}"
    if not _SHORTEST_S <= time_s <= _LONGEST_S:
        return f"{time_s:g} s is no time of a step (1 ns to 10^6 s)"
    return None
