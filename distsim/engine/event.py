"""The event evaluator: a discrete-event simulation on SimPy.

A dependency-counting dispatcher on event callbacks: a compute task is one timer, a transfer is
a timer for its latency and then a guest of the `Network`. No task is a process. Kernels on a
device with a contention factor run at rate 1 / (1 + factor) while a transfer moves bytes there
(its latency part does not count); a segment that is kernels in part is slowed in part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import simpy

from distsim.engine.graph import cycle_error, successors
from distsim.engine.network import Network
from distsim.engine.result import Run
from distsim.engine.timer import Timer
from distsim.program.opgraph import OpGraph


class _Kernel:
    """A running compute task on a device whose transfers slow it."""

    __slots__ = ("left_s", "rate", "since", "task", "version")

    def __init__(self, task: int, left_s: float, rate: float, now: float) -> None:
        self.task, self.left_s, self.rate, self.since, self.version = task, left_s, rate, now, 0


class Simulation:
    """One run of an op graph."""

    def __init__(self, graph: OpGraph) -> None:
        self.graph = graph
        self.env = simpy.Environment()
        self.network = Network(self.env, graph, self._transfer_done)
        ptr, following = successors(graph)
        self._ptr, self._next = ptr.tolist(), following.tolist()
        self._waiting = np.diff(graph.dep_ptr).tolist()
        self._work = graph.work_s.tolist()
        self._transfer = graph.transfer.tolist()
        self._start, self._end = [0.0] * graph.n_tasks, [0.0] * graph.n_tasks
        self._finished = 0
        self.n_events = 0
        factor = graph.contention_factor.tolist()
        self._stream = graph.stream.tolist()
        self._device = graph.stream_device.tolist()
        self._slow = any(f > 0 for f in factor)
        self._slowing = graph.slowing().tolist()
        self._moving = [0] * len(factor)
        self._kernels: list[dict[int, _Kernel]] = [{} for _ in factor]
        tptr, tdev = graph.transfer_ptr.tolist(), graph.transfer_device.tolist()
        self._touches = [
            [d for d in tdev[tptr[t] : tptr[t + 1]] if factor[d] > 0] for t in range(graph.n_types)
        ]

    def run(self) -> Run:
        """Simulate until nothing is left to happen."""
        for task in range(self.graph.n_tasks):
            if not self._waiting[task]:
                self._begin(task)
        env = self.env
        try:
            while True:
                env.step()
                self.n_events += 1
        except simpy.core.EmptySchedule:
            pass
        if self._finished < self.graph.n_tasks:
            raise cycle_error(
                self.graph, [t for t in range(self.graph.n_tasks) if self._waiting[t]]
            )
        return Run(
            np.asarray(self._start, dtype=np.float64),
            np.asarray(self._end, dtype=np.float64),
            "event",
            self.n_events,
        )

    def _begin(self, task: int) -> None:
        self._start[task] = self.env.now
        if self._transfer[task] >= 0:
            if self._work[task] > 0.0:
                self._after(self._work[task], self._latency_over, task)
            else:
                self._enter(task)
        elif self._slowing[task]:
            self._begin_kernel(task)
        else:
            self._after(self._work[task], self._compute_done, task)

    def _after(self, delay_s: float, call: Callable[[Timer], None], value: Any) -> None:
        self.env.schedule(Timer(call, value), delay=delay_s)

    def _compute_done(self, event: Timer) -> None:
        self._finish(event.what)

    def _finish(self, task: int) -> None:
        self._end[task] = self.env.now
        self._finished += 1
        waiting = self._waiting
        for after in self._next[self._ptr[task] : self._ptr[task + 1]]:
            waiting[after] -= 1
            if not waiting[after]:
                self._begin(after)

    def _latency_over(self, event: Timer) -> None:
        self._enter(event.what)

    def _enter(self, task: int) -> None:
        if not self.network.moves(task):
            self._finish(task)
            return
        if self._slow:
            self._change_moving(task, 1)
        self.network.enter(task)

    def _transfer_done(self, task: int) -> None:
        if self._slow:
            self._change_moving(task, -1)
        self._finish(task)

    def _change_moving(self, task: int, by: int) -> None:
        for device in self._touches[self._transfer[task]]:
            before = self._moving[device]
            self._moving[device] = before + by
            if (before == 0) != (before + by == 0):
                for kernel in list(self._kernels[device].values()):
                    self._set_kernel_rate(device, kernel)

    def _rate(self, device: int, task: int) -> float:
        return 1.0 / (1.0 + self._slowing[task]) if self._moving[device] else 1.0

    def _begin_kernel(self, task: int) -> None:
        device = self._device[self._stream[task]]
        kernel = _Kernel(task, self._work[task], self._rate(device, task), self.env.now)
        self._kernels[device][task] = kernel
        self._time_kernel(device, kernel)

    def _time_kernel(self, device: int, kernel: _Kernel) -> None:
        what = (device, kernel, kernel.version)
        self._after(kernel.left_s / kernel.rate, self._kernel_done, what)

    def _set_kernel_rate(self, device: int, kernel: _Kernel) -> None:
        now = self.env.now
        kernel.left_s = max(0.0, kernel.left_s - kernel.rate * (now - kernel.since))
        kernel.since, kernel.rate = now, self._rate(device, kernel.task)
        kernel.version += 1
        self._time_kernel(device, kernel)

    def _kernel_done(self, event: Timer) -> None:
        device, kernel, version = event.what
        if version == kernel.version:
            del self._kernels[device][kernel.task]
            self._finish(kernel.task)


def evaluate(graph: OpGraph) -> Run:
    """Simulate an op graph event by event.

    Raises
    ------
    InfeasibleError
        DS520 for a cycle.
    """
    return Simulation(graph).run()
