"""Routes and counts of the kind ``cluster``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distsim.hardware.adapters import Adapters
from distsim.hardware.edges import PathRouter
from distsim.hardware.sizes import stretches
from distsim.hardware.topology import Floats, Indices, Ints, Routes, Topology
from distsim.record import record


@record
class ClusterRouter:
    """Routes of a node shifted to where the node stands, and arithmetic between nodes.

    Links lie in blocks: those of one node after another, first the node's own and then those to
    and from its adapters; adapter to leaf, leaf to adapter (one for each adapter); leaf to spine,
    spine to leaf (one for each leaf).

    Attributes
    ----------
    inside : Topology
        One node.
    adapters : Adapters
    n_devices, devices_per_node, nodes_per_unit : int
    node_rates : float64[...]
        Bandwidth in bytes/s of the links of a node.
    rail_rate, spine_rate : float
        Likewise, of a link of each class.
    """

    inside: Topology
    adapters: Adapters
    n_devices: int
    devices_per_node: int
    nodes_per_unit: int
    node_rates: Floats
    rail_rate: float
    spine_rate: float

    @property
    def nodes(self) -> int:
        """Nodes that hold a device; the last one may be partly used."""
        return -(-self.n_devices // self.devices_per_node)

    @property
    def units(self) -> int:
        """Units that hold a node."""
        return -(-self.nodes // self.nodes_per_unit)

    @property
    def nics(self) -> int:
        """Adapters of a node."""
        return len(self.adapters.names)

    def block_sizes(self) -> tuple[int, ...]:
        """Return the number of links in each of the five blocks."""
        nics, leaves = self.nodes * self.nics, self.units * self.nics
        return (self.nodes * len(self.node_rates), nics, nics, leaves, leaves)

    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.block_sizes()).tolist()]

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return the node's own routes, or ways out, over one leaf or the spine, and in."""
        node_a, a = np.divmod(src, self.devices_per_node)
        node_b, b = np.divmod(dst, self.devices_per_node)
        inner = node_a == node_b
        own = self.inside.router.route(a[inner], b[inner])
        out, back = self.adapters.out, self.adapters.back
        flat = np.concatenate([own.link, out.link, back.link])
        begin, first = len(own.link) + out.ptr[a], np.diff(out.ptr)[a]
        begin[inner], first[inner] = own.ptr[:-1], np.diff(own.ptr)
        last = np.where(inner, 0, np.diff(back.ptr)[b])
        rail = self.adapters.of_device
        middle = self._between(node_a, node_b, rail[a], rail[b])
        between = np.where(inner, 0, (middle >= 0).sum(axis=1))
        ptr = np.zeros(len(src) + 1, dtype=np.int64)
        np.cumsum(first + between + last, out=ptr[1:])
        link = np.empty(int(ptr[-1]), dtype=np.int32)
        per_node = len(self.node_rates)
        at = ptr[:-1]
        _copy(flat, begin, first, node_a * per_node, link, at)
        run, offset = stretches(between)
        link[(at + first)[run] + offset] = middle[run, offset]
        into = len(own.link) + len(out.link) + back.ptr[b]
        _copy(flat, into, last, node_b * per_node, link, at + first + between)
        return Routes(ptr, link)

    def _between(self, node_a: Ints, node_b: Ints, rail_a: Ints, rail_b: Ints) -> Ints:
        """Return the links between adapters, int64[k, 4]: two over one leaf, four over the spine.

        Those that are not there are -1 and stand at the end.
        """
        start = self._starts()
        leaf_a = node_a // self.nodes_per_unit * self.nics + rail_a
        leaf_b = node_b // self.nodes_per_unit * self.nics + rail_b
        to_leaf, from_leaf = start[1] + node_a * self.nics + rail_a, start[2] + node_b * self.nics
        from_leaf = from_leaf + rail_b
        one = leaf_a == leaf_b
        none = np.full(len(one), -1)
        return np.stack(
            [
                to_leaf,
                np.where(one, from_leaf, start[3] + leaf_a),
                np.where(one, none, start[4] + leaf_b),
                np.where(one, none, from_leaf),
            ],
            axis=1,
        )

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        start = self._starts()
        kind = int(np.searchsorted(start, link, side="right")) - 1
        if kind == 0:
            node, own = divmod(link, len(self.node_rates))
            first, second = self._in_node(own)
            return f"n{node}.{first}", f"n{node}.{second}"
        group, rail = divmod(link - start[kind], self.nics)
        if kind < 3:
            leaf = f"u{group // self.nodes_per_unit}.leaf{rail}"
            ends = f"n{group}.{self.adapters.names[rail]}", leaf
        else:
            ends = f"u{group}.leaf{rail}", "spine"
        return ends if kind % 2 else ends[::-1]

    def _in_node(self, own: int) -> tuple[str, str]:
        if own >= self.inside.n_links:
            return self.adapters.added[own - self.inside.n_links]
        first, second = self.inside.router.ends(own)
        return bare(self.inside, first), bare(self.inside, second)

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        node, own = divmod(index, self.devices_per_node)
        return f"n{node}.{bare(self.inside, self.inside.router.device(own))}"

    def unit_of(self, n_devices: int) -> Indices:
        """Return the unit of each device."""
        per_unit = self.nodes_per_unit * self.devices_per_node
        return (np.arange(n_devices) // per_unit).astype(np.int32)

    def counts(self) -> Mapping[str, int | float]:
        """Return units, leaves, adapters, the diameter and, where it has a form, the bisection."""
        counts: dict[str, int | float] = {
            "units": self.units,
            "nodes_per_unit": self.nodes_per_unit,
            "nics_per_node": self.nics,
            "adapters": self.nodes * self.nics,
            "leaves": self.units * self.nics,
            "diameter_links": self._diameter(),
        }
        bisection = self._bisection()
        return counts if bisection is None else counts | {"bisection_bytes_per_s": bisection}

    def _diameter(self) -> int:
        """Return the longest route."""
        n = self.inside.n_devices
        every = np.arange(n)
        own = (self.inside.router.route(np.full(n, a), every).ptr for a in range(n))
        longest = max(int(np.diff(ptr).max()) for ptr in own)
        if self.nodes == 1:
            return longest
        last = self.n_devices - (self.nodes - 1) * n
        apart = self.units > 1
        pairs = [(n, last, apart), (last, n, apart)]
        if self.nodes > 2:
            pairs.append((n, n, self.nodes_per_unit < self.nodes - 1))
        return max(longest, *(self._longest(*pair) for pair in pairs))

    def _longest(self, first: int, second: int, apart: bool) -> int:
        """Return the longest route from the first devices of a node to those of another one."""
        out = np.diff(self.adapters.out.ptr)[:first, None]
        back = np.diff(self.adapters.back.ptr)[:second]
        rail = self.adapters.of_device
        spine = apart | (rail[:first, None] != rail[:second])
        return int((out + back + np.where(spine, 4, 2)).max())

    def _bisection(self) -> float | None:
        """Return the bisection in bytes/s, None where it has no closed form.

        A half sends by its adapters, and by the uplinks of its leaves where these are the less.
        Devices around adapters that are inside the node may be cut off by less than that.
        """
        if self.nodes == 1:
            return self.inside.router.counts().get("bisection_bytes_per_s")
        if not self.adapters.added or self.n_devices % (2 * self.devices_per_node):
            return None
        share = self.devices_per_node // self.nics
        adapter = min(self.rail_rate, share * float(self.node_rates[-1]))
        if min(self.nodes, self.nodes_per_unit) * adapter <= self.spine_rate:
            return self.nodes // 2 * self.nics * adapter
        even = self.units % 2 == 0 and self.nodes % self.nodes_per_unit == 0
        return self.units // 2 * self.nics * self.spine_rate if even else None


def _copy(flat: Indices, begin: Ints, length: Ints, shift: Ints, link: Indices, at: Ints) -> None:
    """Copy stretches of `flat` to places in `link`, each with its links shifted."""
    run, offset = stretches(length)
    link[at[run] + offset] = flat[begin[run] + offset] + shift[run]


def bare(inside: Topology, vertex: str) -> str:
    """Return the name of a vertex without that of the one node which its kind gives it."""
    return vertex if isinstance(inside.router, PathRouter) else vertex.removeprefix("n0.")
