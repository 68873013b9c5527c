"""Bounds that hold for every prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distsim.program.build import Program
from distsim.program.opgraph import TaskKind


@dataclass(frozen=True, slots=True)
class Bounds:
    """``lower_s <= step_s <= upper_s``."""

    lower_s: float
    upper_s: float


def bounds(program: Program) -> Bounds:
    """Return max(compute of a device, busy time of a link) and the sum of all tasks.

    A device runs its segments one at a time, and a link moves its bytes no faster than its
    capacity, whatever the order; and no task waits unless another one runs.
    """
    graph = program.graph
    computing = (graph.kind == TaskKind.COMPUTE) | (graph.kind == TaskKind.OPTIMIZER)
    owner = graph.stream_device[graph.stream[computing]]
    busy = np.bincount(owner, weights=graph.work_s[computing], minlength=1)
    uses = np.bincount(graph.transfer[graph.transfer >= 0], minlength=len(graph.demand_ptr) - 1)
    per_entry = np.repeat(uses, np.diff(graph.demand_ptr)) * graph.demand_bytes
    moved = np.bincount(
        graph.demand_row, weights=per_entry, minlength=len(graph.capacity_bytes_per_s)
    )
    links = moved / graph.capacity_bytes_per_s if len(moved) else np.zeros(1)
    slowest = 1.0 + float(graph.contention_factor.max(initial=0.0))
    upper = float(np.where(computing, graph.work_s * slowest, graph.alone_s()).sum())
    return Bounds(max(float(busy.max(initial=0.0)), float(links.max(initial=0.0))), upper)
