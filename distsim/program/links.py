"""Communication between classes of ranks: sends between stages, gradients, parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distsim.parallel.data import DataParallel
from distsim.parallel.plan import Plan
from distsim.program.actions import ClassProgram
from distsim.program.comm import Network
from distsim.program.emit import Emitter
from distsim.program.opgraph import TaskKind

Ints = npt.NDArray[np.int64]


def pipeline_sends(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    plan: Plan,
    size_bytes: float,
    hops: Sequence[tuple[int, int]],
) -> None:
    """Send activations forward and gradients backward between stages, for every micro batch.

    Sends of one rank in one direction run in the order in which it produces them. Without
    `overlap_p2p` the sender computes nothing until its send is done.
    """
    following = {a: b for a, b in hops}
    per_stage = plan.devices // plan.pp
    for direction, kind in (("forward", 0), ("backward", 1)):
        step = following if kind == 0 else {b: a for a, b in hops}
        of_rank = network.groups[direction].of_rank
        for program in programs:
            if program.stage not in step:
                continue
            peer_stage = step[program.stage]
            peer_rank = program.rank % per_stage + peer_stage * per_stage
            peer = programs[int(network.fold.class_of[peer_rank])]
            shift = _chunk_shift(program.stage, peer_stage, kind)
            source, target = _pairs(program, peer, kind, shift)
            if not len(source):
                continue
            transfer = network.transfer(direction, int(of_rank[program.rank]), "send", size_bytes)
            order = np.argsort(source, kind="stable")
            source, target = source[order], target[order]
            _send(emitter, program, direction, transfer, source, target, plan.overlap_p2p)


def _chunk_shift(stage: int, peer_stage: int, kind: int) -> int:
    """Return by how many chunks the model moves on at this hop (1 where it wraps around)."""
    if kind == 0:
        return 1 if peer_stage < stage else 0
    return -1 if peer_stage > stage else 0


def _pairs(program: ClassProgram, peer: ClassProgram, kind: int, shift: int) -> tuple[Ints, Ints]:
    chunks = program.begin.shape[1]
    here = np.arange(chunks)
    there = here + shift
    keep = (there >= 0) & (there < chunks)
    source = program.end[kind][here[keep]].reshape(-1)
    target = peer.begin[kind][there[keep]].reshape(-1)
    return source, target


def _send(
    emitter: Emitter,
    program: ClassProgram,
    direction: str,
    transfer: int,
    source: Ints,
    target: Ints,
    overlap: bool,
) -> None:
    stream = emitter.stream(program.index, f"send {direction}")
    label = emitter.name(f"send {direction} stage {program.stage}")
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


def reductions_and_gathers(
    emitter: Emitter, network: Network, programs: Sequence[ClassProgram], data: DataParallel
) -> dict[int, Ints]:
    """Add gradient reductions and parameter gathers beside compute.

    Returns
    -------
    dict
        Class -> tasks after which its gradients are reduced.
    """
    ready = {p.index: np.asarray([p.last]) for p in programs}
    if data.size == 1:
        return ready
    for classes, group in data_groups(network):
        members = [programs[c] for c in classes]
        if len(members[0].gather_task):
            _gathers(emitter, network, members, group, data)
        if len(members[0].reduce_task):
            tasks = _reductions(emitter, network, members, group, data)
            for member in members:
                ready[member.index] = np.asarray([member.last, tasks[-1]])
    return ready


def data_groups(network: Network) -> list[tuple[Ints, int]]:
    """Return (classes of the members, example group) of each type of data-parallel group."""
    _, table = network.table("data")
    ranks = network.groups["data"].ranks
    return [(np.unique(network.fold.class_of[ranks[g]]), int(g)) for g in table.example]


def _sized(network: Network, group: int, collective: str, sizes: npt.NDArray[np.float64]) -> Ints:
    distinct, inverse = np.unique(sizes, return_inverse=True)
    types = [network.transfer("data", group, collective, float(s)) for s in distinct]
    return np.asarray(types)[inverse.reshape(-1)]


def _gathers(
    emitter: Emitter,
    network: Network,
    members: Sequence[ClassProgram],
    group: int,
    data: DataParallel,
) -> None:
    """Gather parameters, each not before the unit `prefetch` units ahead of its use has begun."""
    lead = members[0]
    count = len(lead.gather_task)
    first = emitter.tasks(
        count,
        stream=emitter.stream(lead.index, "gather"),
        kind=int(TaskKind.DATA),
        transfer=_sized(network, group, "all_gather", lead.gather_bytes),
        segment=emitter.name(f"gather parameters stage {lead.stage}"),
        stage=lead.stage,
    )
    tasks = first + np.arange(count)
    emitter.chain(tasks)
    for member in members:
        emitter.edges(tasks, member.gather_task)
        opened = member.gather_task[: max(0, count - data.prefetch)] - 1
        waiting = tasks[data.prefetch :]
        keep = opened >= member.first
        emitter.edges(opened[keep], waiting[keep])


def _reductions(
    emitter: Emitter,
    network: Network,
    members: Sequence[ClassProgram],
    group: int,
    data: DataParallel,
) -> Ints:
    lead = members[0]
    count = len(lead.reduce_task)
    first = emitter.tasks(
        count,
        stream=emitter.stream(lead.index, "reduce"),
        kind=int(TaskKind.DATA),
        transfer=_sized(network, group, data.collective, lead.reduce_bytes),
        segment=emitter.name(f"reduce gradients stage {lead.stage}"),
        stage=lead.stage,
    )
    tasks = first + np.arange(count)
    emitter.chain(tasks)
    for member in members:
        emitter.edges(member.reduce_task, tasks)
        if data.blocking:
            blocked = member.reduce_task < member.last
            emitter.edges(tasks[blocked], member.reduce_task[blocked] + 1)
    return tasks
