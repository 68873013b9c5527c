"""The graph evaluator: one longest-path pass over arrays.

Valid while durations do not depend on state. `is_valid` is the certificate: if no link is asked
for more than it has, and no kernel runs beside a transfer that would slow it, at any instant of
this run, then the discrete-event engine passes through the same instants.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.engine.result import Run
from distsim.errors import InfeasibleError
from distsim.program.opgraph import OpGraph
from distsim.units import REL_TOL

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def successors(graph: OpGraph) -> tuple[Ints, Ints]:
    """Return successors of each task as CSR (ptr, tasks)."""
    target = np.repeat(np.arange(graph.n_tasks), np.diff(graph.dep_ptr))
    order = np.argsort(graph.dep, kind="stable")
    ptr = np.zeros(graph.n_tasks + 1, dtype=np.int64)
    np.cumsum(np.bincount(graph.dep, minlength=graph.n_tasks), out=ptr[1:])
    return ptr, target[order]


def evaluate(graph: OpGraph) -> Run:
    """Start each task when its last predecessor ends (Kahn's order, fused with the pass).

    Raises
    ------
    InfeasibleError
        DS520 for a cycle.
    """
    n = graph.n_tasks
    ptr_array, next_array = successors(graph)
    ptr, following = ptr_array.tolist(), next_array.tolist()
    duration = graph.alone_s().tolist()
    waiting = np.diff(graph.dep_ptr).tolist()
    start = [0.0] * n
    ready = [t for t in range(n) if not waiting[t]]
    done = 0
    while ready:
        task = ready.pop()
        done += 1
        end = start[task] + duration[task]
        for after in following[ptr[task] : ptr[task + 1]]:
            if end > start[after]:
                start[after] = end
            left = waiting[after] - 1
            waiting[after] = left
            if not left:
                ready.append(after)
    if done < n:
        raise cycle_error(graph, [t for t in range(n) if waiting[t]])
    start_s = np.asarray(start)
    return Run(start_s, start_s + np.asarray(duration), "graph", 0)


def cycle_error(graph: OpGraph, stuck: list[int]) -> InfeasibleError:
    """Say which tasks wait for one another."""
    labels = [graph.names[graph.segment[t]] if graph.names else f"task {t}" for t in stuck[:3]]
    return InfeasibleError(
        "DS520",
        f"{len(stuck)} tasks wait for one another: {', '.join(labels)} ...",
        value=len(stuck),
        rule="the order of tasks has no cycle",
        fix="the schedule sends and receives in an order that blocks; choose another schedule",
    )


def is_valid(graph: OpGraph, run: Run) -> bool:
    """Say whether no transfer or kernel of this run would have slowed another."""
    moving = np.flatnonzero(graph.transfer >= 0)
    if not len(moving):
        return True
    begin, end = run.start_s[moving] + graph.work_s[moving], run.end_s[moving]
    slack = REL_TOL * run.makespan
    return _rows_hold(graph, moving, begin, end, slack) and _kernels_apart(
        graph, run, moving, begin, end, slack
    )


def _rows_hold(graph: OpGraph, moving: Ints, begin: Floats, end: Floats, slack: float) -> bool:
    types = graph.transfer[moving]
    fluid = graph.fluid_s()
    entries = np.diff(graph.demand_ptr)
    entry_type = np.repeat(np.arange(graph.n_types), entries)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (
            graph.demand_bytes / graph.capacity_bytes_per_s[graph.demand_row] / fluid[entry_type]
        )
    users = np.zeros(len(graph.capacity_bytes_per_s), dtype=np.int64)
    np.add.at(users, graph.demand_row, 1)
    streams = _streams_of_types(graph, moving)
    alone = (users[graph.demand_row] == 1) & streams[entry_type]
    share = np.where(alone | (fluid[entry_type] == 0), 0.0, share)
    counts = entries[types]
    total = int(counts.sum())
    flow = np.repeat(np.arange(len(moving)), counts)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    entry = graph.demand_ptr[types][flow] + within
    busy = share[entry] > 0
    flow, entry = flow[busy], entry[busy]
    if not len(flow):
        return True
    row = np.concatenate([graph.demand_row[entry]] * 2)
    # A transfer that ends as another starts does not meet it.
    instant = np.concatenate([begin[flow], end[flow] - slack])
    change = np.concatenate([share[entry], -share[entry]])
    order = np.lexsort((change, instant, row))
    level = np.cumsum(change[order])
    first = np.concatenate([[True], np.diff(row[order]) != 0])
    base = np.where(first, level - change[order], 0.0)
    base = base[np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))]
    return bool(((level - base) <= 1.0 + 1e-6).all())


def _streams_of_types(graph: OpGraph, moving: Ints) -> npt.NDArray[np.bool_]:
    """Say which types have all their tasks on one stream, so that they never meet themselves."""
    low = np.full(graph.n_types, np.iinfo(np.int64).max)
    high = np.full(graph.n_types, -1)
    np.minimum.at(low, graph.transfer[moving], graph.stream[moving])
    np.maximum.at(high, graph.transfer[moving], graph.stream[moving])
    return np.asarray(low == high)


def _kernels_apart(
    graph: OpGraph, run: Run, moving: Ints, begin: Floats, end: Floats, slack: float
) -> bool:
    """Say whether no kernel on a device with a contention factor overlaps moving bytes."""
    slowed = np.flatnonzero(graph.contention_factor > 0)
    if not len(slowed):
        return True
    owner = graph.stream_device[graph.stream]
    flows = (graph.fluid_s() > 0)[graph.transfer[moving]]
    counts = np.diff(graph.transfer_ptr)[graph.transfer[moving]] * flows
    task = np.repeat(np.arange(len(moving)), counts)
    within = np.arange(len(task)) - np.repeat(np.cumsum(counts) - counts, counts)
    device = graph.transfer_device[graph.transfer_ptr[graph.transfer[moving[task]]] + within]
    computing = np.flatnonzero((graph.slowing() > 0) & (graph.work_s > 0))
    for d in slowed.tolist():
        mine = task[device == d]
        if not len(mine):
            continue
        kernels = computing[owner[computing] == d]
        kernels = kernels[np.argsort(run.start_s[kernels])]
        ends = np.maximum.accumulate(run.end_s[kernels])
        after = np.searchsorted(ends, begin[mine] + slack, side="right")
        inside = after < len(kernels)
        if (run.start_s[kernels[after[inside]]] < end[mine][inside] - slack).any():
            return False
    return True
