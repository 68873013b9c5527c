"""Calibrated profiles: numbers of a device, its links, library and software that replace others.

``distsim calibrate`` writes one from measurements of a cluster; ``cluster.profile`` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from distsim.cost.stack import Stack
from distsim.errors import DistsimError, HardwareError, nearest
from distsim.files import find, load_yaml
from distsim.hardware.block import Block
from distsim.hardware.device import CALIBRATED, Device
from distsim.hardware.topology import Topology
from distsim.record import record

Path = tuple[str | int, ...]

#: Of a class of links: field of `LinkClass`, dimension, whether zero is allowed, highest.
LINK_NUMBERS: Mapping[str, tuple[str, str, bool, float | None]] = MappingProxyType(
    {"efficiency": ("efficiency", "1", False, 1.0), "latency": ("latency_s", "s", True, None)}
)
_LIBRARY, _STACK = "library.startup", "stack.restart"
_SCHEMA = 1
_KEYS = (
    *("schema", "kind", "name", "device", "topology"),
    *("date", "distsim", "values", "sources", "fit"),
)


@record
class Value:
    """A calibrated number in SI units, with its 90 % interval and where it comes from."""

    value: float
    low: float
    high: float
    source: str


@record
class Profile:
    """Numbers that replace those of a device, a topology, its library and a stack.

    Attributes
    ----------
    name : str
    device : str
        Catalogue name of the device that it is of; empty for any.
    topology : str
        Name of the topology that it is of; empty where it has no numbers of links.
    values : mapping of str to Value
        By key: ``device.gemm_efficiency``, ``links.rail.latency``, ``library.startup``,
        ``stack.restart``.
    """

    name: str
    device: str
    topology: str
    values: Mapping[str, Value]

    def on_device(self, device: Device) -> Device:
        """Return the device with the profile's numbers.

        Raises
        ------
        HardwareError
            DS651 for another device.
        """
        if self.device and device.name != self.device:
            raise _other(self, "device", self.device, device.name)
        changed: dict[str, Any] = {
            CALIBRATED[key.removeprefix("device.")][0]: value.value
            for key, value in self.values.items()
            if key.startswith("device.")
        }
        return replace(device, status="calibrated", **changed) if changed else device

    def on_topology(self, topology: Topology) -> Topology:
        """Return the topology with the profile's numbers of links and library.

        Raises
        ------
        HardwareError
            DS651 for another topology, where the profile has numbers of links.
        """
        links = {
            (parts[1], parts[2]): value.value
            for key, value in self.values.items()
            if len(parts := key.split(".")) == 3
        }
        if links and topology.name != self.topology:
            raise _other(self, "topology", self.topology, topology.name)
        if _LIBRARY in self.values:
            library = replace(topology.library, startup_s=self.values[_LIBRARY].value)
            topology = replace(topology, library=library)
        return _with_links(topology, links) if links else topology

    def on_stack(self, stack: Stack) -> Stack:
        """Return the stack with the profile's restart, where it has one."""
        found = self.values.get(_STACK)
        return replace(stack, restart_s=found.value) if found else stack


#: Changes nothing.
NO_PROFILE = Profile("", "", "", MappingProxyType({}))


def is_time(key: str) -> bool:
    """Return whether the number at a key of a profile is in seconds; the others are plain."""
    part, *_, last = key.split(".")
    if key in (_LIBRARY, _STACK):
        return True
    known = CALIBRATED if part == "device" else LINK_NUMBERS
    return known[last][1] == "s"


def _other(profile: Profile, kind: str, own: str, other: str) -> HardwareError:
    return HardwareError(
        "DS651",
        f"profile {profile.name!r} is of {kind} {own!r}, and this cluster has {other!r}",
        path=("cluster", "profile"),
        value=profile.name,
        rule=f"numbers that were measured on one {kind} do not hold on another",
        fix=f"calibrate one for {other}, or use cluster.{kind}: {own}",
    )


def _with_links(topology: Topology, links: Mapping[tuple[str, str], float]) -> Topology:
    classes = list(topology.classes)
    capacity, latency_s = topology.capacity_bytes_per_s.copy(), topology.latency_s.copy()
    for (name, key), value in links.items():
        index = next((i for i, c in enumerate(classes) if c.name == name), None)
        if index is None:
            known = [c.name for c in classes]
            near = nearest(name, known)
            raise HardwareError(
                "DS652",
                f"topology {topology.name!r} has no links of class {name!r}",
                path=("cluster", "profile"),
                value=name,
                rule=f"its classes are {', '.join(known)}",
                fix=f"did you mean {near!r}?" if near else "calibrate for this topology",
            )
        chosen = topology.link_class == index
        number: dict[str, Any] = {LINK_NUMBERS[key][0]: value}
        classes[index] = replace(classes[index], **number)
        if key == "efficiency":
            capacity[chosen] = topology.bandwidth_bytes_per_s[chosen] * value
        else:
            latency_s[chosen] = value
    for array in (capacity, latency_s):
        array.flags.writeable = False
    return replace(
        topology, classes=tuple(classes), capacity_bytes_per_s=capacity, latency_s=latency_s
    )


def read_profile(source: str, *, path: Path = ("cluster", "profile")) -> Profile:
    """Return the profile of a file.

    Raises
    ------
    FileError
        DS101 for a file that does not exist.
    HardwareError, ValueProblem
        DS650 for a file that is no profile; otherwise for keys and numbers that cannot be, with
        the line in the file.
    """
    return _read_file(str(find("profiles", source, path=path)))


@lru_cache(maxsize=32)
def _read_file(file: str) -> Profile:
    data, positions = load_yaml(file)
    try:
        return _read(data)
    except DistsimError as error:
        place = positions.place(error.path)
        raise (error.at(place) if place else error) from error.__cause__


def _read(data: object) -> Profile:
    block = Block(data)
    if not block.has("kind") or block.raw("kind") != "profile":
        raise block.error(
            "DS650",
            "this file is no calibrated profile",
            key="kind" if block.has("kind") else None,
            rule="a profile has kind: profile, as distsim calibrate writes it",
            fix="name the file that distsim calibrate wrote with -o",
        )
    block.only(*_KEYS)
    if block.integer("schema", _SCHEMA) != _SCHEMA:
        raise block.error(
            "DS650",
            f"a profile of schema {block.raw('schema')}",
            key="schema",
            rule=f"this version reads schema {_SCHEMA}",
            fix="calibrate anew, or use the version of distsim that wrote it",
        )
    values = block.block("values")
    values.only("device", "links", "library", "stack")
    found: dict[str, Value] = {}
    if values.has("device"):
        found |= _numbers(values.block("device"), "device", CALIBRATED)
    if values.has("links"):
        links = values.block("links")
        for name in links.names():
            found |= _numbers(links.block(name), f"links.{name}", LINK_NUMBERS)
    for key in (_LIBRARY, _STACK):
        part, number = key.split(".")
        if values.has(part):
            found |= _numbers(values.block(part), part, {number: (number, "s", True, None)})
    topology = block.raw("topology") if block.has("topology") else None
    return Profile(
        block.text("name"),
        block.text("device"),
        "" if topology is None else block.text("topology"),
        MappingProxyType(found),
    )


def _numbers(
    block: Block, prefix: str, known: Mapping[str, tuple[str, str, bool, float | None]]
) -> dict[str, Value]:
    block.only(*known)
    out = {}
    for key in block.names():
        entry = block.block(key)
        entry.only("value", "low", "high", "source")
        _, dimension, zero, high = known[key]
        value = entry.quantity("value", dimension, zero=zero, high=high)
        low = entry.quantity("low", dimension, zero=True, default=value)
        out[f"{prefix}.{key}"] = Value(
            value,
            low,
            entry.quantity("high", dimension, zero=True, default=value),
            entry.text("source", "not stated"),
        )
    return out
