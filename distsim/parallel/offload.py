"""Offload: model states in the memory or on the drives of the host, and what that moves.

ZeRO-Offload (Ren 2021, arXiv 2101.06840) keeps optimizer states on the host and updates there:
gradients leave as they come and new parameters return, 4 bytes a parameter and step in all
(section 3.3), each rank its own shard (section 4.2). ZeRO-Infinity (Rajbhandari 2021, arXiv
2104.07857) adds drives and, with ZeRO-3, parameters: each rank fetches its shard before the
all-gather, so that all links of a node work at once (section 6.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

from distsim.errors import PlanError
from distsim.hardware.host import Host
from distsim.record import record
from distsim.units import fmt_bytes
from distsim.workload.op import Numerics

Tier = Literal["none", "cpu", "nvme"]
#: Bytes of a gradient where the update reads it: optimizers on processors work in fp32.
UPDATE_GRADIENT_BYTES = 4.0


@record
class Offload:
    """Where a plan keeps model states. Gradients follow the optimizer.

    Attributes
    ----------
    optimizer, parameters : {"none", "cpu", "nvme"}
        On the device, in host memory, on the drives of the host.
    buffer_bytes : float
        Pinned host memory of a rank through which transfers pass. By default five buffers of 10^8
        elements at 16 bit, as DeepSpeed's ``offload_param`` has.
    delayed_update : bool
        The update runs beside the next step, which takes parameters that are a step old
        (ZeRO-Offload, section 5.2).
    """

    optimizer: Tier = "none"
    parameters: Tier = "none"
    buffer_bytes: float = 1e9
    delayed_update: bool = False

    @property
    def active(self) -> bool:
        """Whether anything is on the host."""
        return self.optimizer != "none" or self.parameters != "none"

    def __str__(self) -> str:
        places = {"cpu": "host memory", "nvme": "drives"}
        kept = (("optimizer", self.optimizer), ("parameters", self.parameters))
        return " and ".join(f"{n} to {places[t]}" for n, t in kept if t != "none") or "none"


@record
class Held:
    """States that one rank is responsible for, and how often they are touched in a step.

    Everything that follows is linear in `parameters`: a layer or a bucket is priced with its own.

    Attributes
    ----------
    parameters : float
        Parameters of the rank's model chunks, before the data-parallel group shards them.
    state_bytes : float
        Optimizer states a parameter, master weights included.
    shards : tuple of int
        Into how many parts weights, gradients and optimizer states are divided.
    zero_stage : int
    reductions : int
        How often gradients are reduced in a step: 1, or once a micro batch.
    gathers : int
        How often parameters are gathered in a step (ZeRO-3: before each use).
    gradients_leave : bool
        The device keeps no gradients between micro batches (ZeRO-2 and 3 that reduce each time,
        or one micro batch).
    """

    parameters: float
    numerics: Numerics
    state_bytes: float
    shards: tuple[int, int, int] = (1, 1, 1)
    zero_stage: int = 0
    reductions: int = 1
    gathers: int = 0
    gradients_leave: bool = True

    @property
    def owned(self) -> float:
        """Parameters that this rank updates."""
        return self.parameters / self.shards[2]

    @property
    def weights_bytes(self) -> float:
        """Weights of the owned parameters, as they are stored."""
        return self.owned * self.numerics.weight_bytes

    @property
    def gradients_bytes(self) -> float:
        """Gradients of the owned parameters, as the device holds them."""
        return self.owned * self.numerics.gradient_bytes

    @property
    def states_bytes(self) -> float:
        """Optimizer states of the owned parameters."""
        return self.owned * self.state_bytes


class Transfer(NamedTuple):
    """Bytes between a device and its host, or between the host and its drives.

    Attributes
    ----------
    direction : str
        ``to_host`` and ``to_device`` pass the link of the device; ``read`` and ``write`` the
        drives.
    size_bytes : float
        Each time.
    when : str
        ``reduce``: as gradients leave a reduction; ``accumulate``: before gradients of a later
        micro batch are added to earlier ones; ``update``: beside the optimizer; ``gather``: before
        parameters are gathered for a layer.
    times : int
        How often in a step.
    """

    direction: str
    size_bytes: float
    when: str
    times: int


def transfers(offload: Offload, held: Held) -> list[Transfer]:
    """Return the transfers of one rank in one step.

    Of M parameters that the rank owns, at 16 bit: gradients down 2M at each reduction; from the
    second one on what is there comes up and goes down again, since devices add (DeepSpeed, ZeRO-2
    and 3); new parameters up 2M, or at each gather where parameters live on the host. Drives read
    and write optimizer states once, 12M each way, and gradients in fp32, 4M each way: the
    2 x 16 bytes a parameter of ZeRO-Infinity, section 4.1.
    """
    weights, gradients = held.weights_bytes, held.gradients_bytes
    kept = held.owned * UPDATE_GRADIENT_BYTES
    out = []
    if offload.optimizer != "none":
        out.append(Transfer("to_host", gradients, "reduce", held.reductions))
        if held.reductions > 1:
            out.append(Transfer("to_device", gradients, "accumulate", held.reductions - 1))
        if offload.parameters == "none":
            out.append(Transfer("to_device", weights, "update", 1))
    if offload.optimizer == "nvme":
        out.append(Transfer("write", kept, "reduce", 1))
        out.append(Transfer("read", held.states_bytes + kept, "update", 1))
        out.append(Transfer("write", held.states_bytes, "update", 1))
    if offload.parameters != "none":
        if offload.parameters == "nvme":
            out.append(Transfer("write", weights, "update", 1))
            out.append(Transfer("read", weights, "gather", held.gathers))
        out.append(Transfer("to_device", weights, "gather", held.gathers))
    return out


def transfer_s(transfer: Transfer, host: Host) -> float:
    """Return how long one transfer takes while all devices of the node do the same."""
    rates = {"read": host.nvme_read_bytes_per_s, "write": host.nvme_write_bytes_per_s}
    return transfer.size_bytes / rates.get(transfer.direction, host.copy_bytes_per_s)


def update_traffic_bytes(held: Held) -> float:
    """Return memory traffic of the update on the host: one pass over all that it touches.

    States are read and written, the gradient read, the new weights written (and read, where
    there are no master weights): 30 bytes a parameter of mixed-precision Adam.
    """
    weights = held.numerics.weight_bytes * (1 if held.numerics.master_bytes else 2)
    return held.owned * (2 * held.state_bytes + UPDATE_GRADIENT_BYTES + weights)


def update_s(offload: Offload, host: Host, held: Held) -> float:
    """Return how long the optimizer on the host takes; 0 where it is on the device.

    Processors are bound by their memory. States on drives stream past them in parts, so that the
    longer of both counts (ZeRO-Infinity, section 5.2.2); drives divide their time between reads
    and writes. Parameters go up part by part at the same time (ZeRO-Offload, section 5.1): that is
    the transfer ``update``.
    """
    if offload.optimizer == "none":
        return 0.0
    drives_s = sum(
        transfer_s(t, host)
        for t in transfers(offload, held)
        if t.when == "update" and t.direction in ("read", "write")
    )
    return max(update_traffic_bytes(held) / host.update_bytes_per_s, drives_s)


def exposed_update_s(offload: Offload, updating_s: float, beside_s: float) -> float:
    """Return what a step waits for its update.

    Parameters
    ----------
    updating_s : float
        The update with its transfers.
    beside_s : float
        Work of the device that a delayed update runs beside: forward and backward.
    """
    return max(0.0, updating_s - beside_s) if offload.delayed_update else updating_s


def device_freed_bytes(offload: Offload, held: Held) -> float:
    """Return device memory that a rank no longer needs.

    Optimizer states; gradients, unless they gather on the device over micro batches; weights. A
    single device goes from 16 bytes a parameter to 2 with the optimizer offloaded (ZeRO-Offload,
    table 1). Buffers of gathered parameters and of gradients on their way stay.
    """
    weights, gradients, _ = held.shards
    freed = 0.0
    if offload.optimizer != "none":
        freed += held.states_bytes
        if held.gradients_leave:
            freed += held.parameters / gradients * held.numerics.gradient_bytes
    if offload.parameters != "none":
        freed += held.parameters / weights * held.numerics.weight_bytes
    return freed


def host_bytes(offload: Offload, held: Held) -> float:
    """Return host memory of one rank: what lives there and the pinned buffers.

    Gradients on their way to drives wait in host memory where several micro batches add to them.
    """
    if not offload.active:
        return 0.0
    total = offload.buffer_bytes
    if offload.optimizer == "cpu":
        total += held.states_bytes
    if offload.optimizer == "cpu" or (offload.optimizer == "nvme" and held.reductions > 1):
        total += held.gradients_bytes
    if offload.parameters == "cpu":
        total += held.weights_bytes
    return total


def nvme_bytes(offload: Offload, held: Held) -> float:
    """Return what one rank keeps on drives."""
    total = 0.0
    if offload.optimizer == "nvme":
        total += held.states_bytes + held.owned * UPDATE_GRADIENT_BYTES
    if offload.parameters == "nvme":
        total += held.weights_bytes
    return total


@record
class OffloadCost:
    """What offload costs one rank in one step, before anything overlaps.

    Attributes
    ----------
    to_host_bytes, to_device_bytes, nvme_read_bytes, nvme_write_bytes : float
        Bytes in one step.
    copy_s : float
        Time of the busier direction of the device's link.
    nvme_s : float
        Time of the drives.
    update_s : float
        Time of the optimizer on the host.
    device_freed_bytes, host_bytes, nvme_bytes : float
        Memory freed on the device, taken in the host and on its drives.
    """

    to_host_bytes: float
    to_device_bytes: float
    nvme_read_bytes: float
    nvme_write_bytes: float
    copy_s: float
    nvme_s: float
    update_s: float
    device_freed_bytes: float
    host_bytes: float
    nvme_bytes: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def offload_cost(offload: Offload, host: Host, held: Held) -> OffloadCost:
    """Return the totals of one rank and step."""
    found = transfers(offload, held)
    volume = dict.fromkeys(("to_host", "to_device", "read", "write"), 0.0)
    time_s = dict(volume)
    for transfer in found:
        volume[transfer.direction] += transfer.times * transfer.size_bytes
        time_s[transfer.direction] += transfer.times * transfer_s(transfer, host)
    return OffloadCost(
        to_host_bytes=volume["to_host"],
        to_device_bytes=volume["to_device"],
        nvme_read_bytes=volume["read"],
        nvme_write_bytes=volume["write"],
        copy_s=max(time_s["to_host"], time_s["to_device"]),
        nvme_s=time_s["read"] + time_s["write"],
        update_s=update_s(offload, host, held),
        device_freed_bytes=device_freed_bytes(offload, held),
        host_bytes=host_bytes(offload, held),
        nvme_bytes=nvme_bytes(offload, held),
    )


def check_offload(offload: Offload, host: Host, ranks: Iterable[Held]) -> None:
    """Check that a plan can offload what it says, and that the host holds it.

    Parameters
    ----------
    host : Host
        Its share of one rank.
    ranks : iterable of Held
        One rank of each pipeline stage.

    Raises
    ------
    PlanError
        DS330 optimizer without sharded states, DS331 parameters without ZeRO-3, DS332 parameters
        without the optimizer, DS333 host memory and DS334 drives too small.
    """
    held = list(ranks)
    stage = min((h.zero_stage for h in held), default=3)
    if offload.optimizer != "none" and stage < 1:
        raise _refused(
            "DS330", "optimizer", offload.optimizer, f"zero_stage is {stage}", "zero_stage >= 1",
            "set plan.zero_stage: 2, or offload.optimizer: none",
        )  # fmt: skip
    if offload.parameters != "none" and stage < 3:
        raise _refused(
            "DS331", "parameters", offload.parameters, f"zero_stage is {stage}", "zero_stage = 3",
            "set plan.zero_stage: 3, or offload.parameters: none",
        )  # fmt: skip
    if offload.parameters != "none" and offload.optimizer == "none":
        raise _refused(
            "DS332", "parameters", offload.parameters, "the optimizer stays on the device",
            "the optimizer is offloaded too: its states are larger and used less often",
            "set offload.optimizer: cpu",
        )  # fmt: skip
    _check_room(
        "DS333", "host memory", max((host_bytes(offload, h) for h in held), default=0.0),
        host.memory_bytes, host, "shard over more devices, or offload.optimizer: nvme",
    )  # fmt: skip
    _check_room(
        "DS334", "space on drives", max((nvme_bytes(offload, h) for h in held), default=0.0),
        host.nvme_bytes, host, "shard over more devices, use offload to cpu, or another host",
    )  # fmt: skip


def _refused(code: str, what: str, tier: str, found: str, rule: str, fix: str) -> PlanError:
    return PlanError(
        code,
        f"offload of {what} to {tier}, but {found}",
        path=("plan", "offload", what),
        value=tier,
        rule=rule,
        fix=fix,
    )


def _check_room(
    code: str, what: str, needed_bytes: float, there_bytes: float, host: Host, fix: str
) -> None:
    if needed_bytes > there_bytes:
        raise PlanError(
            code,
            f"offload needs {fmt_bytes(needed_bytes)} of {what} a device, and {host.name} has "
            f"{fmt_bytes(there_bytes)}",
            path=("plan", "offload"),
            value=needed_bytes,
            rule=f"{what} of a device >= what its rank keeps there",
            fix=fix,
        )
