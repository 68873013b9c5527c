"""The network: one object that holds all transfers in flight and arms one timer."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

import simpy

from distsim.engine.maxmin import solve_few
from distsim.engine.timer import Timer
from distsim.program.opgraph import OpGraph

#: Transfers that end within this of the timer's instant end with it (relative).
TIE = 1e-12


class Network:
    """Transfers in their fluid phase, sharing rows by max-min fairness.

    Each change re-solves only the transfers that share rows, directly or through others, with the
    one that came or went. Finish times stand in a heap; entries of an older rate are skipped.

    Parameters
    ----------
    env : simpy.Environment
    graph : OpGraph
    done : callable
        Called with a task when its bytes have moved.
    """

    def __init__(self, env: simpy.Environment, graph: OpGraph, done: Callable[[int], None]) -> None:
        self._env = env
        self._done = done
        ptr, row = graph.demand_ptr.tolist(), graph.demand_row.tolist()
        size = graph.demand_bytes.tolist()
        self._demand = [
            [(row[e], size[e]) for e in range(ptr[t], ptr[t + 1]) if size[e] > 0.0]
            for t in range(graph.n_types)
        ]
        self._capacity = graph.capacity_bytes_per_s.tolist()
        self._alone_s = graph.fluid_s().tolist()
        self._weight = graph.weights().tolist()
        serial = graph.serial_s.tolist() if len(graph.serial_s) else [0.0] * graph.n_types
        self._limit = [1.0 / s if s > 0.0 else float("inf") for s in serial]
        self._type = graph.transfer.tolist()
        self._users: list[list[int]] = [[] for _ in self._capacity]
        self._left: dict[int, float] = {}
        self._rate: dict[int, float] = {}
        self._since: dict[int, float] = {}
        self._heap: list[tuple[float, int, int]] = []
        self._version: dict[int, int] = {}
        self._armed = float("inf")
        self._stamp = 0
        self._solved: dict[tuple[int, ...], dict[int, float]] = {}

    def moves(self, task: int) -> bool:
        """Say whether the transfer has bytes to move."""
        return bool(self._demand[self._type[task]])

    def enter(self, task: int) -> None:
        """Let a transfer begin to move its bytes."""
        demand = self._demand[self._type[task]]
        self._left[task], self._since[task], self._version[task] = 1.0, self._env.now, 0
        alone = True
        for row, _ in demand:
            users = self._users[row]
            alone = alone and not users
            users.append(task)
        if alone:
            self._set_rate(task, 1.0 / self._alone_s[self._type[task]])
        else:
            self._solve(task)
        self._arm()

    def _set_rate(self, task: int, rate: float) -> None:
        self._rate[task] = rate
        version = self._version[task] = self._version[task] + 1
        heappush(self._heap, (self._env.now + self._left[task] / rate, task, version))

    def _advance(self, task: int) -> None:
        now = self._env.now
        self._left[task] = max(
            0.0, self._left[task] - self._rate.get(task, 0.0) * (now - self._since[task])
        )
        self._since[task] = now

    def _component(self, task: int) -> list[int]:
        seen = {task}
        stack = [task]
        while stack:
            for row, _ in self._demand[self._type[stack.pop()]]:
                for other in self._users[row]:
                    if other not in seen:
                        seen.add(other)
                        stack.append(other)
        return sorted(seen)

    def _solve(self, task: int) -> None:
        members = self._component(task)
        types = [self._type[t] for t in members]
        rates = self._shared(tuple(sorted(types)))
        current = self._rate
        for member, kind in zip(members, types, strict=True):
            rate = rates[kind]
            if rate != current.get(member):
                self._advance(member)
                self._set_rate(member, rate)

    def _shared(self, types: tuple[int, ...]) -> dict[int, float]:
        """Return the rate of each type when these meet; steps meet the same way again and again.

        Transfers of one type ask for the same, so they get the same.
        """
        found = self._solved.get(types)
        if found is None:
            rates = solve_few(
                [self._demand[t] for t in types],
                self._capacity,
                [self._weight[t] for t in types],
                [self._limit[t] for t in types],
            )
            found = self._solved[types] = dict(zip(types, rates, strict=True))
        return found

    def _arm(self) -> None:
        while self._heap and self._version.get(self._heap[0][1]) != self._heap[0][2]:
            heappop(self._heap)
        if self._heap and self._heap[0][0] < self._armed:
            self._armed = self._heap[0][0]
            self._stamp += 1
            delay_s = max(0.0, self._armed - self._env.now)
            self._env.schedule(Timer(self._fire, self._stamp), delay=delay_s)

    def _fire(self, timer: Timer) -> None:
        if timer.what != self._stamp:
            return
        limit = self._armed + TIE * abs(self._armed)
        self._armed = float("inf")
        finished = []
        while self._heap and self._heap[0][0] <= limit:
            _, task, version = heappop(self._heap)
            if self._version.get(task) == version:
                finished.append(task)
        neighbours: dict[int, None] = {}
        for task in finished:
            del self._version[task], self._left[task], self._since[task]
            self._rate.pop(task, None)
            for row, _ in self._demand[self._type[task]]:
                self._users[row].remove(task)
        for task in finished:
            for row, _ in self._demand[self._type[task]]:
                neighbours.update(dict.fromkeys(self._users[row]))
        solved: set[int] = set()
        for task in neighbours:
            if task not in solved:
                solved.update(self._component(task))
                self._solve(task)
        for task in finished:
            self._done(task)
        self._arm()
