"""A collective message by message: each step of its algorithm as flows that share links.

Members go through the rounds of a schedule on their own: a member begins a round when it has sent
and received everything of the round before, whatever the others do. A message begins when both its
members have begun its round, as receivers hand out buffers; where a round repeats, the receiver has
buffers for the next time already, as the slots of a connection in NCCL. A message moves its bytes,
sharing links with others by max-min fairness, and arrives the latency of its hop later; its sender
is free when the bytes have left. Everything that happens at one instant is handled at once on
arrays, so the cost grows with the instants, not with the messages: a ring of any size in lock step
has two instants a step.

The rounds of a pipelined schedule are run by many chunks that follow each other: each is a lane of
its own, whose message on a hop waits until the one of the chunk before has left.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from distsim.engine.maxmin import solve_many
from distsim.record import record

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_Array = TypeVar("_Array", Ints, Floats)

#: Instants this close together (relative) are one.
TIE = 1e-12
#: Messages of one run; more would take hours.
MAX_MESSAGES = 1 << 28
_NONE = np.zeros(0, dtype=np.int64)
#: Rates that are remembered, over all sets of messages in flight.
_REMEMBERED = 1 << 21


@record
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
        Message of this round that must have left first (-1: none); no two wait for the same one.
    """

    src: Ints
    dst: Ints
    size_bytes: Floats
    latency_s: Floats
    ptr: Ints
    row: Ints
    repeat: int
    previous: Ints


@record
class StepsRun:
    """What came out.

    Attributes
    ----------
    time_s : float
    messages : int
        Sent in all steps.
    instants : int
        At which something happened.
    solves : int
        Of the rates of messages in flight; a set of messages met before is not solved again.
    sent_bytes : float64[members]
        By each member.
    """

    time_s: float
    messages: int
    instants: int
    solves: int
    sent_bytes: Floats


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
        For more messages than can be simulated.
    """
    messages = sum(r.repeat * len(r.src) for r in rounds)
    if messages > MAX_MESSAGES:
        raise ValueError(f"{messages} messages are more than {MAX_MESSAGES}")
    if not messages:
        return StepsRun(0.0, 0, 0, 0, np.zeros(members))
    return _Steps([r for r in rounds if r.repeat and len(r.src)], members, capacity).run()


class _Steps:
    """State of one run; messages of all rounds are numbered one after another.

    A turn is a member's part in a round. The turns of a member follow each other in `turn`, so a
    round without messages of its own costs it nothing.
    """

    def __init__(self, rounds: Sequence[Messages], members: int, capacity: Floats) -> None:
        base = np.cumsum([0, *(len(r.src) for r in rounds)])
        self.src = np.concatenate([r.src for r in rounds])
        self.dst = np.concatenate([r.dst for r in rounds])
        self.size = np.concatenate([r.size_bytes for r in rounds]).astype(np.float64)
        self.latency = np.concatenate([r.latency_s for r in rounds]).astype(np.float64)
        self.hops = np.concatenate([np.diff(r.ptr) for r in rounds])
        self.begin = np.cumsum(self.hops) - self.hops
        row = np.concatenate([r.row for r in rounds])
        used = np.flatnonzero(np.bincount(row, minlength=len(capacity)))
        self.row, self.capacity = np.searchsorted(used, row), capacity[used]
        self.previous = np.concatenate(
            [np.where(r.previous >= 0, r.previous + base[i], -1) for i, r in enumerate(rounds)]
        )
        self.following = np.full(len(self.src), -1)
        has = np.flatnonzero(self.previous >= 0)
        self.following[self.previous[has]] = has
        self._take_turns(rounds, members)
        self.run_of = np.zeros(members, dtype=np.int64)
        self.pending = np.zeros(members, dtype=np.int64)
        self.fresh = np.zeros(members, dtype=bool)
        self.gone = np.zeros(len(self.src), dtype=np.int64)
        self.arrived = np.zeros(len(self.src), dtype=np.int64)
        self.waiting = np.zeros(len(self.src), dtype=bool)
        self.now = 0.0
        self.latent: list[tuple[float, int, Ints]] = []
        self.moving = np.zeros(0, dtype=np.int64)
        self.left = np.zeros(0)
        self.rate = np.zeros(0)
        self.rates: dict[bytes, Floats] = {}
        self.instants = self.batches = self.solves = 0

    def _take_turns(self, rounds: Sequence[Messages], members: int) -> None:
        """Sort the two ends of all messages by member, and by round within a member."""
        round_of = np.repeat(np.arange(len(rounds)), [len(r.src) for r in rounds])
        ends = np.stack([self.src, self.dst], axis=1).reshape(-1)
        order = np.argsort(ends, kind="stable")
        self.part, self.sends = order // 2, order % 2 == 0
        member, of_round = ends[order], round_of[self.part]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (np.diff(member) != 0) | (np.diff(of_round) != 0)
        self.turn_begin = np.flatnonzero(first)
        self.turn_size = np.diff(self.turn_begin, append=len(order))
        self.runs = np.array([r.repeat for r in rounds])[of_round[self.turn_begin]]
        turn = np.empty(len(order), dtype=np.int64)
        turn[order] = np.cumsum(first) - 1
        self.src_turn, self.dst_turn = turn.reshape(-1, 2).T
        bounds = np.searchsorted(member[self.turn_begin], np.arange(members + 1))
        self.turn, self.last = bounds[:-1].copy(), bounds[1:]

    def run(self) -> StepsRun:
        self._go_on(self._enter(np.flatnonzero(self.turn < self.last)))
        self._share()
        while self.latent or len(self.moving):
            self._next_instant()
        assert (self.turn == self.last).all(), "members wait for messages that nobody sends"
        sent = np.bincount(self.src, self.gone * self.size, len(self.turn)).astype(np.float64)
        return StepsRun(self.now, int(self.gone.sum()), self.instants, self.solves, sent)

    def _enter(self, members: Ints) -> Ints:
        """Let members begin a run of their turn; return messages that begin with it."""
        begun = [_NONE]
        while len(members):
            turn, run = self.turn[members], self.run_of[members]
            size = self.turn_size[turn]
            place = _spans(self.turn_begin[turn], size)
            message, sends = self.part[place], self.sends[place]
            first = np.repeat(run == 0, size)
            early = ~sends & (self.arrived[message] > np.repeat(run, size))
            self.pending[members] = size - np.add.reduceat(early, np.cumsum(size) - size, dtype=int)
            begun.append(message[np.where(first, self._both(members, message, sends), sends)])
            members = self._advance(members[self.pending[members] == 0])
        message = np.concatenate(begun)
        before = self.previous[message]
        held = (before >= 0) & (self.gone[before] == 0)
        self.waiting[message[held]] = True
        return np.asarray(message[~held])

    def _both(self, members: Ints, message: Ints, sends: npt.NDArray[np.bool_]) -> Ints:
        """Say for which messages both ends have begun the round, with one of these members last."""
        src, dst = self.src[message], self.dst[message]
        ready = self.turn[src] == self.src_turn[message]
        ready &= (self.turn[dst] == self.dst_turn[message]) & (self.run_of[src] == 0)
        # Where both ends begin just now, the sender's counts.
        self.fresh[members] = True
        ready &= sends | ~self.fresh[src]
        self.fresh[members] = False
        return np.asarray(ready)

    def _advance(self, members: Ints) -> Ints:
        """Move members on that are through with a run; return those that have another one."""
        self.run_of[members] += 1
        through = members[self.run_of[members] == self.runs[self.turn[members]]]
        self.turn[through] += 1
        self.run_of[through] = 0
        return members[self.turn[members] < self.last[members]]

    def _next_instant(self) -> None:
        """Go to when the next message has left or arrives."""
        self.instants += 1
        soonest = self.latent[0][0] if self.latent else np.inf
        ends = self.now + self.left / self.rate
        soonest = min(soonest, float(ends.min(initial=np.inf)))
        limit = soonest + TIE * abs(soonest)
        over = ends <= limit
        gone, going = self.moving[over], ~over
        self.left = (self.left - self.rate * (soonest - self.now))[going]
        self.moving = self.moving[going]
        self.now = soonest
        arrived = [_NONE]
        while self.latent and self.latent[0][0] <= limit:
            arrived.append(heappop(self.latent)[2])
        self._go_on(self._end(gone, np.concatenate(arrived)))
        self._share()

    def _go_on(self, begun: Ints) -> None:
        """Let messages move; those without bytes or links have left at once."""
        while len(begun):
            empty = (self.size[begun] <= 0) | (self.hops[begun] == 0)
            moves = begun[~empty]
            self.moving = np.concatenate([self.moving, moves])
            self.left = np.concatenate([self.left, self.size[moves]])
            begun = self._end(begun[empty], _NONE)

    def _end(self, gone: Ints, arrived: Ints) -> Ints:
        """Settle messages that have left and that arrive; return those that begin now."""
        latency = self.latency[gone]
        arrived = np.concatenate([arrived, gone[latency <= 0]])
        for value in _distinct(latency[latency > 0]):
            self.batches += 1
            heappush(self.latent, (self.now + float(value), self.batches, gone[latency == value]))
        self.gone[gone] += 1
        following = self.following[gone]
        following = following[following >= 0]
        released = following[self.waiting[following]]
        self.waiting[released] = False
        self.arrived[arrived] += 1
        # One that is ahead counts when its receiver begins the run that it belongs to.
        receivers = self.dst[arrived]
        due = receivers[self.arrived[arrived] == self.run_of[receivers] + 1]
        ends = np.concatenate([self.src[gone], due])
        np.subtract.at(self.pending, ends, 1)
        members = self._advance(_distinct(ends[self.pending[ends] == 0]))
        return np.concatenate([released, self._enter(members)])

    def _share(self) -> None:
        """Set the rate of all messages in flight, bytes/s."""
        if not len(self.moving):
            self.rate = np.zeros(0)
            return
        key = self.moving.tobytes()
        if key not in self.rates:
            if len(self.rates) * len(self.moving) >= _REMEMBERED:
                self.rates.clear()
            self.rates[key] = self._solve()
        self.rate = self.rates[key]

    def _solve(self) -> Floats:
        self.solves += 1
        hops = self.hops[self.moving]
        row = self.row[_spans(self.begin[self.moving], hops)]
        message = np.repeat(np.arange(len(self.moving)), hops)
        return solve_many(message, row, np.ones(len(row)), self.capacity)


def _spans(begin: Ints, size: Ints) -> Ints:
    """Return begin, begin + 1, ... of each span, laid end to end."""
    return np.arange(int(size.sum())) + np.repeat(begin - np.cumsum(size) + size, size)


def _distinct(values: _Array) -> _Array:
    """Return distinct values in order; `numpy.unique` takes five times as long."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]
