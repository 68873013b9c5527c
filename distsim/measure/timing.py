"""How one call is timed: warm up until times agree, then the median of batches.

Nothing here knows PyTorch; a clock that runs a batch of calls is all it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

#: One call of the operator; its argument counts calls, so that operands can take turns.
Call = Callable[[int], object]


class Clock(Protocol):
    """Times batches of calls."""

    def now_s(self) -> float:
        """Return a time that only grows."""
        ...

    def batch_s(self, call: Call, calls: int) -> float:
        """Run a call many times over and return the seconds until all of them are done."""
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """How long and how often.

    Attributes
    ----------
    batch_s : float
        A batch has as many calls as take about this long, so that one reading of the clock costs
        nothing and the device runs at the clock rate that it sustains.
    max_calls : int
        Most calls of a batch: fewer than a device queues without blocking the host.
    batches : int
        Timed batches, if the limit allows; `FEWEST` at least.
    agreement : float
        Warm-up ends when the times of `FEWEST` batches in a row lie within this fraction of the
        middle one.
    """

    batch_s: float
    max_calls: int
    batches: int
    agreement: float = 0.03


#: Batches that must agree, and that are timed at least.
FEWEST = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one call.

    Attributes
    ----------
    time_s, low_s, high_s : float
        Median, 10th and 90th percentile over batches of the mean time of a call.
    repeats : int
        Timed calls.
    settled : bool
        Whether the warm-up ended because times agreed, not because its time was over.
    """

    time_s: float
    low_s: float
    high_s: float
    repeats: int
    settled: bool


class TooLongError(Exception):
    """A call takes longer than it may."""


class UnavailableError(Exception):
    """A case that this machine cannot run; the message says why."""


def time_call(call: Call, clock: Clock, method: Method, limit_s: float, most_s: float) -> Timing:
    """Return the time of a call.

    Parameters
    ----------
    call : callable
    clock : Clock
    method : Method
    limit_s : float
        After this long no further batch begins, once there are `FEWEST`; half of it at most is
        warm-up.
    most_s : float
        Longest that it may take even with the fewest calls.

    Raises
    ------
    TooLongError
        Where the fewest calls, `FEWEST` and one to warm up, take longer than `most_s`.
    """
    began_s = clock.now_s()
    first_s = clock.batch_s(call, 1)  # loads and chooses kernels, so it says nothing but a bound
    once_s = min(clock.batch_s(call, 1), first_s)
    if once_s * (FEWEST + 1) > most_s - (clock.now_s() - began_s):
        raise TooLongError
    # A third of the limit for warming up and a third for timing leaves one for what comes before.
    longest_s = min(method.batch_s, limit_s / (3 * FEWEST))
    calls = _calls(once_s, longest_s, method.max_calls)
    recent: list[float] = []
    settled = False
    while not settled and (not recent or clock.now_s() - began_s < limit_s / 2):
        recent.append(clock.batch_s(call, calls) / calls)
        settled = _agree(recent[-FEWEST:], method.agreement)
        if len(recent) == 1:  # one call alone takes longer than one of many
            calls = _calls(recent[0], longest_s, method.max_calls)
    times: list[float] = []
    while len(times) < FEWEST or (
        len(times) < method.batches and clock.now_s() - began_s < limit_s
    ):
        times.append(clock.batch_s(call, calls) / calls)
    low, middle, high = (float(q) for q in np.quantile(times, (0.1, 0.5, 0.9)))
    return Timing(middle, low, high, calls * len(times), settled)


def _calls(once_s: float, batch_s: float, most: int) -> int:
    """Return how many calls make up a batch."""
    return int(min(max(batch_s / max(once_s, 1e-9), 1), most))


def _agree(times: list[float], agreement: float) -> bool:
    if len(times) < FEWEST:
        return False
    return max(times) - min(times) <= agreement * float(np.median(times))
