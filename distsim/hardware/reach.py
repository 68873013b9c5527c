"""How far devices are from one another, and which links lie on a route at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from distsim.hardware.topology import Ints, Routes, Topology
from distsim.hardware.vertices import Ends, Flags, Hash, ends_of, refine
from distsim.record import record

#: Devices up to which every pair is looked at; beyond, one device of each colour and all others.
ALL_PAIRS = 512
#: Most devices that are looked from, where no two are alike.
_MOST_SOURCES = 512
#: Pairs that are routed at once; bounds memory.
_BATCH = 1 << 18


@record(eq=False)
class Reach:
    """Distances between devices, and the links that lie on a route.

    Attributes
    ----------
    ends : Ends
    colour : uint64[n_vertices]
        Vertices of one colour see the same links to vertices of the same colours.
    sources : int64[k]
        Devices that were looked from: all, or one of each colour.
    size : int64[k]
        How many devices each stands for.
    diameter_links : int
        Most links of a route.
    diameter_s : float
        Highest latency of a route, the sum over its links.
    farthest : (int, int)
        A pair of devices at that latency.
    used : bool[n_links]
        Whether a route takes the link, or one like it.
    """

    ends: Ends
    colour: Hash
    sources: Ints
    size: Ints
    diameter_links: int
    diameter_s: float
    farthest: tuple[int, int]
    used: Flags


def reach_of(topology: Topology) -> Reach:
    """Return the distances in a topology.

    Up to `ALL_PAIRS` devices every pair is looked at. Beyond, devices of one colour are taken to
    be alike: routes from and to one of each are looked at, and the result is as exact as the
    routing is symmetric.
    """
    ends, n = ends_of(topology), topology.n_devices
    kind = topology.link_class.astype(np.int64)
    start = (np.arange(ends.n_vertices) < n).astype(np.int64)
    colour = refine(start, ends.begin, ends.end, kind)
    _, first, size = np.unique(colour[:n], return_index=True, return_counts=True)
    order = np.argsort(first)
    alike, size = first[order].astype(np.int64), size[order].astype(np.int64)
    few = alike[:: -(-len(alike) // _MOST_SOURCES)]
    sources = np.arange(n) if n <= ALL_PAIRS else few
    links, latency_s, farthest = 0, 0.0, (0, 0)
    marked = np.zeros(topology.n_links, dtype=bool)
    for src, dst in _pairs(sources, n):
        routes = topology.routes(src, dst)
        marked[routes.link] = True
        links = max(links, int(np.diff(routes.ptr).max(initial=0)))
        own_s = routes.latency_s(topology)
        at = int(own_s.argmax())
        if own_s[at] > latency_s:
            latency_s, farthest = float(own_s[at]), (int(src[at]), int(dst[at]))
    used = _with_their_like(marked, ends, colour, kind)
    return Reach(ends, colour, alike, size, links, latency_s, farthest, used)


def _pairs(sources: Ints, n_devices: int) -> Iterator[tuple[Ints, Ints]]:
    """Return pairs from each source to every device and back, in batches."""
    per_batch = max(1, _BATCH // n_devices)
    back = len(sources) < n_devices
    for begin in range(0, len(sources), per_batch):
        some = sources[begin : begin + per_batch]
        src = np.repeat(some, n_devices)
        dst = np.tile(np.arange(n_devices), len(some))
        yield src, dst
        if back:
            yield dst, src


def _with_their_like(marked: Flags, ends: Ends, colour: Hash, kind: Ints) -> Flags:
    """Return the links marked, and those of the same class between ends of the same colours."""
    _, group = np.unique(colour, return_inverse=True)
    group = group.reshape(-1).astype(np.int64)
    pair = group[ends.begin] * ends.n_vertices + group[ends.end]
    _, alike = np.unique(np.stack([pair, kind]), axis=1, return_inverse=True)
    alike = alike.reshape(-1)
    found = np.zeros(int(alike.max(initial=-1)) + 1, dtype=bool)
    found[alike[marked]] = True
    return np.asarray(found[alike])


def broken_route(topology: Topology, reach: Reach) -> tuple[int, int] | None:
    """Return a pair of devices whose route does not lead from one to the other, None if all do.

    A route leads where its first link begins at the source, each link where the one before ends,
    and the last ends at the target. The same pairs are looked at as for `Reach`.
    """
    sources = np.arange(topology.n_devices) if topology.n_devices <= ALL_PAIRS else reach.sources
    for src, dst in _pairs(sources, topology.n_devices):
        wrong = ~_leads(topology.routes(src, dst), src, dst, reach.ends)
        if wrong.any():
            at = int(wrong.argmax())
            return int(src[at]), int(dst[at])
    return None


def _leads(routes: Routes, src: Ints, dst: Ints, ends: Ends) -> Flags:
    """Return which routes are joined up, bool[k]."""
    at, hops = src.copy(), np.diff(routes.ptr)
    good = (hops > 0) == (src != dst)
    for position in range(int(hops.max(initial=0))):
        longer = np.flatnonzero(hops > position)
        link = routes.link[routes.ptr[longer] + position]
        good[longer] &= ends.begin[link] == at[longer]
        at[longer] = ends.end[link]
    return np.asarray(good & (at == dst))
