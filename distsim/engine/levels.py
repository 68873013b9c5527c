"""Tasks of an op graph level by level, and a place in memory for each while it is needed.

The level of a task is the most tasks that must end before it, one after another. Tasks of one
level do not wait for each other, so a pass over the graph can take them together, for many samples
at once. The end of a task is kept only until its last successor has begun: its row is then given
to another task, so that a pass needs as many rows as the graph is wide, not as it is long.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from distsim.engine import graph as longest_path
from distsim.program.opgraph import OpGraph
from distsim.record import record

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@record(eq=False)
class Levels:
    """Tasks in the order of their levels.

    Attributes
    ----------
    task : int64[n]
        Tasks by level; in each level first those at which nobody meets.
    ptr : int64[levels + 1]
        Where each level begins in `task`.
    meet : int64[levels]
        Where those that meet begin in `task`.
    before_ptr : int64[n + 1]
        Predecessors of each position of `task` (CSR), as positions in `before` and `before_row`.
    before, before_row : int64[edges]
        Predecessors, and the rows where their ends are kept.
    row : int64[n]
        Row of each position of `task`.
    rows : int
    final : int64[...]
        Positions of tasks without successors, ascending.
    """

    task: Ints
    ptr: Ints
    meet: Ints
    before_ptr: Ints
    before: Ints
    before_row: Ints
    row: Ints
    rows: int
    final: Ints

    @property
    def widest(self) -> int:
        """Tasks of the widest level."""
        return int(np.diff(self.ptr).max(initial=0))


def depth(graph: OpGraph) -> Ints:
    """Return the level of each task, int64[n].

    It is the start of the task in a run where every task takes one second.

    Raises
    ------
    InfeasibleError
        DS520 for a cycle.
    """
    n = graph.n_tasks
    even = replace(graph, work_s=np.ones(n), transfer=np.full(n, -1, dtype=np.int32))
    return longest_path.evaluate(even).start_s.astype(np.int64)


def levels(graph: OpGraph, meets: Flags) -> Levels:
    """Put the tasks of a graph in order.

    Parameters
    ----------
    meets : bool[n]
        Tasks that are kept apart in each level.
    """
    n = graph.n_tasks
    level = depth(graph)
    task = np.lexsort((meets, level))
    count = int(level.max(initial=-1)) + 1
    ptr = np.searchsorted(level[task], np.arange(count + 1))
    meet = ptr[1:] - np.bincount(level[meets], minlength=count)
    degree = np.diff(graph.dep_ptr)[task]
    before_ptr = np.concatenate([[0], np.cumsum(degree)])
    shift = np.repeat(graph.dep_ptr[:-1][task] - before_ptr[:-1], degree)
    before = graph.dep[shift + np.arange(len(shift))].astype(np.int64)
    last = level + 1
    np.maximum.at(last, graph.dep, np.repeat(level, np.diff(graph.dep_ptr)))
    row, rows = _rows(task, ptr, last)
    is_final = np.ones(n, dtype=bool)
    is_final[graph.dep] = False
    final = np.flatnonzero(is_final[task])
    return Levels(task, ptr, meet, before_ptr, before, row[before], row[task], rows, final)


def _rows(task: Ints, ptr: Ints, last: Ints) -> tuple[Ints, int]:
    """Give each task a row that is free from its level to the last level that reads it.

    A level reads all its predecessors before it writes, so it may write where they stand.
    """
    row = [0] * len(task)
    free: list[int] = []
    rows = 0
    ending = np.argsort(last, kind="stable").tolist()
    until = np.searchsorted(np.sort(last), np.arange(len(ptr)), side="right").tolist()
    order, bounds = task.tolist(), ptr.tolist()
    released = 0
    for level in range(len(bounds) - 1):
        free += [row[t] for t in ending[released : until[level]]]
        released = until[level]
        for t in order[bounds[level] : bounds[level + 1]]:
            if free:
                row[t] = free.pop()
            else:
                row[t] = rows
                rows += 1
    return np.asarray(row, dtype=np.int64), rows
