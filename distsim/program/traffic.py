"""Traffic: communication groups compiled onto the links of a topology."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from distsim.collectives.algorithms import Pattern, Shape, pattern
from distsim.hardware.library import Priced
from distsim.hardware.topology import Topology
from distsim.units import REL_TOL

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
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
        Bytes on a link as a fraction of the collective's size; entries of one group and link add.
    before, after : int64[entries]
        Links before and after this one on the flow's route (-1: none).
    latency_s : float64[groups]
        Of the links that count in the latency.
    hops : float64[groups, 2]
        Hops that count in the latency: inside a node, between nodes.
    serial_s_per_byte : float64[groups]
        Time that the phases of a group take one after another, for each byte; 0 for one phase.
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

    def priced(self, size_bytes: float, topology: Topology, times: float = 1.0) -> Priced:
        """Return what the first group takes by itself, as the topology's library runs it.

        Parameters
        ----------
        times : float
            How often the pattern is run.
        """
        mine = self.entry_group == 0
        link, inverse = np.unique(self.entry_link[mine], return_inverse=True)
        load = np.bincount(inverse.reshape(-1), weights=self.entry_fraction[mine])
        busy = (load / topology.capacity_bytes_per_s[link]).max(initial=0.0)
        busy = max(float(busy), float(self.serial_s_per_byte[0]))
        return topology.library.price(
            self.algorithm,
            wire_s=times * float(self.latency_s[0]),
            local_hops=times * float(self.hops[0, 0]),
            network_hops=times * float(self.hops[0, 1]),
            fluid_s=times * size_bytes * busy,
        )

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
        link, other = np.divmod(np.unique(np.concatenate(pairs)), count)
        total[several] = 0.0
        np.add.at(total, link, capacity[other])
    known = (low >= 0) & (high >= 0) & (largest < capacity)
    return np.asarray(known & (total <= capacity * (1 + REL_TOL)))


def shapes(
    groups: Ints, device_of: Ints, topology: Topology, algorithm: str
) -> list[tuple[Shape, Ints]]:
    """Return the shapes of groups, each with the groups that have it.

    The levels of a group are its nodes and, where there are several, the units that join nodes. A
    unit over which the group is not spread evenly is left out. An algorithm for tori takes the
    dimensions of the torus.

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
        return [(topology.dims, np.zeros(1, dtype=np.int64))]
    devices = device_of[groups]
    nodes = topology.node_of[devices]
    local = _even(nodes)
    unit = np.full(len(groups), n)
    if topology.unit_of is not None:
        unit = _even(topology.unit_of[devices])
        unit = np.where((unit % local == 0) & (unit > local), unit, n)
    found: dict[Shape, list[int]] = {}
    for group, (a, b) in enumerate(zip(local.tolist(), unit.tolist(), strict=True)):
        shape: Shape = (a, b // a, n // b) if b < n else (a, n // a) if a < n else (n,)
        if a == 1 and n > 1:
            shape = _uneven(nodes[group]) or shape
        found.setdefault(shape, []).append(group)
    return [(shape, np.asarray(mine, dtype=np.int64)) for shape, mine in found.items()]


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
    for shape, chosen in shapes(groups, device_of, topology, algorithm):
        flows = pattern(collective, algorithm, shape)
        parts.append((chosen, _routed(flows, device_of[groups[chosen]], topology)))
    order = np.argsort(np.concatenate([chosen for chosen, _ in parts]), kind="stable")
    return Traffic(
        name,
        algorithm,
        groups,
        role,
        collective == "send",
        *_by_group(parts),
        latency_s=np.concatenate([p.latency_s for _, p in parts])[order],
        hops=np.concatenate([p.hops for _, p in parts])[order],
        serial_s_per_byte=np.concatenate([p.serial_s_per_byte for _, p in parts])[order],
    )


@dataclass(frozen=True, slots=True)
class _Routed:
    """Flows of groups of one shape on the links."""

    group: Ints
    link: Ints
    fraction: Floats
    before: Ints
    after: Ints
    latency_s: Floats
    hops: Floats
    serial_s_per_byte: Floats


def _routed(shape: Pattern, devices: Ints, topology: Topology) -> _Routed:
    source, target = devices[:, shape.src].reshape(-1), devices[:, shape.dst].reshape(-1)
    routes = topology.routes(source, target)
    flow = np.repeat(np.arange(len(source)), np.diff(routes.ptr))
    flows = len(shape.src)
    table = len(devices), flows
    latency = routes.latency_s(topology).reshape(table) @ shape.latency_hops
    outside = (topology.node_of[source] != topology.node_of[target]).reshape(table)
    network = outside @ shape.latency_hops
    link = routes.link.astype(np.int64)
    joined = flow[1:] == flow[:-1]
    before, after = np.full(len(link), -1), np.full(len(link), -1)
    before[1:] = np.where(joined, link[:-1], -1)
    after[:-1] = np.where(joined, link[1:], -1)
    return _Routed(
        flow // max(flows, 1),
        link,
        shape.fraction[flow % max(flows, 1)],
        before,
        after,
        latency,
        np.stack([shape.latency_hops.sum() - network, network], axis=1),
        _serial(shape, flow, link, len(devices), topology),
    )


def _serial(shape: Pattern, flow: Ints, link: Ints, groups: int, topology: Topology) -> Floats:
    """Return the sum over phases of the time of the slowest link, for each group and byte."""
    phases = int(shape.phase.max(initial=0)) + 1
    if phases == 1:
        return np.zeros(groups)
    flows = len(shape.src)
    phase = shape.phase[flow % flows].astype(np.int64)
    slot = flow // flows * phases + phase
    key, inverse = np.unique(slot * topology.n_links + link, return_inverse=True)
    load = np.bincount(inverse.reshape(-1), weights=shape.fraction[flow % flows])
    slowest = np.zeros(groups * phases)
    where, which = np.divmod(key, topology.n_links)
    np.maximum.at(slowest, where, load / topology.capacity_bytes_per_s[which])
    return np.asarray(slowest.reshape(groups, phases).sum(axis=1))


def _by_group(
    parts: list[tuple[Ints, _Routed]],
) -> tuple[Ints, Ints, Floats, Ints, Ints]:
    """Return the entries of all parts, ordered by group."""
    group = np.concatenate([chosen[p.group] for chosen, p in parts])
    columns = tuple(
        np.concatenate([getattr(p, name) for _, p in parts])
        for name in ("link", "fraction", "before", "after")
    )
    if len(parts) > 1:
        order = np.argsort(group, kind="stable")
        group, columns = group[order], tuple(c[order] for c in columns)
    link, fraction, before, after = columns
    return group, link, fraction, before, after
