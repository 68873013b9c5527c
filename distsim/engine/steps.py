"""A collective message by message: each step of its algorithm as flows that share links.

Members go through the rounds of a schedule on their own: a member begins a round when it has sent
and received everything of the round before, whatever the others do. A message begins when both its
members have begun its round, as receivers hand out buffers. It waits for its hop's latency and then
moves its bytes; messages that move share links by max-min fairness. Everything that happens at one
instant is handled at once on arrays, so the cost grows with the instants, not with the messages: a
ring of any size in lock step has two instants a step.

The rounds of a pipelined schedule are run by many chunks that follow each other: each is a lane of
its own, whose message on a hop waits for the one of the chunk before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from distsim.engine.maxmin import solve_many

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Instants this close together (relative) are one.
TIE = 1e-12
#: Counters of a member in each step; more would not fit into memory.
MAX_COUNTERS = 200_000_000
#: Sets of messages in flight whose rates are remembered.
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages of one round.

    Attributes
    ----------
    src, dst : int64[m]
        Members.
    size_bytes, latency_s : float64[m]
    ptr, row : int64[m + 1], int64[...]
        Rows of capacity that each message uses (CSR).
    repeat : int
        How often the round is run.
    previous : int64[m]
        Message of this round that must end first (-1: none).
    """

    src: Ints
    dst: Ints
    size_bytes: Floats
    latency_s: Floats
    ptr: Ints
    row: Ints
    repeat: int
    previous: Ints


@dataclass(frozen=True, slots=True)
class StepsRun:
    """What came out.

    Attributes
    ----------
    time_s : float
    messages : int
        Sent in all steps.
    instants : int
        At which something happened.
    """

    time_s: float
    messages: int
    instants: int


def run_steps(rounds: Sequence[Messages], members: int, capacity: Floats) -> StepsRun:
    """Return when the last member has gone through all rounds.

    Parameters
    ----------
    rounds : sequence of Messages
        In order. Where messages name a previous one, no round is repeated.
    members : int
    capacity : float64[rows]
        Bytes/s of each row.

    Raises
    ------
    ValueError
        For more steps and members than memory holds.
    """
    steps = sum(r.repeat for r in rounds)
    if steps * members > MAX_COUNTERS:
        raise ValueError(
            f"{steps} steps of {members} members are more than {MAX_COUNTERS} counters"
        )
    if not steps:
        return StepsRun(0.0, 0, 0)
    return _Steps(rounds, members, capacity).run()


class _Steps:
    """State of one run; messages of all rounds are numbered one after another."""

    def __init__(self, rounds: Sequence[Messages], members: int, capacity: Floats) -> None:
        self.capacity = capacity
        base = np.cumsum([0, *(len(r.src) for r in rounds)])
        self.src = np.concatenate([r.src for r in rounds])
        self.dst = np.concatenate([r.dst for r in rounds])
        self.size = np.concatenate([r.size_bytes for r in rounds]).astype(np.float64)
        self.latency = np.concatenate([r.latency_s for r in rounds]).astype(np.float64)
        self.hops = np.concatenate([np.diff(r.ptr) for r in rounds])
        self.begin = np.cumsum(self.hops) - self.hops
        self.row = np.concatenate([r.row for r in rounds])
        self.round_of_step = np.repeat(np.arange(len(rounds)), [r.repeat for r in rounds])
        self.steps = len(self.round_of_step)
        self.previous = np.concatenate(
            [np.where(r.previous >= 0, r.previous + base[i], -1) for i, r in enumerate(rounds)]
        )
        self.following = np.full(len(self.src), -1)
        has = np.flatnonzero(self.previous >= 0)
        self.following[self.previous[has]] = has
        # Messages of a round in the order of the members that take part, senders and receivers.
        self.order, self.first, self.need = [], [], []
        for i, r in enumerate(rounds):
            both = np.concatenate([r.src, r.dst])
            order = np.argsort(both, kind="stable")
            self.order.append(base[i] + order % len(r.src))
            self.first.append(np.searchsorted(both[order], np.arange(members + 1)))
            self.need.append(np.bincount(both, minlength=members).astype(np.int32))
        self.step = np.zeros(members, dtype=np.int64)
        self.done = np.zeros((self.steps, members), dtype=np.int32)
        self.ended = np.zeros(len(self.src), dtype=bool)
        self.waiting = np.zeros(len(self.src), dtype=bool)
        self.at_step = np.zeros(len(self.src), dtype=np.int64)
        self.now = 0.0
        self.latent: list[tuple[float, int, Ints]] = []
        self.moving = np.zeros(0, dtype=np.int64)
        self.left = np.zeros(0)
        self.rate = np.zeros(0)
        self.rates: dict[bytes, Floats] = {}
        self.messages = self.instants = self.batches = 0

    def run(self) -> StepsRun:
        self._enter(np.arange(len(self.step)))
        while self.latent or len(self.moving):
            self._next_instant()
        assert (self.step == self.steps).all(), "members wait for messages that nobody sends"
        return StepsRun(self.now, self.messages, self.instants)

    def _enter(self, members: Ints) -> None:
        """Let members begin their step, and go on where it needs nothing more of them."""
        while len(members):
            for which in np.unique(self.round_of_step[self.step[members]]):
                chosen = members[self.round_of_step[self.step[members]] == which]
                self._send(int(which), chosen)
            members = self._advance(members)

    def _advance(self, members: Ints) -> Ints:
        """Move members on whose step is done; return those that begin another one."""
        step = self.step[members]
        need = np.empty(len(members), dtype=np.int32)
        rounds = self.round_of_step[step]
        for which in np.unique(rounds):
            of_round = rounds == which
            need[of_round] = self.need[which][members[of_round]]
        on = members[self.done[step, members] == need]
        self.step[on] += 1
        return np.asarray(on[self.step[on] < self.steps])

    def _send(self, which: int, members: Ints) -> None:
        begin, end = self.first[which][members], self.first[which][members + 1]
        count = end - begin
        if not count.any():
            return
        offset = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        message = np.unique(self.order[which][np.repeat(begin, count) + offset])
        step = self.step[self.src[message]]
        ready = (step == self.step[self.dst[message]]) & (step < self.steps)
        message, step = message[ready], step[ready]
        self.at_step[message] = step
        before = self.previous[message]
        held = (before >= 0) & ~self.ended[before]
        self.waiting[message[held]] = True
        self._start(message[~held])

    def _start(self, message: Ints) -> None:
        self.messages += len(message)
        latency = self.latency[message]
        for value in np.unique(latency):
            self.batches += 1
            heappush(
                self.latent, (self.now + float(value), self.batches, message[latency == value])
            )

    def _next_instant(self) -> None:
        """Go to when the next message begins to move or ends."""
        self.instants += 1
        soonest = self.latent[0][0] if self.latent else np.inf
        ends = self.now + self.left / self.rate
        soonest = min(soonest, float(ends.min(initial=np.inf)))
        limit = soonest + TIE * abs(soonest)
        over = ends <= limit
        finished, going = self.moving[over], ~over
        self.left = (self.left - self.rate * (soonest - self.now))[going]
        self.moving = self.moving[going]
        self.now = soonest
        arrived = []
        while self.latent and self.latent[0][0] <= limit:
            arrived.append(heappop(self.latent)[2])
        if arrived:
            fresh = np.concatenate(arrived)
            empty = (self.size[fresh] <= 0) | (self.hops[fresh] == 0)
            finished = np.concatenate([finished, fresh[empty]])
            fresh = fresh[~empty]
            self.moving = np.concatenate([self.moving, fresh])
            self.left = np.concatenate([self.left, self.size[fresh]])
        if len(finished):
            self._finish(finished)
        self._share()

    def _finish(self, message: Ints) -> None:
        step = self.at_step[message]
        self.ended[message] = True
        np.add.at(self.done, (step, self.src[message]), 1)
        np.add.at(self.done, (step, self.dst[message]), 1)
        following = self.following[message]
        following = following[following >= 0]
        released = following[self.waiting[following]]
        self.waiting[released] = False
        self._start(released)
        ends = np.unique(np.concatenate([self.src[message], self.dst[message]]))
        ends = ends[self.step[ends] < self.steps]
        self._enter(self._advance(ends))

    def _share(self) -> None:
        """Set the rate of all messages in flight, bytes/s."""
        if not len(self.moving):
            self.rate = np.zeros(0)
            return
        key = self.moving.tobytes()
        if key not in self.rates:
            if len(self.rates) >= _REMEMBERED:
                self.rates.clear()
            self.rates[key] = self._solve()
        self.rate = self.rates[key]

    def _solve(self) -> Floats:
        hops = self.hops[self.moving]
        offset = np.arange(int(hops.sum())) - np.repeat(np.cumsum(hops) - hops, hops)
        row = self.row[np.repeat(self.begin[self.moving], hops) + offset]
        used, row = np.unique(row, return_inverse=True)
        message = np.repeat(np.arange(len(self.moving)), hops)
        ones = np.ones(len(row))
        return solve_many(message, row.reshape(-1), ones, self.capacity[used])
