"""All-reduce over a pipelined double binary tree.

Two trees over the same nodes carry half of the array each: partial sums go up, the result comes
down. A leaf of one tree is an inner node of the other, so every node sends and receives about as
much and both directions of its links are used (Sanders, Speck and Träff, "Two-tree algorithms for
full bandwidth broadcast, reduction and scan", Parallel Computing 35, 2009, section 3). NCCL
builds such trees over nodes and chains the members inside each node.

Every member is the head of one channel: its adapter carries that channel's trees, on its rail,
and the chain of the channel starts at it.
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from distsim.collectives.flows import Round, Schedule, Shape, in_turn, messages

Ints = npt.NDArray[np.int64]


def parents(nodes: int) -> tuple[Ints, Ints]:
    """Return the parent of each node in both trees, -1 at the root.

    For an odd number the tree numbers nodes in order (inner ones even, counted from 1) and the
    second is the first moved on by one. For an even number node 0 stands above such a tree over
    the others, and the second tree is the mirror image.

    Returns
    -------
    tuple of int64[nodes]
    """
    if nodes % 2:
        first = _in_order(nodes)
        above = np.roll(first, 1)
        return first, np.where(above < 0, -1, (above + 1) % nodes)
    rest = _in_order(nodes - 1)
    first = np.concatenate([[-1], np.where(rest < 0, 0, rest + 1)])
    return first, np.where(first < 0, -1, nodes - 1 - first)[::-1].copy()


def depth(nodes: int) -> int:
    """Return the hops from the deepest leaf to the root.

    ``ceil(log2 nodes)`` for an even number of nodes, ``floor(log2 nodes)`` for an odd one.
    """
    return (nodes - 1).bit_length() if nodes % 2 == 0 else nodes.bit_length() - 1


def _in_order(nodes: int) -> Ints:
    """Return the parents in a full binary tree over an odd number of nodes, numbered in order.

    Counting from 1, a node that is an odd multiple of 2^h stands at height h; its parent is the
    neighbouring multiple of 2^(h+1) that is an odd one. Beyond the last node, the parent is the
    ancestor on the left.
    """
    node = np.arange(1, nodes + 1)
    low = node & -node
    above = (node ^ low) | (low << 1)
    above = np.where(above > nodes, node ^ low, above)
    return above - 1


def all_reduce(shape: Shape) -> Schedule:
    """Reduce up both trees and broadcast down, pipelined.

    Each member sends and receives at most S up and S down. The latency is that of one path: from
    the end of a chain to its head, from a deepest leaf to the root, and back.
    """
    n = prod(shape)
    if n == 1:
        return in_turn(n, [])
    local = shape[0]
    up = [*chains(n // local, local), *climbs(n // local, local, 1.0)]
    return Schedule(n, (*up, *(r.mirrored() for r in reversed(up))), pipelined=True)


def chains(nodes: int, local: int) -> list[Round]:
    """Return rounds from the end of each chain to its head, in every node and channel."""
    head = np.arange(local)
    base = np.arange(nodes)[:, None] * local
    # Every chain is as long; the one at the start of the path through the tree counts.
    timed = np.zeros((nodes, local))
    timed[0 if nodes == 1 else _deepest(nodes), 0] = 1.0
    channel = np.broadcast_to(head, timed.shape)
    return [
        messages(
            base + (head + link + 1) % local,
            base + (head + link) % local,
            1.0 / local,
            timed,
            channel,
        )
        for link in range(local - 2, -1, -1)
    ]


def climbs(nodes: int, local: int, size: float) -> list[Round]:
    """Return rounds from the deepest nodes of both trees to the roots, in every channel.

    Parameters
    ----------
    size : float
        What all channels carry together, over S.
    """
    if nodes == 1:
        return []
    both = [_levels(parent) for parent in parents(nodes)]
    head = np.arange(local)
    out = []
    for level in range(max(map(len, both))):
        parts = []
        for which, levels in enumerate(both):
            below, above, timed = levels[level] if level < len(levels) else (_NONE,) * 3
            shape = (len(below), local)
            parts.append(
                (
                    below[:, None] * local + head,
                    above[:, None] * local + head,
                    np.where((head == 0) & (which == 0), timed[:, None], 0.0),
                    np.broadcast_to(head, shape),
                )
            )
        src, dst, hops, channel = (
            np.concatenate([np.broadcast_to(p[i], p[0].shape).ravel() for p in parts])
            for i in range(4)
        )
        out.append(messages(src, dst, size * 0.5 / local, hops, channel))
    return out


_NONE = np.zeros(0, dtype=np.int64)


def _levels(parent: Ints) -> list[tuple[Ints, Ints, Ints]]:
    """Return (nodes, their parents, 1 on the path from a deepest leaf), deepest level first."""
    depth_of = np.zeros(len(parent), dtype=np.int64)
    at = parent.copy()
    while (at >= 0).any():
        depth_of += at >= 0
        at = np.where(at >= 0, parent[at], -1)
    path = np.zeros(len(parent), dtype=np.int64)
    node = _deepest(len(parent))
    while parent[node] >= 0:
        path[node] = 1
        node = int(parent[node])
    return [
        (below, parent[below], path[below])
        for below in (np.flatnonzero(depth_of == d) for d in range(depth_of.max(), 0, -1))
    ]


def _deepest(nodes: int) -> int:
    """Return a deepest leaf of the first tree: the leftmost one."""
    return 0 if nodes % 2 else 1
