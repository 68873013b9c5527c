"""The critical path of a step, and the resources that explain its time.

A step lasts as long as the chain of tasks in which each waits for the one before it. Each task of
the chain is explained by what it would be shorter with: matrix rate, memory bandwidth, gaps between
kernels, the host, bandwidth of a class of links, latency. What is explained by a resource that gets
f times as good shrinks to 1 / f while the chain stays the longest: an upper estimate of the gain.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from distsim.cost.kernel import price
from distsim.engine.result import Run
from distsim.hardware.device import Device
from distsim.parallel.step import Collective, Step
from distsim.program.build import Program
from distsim.program.comm import TransferType
from distsim.program.opgraph import TaskKind
from distsim.program.segment import Pricer
from distsim.study.whatif.hardware import Hardware

Ints = npt.NDArray[np.int64]

PEAK, MEMORY, GAPS, HOST = "matrix rate", "memory bandwidth", "kernel gaps", "host"
LATENCY, OTHER = "latency", "other"
#: Before the name of a class of links.
LINKS = "links "


def critical_path(program: Program, run: Run) -> Ints:
    """Return the tasks of the longest chain, first to last.

    From the task that ends last, back over whichever predecessor ends last.
    """
    graph = program.graph
    task = int(run.end_s.argmax())
    out = [task]
    while True:
        before = graph.dep[graph.dep_ptr[task] : graph.dep_ptr[task + 1]]
        if not len(before):
            return np.asarray(out[::-1], dtype=np.int64)
        task = int(before[run.end_s[before].argmax()])
        out.append(task)


def explained(program: Program, run: Run) -> dict[str, float]:
    """Return the seconds of the critical path that each resource explains; they sum to the step."""
    path = critical_path(program, run)
    began_s = np.concatenate([[0.0], run.end_s[path[:-1]]])
    spent_s = run.end_s[path] - began_s
    graph, out = program.graph, dict[str, float]()
    labels: dict[int, dict[str, float]] = {}
    types = program.network.types
    for task, seconds in zip(path.tolist(), spent_s.tolist(), strict=True):
        if graph.transfer[task] >= 0:
            parts = _of_transfer(program, types[int(graph.transfer[task])])
        else:
            label = int(graph.segment[task])
            if label not in labels:
                owner = int(graph.stream_device[graph.stream[task]])
                labels[label] = _of_segment(program, label, owner, TaskKind(graph.kind[task]))
            parts = labels[label]
        whole = sum(parts.values())
        for name, part in parts.items():
            # A task that shared links or was slowed down is stretched as a whole.
            out[name] = out.get(name, 0.0) + (part * seconds / whole if whole else 0.0)
        if not whole:
            out[OTHER] = out.get(OTHER, 0.0) + seconds
    return dict(sorted(out.items(), key=lambda item: -item[1]))


def estimate_s(resources: Mapping[str, float], hardware: Hardware) -> float:
    """Return what the path would last with other hardware, s."""
    factor = {
        PEAK: hardware.peak,
        MEMORY: hardware.memory_bandwidth,
        GAPS: hardware.overhead,
        HOST: hardware.overhead,
        LATENCY: hardware.latency,
        **{f"{LINKS}{name}": value for name, value in hardware.links.items()},
    }
    return sum(seconds / factor.get(name, 1.0) for name, seconds in resources.items())


def _of_transfer(program: Program, kind: TransferType) -> dict[str, float]:
    """Return latency and the bytes' time on the narrowest links of a transfer."""
    if not kind.family:
        return {LATENCY: kind.latency_s}
    fold, topology = program.network.fold, program.network.topology
    table = fold.tables[kind.family]
    rows = slice(int(table.ptr[kind.kind]), int(table.ptr[kind.kind + 1]))
    fluid_s = table.shared_s(kind.kind, kind.wire_bytes, fold.capacity_bytes_per_s)
    if rows.start == rows.stop:
        return {LATENCY: kind.latency_s, OTHER: fluid_s}
    row = table.row[rows]
    busiest = row[np.argmax(table.fraction[rows] / fold.capacity_bytes_per_s[row])]
    link = int(fold.row_link[busiest])
    name = topology.class_names[int(topology.link_class[link])]
    return {LATENCY: kind.latency_s, f"{LINKS}{name}": fluid_s}


def _of_segment(program: Program, label: int, owner: int, kind: TaskKind) -> dict[str, float]:
    """Return what explains a run of kernels and the collectives inside it."""
    if kind in (TaskKind.HOST, TaskKind.OFFLOAD):
        return {HOST: 1.0}
    if label not in program.contents:
        return {MEMORY: 1.0} if kind == TaskKind.OPTIMIZER else {OTHER: 1.0}
    pricer, steps = program.contents[label]
    cost = program.segment_cost[label]
    out = _of_kernels(pricer, steps)
    _scale(out, cost.compute_s)
    exposed: dict[str, float] = {}
    for step in steps:
        if step.collective is not None:
            found = _of_transfer(program, _type_of(program, owner, step.collective))
            for name, seconds in found.items():
                exposed[name] = exposed.get(name, 0.0) + seconds
    _scale(exposed, cost.exposed_s)
    for name, seconds in exposed.items():
        out[name] = out.get(name, 0.0) + seconds
    out[HOST] = cost.host_wait_s
    return out


def _type_of(program: Program, owner: int, collective: Collective) -> TransferType:
    network = program.network
    rank = int(network.fold.example[owner])
    group = int(network.groups[collective.axis].of_rank[rank])
    return network.best(collective.axis, group, collective.name, collective.size_bytes)[0]


def _scale(parts: dict[str, float], whole_s: float) -> None:
    """Make parts sum to a whole."""
    total = sum(parts.values())
    for name in parts:
        parts[name] *= whole_s / total if total else 0.0


def _of_kernels(pricer: Pricer, steps: tuple[Step, ...]) -> dict[str, float]:
    """Return what explains kernels: twice the time that twice the rate would save, and the rest."""
    device = pricer.device
    better: dict[str, Device] = {
        PEAK: Hardware(peak=2.0).device(device),
        MEMORY: Hardware(memory_bandwidth=2.0).device(device),
    }
    # Layers share their steps: each is priced once.
    times: dict[int, int] = {}
    by_id: dict[int, Step] = {}
    for step in steps:
        times[id(step)] = times.get(id(step), 0) + 1
        by_id[id(step)] = step
    out = dict.fromkeys((PEAK, MEMORY, GAPS, OTHER), 0.0)
    for key, step in by_id.items():
        works, n = step.works, times[key]
        now_s = price(works, device, pricer.dtype).device_s
        left_s = now_s
        for name, other in better.items():
            saved_s = 2.0 * (now_s - price(works, other, pricer.dtype).device_s)
            part_s = min(max(saved_s, 0.0), left_s)
            out[name] += n * part_s
            left_s -= part_s
        gaps_s = min(len(works) * device.kernel_overhead_s, left_s)
        out[GAPS] += n * gaps_s
        out[OTHER] += n * (left_s - gaps_s)
    return out
