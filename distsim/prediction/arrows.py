"""What waits for what across streams: sends between maker and user, collectives and who needs them.

A timeline shows when tasks run; arrows show why not earlier.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.engine.result import Run
from distsim.program.build import Program
from distsim.program.opgraph import TaskKind

Ints = npt.NDArray[np.int64]

#: Arrows that are made at once.
_BLOCK = 4096
#: What viewers resolve; a shorter span is none.
_SHORTEST_S = 1e-9


class Arrow(NamedTuple):
    """From the end of one span to the begin of another, on another stream.

    Attributes
    ----------
    category : str
        Kind of the transfer at one of its ends.
    rank, stream, start_s, end_s
        The span that comes first.
    to_rank, to_stream, to_start_s, to_end_s
        The span that waits for it.
    """

    category: str
    rank: int
    stream: str
    start_s: float
    end_s: float
    to_rank: int
    to_stream: str
    to_start_s: float
    to_end_s: float


def edges(program: Program) -> tuple[Ints, Ints]:
    """Return the tasks at both ends of all arrows: each transfer and what waits for it elsewhere.

    A pipeline send also has an arrow from the task that made what it carries.
    """
    graph = program.graph
    source = graph.dep.astype(np.int64)
    target = np.repeat(np.arange(graph.n_tasks), np.diff(graph.dep_ptr))
    moving = (graph.transfer[source] >= 0) | (graph.kind[target] == TaskKind.PIPELINE)
    keep = moving & (graph.stream[source] != graph.stream[target])
    return source[keep], target[keep]


def _visible(program: Program, run: Run) -> tuple[Ints, Ints]:
    """Return for each task the last before it and the first after it on its stream that lasts.

    The task itself where it lasts; -1 where none does. Tasks of no length mark instants, and have
    no span that an arrow could touch.
    """
    graph = program.graph
    order = np.lexsort((np.arange(graph.n_tasks), run.start_s, graph.stream))
    lasts = (run.end_s - run.start_s >= _SHORTEST_S)[order]
    stream, place = graph.stream[order], np.arange(len(order))
    out = []
    for step in (1, -1):
        turned = slice(None, None, step)
        seen = np.maximum.accumulate(np.where(lasts[turned], place, -1))
        same = stream[turned][np.maximum(seen, 0)] == stream[turned]
        found = np.empty(len(order), dtype=np.int64)
        found[order[turned]] = np.where((seen >= 0) & same, order[turned][np.maximum(seen, 0)], -1)
        out.append(found)
    return out[0], out[1]


def arrows(program: Program, run: Run) -> Iterator[Arrow]:
    """Yield an arrow for each of `edges`, in the order of the tasks that wait.

    It leaves the last span of the stream up to the task, and comes to the first from it on.
    """
    graph, fold, names = program.graph, program.network.fold, program.stream_names
    kinds = {int(kind): kind.name.lower() for kind in TaskKind}
    sources, targets = edges(program)
    before, after = _visible(program, run)
    for first in range(0, len(sources), _BLOCK):
        source, target = sources[first : first + _BLOCK], targets[first : first + _BLOCK]
        carrier = np.where(graph.transfer[source] >= 0, source, target)
        columns: list[npt.NDArray[Any]] = [graph.kind[carrier]]
        ends = (before[source], after[target])
        there = (ends[0] >= 0) & (ends[1] >= 0)
        columns[0] = columns[0][there]
        for task in (ends[0][there], ends[1][there]):
            stream = graph.stream[task]
            columns += [fold.example[graph.stream_device[stream]], stream]
            columns += [run.start_s[task], run.end_s[task]]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for kind, rank, stream, start_s, end_s, to_rank, to_stream, to_start_s, to_end_s in rows:
            yield Arrow(
                kinds[kind],
                rank,
                names[stream],
                start_s,
                end_s,
                to_rank,
                names[to_stream],
                to_start_s,
                to_end_s,
            )
