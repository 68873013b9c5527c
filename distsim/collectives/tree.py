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

import numpy as np
import numpy.typing as npt

from distsim.collectives.flows import Pattern, flows, no_flows

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


def all_reduce(n: int, local: int) -> Pattern:
    """Reduce up both trees and broadcast down, pipelined.

    Each member sends and receives at most S up and S down. The latency is that of one path: from
    the end of a chain to its head, from a deepest leaf to the root, and back.
    """
    if n == 1:
        return no_flows(n)
    nodes = n // local
    head = np.arange(local)
    up = [_chains(nodes, local, head)]
    if nodes > 1:
        for which, parent in enumerate(parents(nodes)):
            up.append(_climb(parent, local, head, which == 0))
    src, dst, fraction, hops, channel = (np.concatenate(part) for part in zip(*up, strict=True))
    both = np.concatenate
    return flows(
        n,
        both([src, dst]),
        both([dst, src]),
        both([fraction, fraction]),
        both([hops, hops]),
        both([channel, channel]),
    )


def _chains(nodes: int, local: int, head: Ints) -> tuple[npt.NDArray[np.generic], ...]:
    """Return flows from the end of each chain to its head, in every node and channel."""
    base = np.arange(nodes)[:, None, None] * local
    link = np.arange(local - 1)[None, :, None]
    towards = base + (head + link) % local
    source = base + (head + link + 1) % local
    channel = np.broadcast_to(head, source.shape)
    counted = np.zeros(source.shape)
    # Every chain is as long; the one at the start of the path through the tree counts.
    counted[0 if nodes == 1 else _deepest(nodes), :, 0] = 1.0
    share = np.full(source.shape, 1.0 / local)
    return tuple(a.ravel() for a in (source, towards, share, counted, channel))


def _climb(
    parent: Ints, local: int, head: Ints, timed: bool
) -> tuple[npt.NDArray[np.generic], ...]:
    """Return flows from each node to its parent in one tree, in every channel."""
    below = np.flatnonzero(parent >= 0)
    source = below[:, None] * local + head
    target = parent[below][:, None] * local + head
    counted = np.zeros(source.shape)
    if timed:
        at = _deepest(len(parent))
        while parent[at] >= 0:
            counted[below == at, 0] = 1.0
            at = int(parent[at])
    share = np.full(source.shape, 0.5 / local)
    channel = np.broadcast_to(head, source.shape)
    return tuple(a.ravel() for a in (source, target, share, counted, channel))


def _deepest(nodes: int) -> int:
    """Return a deepest leaf of the first tree: the leftmost one."""
    return 0 if nodes % 2 else 1
