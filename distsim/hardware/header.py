"""What topologies of every kind state: description, source, device, link classes."""

from __future__ import annotations

from distsim.errors import HardwareError
from distsim.hardware.block import Block
from distsim.hardware.topology import LinkClass
from distsim.record import record

#: Code of the error for more devices than there are.
TOO_MANY = "DS410"
#: Keys of every kind.
KEYS = ("kind", "name", "description", "source", "device", "library", "in_network")


@record
class Header:
    """The keys that every kind has."""

    name: str
    description: str
    source: str
    device_name: str


def read_header(block: Block, name: str) -> Header:
    """Return the keys that every kind has; only ``device`` must be there."""
    return Header(
        name, block.text("description", ""), block.text("source", ""), block.text("device")
    )


def read_class(block: Block, name: str, bandwidth_bytes_per_s: float | None = None) -> LinkClass:
    """Return the link class ``{bandwidth, efficiency, latency, source}``.

    Parameters
    ----------
    block : Block
    name : str
    bandwidth_bytes_per_s : float, optional
        Where it follows from other numbers and is not a key.
    """
    keys = ("efficiency", "latency", "source")
    if bandwidth_bytes_per_s is None:
        block.only("bandwidth", *keys)
        bandwidth_bytes_per_s = block.quantity("bandwidth", "bytes_per_s")
    else:
        block.only(*keys)
    return LinkClass(
        name=name,
        bandwidth_bytes_per_s=bandwidth_bytes_per_s,
        efficiency=block.quantity("efficiency", "1", high=1.0),
        latency_s=block.quantity("latency", "s", zero=True),
        source=block.text("source"),
    )


class TooManyDevices(HardwareError):
    """More devices than a topology has; `most` is how many it has."""

    most = 0


def too_many(name: str, n_devices: int, most: int, equation: str) -> TooManyDevices:
    """Return the error for more devices than a topology has.

    It has no path: the number of devices stands where the topology is asked for.
    """
    error = TooManyDevices(
        TOO_MANY,
        f"{n_devices} devices do not fit {name}, which has {most}",
        value=n_devices,
        rule=f"devices <= {equation}",
        fix=f"ask for at most {most} devices, or for a larger topology",
    )
    error.most = most
    return error
