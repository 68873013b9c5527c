"""Kinds of topologies: a new one is one file with a `build`, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from distsim.hardware import (
    cube_mesh,
    dragonfly,
    edges,
    fat_tree,
    full,
    node,
    pcie,
    ring,
    superpod,
    switch,
    torus,
)
from distsim.hardware.block import Block
from distsim.hardware.topology import Topology

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
    "dragonfly": dragonfly.build,
    "cube_mesh": cube_mesh.build,
    "pcie": pcie.build,
}


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return the topology that a block describes.

    Raises
    ------
    HardwareError
        DS406 for a kind that does not exist, and whatever the kind's own reader finds.
    """
    return KINDS[block.choice("kind", tuple(KINDS))](block, name, n_devices)
