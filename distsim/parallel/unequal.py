"""Devices that are not all alike: which are slower or faster, or of another type.

What is given here lasts for the whole run: a device whose clock is capped, an older generation in
part of the cluster. What varies from step to step is drawn instead (`engine.noise`). Equal GPUs of
one cluster differ by 8% on average in the time of the same program, with outliers 1.5 times slower
than the median (Sinha et al. 2022, arXiv 2208.11035), and about 10% slower hosts are what slowed
whole jobs in MegaScale (Jiang et al. 2024, arXiv 2402.15627).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.errors import PlanError, ValueProblem, show
from distsim.hardware.device import Device
from distsim.record import record

Ints = npt.NDArray[np.int64]
Path = tuple[str | int, ...]

#: Highest speed of a device, as a multiple of the ordinary one.
MOST_SPEED = 10.0
_SELECTOR = re.compile(
    r"(?:(?:devices?|(?P<nodes>nodes?))\s+)?"
    r"(?:(?P<one>\d{1,9})|(?P<first>\d{0,9}):(?P<end>\d{0,9})(?::(?P<by>\d{1,9}))?)"
)
_FORMS = (
    "device 5, devices 8:16 (8 to 15), devices ::8 (every eighth), node 3, nodes 2:4, or several "
    "of them with commas; a number or range by itself is of devices"
)


class Kind(NamedTuple):
    """Devices that are alike: their name in the catalogue, and their speed."""

    device: str
    speed: float = 1.0


@record
class Rule:
    """Some devices that are not like the others.

    Attributes
    ----------
    devices : tuple of int or str
        Which: a device number, or a text: ``device 5``, ``devices 8:16`` (8 to 15, as Python
        slices), ``devices ::8`` (every eighth), ``node 3``, ``nodes 2:4``, several of them with
        commas between; without a word, devices are meant.
    speed : float
        Rate of their kernels over that of an ordinary device, in (0, `MOST_SPEED`]: at 0.8
        kernels take 1 / 0.8 = 1.25 times as long.
    device : str or None
        Their type, where it is not that of the topology.
    """

    devices: tuple[int | str, ...]
    speed: float = 1.0
    device: str | None = None


@record(eq=False)
class Unequal:
    """The kind of every device.

    Attributes
    ----------
    kinds : tuple of Kind
        Distinct; the first is the ordinary one, whether or not a device is left that has it.
    kind_of_device : int64[devices]
        Index into `kinds`.
    """

    kinds: tuple[Kind, ...]
    kind_of_device: Ints

    @property
    def all_equal(self) -> bool:
        """Whether every device is of the same kind."""
        return len(np.unique(self.kind_of_device)) <= 1


def unequal(
    rules: Sequence[Rule],
    node_of: npt.ArrayLike,
    device_name: str,
    *,
    path: Path = ("cluster", "unequal"),
) -> Unequal:
    """Return the kind of every device.

    Parameters
    ----------
    rules : sequence of Rule
        No device may be in two of them.
    node_of : int array[devices]
        Node of each device.
    device_name : str
        Of ordinary devices.
    path : tuple, optional
        Where the rules stand in the scenario, for errors.

    Raises
    ------
    ValueProblem
        DS440 for a text that selects nothing, DS443 for a speed out of range.
    PlanError
        DS441 for devices or nodes that are not there, DS442 for a device in two rules.
    """
    nodes = np.asarray(node_of, dtype=np.int64)
    kinds: dict[Kind, int] = {Kind(device_name): 0}
    kind_of_device = np.zeros(len(nodes), dtype=np.int64)
    rule_of = np.full(len(nodes), -1, dtype=np.int64)
    for index, rule in enumerate(rules):
        here = (*path, index)
        _check_speed(rule.speed, (*here, "speed"))
        chosen = selected(rule.devices, nodes, path=(*here, "devices"))
        twice = chosen[rule_of[chosen] >= 0]
        if len(twice):
            first, other = int(twice[0]), int(rule_of[twice[0]])
            raise PlanError(
                "DS442",
                f"device {first} is in rules {other} and {index}",
                path=(*here, "devices"),
                value=first,
                rule="each device is in one rule at most (rules count from 0)",
                fix="take the device out of one of them; a rule may state both speed and device",
            )
        rule_of[chosen] = index
        kind = Kind(rule.device or device_name, float(rule.speed))
        kind_of_device[chosen] = kinds.setdefault(kind, len(kinds))
    return Unequal(tuple(kinds), kind_of_device)


def selected(devices: Sequence[int | str], node_of: Ints, *, path: Path = ("devices",)) -> Ints:
    """Return the devices that some of `Rule.devices` stand for, int64[...], ascending.

    Raises
    ------
    ValueProblem
        DS440.
    PlanError
        DS441.
    """
    mask = np.zeros(len(node_of), dtype=bool)
    for entry in devices:
        for text in str(entry).split(","):
            mask |= _chosen(text.strip(), node_of, path)
    return np.flatnonzero(mask)


def _chosen(text: str, node_of: Ints, path: Path) -> npt.NDArray[np.bool_]:
    match = _SELECTOR.fullmatch(text)
    if match is None or (match["by"] is not None and int(match["by"]) == 0):
        raise ValueProblem(
            "DS440",
            f"{show(text)} selects no devices",
            path=path,
            value=text,
            rule=_FORMS,
            fix="write a number or a range, of devices or of nodes",
        )
    by_node = match["nodes"] is not None
    of = node_of if by_node else np.arange(len(node_of))
    count = int(of.max(initial=-1)) + 1
    if match["one"] is not None:
        first, end, by = int(match["one"]), int(match["one"]) + 1, 1
    else:
        first, end, by = int(match["first"] or 0), int(match["end"] or count), int(match["by"] or 1)
    if not first < end <= count:
        what = "nodes" if by_node else "devices"
        raise PlanError(
            "DS441",
            f"{show(text)} is outside of the cluster's {count} {what}",
            path=path,
            value=text,
            rule=f"{what} are 0 .. {count - 1}, and the end of a range, which is not part of it, "
            f"is above its beginning and at most {count}",
            fix=f"choose among the {count} {what}, or ask for more devices",
        )
    return np.isin(of, np.arange(first, end, by))


def _check_speed(speed: float, path: Path) -> None:
    if not 0.0 < speed <= MOST_SPEED:
        raise ValueProblem(
            "DS443",
            f"speed {show(speed)} is out of range",
            path=path,
            value=speed,
            rule=f"0 < speed <= {MOST_SPEED:g}; 1 is an ordinary device, 0.8 does 80% of its work "
            "in the same time",
            fix="write the rate over that of an ordinary device",
        )


def at_speed(device: Device, speed: float) -> Device:
    """Return a device on which every kernel, with the gap before it, takes 1 / `speed` as long.

    Peaks, memory bandwidth and the gap scale; the host, which launches kernels, stays as it is.
    """
    if speed == 1.0:
        return device
    return replace(
        device,
        peak_flop_per_s={k: v * speed for k, v in device.peak_flop_per_s.items()},
        memory_bandwidth_bytes_per_s=device.memory_bandwidth_bytes_per_s * speed,
        kernel_overhead_s=device.kernel_overhead_s / speed,
    )
