"""The data types of this package: who sends what to whom in a collective over a group."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from distsim.record import record

Members = npt.NDArray[np.int32]
Channels = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]
#: Sizes of the levels of a group, innermost first: (8, 16) is 8 members on each of 16 nodes.
#: Positions vary fastest in the innermost level. A group whose nodes hold different numbers of
#: members is 0 and then those numbers: (0, 8, 3) is 8 on one node and 3 on the next.
#: Algorithms for tori take its dimensions, of which those that are lines and no rings are negative.
Shape = tuple[int, ...]

#: Positions in the order of each ring, where the wires between members lay them down.
Orders = tuple[tuple[int, ...], ...]

#: Messages of one round at most; more would not fit into memory.
MAX_MESSAGES = 1 << 24


@record(eq=False)
class Round:
    """Messages that are sent at the same time.

    Attributes
    ----------
    src, dst : int32[m]
        Positions of sender and receiver.
    fraction : float64[m]
        Bytes of the message over S, the size of the collective.
    hops : float64[m]
        How often the latency of this hop counts in the latency of one run of the round.
    channel : int16[m]
        Channels (NCCL's word) are independent copies of the algorithm, each on a share of S.
    repeat : int
        How often the round is run in a row.
    """

    src: Members
    dst: Members
    fraction: Floats
    hops: Floats
    channel: Channels
    repeat: int = 1

    def mirrored(self) -> Round:
        """Return the round with senders and receivers exchanged."""
        return Round(self.dst, self.src, self.fraction, self.hops, self.channel, self.repeat)

    def scaled(self, factor: float) -> Round:
        """Return the round with `factor` times the bytes."""
        return Round(
            self.src, self.dst, self.fraction * factor, self.hops, self.channel, self.repeat
        )


@record(eq=False)
class Schedule:
    """Rounds, one after another.

    A member begins a round when it has sent and received everything of the round before. In a
    `pipelined` schedule the array is cut into many chunks that follow each other through the
    rounds, so that all rounds run at the same time.
    """

    n: int
    rounds: tuple[Round, ...]
    pipelined: bool = False


@record(eq=False)
class Pattern:
    """A schedule as flows: all that passes between two members in a phase.

    A phase is a round with its repetitions; phases follow each other, and members move in lock
    step. A collective of S bytes takes ``sum(latency_hops * hop latency) + sum over phases of max
    over links(S * sum of fractions / capacity)``.

    Attributes
    ----------
    n : int
        Members.
    src, dst : int32[f]
    fraction : float64[f]
        Bytes of the flow over S, repetitions included.
    latency_hops : float64[f]
        How often the latency of this hop counts in the latency of the collective.
    channel : int16[f]
    phase : int16[f]
        All 0 where everything is pipelined.
    """

    n: int
    src: Members
    dst: Members
    fraction: Floats
    latency_hops: Floats
    channel: Channels
    phase: Channels


def messages(
    src: npt.ArrayLike,
    dst: npt.ArrayLike,
    fraction: npt.ArrayLike,
    hops: npt.ArrayLike,
    channel: npt.ArrayLike = 0,
    repeat: int = 1,
) -> Round:
    """Return a read-only `Round`; scalars spread over all messages."""
    source, target = np.ravel(src).astype(np.int32), np.ravel(dst).astype(np.int32)
    out = Round(
        source,
        target,
        np.broadcast_to(np.ravel(fraction), source.shape).astype(np.float64),
        np.broadcast_to(np.ravel(hops), source.shape).astype(np.float64),
        np.broadcast_to(np.ravel(channel), source.shape).astype(np.int16),
        repeat,
    )
    for name in ("src", "dst", "fraction", "hops", "channel"):
        getattr(out, name).flags.writeable = False
    return out


def together(
    shape: Shape,
    src: npt.ArrayLike,
    dst: npt.ArrayLike,
    fraction: npt.ArrayLike,
    repeat: int = 1,
    channel: npt.ArrayLike = 0,
) -> Round:
    """Return a round that ends with its farthest messages.

    Its latency is the mean of those that cross the outermost level which any of them crosses.
    """
    source, target = np.ravel(src).astype(np.int64), np.ravel(dst).astype(np.int64)
    if len(source) > MAX_MESSAGES:
        raise ValueError(f"{len(source)} messages in a round are more than {MAX_MESSAGES}")
    far = np.ones(len(source), dtype=bool)
    for level in range(len(shape) - 1, 0, -1):
        block = prod(shape[:level])
        crosses = source // block != target // block
        if crosses.any():
            far = crosses
            break
    hops = far / max(int(far.sum()), 1)
    return messages(source, target, fraction, hops, channel, repeat)


def fluid(schedule: Schedule) -> Pattern:
    """Return the flows of a schedule.

    Messages between the same members in a phase and channel stay apart only where they differ in
    nothing but their place in the round, which happens in no algorithm here.
    """
    # A round that is there several times, as on the way back, is one phase that repeats.
    times: dict[int, int] = {}
    for r in schedule.rounds:
        times[id(r)] = times.get(id(r), 0) + r.repeat
    rounds = [r for r in {id(r): r for r in schedule.rounds}.values() if len(r.src)]
    if not rounds:
        return no_flows(schedule.n)
    cat = np.concatenate
    phase = cat([np.full(len(r.src), 0 if schedule.pipelined else i) for i, r in enumerate(rounds)])
    pattern = Pattern(
        schedule.n,
        cat([r.src for r in rounds]),
        cat([r.dst for r in rounds]),
        cat([r.fraction * times[id(r)] for r in rounds]),
        cat([r.hops * times[id(r)] for r in rounds]),
        cat([r.channel for r in rounds]),
        phase.astype(np.int16),
    )
    for name in ("src", "dst", "fraction", "latency_hops", "channel", "phase"):
        getattr(pattern, name).flags.writeable = False
    return pattern


def no_flows(n: int) -> Pattern:
    """Return the pattern of a group that has nothing to send."""
    none = np.zeros(0)
    ends, short = none.astype(np.int32), none.astype(np.int16)
    return Pattern(n, ends, ends, none, none, short, short)


def members(shape: Shape) -> int:
    """Return the number of members of a group."""
    return sum(shape) if shape[0] == 0 else prod(shape)


def in_turn(n: int, rounds: Sequence[Round]) -> Schedule:
    """Return a schedule of rounds one after another; nothing for a single member."""
    return Schedule(n, tuple(rounds) if n > 1 else ())
