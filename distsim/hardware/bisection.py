"""Bisection bandwidth: the least that two halves of the devices can send to one another.

Devices are divided in two halves, which differ by one device where their number is odd. What one
half can send to the other is the value of a maximum flow (Ford and Fulkerson 1956), and by the same
theorem the bandwidth of the links of a least cut between the halves. The bisection bandwidth is the
least over all such halves (Dally and Towles 2004, "Principles and Practices of Interconnection
Networks", section 3.1), in one direction. Links that no route takes do not count.

Three ways lead to it. Where there are few ways to halve the devices, all are tried: that is exact.
Kinds of a regular shape state a closed form. For the rest the best cut among likely ones is taken,
which is an upper bound, and is called one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distsim.hardware.halves import all_halves, few_halves, likely_halves, searched_halves, twins
from distsim.hardware.reach import Reach, reach_of
from distsim.hardware.topology import Floats, Ints, Topology
from distsim.hardware.vertices import Ends, Flags, quotient
from distsim.record import record
from distsim.units import REL_TOL

#: Ways to halve the devices up to which all are tried; 16 devices of which no two are alike.
EXACT_HALVES = 7000
#: Devices whose injection is looked at, where no two are alike.
_MOST_INJECTORS = 64
#: How a result was found, in words.
HOW = {
    "exact": "the least of all cuts in two halves, by maximum flow",
    "formula": "the closed form of the kind",
    "bound": "the best of {cuts} cuts tried, by maximum flow: an upper bound",
}


@record
class Bisection:
    """The bisection bandwidth of a topology, and what it is compared with.

    Attributes
    ----------
    bisection_bytes_per_s : float
        One direction between halves, at the stated bandwidth of links.
    fitted_bisection_bytes_per_s : float
        The same at the capacity that long messages reach.
    found_by : {"exact", "formula", "bound"}
    cuts : int
        Halves that were tried.
    halves : (int, int)
        Devices of each half.
    cut : list of dict
        Of the least cut: ``class, links, bandwidth_bytes_per_s`` of all of them. Empty where a
        closed form is below every cut tried.
    injection_bytes_per_s : float
        What a device can send to devices of other nodes (of its own, where there is one) while the
        others are silent: the mean.
    full_bisection_bytes_per_s : float
        Injection of half the devices.
    oversubscription : float or None
        Full bisection over bisection; None for one device.
    diameter_links : int
    diameter_s : float
    unused_links : int
        Links that no route takes.
    """

    bisection_bytes_per_s: float
    fitted_bisection_bytes_per_s: float
    found_by: str
    cuts: int
    halves: tuple[int, int]
    cut: list[dict[str, Any]]
    injection_bytes_per_s: float
    full_bisection_bytes_per_s: float
    oversubscription: float | None
    diameter_links: int
    diameter_s: float
    unused_links: int

    @property
    def how(self) -> str:
        """How it was found, in words."""
        return HOW[self.found_by].format(cuts=f"{self.cuts:,}")


def bisection_of(topology: Topology, reach: Reach | None = None) -> Bisection:
    """Return the bisection bandwidth of a topology.

    Parameters
    ----------
    topology : Topology
    reach : Reach, optional
        Of the topology, where it is known already.
    """
    reach = reach or reach_of(topology)
    cutter = Cutter(topology, reach.ends, np.flatnonzero(reach.used))
    stated = topology.router.counts().get("bisection_bytes_per_s")
    exact, best, fitted = _search(topology, cutter, stated)
    value, found_by = best.value, "exact" if exact else "bound"
    if not exact and stated is not None and stated <= best.value * (1 + REL_TOL):
        value, found_by = float(stated), "formula"
    n = topology.n_devices
    injection = injection_bytes_per_s(topology, reach)
    full = n // 2 * injection
    shown = abs(value - best.value) <= REL_TOL * best.value
    return Bisection(
        bisection_bytes_per_s=value,
        fitted_bisection_bytes_per_s=fitted,
        found_by=found_by,
        cuts=cutter.tried,
        halves=(n // 2, n - n // 2),
        cut=cutter.by_class(best) if shown else [],
        injection_bytes_per_s=injection,
        full_bisection_bytes_per_s=full,
        oversubscription=full / value if value > 0 else None,
        diameter_links=reach.diameter_links,
        diameter_s=reach.diameter_s,
        unused_links=int((~reach.used).sum()),
    )


def distances(topology: Topology) -> dict[str, float]:
    """Return the diameter and, where a closed form of the bisection is stated, oversubscription.

    Returns
    -------
    dict
        ``oversubscription``, ``diameter_links``, ``diameter_s``, as `Bisection` has them.
    """
    reach = reach_of(topology)
    stated = topology.router.counts().get("bisection_bytes_per_s", 0.0)
    out: dict[str, float] = {}
    if stated > 0:
        injection = injection_bytes_per_s(topology, reach)
        out["oversubscription"] = topology.n_devices // 2 * injection / stated
    return out | {"diameter_links": reach.diameter_links, "diameter_s": reach.diameter_s}


@record
class _Best:
    """The least cut found: what it carries and which half sends (True) to which."""

    value: float
    sends: Flags


def _search(topology: Topology, cutter: Cutter, stated: float | None) -> tuple[bool, _Best, float]:
    """Return whether all halves were tried, the least cut, and the least at fitted capacity."""
    n = topology.n_devices
    alike = twins(n, cutter.begin, cutter.end, cutter.kind)
    exact = few_halves(alike, n, 2 * EXACT_HALVES if cutter.two_way else EXACT_HALVES)
    halves = all_halves(alike, n, cutter.two_way) if exact else likely_halves(topology)
    best, fitted = _least(cutter, halves)
    met = stated is not None and best.value <= stated * (1 + REL_TOL)
    if not exact and not met:
        bandwidth = cutter.weight[:, 0]
        more = searched_halves(topology, cutter.begin, cutter.end, bandwidth, best.sends)
        other, other_fitted = _least(cutter, more)
        best = min(best, other, key=lambda found: found.value)
        fitted = min(fitted, other_fitted)
    return exact, best, fitted


def _least(cutter: Cutter, halves: Iterable[Flags]) -> tuple[_Best, float]:
    best, fitted = _Best(np.inf, np.zeros(0, dtype=bool)), np.inf
    for half in halves:
        for sends in (half,) if cutter.two_way else (half, ~half):
            value, own_fitted = cutter.values(sends)
            fitted = min(fitted, own_fitted)
            # A cut that differs by rounding alone does not replace the first one.
            if value < best.value * (1 - REL_TOL):
                best = _Best(value, sends)
    return best, fitted


@dataclass(eq=False)
class Cutter:
    """Maximum flows between two halves of the devices, over the links that routes take.

    Attributes
    ----------
    topology : Topology
    ends : Ends
    links : int64[k]
        Which links count.
    tried : int
        Halves so far.
    """

    topology: Topology
    ends: Ends
    links: Ints
    tried: int = 0
    _values: dict[bytes, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        topology, links = self.topology, self.links
        self.begin, self.end = self.ends.begin[links], self.ends.end[links]
        self.kind = topology.link_class[links].astype(np.int64)
        self.weight: Floats = np.stack(
            [topology.bandwidth_bytes_per_s[links], topology.capacity_bytes_per_s[links]], axis=1
        )
        forth, back = (
            np.unique(np.stack([a, b, self.kind]), axis=1)
            for a, b in ((self.begin, self.end), (self.end, self.begin))
        )
        #: Whether every link has one of its class the other way, so that directions do not matter.
        self.two_way = forth.shape == back.shape and bool((forth == back).all())

    def values(self, sends: Flags) -> tuple[float, float]:
        """Return the flow from some devices to the others, at bandwidth and at capacity."""
        self.tried += 1
        if sends.all() or not sends.any():
            return 0.0, 0.0
        side = self._sides(sends)
        small = quotient(side, self.begin, self.end, self.kind, self.weight)
        if small.key not in self._values:
            of_group = np.zeros(int(small.group.max()) + 1, dtype=np.int64)
            of_group[small.group] = side
            ends, (stated, fitted) = (small.begin, small.end), small.weight.T
            value = _least_cut(of_group, *ends, stated)[0]
            # Where all links reach the same share of their bandwidth, so does the least cut.
            share = fitted[0] / stated[0]
            even = bool(np.allclose(fitted, share * stated, rtol=REL_TOL, atol=0.0))
            at_capacity = share * value if even else _least_cut(of_group, *ends, fitted)[0]
            self._values[small.key] = value, float(at_capacity)
        return self._values[small.key]

    def _sides(self, sends: Flags) -> Ints:
        side = np.zeros(self.ends.n_vertices, dtype=np.int64)
        side[: self.ends.n_devices] = np.where(sends, 1, 2)
        return side

    def by_class(self, best: _Best) -> list[dict[str, Any]]:
        """Return the links of the least cut by class, in the order of the classes."""
        if not best.value:
            return []
        side = self._sides(best.sends)
        small = quotient(side, self.begin, self.end, self.kind, self.weight)
        of_group = np.zeros(int(small.group.max()) + 1, dtype=np.int64)
        of_group[small.group] = side
        _, inside = _least_cut(of_group, small.begin, small.end, small.weight[:, 0])
        sent = inside[small.group]
        crossing = sent[self.begin] & ~sent[self.end]
        count = np.bincount(self.kind[crossing], minlength=len(self.topology.classes))
        return [
            {
                "class": c.name,
                "links": int(number),
                "bandwidth_bytes_per_s": float(number * c.bandwidth_bytes_per_s),
            }
            for c, number in zip(self.topology.classes, count, strict=True)
            if number
        ]


def _least_cut(side: Ints, begin: Ints, end: Ints, weight: Floats) -> tuple[float, Flags]:
    """Return the least cut from vertices of side 1 to those of side 2, and what is before it.

    Bandwidths are rounded to whole bytes/s, for which augmenting paths end (Ford and Fulkerson);
    the value is summed from the links of the cut, without rounding.
    """
    import networkx as nx

    # Vertex 0 is the source, 1 the sink; the others keep their number, moved up by two.
    name = np.where(side == 0, np.arange(len(side)) + 2, side - 1)
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from((0, 1))
    for a, b, w in zip(name[begin].tolist(), name[end].tolist(), weight.tolist(), strict=True):
        if a != b:
            before = graph.edges[a, b]["capacity"] if graph.has_edge(a, b) else 0
            graph.add_edge(a, b, capacity=before + round(w))
    _, (sending, _) = nx.minimum_cut(graph, 0, 1)
    inside = np.isin(name, list(sending))
    return float(weight[inside[begin] & ~inside[end]].sum()), inside


def injection_bytes_per_s(topology: Topology, reach: Reach) -> float:
    """Return what a device can send to devices of other nodes by itself, the mean over devices.

    A maximum flow over the links of its own routes, so that an adapter that several devices share
    counts in full, and links inside a node do not count. With one node, to its other devices.
    """
    step = -(-len(reach.sources) // _MOST_INJECTORS)
    sources, size = reach.sources[::step], reach.size[::step]
    own = [_injection(topology, reach.ends, int(device)) for device in sources]
    return float(np.average(own, weights=size))


def _injection(topology: Topology, ends: Ends, device: int) -> float:
    outside = topology.node_of != topology.node_of[device]
    targets = np.flatnonzero(outside if outside.any() else np.arange(topology.n_devices) != device)
    if not len(targets):
        return 0.0
    links = np.unique(topology.routes(np.full(len(targets), device), targets).link)
    side = np.zeros(ends.n_vertices, dtype=np.int64)
    side[targets], side[device] = 2, 1
    weight = topology.bandwidth_bytes_per_s[links]
    kind = topology.link_class[links].astype(np.int64)
    small = quotient(side, ends.begin[links], ends.end[links], kind, weight)
    of_group = np.zeros(int(small.group.max()) + 1, dtype=np.int64)
    of_group[small.group] = side
    return _least_cut(of_group, small.begin, small.end, small.weight)[0]
