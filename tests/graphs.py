"""Small op graphs written out by hand."""

from __future__ import annotations

import numpy as np

from distsim.program.opgraph import OpGraph, TaskKind


def op_graph(
    tasks: list[tuple[int, float, int, list[int]]],
    demands: list[dict[int, float]] | None = None,
    capacity: list[float] | None = None,
    *,
    factor: list[float] | None = None,
    touches: list[list[int]] | None = None,
) -> OpGraph:
    """Build a graph from (stream, work_s, transfer type or -1, predecessors) of each task.

    Parameters
    ----------
    demands : list of dict
        Row -> bytes of each transfer type.
    factor : list of float
        Contention factor of each device; stream i runs on device i modulo their number.
    touches : list of list of int
        Devices that each transfer type slows.
    """
    demands, capacity, factor = demands or [], capacity or [1.0], factor or [0.0]
    touches = touches or [[] for _ in demands]
    streams = max(t[0] for t in tasks) + 1
    deps = [t[3] for t in tasks]
    return OpGraph(
        stream=np.asarray([t[0] for t in tasks], dtype=np.int32),
        work_s=np.asarray([t[1] for t in tasks], dtype=np.float64),
        kind=np.asarray(
            [TaskKind.COMPUTE if t[2] < 0 else TaskKind.DATA for t in tasks], dtype=np.uint8
        ),
        transfer=np.asarray([t[2] for t in tasks], dtype=np.int32),
        dep_ptr=np.cumsum([0, *(len(d) for d in deps)], dtype=np.int64),
        dep=np.asarray([x for d in deps for x in d], dtype=np.int32),
        demand_ptr=np.cumsum([0, *(len(d) for d in demands)], dtype=np.int64),
        demand_row=np.asarray([r for d in demands for r in d], dtype=np.int32),
        demand_bytes=np.asarray([b for d in demands for b in d.values()], dtype=np.float64),
        capacity_bytes_per_s=np.asarray(capacity, dtype=np.float64),
        stream_device=np.arange(streams, dtype=np.int32) % len(factor),
        contention_factor=np.asarray(factor, dtype=np.float64),
        transfer_ptr=np.cumsum([0, *(len(d) for d in touches)], dtype=np.int64),
        transfer_device=np.asarray([x for d in touches for x in d], dtype=np.int32),
    )
