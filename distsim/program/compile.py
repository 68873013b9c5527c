"""Compiling the groups of a plan onto the links: which algorithms run, routed and folded.

Plans of a study often divide the same ranks in the same way and differ in what they compute, so
groups, routes and folds are kept: a program whose groups were seen before compiles nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.errors import HardwareError
from distsim.hardware.library import choose
from distsim.hardware.topology import Topology
from distsim.hardware.tuner import Load
from distsim.parallel.mesh import Mesh
from distsim.program.comm import Groups, Network, options
from distsim.program.fold import Fold, fold
from distsim.program.traffic import Traffic, compile_traffic, never_binding
from distsim.record import record
from distsim.store import Numbers, Same, Store

Ints = npt.NDArray[np.int64]

#: Groups, routes and folds of all programs of this process. At 4,096 devices a fold with its routes
#: takes a few megabytes.
STORE = Store(128 << 20)

#: Numbers for hardware with devices in order, and for what ranks do.
_PLACES, _ROLES = Numbers(1024), Numbers(1024)
#: Numbers for the ranks of groups.
_CONTENTS = Numbers(4096)


def _of_rank(groups: Ints, size: int, column: int | None = None) -> Ints:
    out = np.full(size, -1, dtype=np.int64)
    members = groups if column is None else groups[:, column : column + 1]
    out[members] = np.arange(len(groups))[:, None]
    return out


def _nbytes(value: Any) -> int:
    """Return the bytes of the arrays of a dataclass."""
    arrays = (getattr(value, f.name) for f in fields(value))
    return 256 + sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))


def collective_groups(
    mesh: Mesh,
    axis: str,
    name: str,
    device_of: Ints,
    sizes_bytes: dict[str, set[float]],
    *,
    place: Hashable = None,
    bandwidth: float = 1.0,
) -> Groups:
    """Return the groups along a mesh axis, members in the order of their devices.

    So they stand node by node, as a library orders its rings and trees.

    Parameters
    ----------
    place : hashable, optional
        Stands for `device_of`, so that the groups are found again.
    """

    def made() -> Groups:
        ranks = mesh.groups(axis)
        order = np.argsort(device_of[ranks], axis=1, kind="stable")
        ranks = np.take_along_axis(ranks, order, axis=1)
        role = mesh.stage_of()[ranks[:, 0]]
        return Groups(name, ranks, role, _of_rank(ranks, mesh.size), {}, key=_content(ranks, role))

    return _with_sizes(made, (mesh, axis, name, place), sizes_bytes, bandwidth)


def pair_groups(
    mesh: Mesh,
    name: str,
    hops: Sequence[tuple[int, int]],
    sizes_bytes: dict[str, set[float]],
    *,
    place: Hashable = None,
) -> Groups:
    """Return pairs of ranks on two pipeline stages, with the same other coordinates."""

    def made() -> Groups:
        per_stage = mesh.size // mesh.pp
        lane = np.arange(per_stage)
        pairs = [np.stack([lane + a * per_stage, lane + b * per_stage], axis=1) for a, b in hops]
        ranks = np.concatenate(pairs)
        role = np.repeat([a * mesh.pp + b for a, b in hops], per_stage)
        sender = 0 if "send" in sizes_bytes else None
        of_rank = _of_rank(ranks, mesh.size, sender)
        return Groups(name, ranks, role, of_rank, {}, key=_content(ranks, role))

    key = (mesh.size, mesh.pp, name, tuple(hops), place)
    return _with_sizes(made, key, sizes_bytes, 1.0)


def _content(ranks: Ints, role: Ints) -> tuple[int, int]:
    """Return numbers that stand for the ranks of groups, and for these and their roles."""
    members = _CONTENTS.of((ranks.shape, ranks.tobytes()))
    return members, _CONTENTS.of((members, role.tobytes()))


def _with_sizes(
    made: Any, key: tuple[Hashable, ...], sizes_bytes: dict[str, set[float]], bandwidth: float
) -> Groups:
    known = key[-1] is not None
    found: Groups = STORE.get(("groups", *key), made, _nbytes) if known else made()
    return Groups(
        found.name,
        found.ranks,
        found.role,
        found.of_rank,
        sizes_bytes,
        bandwidth,
        found.key if known else None,
    )


@record
class _Folded:
    """Families of all groups of a plan, with what was found out about them since."""

    families: dict[str, Traffic]
    routed: dict[str, Traffic]
    fold: Fold
    best: dict[Any, Any] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict)

    def nbytes(self) -> int:
        """Return the bytes of the arrays, all counted as its own."""
        return sum(_nbytes(t) for t in (*self.routed.values(), *self.fold.tables.values()))


def build_network(
    device_of: Ints,
    roles: Ints,
    all_groups: Sequence[Groups],
    topology: Topology,
    *,
    fold_enabled: bool,
) -> Network:
    """Compile every family that is used onto the links and fold."""
    parts = (topology.router, topology.capacity_bytes_per_s, topology.library)
    place = _PLACES.of((*(Same(part) for part in parts), device_of.tobytes()))
    chosen = [_chosen(groups, device_of, topology, place) for groups in all_groups]

    def made() -> _Folded:
        families: dict[str, Traffic] = {}
        for groups, algorithms in zip(all_groups, chosen, strict=True):
            families |= {
                name: _compiled(groups, base, algorithm, device_of, topology, place)
                for name, algorithm, base in algorithms
            }
        routed = dict(families)
        if families:
            dropped = never_binding(families.values(), topology.capacity_bytes_per_s)
            families = {name: family.without(dropped) for name, family in families.items()}
        capacity = topology.capacity_bytes_per_s
        folded = fold(roles, list(families.values()), capacity, enabled=fold_enabled)
        return _Folded(families, routed, folded)

    if all(g.key is not None for g in all_groups):
        families = tuple(
            (g.name, g.key, g.bandwidth, names) for g, names in zip(all_groups, chosen, strict=True)
        )
        key = ("fold", place, _ROLES.of(roles.tobytes()), fold_enabled, families)
        found = STORE.get(key, made, _Folded.nbytes)
    else:
        found = made()
    by_name = {g.name: g for g in all_groups}
    return Network(
        by_name,
        found.fold,
        found.families,
        found.routed,
        topology,
        best_of=found.best,
        memo=found.memo,
    )


def _compiled(
    groups: Groups,
    base: str,
    algorithm: str,
    device_of: Ints,
    topology: Topology,
    place: Hashable,
) -> Traffic:
    name = f"{groups.name}/{algorithm}/{base}"

    def routed() -> Traffic:
        return compile_traffic(
            name, groups.ranks, groups.role, base, algorithm, device_of, topology
        )

    if groups.key is None:
        return routed()
    members, both = groups.key

    def made() -> Traffic:
        # Routes are those of the ranks, whatever they do.
        found: Traffic = STORE.get(("routes", members, base, algorithm, place), routed, _nbytes)
        return replace(found, name=name, role=groups.role)

    traffic: Traffic = STORE.get(("traffic", name, both, place), made, lambda _: 512)
    return traffic


def _chosen(
    groups: Groups, device_of: Ints, topology: Topology, place: Hashable
) -> tuple[tuple[str, str, str], ...]:
    """Return (name, algorithm, base pattern) of those that win for some size and run on all groups.

    An algorithm that cannot run on some group is not offered.
    """
    if groups.key is None:
        return _choose(groups, device_of, topology, place)
    sizes = tuple([(name, frozenset(of)) for name, of in groups.sizes_bytes.items()])
    return STORE.get(
        ("chosen", groups.name, groups.key, place, sizes),
        lambda: _choose(groups, device_of, topology, place),
        lambda _: 512,
    )


def _choose(
    groups: Groups, device_of: Ints, topology: Topology, place: Hashable
) -> tuple[tuple[str, str, str], ...]:
    impossible: set[str] = set()
    while True:
        winners = _winners(groups, device_of, topology, place, impossible)
        for algorithm, base in winners:
            try:
                _compiled(groups, base, algorithm, device_of, topology, place)
            except ValueError:
                impossible.add(algorithm)
                break
        else:
            return tuple((f"{groups.name}/{a}/{b}", a, b) for a, b in winners)


def _nobody(groups: Groups, collective: str, topology: Topology) -> HardwareError:
    allowed = ", ".join(topology.library.choices(collective)) or "none"
    return HardwareError(
        "DS429",
        f"no algorithm is left for {collective} over {groups.ranks.shape[1]} ranks ({groups.name})",
        path=("cluster", "library"),
        value=allowed,
        rule=f"{topology.library.name} chooses from {allowed}, and one must run on these ranks",
        fix=f"name another algorithm, such as ring, in algorithms.{collective} of the library",
    )


def _winners(
    groups: Groups,
    device_of: Ints,
    topology: Topology,
    place: Hashable,
    impossible: set[str],
) -> list[tuple[str, str]]:
    """Return the (algorithm, base pattern) that win for some size, tried on the first group.

    Only those are folded: an algorithm that nobody runs must not tell ranks apart. Algorithms that
    the first group cannot run are added to `impossible`.
    """
    chosen: dict[tuple[str, str], None] = {}
    for collective, sizes in groups.sizes_bytes.items():
        offered = [o for o in options(collective, topology) if o[0] not in impossible]
        if not offered:
            raise _nobody(groups, collective, topology)
        if len(offered) == 1 or groups.ranks.shape[1] == 1:
            chosen[offered[0][:2]] = None
            continue
        tried = {}
        for algorithm, base, times in offered:
            try:
                load = _alone(groups, base, algorithm, device_of, topology, place)
                tried[algorithm, base] = load.times(times)
            except ValueError:
                impossible.add(algorithm)
        if not tried:
            raise _nobody(groups, collective, topology)
        for size in sizes:
            chosen[_winner(tried, topology, place, collective, size)] = None
    return list(chosen)


def _winner(
    tried: dict[tuple[str, str], Load],
    topology: Topology,
    place: Hashable,
    collective: str,
    size_bytes: float,
) -> tuple[str, str]:
    """Return the (algorithm, base pattern) that is fastest for a size."""

    def made() -> tuple[str, str]:
        return choose(
            {
                (algorithm, base): topology.library.price(collective, algorithm, load, size_bytes)
                for (algorithm, base), load in tried.items()
            }
        )

    loads = tuple(tried.items())
    return STORE.get(("winner", place, collective, size_bytes, loads), made, lambda _: 512)


def _alone(
    groups: Groups,
    base: str,
    algorithm: str,
    device_of: Ints,
    topology: Topology,
    place: Hashable,
) -> Load:
    """Return what the first group asks for by itself."""

    def made() -> Load:
        first = compile_traffic(
            "", groups.ranks[:1], groups.role[:1], base, algorithm, device_of, topology
        )
        return first.alone(topology)

    if groups.key is None:
        return made()
    return STORE.get(("alone", groups.key[0], base, algorithm, place), made, lambda _: 256)


__all__ = ["STORE", "build_network", "collective_groups", "pair_groups"]
