"""How long a kernel, or a run of kernels, takes on one device."""

from __future__ import annotations

from collections.abc import Iterable

from distsim.cost.attention import flash_s
from distsim.cost.gemm import gemm_s
from distsim.hardware.device import Device
from distsim.record import record
from distsim.workload.op import Work, WorkKind


def kernel_s(work: Work, device: Device, dtype: str) -> float:
    """Seconds of one kernel on the device, with the gap before it.

    `dtype` is the type of the step's products; a kernel with a type of its own runs in that.
    """
    if work.kind is WorkKind.STREAM:
        bandwidth = device.memory_bandwidth_bytes_per_s * device.memory_efficiency
        return work.stream_bytes / bandwidth + device.kernel_overhead_s
    if work.kind is WorkKind.GEMM:
        return gemm_s(work, device, dtype) + device.kernel_overhead_s
    return flash_s(work, device, dtype) + device.kernel_overhead_s


@record
class Price:
    """Time of a run of kernels: what the device needs and what the host needs to launch them."""

    device_s: float = 0.0
    host_s: float = 0.0

    def __add__(self, other: Price) -> Price:
        return Price(self.device_s + other.device_s, self.host_s + other.host_s)


def price(works: Iterable[Work], device: Device, dtype: str) -> Price:
    """Price kernels that run one after another on one stream."""
    device_s, count = 0.0, 0
    for work in works:
        device_s += kernel_s(work, device, dtype)
        count += 1
    return Price(device_s, count * device.host_launch_s)


def overlapped_s(compute_s: float, transfer_s: float, contention_factor: float) -> float:
    """Time until both a run of kernels and a transfer that starts with it are done.

    While the transfer runs, kernels go 1 + `contention_factor` times slower.
    """
    slowed_s = compute_s * (1.0 + contention_factor)
    if transfer_s >= slowed_s:
        return transfer_s
    return compute_s + transfer_s * contention_factor / (1.0 + contention_factor)
