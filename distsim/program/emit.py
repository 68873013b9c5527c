"""Emission: blocks of tasks and edges as arrays, joined into one `OpGraph` at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.program.comm import Transfers
from distsim.program.opgraph import OpGraph

Ints = npt.NDArray[np.int64]
Value = int | float | npt.NDArray[Any]

_FIELDS = {
    "stream": np.int32,
    "work_s": np.float64,
    "kernel_share": np.float64,
    "kind": np.uint8,
    "transfer": np.int32,
    "segment": np.int32,
    "microbatch": np.int32,
    "stage": np.int32,
}


class Emitter:
    """Collects tasks in blocks; a block is a run of consecutive task numbers."""

    def __init__(self) -> None:
        self.count = 0
        self.streams: list[tuple[int, str]] = []
        self.names: list[str] = []
        self._blocks: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _FIELDS}
        self._before: list[Ints] = []
        self._after: list[Ints] = []

    def stream(self, device_class: int, name: str) -> int:
        """Open a stream of a class of ranks."""
        self.streams.append((device_class, name))
        return len(self.streams) - 1

    def name(self, text: str) -> int:
        """Register a label."""
        self.names.append(text)
        return len(self.names) - 1

    def tasks(
        self,
        count: int,
        *,
        stream: Value,
        kind: Value,
        work_s: Value = 0.0,
        kernel_share: Value = 1.0,
        transfer: Value = -1,
        segment: Value = -1,
        microbatch: Value = -1,
        stage: Value = -1,
    ) -> int:
        """Add `count` tasks and return the number of the first."""
        values = {
            "stream": stream,
            "work_s": work_s,
            "kernel_share": kernel_share,
            "kind": kind,
            "transfer": transfer,
            "segment": segment,
            "microbatch": microbatch,
            "stage": stage,
        }
        for name, dtype in _FIELDS.items():
            self._blocks[name].append(np.full(count, values[name], dtype=dtype))
        first = self.count
        self.count += count
        return first

    def work_s(self, first: int, count: int) -> float:
        """Return the sum of the work of the tasks of one call of `tasks`."""
        ends = np.cumsum([len(block) for block in self._blocks["work_s"]])
        block = int(np.searchsorted(ends, first, side="right"))
        if ends[block] != first + count:
            raise ValueError(f"tasks {first} .. {first + count - 1} were not added at once")
        return float(self._blocks["work_s"][block].sum())

    def edges(self, before: int | Ints, after: int | Ints) -> None:
        """Make tasks `after` wait for tasks `before` (arrays broadcast against each other)."""
        a, b = np.broadcast_arrays(
            np.atleast_1d(np.asarray(before, dtype=np.int64)),
            np.atleast_1d(np.asarray(after, dtype=np.int64)),
        )
        self._before.append(a.reshape(-1))
        self._after.append(b.reshape(-1))

    def chain(self, tasks: Ints) -> None:
        """Make tasks of one stream run in the given order."""
        if len(tasks) > 1:
            self.edges(tasks[:-1], tasks[1:])

    def graph(
        self,
        transfers: Transfers,
        capacity_bytes_per_s: npt.NDArray[np.float64],
        contention_factor: npt.NDArray[np.float64],
    ) -> OpGraph:
        """Join everything; the latency of a transfer type becomes the work of its tasks."""
        devices = transfers.devices
        columns = {
            name: np.concatenate(blocks) if blocks else np.zeros(0, dtype=_FIELDS[name])
            for name, blocks in self._blocks.items()
        }
        moving = columns["transfer"] >= 0
        columns["work_s"][moving] = transfers.latency_s[columns["transfer"][moving]]
        before = np.concatenate(self._before) if self._before else np.zeros(0, dtype=np.int64)
        after = np.concatenate(self._after) if self._after else np.zeros(0, dtype=np.int64)
        order = np.argsort(after, kind="stable")
        dep_ptr = np.zeros(self.count + 1, dtype=np.int64)
        np.cumsum(np.bincount(after, minlength=self.count), out=dep_ptr[1:])
        lengths = [len(d) for d in devices]
        return OpGraph(
            stream=columns["stream"],
            work_s=columns["work_s"],
            kernel_share=columns["kernel_share"],
            kind=columns["kind"],
            transfer=columns["transfer"],
            dep_ptr=dep_ptr,
            dep=before[order].astype(np.int32),
            demand_ptr=transfers.ptr,
            demand_row=transfers.row.astype(np.int32),
            demand_bytes=transfers.size_bytes,
            weight_bytes=transfers.weight_bytes,
            serial_s=transfers.serial_s,
            capacity_bytes_per_s=capacity_bytes_per_s,
            stream_device=np.asarray([d for d, _ in self.streams], dtype=np.int32),
            contention_factor=contention_factor,
            transfer_ptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            transfer_device=(
                np.concatenate(devices) if devices else np.zeros(0, dtype=np.int64)
            ).astype(np.int32),
            segment=columns["segment"],
            microbatch=columns["microbatch"],
            stage=columns["stage"],
            names=tuple(self.names),
        )
