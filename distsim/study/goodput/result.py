"""What became of a training with failures: times, shares, dates, money."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.prediction.overheads import Checkpoint
from distsim.prediction.predict import Memory
from distsim.study.goodput.montecarlo import PARTS, Runs
from distsim.study.goodput.process import Failures, Spares, Training
from distsim.study.money.cost import Power, Rate, money_of
from distsim.study.table import Table

#: Quantiles that are printed.
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals between checkpoints, s: the one taken, the best, and two estimates of it."""

    taken_s: float
    every_steps: int
    best_s: float
    best_every_steps: int
    young_s: float
    daly_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Goodput:
    """What became of all runs.

    Attributes
    ----------
    scenario, device : str
    devices, spare_devices : int
    steps : int
    step_s, tokens : float
    failures : Failures
        Of the whole system.
    spares : Spares or None
    training : Training
    checkpoint : Checkpoint
    intervals : Intervals
    runs : Runs
    start : date or None
    expected_s : float
        Expected duration by the closed form, with spare nodes enough.
    rate, power, busy : optional
        Prices, and the share of a step that counts as active for power.
    seed : int
    warnings : tuple of str
    memory : Memory
    """

    scenario: str
    device: str
    devices: int
    spare_devices: int
    steps: int
    step_s: float
    tokens: float
    failures: Failures
    spares: Spares | None
    training: Training
    checkpoint: Checkpoint
    intervals: Intervals
    runs: Runs
    start: date | None
    expected_s: float
    rate: Rate | None
    power: Power | None
    busy: float
    seed: int
    warnings: tuple[str, ...]
    memory: Memory = field(repr=False)

    def quantiles(self, values: npt.ArrayLike) -> dict[str, float]:
        """Return the mean, p10, p50 and p90 of a number of each run."""
        numbers = np.asarray(values, np.float64)
        found = np.quantile(numbers, QUANTILES)
        names = (f"p{100 * q:.0f}" for q in QUANTILES)
        return {"mean": float(numbers.mean())} | dict(zip(names, found.tolist(), strict=True))

    def finish(self) -> dict[str, str] | None:
        """Return the dates on which p10, p50 and p90 of the runs are done."""
        if self.start is None:
            return None
        days = self.quantiles(self.runs.duration_s)
        out = {}
        for name in list(days)[1:]:
            try:
                out[name] = str(self.start + timedelta(seconds=days[name]))
            except OverflowError:
                out[name] = "after the year 9999"
        return out

    @property
    def error_s(self) -> float:
        """Standard error of the mean duration."""
        n = len(self.runs.duration_s)
        return float(self.runs.duration_s.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0

    def bills(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return money, energy and CO2 of each run, spare nodes included; what is known of them.

        Devices draw what they do in a step while they train, and idle else.
        """
        if self.rate is None:
            return {}
        runs, duration_s = self.runs, self.runs.duration_s
        trained = (runs.useful_s + runs.shrunk_s + runs.lost_s) / duration_s
        own = money_of(self.devices, duration_s, self.rate, self.power, busy=self.busy * trained)
        spare = money_of(self.spare_devices, duration_s, self.rate, self.power, busy=0.0)
        out = {"money": own.money + spare.money}
        if self.power is not None:
            out |= {
                "energy_j": own.energy_j + spare.energy_j,
                "co2_kg": own.co2_kg + spare.co2_kg,
            }
        return out

    @property
    def table(self) -> Table:
        """A row of each run."""
        columns: dict[str, Any] = {"run": range(len(self.runs.failures))}
        columns |= {"duration_s": self.runs.duration_s, "effective": self.runs.effective}
        columns |= {part: getattr(self.runs, part) for part in PARTS}
        columns |= {"failures": self.runs.failures, **self.bills()}
        return Table({k: tuple(np.asarray(v).tolist()) for k, v in columns.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``; durations in seconds."""
        runs = self.runs
        return {
            "scenario": self.scenario,
            "device": self.device,
            "devices": self.devices,
            "spare_devices": self.spare_devices,
            "steps": self.steps,
            "step_s": self.step_s,
            "tokens": self.tokens,
            "runs": len(runs.failures),
            "seed": self.seed,
            "failures": asdict(self.failures),
            "spares": asdict(self.spares) if self.spares else None,
            "training": asdict(self.training),
            "checkpoint": asdict(self.checkpoint),
            "intervals": asdict(self.intervals),
            "duration_s": self.quantiles(runs.duration_s),
            "expected_s": self.expected_s,
            "standard_error_s": self.error_s,
            "finish": self.finish(),
            "effective": self.quantiles(runs.effective),
            "number_of_failures": self.quantiles(runs.failures),
            "parts": {part: float(getattr(runs, part).mean()) for part in PARTS},
            "currency": self.rate.currency if self.rate else None,
            **{key: self.quantiles(value) for key, value in self.bills().items()},
            "fits": self.memory.fits,
            "warnings": list(self.warnings),
        }
