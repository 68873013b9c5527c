"""The end of a step: gradients that were not overlapped, the norm, the update, the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distsim.cost.kernel import price
from distsim.hardware.device import Device
from distsim.parallel.data import DataParallel
from distsim.program.actions import ClassProgram
from distsim.program.comm import Network
from distsim.program.emit import Emitter
from distsim.program.links import data_groups
from distsim.program.opgraph import TaskKind
from distsim.program.segment import Cost
from distsim.workload.op import stream

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Update:
    """The optimizer step.

    Attributes
    ----------
    passes : tuple of float
        Memory traffic of each pass over the parameters, bytes a parameter.
    shard : int
        Ranks that divide the update (ZeRO).
    synchronized : bool
        A global norm or overflow check comes first, so all ranks meet.
    sync_latency_s : float
        Time of that small all-reduce.
    tied_bytes : float
        Gradient bytes of an embedding that first and last stage share.
    """

    passes: tuple[float, ...]
    shard: int
    synchronized: bool
    sync_latency_s: float
    tied_bytes: float


def finish(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    update: Update,
    data: DataParallel,
    ready: dict[int, Ints],
    device: Device,
    dtype: str,
    costs: list[Cost],
) -> None:
    """Add everything after the last backward."""
    if data.reduce == "end":
        _data_collective(
            emitter,
            network,
            programs,
            ready,
            data.collective,
            data.reduce_bytes,
            "reduce gradients",
        )
    if update.tied_bytes:
        _tied(emitter, network, programs, update.tied_bytes, ready)
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
    costs += [Cost()] * (len(emitter.names) - len(costs))
    for program in programs:
        works = [stream(b * program.parameters / update.shard) for b in update.passes]
        kernels = price(works, device, dtype)
        cost = Cost(kernels.device_s, 0.0, kernels.host_s)
        label = emitter.name(f"optimizer stage {program.stage}")
        costs.append(cost)
        task = emitter.tasks(
            1,
            stream=program.stream,
            kind=int(TaskKind.OPTIMIZER),
            work_s=cost.total_s,
            segment=label,
            stage=program.stage,
        )
        emitter.edges(ready[program.index], task)
        ready[program.index] = np.asarray([task])
    if data.gather == "end":
        _data_collective(
            emitter, network, programs, ready, "all_gather", data.gather_bytes, "gather parameters"
        )


def _data_collective(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    ready: dict[int, Ints],
    collective: str,
    element_bytes: float,
    label: str,
) -> None:
    """Run one collective over the data-parallel groups on all that a rank holds."""
    for classes, group in data_groups(network):
        lead = programs[int(classes[0])]
        task = emitter.tasks(
            1,
            stream=emitter.stream(lead.index, label.split()[0]),
            kind=int(TaskKind.DATA),
            transfer=network.transfer("data", group, collective, lead.parameters * element_bytes),
            segment=emitter.name(f"{label} stage {lead.stage}"),
            stage=lead.stage,
        )
        for c in classes:
            emitter.edges(ready[int(c)], task)
            ready[int(c)] = np.asarray([task])


def _tied(
    emitter: Emitter,
    network: Network,
    programs: Sequence[ClassProgram],
    size_bytes: float,
    ready: dict[int, Ints],
) -> None:
    """Sum the gradients of the shared embedding over first and last stage."""
    name, table = network.table("tied")
    for group in table.example:
        classes = np.unique(network.fold.class_of[network.families[name].ranks[int(group)]])
        task = emitter.tasks(
            1,
            stream=emitter.stream(int(classes[0]), "tied embedding"),
            kind=int(TaskKind.DATA),
            transfer=network.transfer("tied", int(group), "all_reduce", size_bytes),
            segment=emitter.name("reduce tied embedding"),
        )
        for c in classes:
            emitter.edges(ready[int(c)], task)
        for c in classes:
            ready[int(c)] = np.append(ready[int(c)], task)
