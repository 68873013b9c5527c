"""The host of a device: its link, its share of memory, processors and drives.

Offload, loading of data and checkpoints pass through it. Files state a node; what is read is the
share of one device, since all devices of a node do the same at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from os import PathLike

from distsim.errors import DistsimError, HardwareError, nearest, show
from distsim.files import find, load_yaml, shipped, shipped_names
from distsim.hardware.block import Block, Path
from distsim.record import record

#: Numbers of a node that its file must state: key -> (dimension, highest).
_NUMBERS: Mapping[str, tuple[str, float | None]] = {
    "pcie": ("bytes_per_s", None),
    "pcie_efficiency": ("1", 1.0),
    "uplink": ("bytes_per_s", None),
    "memory": ("bytes", None),
    "memory_bandwidth": ("bytes_per_s", None),
    "update_efficiency": ("1", 1.0),
}
#: Numbers of its drives: all of them or none.
_NVME: Mapping[str, str] = {
    "nvme": "bytes",
    "nvme_read": "bytes_per_s",
    "nvme_write": "bytes_per_s",
}
_COUNTS = ("devices", "devices_per_uplink")


@record
class Host:
    """What one device has of the node that it sits in.

    Attributes
    ----------
    name, vendor, description : str
    devices : int
        Devices of a node that are in use.
    pcie_bandwidth_bytes_per_s : float
        Between one device and the host, each direction, as pinned copies reach it when nobody
        else copies. The link may be another than PCI Express (NVLink-C2C).
    devices_per_uplink : int
        Devices that share one switch and its uplink to the host.
    uplink_bandwidth_bytes_per_s : float
        Of that uplink, each direction, as copies reach it.
    memory_bytes, memory_bandwidth_bytes_per_s : float
        Host memory and its nominal bandwidth, the share of one device.
    update_bytes_per_s : float
        Memory traffic that a vectorised optimizer on the processors sustains, the share of one
        device.
    nvme_bytes, nvme_read_bytes_per_s, nvme_write_bytes_per_s : float
        Drives, the share of one device; 0 where the host has none.
    sources : Mapping[str, str]
        Where each number comes from, by its key in the file.
    """

    name: str
    vendor: str
    description: str
    devices: int
    pcie_bandwidth_bytes_per_s: float
    devices_per_uplink: int
    uplink_bandwidth_bytes_per_s: float
    memory_bytes: float
    memory_bandwidth_bytes_per_s: float
    update_bytes_per_s: float
    nvme_bytes: float
    nvme_read_bytes_per_s: float
    nvme_write_bytes_per_s: float
    sources: Mapping[str, str]

    @property
    def copy_bytes_per_s(self) -> float:
        """Bandwidth of one device to or from the host when all devices in use copy at once.

        The least of its own link, its share of the uplink, and its share of the host memory.
        """
        return min(
            self.pcie_bandwidth_bytes_per_s,
            self.uplink_bandwidth_bytes_per_s / self.devices_per_uplink,
            self.memory_bandwidth_bytes_per_s,
        )

    def serving(self, devices: int) -> Host:
        """Return the host where only so many devices of a node are in use.

        Memory, processors and drives are shared by fewer, and so is the first uplink.

        Parameters
        ----------
        devices : int
            At least 1; more than the node has is a full node.
        """
        used = max(1, min(devices, self.devices))
        more = self.devices / used
        return replace(
            self,
            devices=used,
            devices_per_uplink=min(self.devices_per_uplink, used),
            memory_bytes=more * self.memory_bytes,
            memory_bandwidth_bytes_per_s=more * self.memory_bandwidth_bytes_per_s,
            update_bytes_per_s=more * self.update_bytes_per_s,
            nvme_bytes=more * self.nvme_bytes,
            nvme_read_bytes_per_s=more * self.nvme_read_bytes_per_s,
            nvme_write_bytes_per_s=more * self.nvme_write_bytes_per_s,
        )


def read_host(block: Block, name: str) -> Host:
    """Return the host that a file describes.

    Parameters
    ----------
    block : Block
        ``vendor``, ``description`` and numbers of one node, each ``{value: 2 TB, source: ...}``:
        ``devices``; ``pcie`` (nominal bandwidth of a device's link), ``pcie_efficiency`` (fraction
        that pinned copies reach), ``devices_per_uplink``, ``uplink`` (nominal; the same fraction
        is reached); ``memory``, ``memory_bandwidth``; ``update_efficiency`` (fraction of the
        memory bandwidth that an optimizer on the processors sustains); with drives also ``nvme``,
        ``nvme_read``, ``nvme_write``.
    name : str

    Raises
    ------
    HardwareError, ValueProblem
        For a key that is unknown or missing and a number out of its range; DS431 where the
        uplinks do not divide the devices.
    """
    block.only("vendor", "description", *_COUNTS, *_NUMBERS, *_NVME)
    drives = tuple(_NVME) if any(block.has(key) for key in _NVME) else ()
    entries = {key: _number(block, key) for key in (*_COUNTS, *_NUMBERS, *drives)}
    value = {
        key: entries[key].quantity("value", dimension, high=high)
        for key, (dimension, high) in _NUMBERS.items()
    }
    value |= {key: entries[key].quantity("value", _NVME[key]) for key in drives}
    devices, per_uplink = (entries[key].integer("value") for key in _COUNTS)
    if devices % per_uplink:
        raise entries["devices_per_uplink"].error(
            "DS431",
            f"devices_per_uplink({per_uplink}) does not divide devices({devices})",
            key="value",
            value=per_uplink,
            rule="devices % devices_per_uplink == 0: every uplink serves as many devices",
            fix="use a divisor of devices",
        )
    return Host(
        name=name,
        vendor=block.text("vendor"),
        description=block.text("description", ""),
        devices=devices,
        pcie_bandwidth_bytes_per_s=value["pcie"] * value["pcie_efficiency"],
        devices_per_uplink=per_uplink,
        uplink_bandwidth_bytes_per_s=value["uplink"] * value["pcie_efficiency"],
        memory_bytes=value["memory"] / devices,
        memory_bandwidth_bytes_per_s=value["memory_bandwidth"] / devices,
        update_bytes_per_s=value["memory_bandwidth"] * value["update_efficiency"] / devices,
        nvme_bytes=value.get("nvme", 0.0) / devices,
        nvme_read_bytes_per_s=value.get("nvme_read", 0.0) / devices,
        nvme_write_bytes_per_s=value.get("nvme_write", 0.0) / devices,
        sources={key: entry.text("source") for key, entry in entries.items()},
    )


def _number(block: Block, key: str) -> Block:
    entry = block.block(key)
    entry.only("value", "source")
    return entry


def host_names() -> tuple[str, ...]:
    """Return the names of the shipped hosts, sorted."""
    return shipped_names("hosts")


def host(name: str | PathLike[str], *, path: Path = ()) -> Host:
    """Return a host.

    Parameters
    ----------
    name : str or path
        Name of a shipped host, or a file.
    path : tuple, optional
        Where the name stands in the scenario, for errors.

    Raises
    ------
    FileError
        DS101 for a file or a name that does not exist.
    HardwareError, ValueProblem
        For a host that cannot be, with the line in its file.
    """
    file = find("hosts", name, path=path)
    data, positions = load_yaml(file)
    try:
        return read_host(Block(data), file.stem)
    except DistsimError as error:
        place = positions.place(error.path)
        raise (error.at(place) if place else error) from error.__cause__


@lru_cache(maxsize=1)
def _defaults() -> Mapping[str, str]:
    table, _ = load_yaml(shipped("defaults", "hosts"))
    return table


def host_of(device_name: str, *, path: Path = ()) -> Host:
    """Return the host that a shipped device usually sits in.

    Parameters
    ----------
    device_name : str
    path : tuple, optional
        Where a host would be named in the scenario, for errors.

    Raises
    ------
    HardwareError
        DS430 for a device that the table does not have.
    """
    table = _defaults()
    if device_name not in table:
        near = nearest(device_name, table)
        raise HardwareError(
            "DS430",
            f"no host is known for the device {show(device_name)}",
            path=path,
            value=device_name,
            rule=f"a host is one of {', '.join(host_names())}, or a file",
            fix=f"name the host, for example {table[near] if near else 'dgx-h100'}",
        )
    return host(table[device_name], path=path)
