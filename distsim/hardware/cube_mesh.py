"""Kind ``cube_mesh``: the hybrid cube mesh of eight devices of a DGX-1 with V100.

Each device has six NVLinks; some pairs share two, which are one link of twice the bandwidth here.
Source: "NVIDIA DGX-1 With Tesla V100 System Architecture", whitepaper WP-08437, 2017, figure on the
hybrid cube mesh; with the numbers that ``nvidia-smi topo -m`` prints for it (NV1, NV2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from distsim.hardware.block import Block
from distsim.hardware.header import KEYS, too_many
from distsim.hardware.sizes import finish, read_links
from distsim.hardware.topology import Ints, Routes, Topology, pack
from distsim.record import record

#: NVLinks between each two devices.
NVLINKS = np.array(
    [
        [0, 1, 1, 2, 2, 0, 0, 0],
        [1, 0, 2, 1, 0, 2, 0, 0],
        [1, 2, 0, 2, 0, 0, 1, 0],
        [2, 1, 2, 0, 0, 0, 0, 1],
        [2, 0, 0, 0, 0, 1, 1, 2],
        [0, 2, 0, 0, 1, 0, 2, 1],
        [0, 0, 1, 0, 1, 2, 0, 2],
        [0, 0, 0, 1, 2, 1, 2, 0],
    ]
)
_SIZE = len(NVLINKS)
#: Ends of each directed link, in order, and the link between two devices.
_FROM, _TO = np.nonzero(NVLINKS)
_LINK = np.zeros_like(NVLINKS)
_LINK[_FROM, _TO] = np.arange(len(_FROM))


def _relays() -> Ints:
    """Return the device in the middle of each route of two links.

    The one whose narrower link is widest; among equals the first after the sum of both ends, so
    that not all routes turn at the same devices.
    """
    relay = np.zeros_like(NVLINKS)
    for a in range(_SIZE):
        for b in range(_SIZE):
            width = np.minimum(NVLINKS[a], NVLINKS[b])
            turned = np.roll(width, -(a + b))
            relay[a, b] = (int(turned.argmax()) + a + b) % _SIZE
    return relay


_RELAY = _relays()


@record
class CubeMeshRouter:
    """Routes over one NVLink or two, by table.

    Attributes
    ----------
    n_devices : int
        Devices that are used: the first ones. The others only pass traffic on.
    bandwidth_bytes_per_s : float
        Of one NVLink, one direction.
    """

    n_devices: int
    bandwidth_bytes_per_s: float

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return the direct link, or two over a third device."""
        direct = NVLINKS[src, dst] > 0
        relayed = ~direct & (src != dst)
        relay = _RELAY[src, dst]
        return pack(
            direct + 2 * relayed.astype(np.int64),
            [(direct, (_LINK[src, dst],)), (relayed, (_LINK[src, relay], _LINK[relay, dst]))],
        )

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        return self.device(int(_FROM[link])), self.device(int(_TO[link]))

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"gpu{index}"

    def counts(self) -> Mapping[str, int | float]:
        """Return NVLinks a device and, with all devices, diameter and bisection.

        The narrowest cut in halves is the one between the two boards of four devices.
        """
        counts: dict[str, int | float] = {"nvlinks_per_device": int(NVLINKS[0].sum())}
        if self.n_devices == _SIZE:
            half = _SIZE // 2
            counts["diameter_links"] = 2
            across = int(NVLINKS[:half, half:].sum())
            counts["bisection_bytes_per_s"] = across * self.bandwidth_bytes_per_s
        return counts


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return one node of eight devices.

    Parameters
    ----------
    block : Block
        ``links`` of the class nvlink: one NVLink. Pairs with two get the class ``nvlink-pair``, of
        twice the bandwidth.
    name : str
    n_devices : int
    """
    block.only(*KEYS, "links")
    if n_devices > _SIZE:
        raise too_many(name, n_devices, _SIZE, f"devices of a cube mesh({_SIZE})")
    (one,) = read_links(block, "nvlink")
    two = replace(one, name="nvlink-pair", bandwidth_bytes_per_s=2 * one.bandwidth_bytes_per_s)
    router = CubeMeshRouter(n_devices, one.bandwidth_bytes_per_s)
    blocks = [(int(NVLINKS[a, b]) - 1, 1) for a, b in zip(_FROM, _TO, strict=True)]
    return finish(block, name, n_devices, _SIZE, [one, two], blocks, router)
