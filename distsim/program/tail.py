"""The end of a step: gradients that were not overlapped, the norm, the update, the parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distsim.cost.kernel import price
from distsim.hardware.device import Device
from distsim.parallel.data import DataParallel
from distsim.program.actions import ClassProgram
from distsim.program.comm import Network
from distsim.program.emit import Emitter
from distsim.program.layout import Labels
from distsim.program.links import phases
from distsim.program.offload import Copies
from distsim.program.opgraph import TaskKind
from distsim.program.segment import Cost, Pricer
from distsim.record import record
from distsim.workload.op import Work

Ints = npt.NDArray[np.int64]


@record
class Shared:
    """Gradients that two stages add up, because both hold the same weights.

    Attributes
    ----------
    stages : tuple of int
        The lower one first.
    size_bytes : float
    label : str
    """

    stages: tuple[int, int]
    size_bytes: float
    label: str


@record
class Update:
    """The optimizer step.

    Attributes
    ----------
    works : tuple of tuple of Work
        Kernels of one rank of each stage.
    synchronized : bool
        A global norm or overflow check comes first, so all ranks meet.
    sync_latency_s : float
        Time of that small all-reduce.
    shared : tuple of Shared
        Weights that first and last stage share, or two copies of the model.
    """

    works: tuple[tuple[Work, ...], ...]
    synchronized: bool
    sync_latency_s: float
    shared: tuple[Shared, ...] = ()


def finish(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    update: Update,
    data: DataParallel,
    ready: dict[int, Ints],
    pricers: Sequence[Pricer],
    labels: Labels,
    copies: Copies | None = None,
    batches: int = 1,
) -> None:
    """Add everything after the last backward.

    Parameters
    ----------
    pricers : sequence of Pricer
        Of each class of ranks.
    copies : Copies or None
        Between devices and hosts, where states are offloaded.
    batches : int
        Optimizer steps that the run spans.
    """
    if data.reduce == "end":
        _compress(emitter, programs, data, ready, pricers, labels)
        _reduce(emitter, network, programs, data, ready)
    if copies is not None and data.reduce in ("end", "none"):
        for program in programs:
            for number, held in enumerate(program.parameters):
                if held:
                    last, end = ready[program.index][-1:], np.asarray([program.last])
                    gone = copies.leave(program, number, last, np.asarray([held]), end)
                    ready[program.index] = np.append(ready[program.index], gone)
    if update.shared:
        _shared(emitter, network, programs, update.shared, ready, batches)
    if update.synchronized and (len(programs) > 1 or network.fold.count.sum() > 1):
        task = emitter.tasks(
            1,
            stream=emitter.stream(0, "norm"),
            kind=int(TaskKind.DATA),
            transfer=network.latency_only(update.sync_latency_s),
            segment=emitter.name("gradient norm"),
        )
        for tasks in ready.values():
            emitter.edges(tasks, task)
        ready = {c: np.append(tasks, task) for c, tasks in ready.items()}
    for program, pricer in zip(programs, pricers, strict=True):
        if copies is not None:
            beside_s = emitter.work_s(program.first, program.count)
            ready[program.index] = copies.update(program, ready[program.index], beside_s)
        cost = update_cost(update, program.stage, pricer.device, pricer.dtype)
        label = f"optimizer stage {program.stage}"
        _kernels(emitter, program, labels, label, cost, TaskKind.OPTIMIZER, ready, pricer)
    if copies is not None:
        copies.finish()
    if data.gather == "end":
        _gather(emitter, network, programs, data, ready)


def update_cost(update: Update, stage: int, device: Device, dtype: str) -> Cost:
    """Return the cost of the update kernels of one rank of a stage."""
    kernels = price(update.works[stage], device, dtype)
    return Cost(kernels.device_s, host_s=kernels.host_s)


def _kernels(
    emitter: Emitter,
    program: ClassProgram,
    labels: Labels,
    label: str,
    cost: Cost,
    kind: TaskKind,
    ready: dict[int, Ints],
    pricer: Pricer,
) -> None:
    """Run kernels of one class after all that is ready."""
    labels.costs += [Cost()] * (len(emitter.names) - len(labels.costs))
    segment = emitter.name(label)
    labels.costs.append(cost)
    task = emitter.tasks(
        1,
        stream=program.stream,
        kind=int(kind),
        work_s=cost.total_s,
        kernel_share=cost.kernel_share(pricer.device.contention_factor),
        segment=segment,
        stage=program.stage,
    )
    emitter.edges(ready[program.index], task)
    ready[program.index] = np.asarray([task])


def _compress(
    emitter: Emitter,
    programs: Sequence[ClassProgram],
    data: DataParallel,
    ready: dict[int, Ints],
    pricers: Sequence[Pricer],
    labels: Labels,
) -> None:
    """Compress all gradients of a rank before they leave."""
    if data.compression is None:
        return
    for program, pricer in zip(programs, pricers, strict=True):
        works = [
            work
            for domain, count in zip(data.domains, program.parameters, strict=True)
            if count and domain.size > 1
            for work in data.compression.compress(count, data.numerics)
        ]
        kernels = price(works, pricer.device, pricer.dtype)
        if works:
            cost = Cost(kernels.device_s, host_s=kernels.host_s)
            label = f"compress stage {program.stage}"
            _kernels(emitter, program, labels, label, cost, TaskKind.COMPUTE, ready, pricer)


def _reduce(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    data: DataParallel,
    ready: dict[int, Ints],
) -> None:
    """Reduce all gradients that a rank holds, domain by domain."""
    for number, domain in enumerate(data.domains):
        made = [phases(data, domain, p.parameters[number]) for p in programs]
        for turn in range(len(made[0])):
            axis, collective, _ = made[0][turn]
            sizes = [of[turn].size_bytes for of in made]
            _data_collective(
                emitter, network, programs, ready, axis, collective, sizes, "reduce gradients"
            )


def _gather(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    data: DataParallel,
    ready: dict[int, Ints],
) -> None:
    for number, domain in enumerate(data.domains):
        if domain.shard > 1:
            sizes = [p.parameters[number] * data.gather_bytes for p in programs]
            _data_collective(
                emitter,
                network,
                programs,
                ready,
                domain.name,
                "all_gather",
                sizes,
                "gather parameters",
            )


def _data_collective(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    ready: dict[int, Ints],
    axis: str,
    collective: str,
    sizes: Sequence[float],
    label: str,
) -> None:
    """Run one collective over the groups of an axis on all that a rank holds."""
    for classes, group in network.classes_of(axis):
        lead = programs[int(classes[0])]
        if not sizes[lead.index]:
            continue
        task = emitter.tasks(
            1,
            stream=emitter.stream(lead.index, label.split()[0]),
            kind=int(TaskKind.DATA),
            transfer=network.transfer(axis, group, collective, sizes[lead.index]),
            segment=emitter.name(f"{label} stage {lead.stage}"),
            stage=lead.stage,
        )
        for c in classes:
            emitter.edges(ready[int(c)], task)
            ready[int(c)] = np.asarray([task])


def _shared(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    shared: Sequence[Shared],
    ready: dict[int, Ints],
    batches: int,
) -> None:
    """Sum the gradients of weights that two stages hold, once a batch.

    Where batches overlap nothing says when, so they all come at the end, exposed.
    """
    name, table = network.table("tied")
    ranks = network.families[name].ranks
    stage_of = {p.index: p.stage for p in programs}
    by_stages = {of.stages: of for of in shared}
    for group in table.example:
        members = network.fold.class_of[ranks[int(group)]]
        stages = sorted(stage_of[int(c)] for c in members)
        of = by_stages[stages[0], stages[1]]
        classes = np.unique(members)
        first = emitter.tasks(
            batches,
            stream=emitter.stream(int(classes[0]), "shared weights"),
            kind=int(TaskKind.DATA),
            transfer=network.transfer("tied", int(group), "all_reduce", of.size_bytes),
            segment=emitter.name(of.label),
        )
        tasks = first + np.arange(batches)
        emitter.chain(tasks)
        for c in classes:
            emitter.edges(ready[int(c)], first)
        for c in classes:
            ready[int(c)] = np.append(ready[int(c)], tasks)
