"""Kind ``full``: devices of which each has a link of its own to each other one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distsim.hardware.block import Block
from distsim.hardware.sizes import check_links, finish, read_growing, read_links
from distsim.hardware.topology import Ints, Routes, Topology, pack
from distsim.record import record


@record
class FullRouter:
    """Links are numbered by their first device and then by their second, which is another.

    Attributes
    ----------
    n_devices : int
    bandwidth_bytes_per_s : float
        Of one link, one direction.
    """

    n_devices: int
    bandwidth_bytes_per_s: float

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return the one link between two devices."""
        apart = src != dst
        link = src * (self.n_devices - 1) + dst - (dst > src)
        return pack(apart.astype(np.int64), [(apart, (link,))])

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        first, second = divmod(link, self.n_devices - 1)
        return self.device(first), self.device(second + (second >= first))

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"gpu{index}"

    def counts(self) -> Mapping[str, int | float]:
        """Return the diameter and the bisection: halves are joined device by device."""
        half = self.n_devices // 2
        across = half * (self.n_devices - half)
        return {
            "diameter_links": min(1, self.n_devices - 1),
            "bisection_bytes_per_s": across * self.bandwidth_bytes_per_s,
        }


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return just the devices asked for, all joined to all.

    Parameters
    ----------
    block : Block
        ``max_devices``; ``devices_per_node``, 1 by default; ``links`` of the class link.
    name : str
    n_devices : int
    """
    devices_per_node = read_growing(block, name, n_devices)
    n_links = n_devices * (n_devices - 1)
    check_links(block, "max_devices", n_links)
    (link,) = read_links(block, "link")
    router = FullRouter(n_devices, link.bandwidth_bytes_per_s)
    return finish(block, name, n_devices, devices_per_node, [link], [(0, n_links)], router)
