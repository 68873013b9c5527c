"""Communication families of a plan, and the registry of transfer types that tasks refer to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from distsim.hardware.topology import Topology
from distsim.parallel.mesh import Mesh
from distsim.program.fold import Fold, fold
from distsim.program.traffic import Traffic, compile_traffic, local_size, never_binding

Ints = npt.NDArray[np.int64]

#: Collectives and how they are built: (algorithm, base pattern, times the base).
#: A ring all-reduce is a reduce-scatter and an all-gather over the same ring (Thakur 2005).
ALGORITHMS: dict[str, tuple[tuple[str, str, float], ...]] = {
    "all_reduce": (("ring", "all_gather", 2.0), ("tree", "all_reduce", 1.0)),
    "all_gather": (("ring", "all_gather", 1.0),),
    "reduce_scatter": (("ring", "all_gather", 1.0),),
    "send": (("direct", "send", 1.0),),
}


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of one axis: who talks to whom.

    Attributes
    ----------
    name : str
        ``tensor``, ``data``, ``forward``, ``backward``, ``tied``.
    ranks : int64[groups, n]
    role : int64[groups]
    of_rank : int64[ranks]
        Group of each rank (-1: none). For sends, the group in which the rank sends.
    sizes_bytes : dict of str to set of float
        What runs over the groups: sizes of each collective.
    """

    name: str
    ranks: Ints
    role: Ints
    of_rank: Ints
    sizes_bytes: Mapping[str, set[float]]


def _of_rank(groups: Ints, size: int, column: int | None = None) -> Ints:
    out = np.full(size, -1, dtype=np.int64)
    members = groups if column is None else groups[:, column : column + 1]
    out[members] = np.arange(len(groups))[:, None]
    return out


def collective_groups(
    mesh: Mesh, axis: str, name: str, sizes_bytes: Mapping[str, set[float]]
) -> Groups:
    """Return the groups along a mesh axis."""
    ranks = mesh.groups(axis)
    role = mesh.stage_of()[ranks[:, 0]]
    return Groups(name, ranks, role, _of_rank(ranks, mesh.size), sizes_bytes)


def pair_groups(
    mesh: Mesh, name: str, hops: list[tuple[int, int]], sizes_bytes: Mapping[str, set[float]]
) -> Groups:
    """Return pairs of ranks on two pipeline stages, with the same other coordinates."""
    per_stage = mesh.size // mesh.pp
    lane = np.arange(per_stage)
    pairs = [np.stack([lane + a * per_stage, lane + b * per_stage], axis=1) for a, b in hops]
    ranks = np.concatenate(pairs)
    role = np.repeat([a * mesh.pp + b for a, b in hops], per_stage)
    sender = 0 if "send" in sizes_bytes else None
    return Groups(name, ranks, role, _of_rank(ranks, mesh.size, sender), sizes_bytes)


@dataclass(frozen=True, slots=True)
class Transfers:
    """Transfer types as arrays: demands by type (CSR), weights, latencies, classes slowed down."""

    ptr: Ints
    row: Ints
    size_bytes: npt.NDArray[np.float64]
    weight_bytes: npt.NDArray[np.float64]
    latency_s: npt.NDArray[np.float64]
    devices: list[Ints]


@dataclass(slots=True)
class Network:
    """All families, folded; prices collectives and hands out transfer types.

    Transfer types are registered while tasks are emitted and frozen once at the end.
    """

    groups: dict[str, Groups]
    fold: Fold
    families: dict[str, Traffic]
    _types: dict[tuple[str, int, float, float], int] = field(default_factory=dict)

    def best(
        self, axis: str, group: int, collective: str, size_bytes: float
    ) -> tuple[str, int, float]:
        """Return (family, type, times) of the fastest algorithm for a collective.

        Raises
        ------
        KeyError
            When the axis has no such collective.
        """
        options = []
        for algorithm, base, times in ALGORITHMS[collective]:
            name = f"{axis}/{algorithm}/{base}"
            if name not in self.fold.tables:
                continue
            kind = int(self.fold.tables[name].type_of_group[group])
            options.append((self._alone_s(name, kind, size_bytes, times), name, kind, times))
        _, name, kind, times = min(options)
        return name, kind, times

    def _alone_s(self, name: str, kind: int, size_bytes: float, times: float) -> float:
        table = self.fold.tables[name]
        return times * table.alone_s(kind, size_bytes, self.fold.capacity_bytes_per_s)

    def collective_s(self, axis: str, group: int, collective: str, size_bytes: float) -> float:
        """Return the time of a collective that shares links with its siblings only."""
        name, kind, times = self.best(axis, group, collective, size_bytes)
        return self._alone_s(name, kind, size_bytes, times)

    def transfer(self, axis: str, group: int, collective: str, size_bytes: float) -> int:
        """Return the transfer type of a collective of this size over this group."""
        name, kind, times = self.best(axis, group, collective, size_bytes)
        return self._types.setdefault((name, kind, size_bytes, times), len(self._types))

    def latency_only(self, latency_s: float) -> int:
        """Return a transfer type that takes latency and no bandwidth."""
        return self._types.setdefault(("", 0, 0.0, latency_s), len(self._types))

    def type_of(self, axis: str, group: int) -> int:
        """Return the type of a group, the same for every algorithm of its axis."""
        name = next(n for n in self.fold.tables if n.startswith(f"{axis}/"))
        return int(self.fold.tables[name].type_of_group[group])

    def links_of(self, *axes: str) -> Ints:
        """Return the links that the groups of these axes load."""
        used = [f.entry_link for n, f in self.families.items() if n.split("/")[0] in axes]
        return np.unique(np.concatenate(used)) if used else np.zeros(0, dtype=np.int64)

    def frozen(self) -> Transfers:
        """Return all registered types as arrays."""
        rows, sizes = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
        latency, weight, devices, ptr = [], [], [], [0]
        for name, kind, size_bytes, times in self._types:
            if not name:
                latency.append(times)
                weight.append(0.0)
                devices.append(np.zeros(0, dtype=np.int64))
                ptr.append(ptr[-1])
                continue
            table, family = self.fold.tables[name], self.families[name]
            span = slice(int(table.ptr[kind]), int(table.ptr[kind + 1]))
            rows.append(table.row[span])
            sizes.append(table.fraction[span] * (size_bytes * times))
            latency.append(float(table.latency_s[kind]) * times)
            weight.append(float(table.weight[kind]) * size_bytes * times)
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
            devices,
        )


def build_network(
    mesh: Mesh,
    device_of: Ints,
    roles: Ints,
    all_groups: list[Groups],
    topology: Topology,
    *,
    fold_enabled: bool,
) -> Network:
    """Compile every family that is used onto the links and fold."""
    families: dict[str, Traffic] = {}
    for groups in all_groups:
        local = local_size(groups.ranks, device_of, topology)
        for algorithm, base in _chosen(groups, device_of, topology, local):
            name = f"{groups.name}/{algorithm}/{base}"
            families[name] = compile_traffic(
                name, groups.ranks, groups.role, base, algorithm, device_of, topology, local=local
            )
    if families:
        dropped = never_binding(families.values(), topology.capacity_bytes_per_s)
        families = {name: family.without(dropped) for name, family in families.items()}
    folded = fold(
        roles, list(families.values()), topology.capacity_bytes_per_s, enabled=fold_enabled
    )
    return Network({g.name: g for g in all_groups}, folded, families)


def _chosen(
    groups: Groups, device_of: Ints, topology: Topology, local: int
) -> list[tuple[str, str]]:
    """Return the (algorithm, base pattern) that win for some size, tried on the first group.

    Only those are folded: an algorithm that nobody runs must not tell ranks apart.
    """
    chosen: dict[tuple[str, str], None] = {}
    for collective, sizes in groups.sizes_bytes.items():
        options = ALGORITHMS[collective]
        if len(options) == 1 or groups.ranks.shape[1] <= 2:
            chosen[options[0][:2]] = None
            continue
        tried = [
            compile_traffic(
                "",
                groups.ranks[:1],
                groups.role[:1],
                base,
                algorithm,
                device_of,
                topology,
                local=local,
            )
            for algorithm, base, _ in options
        ]
        capacity = topology.capacity_bytes_per_s
        for size in sizes:
            times = [o[2] * t.alone_s(size, capacity) for o, t in zip(options, tried, strict=True)]
            chosen[options[times.index(min(times))][:2]] = None
    return list(chosen)


__all__ = ["ALGORITHMS", "Groups", "Network", "build_network", "collective_groups", "pair_groups"]
