"""Kinds of topologies: a new one is one file with a `build`, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from distsim.hardware import (
    cluster,
    cube_mesh,
    dragonfly,
    edges,
    fat_tree,
    full,
    node,
    pcie,
    rail_fat_tree,
    ring,
    superpod,
    switch,
    torus,
)
from distsim.hardware.block import Block, offer
from distsim.hardware.libraries import read_library
from distsim.hardware.topology import Indices, Topology
from distsim.hardware.torus import TorusRouter


@runtime_checkable
class InUnits(Protocol):
    """A router whose nodes are joined to units below the top."""

    def unit_of(self, n_devices: int) -> Indices:
        """Return the unit of each device, int32[n_devices]."""


#: What switches may do with the bytes that pass them.
IN_NETWORK = ("nvls", "sharp")

#: Kind -> function of (block, name, devices).
KINDS: Mapping[str, Callable[[Block, str, int], Topology]] = {
    "node": node.build,
    "superpod": superpod.build,
    "edges": edges.build,
    "switch": switch.build,
    "ring": ring.build,
    "full": full.build,
    "torus": torus.build,
    "fat_tree": fat_tree.build,
    "rail_fat_tree": rail_fat_tree.build,
    "dragonfly": dragonfly.build,
    "cube_mesh": cube_mesh.build,
    "pcie": pcie.build,
    "cluster": cluster.build,
}


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return the topology that a block describes.

    Raises
    ------
    HardwareError
        DS406 for a kind that does not exist, and whatever the kind's own reader finds.
    """
    topology = KINDS[block.choice("kind", tuple(KINDS))](block, name, n_devices)
    router = topology.router
    return replace(
        topology,
        library=read_library(block),
        in_network=_in_network(block),
        unit_of=router.unit_of(topology.n_devices) if isinstance(router, InUnits) else None,
        dims=router.dims[::-1] if isinstance(router, TorusRouter) else (),
        wrap=router.wrap[::-1] if isinstance(router, TorusRouter) else (),
        wired=_wired(topology),
    )


def _wired(topology: Topology) -> bool:
    """Say whether the first device has a link of its own to another on its node."""
    if isinstance(topology.router, TorusRouter):
        return False
    mates = np.flatnonzero(topology.node_of == topology.node_of[0])[1:]
    hops = np.diff(topology.routes(np.zeros(len(mates)), mates).ptr)
    return bool((hops == 1).any())


def _in_network(block: Block) -> tuple[str, ...]:
    if not block.has("in_network"):
        return ()
    found = tuple(block.texts("in_network"))
    for word in found:
        if word not in IN_NETWORK:
            raise block.error(
                "DS406",
                f"in_network {word!r} is unknown",
                key="in_network",
                value=word,
                rule=f"one of {', '.join(IN_NETWORK)}",
                fix=offer(word, IN_NETWORK) or "remove it",
            )
    return found
