"""Rings over devices that are wired to each other, without a switch between them.

A ring must follow wires, and several rings that share none of them use more of the bandwidth:
communication libraries search for them (NCCL, src/graph/search.cc). With n devices all joined to
all, n - 1 rings use every wire once each way, but for n = 4 and 6 (Tillson, "A Hamiltonian
decomposition of K*_2m, 2m >= 8", 1980); and n lines that begin at each device do, for even n, going
zig-zag around the circle (Walecki, in Alspach, "The wonderful Walecki construction", 2008).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from distsim.hardware.topology import Ints, Topology

#: Devices in the order of each ring, or line.
Orders = tuple[tuple[int, ...], ...]
#: Wires from each device (row) to each other (column).
Wires = tuple[tuple[int, ...], ...]

#: Devices of a node beyond which rings are not searched for.
MOST_DEVICES = 16
#: Searches with another order of the neighbours each, and steps of one.
_TRIES, _STEPS = 20, 3000


def ring_orders(topology: Topology, devices: Ints, local: int) -> Orders:
    """Return the rings of a group over wires, as positions in the group.

    Parameters
    ----------
    devices : int64[n]
        Ordered by node.
    local : int
        Members on each node.

    Returns
    -------
    tuple of tuple of int
        Empty where the members of a node are not wired to each other, or the nodes hold different
        ones.
    """
    if not topology.wired or not 2 < local <= MOST_DEVICES:
        return ()
    rows = devices.reshape(-1, local)
    first = np.searchsorted(topology.node_of, topology.node_of[rows[:, 0]])
    slots = rows - first[:, None]
    if (slots != slots[0]).any():
        return ()
    # Nodes are alike, but for those of an edge list.
    node = int(first[0]) if topology.kind == "edges" else 0
    wires = _wires(topology, tuple((node + slots[0]).tolist()))
    if len(rows) == 1:
        return cycles(wires)
    return _joined(paths(wires), len(rows), local)


@lru_cache(maxsize=64)
def _wires(topology: Topology, devices: tuple[int, ...]) -> Wires:
    """Return the wires between devices, in units of the narrowest."""
    n = len(devices)
    source, target = (side.ravel() for side in np.indices((n, n)))
    at = np.asarray(devices, dtype=np.int64)
    routes = topology.routes(at[source], at[target])
    direct = np.diff(routes.ptr) == 1
    rate = np.zeros(n * n)
    rate[direct] = topology.bandwidth_bytes_per_s[routes.link[routes.ptr[:-1][direct]]]
    if not direct.any():
        return ((0,) * n,) * n
    wide = np.rint(rate / rate[direct].min()).astype(np.int64).reshape(n, n)
    return tuple(tuple(row) for row in wide.tolist())


@lru_cache(maxsize=256)
def cycles(wires: Wires) -> Orders:
    """Return as many rings through all devices as are found that share no wire.

    Searched for with a fixed budget, so the same wires always give the same rings.
    """
    best: list[tuple[int, ...]] = []
    width = np.asarray(wires, dtype=np.int64)
    most = int(min(width.sum(axis=0).min(), width.sum(axis=1).min()))
    for seed in range(_TRIES):
        found = _Search(width, most, seed).run()
        if len(found) > len(best):
            best = found
        if len(best) == most:
            break
    return tuple(best)


def paths(wires: Wires) -> Orders:
    """Return lines through all devices that share no wire and begin at different ones."""
    n = len(wires)
    complete = all(wires[a][b] == 1 for a in range(n) for b in range(n) if a != b)
    if complete and n % 2 == 0:
        step = [(i + 1) // 2 * (1 if i % 2 else -1) for i in range(n)]
        return tuple(tuple((first + s) % n for s in step) for first in range(n))
    out: list[tuple[int, ...]] = []
    for ring in cycles(wires):
        # Cut where fewest lines begin and end so far, so that they spread over the adapters.
        begun, ended = [line[0] for line in out], [line[-1] for line in out]
        cut = min(range(n), key=lambda i: (begun.count(ring[i]) + ended.count(ring[i - 1]), i))
        out.append(ring[cut:] + ring[:cut])
    return tuple(out)


def _joined(lines: Orders, nodes: int, local: int) -> Orders:
    """Return rings that run along the line of each node, back and forth by turns.

    So a hop between nodes joins equal members, but for the last one of an odd number of nodes.
    """
    return tuple(
        tuple(
            node * local + member
            for node in range(nodes)
            for member in (line if node % 2 == 0 else line[::-1])
        )
        for line in lines
    )


class _Search:
    """Depth-first search for rings, one after another, on the wires that are left."""

    def __init__(self, width: Ints, most: int, seed: int) -> None:
        self.n, self.most, self.left = len(width), most, width.tolist()
        shuffle = np.random.default_rng(seed)
        self.order = [shuffle.permutation(self.n).tolist() for _ in range(self.n)]
        self.found: list[tuple[int, ...]] = []
        self.best: list[tuple[int, ...]] = []
        self.steps = 0

    def run(self) -> list[tuple[int, ...]]:
        """Return the most rings that were found."""
        if self.most:
            self._extend([0])
        return self.best

    def _extend(self, path: list[int]) -> bool:
        """Go on from a path; say whether the search is over."""
        self.steps += 1
        if self.steps > _STEPS:
            return True
        at = path[-1]
        if len(path) == self.n:
            return self._close(path)
        ahead = [b for b in self.order[at] if b not in path and self.left[at][b] > 0]
        # First where few wires are left, which would be missing later.
        ahead.sort(key=lambda b: (sum(row[b] for row in self.left), sum(self.left[b])))
        for b in ahead:
            self.left[at][b] -= 1
            if self._extend([*path, b]):
                return True
            self.left[at][b] += 1
        return False

    def _close(self, path: list[int]) -> bool:
        last = path[-1]
        if self.left[last][0] <= 0:
            return False
        self.left[last][0] -= 1
        self.found.append(tuple(path))
        if len(self.found) > len(self.best):
            self.best = list(self.found)
        if len(self.found) == self.most or self._extend([0]):
            return True
        self.found.pop()
        self.left[last][0] += 1
        return False
