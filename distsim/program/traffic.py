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
    total = {"before": np.zeros(len(capacity)), "after": np.zeros(len(capacity))}
    exposed = {"before": np.zeros(len(capacity), bool), "after": np.zeros(len(capacity), bool)}
    wide = list(families)
    for side, sums in total.items():
        pairs = []
        for family in wide:
            link, other = family.entry_link, getattr(family, side)
            exposed[side][link[other < 0]] = True
            larger = (other >= 0) & (capacity[link] > capacity[other])
            exposed[side][link[(other >= 0) & ~larger]] = True
            pairs.append(link[larger] * len(capacity) + other[larger])
        link, other = np.divmod(np.unique(np.concatenate(pairs)), len(capacity))
        np.add.at(sums, link, capacity[other])
    enough = capacity * (1 + REL_TOL)
    fed = ~exposed["before"] & (total["before"] > 0) & (total["before"] <= enough)
    feeds = ~exposed["after"] & (total["after"] > 0) & (total["after"] <= enough)
    return np.asarray(fed | feeds)


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
