"""Is the machine free? A piece of arithmetic is timed on each core before every measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: A core counts as free when the loop takes at most so many times its best time.
LIMIT = 1.25
#: Turns of the loop, about 0.3 ms.
_TURNS = 6000
#: Pause before another look, s.
_PAUSE_S = 0.03


def loop_s(core: int) -> float:
    """Return the seconds of a fixed piece of arithmetic on a core; this thread stays there."""
    os.sched_setaffinity(0, {core})
    start = time.monotonic()
    total = 0
    for i in range(_TURNS):
        total += i
    return time.monotonic() - start


@dataclass(slots=True)
class Watch:
    """Waits for free cores, for so long in all, and keeps count.

    Attributes
    ----------
    cores : tuple of int
    budget_s : float
        What may still be spent on waiting.
    probe : callable
        Seconds of the loop on a core.
    pause : callable
        Sleeps for so many seconds.
    best_s : float
        Best time of the loop so far.
    looks, busy, unfree : int
        How often the cores were looked at, how often one was not free, and how many measurements
        were begun all the same.
    """

    cores: tuple[int, ...]
    budget_s: float
    probe: Callable[[int], float] = loop_s
    pause: Callable[[float], None] = time.sleep
    best_s: float = float("inf")
    looks: int = 0
    busy: int = 0
    unfree: int = 0
    load: list[float] = field(default_factory=list)

    def free(self) -> bool:
        """Look at all cores once."""
        worst = 0.0
        for core in self.cores:
            taken = self.probe(core)
            self.best_s = min(self.best_s, taken)
            worst = max(worst, taken)
        os.sched_setaffinity(0, set(self.cores))
        self.looks += 1
        is_free = worst <= LIMIT * self.best_s
        self.busy += not is_free
        return is_free

    def wait(self) -> bool:
        """Wait until all cores are free or the budget is spent; return whether they are."""
        while not self.free():
            if self.budget_s <= 0:
                self.unfree += 1
                return False
            self.budget_s -= _PAUSE_S
            self.pause(_PAUSE_S)
        return True

    def note(self) -> None:
        """Keep the load average of the last minute."""
        self.load.append(round(os.getloadavg()[0], 2))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "load_average": self.load,
            "looks": self.looks,
            "cores_not_free": self.busy,
            "measured_all_the_same": self.unfree,
        }
