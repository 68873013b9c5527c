"""Ring collectives, over as many rings (channels) as a node has members.

A reduce-scatter is n - 1 steps in which every member sends S/n to the next on the ring; an
all-gather is the same with the arrays travelling whole; an all-reduce is one after the other
(Patarasu and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009,
section 3; Thakur, Rabenseifner and Gropp 2005, section 4). A broadcast or a reduction runs along
the ring once, cut into chunks (NCCL's algorithm for both).

Over several nodes each channel carries an equal share of S and crosses between nodes at another
member, so that together they use all network adapters, as NCCL does. Channel c enters node j at
member ``c + shift_j`` and leaves it at member ``c + shift_{j+1}`` (modulo the members of a node).
As shifts of neighbours differ, no member both enters and leaves; as a hop between nodes joins
equal members, it stays on its rail; as c runs over all members, every adapter carries one channel
each way. Where the members of a node have wires to each other and no switch, the rings follow the
wires instead (`distsim.hardware.wiring`) and are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from distsim.collectives.flows import Orders, Schedule, Shape, in_turn, members, messages

Ints = npt.NDArray[np.int64]


def all_reduce(shape: Shape, given: Orders = ()) -> Schedule:
    """Reduce-scatter, then all-gather: 2 (n - 1) steps of S/n."""
    return _ring(shape, 2, given)


def reduce_scatter(shape: Shape, given: Orders = ()) -> Schedule:
    """Sum and scatter: n - 1 steps of S/n, S the whole array that each member gives."""
    return _ring(shape, 1, given)


def all_gather(shape: Shape, given: Orders = ()) -> Schedule:
    """Gather: n - 1 steps of S/n, S the whole array that each member ends up with."""
    return _ring(shape, 1, given)


def broadcast(shape: Shape, given: Orders = ()) -> Schedule:
    """Pass the array on from position 0 along each ring, in chunks that follow each other."""
    n = members(shape)
    if n == 1:
        return in_turn(n, [])
    order = orders(shape, given)
    first = np.argmax(order == 0, axis=1)
    order = np.take_along_axis(order, (first[:, None] + np.arange(n)) % n, axis=1)
    channel = np.arange(len(order))
    timed = np.where(channel == 0, 1.0, 0.0)
    share = 1.0 / len(order)
    return Schedule(
        n,
        tuple(messages(order[:, i], order[:, i + 1], share, timed, channel) for i in range(n - 1)),
        pipelined=True,
    )


def reduce(shape: Shape, given: Orders = ()) -> Schedule:
    """Broadcast backwards: sums pass on towards position 0."""
    forward = broadcast(shape, given)
    back = tuple(r.mirrored() for r in reversed(forward.rounds))
    return Schedule(forward.n, back, pipelined=True)


def orders(shape: Shape, given: Orders = ()) -> Ints:
    """Return the members in the order of each ring, int64[channels, n]."""
    if given:
        return np.asarray(given, dtype=np.int64)
    return uneven_rings(shape[1:]) if shape[0] == 0 else rings(prod(shape), shape[0])


def uneven_rings(nodes: Sequence[int]) -> Ints:
    """Return rings over nodes of different sizes, as many as the smallest has members.

    As in `rings`, channel c enters node j at its member ``c + shift_j`` and leaves it at
    ``c + shift_{j+1}``; the others of the node lie between.
    """
    shift = _shifts(len(nodes), min(nodes))
    base = np.cumsum([0, *nodes])
    out = []
    for channel in range(min(nodes)):
        walk = []
        for node, size in enumerate(nodes):
            enter = (channel + shift[node]) % size
            leave = (channel + shift[node + 1]) % size
            ends = [enter] if enter == leave else [enter, leave]
            between = [m for m in range(size) if m not in ends]
            walk += [base[node] + m for m in (ends[0], *between, *ends[1:])]
        out.append(walk)
    return np.asarray(out, dtype=np.int64)


def rings(n: int, local: int) -> Ints:
    """Return the members in the order of each ring.

    Parameters
    ----------
    n, local : int
        Members, and members on each node.

    Returns
    -------
    int64[channels, n]
        One channel on a single node, where all members of a switch are equal; else `local`.
    """
    if local in (1, n):
        return np.arange(n)[None, :]
    nodes = n // local
    shift = _shifts(nodes, local)
    enter, leave = shift[:-1], shift[1:]
    step = (leave - enter) % local
    # A walk along the node ends at its exit if it starts beside it, up or down; any other exit is
    # left out of the walk and appended.
    index = np.arange(local)[None, :]
    up = (enter[:, None] + index + (index >= step[:, None])) % local
    up[:, -1] = leave % local
    down = (enter[:, None] - index) % local
    walk = np.where((step == 1)[:, None], down, up)
    base = (np.arange(nodes) * local)[:, None]
    channel = np.arange(local)[:, None, None]
    return np.asarray(base + (walk + channel) % local).reshape(local, n)


def _shifts(nodes: int, local: int) -> Ints:
    """Return where channel 0 enters each node, and at the end where it leaves the last one.

    Neighbours differ. The last is that of the first node, so that the ring closes on its rail,
    unless two members and an odd number of nodes make that impossible.
    """
    shift = np.arange(nodes + 1) % 2
    if nodes % 2:
        shift[-1] = 0 if local > 2 else 1
        shift[-2] = 2 if local > 2 else 0
    return shift.astype(np.int64)


def _ring(shape: Shape, passes: int, given: Orders) -> Schedule:
    n = members(shape)
    if n == 1:
        return in_turn(n, [])
    order = orders(shape, given)
    channel = np.repeat(np.arange(len(order)), n)
    # Channels run side by side, so the latency is that of one of them; a wave runs round the ring,
    # so it is the mean over the hops, not the longest of them.
    hops = np.where(channel == 0, 1.0 / n, 0.0)
    target = np.roll(order, -1, axis=1)
    step = messages(order, target, 1.0 / n / len(order), hops, channel, passes * (n - 1))
    return in_turn(n, [step])
