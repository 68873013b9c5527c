"""The optimizer step of a scenario: kernels, states, and weights that two stages hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import ceil, log2

import numpy as np

from distsim.parallel.data import DataParallel, Domain, shards
from distsim.parallel.offload import Offload
from distsim.parallel.plan import Plan
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Unit
from distsim.program.tail import Shared, Update
from distsim.scenario.machine import Machine
from distsim.store import Same
from distsim.workload.linear import weight_casts
from distsim.workload.network import Model
from distsim.workload.op import Numerics, Work
from distsim.workload.optimizer import Matrix, OptimizerSpec, state_bytes, update_works
from distsim.workload.zoo import tied_elements

Holding = tuple[float, tuple[Matrix, ...]]


# Plans that divide parameters alike and differ in what they compute share their update.
@lru_cache(maxsize=4096)
def _one(
    optimizer: OptimizerSpec,
    numerics: Numerics,
    count: float,
    matrices: tuple[Matrix, ...],
    shard: int,
) -> tuple[float, tuple[Work, ...]]:
    """Return bytes of the states of a domain, and the kernels of its update."""
    size = state_bytes(optimizer, numerics, count, matrices)
    return size, update_works(optimizer, numerics, count, matrices, shard) if count else ()


def updated(
    plan: Plan,
    data: DataParallel,
    numerics: Numerics,
    optimizer: OptimizerSpec,
    chunks: Sequence[Sequence[Chunk]],
    offload: Offload,
) -> tuple[list[list[Holding]], tuple[tuple[Work, ...], ...], tuple[tuple[float, ...], ...]]:
    """Return by stage what a rank holds, the kernels of its update, and bytes of its states.

    Stages that hold the same chunks are updated alike.
    """
    known: dict[int, tuple[list[Holding], tuple[Work, ...], tuple[float, ...]]] = {}
    for stage in chunks:
        if id(stage) not in known:
            held = _held(stage, data.domains)
            each = [
                _one(optimizer, numerics, *of, shards(plan, domain)[2])
                for of, domain in zip(held, data.domains, strict=True)
            ]
            works = _update_works(data, numerics, held, [found for _, found in each], offload)
            known[id(stage)] = (held, works, tuple([size for size, _ in each]))
    held_of, works_of, states_of = zip(*[known[id(stage)] for stage in chunks], strict=True)
    return list(held_of), works_of, states_of


def _held(stage: Sequence[Chunk], domains: Sequence[Domain]) -> list[Holding]:
    """Return parameters and matrices of each domain on one rank of a stage.

    Matrices of units alike are one entry.
    """
    times: dict[int, int] = {}
    units: dict[int, Unit] = {}
    different = {id(chunk): chunk for chunk in stage}
    often_of = Counter([id(chunk) for chunk in stage])
    for key, often in often_of.items():
        for unit, number in different[key].counted:
            units[id(unit)] = unit
            times[id(unit)] = times.get(id(unit), 0) + number * often
    out: list[Holding] = []
    for domain in domains:
        found = [
            m if number == 1 else Matrix(m.rows, m.columns, m.number * number, m.table)
            for key, number in times.items()
            for m in domain.matrices(units[key])
        ]
        count = sum([n * domain.parameters(different[key]) for key, n in often_of.items()])
        out.append((count, tuple(found)))
    return out


def _update_works(
    data: DataParallel,
    numerics: Numerics,
    stage: Sequence[Holding],
    own: Sequence[tuple[Work, ...]],
    offload: Offload,
) -> tuple[Work, ...]:
    """Return all kernels of an update; `own` are the optimizer's, of each domain."""
    out: list[Work] = []
    for domain, (count, matrices), works in zip(data.domains, stage, own, strict=True):
        if count and data.compression is not None and domain.size > 1:
            scattered = data.collective == "reduce_scatter"
            out += data.compression.decompress(count, domain.size, numerics, scattered=scattered)
        if count and offload.optimizer == "none":
            out += works
            if numerics.fp8 is not None:
                out += weight_casts(numerics.fp8, numerics, matrices)
    return tuple(out)


def update_of(
    plan: Plan,
    spec: Model,
    numerics: Numerics,
    optimizer: OptimizerSpec,
    machine: Machine,
    works: tuple[tuple[Work, ...], ...],
    chunks: Sequence[Sequence[Chunk]],
    domains: Sequence[Domain],
) -> Update:
    """Return the optimizer step: kernels of each stage (`updated`), norm, weights held twice."""
    first, last = int(machine.device_of[0]), int(machine.device_of[-1])
    hop_s = _latency_s(Same(machine.topology), first, last) if plan.devices > 1 else 0.0
    return Update(
        works=works,
        # Batches that overlap never have all gradients at one time.
        synchronized=plan.pipeline.flush and (optimizer.clip_norm or numerics.loss_scaling),
        # A small all-reduce over a binomial tree, up and down (Thakur 2005).
        sync_latency_s=2 * ceil(log2(max(plan.devices, 2))) * hop_s,
        shared=_shared(plan, spec, numerics, chunks, domains),
    )


@lru_cache(maxsize=64)
def _latency_s(topology: Same, source: int, target: int) -> float:
    """Return the latency from one device to another."""
    route = topology.of.routes(np.asarray([source]), np.asarray([target]))
    return float(route.latency_s(topology.of)[0])


def _shared(
    plan: Plan,
    spec: Model,
    numerics: Numerics,
    chunks: Sequence[Sequence[Chunk]],
    domains: Sequence[Domain],
) -> tuple[Shared, ...]:
    """Return the weights that two stages hold: a tied embedding, and the copies of the model."""
    if plan.pipeline.replicas > 1:
        pairs = [(s, plan.pp - 1 - s) for s in range(plan.pp // 2)]
        # Gradients are reduced inside each copy first; sharded, a rank then has its share of them.
        held = [
            sum(
                d.parameters(c) / (d.shard if plan.zero_stage else 1)
                for d in domains
                for c in stage
            )
            for stage in chunks
        ]
        return tuple(
            Shared(pair, held[pair[0]] * numerics.reduce_bytes, "reduce copies") for pair in pairs
        )
    stage_of = {k: s for s, held in enumerate(plan.placement) for k in held}
    first, last = stage_of[0], stage_of[len(stage_of) - 1]
    elements = tied_elements(spec)
    if not elements or first == last:
        return ()
    size = elements / plan.tp * numerics.reduce_bytes
    return (Shared((min(first, last), max(first, last)), size, "reduce tied embedding"),)


__all__ = ["update_of", "updated"]
