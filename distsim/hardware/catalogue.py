"""Devices and topologies by name, by file or as a block of a scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from distsim.errors import DistsimError, HardwareError
from distsim.files import find, load_yaml, shipped_names
from distsim.hardware.block import Block, Path
from distsim.hardware.device import Device, read_device
from distsim.hardware.header import TOO_MANY
from distsim.hardware.registry import build
from distsim.hardware.topology import Topology

if TYPE_CHECKING:
    from distsim.positions import Positions

#: More devices than any cluster has; bounds memory.
MAX_DEVICES = 1 << 20


def device_names() -> tuple[str, ...]:
    """Return the names of the shipped devices, sorted."""
    return shipped_names("devices")


def topology_names() -> tuple[str, ...]:
    """Return the names of the shipped topologies, sorted."""
    return shipped_names("topologies")


def device(name: str | PathLike[str], *, path: Path = ()) -> Device:
    """Return a device.

    Parameters
    ----------
    name : str or path
        Name of a shipped device, or a file.
    path : tuple, optional
        Where the name stands in the scenario, for errors.

    Raises
    ------
    FileError
        DS101 for a file or a name that does not exist.
    HardwareError, ValueProblem
        For a device that cannot be, with the line in its file.
    """
    if isinstance(name, str) and name in device_names():
        return _shipped_device(name)
    data, positions, title = _read("devices", name, path)
    try:
        return read_device(Block(data), title)
    except DistsimError as error:
        raise _placed(error, positions) from error.__cause__


@lru_cache(maxsize=64)
def _shipped_device(name: str) -> Device:
    data, _, title = _read("devices", name, ())
    return read_device(Block(data), title)


def load_topology(
    source: str | PathLike[str] | Mapping[str, Any], n_devices: int, *, path: Path = ()
) -> Topology:
    """Return a topology with a number of devices.

    Parameters
    ----------
    source : str, path or mapping
        Name of a shipped topology, a file, or the block itself.
    n_devices : int
    path : tuple, optional
        Where the topology stands in the scenario, for errors. The number of devices is taken to
        stand beside it, as ``devices``.

    Raises
    ------
    FileError
        DS101 for a file or a name that does not exist.
    HardwareError, ValueProblem
        For a topology that cannot be, with the line in its file; DS410 where the devices do not
        fit, which is the scenario's problem and stands there.
    """
    beside = (*path[:-1], "devices") if path else ()
    if not 1 <= n_devices <= MAX_DEVICES:
        raise HardwareError(
            TOO_MANY,
            f"there is no cluster of {n_devices} devices",
            path=beside,
            value=n_devices,
            rule=f"1 <= devices <= {MAX_DEVICES}",
            fix="ask for a number of devices in that range",
        )
    if isinstance(source, str) and source in topology_names():
        try:
            return _shipped_topology(source, n_devices)
        except DistsimError:
            pass  # again below, with its place
    positions = None
    if isinstance(source, Mapping):
        block = Block(source, path)
        title = block.text("name", "inline")
    else:
        data, positions, title = _read("topologies", source, path)
        block = Block(data)
    try:
        return _of_generation(build(block, title, n_devices))
    except DistsimError as error:
        if error.code == TOO_MANY:
            error.path = beside
            raise
        raise _placed(error, positions) from error.__cause__


@lru_cache(maxsize=32)
def _shipped_topology(name: str, n_devices: int) -> Topology:
    """Build a shipped topology once: what is compiled for one of its plans then serves others."""
    data, _, title = _read("topologies", name, ())
    return _of_generation(build(Block(data), title, n_devices))


def _of_generation(topology: Topology) -> Topology:
    """Tell the library of what generation the devices are, if they are shipped ones.

    A device that is missing is an error where it is needed; a topology can do without.
    """
    if topology.device_name not in device_names():
        return topology
    generation = device(topology.device_name).architecture
    return replace(topology, library=topology.library.on(generation))


def topology_info(name: str | PathLike[str]) -> dict[str, str]:
    """Return ``name, kind, description, source, device`` of a topology without building it."""
    data, positions, title = _read("topologies", name, ())
    try:
        block = Block(data)
        keys = ("kind", "description", "source", "device")
        return {"name": title} | {key: block.text(key, "") for key in keys}
    except DistsimError as error:
        raise _placed(error, positions) from error.__cause__


def _placed(error: DistsimError, positions: Positions | None) -> DistsimError:
    place = None if positions is None else positions.place(error.path)
    return error if place is None else error.at(place)


def _read(
    kind: str, name: str | PathLike[str], path: Path
) -> tuple[Mapping[str, Any], Positions, str]:
    """Return data, positions and title of a file."""
    file = find(kind, name, path=path)
    load = _read_shipped if name in shipped_names(kind) else load_yaml
    return *load(file), file.stem


@lru_cache(maxsize=64)
def _read_shipped(file: FilePath) -> tuple[Mapping[str, Any], Positions]:
    return load_yaml(file)
