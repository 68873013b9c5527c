"""Kind ``pcie``: one node whose devices meet at PCI Express switches on one socket or several.

Devices hang on switches, switches on the root complex of a socket, and sockets are joined each to
each. There is no other link between devices.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distsim.hardware.block import Block
from distsim.hardware.header import KEYS, too_many
from distsim.hardware.sizes import check_links, finish, read_links
from distsim.hardware.topology import Ints, Routes, Topology, pack
from distsim.record import record


@record
class PcieRouter:
    """Routes by arithmetic.

    Links lie in blocks, up before down: device to switch, switch to socket; then socket to socket.

    Attributes
    ----------
    n_devices, devices_per_switch, switches_per_socket, sockets : int
    device_rate, uplink_rate, socket_rate : float
        Bandwidth in bytes/s of one link of each class, one direction.
    """

    n_devices: int
    devices_per_switch: int
    switches_per_socket: int
    sockets: int
    device_rate: float
    uplink_rate: float
    socket_rate: float

    @property
    def switches(self) -> int:
        """Switches of the node."""
        return self.sockets * self.switches_per_socket

    @property
    def full(self) -> int:
        """Devices of the node where all places are taken."""
        return self.switches * self.devices_per_switch

    def block_sizes(self) -> tuple[int, ...]:
        """Return the number of links in each of the five blocks."""
        across = self.sockets * (self.sockets - 1)
        return (self.n_devices,) * 2 + (self.switches,) * 2 + (across,)

    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.block_sizes()).tolist()]

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return routes over one switch (2 links), one socket (4) or two (5)."""
        start = self._starts()
        switch_a, switch_b = src // self.devices_per_switch, dst // self.devices_per_switch
        socket_a, socket_b = (s // self.switches_per_socket for s in (switch_a, switch_b))
        near = (src != dst) & (switch_a == switch_b)
        far = socket_a != socket_b
        middle = (switch_a != switch_b) & ~far
        down, up_socket, down_socket = start[1] + dst, start[2] + switch_a, start[3] + switch_b
        across = start[4] + socket_a * (self.sockets - 1) + socket_b - (socket_b > socket_a)
        return pack(
            2 * near + 4 * middle + 5 * far,
            [
                (near, (src, down)),
                (middle, (src, up_socket, down_socket, down)),
                (far, (src, up_socket, across, down_socket, down)),
            ],
        )

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        start = self._starts()
        kind = int(np.searchsorted(start, link, side="right")) - 1
        index = link - start[kind]
        if kind == 4:
            first, second = divmod(index, self.sockets - 1)
            return f"socket{first}", f"socket{second + (second >= first)}"
        if kind < 2:
            ends = self.device(index), f"switch{index // self.devices_per_switch}"
        else:
            ends = f"switch{index}", f"socket{index // self.switches_per_socket}"
        return ends if kind % 2 == 0 else ends[::-1]

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"gpu{index}"

    def counts(self) -> Mapping[str, int | float]:
        """Return switches, sockets and, with all devices, the diameter and the bisection.

        The bisection is stated for two sockets, and for one with an even number of switches or
        one: halves then consist of whole switches.
        """
        counts: dict[str, int | float] = {"switches": self.switches, "sockets": self.sockets}
        if self.n_devices != self.full or self.full == 1:
            return counts
        several = self.switches_per_socket > 1
        counts["diameter_links"] = 5 if self.sockets > 1 else 4 if several else 2
        cuts = [self.n_devices // 2 * self.device_rate]
        if self.sockets == 2:
            cuts += [self.switches_per_socket * self.uplink_rate, self.socket_rate]
        elif several:
            cuts.append(self.switches // 2 * self.uplink_rate)
        if self.sockets == 2 or (self.sockets == 1 and (not several or self.switches % 2 == 0)):
            counts["bisection_bytes_per_s"] = min(cuts)
        return counts


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return one node.

    Parameters
    ----------
    block : Block
        ``devices_per_switch``, ``switches_per_socket``, ``sockets``; ``links`` of the classes pcie
        (device to switch), uplink (switch to socket) and, with several sockets, socket.
    name : str
    n_devices : int
        Devices that are used: the first ones. All switches and sockets are there.
    """
    keys = ("devices_per_switch", "switches_per_socket", "sockets")
    block.only(*KEYS, *keys, "links")
    devices, switches, sockets = (block.integer(key) for key in keys)
    full = devices * switches * sockets
    if n_devices > full:
        equation = (
            f"devices_per_switch({devices}) * switches_per_socket({switches}) * sockets({sockets})"
        )
        raise too_many(name, n_devices, full, equation)
    check_links(block, "sockets", 2 * sockets * switches + sockets * (sockets - 1))
    classes = read_links(block, "pcie", "uplink", *(["socket"] if sockets > 1 else []))
    rates = [c.bandwidth_bytes_per_s for c in classes] + [0.0] * (sockets == 1)
    router = PcieRouter(n_devices, devices, switches, sockets, *rates)
    blocks = [(c, n) for c, n in zip((0, 0, 1, 1, 2), router.block_sizes(), strict=True) if n]
    return finish(block, name, n_devices, full, classes, blocks, router)
