"""Flows of a pattern on the links of a topology: what each link carries, and what it takes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from distsim.collectives.algorithms import Pattern
from distsim.hardware.topology import Topology
from distsim.record import record

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@record
class Routed:
    """Flows of groups of one shape on the links; fields are those of `Traffic`."""

    group: Ints
    link: Ints
    fraction: Floats
    before: Ints
    after: Ints
    latency_s: Floats
    hops: Floats
    serial_s_per_byte: Floats
    nodes: Ints
    channels: Ints
    sent: Floats
    bus_bytes_per_s: Floats


def route_flows(shape: Pattern, devices: Ints, topology: Topology) -> Routed:
    """Route the flows of groups that all run the same pattern.

    Parameters
    ----------
    devices : int64[groups, n]
        Of the members of each group.
    """
    source, target = devices[:, shape.src].reshape(-1), devices[:, shape.dst].reshape(-1)
    routes = topology.routes(source, target)
    table = len(devices), len(shape.src)
    hops = np.diff(routes.ptr)
    flow, group, place = (
        np.repeat(np.broadcast_to(index, table).reshape(-1), hops)
        for index in (np.arange(len(source)).reshape(table), *np.ogrid[: table[0], : table[1]])
    )
    latency = routes.latency_s(topology).reshape(table) @ shape.latency_hops
    outside = (topology.node_of[source] != topology.node_of[target]).reshape(table)
    network = outside @ shape.latency_hops
    link = routes.link.astype(np.int64)
    joined = flow[1:] == flow[:-1]
    before, after = np.full(len(link), -1), np.full(len(link), -1)
    before[1:] = np.where(joined, link[:-1], -1)
    after[:-1] = np.where(joined, link[1:], -1)
    return Routed(
        group,
        link,
        shape.fraction[place],
        before,
        after,
        latency,
        np.stack([shape.latency_hops.sum() - network, network], axis=1),
        _serial(shape, group, place, link, len(devices), topology),
        _nodes(devices, topology),
        np.full(len(devices), int(shape.channel.max(initial=0)) + 1),
        np.full(len(devices), np.bincount(shape.src, shape.fraction).max(initial=0.0)),
        np.tile(_bus(shape, devices[0], topology), (len(devices), 1)),
    )


def _bus(shape: Pattern, devices: Ints, topology: Topology) -> tuple[float, float]:
    """Return the bytes/s that leave the first member, and the first node, at stated bandwidth.

    The narrowest links of the flows that do so, each counted once.
    """
    node = topology.node_of[devices]
    crosses = node[shape.src] != node[shape.dst]
    of_member = _width(shape, ~crosses & (shape.src == 0), devices, topology)
    of_node = _width(shape, crosses & (node[shape.src] == node[0]), devices, topology)
    return of_member, of_node


def _width(
    shape: Pattern, flows: npt.NDArray[np.bool_], devices: Ints, topology: Topology
) -> float:
    """Return the bandwidth of the narrowest links of some flows."""
    if not flows.any():
        return float("inf")
    routes = topology.routes(devices[shape.src[flows]], devices[shape.dst[flows]])
    rate = topology.bandwidth_bytes_per_s
    narrow = {int(min(routes.link[a:b], key=rate.__getitem__)) for a, b in pairwise(routes.ptr)}
    return float(rate[list(narrow)].sum())


def _nodes(devices: Ints, topology: Topology) -> Ints:
    """Return over how many nodes each group is spread."""
    nodes = np.sort(topology.node_of[devices], axis=1)
    return np.asarray(1 + (np.diff(nodes, axis=1) != 0).sum(axis=1), dtype=np.int64)


def _serial(
    shape: Pattern, group: Ints, place: Ints, link: Ints, groups: int, topology: Topology
) -> Floats:
    """Return the sum over phases of the time of the slowest link, for each group and byte."""
    phases = int(shape.phase.max(initial=0)) + 1
    if phases == 1:
        return np.zeros(groups)
    slot, fraction = group * phases + shape.phase[place], shape.fraction[place]
    busy = slowest(slot, link, fraction, groups * phases, topology.capacity_bytes_per_s)
    return np.asarray(busy.reshape(groups, phases).sum(axis=1))


def slowest(slot: Ints, link: Ints, fraction: Floats, slots: int, capacity: Floats) -> Floats:
    """Return the time of the slowest link of each slot, for each byte.

    Parameters
    ----------
    slot, link : int64[entries]
    fraction : float64[entries]
        Bytes over the size of the collective; those of one slot and link add.
    slots : int
    capacity : float64[links]
    """
    key = slot * len(capacity) + link
    if slots * len(capacity) <= 4 * len(key):
        carried = np.bincount(key, fraction, slots * len(capacity)).reshape(slots, len(capacity))
        return np.asarray((carried / capacity).max(axis=1, initial=0.0))
    out = np.zeros(slots)
    used, inverse = np.unique(key, return_inverse=True)
    where, which = np.divmod(used, len(capacity))
    np.maximum.at(out, where, np.bincount(inverse.reshape(-1), fraction) / capacity[which])
    return out
