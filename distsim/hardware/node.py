"""Kind ``node``: devices around one switch, such as the NVSwitch of a DGX."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distsim.hardware.block import Block
from distsim.hardware.header import KEYS, read_class, read_header, too_many
from distsim.hardware.topology import Ints, Routes, Topology, assemble, pack
from distsim.record import record


@record
class SwitchRouter:
    """Links 0 .. n-1 lead from each device to the switch, the next n back.

    Attributes
    ----------
    n_devices : int
    bisection_bytes_per_s : float
    """

    n_devices: int
    bisection_bytes_per_s: float

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return up and down, for every pair of different devices."""
        apart = src != dst
        return pack(2 * apart.astype(np.int64), [(apart, (src, self.n_devices + dst))])

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        ends = self.device(link % self.n_devices), "n0.nvswitch"
        return ends if link < self.n_devices else ends[::-1]

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"n0.gpu{index}"

    def counts(self) -> Mapping[str, int | float]:
        """Return the number of switches and the bisection."""
        return {"switches": 1, "bisection_bytes_per_s": self.bisection_bytes_per_s}


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return one node.

    Parameters
    ----------
    block : Block
        ``devices_per_node`` and ``links: {nvlink: ...}`` beside the common keys.
    n_devices : int
        Devices that are used.
    """
    block.only(*KEYS, "devices_per_node", "links")
    header = read_header(block, name)
    full = block.integer("devices_per_node")
    links = block.block("links")
    links.only("nvlink")
    nvlink = read_class(links.block("nvlink"), "nvlink")
    if n_devices > full:
        raise too_many(name, n_devices, full, f"devices_per_node({full})")
    half = n_devices // 2
    return assemble(
        name=name,
        kind="node",
        description=header.description,
        source=header.source,
        device_name=header.device_name,
        node_of=np.zeros(n_devices),
        devices_per_node=full,
        classes=[nvlink],
        link_class=np.zeros(2 * n_devices),
        router=SwitchRouter(n_devices, half * nvlink.bandwidth_bytes_per_s),
    )
