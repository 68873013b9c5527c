"""Kind ``superpod``: nodes with a switch inside, joined rail by rail by leaves and a spine.

Adapter i of every node of a unit meets at leaf i of that unit, so members with the same place in
their nodes are one switch apart. Leaves meet at the spine. The spine is one vertex and each leaf
has one link each way to it that stands for all its uplinks: traffic is taken to spread evenly over
them, as adaptive routing does. Source: "NVIDIA DGX SuperPOD: Scalable Infrastructure for AI
Leadership", reference architecture RA-09950, 2020, chapter on the compute fabric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from distsim.hardware.block import Block
from distsim.hardware.header import KEYS, read_class, read_header, too_many
from distsim.hardware.sizes import cut_below_switches, read_nics
from distsim.hardware.topology import Indices, Ints, LinkClass, Routes, Topology, assemble, pack
from distsim.record import record

_CLASSES = ("nvlink", "pcie", "rail", "spine")


@record
class RailRouter:
    """Routes by arithmetic.

    Links lie in blocks: device to switch, switch to device, device to adapter, adapter to device
    (one for each device); adapter to leaf, leaf to adapter (one for each adapter); leaf to spine,
    spine to leaf (one for each leaf).

    Attributes
    ----------
    n_devices, devices_per_node, nics_per_node, nodes_per_unit : int
    bisection_bytes_per_s : float or None
        None where no closed form is stated.
    """

    n_devices: int
    devices_per_node: int
    nics_per_node: int
    nodes_per_unit: int
    bisection_bytes_per_s: float | None = None

    @property
    def nodes(self) -> int:
        """Nodes that hold a device; the last one may be partly used."""
        return -(-self.n_devices // self.devices_per_node)

    @property
    def units(self) -> int:
        """Scalable units that hold a node."""
        return -(-self.nodes // self.nodes_per_unit)

    def block_sizes(self) -> tuple[int, ...]:
        """Return the number of links in each of the eight blocks."""
        nics, leaves = self.nodes * self.nics_per_node, self.units * self.nics_per_node
        return (self.n_devices,) * 4 + (nics,) * 2 + (leaves,) * 2

    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.block_sizes()).tolist()]

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return routes over the switch (2 links), one leaf (4) or the spine (6)."""
        start = self._starts()
        node_a, node_b = src // self.devices_per_node, dst // self.devices_per_node
        rail_a, rail_b = self._rail(src), self._rail(dst)
        leaf_a = node_a // self.nodes_per_unit * self.nics_per_node + rail_a
        leaf_b = node_b // self.nodes_per_unit * self.nics_per_node + rail_b
        outside = node_a != node_b
        inside = ~outside & (src != dst)
        one_leaf = outside & (leaf_a == leaf_b)
        spine = outside & ~one_leaf
        to_nic, from_nic = start[2] + src, start[3] + dst
        to_leaf = start[4] + node_a * self.nics_per_node + rail_a
        from_leaf = start[5] + node_b * self.nics_per_node + rail_b
        return pack(
            2 * inside + 4 * one_leaf + 6 * spine,
            [
                (inside, (src, start[1] + dst)),
                (one_leaf, (to_nic, to_leaf, from_leaf, from_nic)),
                (
                    spine,
                    (to_nic, to_leaf, start[6] + leaf_a, start[7] + leaf_b, from_leaf, from_nic),
                ),
            ],
        )

    def _rail(self, device: Ints) -> Ints:
        return device % self.devices_per_node * self.nics_per_node // self.devices_per_node

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        start = self._starts()
        kind = int(np.searchsorted(start, link, side="right")) - 1
        index = link - start[kind]
        if kind < 4:
            node = index // self.devices_per_node
            rail = int(self._rail(np.asarray(index)))
            ends = self.device(index), f"n{node}.nvswitch" if kind < 2 else f"n{node}.nic{rail}"
        else:
            group, rail = divmod(index, self.nics_per_node)
            if kind < 6:
                ends = f"n{group}.nic{rail}", f"u{group // self.nodes_per_unit}.leaf{rail}"
            else:
                ends = f"u{group}.leaf{rail}", "spine"
        return ends if kind % 2 == 0 else ends[::-1]

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"n{index // self.devices_per_node}.gpu{index % self.devices_per_node}"

    def unit_of(self, n_devices: int) -> Indices:
        """Return the scalable unit of each device."""
        per_unit = self.nodes_per_unit * self.devices_per_node
        return (np.arange(n_devices) // per_unit).astype(np.int32)

    def counts(self) -> Mapping[str, int | float]:
        """Return units, leaves, adapters and, where a closed form exists, the bisection."""
        counts: dict[str, int | float] = {
            "units": self.units,
            "nodes_per_unit": self.nodes_per_unit,
            "nics_per_node": self.nics_per_node,
            "leaves": self.units * self.nics_per_node,
        }
        if self.bisection_bytes_per_s is not None:
            counts["bisection_bytes_per_s"] = self.bisection_bytes_per_s
        return counts


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return as many nodes as the devices need.

    Parameters
    ----------
    block : Block
        ``devices_per_node``, ``nics_per_node`` (divides the former; as many by default),
        ``nodes_per_unit``, ``max_units``, ``oversubscription`` (of leaf uplinks, 1 by default) and
        ``links`` of the classes nvlink, pcie (device to adapter), rail (adapter to leaf) and spine,
        whose bandwidth follows from the rail's.
    name : str
    n_devices : int
    """
    router = _router(block, name, n_devices)
    header = read_header(block, name)
    links = block.block("links")
    links.only(*_CLASSES)
    nvlink, pcie, rail = (read_class(links.block(c), c) for c in _CLASSES[:3])
    over = block.quantity("oversubscription", "1", default=1.0)
    uplink = router.nodes_per_unit * rail.bandwidth_bytes_per_s / over
    spine = read_class(links.block("spine"), "spine", uplink)
    return assemble(
        name=name,
        kind="superpod",
        description=header.description,
        source=header.source,
        device_name=header.device_name,
        node_of=np.arange(n_devices) // router.devices_per_node,
        devices_per_node=router.devices_per_node,
        classes=[nvlink, pcie, rail, spine],
        link_class=np.repeat([0, 0, 1, 1, 2, 2, 3, 3], router.block_sizes()),
        router=replace(router, bisection_bytes_per_s=_bisection(router, nvlink, pcie, rail, spine)),
    )


def _router(block: Block, name: str, n_devices: int) -> RailRouter:
    sizes = ("devices_per_node", "nics_per_node", "nodes_per_unit", "max_units")
    block.only(*KEYS, *sizes, "oversubscription", "links")
    per_node, per_unit = block.integer("devices_per_node"), block.integer("nodes_per_unit")
    units = block.integer("max_units")
    nics = read_nics(block, per_node)
    most = units * per_unit * per_node
    if n_devices > most:
        equation = f"max_units({units}) * nodes_per_unit({per_unit}) * devices_per_node({per_node})"
        raise too_many(name, n_devices, most, equation)
    return RailRouter(n_devices, per_node, nics, per_unit)


def _bisection(
    router: RailRouter, nvlink: LinkClass, pcie: LinkClass, rail: LinkClass, spine: LinkClass
) -> float | None:
    """Return bytes/s, one direction, between halves: of a node, or of whole nodes.

    None where halves cannot consist of whole nodes, or it is cheaper to cut through nodes.
    """
    if router.nodes == 1:
        return router.n_devices // 2 * nvlink.bandwidth_bytes_per_s
    whole = router.n_devices % (2 * router.devices_per_node) == 0
    per_nic = router.devices_per_node // router.nics_per_node
    adapter = min(rail.bandwidth_bytes_per_s, per_nic * pcie.bandwidth_bytes_per_s)
    if not whole or per_nic * nvlink.bandwidth_bytes_per_s < adapter:
        return None
    cut = cut_below_switches(
        router.nodes, router.nodes_per_unit, adapter, spine.bandwidth_bytes_per_s
    )
    return router.nics_per_node * cut
