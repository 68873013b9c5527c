"""Who talks to whom in a step, and how much: the groups of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from distsim.parallel.data import DataParallel, Domain
from distsim.parallel.plan import Plan
from distsim.parallel.stages import Chunk
from distsim.parallel.step import AXES, Collective, Step
from distsim.program.comm import Groups
from distsim.program.compile import collective_groups, pair_groups
from distsim.program.inputs import Inputs
from distsim.program.links import phases
from distsim.program.pieces import amounts, cutting
from distsim.program.sends import families
from distsim.schedule import BACKWARD, FORWARD, WEIGHT
from distsim.store import Numbers, Same, Store

Ints = npt.NDArray[np.int64]
Sizes = dict[str, set[float]]
#: Numbers for devices in order.
_PLACES = Numbers(1024)

#: Axis of the mesh along which the groups of each name lie.
MESH_AXIS = {
    "tensor": "tp",
    "context": "cp",
    "expert": "ep",
    "expert_tensor": "etp",
    "data": "shard",
    "replica": "replica",
    "expert_data": "expert_shard",
    "expert_replica": "expert_replica",
}


def inside_axes(plan: Plan) -> tuple[str, ...]:
    """Return the axes of collectives inside a layer that have more than one rank."""
    size = {"tensor": plan.tp, "context": plan.cp, "expert": plan.ep, "expert_tensor": plan.etp}
    used = ("expert", "expert_tensor") if plan.experts else ()
    return tuple(a for a in AXES if size[a] > 1 and (a in ("tensor", "context") or a in used))


def groups_of(inputs: Inputs) -> list[Groups]:
    """Return who talks to whom in a step."""
    plan, mesh = inputs.plan, inputs.plan.mesh()
    sizes = _inside_sizes(inputs)
    place = _PLACES.of(inputs.device_of.tobytes())

    def along(axis: str, each: Sizes, share: float = 1.0) -> Groups:
        lies = MESH_AXIS[axis]
        return collective_groups(
            mesh, lies, axis, inputs.device_of, each, place=place, bandwidth=share
        )

    groups = [along(a, sizes.get(a, {})) for a in inside_axes(plan)]
    share = inputs.data.handover.bandwidth
    groups += [along(axis, each, share) for axis, each in _data_sizes(inputs).items()]
    if plan.pp > 1:
        sends = {"send": {v.boundary_bytes for v in inputs.variants}}
        groups += [
            pair_groups(mesh, name, hops, sends, place=place)
            for name, hops in families(plan).items()
        ]
        if inputs.update.shared:
            pairs = [s.stages for s in inputs.update.shared]
            summed = {"all_reduce": {s.size_bytes for s in inputs.update.shared}}
            groups.append(pair_groups(mesh, "tied", pairs, summed, place=place))
    return groups


def _collectives(steps: Iterable[Step]) -> frozenset[Collective]:
    return frozenset(s.collective for s in steps if s.collective is not None)


@lru_cache(maxsize=4096)
def _in_unit(unit: Same, kinds: tuple[int, ...]) -> frozenset[Collective]:
    """Return the collectives inside a unit."""
    return _collectives(step for kind in kinds for step in unit.of.steps(kind))


@lru_cache(maxsize=4096)
def _in_chunk(of: Same, kinds: tuple[int, ...]) -> frozenset[Collective]:
    """Return the collectives inside a chunk."""
    chunk: Chunk = of.of
    before = (*chunk.receives_forward, *chunk.receives_backward)
    after = (*chunk.ends_forward, *chunk.ends_backward)
    inside = [_in_unit(Same(unit), kinds) for unit, _ in chunk.counted]
    return _collectives((*before, *after)).union(*inside)


def _distinct(stages: Sequence[Sequence[Chunk]]) -> list[Chunk]:
    """Return all chunks once."""
    different = {id(s): s for s in stages}.values()
    return list({id(c): c for stage in different for c in stage}.values())


def _kinds(inputs: Inputs) -> tuple[int, ...]:
    """Return the kinds of actions that the schedule has."""
    orders = inputs.orders()
    return _KINDS.get(
        Same(orders),
        lambda: tuple(np.bincount(np.concatenate([o.kind for o in orders])).nonzero()[0].tolist()),
        # The key keeps the orders.
        lambda _: sum(order.nbytes for order in orders),
    )


#: Of orders seen before.
_KINDS = Store(64 << 20)


def _inside_sizes(inputs: Inputs) -> dict[str, Sizes]:
    kinds = _kinds(inputs)
    chunks = [c for v in inputs.variants for c in _distinct(v.chunks)]
    found = frozenset[Collective]().union(*[_in_chunk(Same(c), kinds) for c in chunks])
    out: dict[str, Sizes] = {}
    for c in sorted(found, key=lambda c: (c.axis, c.name, c.size_bytes)):
        out.setdefault(c.axis, {}).setdefault(c.name, set()).add(c.size_bytes)
    return out


def _data_sizes(inputs: Inputs) -> dict[str, Sizes]:
    """Return for each axis of data-parallel ranks what is reduced and gathered there."""
    data = inputs.data
    out: dict[str, Sizes] = {}
    reduced, gathered = _hooked(inputs)
    for number, domain in enumerate(data.domains):
        for axis, collective, sizes in _reduced(data, domain, sorted(reduced[number])):
            out.setdefault(axis, {}).setdefault(collective, set()).update(sizes)
        if domain.shard > 1 and gathered[number]:
            sizes = [count * data.gather_bytes for count in gathered[number]]
            out.setdefault(domain.name, {}).setdefault("all_gather", set()).update(sizes)
    return out


def _reduced(
    data: DataParallel, domain: Domain, counts: Sequence[float]
) -> Iterator[tuple[str, str, list[float]]]:
    """Yield axis, collective and sizes of the phases that reduce gradients, one after another."""
    if data.compression is None:
        # Sizes are in proportion to the parameters.
        for axis, collective, size in phases(data, domain, 1.0) if counts else ():
            yield axis, collective, [size * count for count in counts]
        return
    for count in counts:
        for axis, collective, size in phases(data, domain, count):
            yield axis, collective, [size]


def _hooked(inputs: Inputs) -> tuple[list[set[float]], list[set[float]]]:
    """Return the parameters of each domain whose gradients leave, and that arrive, at once."""
    data, stages = inputs.data, inputs.variants[0].chunks
    domains = range(len(data.domains))
    reduced: list[set[float]] = [set() for _ in domains]
    gathered: list[set[float]] = [set() for _ in domains]
    for d in domains if "end" in (data.reduce, data.gather) else ():
        held = {sum(data.domains[d].parameters(c) for c in stage) for stage in stages}
        reduced[d] |= held if data.reduce == "end" else set()
        gathered[d] |= held if data.gather == "end" else set()
    chunks, how = _distinct(stages), cutting(data)
    for kind in _kinds(inputs):
        gather = kind == FORWARD and data.gather in ("first", "forward", "each")
        gather = gather or (data.gather == "each" and kind != WEIGHT)
        reduce = kind in (BACKWARD, WEIGHT) and data.reduce in ("last", "each")
        if gather or reduce:
            for chunk in chunks:
                arriving, leaving = amounts(chunk, how, kind=kind, gather=gather, reduce=reduce)
                for d in domains:
                    gathered[d] |= arriving[d]
                    reduced[d] |= leaving[d]
    return [r - {0.0} for r in reduced], [g - {0.0} for g in gathered]


__all__ = ["MESH_AXIS", "groups_of", "inside_axes"]
