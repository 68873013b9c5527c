"""Unequal shares of an all-to-all, from a file or by a skew, and how uneven they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.collectives.flows import MAX_MESSAGES
from distsim.collectives.unequal import SKEWS, by_popularity, in_proportion, loads
from distsim.errors import Place, UsageError, ValueProblem, show
from distsim.files import Limits, read_text

Floats = npt.NDArray[np.float64]

LIMITS = Limits(size_bytes=64_000_000)
#: Parameters that a skew may have: beyond them all goes to one member, or all are equal.
_RANGES = {"zipf": (0.0, 100.0), "dirichlet": (1e-3, 1e6)}


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """What everyone sends to everyone, in proportion.

    Attributes
    ----------
    label : str
        Where it comes from.
    matrix : float64[n, n]
        Row: sender, column: receiver; bytes over S, what members send on average, their own share
        included.
    """

    label: str
    matrix: Floats


@dataclass(frozen=True, slots=True)
class Balance:
    """How uneven shares are.

    Attributes
    ----------
    slowest_member : int
        The one that sends or receives the most, of those that do the first.
    slowest_device : str
    side : str
        ``sends`` or ``receives``.
    imbalance : float
        What that is, over the mean of all members: 1 where all are alike.
    sent_imbalance, received_imbalance : float
        The most that any member sends, and receives, over the mean.
    """

    label: str
    slowest_member: int
    slowest_device: str
    side: str
    imbalance: float
    sent_imbalance: float
    received_imbalance: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def balance(shares: Shares, labels: list[str]) -> Balance:
    """Return how uneven shares are.

    Parameters
    ----------
    labels : list of str
        Name of the device of each member.
    """
    sent, received = loads(shares.matrix)
    mean = float(sent.mean())
    most = np.maximum(sent, received)
    slowest = int(most.argmax())
    over = [float(side.max()) / mean if mean > 0 else 1.0 for side in (most, sent, received)]
    side = "sends" if sent[slowest] >= received[slowest] else "receives"
    return Balance(shares.label, slowest, labels[slowest], side, *over)


def skewed(text: str, n: int, seed: int) -> Shares:
    """Return shares by a skew such as ``zipf:1.2`` or ``dirichlet:0.5``.

    All senders have one vector of popularities, as tokens everywhere meet the same hot experts.
    It is drawn by a generator with the seed: which members are popular under Zipf's law, and how
    popular each is under Dirichlet's.

    Raises
    ------
    UsageError
        DS614.
    """
    kind, _, number = text.partition(":")
    low, high = _RANGES.get(kind.strip().lower(), (0.0, 0.0))
    try:
        parameter = float(number)
    except ValueError:
        parameter = -1.0
    if not (isfinite(parameter) and low <= parameter <= high and high > 0):
        known = ", ".join(f"{k}:{a:g} to {k}:{b:g}" for k, (a, b) in _RANGES.items())
        raise _usage(f"{show(text)} is no skew", text, known, "write for example zipf:1.2")
    if n * n > MAX_MESSAGES:
        raise _usage(
            f"shares of {n} devices are too many", n, f"at most {int(MAX_MESSAGES**0.5)} devices",
            "ask for fewer devices",
        )  # fmt: skip
    popularity = SKEWS[kind.strip().lower()](n, parameter, np.random.default_rng(seed))
    return Shares(f"{text.strip()}, seed {seed}", in_proportion(by_popularity(popularity)))


def _usage(message: str, value: object, rule: str, fix: str) -> UsageError:
    return UsageError("DS614", message, value=value, rule=rule, fix=fix)


def read_shares(path: str | Path, n: int) -> Shares:
    """Return the shares of a file of n lines of n numbers, in any unit.

    Line by line the senders, in a line the receivers; commas or blanks between the numbers. Empty
    lines and remarks (#) are left out.

    Raises
    ------
    FileError
        DS1xx.
    ValueProblem
        DS244, with the line.
    """
    file = str(path)
    lines = [
        (number, text)
        for number, line in enumerate(read_text(path, LIMITS).splitlines(), start=1)
        if (text := line.partition("#")[0].strip())
    ]
    width = len(_cells(lines[0][1])) if lines else 0
    rows = []
    for number, text in lines:
        cells = _cells(text)
        if len(cells) != width:
            message = f"{len(cells)} numbers, and {width} in the lines before"
            raise _bad(message, f"{n} numbers", Place(file, number))
        rows.append(
            [_number(cell, column, Place(file, number)) for column, cell in enumerate(cells, 1)]
        )
    if (len(rows), width) != (n, n):
        place = Place(file, lines[-1][0] if lines else 1)
        message = f"{len(rows)} lines of {width} numbers for {n} devices"
        square = len(rows) == width > 0
        fix = f"ask for --devices {width}" if square else "write a number for every pair"
        raise _bad(message, f"{n} lines of {n} numbers", place, fix)
    try:
        return Shares(file, in_proportion(rows))
    except ValueError as reason:
        raise _bad(str(reason), "a number above 0 somewhere", Place(file, lines[0][0])) from None


def _cells(text: str) -> list[str]:
    return [c.strip() for c in text.split(",")] if "," in text else text.split()


def _number(cell: str, column: int, place: Place) -> float:
    try:
        value = float(cell) if cell.isascii() and "_" not in cell else float("nan")
    except ValueError:
        value = float("nan")
    if isfinite(value) and value >= 0:
        return value
    raise _bad(f"number {column} is {show(cell)}", "numbers of at least 0, without a unit", place)


def _bad(message: str, rule: str, place: Place, fix: str = "mend the line") -> ValueProblem:
    return ValueProblem("DS244", message, rule=rule, fix=fix, place=place)
