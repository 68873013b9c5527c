"""The distribution of step times under jitter, and how well the samples know it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.engine.noise import Noise
from distsim.engine.result import Run
from distsim.engine.sampled import Samples, Times, is_kernels, sample, times
from distsim.parallel.step import AXES
from distsim.program.build import Program

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Interval = tuple[float | None, float | None]

#: Probability with which an interval holds the true quantile, at least.
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Distribution:
    """Sampled step times and what they say.

    Attributes
    ----------
    n, seed : int
    independent : float
        Independent samples that the n are worth (`engine.sampled.Samples`).
    base_s : float
        Step time without jitter.
    mean_s, min_s, max_s : float
    p10_s, p50_s, p90_s : float
        Quantiles, linear between the order statistics (type 7 of Hyndman and Fan 1996).
    p10_interval_s, p50_interval_s, p90_interval_s : tuple of (float or None, float or None)
        Between them lies the true quantile with `CONFIDENCE`, whatever the distribution (see
        `quantile_interval`); None where there are too few samples to say.
    mean_error_s : float
        Standard error of the mean.
    step_s : float64[n]
        The samples.
    """

    n: int
    seed: int
    independent: float
    base_s: float
    mean_s: float
    min_s: float
    max_s: float
    p10_s: float
    p50_s: float
    p90_s: float
    p10_interval_s: Interval
    p50_interval_s: Interval
    p90_interval_s: Interval
    mean_error_s: float
    step_s: Floats = field(repr=False, compare=False)

    @property
    def slowdown(self) -> float:
        """Mean step time over that without jitter."""
        return self.mean_s / self.base_s

    def to_dict(self, *, samples: bool = False) -> dict[str, Any]:
        """Return plain values, with ``slowdown``, and with all samples if they are asked for."""
        out: dict[str, Any] = {k: getattr(self, k) for k in self.__slots__ if k != "step_s"}
        for key in ("p10_interval_s", "p50_interval_s", "p90_interval_s"):
            out[key] = list(out[key])
        out["slowdown"] = self.slowdown
        return out | {"step_s": self.step_s.tolist()} if samples else out


def quantile_interval(sorted_s: Floats, q: float, independent: float) -> Interval:
    """Return the order statistics between which a quantile lies.

    Of n independent samples the number below the true quantile is binomial (n, q), whatever they
    are distributed as. The lower end is the highest order statistic X(l) with
    P(B <= l - 1) <= (1 - `CONFIDENCE`) / 2, the upper end the lowest X(u) with
    P(B >= u) <= (1 - `CONFIDENCE`) / 2 (David and Nagaraja 2003, "Order Statistics", section 7.1).
    Samples that are worth fewer independent ones have their order statistics spread as those.

    Parameters
    ----------
    sorted_s : float64[n]
        Ascending.
    q : float
        In (0, 1).
    independent : float
        How many independent samples they are worth, 1 .. n.
    """
    n = int(independent)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    below = np.cumsum(np.exp(logs[n] - logs - logs[::-1] + k * np.log(q) + (n - k) * np.log1p(-q)))
    tail = 0.5 * (1.0 - CONFIDENCE)
    lower = int(np.searchsorted(below, tail, side="right"))
    upper = int(np.searchsorted(below, 1.0 - tail, side="left")) + 1
    at = (lower - 1, upper - 1)
    spread = (len(sorted_s) - 1) / max(n - 1, 1)
    ends = [float(sorted_s[round(i * spread)]) if 0 <= i < n else None for i in at]
    return ends[0], ends[1]


def summary(samples: Samples, base_s: float) -> Distribution:
    """Return the quantiles of sampled step times."""
    ordered = np.sort(samples.step_s)
    quantiles = np.quantile(ordered, (0.1, 0.5, 0.9)).tolist()
    intervals = [quantile_interval(ordered, q, samples.independent) for q in (0.1, 0.5, 0.9)]
    spread_s = float(ordered.std(ddof=1)) if samples.n > 1 else 0.0
    return Distribution(
        n=samples.n,
        seed=samples.seed,
        independent=samples.independent,
        base_s=base_s,
        mean_s=float(ordered.mean()),
        min_s=float(ordered[0]),
        max_s=float(ordered[-1]),
        p10_s=quantiles[0],
        p50_s=quantiles[1],
        p90_s=quantiles[2],
        p10_interval_s=intervals[0],
        p50_interval_s=intervals[1],
        p90_interval_s=intervals[2],
        mean_error_s=spread_s / float(np.sqrt(samples.independent)),
        step_s=samples.step_s,
    )


def ranks_in_lockstep(program: Program) -> Ints:
    """Return how many ranks of each class meet at every layer, int64[classes].

    Groups inside layers (`parallel.step.AXES`) join ranks, directly or over others; of those
    joined with the example rank of a class, the ones of that class count.
    """
    fold = program.network.fold
    label = np.arange(len(fold.class_of))
    joined = [program.network.groups[n].ranks for n in AXES if n in program.network.groups]
    before = np.zeros(0, dtype=np.int64)
    while not np.array_equal(before, label):
        before = label.copy()
        for ranks in joined:
            least = label[ranks].min(axis=1, keepdims=True)
            np.minimum.at(label, ranks, np.broadcast_to(least, ranks.shape))
    pair = label * len(fold.example) + fold.class_of
    kinds, count = np.unique(pair, return_counts=True)
    own = label[fold.example] * len(fold.example) + np.arange(len(fold.example))
    lockstep: Ints = count[np.searchsorted(kinds, own)].astype(np.int64)
    return lockstep


def kernel_times(program: Program, run: Run) -> Times:
    """Return the durations of a run and what of them is kernels.

    Communication inside of a segment and the work of hosts have no jitter. Kernels that take longer
    first use up the time in which their segment waits for its host. What kernels lost beside
    transfers in the run counts as kernels.
    """
    graph = program.graph
    base = times(graph)
    if run.evaluator != "graph":
        base = Times(run.end_s - run.start_s, base.noisy_s, base.slack_s)
    costs = program.segment_cost
    table = np.asarray([(c.compute_s, c.host_s - c.device_s, c.total_s) for c in costs])
    computing = np.flatnonzero(is_kernels(graph))
    kernel_s, slack_s, total_s = table[graph.segment[computing]].T
    stretch_s = np.maximum(base.duration_s[computing] - total_s, 0.0)
    noisy = np.where(graph.transfer >= 0, base.duration_s, 0.0)
    slack = base.slack_s.copy()
    noisy[computing] = np.minimum(kernel_s + stretch_s, base.duration_s[computing])
    slack[computing] = slack_s - stretch_s
    return Times(base.duration_s, noisy, slack)


def distribution(
    program: Program, run: Run, noise: Noise, n: int = 200, seed: int = 0, *, most_copies: int = 256
) -> Distribution:
    """Draw step times of a program.

    Parameters
    ----------
    run : Run
        The step without jitter; transfers that share links take as long as they do there.
    n : int
        Samples. 36 are the fewest that bound p10 and p90 on both sides.
    most_copies : int
        Data-parallel replicas that are simulated at most, see `engine.sampled`.
    """
    count = program.network.fold.count
    lockstep = ranks_in_lockstep(program)
    samples = sample(
        program.graph,
        noise,
        n,
        seed,
        count // lockstep * lockstep,  # whole replicas, should groups differ in size
        lockstep=lockstep,
        times_s=kernel_times(program, run),
        most_copies=most_copies,
    )
    return summary(samples, run.makespan)
