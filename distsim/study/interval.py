"""How far a step time may be off: an interval from the errors of published runs that are near.

Split conformal prediction (Vovk 2005; Lei 2018, arXiv 1604.04173), localised (Guan 2023, arXiv
2106.08460): the errors log(measured / predicted) of validated runs are weighted by how near each
run is to the one in question, the run itself stands for an error that is not known, and the
interval runs between two quantiles of that distribution. With errors that can be exchanged between
equally near runs it covers the measurement as often as it says, whatever their distribution.

Near is near in what has shown to matter for the error: kind of device, software stack, precision,
what is divided (experts, context, parameters), number of devices, length and micro batch. Where too
few runs are near, the neighbourhood grows until it has enough, and the interval with it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import exp, log2
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.prediction.case import Case
from distsim.prediction.interval import Interval
from distsim.workload.zoo import decoder

Floats = npt.NDArray[np.float64]

#: Columns that must be equal, with the distance where they are not. Distances are judgement: what
#: moves errors most (docs/accuracy.md, "What is systematic").
UNEQUAL = {
    "device": 0.5,
    "architecture": 1.0,
    "stack": 1.0,
    "precision": 1.0,
    "experts": 2.0,
    "context": 1.0,
    "sharded": 1.5,
    "recompute": 0.5,
}
#: Columns of numbers, with the distance of a doubling.
DOUBLING = {"devices": 0.15, "parameters": 0.1, "length": 0.2, "micro_size": 0.1}
#: Unit of distance, what it grows by where too few runs are near, and the distance beyond which
#: runs count for nothing, in units. Of the last, 1.7 and 2.4 were tried too; all three cover 92 to
#: 94 % of the shipped runs.
NEAR, GROWTH, REACH = 1.0, 1.3, 2.0
#: Runs, each with its weight, that a 90 % interval needs: 19 leave 1/20 to each side.
ENOUGH = 24.0
#: How many of the nearest runs are named.
NAMED = 3
LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class Traits:
    """What decides which validated runs are near.

    Attributes
    ----------
    device, architecture, stack, precision, recompute : str
    experts, context, sharded : str
        ``yes`` or ``no``: a mixture; context parallelism; parameters sharded (ZeRO-3).
    devices, parameters, length, micro_size : float
    """

    device: str
    architecture: str
    stack: str
    precision: str
    experts: str
    context: str
    sharded: str
    recompute: str
    devices: float
    parameters: float
    length: float
    micro_size: float


@dataclass(frozen=True, slots=True)
class Validated:
    """A published run: its traits and log(measured / predicted)."""

    source: str
    id: str
    traits: Traits
    log_ratio: float


def traits(case: Case) -> Traits:
    """Return the traits of a case."""
    plan, found = case.inputs.plan, decoder(case.network)
    return Traits(
        device=case.resolved["device"],
        architecture=case.inputs.device.architecture,
        stack=case.resolved["stack"],
        precision=case.resolved["precision"],
        experts=_said(found is not None and found.experts > 0),
        context=_said(plan.cp > 1),
        sharded=_said(plan.zero_stage == 3),
        recompute=plan.recompute.mode,
        devices=plan.devices,
        parameters=case.parameters,
        length=case.resolved["sequence_length"],
        micro_size=plan.micro_size,
    )


def _said(flag: bool) -> str:
    return "yes" if flag else "no"


@lru_cache(maxsize=1)
def validated() -> tuple[Validated, ...]:
    """Return the validated runs that are shipped (``distsim/data/accuracy/residuals.csv``)."""
    file = files("distsim") / "data" / "accuracy" / "residuals.csv"
    if not file.is_file():
        return ()
    return tuple(_row(row) for row in csv.DictReader(file.read_text("utf-8").splitlines()))


def _row(row: dict[str, str]) -> Validated:
    values: dict[str, Any] = {key: row[key] for key in UNEQUAL}
    values |= {key: float(row[key]) for key in DOUBLING}
    return Validated(row["source"], row["id"], Traits(**values), float(row["log_ratio"]))


def residuals_text(runs: Sequence[Validated]) -> str:
    """Return the file that `validated` reads."""
    keys = (*UNEQUAL, *DOUBLING)
    lines = [",".join(("source", "id", *keys, "log_ratio"))]
    for run in runs:
        values = [f"{v:g}" if isinstance(v := getattr(run.traits, k), float) else v for k in keys]
        lines.append(",".join((run.source, run.id, *map(str, values), f"{run.log_ratio:.6f}")))
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Columns:
    """Traits of many runs, as arrays.

    Attributes
    ----------
    names : mapping of str to str[runs]
    logs : mapping of str to float64[runs]
        Base 2.
    log_ratio : float64[runs]
    """

    names: dict[str, npt.NDArray[np.str_]]
    logs: dict[str, Floats]
    log_ratio: Floats

    def without(self, index: int) -> Columns:
        """Return the columns without one run."""
        return Columns(
            {key: np.delete(column, index) for key, column in self.names.items()},
            {key: np.delete(column, index) for key, column in self.logs.items()},
            np.delete(self.log_ratio, index),
        )


def columns(runs: Sequence[Validated]) -> Columns:
    """Return the traits and errors of runs as arrays."""
    return Columns(
        {key: np.array([getattr(run.traits, key) for run in runs]) for key in UNEQUAL},
        {key: np.array([_log2(getattr(run.traits, key)) for run in runs]) for key in DOUBLING},
        np.array([run.log_ratio for run in runs]),
    )


@lru_cache(maxsize=1)
def _shipped() -> Columns:
    return columns(validated())


def _log2(value: float) -> float:
    return log2(max(value, 1.0))


def distances(one: Traits, others: Columns) -> Floats:
    """Return how far runs are from one, float64[runs]."""
    total = np.zeros(len(others.log_ratio))
    for key, apart in UNEQUAL.items():
        total += apart**2 * (others.names[key] != getattr(one, key))
    for key, apart in DOUBLING.items():
        total += (apart * (others.logs[key] - _log2(getattr(one, key)))) ** 2
    return np.asarray(np.sqrt(total))


def _weight(apart: Floats) -> Floats:
    """Return the weights of runs: 1 here, falling to 0 at `REACH` (Tukey's biweight)."""
    return np.asarray(np.clip(1.0 - (apart / REACH) ** 2, 0.0, None) ** 2)


def quantiles(
    apart: Floats, log_ratio: Floats, level: float = LEVEL, enough: float = ENOUGH
) -> tuple[float, float, float, float]:
    """Return the two quantiles of errors near a run.

    Parameters
    ----------
    apart, log_ratio : float64[runs]
        Distance and error of each validated run.
    level : float
        How much lies between.
    enough : float
        Weight of runs that is asked for.

    Returns
    -------
    low, high : float
        Of log(measured / predicted).
    widened : float
        How many times the neighbourhood grew, `GROWTH` each.
    runs : float
        Weight of the runs in it.
    """
    width = NEAR
    least = min(enough, 0.95 * len(apart))
    weight = _weight(apart / width)
    while weight.sum() < least:
        width *= GROWTH
        weight = _weight(apart / width)
    order = np.argsort(log_ratio)
    ordered, share = log_ratio[order], weight[order]
    # The run itself has an error of its own, anywhere: half of its weight is beyond each end.
    whole = share.sum() + 1.0
    below = (np.cumsum(share) + 0.5) / whole
    tail = (1.0 - level) / 2.0
    low = ordered[min(int(np.searchsorted(below, tail)), len(ordered) - 1)]
    above = (np.cumsum(share[::-1]) + 0.5) / whole
    high = ordered[::-1][min(int(np.searchsorted(above, tail)), len(ordered) - 1)]
    return float(low), float(high), width / NEAR, float(weight.sum())


def _ends(one: Traits, others: Columns, level: float) -> tuple[float, float, float, float, Floats]:
    """Return low, high, how much wider, weight, and distances."""
    apart = distances(one, others)
    low, high, widened, weight = quantiles(apart, others.log_ratio, level)
    # Errors of runs that are farther say less: their spread grows as the neighbourhood does.
    middle, half = (low + high) / 2.0, (high - low) / 2.0 * widened**0.5
    return middle - half, middle + half, widened, weight, apart


def interval(
    step_s: float, one: Traits, runs: Sequence[Validated] | None = None, level: float = LEVEL
) -> Interval | None:
    """Return the interval of a step time; None where no run was ever validated.

    Parameters
    ----------
    step_s : float
        As predicted.
    one : Traits
    runs : sequence of Validated, optional
        By default those that are shipped.
    """
    chosen, others = (validated(), _shipped()) if runs is None else (runs, columns(runs))
    if not chosen:
        return None
    low, high, widened, weight, apart = _ends(one, others, level)
    nearest = np.argsort(apart, kind="stable")[:NAMED]
    return Interval(
        step_s * exp(low),
        step_s * exp(high),
        level,
        widened,
        tuple(f"{chosen[i].source}/{chosen[i].id}" for i in nearest.tolist()),
        weight,
    )


def coverage(runs: Sequence[Validated], level: float = LEVEL) -> dict[str, tuple[int, float]]:
    """Return how many runs each source has, and the share of them inside their intervals.

    Each run's interval rests on all others.
    """
    inside: dict[str, list[bool]] = {}
    everything = columns(runs)
    for index, run in enumerate(runs):
        low, high, *_ = _ends(run.traits, everything.without(index), level)
        inside.setdefault(run.source, []).append(low <= run.log_ratio <= high)
    return {source: (len(found), sum(found) / len(found)) for source, found in inside.items()}
