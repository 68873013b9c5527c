"""Predictions of measurements: of steps, kernels and collectives, with a profile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from distsim.cost.attention import with_kernel
from distsim.cost.kernel import kernel_s
from distsim.cost.stack import DEFAULT_STACK, Stack, load_stack
from distsim.errors import DistsimError
from distsim.hardware.catalogue import device as load_device
from distsim.hardware.catalogue import load_topology
from distsim.hardware.device import Device
from distsim.hardware.topology import Topology
from distsim.prediction.predict import step_time_s
from distsim.scenario.load import load
from distsim.scenario.profile import Profile
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.calibration.measurements import (
    CollectiveTime,
    KernelTime,
    Readings,
    Rejected,
    Source,
    StepTime,
)
from distsim.study.collective import collective_report
from distsim.workload.op import Work, WorkKind

Floats = npt.NDArray[np.float64]
#: Bytes of an element of an operand, by type; results of fp8 products are in 16 bit.
_BYTES = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0}
#: Kernel of fused attention that `distsim measure` times: PyTorch's own.
_TIMED = "flash-2"
#: FLOP of the backward pass of fused attention over those of the forward pass (Dao 2023).
_BACKWARD_FLOP = 2.5


@dataclass(frozen=True, slots=True)
class Item:
    """One measurement that can be predicted.

    Attributes
    ----------
    kind : str
        ``step``, ``collective``, or a kind of kernel: ``gemm``, ``attention``, ``memory``,
        ``launch``, ``host``.
    label : str
        What it is, for people.
    """

    kind: str
    label: str
    measured_s: float
    weight: float
    source: Source


class Predictor:
    """Predicts measurements of one device and topology.

    Parameters
    ----------
    device : str
        Name or file.
    topology : str or None
        Name or file; None for a single device.
    readings : Readings
    attention_kernel : str, optional
        Kernel of fused attention that runs; by default what the stack of the steps names.

    Attributes
    ----------
    items : tuple of Item
    rejected : tuple of Rejected
        Measurements that cannot be predicted, and why.
    """

    def __init__(
        self,
        device: str,
        topology: str | None,
        readings: Readings,
        *,
        attention_kernel: str | None = None,
    ) -> None:
        self._device_name, self._topology_name = device, topology
        self.device = load_device(device)
        self.topology = self._sample(readings)
        rejected: list[Rejected] = []
        self._steps = self._usable_steps(readings.step_times, rejected)
        self.stack = self._stack()
        named = self.stack.attention_kernel if attention_kernel is None else attention_kernel
        running = named if named in self.device.attention_kernels else self.device.attention_kernel
        self._kernels = _usable_kernels(readings.kernels, self.device, running, rejected)
        self._collectives = self._usable_collectives(readings.collectives, rejected)
        self.device = with_kernel(self.device, named)
        self.items = tuple(
            [Item("step", s.name, t.time_s, t.weight, t.source) for t, s in self._steps]
            + [Item(k.kind, _label(k), k.time_s, 1.0, k.source) for k, _, _ in self._kernels]
            + [
                Item("collective", f"{c.op} of {c.size_bytes:.0f} B", c.time_s, 1.0, c.source)
                for c in self._collectives
            ]
        )
        self.rejected = tuple(rejected)

    def times_s(
        self, profile: Profile, chosen: Sequence[int] | None = None, *, evaluator: str | None = None
    ) -> Floats:
        """Return the predicted time of every item, or of those chosen, in seconds.

        Parameters
        ----------
        evaluator : str, optional
            Of steps; by default what each scenario says.
        """
        wanted = range(len(self.items)) if chosen is None else chosen
        device = profile.on_device(self.device)
        out = np.empty(len(wanted))
        steps, kernels = len(self._steps), len(self._kernels)
        collectives: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
        for place, index in enumerate(wanted):
            if index < steps:
                scenario = self._steps[index][1]
                out[place] = step_time_s(resolve(scenario, profile), evaluator=evaluator)
            elif index < steps + kernels:
                timed, work, dtype = self._kernels[index - steps]
                out[place] = _kernel_s(timed, work, device, dtype)
            else:
                found = self._collectives[index - steps - kernels]
                collectives[found.op, found.ranks].append((place, found.size_bytes))
        for (op, ranks), sized in collectives.items():
            net = profile.on_topology(self._net(ranks))
            report = collective_report(op, net, ranks, [size for _, size in sized])
            for (place, _), row in zip(sized, report.rows, strict=True):
                out[place] = row.time_s
        return out

    def _sample(self, readings: Readings) -> Topology | None:
        """Return the topology, of some size, to read its classes of links."""
        if self._topology_name is None:
            return None
        sizes = [c.ranks for c in readings.collectives]
        sizes += [_devices(t) for t in readings.step_times]
        return self._net(max(sizes, default=8))

    def _net(self, devices: int) -> Topology:
        net = load_topology(self._topology_name or "", devices)
        return net if not self.device.architecture else _on(net, self.device.architecture)

    def _usable_steps(
        self, times: Sequence[StepTime], rejected: list[Rejected]
    ) -> list[tuple[StepTime, Scenario]]:
        found = []
        for timed in times:
            try:
                scenario = load(self._completed(timed.scenario))
                resolve(scenario)
            except DistsimError as error:
                rejected.append(Rejected(timed.source, f"{error.code}: {error.message}"))
                continue
            found.append((timed, scenario))
        return found

    def _completed(self, scenario: Mapping[str, object]) -> dict[str, object]:
        """Return a scenario with the device and topology of this calibration."""
        cluster = scenario.get("cluster")
        given = dict(cluster) if isinstance(cluster, Mapping) else {}
        given.pop("profile", None)
        given["device"] = self._device_name
        if self._topology_name is not None:
            given["topology"] = self._topology_name
        return {"schema": 1, "name": "measured", **scenario, "cluster": given}

    def _usable_collectives(
        self, times: Sequence[CollectiveTime], rejected: list[Rejected]
    ) -> list[CollectiveTime]:
        if self._topology_name is None:
            rejected += [Rejected(t.source, "no --topology, so it has no links") for t in times]
            return []
        found, problems = [], dict[tuple[str, int], str]()
        for timed in times:
            key = timed.op, timed.ranks
            if key not in problems:
                problems[key] = self._problem(timed)
            if problems[key]:
                rejected.append(Rejected(timed.source, problems[key]))
            else:
                found.append(timed)
        return found

    def _problem(self, timed: CollectiveTime) -> str:
        try:
            net = self._net(timed.ranks)
            collective_report(timed.op, net, timed.ranks, [timed.size_bytes])
        except DistsimError as error:
            return f"{error.code}: {error.message}"
        return ""

    def _stack(self) -> Stack:
        """Return the stack of the first step, by which others are known."""
        given = self._steps[0][1].stack if self._steps else None
        return load_stack(given or DEFAULT_STACK)


def _on(net: Topology, architecture: str) -> Topology:
    return replace(net, library=net.library.on(architecture))


def _devices(timed: StepTime) -> int:
    cluster = timed.scenario.get("cluster")
    given = cluster.get("devices") if isinstance(cluster, Mapping) else None
    return given if isinstance(given, int) and given > 0 else 8


def _usable_kernels(
    times: Sequence[KernelTime], device: Device, running: str, rejected: list[Rejected]
) -> list[tuple[KernelTime, Work | None, str]]:
    """Return the timings that a device's numbers describe.

    Parameters
    ----------
    running : str
        Kernel of fused attention that the device's numbers are of; empty: nobody says.
    """
    found: list[tuple[KernelTime, Work | None, str]] = []
    for timed in times:
        dtype = str(timed.shape.get("dtype", ""))
        if timed.kind in ("launch", "host"):
            found.append((timed, None, ""))
            continue
        if timed.kind != "memory" and dtype not in device.peak_flop_per_s:
            rejected.append(Rejected(timed.source, f"{device.name} states no peak of {dtype}"))
            continue
        other = str(timed.shape.get("kernel", _TIMED))
        fused = timed.kind == "attention" and timed.shape.get("fused", True)
        if fused and running and running != other:
            # What fits one kernel of attention says nothing of another.
            why = f"a timing of {other}, while the numbers of {device.name} are of {running}"
            rejected.append(Rejected(timed.source, why))
            continue
        work = _work(timed)
        if work is None:
            rejected.append(Rejected(timed.source, f"{_noun(timed)} is not modelled"))
            continue
        found.append((timed, work, dtype))
    return found


def _work(timed: KernelTime) -> Work | None:
    shape, size = timed.shape, _BYTES.get(str(timed.shape.get("dtype")), 2.0)
    if timed.kind == "gemm":
        batch, m, n, k = (float(shape.get(key, 1)) for key in ("batch", "m", "n", "k"))
        flop = 2.0 * batch * m * n * k
        return Work(
            WorkKind.GEMM,
            batch,
            m,
            n,
            k,
            flop=flop,
            operand_bytes=size,
            result_bytes=max(size, 2.0),
        )
    if timed.kind == "attention" and shape.get("fused", True):
        rows, head = float(shape["sequence"]), float(shape["head_dim"])
        heads = float(shape["batch"]) * float(shape["heads"])
        flop = (2.0 if shape.get("causal") else 4.0) * heads * rows * rows * head
        moved = 4.0 * heads * rows * head * size
        if shape.get("direction") == "backward":
            flop, moved = _BACKWARD_FLOP * flop, 2.0 * moved
        return Work(WorkKind.FLASH, heads, rows, rows, head, flop=flop, stream_bytes=moved)
    if timed.kind == "memory":
        return Work(WorkKind.STREAM, stream_bytes=float(shape["moved_bytes"]))
    return None


def _kernel_s(timed: KernelTime, work: Work | None, device: Device, dtype: str) -> float:
    if work is not None:
        return kernel_s(work, device, dtype)
    return device.host_launch_s if timed.kind == "host" else device.kernel_overhead_s


def _noun(timed: KernelTime) -> str:
    unfused = timed.kind == "attention" and not timed.shape.get("fused", True)
    return "unfused attention" if unfused else f"{timed.kind} of this shape"


def _label(timed: KernelTime) -> str:
    shape = timed.shape
    if timed.kind == "gemm":
        sizes = " x ".join(f"{shape.get(key, 1):,.0f}" for key in ("m", "n", "k"))
        return f"product {sizes} in {shape.get('dtype')}"
    if timed.kind == "attention":
        return f"attention of {shape['sequence']} tokens, {shape.get('direction', 'forward')}"
    return f"{timed.kind} {shape.get('op', '')}".strip()
