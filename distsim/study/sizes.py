"""Sizes of a collective as people write them, and as nccl-tests takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from math import isfinite

from distsim.errors import UsageError, show
from distsim.units import REL_TOL

#: Most sizes at once.
MAX_SIZES = 1000
#: Largest size, bytes.
MAX_BYTES = 1e18

_SIZE = re.compile(
    r"\s*(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(?P<unit>[kmgtpe]?i?b?|bytes?)\s*",
    re.ASCII | re.IGNORECASE,
)
_STEP = re.compile(r"[x*]\s*(?P<factor>\d+\.?\d*|\.\d+)", re.ASCII | re.IGNORECASE)
_PREFIXES = "kmgtpe"
_RULE = (
    "a number and B, kB, MB, GB, KiB, MiB, GiB; K, M, G alone are KiB, MiB, GiB as in nccl-tests"
)


def parse_sizes(text: str) -> list[float]:
    """Return the sizes of ``1kB:8GB``, ``1MiB:1GiB:x4``, ``8:64:+8`` or ``1MB,64MB``.

    A range doubles from its first size up to its last, or grows by the factor or the step given;
    it may be a part of a list. Units are those of `parse_size`; sizes are whole bytes.

    Raises
    ------
    UsageError
        DS612 for what is no range, or more than `MAX_SIZES` sizes.
    """
    out: list[float] = []
    for part in text.split(","):
        for size in _range(part) if ":" in part else (parse_size(part),):
            out.append(size)
            if len(out) > MAX_SIZES:
                raise _bad(text, "range of sizes", f"at most {MAX_SIZES} sizes")
    return out


def span(text: str) -> tuple[float, float]:
    """Return the smallest and the largest size that ranges and sizes name.

    The end of a range counts, whether or not a size falls on it.

    Raises
    ------
    UsageError
        DS612.
    """
    parse_sizes(text)
    ends = [parse_size(end) for part in text.split(",") for end in part.split(":")[:2]]
    return min(ends), max(ends)


def parse_size(text: str) -> float:
    """Return a size in bytes.

    Upper and lower case are the same, for nobody counts a collective in bits. With a B prefixes
    are those of distsim, kB = 1000 and KiB = 1024; without one they are those of nccl-tests'
    ``-b`` and ``-e``, K = 1024. A bare number is bytes.

    Raises
    ------
    UsageError
        DS612.

    Examples
    --------
    >>> [parse_size(text) for text in ("8", "1kb", "1 MB", "1MiB", "1M")]
    [8.0, 1000.0, 1000000.0, 1048576.0, 1048576.0]
    """
    match = _SIZE.fullmatch(text) if len(text) < 100 else None
    unit = match["unit"].lower() if match else ""
    if match is None or unit in ("i", "ib"):
        raise _bad(text, "size", _RULE)
    value = float(match["number"]) * _factor("" if unit.startswith("byte") else unit)
    if not (isfinite(value) and value <= MAX_BYTES):
        raise _bad(text, "size", f"at most {MAX_BYTES:.0e} bytes")
    if value != int(value):
        raise _bad(text, "size", "whole bytes")
    return value


def _factor(unit: str) -> float:
    prefix = unit[:1] if unit[:1] in _PREFIXES else ""
    if not prefix:
        return 1.0
    base = 1000.0 if unit == f"{prefix}b" else 1024.0
    return float(base ** (_PREFIXES.index(prefix) + 1))


def _range(text: str) -> Iterator[float]:
    parts = [part.strip() for part in text.split(":")]
    if len(parts) > 3:
        raise _bad(text, "range of sizes", "from:to, from:to:xFACTOR or from:to:+STEP")
    low, high = parse_size(parts[0]), parse_size(parts[1])
    if not 0 < low <= high:
        raise _bad(
            text, "range of sizes", "the first size is more than 0 and not larger than the last"
        )
    factor, step = _growth(text, parts[2] if len(parts) == 3 else "x2")
    last = 0.0
    for index in count():
        # From the first size each time, so that errors do not grow.
        size = low * factor**index if factor else low + step * index
        if size > high * (1 + REL_TOL):
            return
        if round(size) != last:
            last = float(round(size))
            yield last


def _growth(text: str, how: str) -> tuple[float, float]:
    """Return the factor or the step of a range; the other one is 0."""
    rule = "a factor as x4 with more than 1, or a step as +1MB with more than 0"
    if how.startswith("+"):
        step = parse_size(how[1:])
        if step > 0:
            return 0.0, step
    elif (match := _STEP.fullmatch(how)) and 1.0 < float(match["factor"]) < 1e6:
        return float(match["factor"]), 0.0
    raise _bad(text, "range of sizes", rule)


def _bad(text: str, what: str, rule: str) -> UsageError:
    return UsageError(
        "DS612", f"{show(text)} is no {what}", value=text, rule=rule, fix="write 1kB:8GB or 64MB"
    )
