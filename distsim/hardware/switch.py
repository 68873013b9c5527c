"""Kind ``switch``: devices that all hang on one switch, each with one link each way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distsim.hardware.block import Block
from distsim.hardware.sizes import finish, read_growing, read_links
from distsim.hardware.topology import Ints, Routes, Topology, pack
from distsim.record import record


@record
class StarRouter:
    """Links 0 .. n-1 lead from each device to the switch, the next n back.

    Attributes
    ----------
    n_devices : int
    bandwidth_bytes_per_s : float
        Of one link, one direction.
    """

    n_devices: int
    bandwidth_bytes_per_s: float

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return up and down, for every pair of different devices."""
        apart = src != dst
        return pack(2 * apart.astype(np.int64), [(apart, (src, self.n_devices + dst))])

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        ends = self.device(link % self.n_devices), "switch"
        return ends if link < self.n_devices else ends[::-1]

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"gpu{index}"

    def counts(self) -> Mapping[str, int | float]:
        """Return the number of switches, the diameter and the bisection."""
        return {
            "switches": 1,
            "diameter_links": 2 if self.n_devices > 1 else 0,
            "bisection_bytes_per_s": self.n_devices // 2 * self.bandwidth_bytes_per_s,
        }


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return just the devices asked for, around a switch that never is the bottleneck.

    Parameters
    ----------
    block : Block
        ``max_devices``: ports of the switch; ``devices_per_node``, 1 by default; ``links`` of the
        class link.
    name : str
    n_devices : int
    """
    devices_per_node = read_growing(block, name, n_devices)
    (link,) = read_links(block, "link")
    router = StarRouter(n_devices, link.bandwidth_bytes_per_s)
    return finish(block, name, n_devices, devices_per_node, [link], [(0, 2 * n_devices)], router)
