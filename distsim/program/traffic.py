"""Traffic: communication groups compiled onto the links of a topology."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from distsim.collectives.algorithms import ORDERED, Orders, Pattern, Shape, pattern
from distsim.hardware.library import Priced
from distsim.hardware.topology import Topology
from distsim.hardware.tuner import Load
from distsim.hardware.wiring import ring_orders
from distsim.program.routed import Routed, route_flows, slowest
from distsim.record import record
from distsim.units import REL_TOL

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_Integer = TypeVar("_Integer", bound=np.integer[Any])


@record
class Traffic:
    """Groups that run the same collective with the same algorithm.

    Attributes
    ----------
    name, algorithm : str
    ranks : int64[groups, n]
        Members of each group.
    role : int64[groups]
        Initial colour: groups with different roles never share a type.
    ordered : bool
        Whether a member's position matters (sender and receiver).
    entry_group, entry_link, entry_fraction : arrays[entries]
        Bytes on a link as a fraction of the collective's size, group by group; entries of one
        group and link add.
    before, after : int64[entries]
        Links before and after this one on the flow's route (-1: none).
    latency_s : float64[groups]
        Of the links that count in the latency.
    hops : float64[groups, 2]
        Hops that count in the latency: inside a node, between nodes.
    serial_s_per_byte : float64[groups]
        Time that the phases of a group take one after another, for each byte; 0 for one phase.
    nodes, channels : int64[groups]
        Over which a group is spread; that its algorithm runs.
    sent : float64[groups]
        Bytes that the busiest member of a group sends, over the collective's size.
    bus_bytes_per_s : float64[groups, 2]
        Stated bandwidth by which bytes leave a member for others on its node, and by which they
        leave the members of a node for other nodes; infinite where none do.
    """

    name: str
    algorithm: str
    ranks: Ints
    role: Ints
    ordered: bool
    entry_group: Ints
    entry_link: Ints
    entry_fraction: Floats
    before: Ints
    after: Ints
    latency_s: Floats
    hops: Floats
    serial_s_per_byte: Floats
    nodes: Ints
    channels: Ints
    sent: Floats
    bus_bytes_per_s: Floats

    def load(self, group: int, busy_s_per_byte: float) -> Load:
        """Return what a group asks for, with the time of its bytes on links of their own."""
        return Load(
            self.ranks.shape[1],
            int(self.nodes[group]),
            int(self.channels[group]),
            float(self.sent[group]),
            float(self.latency_s[group]),
            float(self.hops[group, 0]),
            float(self.hops[group, 1]),
            busy_s_per_byte,
            float(self.bus_bytes_per_s[group, 0]),
            float(self.bus_bytes_per_s[group, 1]),
        )

    def alone(self, topology: Topology) -> Load:
        """Return what the first group asks for by itself."""
        mine = slice(0, int(np.searchsorted(self.entry_group, 1)))
        link, carried = self.entry_link[mine], self.entry_fraction[mine]
        first = np.zeros(1, dtype=np.int64)
        busy = slowest(first, link, carried, 1, topology.capacity_bytes_per_s)
        return self.load(0, max(float(busy[0]), float(self.serial_s_per_byte[0])))

    def priced(
        self, collective: str, size_bytes: float, topology: Topology, times: float = 1.0
    ) -> Priced:
        """Return what the first group takes by itself, as the topology's library runs it.

        Parameters
        ----------
        collective : str
            What it is for; the pattern of a ring all-reduce is an all-gather run twice.
        times : float
            How often the pattern is run.
        """
        load = self.alone(topology).times(times)
        return topology.library.price(collective, self.algorithm, load, size_bytes)

    def without(self, dropped: npt.NDArray[np.bool_]) -> Traffic:
        """Return the traffic without the entries on dropped links."""
        keep = ~dropped[self.entry_link]
        if keep.all():
            return self
        return replace(
            self,
            entry_group=self.entry_group[keep],
            entry_link=self.entry_link[keep],
            entry_fraction=self.entry_fraction[keep],
            before=self.before[keep],
            after=self.after[keep],
        )


def distinct(values: npt.NDArray[_Integer]) -> npt.NDArray[_Integer]:
    """Return the different values, sorted; several times as fast as `numpy.unique` of integers."""
    ordered = np.sort(values)
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]
    out: npt.NDArray[_Integer] = ordered[first]
    return out


def never_binding(families: Iterable[Traffic], capacity: Floats) -> npt.NDArray[np.bool_]:
    """Say which links can never be what limits a transfer.

    All bytes on a link come over the links before it and leave over the links after it. Where the
    link has at least the capacity of all that feed it, or of all that it feeds, together, those are
    full first; a non-blocking stage of a fat tree is the usual case.

    Returns
    -------
    ndarray of bool, shape (links,)
    """
    wide = list(families)
    links = [f.entry_link for f in wide]
    fed = _covered(links, [f.before for f in wide], capacity)
    return fed | _covered(links, [f.after for f in wide], capacity)


def _covered(links: list[Ints], others: list[Ints], capacity: Floats) -> npt.NDArray[np.bool_]:
    """Say which links are larger than each link on one side, and at least as large as all of them.

    Strictly larger than each, so that two links of one size do not excuse each other.
    """
    count = len(capacity)
    low, high = np.full(count, count), np.full(count, -1)
    largest = np.zeros(count)
    for link, other in zip(links, others, strict=True):
        np.minimum.at(low, link, other)
        np.maximum.at(high, link, other)
        np.maximum.at(largest, link, capacity[other])
    total = np.where(low == high, largest, np.inf)
    several = (low >= 0) & (low < high) & (largest < capacity)
    if several.any():
        pairs = [
            link[several[link]] * count + o[several[link]]
            for link, o in zip(links, others, strict=True)
        ]
        link, other = np.divmod(distinct(np.concatenate(pairs)), count)
        total[several] = 0.0
        np.add.at(total, link, capacity[other])
    known = (low >= 0) & (high >= 0) & (largest < capacity)
    return np.asarray(known & (total <= capacity * (1 + REL_TOL)))


def shapes(
    groups: Ints, device_of: Ints, topology: Topology, algorithm: str
) -> list[tuple[Shape, Orders, Ints]]:
    """Return the shapes of groups, the order of their rings, and the groups that have both.

    Orders are empty where the shape lays them down: only members that are wired to each other have
    rings of their own.

    The levels of a group are its nodes and, where there are several, the units that join nodes. A
    unit over which the group is not spread evenly is left out. An algorithm for tori takes the
    dimensions of the torus, those that do not close in on themselves as negative lengths.

    Raises
    ------
    ValueError
        For a torus algorithm on groups that are no torus.
    """
    n = groups.shape[1]
    if algorithm == "torus":
        if prod(topology.dims) != n or len(groups) > 1:
            dims = " * ".join(map(str, topology.dims)) or "no torus"
            raise ValueError(f"torus needs all devices of a torus, and {n} members are not {dims}")
        closed = zip(topology.dims, topology.wrap, strict=True)
        grid = tuple(length if wrap or length < 3 else -length for length, wrap in closed)
        return [(grid, (), np.zeros(1, dtype=np.int64))]
    devices = device_of[groups]
    nodes = topology.node_of[devices]
    local = _even(nodes)
    unit = np.full(len(groups), n)
    if topology.unit_of is not None:
        unit = _even(topology.unit_of[devices])
        unit = np.where((unit % local == 0) & (unit > local), unit, n)
    found: dict[tuple[Shape, Orders], list[int]] = {}
    known: dict[bytes, Shape] = {}
    follows = topology.wired and algorithm in ORDERED
    changes = np.packbits(np.diff(nodes, axis=1) != 0, axis=1)
    same = (local == local[0]) & (unit == unit[0]) & (changes == changes[0]).all(axis=1)
    if len(groups) > 1 and same.all() and not follows:
        # One stands for all.
        first, its_orders, _ = shapes(groups[:1], device_of, topology, algorithm)[0]
        return [(first, its_orders, np.arange(len(groups), dtype=np.int64))]
    for group, (a, b) in enumerate(zip(local.tolist(), unit.tolist(), strict=True)):
        shape: Shape = (a, b // a, n // b) if b < n else (a, n // a) if a < n else (n,)
        if a == 1 and n > 1:
            where = changes[group].tobytes()
            if where not in known:
                known[where] = _uneven(nodes[group]) or shape
            shape = known[where]
        orders = ring_orders(topology, devices[group].astype(np.int64), a) if follows else ()
        found.setdefault((shape, orders), []).append(group)
    return [(*key, np.asarray(mine, dtype=np.int64)) for key, mine in found.items()]


def _uneven(nodes: npt.NDArray[np.int32]) -> Shape | None:
    """Return the shape of a group whose nodes differ in its members; None where each has one."""
    ends = np.flatnonzero(np.diff(nodes, append=-1))
    sizes = np.diff(ends, prepend=-1)
    return None if sizes.max() == 1 else (0, *sizes.tolist())


def _even(block: npt.NDArray[np.int32]) -> Ints:
    """Return how many members each group has in a block, or 1 where its blocks differ in that."""
    n = block.shape[1]
    changes = np.diff(block, axis=1) != 0
    blocks = changes.sum(axis=1) + 1
    size = np.where(n % blocks == 0, n // blocks, 1)
    expected = np.arange(1, n)[None, :] % size[:, None] == 0
    return np.where((changes == expected).all(axis=1), size, 1).astype(np.int64)


def compile_traffic(
    name: str,
    groups: Ints,
    role: Ints,
    collective: str,
    algorithm: str,
    device_of: Ints,
    topology: Topology,
) -> Traffic:
    """Route every flow of every group.

    Parameters
    ----------
    groups : int64[groups, n]
        Ranks of each group, ordered by node.
    role : int64[groups]

    Raises
    ------
    ValueError
        For a group that the algorithm cannot run on.
    """
    parts = []
    for shape, orders, chosen in shapes(groups, device_of, topology, algorithm):
        flows = pattern(collective, algorithm, shape, orders)
        parts.append((chosen, route_flows(flows, device_of[groups[chosen]], topology)))
    return _joined(name, algorithm, groups, role, collective == "send", parts)


def route_pattern(
    name: str,
    algorithm: str,
    groups: Ints,
    role: Ints,
    flows: Pattern,
    device_of: Ints,
    topology: Topology,
) -> Traffic:
    """Route flows that every group runs and that are no function of its shape.

    Parameters
    ----------
    groups : int64[groups, n]
        Ranks of each group; the flows name their positions.
    role : int64[groups]
    """
    everyone = np.arange(len(groups), dtype=np.int64)
    parts = [(everyone, route_flows(flows, device_of[groups], topology))]
    return _joined(name, algorithm, groups, role, False, parts)


def _joined(
    name: str,
    algorithm: str,
    groups: Ints,
    role: Ints,
    ordered: bool,
    parts: list[tuple[Ints, Routed]],
) -> Traffic:
    """Return the traffic of groups that were routed in parts, in the order of the groups."""
    order = np.argsort(np.concatenate([chosen for chosen, _ in parts]), kind="stable")
    each = (
        "latency_s",
        "hops",
        "serial_s_per_byte",
        "nodes",
        "channels",
        "sent",
        "bus_bytes_per_s",
    )
    columns = {c: np.concatenate([getattr(p, c) for _, p in parts])[order] for c in each}
    return Traffic(name, algorithm, groups, role, ordered, *_by_group(parts), **columns)


def _by_group(
    parts: list[tuple[Ints, Routed]],
) -> tuple[Ints, Ints, Floats, Ints, Ints]:
    """Return the entries of all parts, ordered by group."""
    if len(parts) == 1:
        ((chosen, p),) = parts
        return chosen[p.group], p.link, p.fraction, p.before, p.after
    group = np.concatenate([chosen[p.group] for chosen, p in parts])
    columns = tuple(
        np.concatenate([getattr(p, name) for _, p in parts])
        for name in ("link", "fraction", "before", "after")
    )
    order = np.argsort(group, kind="stable")
    link, fraction, before, after = (column[order] for column in columns)
    return group[order], link, fraction, before, after
