"""What a calibration may change: physical numbers of device, links, library and software.

Each has bounds that physics sets and a prior: the shipped number with a spread, which says how far
clusters of one kind lie apart. A few measurements move a number by as much as they know of it; one
that no measurement depends on stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from types import MappingProxyType

from distsim.cost.stack import Stack
from distsim.hardware.device import CALIBRATED, Device
from distsim.hardware.topology import Topology
from distsim.scenario.profile import Profile, Value


@dataclass(frozen=True, slots=True)
class Knob:
    """A number that can be fitted.

    Attributes
    ----------
    key : str
        As in a profile: ``device.gemm_efficiency``.
    base : float
        Shipped value, SI; the middle of the prior.
    low, high : float
        Bounds.
    spread : float
        Standard deviation of the prior: of the logarithm, or of the number itself where `base` is
        zero or `linear` is set.
    linear : bool
    """

    key: str
    base: float
    low: float
    high: float
    spread: float
    linear: bool = False

    def value(self, x: float) -> float:
        """Return the number at `x` prior deviations from the shipped one."""
        moved = self.base + self.spread * x if self.linear else self.base * exp(self.spread * x)
        return min(max(moved, self.low), self.high)

    def position(self, value: float) -> float:
        """Return how many prior deviations a number is from the shipped one."""
        if self.linear:
            return (value - self.base) / self.spread
        return log(value / self.base) / self.spread


#: Of a device, by key: bounds and spread of the prior (of the logarithm). Spreads are judgement:
#: what the fits of docs/accuracy.md and docs/kernels.md differ by between clusters, kernels and
#: steps (products 15 %, memory-bound kernels 25 %, attention 30 %; times of launches twofold).
_DEVICE: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "gemm_efficiency": (0.05, 1.0, 0.15),
        "sustained_efficiency": (0.05, 1.0, 0.15),
        "gemm_fill_k": (1.0, 4096.0, 0.5),
        "memory_efficiency": (0.05, 1.0, 0.25),
        "attention_efficiency": (0.02, 1.0, 0.3),
        "attention_backward": (0.2, 1.5, 0.2),
        "kernel_overhead": (1e-7, 1e-3, 0.7),
        "host_launch": (1e-7, 1e-2, 0.7),
    }
)
#: Kernels beside a transfer: from not slowed to two and a half times as long.
_CONTENTION = (0.0, 1.5, 0.2)
_LINK = {"efficiency": (0.02, 1.0, 0.3), "latency": (1e-8, 1e-2, 0.7)}
#: Start of every collective and restart of a pipeline: seconds.
_STARTUP, _RESTART = (0.0, 1e-3, 10e-6), (0.0, 50e-3, 1e-3)


def knobs_of(device: Device, topology: Topology | None, stack: Stack) -> tuple[Knob, ...]:
    """Return what can be fitted of a device, a topology and a stack.

    Numbers that the device leaves at their default, such as a second efficiency of long products
    that it does not have, are no knobs.
    """
    found = []
    for key, (low, high, spread) in _DEVICE.items():
        field = CALIBRATED[key][0] if key in CALIBRATED else key
        base = float(getattr(device, field, 0.0))
        if base > 0 and key in device.sources:
            found.append(Knob(f"device.{key}", base, low, high, spread))
    low, high, spread = _CONTENTION
    found.append(
        Knob("device.contention_factor", device.contention_factor, low, high, spread, linear=True)
    )
    if topology is not None:
        for link in topology.classes:
            for key, base in (("efficiency", link.efficiency), ("latency", link.latency_s)):
                low, high, spread = _LINK[key]
                if base > 0:
                    found.append(Knob(f"links.{link.name}.{key}", base, low, high, spread))
        low, high, spread = _STARTUP
        base = topology.library.startup_s
        found.append(Knob("library.startup", base, low, high, spread, linear=True))
    low, high, spread = _RESTART
    found.append(Knob("stack.restart", stack.restart_s, low, high, spread, linear=True))
    return tuple(found)


def profile_at(
    knobs: Sequence[Knob],
    x: Sequence[float],
    *,
    name: str,
    device: str,
    topology: str,
    sources: Mapping[str, str] = MappingProxyType({}),
    half_widths: Sequence[float] = (),
) -> Profile:
    """Return the profile that has each number at `x` prior deviations from the shipped one.

    Parameters
    ----------
    half_widths : sequence of float, optional
        Of the 90 % interval of each, in prior deviations; none by default.
    sources : mapping of str to str, optional
        Where the numbers come from, by key.
    """
    widths = half_widths or [0.0] * len(knobs)
    values = {
        knob.key: Value(
            knob.value(at),
            knob.value(at - width),
            knob.value(at + width),
            sources.get(knob.key, ""),
        )
        for knob, at, width in zip(knobs, x, widths, strict=True)
    }
    return Profile(name, device, topology, MappingProxyType(values))
