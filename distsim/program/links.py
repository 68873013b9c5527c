"""Gradients and parameters between ranks that hold the same: reductions and gathers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.parallel.data import DataParallel, Domain
from distsim.program.actions import ClassProgram
from distsim.program.comm import Network
from distsim.program.emit import Emitter
from distsim.program.offload import Copies
from distsim.program.opgraph import TaskKind

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def phases(data: DataParallel, domain: Domain, parameters: float) -> list[Phase]:
    """Return the collectives that reduce the gradients of so many parameters, in order.

    Sharded states are reduced and scattered among the ranks that share them; replicas then sum up
    their shares. Compressed gradients go as their compression says.
    """
    if domain.size == 1:
        return []
    if data.compression is not None:
        scattered = data.collective == "reduce_scatter"
        made = data.compression.exchanges(parameters, domain.size, scattered=scattered)
        return [Phase(domain.name, e.collective, e.size_bytes) for e in made]
    size = parameters * data.reduce_bytes
    out = [Phase(domain.name, data.collective, size)] if domain.shard > 1 else []
    if domain.replicas > 1:
        out.append(Phase(domain.across, "all_reduce", size / domain.shard))
    return out


class Phase(NamedTuple):
    """One collective of a reduction."""

    axis: str
    collective: str
    size_bytes: float


def reductions_and_gathers(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    data: DataParallel,
    copies: Copies | None = None,
) -> dict[int, Ints]:
    """Add gradient reductions and parameter gathers beside compute.

    Parameters
    ----------
    copies : Copies or None
        Between devices and hosts, where states are offloaded.

    Returns
    -------
    dict
        Class -> tasks after which its gradients are reduced.
    """
    ready = {p.index: np.asarray([p.last]) for p in programs}
    for number in range(len(data.domains)):
        if any(len(p.gathers[number].task) for p in programs):
            _arrivals(emitter, network, programs, data, number, copies)
        if any(len(p.reduces[number].task) for p in programs):
            done = _reductions(emitter, network, programs, data, number)
            for program in programs:
                last = done[program.index][-1:]
                if copies is not None and len(last):
                    hook = program.reduces[number]
                    after = done[program.index]
                    last = copies.leave(program, number, after, hook.amount, hook.task)
                ready[program.index] = np.append(ready[program.index], last)
    return ready


def _arrivals(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    data: DataParallel,
    number: int,
    copies: Copies | None,
) -> None:
    """Bring parameters to where they are used: from the host, and from the ranks that share them.

    A copy from the host is one unit further ahead than the gather that needs it.
    """
    domain = data.domains[number]
    copied: dict[int, Ints] = {}
    for program in programs:
        hook = program.gathers[number]
        if copies is not None and len(hook.task):
            ahead = np.maximum(ahead_of(hook.amount, data) - 1, -1)
            arrived = copies.arrive(program, number, hook, ahead)
            if arrived is not None:
                copied[program.index] = arrived
                if domain.shard == 1:
                    emitter.edges(arrived, hook.task)
    if domain.shard > 1:
        for classes, group in network.classes_of(domain.name):
            members = [programs[c] for c in classes]
            if len(members[0].gathers[number].task):
                tasks = _gathers(emitter, network, members, group, data, number)
                for member in members:
                    if member.index in copied:
                        emitter.edges(copied[member.index], tasks)


def _sized(network: Network, axis: str, group: int, collective: str, sizes: Floats) -> Ints:
    distinct, inverse = np.unique(sizes, return_inverse=True)
    types = [network.transfer(axis, group, collective, float(s)) for s in distinct]
    return np.asarray(types)[inverse.reshape(-1)]


def _gathers(
    emitter: Emitter,
    network: Network,
    members: Sequence[ClassProgram],
    group: int,
    data: DataParallel,
    number: int,
) -> Ints:
    """Gather parameters, each not before the unit some units ahead of its use has begun."""
    lead = members[0]
    hook = lead.gathers[number]
    count = len(hook.task)
    first = emitter.tasks(
        count,
        stream=emitter.stream(lead.index, _stream("gather", data, number)),
        kind=int(TaskKind.DATA),
        transfer=_sized(
            network, data.domains[number].name, group, "all_gather", hook.amount * data.gather_bytes
        ),
        segment=emitter.name(f"gather {_what(data, number)} stage {lead.stage}"),
        stage=lead.stage,
    )
    tasks = first + np.arange(count)
    emitter.chain(tasks)
    ahead = ahead_of(hook.amount, data)
    waits = np.flatnonzero(ahead >= 0)
    for member in members:
        needed = member.gathers[number].task
        emitter.edges(tasks, needed)
        opened = needed[ahead[waits]] - 1
        keep = opened >= member.first
        emitter.edges(opened[keep], tasks[waits[keep]])
    return tasks


def ahead_of(amount: Floats, data: DataParallel) -> Ints:
    """Return for each gather the unit whose beginning it waits for (-1: none).

    That is the unit `prefetch` units before, or later, so that what was gathered since stays under
    the limit: a unit is dropped when the next one begins.

    Parameters
    ----------
    amount : float64[gathers]
        Parameters of each.
    """
    count = len(amount)
    index = np.arange(count) - data.prefetch
    if np.isfinite(data.limit_bytes):
        total = np.concatenate([[0.0], np.cumsum(amount * data.gather_bytes)])
        # Units j .. i may be there together if total[i + 1] - total[j] <= limit.
        oldest = np.searchsorted(total, total[1:] - data.limit_bytes * (1 + 1e-12), side="left")
        index = np.maximum(index, np.minimum(oldest, np.arange(count)))
    return np.maximum(index, -1)


def _stream(what: str, data: DataParallel, number: int) -> str:
    return what if number == 0 else f"{what} {data.domains[number].name.split('_')[0]}"


def _what(data: DataParallel, number: int, what: str = "parameters") -> str:
    return what if number == 0 else f"expert {what}"


def _reductions(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    data: DataParallel,
    number: int,
) -> dict[int, Ints]:
    """Reduce gradients of a domain as they come, phase by phase.

    Returns
    -------
    dict
        Class -> task after which each of its hooks is reduced.
    """
    domain = data.domains[number]
    done = {p.index: p.reduces[number].task for p in programs}
    turns = len(phases(data, domain, 1.0))
    for turn in range(turns):
        axis, collective, _ = phases(data, domain, 1.0)[turn]
        for classes, group in network.classes_of(axis):
            members = [programs[c] for c in classes]
            lead = members[0]
            hook = lead.reduces[number]
            if not len(hook.task):
                continue
            sizes = np.asarray([phases(data, domain, p)[turn].size_bytes for p in hook.amount])
            name = _stream("reduce" if axis == domain.name else "replicate", data, number)
            what = _what(data, number, "gradients")
            first = emitter.tasks(
                len(hook.task),
                stream=emitter.stream(lead.index, name if turn == 0 else f"{name} {turn + 1}"),
                kind=int(TaskKind.DATA),
                transfer=_sized(network, axis, group, collective, sizes),
                segment=emitter.name(f"reduce {what} stage {lead.stage}"),
                stage=lead.stage,
            )
            tasks = first + np.arange(len(hook.task))
            emitter.chain(tasks)
            for member in members:
                emitter.edges(done[member.index], tasks)
                done[member.index] = tasks
                if turn == turns - 1:
                    _block(emitter, member, number, tasks, data)
    return done


def _block(
    emitter: Emitter, member: ClassProgram, number: int, tasks: Ints, data: DataParallel
) -> None:
    """Make compute wait for each reduction where nothing overlaps."""
    if data.blocking:
        done = member.reduces[number].task
        blocked = done < member.last
        emitter.edges(tasks[blocked], done[blocked] + 1)
