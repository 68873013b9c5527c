"""Kind ``rail_fat_tree``: rail-optimised nodes under a fat tree of two or three tiers.

Nodes and rails are those of a superpod: a switch inside each node, and adapter i of every node of a
unit at leaf i of that unit. What stands above the leaves is a fat tree, at any oversubscription.
With two tiers every leaf is joined to every spine. With three, the units form pods, the leaves of
one rail in a pod are joined to a group of spines of their own, and the k-th spine of every group is
joined to the k-th set of core switches, so that rails of a pod meet at the core (NVIDIA DGX
SuperPOD, reference architecture RA-09950, 2020, chapter on the compute fabric; Al-Fares 2008, "A
scalable, commodity data center network architecture", section 3, for the sets).

``spreading`` says how traffic spreads over parallel uplinks, as in a fat tree: ``ideal`` spreads it
evenly, and the uplinks of a leaf, or of a group of spines, are one link; ``hashed`` picks one
uplink for each pair of devices by a hash with the seed, as equal-cost multi-path routing does (RFC
2992), so that flows collide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from distsim.hardware.block import Block
from distsim.hardware.hashing import choices, pair_hash
from distsim.hardware.header import KEYS, read_class, too_many
from distsim.hardware.sizes import (
    check_links,
    cut_below_switches,
    finish,
    read_nics,
    read_oversubscription,
    read_three_tiers,
)
from distsim.hardware.topology import Indices, Ints, LinkClass, Routes, Topology, pack
from distsim.record import record

_CLASSES = ("nvlink", "pcie", "rail", "leaf", "pod")


@record
class RailTreeRouter:
    """Routes by arithmetic.

    Links lie in blocks, up before down: device to switch of the node, device to adapter, adapter to
    leaf, leaf to the tier above, spine to core (none with two tiers).

    Attributes
    ----------
    n_devices, devices_per_node, nics_per_node, nodes_per_unit : int
    units_per_pod : int
        Zero with two tiers.
    leaf_uplinks, pod_uplinks : int
        Links of a leaf, and of a spine of a pod, to the tier above: 1 where they are bundled.
    seed : int
    bisection_bytes_per_s : float or None
        None where no closed form is stated.
    """

    n_devices: int
    devices_per_node: int
    nics_per_node: int
    nodes_per_unit: int
    units_per_pod: int
    leaf_uplinks: int
    pod_uplinks: int
    seed: int
    bisection_bytes_per_s: float | None = None

    @property
    def nodes(self) -> int:
        """Nodes that hold a device; the last one may be partly used."""
        return -(-self.n_devices // self.devices_per_node)

    @property
    def units(self) -> int:
        """Units that hold a node."""
        return -(-self.nodes // self.nodes_per_unit)

    @property
    def pods(self) -> int:
        """Pods that hold a unit; zero with two tiers."""
        return -(-self.units // self.units_per_pod) if self.units_per_pod else 0

    @property
    def leaves(self) -> int:
        """Leaves of all units."""
        return self.units * self.nics_per_node

    @property
    def groups(self) -> int:
        """Groups of spines, one for each rail of a pod; zero with two tiers."""
        return self.pods * self.nics_per_node

    @property
    def tops(self) -> int:
        """Spines of two tiers, or core switches of three."""
        return self.leaf_uplinks * (self.pod_uplinks if self.units_per_pod else 1)

    def block_sizes(self) -> tuple[int, ...]:
        """Return the number of links in each of the ten blocks."""
        return (
            *(self.n_devices,) * 4,
            *(self.nodes * self.nics_per_node,) * 2,
            *(self.leaves * self.leaf_uplinks,) * 2,
            *(self.groups * self.tops,) * 2,
        )

    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.block_sizes()).tolist()]

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return routes over the switch (2 links), a leaf (4), spines (6) or the core (8)."""
        start = self._starts()
        node_a, node_b = src // self.devices_per_node, dst // self.devices_per_node
        rail_a, rail_b = self._rail(src), self._rail(dst)
        leaf_a, leaf_b = self._leaf(node_a, rail_a), self._leaf(node_b, rail_b)
        group_a, group_b = self._group(node_a, rail_a), self._group(node_b, rail_b)
        outside = node_a != node_b
        inside = ~outside & (src != dst)
        one_leaf = outside & (leaf_a == leaf_b)
        spine = outside & ~one_leaf & (group_a == group_b)
        core = outside & (group_a != group_b)
        word = pair_hash(self.seed, src, dst)
        way, way_on = choices(word, self.leaf_uplinks, self.pod_uplinks)
        first = start[2] + src, start[4] + node_a * self.nics_per_node + rail_a
        last = start[5] + node_b * self.nics_per_node + rail_b, start[3] + dst
        up, down = (
            start[6 + i] + leaf * self.leaf_uplinks + way for i, leaf in enumerate((leaf_a, leaf_b))
        )
        on, back = (
            start[8 + i] + (group * self.leaf_uplinks + way) * self.pod_uplinks + way_on
            for i, group in enumerate((group_a, group_b))
        )
        return pack(
            2 * inside + 4 * one_leaf + 6 * spine + 8 * core,
            [
                (inside, (src, start[1] + dst)),
                (one_leaf, (*first, *last)),
                (spine, (*first, up, down, *last)),
                (core, (*first, up, on, back, down, *last)),
            ],
        )

    def _rail(self, device: Ints) -> Ints:
        return device % self.devices_per_node * self.nics_per_node // self.devices_per_node

    def _leaf(self, node: Ints, rail: Ints) -> Ints:
        return node // self.nodes_per_unit * self.nics_per_node + rail

    def _group(self, node: Ints, rail: Ints) -> Ints:
        """Return the group of spines above a leaf; with two tiers all leaves have the same."""
        if not self.units_per_pod:
            return np.zeros_like(node)
        pod = node // (self.nodes_per_unit * self.units_per_pod)
        return np.asarray(pod * self.nics_per_node + rail)

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        start = self._starts()
        kind = int(np.searchsorted(start, link, side="right")) - 1
        index = link - start[kind]
        if kind < 4:
            node = index // self.devices_per_node
            rail = int(self._rail(np.asarray(index)))
            ends = self.device(index), f"n{node}.nvswitch" if kind < 2 else f"n{node}.nic{rail}"
        elif kind < 6:
            node, rail = divmod(index, self.nics_per_node)
            ends = f"n{node}.nic{rail}", f"u{node // self.nodes_per_unit}.leaf{rail}"
        elif kind < 8:
            leaf, way = divmod(index, self.leaf_uplinks)
            unit, rail = divmod(leaf, self.nics_per_node)
            pod = f"pod{unit // self.units_per_pod}.rail{rail}." if self.units_per_pod else ""
            ends = f"u{unit}.leaf{rail}", f"{pod}spine{way}"
        else:
            spine, core = divmod(index, self.pod_uplinks)
            group, way = divmod(spine, self.leaf_uplinks)
            pod_at, rail = divmod(group, self.nics_per_node)
            ends = f"pod{pod_at}.rail{rail}.spine{way}", f"core{way}.{core}"
        return ends if kind % 2 == 0 else ends[::-1]

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"n{index // self.devices_per_node}.gpu{index % self.devices_per_node}"

    def unit_of(self, n_devices: int) -> Indices:
        """Return the unit of each device."""
        per_unit = self.nodes_per_unit * self.devices_per_node
        return (np.arange(n_devices) // per_unit).astype(np.int32)

    def counts(self) -> Mapping[str, int | float]:
        """Return units, switches as far as links tell them apart, diameter, bisection if stated."""
        rails, several = self.nics_per_node > 1, self.units > 1
        counts: dict[str, int | float] = {
            "units": self.units,
            "nodes_per_unit": self.nodes_per_unit,
            "nics_per_node": self.nics_per_node,
            "leaves": self.leaves,
        }
        if self.units_per_pod:
            counts |= {"pods": self.pods, "spines": self.groups * self.leaf_uplinks}
            counts |= {"cores": self.tops}
            counts["diameter_links"] = 8 if rails or self.pods > 1 else 6 if several else 4
        else:
            counts["spines"] = self.tops
            counts["diameter_links"] = 6 if rails or several else 4
        if self.nodes == 1:
            counts["diameter_links"] = 2 if self.n_devices > 1 else 0
        if self.bisection_bytes_per_s is not None:
            counts["bisection_bytes_per_s"] = self.bisection_bytes_per_s
        return counts


_COUNTS = ("units_per_pod", "pod_uplinks")
_SIZES = ("devices_per_node", "nics_per_node", "nodes_per_unit", "leaf_uplinks", "max_units")


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return as many nodes, units and pods as the devices need, under the whole upper tier.

    Parameters
    ----------
    block : Block
        ``tiers``: 2 or 3; ``devices_per_node``, ``nics_per_node`` (divides the former; as many by
        default), ``nodes_per_unit``, ``leaf_uplinks``, ``max_units`` and, for three tiers,
        ``units_per_pod`` and ``pod_uplinks`` (of each spine of a pod); ``oversubscription`` of
        ``leaf`` and ``pod``, 1 by default; ``spreading``: ideal or hashed, with ``seed``; ``links``
        of the classes nvlink, pcie (device to adapter), rail (adapter to leaf), leaf and pod (with
        three tiers). The bandwidth of the latter two follows from what is below them.
    name : str
    n_devices : int
    """
    tiers = ("tiers", "oversubscription", "spreading", "seed")
    block.only(*KEYS, *_SIZES, *_COUNTS, *tiers, "links")
    three = read_three_tiers(block, *_COUNTS)
    router = _router(block, name, n_devices, three)
    names = _CLASSES if three else _CLASSES[:-1]
    links = block.block("links")
    links.only(*names)
    classes = [read_class(links.block(c), c) for c in _CLASSES[:3]]
    over = read_oversubscription(block, three)
    uplinks = router.nodes_per_unit * classes[2].bandwidth_bytes_per_s / over["leaf"]
    classes.append(read_class(links.block("leaf"), "leaf", uplinks / router.leaf_uplinks))
    if three:
        whole = uplinks * router.units_per_pod / over["pod"]
        classes.append(read_class(links.block("pod"), "pod", whole / router.tops))
    sizes = router.block_sizes()
    check_links(block, "leaf_uplinks", sum(sizes))
    blocks = [(i // 2, n) for i, n in enumerate(sizes) if n]
    per_node = router.devices_per_node
    whole_router = replace(router, bisection_bytes_per_s=_bisection(router, classes))
    return finish(block, name, n_devices, per_node, classes, blocks, whole_router)


def _router(block: Block, name: str, n_devices: int, three: bool) -> RailTreeRouter:
    per_node, per_unit = block.integer("devices_per_node"), block.integer("nodes_per_unit")
    nics, units = read_nics(block, per_node), block.integer("max_units")
    most = units * per_unit * per_node
    if n_devices > most:
        equation = f"max_units({units}) * nodes_per_unit({per_unit}) * devices_per_node({per_node})"
        raise too_many(name, n_devices, most, equation)
    hashed = block.choice("spreading", ("ideal", "hashed")) == "hashed"
    leaf_uplinks = block.integer("leaf_uplinks")
    units_per_pod, pod_uplinks = (block.integer(key) if three else 0 for key in _COUNTS)
    return RailTreeRouter(
        n_devices,
        per_node,
        nics,
        per_unit,
        units_per_pod,
        leaf_uplinks if hashed else 1,
        max(pod_uplinks, 1) if hashed else 1,
        block.integer("seed", 1),
    )


def _bisection(router: RailTreeRouter, classes: list[LinkClass]) -> float | None:
    """Return bytes/s, one direction, between halves: of a node, of whole nodes, or of pods.

    None where halves cannot consist of whole nodes or pods, or it is cheaper to cut through nodes.
    """
    nvlink, pcie, rail, uplink, *core = (c.bandwidth_bytes_per_s for c in classes)
    if router.nodes == 1:
        return router.n_devices // 2 * nvlink
    per_nic = router.devices_per_node // router.nics_per_node
    adapter = min(rail, per_nic * pcie)
    if router.n_devices % (2 * router.devices_per_node) or per_nic * nvlink < adapter:
        return None
    per_leaf = router.leaf_uplinks * uplink
    if router.pods <= 1:
        cut = cut_below_switches(router.nodes, router.nodes_per_unit, adapter, per_leaf)
        return router.nics_per_node * cut
    if router.nodes % (2 * router.nodes_per_unit * router.units_per_pod):
        return None
    below = router.units_per_pod * min(router.nodes_per_unit * adapter, per_leaf)
    return router.pods // 2 * router.nics_per_node * min(router.tops * core[0], below)
