"""Ways to halve the devices of a topology: all of them, or those in which a least cut is likely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from distsim.hardware.topology import Floats, Ints, Topology
from distsim.hardware.vertices import Flags

#: Devices up to which every divisor gives a half, and up to which halves are improved by swaps.
_DIVISORS, _SWAPS = 512, 128
#: Sets of twins beyond which there are more than a million halves.
_MOST_SETS = 24
#: Vertices up to which the spectrum is found.
_SPECTRUM = 1000


def twins(n_devices: int, begin: Ints, end: Ints, kind: Ints) -> list[Ints]:
    """Return sets of devices that have the same links to the same vertices.

    It does not matter which devices of a set are in a half, only how many.
    """
    seen: list[list[tuple[int, int, int]]] = [[] for _ in range(n_devices)]
    for way, (own, other) in enumerate(((begin, end), (end, begin))):
        at = np.flatnonzero(own < n_devices)
        for device, vertex, c in zip(
            own[at].tolist(), other[at].tolist(), kind[at].tolist(), strict=True
        ):
            seen[device].append((vertex, c, way))
    sets: dict[tuple[tuple[int, int, int], ...], list[int]] = {}
    for device, links in enumerate(seen):
        sets.setdefault(tuple(sorted(links)), []).append(device)
    return [np.array(devices) for devices in sets.values()]


def few_halves(alike: Sequence[Ints], n_devices: int, most: int) -> bool:
    """Return whether there are at most so many ways to choose half of the devices, up to twins."""
    if len(alike) > _MOST_SETS:
        return False
    half, ways = n_devices // 2, [1]
    for devices in alike:
        longer = [0] * min(len(ways) + len(devices), half + 1)
        for taken, number in enumerate(ways):
            for own in range(min(len(devices), half - taken) + 1):
                longer[taken + own] += number
        ways = longer
    return ways[half] <= most


def all_halves(alike: Sequence[Ints], n_devices: int, two_way: bool) -> Iterator[Flags]:
    """Return all halves of ``n_devices // 2`` devices, up to which devices of a set are in them.

    Parameters
    ----------
    alike : sequence of int64[...]
        Sets of devices that are alike.
    n_devices : int
    two_way : bool
        Whether a half and its complement are worth the same, so that one of the two is enough.
    """
    sizes = [len(devices) for devices in alike]
    room = [*np.cumsum(sizes[::-1])[::-1].tolist(), 0]
    first = 1 if two_way and n_devices % 2 == 0 and n_devices else 0

    def counts(at: int, left: int) -> Iterator[list[int]]:
        if at == len(sizes):
            yield []
            return
        low = max(left - room[at + 1], first if at == 0 else 0)
        for own in range(low, min(sizes[at], left) + 1):
            for rest in counts(at + 1, left - own):
                yield [own, *rest]

    for taken in counts(0, n_devices // 2):
        half = np.zeros(n_devices, dtype=bool)
        for devices, own in zip(alike, taken, strict=True):
            half[devices[:own]] = True
        yield half


def likely_halves(topology: Topology) -> Iterator[Flags]:
    """Return halves along the order of devices, of their places in nodes, units and dimensions.

    Devices in order, and devices in the order of their number modulo m: of whole nodes or units,
    of places in a node, of planes of a torus.
    """
    n = topology.n_devices
    sizes = {n, topology.devices_per_node, *np.cumprod((1, *topology.dims)).tolist()}
    if topology.unit_of is not None:
        sizes.add(int(np.bincount(topology.unit_of).max()))
    if n <= _DIVISORS:
        sizes |= {m for m in range(2, n) if n % m == 0}
    seen = set()
    for m in sorted((m for m in sizes if 2 <= m <= n), reverse=True):
        half = _first(np.argsort(np.arange(n) % m, kind="stable"))
        if half.tobytes() not in seen:
            seen.add(half.tobytes())
            yield half


def _first(order: Ints) -> Flags:
    half = np.zeros(len(order), dtype=bool)
    half[order[: len(order) // 2]] = True
    return half


def searched_halves(
    topology: Topology, begin: Ints, end: Ints, weight: Floats, start: Flags
) -> Iterator[Flags]:
    """Return halves found by search, for networks without a regular shape.

    Devices in the order of the second eigenvector of the Laplacian (Fiedler 1973), and `start`
    improved by swaps (Kernighan and Lin 1970) on a graph of devices in which two are joined by the
    bandwidth of the route between them over its number of links.
    """
    n = topology.n_devices
    n_vertices = int(max(begin.max(initial=-1), end.max(initial=-1), n - 1)) + 1
    if 2 < n_vertices <= _SPECTRUM:
        laplacian = np.zeros((n_vertices, n_vertices))
        scale = float(weight.max(initial=0.0)) or 1.0
        np.add.at(laplacian, (begin, end), -weight / scale)
        np.add.at(laplacian, (end, begin), -weight / scale)
        np.fill_diagonal(laplacian, 0.0)
        np.fill_diagonal(laplacian, -laplacian.sum(axis=1))
        # Rounding: equal entries of a vector must not be ordered by noise.
        for vector in np.linalg.eigh(laplacian)[1].T[1:4].round(9):
            yield _first(np.argsort(vector[:n], kind="stable"))
    if 2 < n <= _SWAPS:
        yield _swapped(topology, start)


def _swapped(topology: Topology, start: Flags) -> Flags:
    import networkx as nx

    n = topology.n_devices
    src, dst = np.triu_indices(n, 1)
    routes = topology.routes(src, dst)
    hops = np.diff(routes.ptr)
    narrowest = np.minimum.reduceat(topology.bandwidth_bytes_per_s[routes.link], routes.ptr[:-1])
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_weighted_edges_from(
        zip(src.tolist(), dst.tolist(), (narrowest / hops).tolist(), strict=True)
    )
    parts = set(np.flatnonzero(start).tolist()), set(np.flatnonzero(~start).tolist())
    smaller = min(nx.community.kernighan_lin_bisection(graph, parts, seed=0), key=len)
    half = np.zeros(n, dtype=bool)
    half[sorted(smaller)] = True
    return half
