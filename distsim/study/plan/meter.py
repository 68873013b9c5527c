"""From a step to a whole training: time, money, energy, and bounds of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.study.evaluate import Outcome
from distsim.study.money.cost import Power, Rate, busy_share, money_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: What a search can be for, in the order of the columns of `Meter.least`.
OBJECTIVES = ("time", "cost", "energy")
_COMPUTE = ("compute_s", "optimizer_s")
_EXPOSED = ("tensor_s", "pipeline_s", "data_s", "context_s", "expert_s", "offload_s")


@dataclass(frozen=True, slots=True)
class Totals:
    """What a training comes to.

    Attributes
    ----------
    time_s : float
    money : float
    energy_j, co2_kg : float or None
        None where the power of the device is not known.
    """

    time_s: float
    money: float
    energy_j: float | None = None
    co2_kg: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Meter:
    """How long a training is and what it costs.

    Attributes
    ----------
    steps : int
    rate : Rate
    power : Power or None
    stretch : dict of int to float
        Time with failures over time without, by number of devices; 1 where there is none.
    """

    steps: int
    rate: Rate
    power: Power | None = None
    stretch: Mapping[int, float] = field(default_factory=dict)

    def total(self, outcome: Outcome) -> Totals:
        """Return what a training with the step of an outcome comes to."""
        parts, step_s = outcome.breakdown, outcome.step_s
        compute, exposed = (sum(parts[k] for k in keys) / step_s for keys in (_COMPUTE, _EXPOSED))
        waiting = self.power.waiting if self.power else 0.0
        time_s = self.steps * step_s * self.stretch.get(outcome.devices, 1.0)
        busy = busy_share(compute, exposed, waiting)
        bill = money_of(outcome.devices, time_s, self.rate, self.power, busy=busy)
        if self.power is None:
            return Totals(time_s, float(bill.money))
        return Totals(time_s, float(bill.money), float(bill.energy_j), float(bill.co2_kg))

    def values(self, outcome: Outcome) -> Floats:
        """Return time, money and energy of a training, float64[3]; energy 0 where not known."""
        total = self.total(outcome)
        return np.asarray([total.time_s, total.money, total.energy_j or 0.0])

    def least(self, devices: Ints, step_s: Floats, compute_s: Floats, exposed_s: Floats) -> Floats:
        """Return bounds of time, money and energy, float64[n, 3]; energy 0 where not known.

        Parameters
        ----------
        devices : int64[n]
        step_s, compute_s, exposed_s : float64[n]
            At least what a step takes, what a device computes in it, and what it communicates
            beside that.
        """
        stretch = np.asarray([self.stretch.get(int(d), 1.0) for d in devices.tolist()])
        time_s = self.steps * step_s * stretch
        active_s = compute_s + (self.power.waiting if self.power else 0.0) * exposed_s
        bill = money_of(
            devices, time_s, self.rate, self.power, busy=np.minimum(active_s / step_s, 1.0)
        )
        energy = np.zeros(len(devices)) if self.power is None else bill.energy_j
        return np.stack([time_s, bill.money, energy], axis=1)
