"""The op graph: the tasks of one step as flat arrays."""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from distsim.record import record


class TaskKind(IntEnum):
    """What a task is, for reports and for exposed time."""

    COMPUTE = 0
    TENSOR = 1
    PIPELINE = 2
    DATA = 3
    CONTEXT = 4
    OPTIMIZER = 5
    HOST = 6
    EXPERT = 7
    OFFLOAD = 8


Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


def _no_labels() -> Int32:
    return np.zeros(0, dtype=np.int32)


def _no_weights() -> Float64:
    return np.zeros(0, dtype=np.float64)


@record
class OpGraph:
    """Tasks, their order and their demands.

    Attributes
    ----------
    stream : int32[n]
        Stream of each task. Tasks of one stream run one at a time, in an order that is part of
        the dependencies.
    work_s : float64[n]
        Duration of a compute task; latency of a transfer.
    kind : uint8[n]
        `TaskKind`.
    transfer : int32[n]
        Transfer type, or -1 for a compute task. Many tasks share one type.
    dep_ptr, dep : int64[n + 1], int32[edges]
        Predecessors of each task (CSR).
    demand_ptr, demand_row, demand_bytes : int64[types + 1], int32[...], float64[...]
        Bytes that a transfer type puts on each row (CSR by type); a row is a link, or stands for
        links with equal capacity and equal demands.
    capacity_bytes_per_s : float64[rows]
    stream_device : int32[streams]
        Class of devices on which a stream runs.
    contention_factor : float64[classes]
        Kernels on a device take 1 + factor times as long while a transfer moves bytes there.
    kernel_share : float64[n]
        How much of a compute task that slows: a segment with communication or waits inside it
        takes 1 + factor * share times as long. Empty: all of each.
    transfer_ptr, transfer_device : int64[types + 1], int32[...]
        Classes of devices whose kernels each transfer type slows down (CSR).
    segment, microbatch, stage : int32[n]
        Labels for reports (-1: none); `segment` points into `names`.
    names : tuple of str
    weight_bytes : float64[types]
        Weight of a transfer in max-min fairness: the most bytes that one of the siblings it
        stands for puts on a link. Empty: the largest demand of each type.
    serial_s : float64[types]
        Time that the bytes of a transfer take at least, because it moves them in phases, one
        after another. Empty: none.
    """

    stream: Int32
    work_s: Float64
    kind: npt.NDArray[np.uint8]
    transfer: Int32
    dep_ptr: Int64
    dep: Int32
    demand_ptr: Int64
    demand_row: Int32
    demand_bytes: Float64
    capacity_bytes_per_s: Float64
    stream_device: Int32
    contention_factor: Float64
    transfer_ptr: Int64
    transfer_device: Int32
    segment: Int32 = field(default_factory=_no_labels)
    microbatch: Int32 = field(default_factory=_no_labels)
    stage: Int32 = field(default_factory=_no_labels)
    names: tuple[str, ...] = ()
    weight_bytes: Float64 = field(default_factory=_no_weights)
    serial_s: Float64 = field(default_factory=_no_weights)
    kernel_share: Float64 = field(default_factory=_no_weights)

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.work_s)

    @property
    def n_types(self) -> int:
        """Number of transfer types."""
        return len(self.demand_ptr) - 1

    def fluid_s(self) -> Float64:
        """Return for each transfer type the time its bytes take on links that it has alone.

        max over rows of demand / capacity, and no less than its phases take; shape (types,).
        """
        out = self.serial_s.copy() if len(self.serial_s) else np.zeros(self.n_types)
        types = np.repeat(np.arange(self.n_types), np.diff(self.demand_ptr))
        np.maximum.at(out, types, self.demand_bytes / self.capacity_bytes_per_s[self.demand_row])
        return out

    def slowing(self) -> Float64:
        """Return by how much moving bytes slow each task, in times of its work, shape (n,)."""
        kernel = np.isin(self.kind, (TaskKind.COMPUTE, TaskKind.OPTIMIZER))
        out = np.where(kernel, self.contention_factor[self.stream_device[self.stream]], 0.0)
        return out * self.kernel_share if len(self.kernel_share) else out

    def weights(self) -> Float64:
        """Return the max-min weight of each transfer type, bytes, shape (types,)."""
        if len(self.weight_bytes):
            return self.weight_bytes
        out = np.zeros(self.n_types)
        types = np.repeat(np.arange(self.n_types), np.diff(self.demand_ptr))
        np.maximum.at(out, types, self.demand_bytes)
        return out

    def alone_s(self) -> Float64:
        """Return the duration of each task when nothing shares its links, shape (n,)."""
        out = self.work_s.copy()
        moving = self.transfer >= 0
        out[moving] += self.fluid_s()[self.transfer[moving]]
        return out
