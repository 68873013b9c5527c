"""Kind ``dragonfly``: groups of routers, all joined within a group, and all groups joined.

Between every two groups there is one link each way. The links of a group to the other groups, in
the order in which those follow it, are spread evenly over its routers. Routes are minimal: at most
one local link, one global link and one local link (Kim 2008, "Technology-driven, highly-scalable
dragonfly topology", section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distsim.hardware.block import Block
from distsim.hardware.header import KEYS, too_many
from distsim.hardware.sizes import check_links, finish, read_links
from distsim.hardware.topology import Ints, Routes, Topology, pack


@dataclass(frozen=True, slots=True)
class DragonflyRouter:
    """Routes by arithmetic.

    Links lie in blocks: device to router, router to device, local links by their first router, and
    global links by their first group.

    Attributes
    ----------
    n_devices, groups, routers : int
        Routers of one group.
    devices_per_router : int
    terminal, local, across : float
        Bandwidth in bytes/s of one link of each class, one direction.
    """

    n_devices: int
    groups: int
    routers: int
    devices_per_router: int
    terminal: float
    local: float
    across: float

    def block_sizes(self) -> tuple[int, int, int, int]:
        """Return the number of links in each of the four blocks."""
        local = self.groups * self.routers * (self.routers - 1)
        return self.n_devices, self.n_devices, local, self.groups * (self.groups - 1)

    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.block_sizes()).tolist()]

    def _gateway(self, group: Ints, other: Ints) -> Ints:
        """Return the router of a group whose global link leads to another group."""
        port = (other - group - 1) % self.groups
        return port * self.routers // max(1, self.groups - 1)

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return up, at most one local, one global and one local link, and down."""
        start = self._starts()
        (group_a, router_a), (group_b, router_b) = (
            np.divmod(end // self.devices_per_router, self.routers) for end in (src, dst)
        )
        apart, between = src != dst, group_a != group_b
        out = np.where(between, self._gateway(group_a, group_b), router_b)
        back = np.where(between, self._gateway(group_b, group_a), router_b)
        before, after = out != router_a, back != router_b
        first = start[2] + self._local(group_a, router_a, out)
        across = start[3] + group_a * (self.groups - 1) + group_b - (group_b > group_a)
        last = start[2] + self._local(group_b, back, router_b)
        down = start[1] + dst
        plain = apart & ~between
        return pack(
            apart * (2 + before.astype(np.int64) + between + after),
            [
                (plain & ~before, (src, down)),
                (plain & before, (src, first, down)),
                (between & ~before & ~after, (src, across, down)),
                (between & before & ~after, (src, first, across, down)),
                (between & ~before & after, (src, across, last, down)),
                (between & before & after, (src, first, across, last, down)),
            ],
        )

    def _local(self, group: Ints, first: Ints, second: Ints) -> Ints:
        at = (group * self.routers + first) * (self.routers - 1)
        return np.asarray(at + second - (second > first))

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        start = self._starts()
        kind = int(np.searchsorted(start, link, side="right")) - 1
        index = link - start[kind]
        if kind < 2:
            group, router = divmod(index // self.devices_per_router, self.routers)
            ends = self.device(index), f"g{group}.r{router}"
            return ends if kind == 0 else ends[::-1]
        if kind == 2:
            first, second = divmod(index, self.routers - 1)
            group, router = divmod(first, self.routers)
            return f"g{group}.r{router}", f"g{group}.r{second + (second >= router)}"
        group, other = divmod(index, self.groups - 1)
        other += other >= group
        here, there = (
            int(self._gateway(np.asarray(a), np.asarray(b)))
            for a, b in ((group, other), (other, group))
        )
        return f"g{group}.r{here}", f"g{other}.r{there}"

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return f"gpu{index}"

    def counts(self) -> Mapping[str, int | float]:
        """Return groups and routers and, where all places are taken, diameter and bisection.

        The bisection is that between halves of the groups, along minimal routes.
        """
        counts: dict[str, int | float] = {
            "groups": self.groups,
            "routers": self.groups * self.routers,
        }
        full = self.groups * self.routers * self.devices_per_router
        if self.n_devices == full > 1:
            inner = int(self.routers > 1)
            counts["diameter_links"] = 2 + (1 + 2 * inner if self.groups > 1 else inner)
            if self.groups % 2 == 0:
                across = (self.groups // 2) ** 2 * self.across
                counts["bisection_bytes_per_s"] = min(across, self.n_devices // 2 * self.terminal)
        return counts


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return a dragonfly.

    Parameters
    ----------
    block : Block
        ``groups``; ``routers_per_group``; ``devices_per_router``; ``global_links_per_router``:
        ports for links to other groups, of which there must be enough; ``devices_per_node``, 1 by
        default; ``links`` of the classes terminal (device to router), local and global.
    name : str
    n_devices : int
        Devices that are used: the first ones. All groups and routers are there.
    """
    sizes = ("groups", "routers_per_group", "devices_per_router", "global_links_per_router")
    block.only(*KEYS, *sizes, "devices_per_node", "links")
    groups, routers, devices, ports = (block.integer(size) for size in sizes)
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
    terminal, local, across = read_links(block, "terminal", "local", "global")
    rates = (c.bandwidth_bytes_per_s for c in (terminal, local, across))
    router = DragonflyRouter(n_devices, groups, routers, devices, *rates)
    sizes_of = router.block_sizes()
    check_links(block, "groups", sum(sizes_of))
    blocks = list(zip((0, 0, 1, 2), sizes_of, strict=True))
    per_node = block.integer("devices_per_node", 1)
    return finish(block, name, n_devices, per_node, [terminal, local, across], blocks, router)
