"""Kind ``ring``: devices in a circle, each with a link each way to both its neighbours.

It is a torus of one dimension, which grows with the devices.
"""

from __future__ import annotations

from distsim.hardware.block import Block
from distsim.hardware.sizes import read_growing
from distsim.hardware.topology import Topology
from distsim.hardware.torus import torus


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return a ring of just the devices asked for.

    Parameters
    ----------
    block : Block
        ``max_devices``; ``devices_per_node``, 1 by default; ``links`` of the class link.
    name : str
    n_devices : int
    """
    devices_per_node = read_growing(block, name, n_devices)
    return torus(block, name, n_devices, (n_devices,), (True,), devices_per_node)
