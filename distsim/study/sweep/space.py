"""The space of a sweep: every combination of its values, as scenarios or as reasons why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from os import PathLike
from typing import Any

from distsim.errors import DistsimError, UsageError
from distsim.positions import Positions
from distsim.scenario.load import build, read
from distsim.scenario.overrides import apply, assigned
from distsim.scenario.schema import Scenario
from distsim.study.evaluate import Outcome, impossible
from distsim.study.sweep.axes import DEVICES, Axis

#: Most combinations unless more are allowed.
MAX_POINTS = 10_000
BATCH = "batch.global_size"
_UNKNOWN_KEYS = ("DS201", "DS621")

Source = str | PathLike[str] | Mapping[str, Any] | Scenario


@dataclass(frozen=True, slots=True)
class Point:
    """One combination.

    Attributes
    ----------
    index : int
        In the order of the product: the first axis slowest.
    values : dict
        Value of each axis, by its name; what goes along with the devices included.
    scenario : Scenario or None
        None where the combination is no scenario; `refused` then says why.
    refused : Outcome or None
    """

    index: int
    values: Mapping[str, Any]
    scenario: Scenario | None
    refused: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """What is swept.

    Attributes
    ----------
    data, positions : dict, Positions
        The scenario as written.
    axes : tuple of Axis
        Combined with one another; the number of devices first, if it varies.
    along : tuple of Axis
        Go along with the number of devices, value by value.
    weak : bool
        The global batch grows in proportion to the devices.
    """

    data: dict[str, Any]
    positions: Positions
    axes: tuple[Axis, ...]
    along: tuple[Axis, ...] = ()
    weak: bool = False

    def __len__(self) -> int:
        return prod(len(axis.values) for axis in self.axes)

    @property
    def devices(self) -> Axis | None:
        """The axis of numbers of devices, if there is one."""
        return next((axis for axis in self.axes if axis.key == DEVICES), None)

    @property
    def batch_grows(self) -> bool:
        """Whether the batch is computed: with `weak`, unless it goes along as given."""
        return self.weak and all(axis.key != BATCH for axis in self.along)

    def points(self) -> list[Point]:
        """Return every combination.

        Raises
        ------
        DistsimError
            For what is wrong with the scenario itself, a key that does not exist, and where no
            combination is a scenario: with the first reason.
        """
        problems: list[DistsimError] = []
        points = list(self._points(problems))
        if problems and all(point.scenario is None for point in points):
            raise problems[0]
        return points

    def _points(self, problems: list[DistsimError]) -> Iterator[Point]:
        for index, chosen in enumerate(product(*(axis.values for axis in self.axes))):
            changes = list(zip(self.axes, chosen, strict=True))
            devices = self.devices
            if devices is not None:
                at = devices.values.index(chosen[self.axes.index(devices)])
                changes += [(axis, axis.values[at]) for axis in self.along]
            values = {axis.name: value for axis, value in changes}
            try:
                yield Point(index, values, self._scenario(changes))
            except DistsimError as error:
                if error.code in _UNKNOWN_KEYS:
                    raise
                problems.append(error)
                yield Point(index, values, None, impossible(self._devices(values), error))

    def _scenario(self, changes: Sequence[tuple[Axis, Any]]) -> Scenario:
        data, positions = self.data, self.positions.copy()
        for axis, value in changes:
            place = axis.place(value)
            data, path = assigned(data, axis.path, value, place)
            positions.override(path, place)
        if self.batch_grows:
            data = self._grown(data)
        return build(data, positions)

    def _grown(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the content with the batch in proportion to the devices.

        Raises
        ------
        UsageError
            DS664 where it would be no whole number.
        """
        size, count = _at(data, BATCH), _at(data, DEVICES)
        first = _at(self.data, DEVICES) or min(self.devices.values if self.devices else (count,))
        numbers = (size, count, first)
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
            return data  # refused for what it is
        if size * count % first:
            raise UsageError(
                "DS664",
                f"the global batch would be {size} * {count} / {first} = {size * count / first:g}",
                path=tuple(BATCH.split(".")),
                value=count,
                rule=f"weak scaling keeps {size}/{first} sequences a device, and a whole batch",
                fix=f"use multiples of {first} devices",
            )
        grown = {**data["batch"], "global_size": size * count // first}
        return {**data, "batch": grown}

    def _devices(self, values: Mapping[str, Any]) -> int:
        found = values.get("devices", _at(self.data, DEVICES))
        return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _at(data: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key, None where there is none."""
    found: Any = data
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def space(
    source: Source,
    axes: Sequence[Axis],
    *,
    fixed: Sequence[str] = (),
    along: Sequence[Axis] = (),
    weak: bool = False,
    max_points: int = MAX_POINTS,
) -> Space:
    """Return what is to be swept.

    Parameters
    ----------
    source : str, path, mapping or Scenario
        As `distsim.load` takes it, or a scenario.
    axes : sequence of Axis
    fixed : sequence of str
        Changes of the scenario before anything varies, as ``--set`` of `distsim run`.
    along : sequence of Axis
        One value for each number of devices.
    weak : bool
    max_points : int

    Raises
    ------
    UsageError
        DS661 a key twice, DS662 too many combinations, DS666 what goes along with nothing.
    DistsimError
        As `distsim.scenario.load.read`.
    """
    data, positions = (
        (source.to_dict(), source.positions) if isinstance(source, Scenario) else read(source)
    )
    if fixed:
        data = apply(data, fixed, positions)
    ordered = tuple(sorted(axes, key=lambda axis: axis.key != DEVICES))
    found = Space(data, positions, ordered, tuple(along), weak)
    _check_keys(found)
    _check_along(found)
    if len(found) > max_points:
        sizes = " * ".join(str(len(axis.values)) for axis in ordered)
        raise UsageError(
            "DS662",
            f"{sizes} = {len(found):,} combinations",
            value=len(found),
            rule=f"at most {max_points:,}",
            fix=f"give fewer values, or allow them with --max-points {len(found)}",
        )
    return found


def _check_keys(space: Space) -> None:
    seen: set[str] = set()
    for axis in (*space.axes, *space.along):
        clash = next((k for k in seen if f"{k}.".startswith(f"{axis.key}.")), None)
        clash = clash or next((k for k in seen if f"{axis.key}.".startswith(f"{k}.")), None)
        if clash is not None:
            raise UsageError(
                "DS661",
                f"{axis.key} is given by {axis.option}, and {clash} is given already",
                path=axis.path,
                value=axis.key,
                rule="one option has all values of a key",
                fix=f"write {axis.option} {axis.key}=A,B,C once",
            )
        seen.add(axis.key)


def _check_along(space: Space) -> None:
    devices = space.devices
    needs = "--along" if space.along else "--weak" if space.weak else ""
    if devices is None and needs:
        raise UsageError(
            "DS666",
            f"{needs} needs --devices",
            value=needs,
            rule="scaling is over numbers of devices",
            fix="add --devices 8:1024:x2",
        )
    for axis in space.along:
        if devices is not None and len(axis.values) != len(devices.values):
            raise UsageError(
                "DS666",
                f"{axis.key} has {len(axis.values)} values along {len(devices.values)} counts",
                path=axis.path,
                value=list(axis.values),
                rule="one value for each number of devices, in their order",
                fix=f"give {len(devices.values)} values",
            )
