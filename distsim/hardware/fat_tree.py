"""Kind ``fat_tree``: nodes under leaf switches, joined by two or three tiers of switches.

Each device has one link to a leaf, leaves fill in the order of the devices. With two tiers every
leaf is joined to every spine. With three, leaves and aggregation switches form pods, and the k-th
aggregation switch of every pod is joined to the k-th set of core switches (Al-Fares 2008, "A
scalable, commodity data center network architecture", section 3). Nodes have a switch of their own
inside.

``spreading`` says how traffic spreads over parallel uplinks. ``ideal`` spreads it evenly: the
switches of a tier are one vertex and the uplinks of a switch are one link. ``hashed`` picks one
uplink a pair of devices by a hash of source, target and seed, as equal-cost multi-path routing does
(RFC 2992), so that flows collide.
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
    read_oversubscription,
    read_three_tiers,
)
from distsim.hardware.topology import Indices, Ints, LinkClass, Routes, Topology, pack
from distsim.record import record

_COUNTS = ("devices_per_leaf", "leaf_uplinks", "leaves_per_pod", "pod_uplinks", "max_leaves")
_CLASSES = ("nvlink", "nic", "leaf", "pod")


@record
class TreeRouter:
    """Routes by arithmetic.

    Links lie in blocks, up before down: device to switch of the node (none where a node is one
    device), device to leaf, leaf to the tier above, aggregation to core (none with two tiers).

    Attributes
    ----------
    n_devices, devices_per_node, devices_per_leaf : int
    leaves_per_pod : int
        Zero with two tiers.
    leaf_uplinks, pod_uplinks : int
        Links of a leaf, and of an aggregation switch, to the tier above: 1 where they are bundled.
    seed : int
    bisection_bytes_per_s : float or None
        None where no closed form is stated.
    """

    n_devices: int
    devices_per_node: int
    devices_per_leaf: int
    leaves_per_pod: int
    leaf_uplinks: int
    pod_uplinks: int
    seed: int
    bisection_bytes_per_s: float | None = None

    @property
    def leaves(self) -> int:
        """Leaves that have a device."""
        return -(-self.n_devices // self.devices_per_leaf)

    @property
    def pods(self) -> int:
        """Pods that have a leaf; zero with two tiers."""
        return -(-self.leaves // self.leaves_per_pod) if self.leaves_per_pod else 0

    @property
    def cores(self) -> int:
        """Spines or core switches."""
        return self.leaf_uplinks * (self.pod_uplinks if self.leaves_per_pod else 1)

    def block_sizes(self) -> tuple[int, ...]:
        """Return the number of links in each of the eight blocks."""
        inside = self.n_devices if self.devices_per_node > 1 else 0
        return (
            *(inside,) * 2,
            *(self.n_devices,) * 2,
            *(self.leaves * self.leaf_uplinks,) * 2,
            *(self.pods * self.cores,) * 2,
        )

    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.block_sizes()).tolist()]

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return routes within a node or a leaf (2 links), a pod (4) or over the core (6)."""
        start = self._starts()
        leaf_a, leaf_b = src // self.devices_per_leaf, dst // self.devices_per_leaf
        inside = (src // self.devices_per_node == dst // self.devices_per_node) & (src != dst)
        outside = ~inside & (src != dst)
        leaf = outside & (leaf_a == leaf_b)
        per_pod = self.leaves_per_pod or self.leaves
        pod_a, pod_b = leaf_a // per_pod, leaf_b // per_pod
        pod = outside & ~leaf & (pod_a == pod_b)
        core = outside & (pod_a != pod_b)
        way, way_on = self._ways(src, dst)
        first, last = start[2] + src, start[3] + dst
        up, down = (
            start[4 + i] + leaf * self.leaf_uplinks + way for i, leaf in enumerate((leaf_a, leaf_b))
        )
        on, back = (
            start[6 + i] + (pod * self.leaf_uplinks + way) * self.pod_uplinks + way_on
            for i, pod in enumerate((pod_a, pod_b))
        )
        return pack(
            2 * (inside | leaf) + 4 * pod + 6 * core,
            [
                (inside, (start[0] + src, start[1] + dst)),
                (leaf, (first, last)),
                (pod, (first, up, down, last)),
                (core, (first, up, on, back, down, last)),
            ],
        )

    def _ways(self, src: Ints, dst: Ints) -> tuple[Ints, Ints]:
        """Return which uplink of the leaf and which of the aggregation switch each pair takes."""
        if self.leaf_uplinks == self.pod_uplinks == 1:
            return np.zeros_like(src), np.zeros_like(src)
        return choices(pair_hash(self.seed, src, dst), self.leaf_uplinks, self.pod_uplinks)

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        start = self._starts()
        kind = int(np.searchsorted(start, link, side="right")) - 1
        index = link - start[kind]
        if kind < 4:
            leaf = index // self.devices_per_leaf
            above = f"n{index // self.devices_per_node}.nvswitch" if kind < 2 else f"leaf{leaf}"
            ends = self.device(index), above
        elif kind < 6:
            leaf, way = divmod(index, self.leaf_uplinks)
            pod = f"pod{leaf // self.leaves_per_pod}.agg" if self.leaves_per_pod else "spine"
            ends = f"leaf{leaf}", f"{pod}{way}"
        else:
            pod_way, core = divmod(index, self.pod_uplinks)
            at, way = divmod(pod_way, self.leaf_uplinks)
            ends = f"pod{at}.agg{way}", f"core{way}.{core}"
        return ends if kind % 2 == 0 else ends[::-1]

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"n{index // self.devices_per_node}.gpu{index % self.devices_per_node}"

    def unit_of(self, n_devices: int) -> Indices:
        """Return the pod of each device; its leaf with two tiers."""
        per_unit = self.devices_per_leaf * max(self.leaves_per_pod, 1)
        return (np.arange(n_devices) // per_unit).astype(np.int32)

    def counts(self) -> Mapping[str, int | float]:
        """Return switches as far as links tell them apart, diameter and, if stated, bisection."""
        spread = [self.leaves > 1, self.pods > 1]
        counts: dict[str, int | float] = {"leaves": self.leaves}
        if self.leaves_per_pod:
            counts |= {"pods": self.pods, "aggregations": self.pods * self.leaf_uplinks}
        counts |= {"cores" if self.leaves_per_pod else "spines": self.cores}
        counts["diameter_links"] = 2 * (1 + sum(spread)) if self.n_devices > 1 else 0
        if self.bisection_bytes_per_s is not None:
            counts["bisection_bytes_per_s"] = self.bisection_bytes_per_s
        return counts


@record
class _Tiers:
    """Ports of the switches of each tier, and how many leaves there may be."""

    devices_per_leaf: int
    leaf_uplinks: int
    leaves_per_pod: int
    pod_uplinks: int
    max_leaves: int


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return as many leaves and pods as the devices need, under the whole upper tier.

    Parameters
    ----------
    block : Block
        ``tiers``: 2 or 3; ``devices_per_node``, 1 by default; ``radix``: ports of every switch, or
        the counts ``devices_per_leaf``, ``leaf_uplinks``, ``max_leaves`` and, for three tiers,
        ``leaves_per_pod`` and ``pod_uplinks`` (of each aggregation switch); ``oversubscription``
        of ``leaf`` and ``pod``, 1 by default; ``spreading``: ideal or hashed, with ``seed``;
        ``links`` of the classes nvlink (where nodes have several devices), nic, leaf and pod (with
        three tiers). The bandwidth of the latter two follows from what is below them.
    name : str
    n_devices : int
    """
    block.only(
        *KEYS,
        *("tiers", "devices_per_node", "radix", *_COUNTS),
        *("oversubscription", "spreading", "seed", "links"),
    )
    three = read_three_tiers(block, "leaves_per_pod", "pod_uplinks")
    over = read_oversubscription(block, three)
    tiers = _by_radix(block, three, over) if block.has("radix") else _by_counts(block, three)
    most = tiers.devices_per_leaf * tiers.max_leaves
    if n_devices > most:
        equation = f"devices_per_leaf({tiers.devices_per_leaf}) * max_leaves({tiers.max_leaves})"
        raise too_many(name, n_devices, most, equation)
    hashed = block.choice("spreading", ("ideal", "hashed")) == "hashed"
    seed = block.integer("seed", 1)
    router = TreeRouter(
        n_devices,
        block.integer("devices_per_node", 1),
        tiers.devices_per_leaf,
        tiers.leaves_per_pod,
        tiers.leaf_uplinks if hashed else 1,
        tiers.pod_uplinks if hashed else 1,
        seed,
    )
    sizes = router.block_sizes()
    check_links(block, "radix" if block.has("radix") else "leaf_uplinks", sum(sizes))
    return _assemble(block, name, router, tiers, over)


def _assemble(
    block: Block, name: str, router: TreeRouter, tiers: _Tiers, over: Mapping[str, float]
) -> Topology:
    sizes = router.block_sizes()
    three = bool(tiers.leaves_per_pod)
    wanted = [c for c, size in zip(_CLASSES, sizes[::2], strict=True) if size]
    links = block.block("links")
    links.only(*wanted)
    classes = {c: read_class(links.block(c), c) for c in wanted if c in ("nvlink", "nic")}
    below = classes["nic"].bandwidth_bytes_per_s * tiers.devices_per_leaf
    uplinks = below / over["leaf"]
    classes["leaf"] = read_class(links.block("leaf"), "leaf", uplinks / router.leaf_uplinks)
    if three:
        whole = uplinks * tiers.leaves_per_pod / over["pod"]
        classes["pod"] = read_class(links.block("pod"), "pod", whole / router.cores)
    index = {c: i for i, c in enumerate(wanted)}
    kinds = [c for c in _CLASSES for _ in "ud"]
    return finish(
        block,
        name,
        router.n_devices,
        router.devices_per_node,
        [classes[c] for c in wanted],
        [(index[c], n) for c, n in zip(kinds, sizes, strict=True) if n],
        replace(router, bisection_bytes_per_s=_bisection(router, classes)),
    )


def _bisection(router: TreeRouter, classes: Mapping[str, LinkClass]) -> float | None:
    """Return bytes/s, one direction, between halves: of a node, of whole nodes, or of pods.

    None where halves cannot consist of whole nodes or pods, where a node has devices on two
    leaves, or where it is cheaper to cut through nodes.
    """
    nic = classes["nic"].bandwidth_bytes_per_s
    per_node = router.devices_per_node
    if per_node > 1:
        inside = classes["nvlink"].bandwidth_bytes_per_s
        if router.n_devices <= per_node:
            return router.n_devices // 2 * inside
        if router.devices_per_leaf % per_node or inside < nic:
            return None
    if router.n_devices % (2 * per_node):
        return 0.0 if router.n_devices == 1 else None
    per_leaf = router.leaf_uplinks * classes["leaf"].bandwidth_bytes_per_s
    nodes, per_switch = router.n_devices // per_node, router.devices_per_leaf // per_node
    if router.pods <= 1:
        return cut_below_switches(nodes, per_switch, per_node * nic, per_leaf)
    per_pod = router.leaves_per_pod * router.devices_per_leaf
    if router.n_devices % (2 * per_pod):
        return None
    core = router.cores * classes["pod"].bandwidth_bytes_per_s
    below = router.leaves_per_pod * min(router.devices_per_leaf * nic, per_leaf)
    return router.pods // 2 * min(core, below)


def _by_counts(block: Block, three: bool) -> _Tiers:
    return _Tiers(
        block.integer("devices_per_leaf"),
        block.integer("leaf_uplinks"),
        block.integer("leaves_per_pod") if three else 0,
        block.integer("pod_uplinks") if three else 1,
        block.integer("max_leaves"),
    )


def _by_radix(block: Block, three: bool, over: Mapping[str, float]) -> _Tiers:
    radix = block.integer("radix")
    for key in _COUNTS:
        if block.has(key):
            raise block.error(
                "DS402",
                f"{key} follows from radix({radix})",
                key=key,
                rule="a tree states its radix, or its counts",
                fix=f"remove {key} or radix",
            )
    ports = [_split(block, radix, tier, share) for tier, share in over.items()]
    (down, up), (leaves, on) = ports if three else (ports[0], (0, 1))
    return _Tiers(down, up, leaves, on, leaves * radix if three else radix)


def _split(block: Block, radix: int, tier: str, over: float) -> tuple[int, int]:
    """Return the ports of a switch that lead down and up."""
    up = round(radix / (1 + over))
    down = radix - up
    if up < 1 or down < 1 or abs(down - over * up) > 1e-9 * radix:
        raise block.error(
            "DS419",
            f"radix({radix}) does not split {over:g} to 1 at the {tier}",
            key="radix",
            value=radix,
            rule="ports down = oversubscription * ports up, both whole and together the radix",
            fix="change one of the two, or state counts instead of a radix",
        )
    return down, up
