"""Segments: runs of operators on one stream that nothing outside can touch, priced as one task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from distsim.cost.kernel import overlapped_s, price
from distsim.hardware.device import Device
from distsim.parallel.step import Collective, Step
from distsim.record import record

CollectiveTime = Callable[[Collective], float]

#: Axis of a collective -> part of the breakdown (a field of `Cost` without its unit).
PART_OF_AXIS: Mapping[str, str] = {
    "tensor": "tensor",
    "context": "context",
    "expert": "expert",
    "expert_tensor": "expert",
}


@record
class Cost:
    """Time of a run of steps on one stream.

    Attributes
    ----------
    compute_s : float
        Kernels.
    tensor_s, context_s, expert_s : float
        Communication inside a layer that kernels do not hide.
    host_s : float
        What the host needs to launch everything.
    restart_s : float
        Time in which the device has nothing to do because the host starts anew.
    """

    compute_s: float = 0.0
    tensor_s: float = 0.0
    context_s: float = 0.0
    expert_s: float = 0.0
    host_s: float = 0.0
    restart_s: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.compute_s + other.compute_s,
            self.tensor_s + other.tensor_s,
            self.context_s + other.context_s,
            self.expert_s + other.expert_s,
            self.host_s + other.host_s,
            self.restart_s + other.restart_s,
        )

    @property
    def exposed_s(self) -> float:
        """Communication that kernels do not hide."""
        return self.tensor_s + self.context_s + self.expert_s

    @property
    def device_s(self) -> float:
        """Time on the device."""
        return self.compute_s + self.exposed_s

    @property
    def total_s(self) -> float:
        """Duration: a stream never runs faster than the host launches its kernels."""
        # Asked for very often, so without what other properties would cost.
        device_s = self.compute_s + (self.tensor_s + self.context_s + self.expert_s)
        return (device_s if device_s > self.host_s else self.host_s) + self.restart_s

    @property
    def host_wait_s(self) -> float:
        """Time the device waits for the host."""
        return max(0.0, self.host_s - self.device_s) + self.restart_s

    def kernel_share(self, contention_factor: float) -> float:
        """Return how much of the duration kernels are that transfers elsewhere slow down.

        Where all of it runs beside moving bytes, kernels take 1 + `contention_factor` times as
        long; communication does not, and what the host is waited for absorbs it.
        """
        total_s = self.total_s
        if not contention_factor or not total_s:
            return 1.0
        slowed_s = self.compute_s * contention_factor
        slower_s = max(self.device_s + slowed_s, self.host_s) + self.restart_s
        return (slower_s - total_s) / (contention_factor * total_s)

    def beside(self, other: Cost, contention_factor: float) -> Cost:
        """Return the cost of two runs whose communication hides behind each other's kernels."""
        both = self + other
        hidden_s = overlapped_s(both.compute_s, both.exposed_s, contention_factor)
        # Neither run is faster than it is alone.
        exposed_s = max(hidden_s, self.device_s, other.device_s) - both.compute_s
        share = max(exposed_s, 0.0) / both.exposed_s if both.exposed_s > 0.0 else 0.0
        return replace(
            both,
            tensor_s=both.tensor_s * share,
            context_s=both.context_s * share,
            expert_s=both.expert_s * share,
        )


class Part(NamedTuple):
    """One operator of a segment, or a collective that it waits for."""

    name: str
    category: str
    duration_s: float


@record
class Pricer:
    """Prices steps on one device.

    Attributes
    ----------
    alone : frozenset of str
        Axes whose collectives do not slow the kernels beside them.
    """

    device: Device
    dtype: str
    collective_s: CollectiveTime
    alone: frozenset[str] = frozenset()

    def step(self, step: Step) -> Cost:
        """Price one step."""
        if step.collective is None:
            device_s, host_s = self._kernels(step)
            return Cost(device_s, host_s=host_s, restart_s=step.wait_s)
        kernels = price(step.works, self.device, self.dtype)
        transfer_s = self.collective_s(step.collective)
        exposed_s = transfer_s
        if step.beside:
            apart = step.collective.axis in self.alone
            factor = 0.0 if apart else self.device.contention_factor
            both_s = overlapped_s(kernels.device_s, transfer_s, factor)
            exposed_s = both_s - kernels.device_s
        part = PART_OF_AXIS[step.collective.axis]
        return Cost(
            kernels.device_s,
            tensor_s=exposed_s if part == "tensor" else 0.0,
            context_s=exposed_s if part == "context" else 0.0,
            expert_s=exposed_s if part == "expert" else 0.0,
            host_s=kernels.host_s + self.device.host_launch_s,
        )

    def _kernels(self, step: Step) -> tuple[float, float]:
        """Return what device and host need for a step that communicates nothing."""
        kernels = price(step.works, self.device, self.dtype)
        return kernels.device_s, kernels.host_s + step.operators * self.device.host_launch_s

    def parts(self, step: Step) -> list[Part]:
        """Return what a step does, one after another, as a timeline shows it."""
        cost = self.step(step)
        out = []
        if step.collective is not None and not step.beside:
            name, category = step.collective.name, PART_OF_AXIS[step.collective.axis]
            out.append(Part(f"{step.op} {name}", category, cost.exposed_s))
            cost = Cost(cost.compute_s)
        if cost.device_s > 0.0:
            out.append(Part(step.op, "compute", cost.device_s))
        return out

    def steps(self, steps: Iterable[Step]) -> Cost:
        """Price steps in order."""
        compute = tensor = context = expert = host = restart = 0.0
        for step in steps:
            if step.collective is None:
                device_s, host_s = self._kernels(step)
                compute += device_s
                host += host_s
                restart += step.wait_s
                continue
            cost = self.step(step)
            compute += cost.compute_s
            tensor += cost.tensor_s
            context += cost.context_s
            expert += cost.expert_s
            host += cost.host_s
        return Cost(compute, tensor, context, expert, host, restart)
