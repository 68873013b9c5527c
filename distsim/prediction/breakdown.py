"""Where the time of a step goes: parts that sum to it, averaged over devices.

A device computes, or it waits. Inside a segment, time beside kernels is exposed communication of
tensor, context or expert parallelism, or waiting for the host. A wait before a
task is split by what the task waited for:
the part during which a transfer to it was under way is exposed communication of that kind, the
rest is bubble.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.engine.result import Run
from distsim.program.build import Program
from distsim.program.opgraph import TaskKind
from distsim.units import REL_TOL

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Seconds of each part; they sum to the step time."""

    compute_s: float
    tensor_s: float
    pipeline_s: float
    data_s: float
    context_s: float
    expert_s: float
    bubble_s: float
    optimizer_s: float
    offload_s: float
    host_s: float

    def to_dict(self) -> dict[str, float]:
        """Return the parts by name."""
        return asdict(self)


_WAITS = {
    TaskKind.TENSOR: "tensor_s",
    TaskKind.PIPELINE: "pipeline_s",
    TaskKind.DATA: "data_s",
    TaskKind.CONTEXT: "context_s",
    TaskKind.EXPERT: "expert_s",
    TaskKind.HOST: "host_s",
    TaskKind.OFFLOAD: "offload_s",
}


class Gaps(NamedTuple):
    """What each class of ranks waits for before each of its tasks that compute.

    Attributes
    ----------
    tasks : int64[n]
        By class, then in order of time.
    from_s : float64[n]
        End of the task before (0: none).
    waits : dict of TaskKind to float64[n]
        Exposed communication of each kind in the gap before the task; the rest of it is bubble.
    """

    tasks: npt.NDArray[np.int64]
    from_s: Floats
    waits: dict[TaskKind, Floats]


def gaps(program: Program, run: Run) -> Gaps:
    """Return the gaps between tasks that compute, split by what they wait for."""
    graph = program.graph
    busy = (graph.kind == TaskKind.COMPUTE) | (graph.kind == TaskKind.OPTIMIZER)
    owner = graph.stream_device[graph.stream]
    tasks = np.flatnonzero(busy)
    tasks = tasks[np.lexsort((tasks, run.start_s[tasks], owner[tasks]))]
    from_s = _previous_end(tasks, owner, run)
    return Gaps(tasks, from_s, _waits(program, run, tasks, from_s))


def breakdown(program: Program, run: Run) -> tuple[Breakdown, list[dict[str, float]]]:
    """Return the average over devices, and the parts of each class of ranks."""
    graph, step_s = program.graph, run.makespan
    tasks, _, waits = gaps(program, run)
    owner = graph.stream_device[graph.stream]
    classes = len(program.classes)
    parts = {name: np.zeros(classes) for name in Breakdown.__slots__}
    own = owner[tasks]
    for kind, name in _WAITS.items():
        parts[name] += np.bincount(own, weights=waits[kind], minlength=classes)
    cost = program.segment_cost
    label = graph.segment[tasks]
    duration = run.end_s[tasks] - run.start_s[tasks]
    exposed = {
        part: np.asarray([getattr(c, part) for c in cost])[label]
        for part in ("tensor_s", "context_s", "expert_s")
    }
    host = np.asarray([c.host_wait_s for c in cost])[label]
    updating = graph.kind[tasks] == TaskKind.OPTIMIZER
    kernels = duration - sum(exposed.values()) - host
    for part, value in exposed.items():
        parts[part] += np.bincount(own, weights=value, minlength=classes)
    parts["host_s"] += np.bincount(own, weights=host, minlength=classes)
    parts["compute_s"] += np.bincount(own, weights=kernels * ~updating, minlength=classes)
    parts["optimizer_s"] += np.bincount(own, weights=kernels * updating, minlength=classes)
    parts["data_s"] += after_update_s(program, run)
    # What is left; a full step leaves a rounding error of either sign.
    parts["bubble_s"] = np.maximum(step_s - np.sum(list(parts.values()), axis=0), 0.0)
    each = [{k: float(v[c]) for k, v in parts.items()} for c in range(classes)]
    weight = program.network.fold.count / program.network.fold.count.sum()
    return Breakdown(**{k: float(v @ weight) for k, v in parts.items()}), each


def _previous_end(tasks: npt.NDArray[np.int64], owner: npt.NDArray[np.int32], run: Run) -> Floats:
    """Return for each busy task the end of the one before it on its class (0: none)."""
    ends = run.end_s[tasks]
    before = np.concatenate([[0.0], ends[:-1]])
    first = (
        np.concatenate([[True], np.diff(owner[tasks]) != 0]) if len(tasks) else np.zeros(0, bool)
    )
    return np.where(first, 0.0, before)


def _waits(
    program: Program, run: Run, tasks: npt.NDArray[np.int64], gap_from: Floats
) -> dict[TaskKind, Floats]:
    """Split the gap before each task by the transfers that the task waited for."""
    graph = program.graph
    place = np.full(graph.n_tasks, -1, dtype=np.int64)
    place[tasks] = np.arange(len(tasks))
    target = np.repeat(np.arange(graph.n_tasks), np.diff(graph.dep_ptr))
    source = graph.dep
    owner = graph.stream_device[graph.stream]
    beside = np.isin(graph.kind[source], (TaskKind.HOST, TaskKind.OFFLOAD))
    waited = (graph.transfer[source] >= 0) | (beside & (owner[source] == owner[target]))
    keep = (place[target] >= 0) & waited
    source, at = source[keep], place[target[keep]]
    gap_to = run.start_s[tasks]
    gap = np.maximum(gap_to - gap_from, 0.0)
    began_s = run.start_s[_first_in_line(program, run)]
    overlap = np.minimum(run.end_s[source], gap_to[at]) - np.maximum(began_s[source], gap_from[at])
    overlap = np.maximum(overlap, 0.0)
    out: dict[TaskKind, Floats] = {}
    for kind in _WAITS:
        # Several transfers of a kind at the same time are one wait.
        out[kind] = np.zeros(len(tasks))
        here = graph.kind[source] == kind
        np.maximum.at(out[kind], at[here], overlap[here])
    del source, at, overlap  # one entry an edge: they outweigh all that is left
    total = sum(out.values(), start=np.zeros(len(tasks)))
    scale = np.minimum(1.0, np.divide(gap, total, out=np.ones_like(gap), where=total > 0))
    return {kind: value * scale for kind, value in out.items()}


def _first_in_line(program: Program, run: Run) -> npt.NDArray[np.int64]:
    """Return for each task the first of those of its kind that came right before it.

    Who waits for a transfer that waited for others of its kind has waited for them as well.
    """
    graph = program.graph
    target = np.repeat(np.arange(graph.n_tasks), np.diff(graph.dep_ptr))
    source = graph.dep.astype(np.int64)
    at_once = run.end_s[source] >= run.start_s[target] - REL_TOL * run.makespan
    queued = at_once & (graph.kind[source] == graph.kind[target]) & (graph.transfer[target] >= 0)
    first = np.arange(graph.n_tasks)
    first[target[queued]] = source[queued]
    while not np.array_equal(first[first], first):
        first = first[first]
    return first


def after_update_s(program: Program, run: Run) -> Floats:
    """Return for each class how long parameters are gathered after the update."""
    graph = program.graph
    out = np.zeros(len(program.classes))
    target = np.repeat(np.arange(graph.n_tasks), np.diff(graph.dep_ptr))
    late = (graph.kind[graph.dep] == TaskKind.OPTIMIZER) & (graph.kind[target] == TaskKind.DATA)
    for source, task in zip(graph.dep[late], target[late], strict=True):
        owner = graph.stream_device[graph.stream[source]]
        out[owner] += run.end_s[task] - max(run.start_s[task], run.end_s[source])
    return out
