"""Measured times of a collective, from saved nccl-tests output or a CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from distsim.errors import Place, ValueProblem, show
from distsim.files import Limits, read_text

T = TypeVar("T")

#: Logs of a cluster's scheduler grow long.
LIMITS = Limits(size_bytes=64_000_000)
#: Sizes and times outside of these are slips of the pen.
_LARGEST_BYTES, _SHORTEST_S, _LONGEST_S = 1e18, 1e-9, 1e6
#: Names that a message lists.
_LISTED = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured size."""

    size_bytes: float
    time_s: float
    line: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What measurements are wanted for.

    Attributes
    ----------
    collective : str
    devices : int
    where : tuple of (str, str)
        Columns of the file, and what must stand there.
    in_place : bool
        Times of the collective in place in place of those out of place.
    """

    collective: str
    devices: int
    where: tuple[tuple[str, str], ...] = ()
    in_place: bool = False

    @property
    def what(self) -> str:
        """The collective and its ranks, for messages."""
        return f"{self.collective} of {self.devices} ranks"

    def same(self, collective: str) -> bool:
        """Say whether another collective is the one wanted.

        Between two ranks a sendrecv is a send each way, and links carry both ways at once.
        """
        pair = {self.collective, collective} == {"send", "send_recv"} and self.devices == 2
        return collective == self.collective or pair


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a file holds of that.

    Attributes
    ----------
    points : tuple of Measured
        Several runs of one size are kept.
    notes : tuple of str
        What was left out, and what was taken in its place.
    """

    file: str
    points: tuple[Measured, ...]
    notes: tuple[str, ...]


def read_measurements(path: str | Path, asked: Asked) -> Measurements:
    """Read the times of a collective by size.

    Raises
    ------
    FileError
        DS1xx.
    ValueProblem
        DS241 where nothing is found, or what is found is no number; DS242 where it is of another
        collective or number of ranks; DS243 where it is of several systems, or ``where`` names
        none.
    """
    from distsim.study.measured_csv import is_csv, of_csv
    from distsim.study.nccl_log import of_log

    text, file = read_text(path, LIMITS), str(path)
    found = of_csv(text, file, asked) if is_csv(text) else of_log(text, file, asked)
    if not found.points:
        raise ValueProblem(
            "DS241",
            "the file holds no measured sizes",
            rule="rows of nccl-tests (size count type ... time algbw busbw #wrong), or a CSV with "
            "size_bytes and time_us, or algbw_GBps or busbw_GBps",
            fix="save the whole output of all_reduce_perf or its sisters",
            place=Place(file),
        )
    return found


def within(found: Measurements, low: float, high: float) -> Measurements:
    """Return the measurements of some sizes, both ends included.

    Raises
    ------
    ValueProblem
        DS241 where none is left.
    """
    kept = tuple(p for p in found.points if low <= p.size_bytes <= high)
    if not kept:
        measured = [p.size_bytes for p in found.points]
        raise ValueProblem(
            "DS241",
            f"the file holds no sizes from {low:.0f} to {high:.0f} B",
            rule=f"it holds {min(measured):.0f} to {max(measured):.0f} B",
            fix="change --sizes, or leave it out",
            place=Place(found.file),
        )
    return replace(found, points=kept)


def possible(size_bytes: float, time_s: float) -> bool:
    """Say whether something of that size can have taken that long."""
    return 0 < size_bytes <= _LARGEST_BYTES and _SHORTEST_S <= time_s <= _LONGEST_S


def only(
    items: Sequence[T],
    where: Iterable[tuple[str, str]],
    columns: Sequence[str],
    value_of: Callable[[T, str], str],
    file: str,
) -> list[T]:
    """Return the items that have the values asked for.

    Raises
    ------
    ValueProblem
        DS243 for a column or a value that is not there.
    """
    kept = list(items)
    for wanted, value in where:
        column = {name.lower(): name for name in columns}.get(wanted.strip().lower())
        if column is None:
            raise _nowhere(file, f"no column {wanted!r}", f"columns are {listed(columns)}", wanted)
        values = [value_of(item, column) for item in kept]
        kept = [item for item, v in zip(kept, values, strict=True) if v == value.strip()]
        if not kept:
            rule = f"{column} is {listed(values)}"
            raise _nowhere(file, f"no row with {column} = {show(value)}", rule, value)
    return kept


def _nowhere(file: str, what: str, rule: str, value: object) -> ValueProblem:
    return ValueProblem(
        "DS243",
        f"the file has {what}",
        value=value,
        rule=rule,
        fix="write --where COLUMN=VALUE with what is there",
        place=Place(file),
    )


def listed(names: Iterable[Any]) -> str:
    """Return the different names, not too many of them."""
    distinct = [str(name) or "empty" for name in dict.fromkeys(names)]
    rest = len(distinct) - _LISTED
    shown = ", ".join(name if len(name) < 60 else f"{name[:57]}..." for name in distinct[:_LISTED])
    return shown + (f" and {rest} more" if rest > 0 else "")


def other(asked: Asked, place: Place, found: str, fix: str) -> ValueProblem:
    """Return the error for measurements of something else."""
    return ValueProblem(
        "DS242",
        f"the file holds no {asked.what}",
        value=found,
        rule=f"the same operation over as many ranks; there: {found}",
        fix=fix,
        place=place,
    )
