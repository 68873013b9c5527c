"""How the devices of one node reach its network adapters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np

from distsim.errors import HardwareError, show
from distsim.hardware.block import Block, offer
from distsim.hardware.edges import PathRouter
from distsim.hardware.sizes import read_nics
from distsim.hardware.topology import Ints, Routes
from distsim.record import record
from distsim.units import REL_TOL


@record(eq=False)
class Adapters:
    """Adapters of a node, and the ways between them and the devices.

    Attributes
    ----------
    names : tuple of str
        Their vertices in the node.
    of_device : int64[devices]
        The adapter of each device.
    out, back : Routes
        From each device to its adapter, and back; links count from the first one of the node.
    added : tuple of (str, str)
        Ends of the links that the node itself does not have; they follow its own.
    """

    names: tuple[str, ...]
    of_device: Ints
    out: Routes
    back: Routes
    added: tuple[tuple[str, str], ...] = ()


def beside_devices(
    block: Block, per_node: int, devices: Sequence[str], taken: Collection[str], first: int
) -> Adapters:
    """Return adapters ``nic0``, ``nic1``, ... that each serve as many consecutive devices.

    Parameters
    ----------
    block : Block
        ``nics_per_node``, by default one a device; it divides the devices (DS407).
    per_node : int
        Devices of a full node.
    devices : sequence of str
        Of the node, those that are used.
    taken : collection of str
        Names that the node has given away (DS415).
    first : int
        Number of links of the node: those to adapters follow them, and then those from adapters.
    """
    nics = read_nics(block, per_node)
    names = tuple(f"nic{k}" for k in range(nics))
    _check_free(block, names, taken)
    n = len(devices)
    index = np.arange(n)
    of_device = index * nics // per_node
    ends = [(device, names[nic]) for device, nic in zip(devices, of_device.tolist(), strict=True)]
    one_each = np.arange(n + 1)
    return Adapters(
        names,
        of_device,
        Routes(one_each, (first + index).astype(np.int32)),
        Routes(one_each, (first + n + index).astype(np.int32)),
        (*ends, *(pair[::-1] for pair in ends)),
    )


def _check_free(block: Block, names: Sequence[str], taken: Collection[str]) -> None:
    for name in names:
        if name in taken:
            raise block.error(
                "DS415",
                f"{name} is a vertex of the node, and the name of an adapter beside it",
                key="node",
                value=name,
                rule=f"names of adapters, {names[0]} to {names[-1]}, are free",
                fix=f"write adapters: [{name}, ...] if it is an adapter, or rename it",
            )


def in_node(block: Block, router: PathRouter, switches: Sequence[str]) -> Adapters:
    """Return adapters that are switches of the node's own graph.

    A device uses the nearest one: over the fewest other devices, then the fewest links, then the
    least latency, both ways together. Of several that are as near it takes the one with the fewest
    devices so far, and then the first of the list.

    Parameters
    ----------
    block : Block
        ``adapters``: names.
    router : PathRouter
        Of the node.
    switches : sequence of str
        Its vertices that are no devices.

    Raises
    ------
    HardwareError
        DS405 for no adapter, DS414 for a device that reaches none, DS415 for a name that is there
        twice, DS422 for a name of no switch.
    """
    names = _names(block, switches)
    around = _Around(router, set(switches))
    outward = [around.search(device) for device in router.devices]
    inward = [around.search(name) for name in names]
    chosen = _nearest(block, router.devices, names, outward, inward)
    ways = list(zip(router.devices, outward, chosen, strict=True))
    return Adapters(
        tuple(names),
        np.array(chosen, dtype=np.int64),
        around.routes(paths[names[at]] for _, (_, paths), at in ways),
        around.routes(inward[at][1][device] for device, _, at in ways),
    )


def _nearest(
    block: Block,
    devices: Sequence[str],
    names: Sequence[str],
    outward: Sequence[tuple[Any, Any]],
    inward: Sequence[tuple[Any, Any]],
) -> list[int]:
    """Return the adapter of each device, from the costs of the ways out and in."""
    used = [0] * len(names)
    chosen = []
    for device, (cost, _) in zip(devices, outward, strict=True):
        total = [
            cost.get(name, inf) + back.get(device, inf)
            for name, (back, _) in zip(names, inward, strict=True)
        ]
        if min(total) == inf:
            raise block.error(
                "DS414",
                f"{show(device)} and the adapters of the node do not reach each other",
                key="adapters",
                value=device,
                rule="every device reaches an adapter and is reached by it",
                fix="add the missing links to the node, or name another adapter",
            )
        near = [at for at, far in enumerate(total) if far <= min(total) * (1 + REL_TOL)]
        best = min(near, key=lambda at: (used[at], at))
        used[best] += 1
        chosen.append(best)
    return chosen


def _names(block: Block, switches: Sequence[str]) -> list[str]:
    names = block.texts("adapters")
    if not names:
        raise block.error(
            "DS405", "there is no adapter", key="adapters", rule="at least 1 adapter", fix="add one"
        )
    for index, name in enumerate(names):
        code, message, fix = "", "", ""
        if name not in switches:
            code, message = "DS422", f"the node has no switch {show(name)}"
            fix = offer(name, switches) or f"add {show(name)} to the switches of the node"
        elif name in names[:index]:
            code, message, fix = "DS415", f"the name {show(name)} is there twice", "remove one"
        if code:
            raise HardwareError(
                code,
                message,
                path=(*block.path, "adapters", index),
                value=name,
                rule="adapters are different switches of the node",
                fix=fix,
            )
    return names


class _Around:
    """Searches the graph of a node for ways around its devices."""

    def __init__(self, router: PathRouter, switches: set[str]) -> None:
        self._graph = router.graph
        self._switches = switches
        #: Heavier than all links of a path together: each weighs less than 2.
        self._detour = 2.0 * router.graph.number_of_nodes()

    def search(self, source: str) -> tuple[Any, Any]:
        """Return the cost of every vertex that can be reached, and the path to it, by vertex."""
        import networkx as nx

        def weight(vertex: str, _: str, link: dict[str, Any]) -> float:
            passes = vertex != source and vertex not in self._switches
            return float(link["weight"]) + self._detour * passes

        return nx.single_source_dijkstra(self._graph, source, weight=weight)

    def routes(self, paths: Iterable[Sequence[str]]) -> Routes:
        """Return the links of paths."""
        found = [[self._graph.edges[edge]["link"] for edge in pairwise(path)] for path in paths]
        ptr = np.cumsum([0, *map(len, found)])
        flat = [link for links in found for link in links]
        return Routes(ptr.astype(np.int64), np.array(flat, dtype=np.int32))
