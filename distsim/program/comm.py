"""Communication of a program: prices of collectives, and the transfer types that tasks refer to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from distsim.collectives.algorithms import ALGORITHMS
from distsim.hardware.library import Priced, choose
from distsim.hardware.topology import Topology
from distsim.program.fold import Fold, TypeTable
from distsim.program.traffic import Traffic
from distsim.record import record
from distsim.store import Numbers, Same

T = TypeVar("T")
Ints = npt.NDArray[np.int64]

#: Algorithms that are another pattern, run so many times: a ring all-reduce is a reduce-scatter and
#: an all-gather over the same ring (Thakur 2005). Ranks are told apart by fewer patterns so.
SAME_AS: dict[tuple[str, str], tuple[str, float]] = {
    ("all_reduce", "ring"): ("all_gather", 2.0),
    ("reduce_scatter", "ring"): ("all_gather", 1.0),
}
#: Algorithms that need a switch that can do it.
NEEDS = {"nvls": "nvls", "nvls_tree": "nvls", "sharp": "sharp"}
#: Prices of one network that are kept, and times of collectives of all of them.
_KEPT_PRICES = 20_000
#: (number of a cost, collective, bytes) -> seconds.
_SECONDS: dict[tuple[int, str, float], float] = {}
_COSTS = Numbers(4096)


def options(collective: str, topology: Topology) -> list[tuple[str, str, float]]:
    """Return (algorithm, pattern, times) of what the library may choose for a collective."""
    out = []
    for algorithm in topology.library.choices(collective):
        need = NEEDS.get(algorithm)
        if (collective, algorithm) in ALGORITHMS and (not need or need in topology.in_network):
            base, times = SAME_AS.get((collective, algorithm), (collective, 1.0))
            out.append((algorithm, base, times))
    return out


@record
class Groups:
    """Groups of one axis: who talks to whom.

    Attributes
    ----------
    name : str
        ``tensor``, ``context``, ``expert``, ``expert_tensor``, ``data``, ``replica``,
        ``expert_data``, ``expert_replica``, ``tied``, and ``forward``, ``backward`` and their
        further ones.
    ranks : int64[groups, n]
    role : int64[groups]
    of_rank : int64[ranks]
        Group of each rank (-1: none). For sends, the group in which the rank sends.
    sizes_bytes : dict of str to set of float
        What runs over the groups: sizes of each collective.
    bandwidth : float
        Share of the links' bandwidth that a framework's use of the library leaves.
    key : (int, int) or None
        Numbers that stand for the ranks of the groups, and for these and their roles, so that what
        is made of them is found again.
    """

    name: str
    ranks: Ints
    role: Ints
    of_rank: Ints
    sizes_bytes: Mapping[str, set[float]]
    bandwidth: float = 1.0
    key: tuple[int, int] | None = None


def _flat(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _differ(links: Ints, values: Ints) -> bool:
    """Say whether some link has two values."""
    if not len(links):
        return False
    low = np.full(int(links.max()) + 1, np.iinfo(np.int64).max)
    high = np.full(len(low), np.iinfo(np.int64).min)
    np.minimum.at(low, links, values)
    np.maximum.at(high, links, values)
    return bool((low < high).any())


@record
class Transfers:
    """Transfer types as arrays: demands by type (CSR), weights, latencies, classes slowed down.

    `serial_s` is what the phases of a transfer take at least, one after another.
    """

    ptr: Ints
    row: Ints
    size_bytes: npt.NDArray[np.float64]
    weight_bytes: npt.NDArray[np.float64]
    latency_s: npt.NDArray[np.float64]
    serial_s: npt.NDArray[np.float64]
    devices: list[Ints]


class TransferType(NamedTuple):
    """A transfer type: a folded type of a family, its bytes, and its latency.

    Bytes on the wire stand for time that a protocol or a device costs, too: they are more than what
    a pattern carries of an array (`payload_bytes`, in arrays).
    """

    family: str
    kind: int
    wire_bytes: float
    latency_s: float
    payload_bytes: float = 0.0


@dataclass(slots=True)
class Network:
    """All families, folded; prices collectives and hands out transfer types.

    Transfer types are registered while tasks are emitted and frozen once at the end.

    Attributes
    ----------
    families : dict of str to Traffic
        Without the links that never bind; `routed` has all links.
    prefix : str
        Of the names of families, where several jobs share the network.
    foreign : int64[...]
        Links that other jobs load.
    best_of, memo : dict
        What was found out about the families; networks of the same families share it.
    """

    groups: dict[str, Groups]
    fold: Fold
    families: dict[str, Traffic]
    routed: dict[str, Traffic]
    topology: Topology
    prefix: str = ""
    foreign: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    registry: dict[TransferType, int] = field(default_factory=dict)
    best_of: dict[tuple[str, int, str, float], tuple[TransferType, Priced]] = field(
        default_factory=dict
    )
    memo: dict[Hashable, Any] = field(default_factory=dict)

    def best(
        self, axis: str, group: int, collective: str, size_bytes: float
    ) -> tuple[TransferType, Priced]:
        """Return the transfer type of a collective by its fastest algorithm, and its price.

        Raises
        ------
        ValueError
            When the axis has no such collective.
        """
        key = (axis, self.type_of(axis, group), collective, size_bytes)
        if key not in self.best_of:
            if len(self.best_of) >= _KEPT_PRICES:
                self.best_of.clear()
            found = list(self._options(axis, group, collective, size_bytes))
            chosen = choose({kind.family: priced for kind, priced in found})
            self.best_of[key] = next(option for option in found if option[0].family == chosen)
        return self.best_of[key]

    def _options(
        self, axis: str, group: int, collective: str, size_bytes: float
    ) -> Iterator[tuple[TransferType, Priced]]:
        share = self.groups[axis].bandwidth
        for algorithm, base, times in options(collective, self.topology):
            name = f"{self.prefix}{axis}/{algorithm}/{base}"
            if name not in self.fold.tables:
                continue
            table = self.fold.tables[name]
            kind = int(table.type_of_group[group])
            priced = table.priced(kind, collective, size_bytes, times, self.topology.library)
            if share != 1.0:
                priced = replace(priced, bandwidth=priced.bandwidth * share)
            payload = size_bytes * times
            found = TransferType(name, kind, payload / priced.bandwidth, priced.latency_s, payload)
            yield found, priced

    def collective_s(self, axis: str, group: int, collective: str, size_bytes: float) -> float:
        """Return the time of a collective that shares links with its siblings only."""
        key = (self.alike(axis, group), collective, size_bytes)
        if key not in _SECONDS:
            if len(_SECONDS) >= _KEPT_PRICES:
                _SECONDS.clear()
            _SECONDS[key] = self._collective_s(axis, group, collective, size_bytes)
        return _SECONDS[key]

    def _collective_s(self, axis: str, group: int, collective: str, size_bytes: float) -> float:
        chosen, _ = self.best(axis, group, collective, size_bytes)
        table = self.fold.tables[chosen.family]
        capacity = self.fold.capacity_bytes_per_s
        return chosen.latency_s + table.shared_s(chosen.kind, chosen.wire_bytes, capacity)

    def transfer(self, axis: str, group: int, collective: str, size_bytes: float) -> int:
        """Return the transfer type of a collective of this size over this group."""
        kind, _ = self.best(axis, group, collective, size_bytes)
        return self.registry.setdefault(kind, len(self.registry))

    def latency_only(self, latency_s: float) -> int:
        """Return a transfer type that takes latency and no bandwidth."""
        return self.registry.setdefault(TransferType("", 0, 0.0, latency_s), len(self.registry))

    def table(self, axis: str) -> tuple[str, TypeTable]:
        """Return the name and the types of a family of an axis.

        Types of groups are the same for every algorithm of the axis.
        """

        def found() -> tuple[str, TypeTable]:
            head = f"{self.prefix}{axis}/"
            return next((n, t) for n, t in self.fold.tables.items() if n.startswith(head))

        return self.known(("table", axis), found)

    def type_of(self, axis: str, group: int) -> int:
        """Return the type of a group."""
        return int(self.table(axis)[1].type_of_group[group])

    def cost(self, axis: str, group: int) -> Hashable:
        """Return all that collectives of a group cost beside their sizes.

        Equal for groups of two types that differ in the pipeline stage that they belong to.
        """

        def found() -> list[Hashable]:
            head = f"{self.prefix}{axis}/"
            named = [
                (n[len(self.prefix) :], t)
                for n, t in self.fold.tables.items()
                if n.startswith(head)
            ]
            capacity, library = self.fold.capacity_bytes_per_s, Same(self.topology.library)
            share = self.groups[axis].bandwidth
            return [
                (library, share, *((n, t.cost(kind, capacity)) for n, t in named))
                for kind in range(len(named[0][1].example))
            ]

        return self.known(("cost", axis), found)[self.type_of(axis, group)]

    def alike(self, axis: str, group: int) -> int:
        """Return a number that is equal for groups, of all networks, whose `cost` is."""

        def found() -> list[int]:
            return [_COSTS.of(self.cost(axis, g)) for g in self.table(axis)[1].example.tolist()]

        return self.known(("alike", axis), found)[self.type_of(axis, group)]

    def groups_meet(self, axis: str, other: str | None = None) -> bool:
        """Say whether groups that do not move in step load the same link.

        Groups of one type do the same at the same instants, so what they cost each other is known
        beforehand (`collective_s`). Those of two types of an axis may meet at any time, and so may
        groups of two axes, unless they belong to the same pipeline stage: a rank is in one of them
        after the other.

        Parameters
        ----------
        other : str, optional
            Another axis; by default groups of the same axis.
        """

        def found() -> bool:
            if other is None:
                return _differ(*self._types_on_links(axis))
            mine, theirs = (self._roles_on_links(a) for a in (axis, other))
            return _differ(*(np.concatenate(parts) for parts in zip(mine, theirs, strict=True)))

        return self.known(("meet", axis, other), found)

    def known(self, key: Hashable, found: Callable[[], T]) -> T:
        """Return what was found out about the families, now if it was not before."""
        if key not in self.memo:
            self.memo[key] = found()
        value: T = self.memo[key]
        return value

    def _types_on_links(self, axis: str) -> tuple[Ints, Ints]:
        """Return (link, type of the group) of every entry of an axis."""
        head = f"{self.prefix}{axis}/"
        found = [(n, f) for n, f in self.families.items() if n.startswith(head)]
        links = [f.entry_link for _, f in found]
        types = [self.fold.tables[n].type_of_group[f.entry_group] for n, f in found]
        return _flat(links), _flat(types)

    def _roles_on_links(self, axis: str) -> tuple[Ints, Ints]:
        head = f"{self.prefix}{axis}/"
        found = [f for n, f in self.families.items() if n.startswith(head)]
        return _flat([f.entry_link for f in found]), _flat([f.role[f.entry_group] for f in found])

    @property
    def types(self) -> tuple[TransferType, ...]:
        """Transfer types in the order of their numbers."""
        return tuple(self.registry)

    def loads(self, *axes: str) -> npt.NDArray[np.bool_]:
        """Say which links the groups of these axes load, shape (links,)."""

        def found() -> npt.NDArray[np.bool_]:
            out = np.zeros(len(self.topology.capacity_bytes_per_s), dtype=bool)
            heads = tuple(f"{self.prefix}{axis}/" for axis in axes)
            for name, family in self.families.items():
                if name.startswith(heads):
                    out[family.entry_link] = True
            return out

        return self.known(("loads", axes), found)

    def classes_of(self, axis: str) -> list[tuple[Ints, int]]:
        """Return (classes of the members, example group) of each type of group of an axis."""

        def found() -> list[tuple[Ints, int]]:
            ranks, class_of = self.groups[axis].ranks, self.fold.class_of
            examples = self.table(axis)[1].example.tolist()
            return [(np.unique(class_of[ranks[g]]), g) for g in examples]

        return self.known(("classes", axis), found)

    def frozen(self) -> Transfers:
        """Return all registered types as arrays."""
        rows, sizes = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
        latency, weight, serial, devices, ptr = [], [], [], [], [0]
        for name, kind, wire_bytes, latency_s, _ in self.registry:
            latency.append(latency_s)
            if not name:
                weight.append(0.0)
                serial.append(0.0)
                devices.append(np.zeros(0, dtype=np.int64))
                ptr.append(ptr[-1])
                continue
            table, family = self.fold.tables[name], self.families[name]
            span = slice(int(table.ptr[kind]), int(table.ptr[kind + 1]))
            rows.append(table.row[span])
            sizes.append(table.fraction[span] * wire_bytes)
            weight.append(float(table.weight[kind]) * wire_bytes)
            serial.append(float(table.serial_s_per_byte[kind]) * wire_bytes)
            members = family.ranks[int(table.example[kind])]
            # A send occupies too few multiprocessors to slow kernels down.
            slowed = members[:0] if family.ordered else members
            devices.append(np.unique(self.fold.class_of[slowed]))
            ptr.append(ptr[-1] + span.stop - span.start)
        return Transfers(
            np.asarray(ptr, dtype=np.int64),
            np.concatenate(rows),
            np.concatenate(sizes),
            np.asarray(weight, dtype=np.float64),
            np.asarray(latency, dtype=np.float64),
            np.asarray(serial, dtype=np.float64),
            devices,
        )


__all__ = ["Groups", "Network", "TransferType", "Transfers", "options"]
