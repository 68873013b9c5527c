"""From logged times of steps to one time: warm-up left out, median of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from distsim.study.calibration.readers.findings import Findings

#: Times that the running median is over.
_WINDOW = 5
#: A series has settled where its running median is within this of the median of its second half,
#: or within three standard deviations, estimated from the median absolute deviation (Rousseeuw
#: 1993, doi 10.1080/01621459.1993.10476408: 1.4826 for normal noise).
_TOLERANCE, _DEVIATIONS = 0.05, 3 * 1.4826
#: A series of so many times loses at least so many.
_LONG, _LEAST = 10, 3
_LOW, _HIGH = 10.0, 90.0


class Logged(NamedTuple):
    """One logged time of a step."""

    line: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The steps that count: median, 10th and 90th percentile, how many, and the first line."""

    time_s: float
    low_s: float
    high_s: float
    samples: int
    line: int


def warm_up(times: Sequence[float]) -> int:
    """Return how many of the first times are warm-up.

    Those before the running median settles, at most half of all; of 10 and more at least 3.

    >>> warm_up([9.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), warm_up([1.0] * 10), warm_up([1.0])
    (2, 3, 0)
    """
    n = len(times)
    if n < 2:
        return 0
    settled = np.asarray(times[n // 2 :])
    middle = float(np.median(settled))
    spread = float(np.median(np.abs(settled - middle)))
    slack = max(_TOLERANCE * middle, _DEVIATIONS * spread)
    window = min(_WINDOW, max(1, n // 4))
    least = _LEAST if n >= _LONG else 0
    most = max(n // 2, least)
    start = next(
        (i for i in range(most) if abs(median(times[i : i + window]) - middle) <= slack), most
    )
    # A settled window may begin with times that have not settled themselves.
    while start < most and times[start] - middle > slack:
        start += 1
    return max(start, least)


def summary(parts: Iterable[Sequence[Logged]]) -> Summary | None:
    """Return one time for runs of the same scenario, each with its own warm-up; None for none."""
    kept = [step for part in parts for step in part[warm_up([s.time_s for s in part]) :]]
    if not kept:
        return None
    times = np.asarray([step.time_s for step in kept])
    low, middle, high = (float(x) for x in np.percentile(times, (_LOW, 50.0, _HIGH)))
    return Summary(middle, low, high, len(kept), kept[0].line)


#: What a log says where a run ends before its time. Python's and launchers' own words (torchrun,
#: Slurm), and those of CUDA, HIP and NCCL.
_FAILURES = (
    "Traceback (most recent call last)",
    "out of memory",
    "OutOfMemoryError",
    "Signals.SIG",
    "ChildFailedError",
    "CUDA error:",
    "Segmentation fault",
    "slurmstepd: error",
    "DUE TO TIME LIMIT",
    "NCCL error",
    "Watchdog caught collective",
)


class Failures:
    """Notices where a run in a log fails, and notes it once."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._noted = False

    def see(self, line: str, number: int, steps: int) -> bool:
        """Say whether a line is the first of a failure since the last step.

        Parameters
        ----------
        steps : int
            Times read so far in this run.
        """
        if self._noted:
            return False
        found = next((word for word in _FAILURES if word in line), None)
        if found is None:
            return False
        self._noted = True
        self._findings.note(f"a run fails here ({found}); its {steps} steps before count", number)
        return True

    def step(self) -> None:
        """Forget the failure: a step follows."""
        self._noted = False
