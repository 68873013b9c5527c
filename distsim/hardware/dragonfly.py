"""Kind ``dragonfly``: groups of routers, all joined within a group, and all groups joined.

Between every two groups there is one link each way. The links of a group to the other groups, in
the order in which those follow it, are spread evenly over its routers (Kim, Dally, Scott and Abts
2008, "Technology-driven, highly-scalable dragonfly topology", section 3). Nodes of several devices
may have a switch of their own inside.

``routing`` says which way traffic between groups takes. ``minimal`` crosses one global link: at
most one local link before it and one after. ``valiant`` goes over a third group, picked for each
pair of devices by a hash with the seed, and crosses two (Valiant's algorithm, section 4.1 of the
same paper): twice the load in all, but evenly spread whatever the pattern. Real networks choose
between the two by the length of their queues (UGAL), so that they lie between these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from distsim.hardware.block import Block
from distsim.hardware.hashing import pair_hash
from distsim.hardware.header import KEYS, too_many
from distsim.hardware.sizes import check_links, finish, read_links
from distsim.hardware.topology import Indices, Ints, Routes, Topology
from distsim.record import record

Flags = npt.NDArray[np.bool_]

_SIZES = ("groups", "routers_per_group", "devices_per_router", "global_links_per_router")


@record
class DragonflyRouter:
    """Routes by arithmetic.

    Links lie in blocks: device to router, router to device, local links by their first router,
    global links by their first group, and, where nodes have a switch, device to switch and back.

    Attributes
    ----------
    n_devices, groups, routers : int
        Routers of one group.
    devices_per_router : int
    devices_per_switch : int
        Devices of a node that has a switch inside; 1 where it has none.
    seed : int
        Of the groups on the way; 0 for minimal routes.
    terminal, local, across : float
        Bandwidth in bytes/s of one link of each class, one direction.
    """

    n_devices: int
    groups: int
    routers: int
    devices_per_router: int
    devices_per_switch: int
    seed: int
    terminal: float
    local: float
    across: float

    def block_sizes(self) -> tuple[int, ...]:
        """Return the number of links in each of the six blocks."""
        local = self.groups * self.routers * (self.routers - 1)
        inside = self.n_devices if self.devices_per_switch > 1 else 0
        across = self.groups * (self.groups - 1)
        return self.n_devices, self.n_devices, local, across, inside, inside

    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.block_sizes()).tolist()]

    def _gateway(self, group: Ints, other: Ints) -> Ints:
        """Return the router of a group whose global link leads to another group."""
        port = (other - group - 1) % self.groups
        return port * self.routers // max(1, self.groups - 1)

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return up, local and global links by turns, and down; or over the switch of a node."""
        start = self._starts()
        (group_a, router_a), (group_b, router_b) = (
            np.divmod(end // self.devices_per_router, self.routers) for end in (src, dst)
        )
        inside = (src != dst) & (src // self.devices_per_switch == dst // self.devices_per_switch)
        outside = (src != dst) & ~inside
        between = outside & (group_a != group_b)
        via = self._via(src, dst, group_a, group_b)
        detour = between & (via != group_b)
        out = np.where(between, self._gateway(group_a, via), router_b)
        come, go = self._gateway(via, group_a), self._gateway(via, group_b)
        back = self._gateway(group_b, np.where(detour, via, group_a))
        return _present(
            [
                (outside, src),
                (outside & (out != router_a), self._local(group_a, router_a, out)),
                (between, self._global(group_a, via)),
                (detour & (come != go), self._local(via, come, go)),
                (detour, self._global(via, group_b)),
                (between & (back != router_b), self._local(group_b, back, router_b)),
                (outside, start[1] + dst),
                (inside, start[4] + src),
                (inside, start[5] + dst),
            ]
        )

    def _via(self, src: Ints, dst: Ints, group_a: Ints, group_b: Ints) -> Ints:
        """Return the group that each pair goes over: its target's own on a minimal route."""
        if not self.seed or self.groups < 3:
            return group_b
        others = pair_hash(self.seed, src, dst) % np.uint64(self.groups - 2)
        # Numbers of the other groups skip the two at the ends, the smaller one first.
        via = others.astype(np.int64)
        for end in (np.minimum(group_a, group_b), np.maximum(group_a, group_b)):
            via = via + (via >= end)
        return np.where(group_a == group_b, group_b, via)

    def _local(self, group: Ints, first: Ints, second: Ints) -> Ints:
        at = (group * self.routers + first) * (self.routers - 1)
        return np.asarray(self._starts()[2] + at + second - (second > first))

    def _global(self, group: Ints, other: Ints) -> Ints:
        at = group * (self.groups - 1)
        return np.asarray(self._starts()[3] + at + other - (other > group))

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        start = self._starts()
        kind = int(np.searchsorted(start, link, side="right")) - 1
        index = link - start[kind]
        if kind == 2:
            first, second = divmod(index, self.routers - 1)
            group, router = divmod(first, self.routers)
            return f"g{group}.r{router}", f"g{group}.r{second + (second >= router)}"
        if kind == 3:
            group, other = divmod(index, self.groups - 1)
            other += other >= group
            here, there = (
                int(self._gateway(np.asarray(a), np.asarray(b)))
                for a, b in ((group, other), (other, group))
            )
            return f"g{group}.r{here}", f"g{other}.r{there}"
        group, router = divmod(index // self.devices_per_router, self.routers)
        above = f"g{group}.r{router}" if kind < 2 else f"n{index // self.devices_per_switch}.switch"
        ends = self.device(index), above
        return ends if kind % 2 == 0 else ends[::-1]

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"gpu{index}"

    def unit_of(self, n_devices: int) -> Indices:
        """Return the group of each device."""
        per_group = self.routers * self.devices_per_router
        return (np.arange(n_devices) // per_group).astype(np.int32)

    def counts(self) -> Mapping[str, int | float]:
        """Return groups and routers and, where all places are taken, diameter and bisection.

        Both are those of minimal routes. The bisection is that between halves of the groups, stated
        where local links are wide enough for that to be the least cut.
        """
        counts: dict[str, int | float] = {
            "groups": self.groups,
            "routers": self.groups * self.routers,
        }
        full = self.groups * self.routers * self.devices_per_router
        if self.n_devices == full > 1:
            inner = int(self.routers > 1)
            counts["diameter_links"] = 2 + (1 + 2 * inner if self.groups > 1 else inner)
            if self.groups % 2 == 0 and self._whole_groups():
                across = (self.groups // 2) ** 2 * self.across
                counts["bisection_bytes_per_s"] = min(across, self.n_devices // 2 * self.terminal)
        return counts

    def _whole_groups(self) -> bool:
        """Return whether a least cut surely goes between groups.

        Of g groups of r routers let s be cut through. Each costs r - 1 local links or more. The
        others lie in halves that differ by s groups at most, so that (g^2 - 2 g s) / 4 global links
        or more are cut between them: s cuts through groups spare g s / 2 global links at most.
        """
        joined = (self.routers - 1) * self.local >= self.groups / 2 * self.across
        whole = self.routers * self.devices_per_router % self.devices_per_switch == 0
        return whole and (joined or self.routers == 1)


def _present(columns: Sequence[tuple[Flags, Ints]]) -> Routes:
    """Return routes that take the link of every column that is marked, in order."""
    marked = np.stack([flags for flags, _ in columns], axis=1)
    links = np.stack([link for _, link in columns], axis=1)
    ptr = np.zeros(len(marked) + 1, dtype=np.int64)
    np.cumsum(marked.sum(axis=1), out=ptr[1:])
    return Routes(ptr, links[marked].astype(np.int32))


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return a dragonfly.

    Parameters
    ----------
    block : Block
        ``groups``; ``routers_per_group``; ``devices_per_router``; ``global_links_per_router``:
        ports for links to other groups, of which there must be enough; ``devices_per_node``, 1 by
        default; ``routing``: minimal, which is the default, or valiant, with ``seed``; ``links`` of
        the classes terminal (device to router), local, global and, where nodes of several devices
        have a switch inside, nvlink.
    name : str
    n_devices : int
        Devices that are used: the first ones. All groups and routers are there.
    """
    block.only(*KEYS, *_SIZES, "devices_per_node", "routing", "seed", "links")
    groups, routers, devices, ports = (block.integer(size) for size in _SIZES)
    most = groups * routers * devices
    if n_devices > most:
        equation = (
            f"groups({groups}) * routers_per_group({routers}) * devices_per_router({devices})"
        )
        raise too_many(name, n_devices, most, equation)
    if groups - 1 > routers * ports:
        raise block.error(
            "DS420",
            f"a group has {routers * ports} global links for {groups - 1} other groups",
            key="groups",
            value=groups,
            rule=f"groups - 1 <= routers_per_group({routers}) * global_links_per_router({ports})",
            fix=f"use at most {routers * ports + 1} groups, or more ports",
        )
    per_node = block.integer("devices_per_node", 1)
    switched = block.block("links").has("nvlink") and per_node > 1
    classes = read_links(block, "terminal", "local", "global", *(["nvlink"] if switched else []))
    rates = (c.bandwidth_bytes_per_s for c in classes[:3])
    inside = per_node if switched else 1
    seed = _seed(block)
    router = DragonflyRouter(n_devices, groups, routers, devices, inside, seed, *rates)
    sizes = router.block_sizes()
    check_links(block, "groups", sum(sizes))
    blocks = [(c, n) for c, n in zip((0, 0, 1, 2, 3, 3), sizes, strict=True) if n or c < 3]
    return finish(block, name, n_devices, per_node, classes, blocks, router)


def _seed(block: Block) -> int:
    """Return the seed of Valiant's algorithm, or 0 for minimal routes."""
    seed = block.integer("seed", 1)
    if not block.has("routing"):
        return 0
    return seed if block.choice("routing", ("minimal", "valiant")) == "valiant" else 0
