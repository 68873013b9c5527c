"""Random step-to-step variation of kernels and transfers: what jitter is drawn from.

A factor stands before the duration of a task. It is the product of a part that a device has for
the whole step (a clock that the power limit lowers, a busy host), of a part that each task has by
itself, and, rarely, of a slow-down of the device for the whole step. The two first have mean 1, so
that jitter by itself changes no average kernel time.

Differences that last are no jitter: devices that are always slower are given, not drawn. Published
figures tell the two apart only in part:

* Sinha et al. 2022 (SC '22, arXiv 2208.11035): equal GPUs of one cluster differ by 8% on average
  (22% at most) in the time of the same program, with outliers 1.5 times slower than the median.
  That is mostly between devices, and lasting.
* Jiang et al. 2024 (MegaScale, arXiv 2402.15627): a few hosts take about 10% longer for the same
  forward passes, and slow the whole job.
* Lin et al. 2025 (arXiv 2505.05713): in traces of a large cluster, stragglers come more from
  uneven stages, uneven sequence lengths and garbage collection than from faulty devices; pauses
  of garbage collection are what `slow_probability` stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import erf, sqrt

import numpy as np
import numpy.typing as npt

from distsim.engine.gaussian import normal_quantile
from distsim.errors import ValueProblem, nearest, show
from distsim.record import record

Floats = npt.NDArray[np.float64]

#: Turns standard normal scores into logarithms of factors; increasing, so that it keeps which of
#: several is largest. It may write into its argument.
LogFactor = Callable[[Floats], Floats]

#: Where a normal factor is cut off, in standard deviations on both sides.
TRUNCATION = 3.0
#: Scores at which tables hold the factor; beyond them it stays as it is there (1e-15 of draws).
_SCORES = np.linspace(-8.0, 8.0, 4001)
#: Points over which the density of a gamma factor is summed.
_POINTS = 40_001


def _none(sigma: float) -> LogFactor:
    return np.zeros_like


def _lognormal(sigma: float) -> LogFactor:
    """Return exp(sigma z - sigma^2 / 2), whose mean is 1."""

    def log_factor(z: Floats) -> Floats:
        z *= sigma
        z -= 0.5 * sigma * sigma
        return z

    return log_factor


def _normal(sigma: float) -> LogFactor:
    """Return 1 + sigma t with t a standard normal score cut off at +-`TRUNCATION`."""
    below = np.asarray([0.5 * (1.0 + erf(z / sqrt(2.0))) for z in _SCORES])
    cut = 0.5 * (1.0 + erf(-TRUNCATION / sqrt(2.0)))
    t = normal_quantile(cut + below * (1.0 - 2.0 * cut))
    return _table(_SCORES, np.log1p(sigma * t))


def _gamma(sigma: float) -> LogFactor:
    """Return a gamma variable of shape 1 / sigma^2 and mean 1, by a table of its quantiles.

    The logarithm t of such a variable has a density in proportion to exp(-(e^t - 1 - t) / sigma^2),
    which is summed from both ends.
    """
    variance = sigma * sigma
    reach = 10.0 * sigma
    t = np.linspace(-(50.0 * variance + reach), reach, _POINTS)
    density = np.exp(-(np.expm1(t) - t) / variance)
    below = np.cumsum(density) - 0.5 * density
    above = np.cumsum(density[::-1])[::-1] - 0.5 * density
    total = density.sum()
    lower, upper = (normal_quantile(np.clip(part / total, 1e-300, 0.5)) for part in (below, above))
    return _table(np.where(below < above, lower, -upper), t)


def _table(scores: Floats, logs: Floats) -> LogFactor:
    values = np.interp(_SCORES, scores, logs)

    def log_factor(z: Floats) -> Floats:
        return np.interp(z, _SCORES, values)

    return log_factor


#: Distributions of factors by name: of a sigma > 0, the logarithm of the factor at each normal
#: score, and the largest sigma. lognormal: sigma is that of the logarithm. normal: that of the
#: normal before its ends are cut off (the rest has 0.987 of it). gamma: that of the factor.
NOISE: Mapping[str, tuple[Callable[[float], LogFactor], float]] = {
    "gamma": (_gamma, 1.0),
    "lognormal": (_lognormal, 1.0),
    "none": (_none, 1.0),
    "normal": (_normal, 0.3),
}


@record
class Noise:
    """What the durations of a step are multiplied with.

    Attributes
    ----------
    kind : str
        Distribution of factors: a name in `NOISE`.
    sigma : float
        Of the factor on the kernels of one task, both parts together: the standard deviation of
        its logarithm (lognormal) or of itself.
    device_share : float
        Part of the variance, 0..1, that a device has for the whole step; the rest is drawn anew
        for each task. The product of both parts has sigma exactly for lognormal factors, and up
        to a term of sigma^4 in the variance for others.
    slow_probability, slow_factor : float
        A device takes `slow_factor` times as long for a whole step with this probability. This
        comes on top: the average kernel takes 1 + probability (factor - 1) times as long.
    transfer_sigma : float
        Of the factor on latency and bytes of a transfer, drawn once for each transfer.

    Raises
    ------
    ValueProblem
        DS446 for a name that is unknown or a number out of its range.
    """

    kind: str = "lognormal"
    sigma: float = 0.0
    device_share: float = 0.0
    slow_probability: float = 0.0
    slow_factor: float = 1.0
    transfer_sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in NOISE:
            near = nearest(self.kind, NOISE)
            raise ValueProblem(
                "DS446",
                f"kind {show(self.kind)} of noise is unknown",
                path=("noise", "kind"),
                value=self.kind,
                rule=f"one of {', '.join(NOISE)}",
                fix=f"did you mean {near!r}?" if near else "choose one of them",
            )
        most = NOISE[self.kind][1]
        limits = {
            "sigma": (0.0, most),
            "device_share": (0.0, 1.0),
            "slow_probability": (0.0, 1.0),
            "slow_factor": (1.0, 1000.0),
            "transfer_sigma": (0.0, most),
        }
        for key, (low, high) in limits.items():
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueProblem(
                    "DS446",
                    f"{key} {show(value)} of {self.kind} noise is out of range",
                    path=("noise", key),
                    value=value,
                    rule=f"{low:g} <= {key} <= {high:g}",
                    fix="correct the number",
                )

    @property
    def is_none(self) -> bool:
        """Whether every factor is 1."""
        still = self.kind == "none" or self.sigma == self.transfer_sigma == 0.0
        return still and (self.slow_probability == 0.0 or self.slow_factor == 1.0)

    @property
    def device_sigma(self) -> float:
        """Sigma of the part that a device has for a whole step."""
        return 0.0 if self.kind == "none" else self.sigma * sqrt(self.device_share)

    @property
    def task_sigma(self) -> float:
        """Sigma of the part that each task has by itself."""
        return 0.0 if self.kind == "none" else self.sigma * sqrt(1.0 - self.device_share)

    def log_factor(self, sigma: float) -> LogFactor:
        """Return what turns normal scores into logarithms of factors of this kind."""
        return NOISE[self.kind if sigma > 0.0 else "none"][0](sigma)

    def device_logs(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Floats | None:
        """Draw logarithms of the factors of devices for whole steps; None where all are 1."""
        slow = self.slow_probability > 0.0 and self.slow_factor > 1.0
        if self.device_sigma == 0.0 and not slow:
            return None
        logs = self.log_factor(self.device_sigma)(generator.standard_normal(shape))
        if slow:
            hit = generator.random(shape) < self.slow_probability
            logs += hit * np.log(self.slow_factor)
        return logs
