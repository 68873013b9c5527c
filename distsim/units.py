"""Quantities: a number with its unit at the file boundary, an SI float inside.

Decimal prefixes are powers of 1000 (GB = 10^9 bytes), binary ones powers of 1024
(GiB = 2^30 bytes; IEC 80000-13), and a bit is 1/8 byte.
"""

from __future__ import annotations

import re
from itertools import pairwise
from math import isfinite

from distsim.errors import ValueProblem, nearest, show

#: The one relative tolerance: two answers that differ by less are the same.
REL_TOL = 1e-9

_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_SIZES = (
    {f"{p}B": f for p, f in (_DECIMAL | _BINARY).items()}
    | {f"{p}bit": f / 8 for p, f in _DECIMAL.items()}
)  # fmt: skip
_TIMES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0}

#: Units by dimension, with their size in the SI unit that the dimension is named for.
UNITS: dict[str, dict[str, float]] = {
    "bytes": _SIZES,
    "bytes_per_s": {f"{unit}/s": f for unit, f in _SIZES.items()},
    "s": _TIMES | {"min": 60.0, "h": 3600.0, "d": 86400.0},
    "flop": {f"{p}FLOP": f for p, f in _DECIMAL.items()},
    "flop_per_s": {f"{p}FLOP/s": f for p, f in _DECIMAL.items()},
    "hz": {f"{p}Hz": f for p, f in _DECIMAL.items()},
    "1": {"": 1.0, "%": 0.01},
}
_EXAMPLES = {
    "bytes": "a size such as 80 GB or 25 MiB",
    "bytes_per_s": "a bandwidth such as 25 GB/s or 400 Gbit/s",
    "s": "a duration such as 2 us or 1.5 ms",
    "flop": "an amount of work such as 1 TFLOP",
    "flop_per_s": "a compute rate such as 312 TFLOP/s",
    "hz": "a frequency such as 1.41 GHz",
    "1": "a plain number such as 0.9",
}
_RATES = frozenset({"bytes_per_s", "flop_per_s", "hz"})
_QUANTITY = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\D\S*)?", re.ASCII)
_SPOKEN = (  # how people also write units, and what they mean
    (re.compile(r"([kKMGTP])(?:b|bps|bits?ps|bits/s|b/s)"), r"\1bit/s"),
    (re.compile(r"([kKMGTPE]?)FLOP(?:S|s|ps)", re.IGNORECASE), r"\1FLOP/s"),
    (re.compile(r"([KMGTP]i?)Bps"), r"\1B/s"),
    (re.compile(r"(?:sec|secs|seconds?)"), "s"),
    (re.compile(r"bytes?"), "B"),
)


def parse(text: object, dimension: str, *, path: tuple[str | int, ...] = ()) -> float:
    """Return a quantity in SI units.

    Parameters
    ----------
    text : object
        As read from a file: ``"400 Gbit/s"``; the blank may be left out. For dimension ``"1"``
        also a bare number.
    dimension : {"bytes", "bytes_per_s", "s", "flop_per_s", "flop", "hz", "1"}
        What the quantity measures; the result is in that unit.
    path : tuple of str or int, optional
        Key path for the error.

    Raises
    ------
    ValueProblem
        DS210 unit missing, DS211 unit of another dimension, DS212 not a quantity, DS213 negative,
        zero (rates) or not finite.
    """
    number, unit = _split(text, dimension, path)
    factor = UNITS[dimension].get(unit)
    if factor is None:
        raise _bad_unit(text, unit, dimension, path)
    value = number * factor
    lowest_is_open = dimension in _RATES
    if not isfinite(value) or value < 0 or (lowest_is_open and value == 0):
        raise ValueProblem(
            "DS213",
            f"{show(text)} is out of range",
            path=path,
            value=text,
            rule=f"a finite {'rate > 0' if lowest_is_open else 'value >= 0'}: "
            f"{_EXAMPLES[dimension]}",
            fix="correct the number",
        )
    return value


def _split(text: object, dimension: str, path: tuple[str | int, ...]) -> tuple[float, str]:
    """Return the number and the unit as written."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        if abs(text) >= 1e300:  # a whole number may be too large for a float, or for str()
            return float("inf"), next(iter(UNITS[dimension]))
        if dimension == "1":
            return float(text), ""
        raise _missing(text, dimension, path)
    match = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) and len(text) < 100 else None
    if match is None:
        raise ValueProblem(
            "DS212",
            f"{show(text)} is not a quantity",
            path=path,
            value=text,
            rule=f"a number and its unit: {_EXAMPLES[dimension]}",
            fix="write a number, a blank and a unit, without commas or underscores",
        )
    number, unit = match.groups()
    if unit is None and dimension != "1":
        raise _missing(text, dimension, path)
    return float(number), unit or ""


def _missing(text: object, dimension: str, path: tuple[str | int, ...]) -> ValueProblem:
    example = _EXAMPLES[dimension]
    unit = example.split(" such as ")[1].split(" or ")[0].split()[1]
    return ValueProblem(
        "DS210",
        f"{show(text)} has no unit",
        path=path,
        value=text,
        rule=f"{example}, with its unit",
        fix=f"write the unit, for example {str(text).strip()[:30]} {unit}",
    )


def _bad_unit(text: object, unit: str, dimension: str, path: tuple[str | int, ...]) -> ValueProblem:
    other = next((name for name, units in UNITS.items() if unit in units), None)
    rule = _EXAMPLES[dimension]
    if other is not None:
        return ValueProblem(
            "DS211",
            f"{show(text)} is {_EXAMPLES[other].split(' such as ')[0]}, "
            f"not {rule.split(' such as ')[0]}",
            path=path,
            value=text,
            rule=rule,
            fix=f"use one of {', '.join(u for u in UNITS[dimension] if u.isascii() and u)}"
            if dimension != "1"
            else "leave the unit out",
        )
    meant = _spoken(unit, dimension) or nearest(unit, UNITS[dimension])
    return ValueProblem(
        "DS212",
        f"{show(text)}: unknown unit {show(unit)}",
        path=path,
        value=text,
        rule=f"{rule}; B is a byte and bit is a bit",
        fix=f"did you mean {meant!r}?" if meant else "use a unit as the rule shows",
    )


def _spoken(unit: str, dimension: str) -> str | None:
    for pattern, meant in _SPOKEN:
        if match := pattern.fullmatch(unit):
            name = match.expand(meant).replace("K", "k", 1)
            for candidate in (name, name.removesuffix("/s")):
                if candidate in UNITS[dimension]:
                    return candidate
    return None


_TIME_STEPS = (
    (1e-9, "ns"), (1e-6, "us"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"),
    (86400.0, "d"),
)  # fmt: skip
_DECIMAL_STEPS = tuple((factor, prefix) for prefix, factor in _DECIMAL.items())
_COUNT_STEPS = ((1e6, "M"), (1e9, "B"), (1e12, "T"))


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> tuple[str, str]:
    """Return `value` to four significant digits and the step that suits it.

    A step is taken only when the rounded number is below the next one, so 999.96 ms is 1 s.
    """
    for (factor, name), (above, _) in pairwise(steps):
        digits, ratio = _digits(value / factor), above / factor
        # Minutes, hours and days begin at twice their size: 90 s reads better than 1.5 min.
        if abs(float(digits)) < (ratio if ratio > 100 else 2 * ratio):
            return digits, name
    factor, name = steps[-1]
    return _digits(value / factor), name


def _digits(value: float) -> str:
    text = f"{value:.4g}"
    return f"{value:.0f}" if "e+" in text else text


def _with_unit(value: float, unit: str) -> str:
    if not isfinite(value):
        return f"{value} {unit}"
    digits, prefix = _scaled(value, _DECIMAL_STEPS)
    return f"{digits} {prefix}{unit}"


def fmt_s(value_s: float) -> str:
    """Return a duration for people, four significant digits: ``"12.4 ms"``."""
    if value_s == 0 or not isfinite(value_s):
        return f"{value_s:.0f} s"
    return " ".join(_scaled(value_s, _TIME_STEPS))


def fmt_bytes(value_bytes: float) -> str:
    """Return a size for people in powers of 1000: ``"80 GB"``."""
    return _with_unit(value_bytes, "B")


def fmt_bytes_per_s(value_bytes_per_s: float) -> str:
    """Return a bandwidth for people: ``"25 GB/s"``."""
    return _with_unit(value_bytes_per_s, "B/s")


def fmt_flop_per_s(value_flop_per_s: float) -> str:
    """Return a compute rate for people: ``"312 TFLOP/s"``."""
    return _with_unit(value_flop_per_s, "FLOP/s")


def fmt_count(value: float) -> str:
    """Return a count for people: ``"98,304"``, and ``"174.6B"`` (10^9) from a million on."""
    if not isfinite(value):
        return str(value)
    if abs(value) < 1e6:
        return f"{value:,.0f}" if float(value).is_integer() else _digits(value)
    return "".join(_scaled(value, _COUNT_STEPS))
