"""Fits the few numbers on a part of what was measured, and predicts all of it.

Which part was decided by position: collectives of every other size on 2 and 4 hosts, the products
and copies of one core, its step at one batch size, and the overlapped step at the highest rate (at
first that of the middle rate, which waits for the network and tells nothing of contention).
Everything else is held out: the other sizes, all of the largest group, all other steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np
from scipy.optimize import brentq, least_squares

from benchmarks.testbed.measure import LARGE, SMALL, Collective, Step
from benchmarks.testbed.parameters import FRAMING, Core, Network
from benchmarks.testbed.predict import collective_s, step_s
from distsim.cost.gemm import gemm_s
from distsim.hardware.block import Block
from distsim.hardware.device import read_device
from distsim.workload.op import Work, WorkKind

#: Groups that calibrate.
CALIBRATION_GROUPS = (2, 4)
#: What the numbers that steps tell may be.
BOUNDS = {"memory_efficiency": (0.02, 1.0), "contention_factor": (0.0, 2.0)}


@dataclass(frozen=True, slots=True)
class Row:
    """A case, measured and predicted.

    Attributes
    ----------
    split : str
        ``calibration`` or ``held_out``.
    """

    case: Collective | Step
    split: str
    measured_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted_s / self.measured_s - 1.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted number.

    Attributes
    ----------
    value : float
    standard_error : float or None
        None where one number was set by one measurement.
    at_bound : bool
        It ended at a bound of what it may be: the measurements do not tell it, or ask for more.
    """

    value: float
    standard_error: float | None
    at_bound: bool = False


def _at_bound(value: float, low: float, high: float) -> bool:
    return min(abs(value - low), abs(high - value)) <= 1e-3 * (high - low)


def split_of_collective(case: Collective) -> str:
    """Return which part a collective belongs to."""
    even = (*SMALL, *LARGE).index(case.size_bytes) % 2 == 0
    return "calibration" if even and case.n in CALIBRATION_GROUPS else "held_out"


def splits_of_steps(cases: Sequence[Step]) -> dict[Step, str]:
    """Return which part each step belongs to.

    The first single process calibrates the core. What running beside an all-reduce costs shows only
    where the network is not what a step waits for: in the overlapped step without accumulation at
    the highest rate.
    """
    singles = [c for c in cases if c.mode == "single"]
    beside = [c for c in cases if c.mode == "overlap" and c.microbatches == 1]
    used = {singles[0], max(beside, key=lambda c: c.bits_per_s)}
    return {c: "calibration" if c in used else "held_out" for c in cases}


def fit_network(
    measured: Mapping[Collective, float], bits_per_s: float
) -> tuple[Network, dict[str, Fitted]]:
    """Fit the network on the calibration part of the collectives.

    Least squares on log ratios with a soft loss, times and shares within what they can be. The
    share of the rate that payload gets is no free number: it is that of framing.
    """
    used = [c for c in measured if split_of_collective(c) == "calibration"]
    low, high = [1e-6, 1e-6, 1e-6, 0.5], [20e-3, 20e-3, 20e-3, 1.0]
    start = np.log([5e-4, 3e-4, 1e-4, 0.95])

    def residuals(logs: np.ndarray) -> list[float]:
        network = Network(FRAMING, *np.exp(logs).tolist())
        return [log(collective_s(c, bits_per_s, network) / measured[c]) for c in used]

    fit = least_squares(
        residuals, start, bounds=(np.log(low), np.log(high)), loss="soft_l1", f_scale=0.05
    )
    values = np.exp(fit.x)
    variance = 2.0 * fit.cost / max(len(used) - len(values), 1)
    spread = np.sqrt(np.diag(np.linalg.pinv(fit.jac.T @ fit.jac)) * variance) * values
    names = list(Network.__dataclass_fields__)[1:]
    ends = [_at_bound(*each) for each in zip(fit.x, np.log(low), np.log(high), strict=True)]
    fitted = {
        name: Fitted(float(v), float(s), bool(end))
        for name, v, s, end in zip(names, values, spread, ends, strict=True)
    }
    return Network(FRAMING, *values.tolist()), fitted


def fit_core(timings: Sequence[Mapping[str, Any]]) -> tuple[Core, dict[str, Fitted]]:
    """Fit a core's rate of products on the measured ones; take the rest as measured.

    `memory_efficiency` and `contention_factor` are left to `fit_steps`.
    """
    products = [t for t in timings if t["kind"] == "gemm"]
    works = [_work(t) for t in products]
    peak = max(w.flop / t["low_s"] for w, t in zip(works, products, strict=True))
    copies = [t["moved_bytes"] / t["low_s"] for t in timings if t["kind"] == "memory"]
    (dispatch,) = (t["time_s"] for t in timings if t["kind"] == "host")
    low, high = [0.1, 0.0], [1.0, 500.0]
    base = Core(peak, max(copies), 1.0, 1.0, 0.0, dispatch)

    def residuals(values: np.ndarray) -> list[float]:
        core = replace(base, gemm_efficiency=values[0], gemm_fill_k=values[1])
        device = read_device(Block(core.device_file()), "testbed-core")
        return [
            log((gemm_s(w, device, "fp32") + dispatch) / t["low_s"])
            for w, t in zip(works, products, strict=True)
        ]

    fit = least_squares(residuals, [0.9, 20.0], bounds=(low, high), loss="soft_l1", f_scale=0.05)
    variance = 2.0 * fit.cost / max(len(works) - 2, 1)
    spread = np.sqrt(np.diag(np.linalg.pinv(fit.jac.T @ fit.jac)) * variance)
    core = replace(base, gemm_efficiency=float(fit.x[0]), gemm_fill_k=float(fit.x[1]))
    names = ("gemm_efficiency", "gemm_fill_k")
    ends = [_at_bound(*each) for each in zip(fit.x, low, high, strict=True)]
    return core, {
        name: Fitted(float(v), float(s), bool(end))
        for name, v, s, end in zip(names, fit.x, spread, ends, strict=True)
    }


def _work(timing: Mapping[str, Any]) -> Work:
    batch, m, n, k = (timing[key] for key in ("batch", "m", "n", "k"))
    flop = 2.0 * batch * m * n * k
    return Work(WorkKind.GEMM, batch, m, n, k, flop, operand_bytes=4.0, result_bytes=4.0)


def fit_steps(
    measured: Mapping[Step, float], shape: dict[str, int], network: Network, core: Core
) -> tuple[Core, dict[str, Fitted]]:
    """Fit what remains of the core on the calibration part of the steps, one number a step.

    One number on one step leaves no residual, so its standard error is not known.
    """
    splits = splits_of_steps(list(measured))
    single, beside = sorted(
        (c for c in measured if splits[c] == "calibration"), key=lambda c: c.mode != "single"
    )

    def by(name: str, case: Step, core: Core) -> Core:
        low, high = BOUNDS[name]

        def gap(value: float) -> float:
            return step_s(case, shape, network, replace(core, **{name: value})) - measured[case]

        ends = gap(low), gap(high)
        if ends[0] * ends[1] > 0:
            # Out of reach: the nearer end, which the errors then show.
            return replace(core, **{name: low if abs(ends[0]) < abs(ends[1]) else high})
        return replace(core, **{name: float(brentq(gap, low, high, rtol=1e-3))})

    core = by("memory_efficiency", single, core)
    core = by("contention_factor", beside, core)
    names = ("memory_efficiency", "contention_factor")
    ends = [_at_bound(getattr(core, name), *BOUNDS[name]) for name in names]
    return core, {
        name: Fitted(getattr(core, name), None, end) for name, end in zip(names, ends, strict=True)
    }


def predict_all(
    collectives: Mapping[Collective, float],
    steps: Mapping[Step, float],
    bits_per_s: float,
    shape: dict[str, int],
    network: Network,
    core: Core,
) -> list[Row]:
    """Return all rows."""
    splits = splits_of_steps(list(steps)) if steps else {}
    rows = [
        Row(c, split_of_collective(c), t, collective_s(c, bits_per_s, network))
        for c, t in collectives.items()
    ]
    return rows + [Row(c, splits[c], t, step_s(c, shape, network, core)) for c, t in steps.items()]
