"""What a sweep varies: keys of a scenario, and their values as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import isfinite
from typing import Any

from distsim.errors import DistsimError, Place, UsageError, show
from distsim.scenario.plain import plain
from distsim.units import REL_TOL, UNITS
from distsim.yamlparse import parse_yaml

#: Most values of one key.
MAX_VALUES = 100_000
DEVICES = "cluster.devices"

_END = (
    r"\s*(?P<{0}>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<{0}_unit>[A-Za-zµμ%][\w/%]*)?\s*"
)
_RANGE = re.compile(
    f"{_END.format('low')}:{_END.format('high')}"
    rf"(?::\s*(?P<how>[x*+]?){_END.format('by')})?"
)
_LOOKS_LIKE_RANGE = re.compile(r"\s*[-+]?[\d.]+[^,:]*:\s*(?:[-+]?[\d.]|$)")
_OPEN, _CLOSE = "[{", "]}"


@dataclass(frozen=True, slots=True)
class Axis:
    """A key of the scenario and the values it takes.

    Attributes
    ----------
    key : str
        Dotted: ``plan.tp``.
    values : tuple
        Plain values: numbers, texts, lists, mappings, None.
    option : str
        The option that gave it, for messages: ``--set``.
    """

    key: str
    values: tuple[Any, ...]
    option: str = "--set"

    @property
    def path(self) -> tuple[str, ...]:
        """The parts of the key."""
        return tuple(self.key.split("."))

    @property
    def name(self) -> str:
        """Name of its column: the key, and ``devices`` for the number of devices."""
        return "devices" if self.key == DEVICES else self.key

    def place(self, value: object) -> Place:
        """Return where a value comes from, for messages."""
        shown = value if isinstance(value, str | int | float) else show(value)
        given = f"{shown}" if self.option == "--devices" else f"{self.key}={shown}"
        return Place(f"{self.option} {given}")


def axis(text: str, option: str = "--set", *, repeats: bool = False) -> Axis:
    """Return the axis of ``KEY=VALUES``; see `values`.

    Parameters
    ----------
    option : str
        Where it was given, for messages.
    repeats : bool
        Whether a value may come twice.

    Raises
    ------
    UsageError
        DS620 not KEY=VALUES, DS660 not values.
    """
    key, equals, rest = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise UsageError(
            "DS620",
            f"{show(text)} is not KEY=VALUES" if not equals else f"{show(key)} is not a key",
            value=text,
            rule="KEY=VALUES with a dotted key",
            fix="write it as plan.tp=1,2,4",
            place=Place(f"{option} {show(text)[1:-1]}"),
        )
    place = Place(f"{option} {show(text)[1:-1]}")
    return Axis(key, values(rest, place, repeats=repeats), option)


def devices_axis(given: str | int | Iterable[int]) -> Axis:
    """Return the axis of numbers of devices: ``8:1024:x2``, or numbers.

    Raises
    ------
    UsageError
        DS660.
    """
    place = Place(f"--devices {given if isinstance(given, str) else ''}".strip())
    found: tuple[Any, ...]
    if isinstance(given, str):
        found = values(given, place)
    else:
        numbers: list[Any] = [given] if isinstance(given, int) else list(given)
        found = _distinct(plain(numbers))
    wrong = [v for v in found if not isinstance(v, int) or isinstance(v, bool) or v < 1]
    if wrong or not found:
        what = f"{show(wrong[0])} is no number of devices" if wrong else "no number of devices"
        raise _bad(what, given, "whole numbers of at least 1", place)
    return Axis(DEVICES, found, "--devices")


def axis_of(key: str, given: object, option: str = "set_", *, repeats: bool = False) -> Axis:
    """Return the axis of a key and its values: a text as `values` takes it, a sequence, or one.

    Raises
    ------
    UsageError
        DS660.
    ValueProblem
        DS202 for values that have no plain form.
    """
    place = Place(f"{option} {key}")
    if isinstance(given, str):
        return Axis(key, values(given, place, repeats=repeats), option)
    many = given if isinstance(given, Sequence | range) else [given]
    listed = plain(list(many))
    found = tuple(listed) if repeats else _distinct(listed)
    if not found:
        raise _bad("no values", given, "at least one value", place)
    return Axis(key, found, option)


def values(text: str, place: Place | None = None, *, repeats: bool = False) -> tuple[Any, ...]:
    """Return the values that a text lists.

    Parts between commas are single values, read as YAML, or ranges: ``8:64`` doubles from 8 up to
    64, ``8:512:x4`` multiplies by 4, ``8:64:+8`` and ``8:64:8`` add 8. The ends of a range may
    have units. Commas and colons inside brackets or quotes do not count. Whole ends give whole
    numbers; a value that comes twice counts once, unless `repeats`.

    Raises
    ------
    UsageError
        DS660, with what is wrong in it.

    Examples
    --------
    >>> values("1:8,12:20:+4"), values("1MiB:16MiB:x4"), values("none,[8, 8]")
    ((1, 2, 4, 8, 12, 16, 20), ('1 MiB', '4 MiB', '16 MiB'), ('none', [8, 8]))
    """
    place = place or Place("--set")
    found: list[Any] = []
    for part in _parts(text):
        if not part.strip():
            raise _bad(f"{show(text)} has an empty value", text, _RULE, place)
        if _LOOKS_LIKE_RANGE.match(part):
            found += _range(part, place)
        else:
            found.append(_value(part, place))
        if len(found) > MAX_VALUES:
            raise _bad(f"{show(text)} has too many values", text, f"at most {MAX_VALUES}", place)
    return tuple(found) if repeats else _distinct(found)


_RULE = "values parted by commas, ranges as 8:64, 8:64:x4 or 8:64:+8"


def _parts(text: str) -> Iterator[str]:
    """Yield what stands between the commas that are outside of brackets and quotes."""
    depth, quote, begin = 0, "", 0
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'" and not text[begin:at].strip(" \t" + _OPEN):
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
        elif letter == "," and depth <= 0:
            yield text[begin:at]
            begin = at + 1
    yield text[begin:]


def _value(text: str, place: Place) -> Any:
    try:
        value, _ = parse_yaml(text, place.file)
    except DistsimError as error:
        error.place = place
        raise
    return plain(value)


def _distinct(found: Iterable[Any]) -> tuple[Any, ...]:
    # By text, for lists do not hash, and True is not 1.
    return tuple({repr(value): value for value in found}.values())


def _range(text: str, place: Place) -> Iterator[Any]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise _bad(f"{show(text)} is no range", text, _RULE, place)
    low, unit = float(match["low"]), match["low_unit"] or ""
    high = _in_unit(match, "high", unit, text, place)
    factor, step = _growth(match, unit, text, place)
    least = "more than 0" if factor else "at least 0"
    if not (isfinite(high) and low <= high and (low > 0 if factor else low >= 0)):
        rule = f"a range begins at {least}, and its end is not below its beginning"
        raise _bad(f"{show(text)} is no range that runs upwards", text, rule, place)
    whole = not unit and _is_whole(match["low"]) and _is_whole(match["high"])
    whole = whole and (bool(factor) or float(step).is_integer())
    for index in count():
        # From the first value each time, so that errors do not grow.
        value = low * factor**index if factor else low + step * index
        if value > high * (1 + REL_TOL):
            return
        if index > MAX_VALUES:
            raise _bad(f"{show(text)} has too many values", text, f"at most {MAX_VALUES}", place)
        yield _written(value, unit, whole)


def _written(value: float, unit: str, whole: bool) -> int | float | str:
    """Return a value of a range as it would be written: no digits that only rounding made."""
    if whole:
        return round(value)
    tidy = float(f"{value:.12g}")
    if not unit:
        return tidy
    return f"{int(tidy) if tidy.is_integer() else tidy!r} {unit}"


def _is_whole(text: str) -> bool:
    return text.lstrip("+-").isdecimal()


def _growth(match: re.Match[str], unit: str, text: str, place: Place) -> tuple[float, float]:
    """Return the factor or the step of a range; the other one is 0."""
    if match["by"] is None:
        return 2.0, 0.0
    if match["how"] in ("x", "*"):
        factor = float(match["by"])
        if not (1.0 < factor < 1e6) or match["by_unit"]:
            raise _bad(f"{show(text)} never gets to its end", text, "a factor above 1", place)
        return factor, 0.0
    step = _in_unit(match, "by", unit, text, place)
    if not step > 0:
        raise _bad(f"{show(text)} never gets to its end", text, "a step above 0", place)
    return 0.0, step


def _in_unit(match: re.Match[str], end: str, unit: str, text: str, place: Place) -> float:
    """Return a number of a range in the unit of its beginning."""
    number, own = float(match[end]), match[f"{end}_unit"] or ""
    if own == unit:
        return number
    for units in UNITS.values():
        if own and unit and own in units and unit in units:
            return number * units[own] / units[unit]
    rule = "both ends of a range and its step are in units of one kind, or in none"
    raise _bad(f"{show(text)} mixes {unit or 'no unit'} and {own or 'no unit'}", text, rule, place)


def _bad(message: str, value: object, rule: str, place: Place) -> UsageError:
    fix = "write 8:1024:x2, 8:64:+8, or 8,16,32"
    return UsageError("DS660", message, value=value, rule=rule, fix=fix, place=place)
