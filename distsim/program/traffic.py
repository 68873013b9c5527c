"""Traffic: communication groups compiled onto the links of a topology."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distsim.collectives.algorithms import Pattern, pattern
from distsim.hardware.topology import Topology

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
    """

    name: str
    ranks: Ints
    role: Ints
    ordered: bool
    entry_group: Ints
    entry_link: Ints
    entry_fraction: Floats
    latency_s: Floats


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
    return Traffic(
        name,
        groups,
        role,
        collective == "send",
        entry_group=flow // flows,
        entry_link=routes.link.astype(np.int64),
        entry_fraction=shape.fraction[flow % flows],
        latency_s=latency,
    )
