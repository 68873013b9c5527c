"""Switches that reduce and multicast.

NVLS (NVSwitch since the H100): a member pulls its block of S/n, summed by the switch, so that every
member's link carries S up in all, and pushes the result, which the switch multicasts: S/n more up,
S down. So a link carries S (1 + 1/n) each way in an all-reduce, where a ring needs 2 S (n-1)/n
(Klenk et al., "An in-network architecture for accelerating shared-memory multiprocessor
collectives", 2020, section 3; NCCL 2.17 release notes). Only the links between members and switch
count, so flows go from each member to the next one: they load every up and every down link once. A
reduce-scatter loads the down links less than that says, and an all-gather the up links; the other
side is what limits them.

NVLS with trees joins the nodes by a pipelined double binary tree on the members' shares (NCCL's
NVLSTree). SHARP lets the switches between the nodes sum: each adapter sends and receives its share
once (Graham et al., "Scalable hierarchical aggregation protocol", 2016).
"""

from __future__ import annotations

from math import prod

import numpy as np

from distsim.collectives.flows import Round, Schedule, Shape, in_turn, messages, together
from distsim.collectives.tree import climbs


def nvls_all_reduce(shape: Shape) -> Schedule:
    """Pull sums, push results; both run at the same time on chunks."""
    n = _one_node(shape)
    half = (1.0 + 1.0 / n) / 2
    return Schedule(n, (_switch(1, n, half), _switch(1, n, half)) if n > 1 else (), pipelined=True)


def nvls_reduce_scatter(shape: Shape) -> Schedule:
    """Pull sums: S up each link."""
    n = _one_node(shape)
    return in_turn(n, [_switch(1, n, 1.0)])


def nvls_all_gather(shape: Shape) -> Schedule:
    """Push blocks: S down each link."""
    return nvls_reduce_scatter(shape)


def nvls_tree_all_reduce(shape: Shape) -> Schedule:
    """Sum in the node, up and down two trees between the nodes, and multicast in the node."""
    local, nodes = _nodes(shape)
    half = (1.0 + 1.0 / local) / 2
    up = climbs(nodes, local, 1.0)
    return Schedule(
        local * nodes,
        (
            _switch(nodes, local, half),
            *up,
            *(r.mirrored() for r in reversed(up)),
            _switch(nodes, local, half),
        ),
        pipelined=True,
    )


def sharp_all_reduce(shape: Shape) -> Schedule:
    """Reduce-scatter in the node, sum in the network, gather in the node; pipelined."""
    local, nodes = _nodes(shape)
    n = local * nodes
    here = np.arange(n)
    inside = together(shape, *_peers(local, nodes), 1.0 / local) if local > 1 else None
    rail = together(shape, here, (here + local) % n, 1.0 / local)
    # Up to the switch and down from it are the two ends of one flow between rails.
    return Schedule(n, tuple(r for r in (inside, rail, inside) if r is not None), pipelined=True)


def _switch(nodes: int, local: int, fraction: float) -> Round:
    here = np.arange(nodes * local)
    own = here % local
    following = here - own + (own + 1) % local
    return messages(here, following, fraction, 1.0 / len(here))


def _peers(local: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    src = np.repeat(np.arange(local * nodes), local - 1)
    own = src % local
    other = (own + np.tile(np.arange(1, local), local * nodes)) % local
    return src, src - own + other


def _one_node(shape: Shape) -> int:
    if len(shape) > 1 and prod(shape[1:]) > 1:
        raise ValueError(f"nvls runs inside one node, not on {prod(shape[1:])}")
    return shape[0]


def _nodes(shape: Shape) -> tuple[int, int]:
    local, nodes = shape[0], prod(shape[1:])
    if nodes < 2:
        raise ValueError("it joins nodes, and the group is on one")
    return local, nodes
