"""Traffic: communication groups compiled onto the links of a topology."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from distsim.collectives.algorithms import Pattern, pattern
from distsim.hardware.topology import Topology
from distsim.units import REL_TOL

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Groups that run the same collective with the same algorithm.

    Attributes
    ----------
    name : str
    ranks : int64[groups, n]
        Members of each group.
    role : int64[groups]
        Initial colour: groups with different roles never share a type.
    ordered : bool
        Whether a member's position matters (sender and receiver).
    entry_group, entry_link, entry_fraction : arrays[entries]
        Bytes on a link as a fraction of the collective's size; entries of one group and link add.
    latency_s : float64[groups]
    before, after : int64[entries]
        Links before and after this one on the flow's route (-1: none).
    """

    name: str
    ranks: Ints
    role: Ints
    ordered: bool
    entry_group: Ints
    entry_link: Ints
    entry_fraction: Floats
    latency_s: Floats
    before: Ints
    after: Ints

    def alone_s(self, size_bytes: float, capacity: Floats) -> float:
        """Return the time of the first group by itself."""
        mine = self.entry_group == 0
        link, inverse = np.unique(self.entry_link[mine], return_inverse=True)
        load = np.bincount(inverse.reshape(-1), weights=self.entry_fraction[mine])
        busy = (load / capacity[link]).max(initial=0.0)
        return float(self.latency_s[0] + size_bytes * busy)

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


def local_size(groups: Ints, device_of: Ints, topology: Topology) -> int:
    """Return how many members a group has on each node, or 1 where that is not uniform."""
    nodes = topology.node_of[device_of[groups]]
    n = groups.shape[1]
    changes = np.diff(nodes, axis=1) != 0
    blocks = int(changes[0].sum()) + 1
    if n % blocks:
        return 1
    local = n // blocks
    expected = np.zeros(n - 1, dtype=bool)
    expected[local - 1 :: local] = True
    return local if bool((changes == expected).all()) else 1


def compile_traffic(
    name: str,
    groups: Ints,
    role: Ints,
    collective: str,
    algorithm: str,
    device_of: Ints,
    topology: Topology,
    *,
    local: int | None = None,
) -> Traffic:
    """Route every flow of every group.

    Parameters
    ----------
    groups : int64[groups, n]
        Ranks of each group, ordered by node.
    role : int64[groups]
    local : int, optional
        Members a node; computed where not given.
    """
    n = groups.shape[1]
    shape: Pattern = pattern(
        collective, algorithm, n, local or local_size(groups, device_of, topology)
    )
    devices = device_of[groups]
    source, target = devices[:, shape.src].reshape(-1), devices[:, shape.dst].reshape(-1)
    routes = topology.routes(source, target)
    hops = np.diff(routes.ptr)
    flow = np.repeat(np.arange(len(source)), hops)
    flows = len(shape.src)
    latency = routes.latency_s(topology).reshape(len(groups), flows) @ shape.latency_hops
    link = routes.link.astype(np.int64)
    joined = flow[1:] == flow[:-1]
    before, after = np.full(len(link), -1), np.full(len(link), -1)
    before[1:] = np.where(joined, link[:-1], -1)
    after[:-1] = np.where(joined, link[1:], -1)
    return Traffic(
        name,
        groups,
        role,
        collective == "send",
        entry_group=flow // flows,
        entry_link=link,
        entry_fraction=shape.fraction[flow % flows],
        latency_s=latency,
        before=before,
        after=after,
    )
