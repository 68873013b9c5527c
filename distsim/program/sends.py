"""Sends between pipeline stages: which stage sends to which, and the tasks that do it.

The placement of model chunks says everything: an activation goes from chunk k to chunk k + 1, a
gradient back, wherever these lie. Where both lie on one stage nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.parallel.plan import Plan
from distsim.program.actions import ClassProgram
from distsim.program.comm import Network
from distsim.program.emit import Emitter
from distsim.program.opgraph import TaskKind
from distsim.schedule import Schedule

Ints = npt.NDArray[np.int64]
#: (source stage, target stage)
Hop = tuple[int, int]


class Passage(NamedTuple):
    """From one model chunk to the next, in the direction of a pass."""

    stage: int
    chunk: int
    to_stage: int
    to_chunk: int


def passages(plan: Plan, direction: str) -> list[Passage]:
    """Return where ``forward`` activations or ``backward`` gradients go."""
    return passages_of(plan.pipeline, plan.pp, plan.chunks, direction)


def passages_of(pipeline: Schedule, stages: int, chunks: int, direction: str) -> list[Passage]:
    """Return the passages of a schedule with so many stages, and model chunks on each."""
    placement = pipeline.placement(stages, chunks)
    at = {k: (s, c) for s, held in enumerate(placement) for c, k in enumerate(held)}
    each = len(at) // pipeline.replicas
    out = []
    for number, (stage, chunk) in sorted(at.items()):
        if (number + 1) % each:
            target = at[number + 1]
            ends = (stage, chunk, *target) if direction == "forward" else (*target, stage, chunk)
            out.append(Passage(*ends))
    return out


def families(plan: Plan) -> Mapping[str, tuple[Hop, ...]]:
    """Return the hops of each family of sends: in a family a stage sends to one other only."""
    return families_of(plan.pipeline, plan.pp, plan.chunks)


@lru_cache(maxsize=512)
def families_of(pipeline: Schedule, stages: int, chunks: int) -> Mapping[str, tuple[Hop, ...]]:
    """Return the families of a schedule with so many stages, and model chunks on each."""
    out: dict[str, list[Hop]] = {}
    for direction in ("forward", "backward"):
        found = passages_of(pipeline, stages, chunks, direction)
        hops = sorted({(p.stage, p.to_stage) for p in found})
        count: dict[int, int] = {}
        for source, target in hops:
            if source != target:
                count[source] = count.get(source, 0) + 1
                number = count[source]
                name = direction if number == 1 else f"{direction} {number}"
                out.setdefault(name, []).append((source, target))
    return {name: tuple(hops) for name, hops in out.items()}


def pipeline_sends(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    plan: Plan,
    sizes_bytes: npt.NDArray[np.float64],
) -> None:
    """Send activations forward and gradients backward between stages, for every micro batch.

    Sends of one rank to another run in the order in which it produces them. Without
    `overlap_p2p` the sender computes nothing until its send is done.

    Parameters
    ----------
    sizes_bytes : float64[microbatches]
        Bytes that one rank sends for each micro batch.
    """
    per_stage = plan.devices // plan.pp
    named = families(plan)
    for direction, row in (("forward", 0), ("backward", 1)):
        found = passages(plan, direction)
        own = {n: hops for n, hops in named.items() if n.split()[0] == direction}
        for program in programs:
            lane = program.rank % per_stage
            _stay(emitter, program, [p for p in found if p.stage == program.stage], row)
            for name, hops in own.items():
                target_stage = dict(hops).get(program.stage)
                if target_stage is None:
                    continue
                peer = programs[int(network.fold.class_of[lane + target_stage * per_stage])]
                going = [p for p in found if (p.stage, p.to_stage) == (program.stage, target_stage)]
                pairs = [_pairs(program, peer, p, row) for p in going]
                source, target, micro = (np.concatenate(part) for part in zip(*pairs, strict=True))
                order = np.argsort(source, kind="stable")
                group = int(network.groups[name].of_rank[program.rank])
                transfer = _sized(network, name, group, sizes_bytes[micro[order]])
                _send(
                    emitter, program, name, transfer, source[order], target[order], plan.overlap_p2p
                )


def _sized(network: Network, name: str, group: int, sizes: npt.NDArray[np.float64]) -> Ints:
    distinct, inverse = np.unique(sizes, return_inverse=True)
    types = [network.transfer(name, group, "send", float(s)) for s in distinct]
    return np.asarray(types, dtype=np.int64)[inverse.reshape(-1)]


def _pairs(
    program: ClassProgram, peer: ClassProgram, passage: Passage, row: int
) -> tuple[Ints, Ints, Ints]:
    """Return (task that produces, task that needs, micro batch) of a passage."""
    source = program.end[row, passage.chunk]
    target = peer.begin[row, passage.to_chunk]
    micro = np.flatnonzero((source >= 0) & (target >= 0))
    return source[micro], target[micro], micro


def _stay(emitter: Emitter, program: ClassProgram, found: Sequence[Passage], row: int) -> None:
    """Order two chunks of one stage that follow each other in the model."""
    for passage in found:
        if passage.to_stage == program.stage:
            source, target, _ = _pairs(program, program, passage, row)
            emitter.edges(source, target)


def _send(
    emitter: Emitter,
    program: ClassProgram,
    name: str,
    transfer: Ints,
    source: Ints,
    target: Ints,
    overlap: bool,
) -> None:
    if not len(source):
        return
    stream = emitter.stream(program.index, f"send {name}")
    label = emitter.name(f"send {name} stage {program.stage}")
    first = emitter.tasks(
        len(source),
        stream=stream,
        kind=int(TaskKind.PIPELINE),
        transfer=transfer,
        segment=label,
        stage=program.stage,
    )
    tasks = first + np.arange(len(source))
    emitter.chain(tasks)
    emitter.edges(source, tasks)
    emitter.edges(tasks, target)
    if not overlap:
        blocked = source < program.last
        emitter.edges(tasks[blocked], source[blocked] + 1)
