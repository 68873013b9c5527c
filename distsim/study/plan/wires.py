"""What collectives take at least on the links of a cluster: options of a library as arrays.

A library runs a collective by some algorithm under some protocol, which takes a + c sqrt(S) + r S
on S bytes for a group by itself (`distsim.hardware.library`): a its latency, r its bytes, c what
cutting into chunks costs. The least of all options is a lower bound of what the library chooses,
and links that are shared only add to it. A least of concave functions is concave, so one transfer
of all bytes is also a bound of several that add up to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, sqrt

import numpy as np
import numpy.typing as npt

from distsim.hardware.library import Library, choose
from distsim.hardware.tuner import Load
from distsim.parallel.mesh import Mesh
from distsim.program.comm import options
from distsim.program.routed import slowest
from distsim.program.traffic import Traffic, compile_traffic
from distsim.study.plan.setting import Machine

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Size at which the three numbers of an option are read off, bytes.
_AT_BYTES = float(2**30)


@dataclass(frozen=True, slots=True)
class Options:
    """Ways to run one collective over some groups: each takes a + c sqrt(S) + r S.

    Attributes
    ----------
    a, c, r : float64[options]
        Seconds, seconds over the root of bytes, seconds a byte.
    """

    a: Floats
    c: Floats
    r: Floats

    def least_s(self, size_bytes: Floats) -> Floats:
        """Return the least time of each size, of the same shape; 0 for no bytes."""
        size = size_bytes[..., None]
        each = self.a + self.c * np.sqrt(size) + self.r * size
        return np.where(size_bytes > 0.0, each.min(axis=-1, initial=inf), 0.0)


def joined(found: Sequence[Options]) -> Options:
    """Return the ways of several groups as rows, float64[groups, most ways]."""
    most = max(len(ways.a) for ways in found)
    a, c, r = np.full((len(found), most), inf), *np.zeros((2, len(found), most))
    for row, ways in enumerate(found):
        own = slice(len(ways.a))
        a[row, own], c[row, own], r[row, own] = ways.a, ways.c, ways.r
    return Options(a, c, r)


#: A group of one: nothing is sent.
NOTHING = Options(np.zeros(1), np.zeros(1), np.zeros(1))


def _distinct(loads: Sequence[Load]) -> list[Load]:
    """Return loads that differ in more than the last digits, where sums differ by their order."""
    exact = list(dict.fromkeys(loads))
    if len(exact) == 1:
        return exact
    return list({tuple(f"{x:.12g}" for x in load): load for load in exact}.values())


@dataclass(slots=True)
class Wires:
    """Groups of ranks on the links of one cluster.

    Attributes
    ----------
    machine : Machine
    packed : bool
        Consecutive ranks are on consecutive devices.
    """

    machine: Machine
    packed: bool
    _groups: dict[object, Ints] = field(default_factory=dict)
    _routed: dict[object, list[tuple[str, float, Traffic, list[Load]]]] = field(
        default_factory=dict
    )
    _options: dict[object, Options] = field(default_factory=dict)
    _chosen: dict[object, float] = field(default_factory=dict)
    _classes: dict[object, frozenset[int]] = field(default_factory=dict)
    _protocols: dict[str, Library] = field(default_factory=dict)
    _apart: dict[object, bool] = field(default_factory=dict)

    def period(self) -> int:
        """Return after how many devices the cluster repeats itself; 0: never."""
        topology = self.machine.topology
        if not self.packed or topology.dims:
            return 0
        if topology.unit_of is None:
            return topology.devices_per_node
        sizes = np.bincount(topology.unit_of)
        return int(sizes[0]) if (sizes[:-1] == sizes[0]).all() else 0

    def groups(self, mesh: Mesh, axis: str) -> Ints:
        """Return the groups of an axis that stand for all, int64[groups, n].

        The first one of each stage, those that lie alike once. Axis ``hop`` is that of the first
        rank of each stage and the one of the next stage, both ways.
        """
        if (mesh, axis) not in self._groups:
            self._groups[mesh, axis] = (
                self._hops(mesh) if axis == "hop" else self._firsts(mesh, axis)
            )
        return self._groups[mesh, axis]

    def _firsts(self, mesh: Mesh, axis: str) -> Ints:
        found = mesh.groups(axis)
        firsts = found[:: len(found) // mesh.pp]
        period = self.period()
        if not period:
            return firsts
        _, first = np.unique(firsts[:, 0] % period, return_index=True)
        return firsts[np.sort(first)]

    def _hops(self, mesh: Mesh) -> Ints:
        ranks = mesh.groups("pp")[0]
        after = np.roll(ranks, -1)
        return np.concatenate([np.stack([ranks, after], 1), np.stack([after, ranks], 1)])

    def routed(
        self, key: object, ranks: Ints, collective: str
    ) -> list[tuple[str, float, Traffic, list[Load]]]:
        """Return (algorithm, times, traffic, load of each group) of all ways to run it."""
        at = (key, collective)
        if at not in self._routed:
            topology, device_of = self.machine.topology, self.machine.device_of
            order = np.argsort(device_of[ranks], axis=1, kind="stable")
            ranks = ranks if collective == "send" else np.take_along_axis(ranks, order, axis=1)
            role = np.zeros(len(ranks), dtype=np.int64)
            out = []
            for algorithm, base, times in options(collective, topology):
                try:
                    t = compile_traffic("", ranks, role, base, algorithm, device_of, topology)
                except ValueError:
                    continue  # the algorithm cannot run on these ranks
                busy = np.maximum(
                    slowest(
                        t.entry_group,
                        t.entry_link,
                        t.entry_fraction,
                        len(ranks),
                        topology.capacity_bytes_per_s,
                    ),
                    t.serial_s_per_byte,
                )
                loads = [t.load(g, float(busy[g])).times(times) for g in range(len(ranks))]
                out.append((algorithm, times, t, loads))
            self._routed[at] = out
        return self._routed[at]

    def options(self, key: object, ranks: Ints, collective: str, share: float = 1.0) -> Options:
        """Return all ways to run a collective over any of some groups.

        Parameters
        ----------
        key : object
            Stands for the groups.
        ranks : int64[groups, n]
        share : float
            Of the bandwidth that a framework's use of the library leaves.
        """
        if ranks.shape[1] == 1:
            return NOTHING
        at = (key, collective, share)
        if at in self._options:
            return self._options[at]
        library = self.machine.topology.library
        found: list[tuple[float, float, float]] = []
        for algorithm, _, _, loads in self.routed(key, ranks, collective):
            for protocol in library.runner(algorithm).startup_s:
                alone = self._under(protocol)
                for load in _distinct(loads):
                    p = alone.price(collective, algorithm, load, _AT_BYTES)
                    a, c = p.startup_s + p.hops_s, p.fill_s / sqrt(_AT_BYTES)
                    found.append((a, c, p.fluid_s / _AT_BYTES / share))
        a, c, r = np.unique(np.asarray(found).reshape(-1, 3), axis=0).T
        self._options[at] = Options(a, c, r)
        return self._options[at]

    def _under(self, protocol: str) -> Library:
        """Return the library with one protocol alone."""
        if protocol not in self._protocols:
            self._protocols[protocol] = self.machine.topology.library.under({protocol})
        return self._protocols[protocol]

    def chosen_s(self, key: object, ranks: Ints, collective: str, size_bytes: float) -> float:
        """Return what a collective takes by the algorithm that the library chooses.

        The least over the groups, which are alike as a rule.
        """
        at = (key, collective, size_bytes)
        if at not in self._chosen:
            library = self.machine.topology.library
            routed = self.routed(key, ranks, collective)
            if all(len(_distinct(loads)) == 1 for *_, loads in routed):
                priced = {
                    f"{algorithm}/{t.name}": library.price(
                        collective, algorithm, loads[0], size_bytes
                    )
                    for algorithm, _, t, loads in routed
                }
                self._chosen[at] = priced[choose(priced)].total_s
            else:
                least = self.options(key, ranks, collective).least_s(np.asarray([size_bytes]))
                self._chosen[at] = float(least[0])
        return self._chosen[at]

    def classes(self, key: object, ranks: Ints, collective: str) -> frozenset[int]:
        """Return the classes of links that a collective may load."""
        if ranks.shape[1] == 1:
            return frozenset()
        at = (key, collective)
        if at in self._classes:
            return self._classes[at]
        used = [t.entry_link for _, _, t, _ in self.routed(key, ranks, collective)]
        links = np.unique(np.concatenate(used)) if used else np.zeros(0, dtype=np.int64)
        self._classes[at] = frozenset(self.machine.topology.link_class[links].tolist())
        return self._classes[at]

    def apart(self, key: object, ranks: Ints, collective: str) -> bool:
        """Say whether no link is loaded by two of the groups."""
        at = (key, collective)
        if at not in self._apart:
            self._apart[at] = all(
                _is_apart(t.entry_link, t.entry_group)
                for _, _, t, _ in self.routed(key, ranks, collective)
            )
        return self._apart[at]


def _is_apart(link: Ints, group: Ints) -> bool:
    low = np.full(int(link.max(initial=0)) + 1, np.iinfo(np.int64).max)
    high = np.full(len(low), -1)
    np.minimum.at(low, link, group)
    np.maximum.at(high, link, group)
    return bool((low >= high).all())
