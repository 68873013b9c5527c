"""Several jobs on one fabric: one network, folded together, and one op graph of all their tasks.

Each job keeps its own ranks, groups and tasks. Only the links are common, so the transfers of all
jobs are compiled onto the same rows and share them. A job whose step is shorter runs several steps
one after another, so that the others never have the fabric to themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.hardware.topology import Topology
from distsim.program.build import Inputs, Program, emit, groups_of
from distsim.program.comm import Groups, Network, Transfers
from distsim.program.compile import build_network
from distsim.program.fold import Fold
from distsim.program.opgraph import OpGraph, TaskKind
from distsim.program.traffic import Traffic
from distsim.record import record

Ints = npt.NDArray[np.int64]

#: Between job and axis in the names of families.
_BAR = "|"


@record
class Joint:
    """All jobs together.

    Attributes
    ----------
    graph : OpGraph
    programs : tuple of Program
        One step of each job, on the rows of all.
    first_task : int64[jobs]
        Where the tasks of each job begin in `graph`.
    copies : tuple of int
        Steps of each job. A step's tasks follow those of the step before, and a task that joins
        them stands after each.
    """

    graph: OpGraph
    programs: tuple[Program, ...]
    first_task: Ints
    copies: tuple[int, ...]

    def step_tasks(self, job: int, copy: int) -> slice:
        """Return the tasks of one step of a job, without the task that joins it to the next."""
        size = self.programs[job].graph.n_tasks
        first = int(self.first_task[job]) + copy * (size + 1)
        return slice(first, first + size)


def join(
    jobs: Sequence[Inputs],
    topology: Topology,
    copies: Sequence[int],
    starts_s: Sequence[float],
    *,
    fold_enabled: bool = True,
) -> Joint:
    """Build all jobs on one network.

    Parameters
    ----------
    copies : sequence of int
        Steps of each job.
    starts_s : sequence of float
        When each job begins.
    """
    sizes = [job.plan.devices for job in jobs]
    base = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    network = _network(jobs, base, topology, fold_enabled=fold_enabled)
    views = [_view(network, jobs[i], i, base) for i in range(len(jobs))]
    makers = [emit(job, view) for job, view in zip(jobs, views, strict=True)]
    transfers = network.frozen()
    offset = [int(network.fold.class_of[b]) for b in base[:-1]]
    programs = tuple(
        make(_local(transfers, first, len(view.fold.example)))
        for make, first, view in zip(makers, offset, views, strict=True)
    )
    graphs = [_repeated(p.graph, c, s) for p, c, s in zip(programs, copies, starts_s, strict=True)]
    first_task = np.cumsum([0, *(g.n_tasks for g in graphs)])[:-1]
    return Joint(_joined(graphs, transfers, offset), programs, first_task, tuple(copies))


def _network(
    jobs: Sequence[Inputs], base: Ints, topology: Topology, *, fold_enabled: bool
) -> Network:
    groups, roles, stages = [], [], 0
    for index, job in enumerate(jobs):
        roles.append(job.roles() + stages)
        for g in groups_of(job):
            ranks = g.ranks + base[index]
            groups.append(
                Groups(f"{index}{_BAR}{g.name}", ranks, g.role + stages, g.of_rank, g.sizes_bytes)
            )
        # Roles of sends count up to pp^2, those of ranks to pp kinds; jobs never share one.
        stages += job.plan.pp * (job.plan.pp + len(job.devices) + 1)
    device_of = np.concatenate([job.device_of for job in jobs])
    return build_network(
        device_of, np.concatenate(roles), groups, topology, fold_enabled=fold_enabled
    )


def _view(network: Network, inputs: Inputs, job: int, base: Ints) -> Network:
    """Return the network as one job sees it: its own ranks, classes and families."""
    prefix = f"{job}{_BAR}"
    ranks = slice(int(base[job]), int(base[job + 1]))
    class_of = network.fold.class_of[ranks]
    first, last = int(class_of.min()), int(class_of.max()) + 1
    fold = network.fold

    tables = {n: t for n, t in fold.tables.items() if n.startswith(prefix)}

    def own(parts: dict[str, Traffic]) -> dict[str, Traffic]:
        return {n: replace(parts[n], ranks=parts[n].ranks - base[job]) for n in tables}

    return Network(
        {g.name: g for g in groups_of(inputs)},
        Fold(
            class_of - first,
            fold.example[first:last] - base[job],
            fold.count[first:last],
            tables,
            fold.capacity_bytes_per_s,
            fold.row_link,
        ),
        own(network.families),
        own(network.routed),
        network.topology,
        prefix,
        _foreign(network, prefix),
        network.registry,
    )


def _foreign(network: Network, prefix: str) -> Ints:
    others = [t.entry_link for n, t in network.families.items() if not n.startswith(prefix)]
    return np.unique(np.concatenate(others)) if others else np.zeros(0, dtype=np.int64)


def _local(transfers: Transfers, first: int, classes: int) -> Transfers:
    """Return transfers with the classes of one job, counted from its first."""
    devices = [d[(d >= first) & (d < first + classes)] - first for d in transfers.devices]
    return replace(transfers, devices=devices)


def _repeated(graph: OpGraph, copies: int, start_s: float) -> OpGraph:
    """Return a graph run several times in a row, from an instant on.

    A task of its own stands after every step and before the next one.
    """
    n = graph.n_tasks
    after = np.repeat(np.arange(n), np.diff(graph.dep_ptr))
    before = graph.dep.astype(np.int64)
    is_first = np.diff(graph.dep_ptr) == 0
    is_last = np.ones(n, dtype=bool)
    is_last[before] = False
    first, last = np.flatnonzero(is_first), np.flatnonzero(is_last)
    blocks_before, blocks_after = [], []
    for copy in range(copies):
        at = copy * (n + 1)
        gate = at - 1 if copy else copies * (n + 1)
        blocks_before += [before + at, np.full(len(first), gate), last + at]
        blocks_after += [after + at, first + at, np.full(len(last), at + n)]
    total = copies * (n + 1) + 1
    sources, targets = np.concatenate(blocks_before), np.concatenate(blocks_after)
    order = np.argsort(targets, kind="stable")
    ptr = np.zeros(total + 1, dtype=np.int64)
    np.cumsum(np.bincount(targets, minlength=total), out=ptr[1:])
    joint_stream = len(graph.stream_device)

    def tiled(column: npt.NDArray[Any], gate: int) -> npt.NDArray[Any]:
        more = np.asarray([gate], dtype=column.dtype)
        return np.append(np.tile(np.append(column, more), copies), more)

    work = tiled(graph.work_s, 0)
    work[-1] = start_s
    return replace(
        graph,
        stream=tiled(graph.stream, joint_stream),
        work_s=work,
        kernel_share=tiled(graph.kernel_share, 0),
        kind=tiled(graph.kind, int(TaskKind.HOST)),
        transfer=tiled(graph.transfer, -1),
        dep_ptr=ptr,
        dep=sources[order].astype(np.int32),
        stream_device=np.append(graph.stream_device, 0).astype(np.int32),
        segment=tiled(graph.segment, -1),
        microbatch=tiled(graph.microbatch, -1),
        stage=tiled(graph.stage, -1),
    )


def _joined(graphs: Sequence[OpGraph], transfers: Transfers, offset: Sequence[int]) -> OpGraph:
    """Put graphs side by side on the transfers of all."""
    tasks = np.cumsum([0, *(g.n_tasks for g in graphs)])
    streams = np.cumsum([0, *(len(g.stream_device) for g in graphs)])
    labels = np.cumsum([0, *(len(g.names) for g in graphs)])
    edges = np.cumsum([0, *(len(g.dep) for g in graphs)])
    lengths = [len(d) for d in transfers.devices]
    cat = np.concatenate
    return replace(
        graphs[0],
        stream=cat([g.stream + streams[i] for i, g in enumerate(graphs)]).astype(np.int32),
        work_s=cat([g.work_s for g in graphs]),
        kernel_share=cat([g.kernel_share for g in graphs]),
        kind=cat([g.kind for g in graphs]),
        transfer=cat([g.transfer for g in graphs]),
        dep_ptr=cat([[0], *(g.dep_ptr[1:] + edges[i] for i, g in enumerate(graphs))]),
        dep=cat([g.dep + tasks[i] for i, g in enumerate(graphs)]).astype(np.int32),
        stream_device=cat([g.stream_device + offset[i] for i, g in enumerate(graphs)]).astype(
            np.int32
        ),
        contention_factor=cat([g.contention_factor for g in graphs]),
        transfer_ptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        transfer_device=(cat(transfers.devices) if transfers.devices else np.zeros(0)).astype(
            np.int32
        ),
        segment=cat(
            [np.where(g.segment >= 0, g.segment + labels[i], -1) for i, g in enumerate(graphs)]
        ).astype(np.int32),
        microbatch=cat([g.microbatch for g in graphs]),
        stage=cat([g.stage for g in graphs]),
        names=tuple(name for g in graphs for name in g.names),
    )
