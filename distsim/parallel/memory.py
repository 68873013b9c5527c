"""Memory of one rank: model states, activations in flight, buffers.

Model states a parameter (Rajbhandari 2020, section 3.1): weights, gradients and optimizer, each
divided over the data-parallel group by the ZeRO stage. Activations: what each model chunk keeps
for a micro batch times the micro batches in flight there, which the schedule decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.parallel.data import DataParallel, Domain, shards
from distsim.parallel.offload import Offload
from distsim.parallel.plan import Plan
from distsim.parallel.stages import Chunk
from distsim.schedule import BACKWARD, FORWARD, INPUT, WEIGHT, Actions
from distsim.workload.op import Numerics


#: Nothing is offloaded.
ON_DEVICE = Offload()


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Bytes on one rank of a stage at its peak."""

    weights_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    buffers_bytes: float

    @property
    def states_bytes(self) -> float:
        """Weights, gradients and optimizer states."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes

    @property
    def peak_bytes(self) -> float:
        """Sum of all parts."""
        return self.states_bytes + self.activations_bytes + self.buffers_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return all parts and the peak."""
        return asdict(self) | {"peak_bytes": self.peak_bytes}


def activation_changes_bytes(
    order: Actions,
    saved_bytes: npt.NDArray[np.float64],
    weight_bytes: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return by how much activations grow with each action of a rank, shape (a,).

    A forward pass keeps what the backward pass needs; an input gradient frees it but for what the
    weight gradient needs (Qi 2023, section 2.2).

    Parameters
    ----------
    saved_bytes, weight_bytes : float64[a]
        What one micro batch keeps after the forward pass and after the input gradient, for the
        chunk and micro batch of each action.
    """
    by_kind = np.zeros((4, len(order.kind)))
    by_kind[FORWARD] = saved_bytes
    by_kind[BACKWARD] = -saved_bytes
    by_kind[INPUT] = weight_bytes - saved_bytes
    by_kind[WEIGHT] = -weight_bytes
    return by_kind[order.kind, np.arange(len(order.kind))]


def kept_bytes(
    order: Actions, chunks: Sequence[Sequence[Chunk]], variant_of: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return by how many bytes the activations of a rank grow with each action, shape (a,).

    Parameters
    ----------
    chunks : sequence of sequence of Chunk
        ``[variant][chunk]`` of the rank's stage.
    variant_of : int64[microbatches]
    """
    saved = np.asarray([[c.saved_bytes for c in held] for held in chunks])
    weight = np.asarray([[c.weight_bytes for c in held] for held in chunks])
    at = (variant_of[order.microbatch], order.chunk)
    return activation_changes_bytes(order, saved[at], weight[at])


def activations_in_flight_bytes(
    order: Actions, chunks: Sequence[Sequence[Chunk]], variant_of: npt.NDArray[np.int64]
) -> float:
    """Return the most activation bytes alive at once, with the parameters of `kept_bytes`."""
    return float(np.cumsum(kept_bytes(order, chunks, variant_of)).max(initial=0.0))


def stage_memory(
    plan: Plan,
    data: DataParallel,
    numerics: Numerics,
    chunks: Sequence[Chunk],
    activations_bytes: float,
    *,
    optimizer_bytes: Sequence[float],
    boundary_bytes: float,
    reserved_bytes: float,
    offload: Offload = ON_DEVICE,
) -> StageMemory:
    """Add up one rank of a stage.

    Parameters
    ----------
    activations_bytes : float
        Activations in flight at the peak (`activations_in_flight_bytes`).
    optimizer_bytes : sequence of float
        Bytes of optimizer state of each domain before sharding.
    boundary_bytes : float
        Bytes sent to the next stage for one micro batch.
    reserved_bytes : float
        What the runtime takes before the first tensor: context and communication buffers.
    offload : Offload
        What is on the host instead.
    """
    weights = gradients = optimizer = 0.0
    buffers = reserved_bytes + max((u.working_bytes for c in chunks for u in c.units), default=0.0)
    for domain, state_bytes in zip(data.domains, optimizer_bytes, strict=True):
        parts = shards(plan, domain)
        held = sum(domain.parameters(c) for c in chunks)
        if offload.parameters == "none":
            weights += held * numerics.weight_bytes / parts[0] * plan.pipeline.weight_versions
        weights += _fp8_copies_bytes(numerics, chunks, domain)
        if offload.optimizer == "none" or not gradients_leave(plan):
            gradients += held * numerics.gradient_bytes / parts[1]
        if offload.optimizer == "none":
            optimizer += state_bytes / parts[2]
        buffers += _domain_buffers(plan, data, numerics, chunks, held, domain, offload)
        if data.compression is not None and domain.size > 1:
            buffers += data.compression.state_bytes(held)
    if plan.pp > 1:
        buffers += 4 * boundary_bytes  # sent and received, forward and backward
    return StageMemory(
        weights_bytes=weights,
        gradients_bytes=gradients,
        optimizer_bytes=optimizer,
        activations_bytes=activations_bytes,
        buffers_bytes=buffers,
    )


def gradients_leave(plan: Plan) -> bool:
    """Say whether the device keeps no gradients from one micro batch to the next."""
    sharded = plan.zero_stage >= 2 and plan.reduces_each_microbatch
    return sharded or plan.microbatches == 1


def _fp8_copies_bytes(numerics: Numerics, chunks: Sequence[Chunk], domain: Domain) -> float:
    """Weights of linear layers in fp8, beside the weights themselves."""
    if numerics.fp8 is None:
        return 0.0
    units = [u for c in chunks for u in c.units]
    matrices = [m for u in units for m in domain.matrices(u) if not m.table]
    return numerics.fp8.copy_bytes * sum(m.elements for m in matrices)


def _domain_buffers(
    plan: Plan,
    data: DataParallel,
    numerics: Numerics,
    chunks: Sequence[Chunk],
    held: float,
    domain: Domain,
    offload: Offload,
) -> float:
    """Parameters that were gathered or copied, and gradients that wait to be reduced."""
    if domain.shard == 1 and not offload.active:
        return 0.0
    largest = max((domain.parameters(u) for c in chunks for u in c.units), default=0.0)
    out = 0.0
    if plan.zero_stage == 3 and plan.reshards_after_forward:
        gathered = (1 + data.prefetch) * largest * numerics.gather_bytes
        out += min(gathered, max(data.limit_bytes, largest * numerics.gather_bytes))
    if plan.zero_stage >= 2:
        bucket = largest * data.reduce_bytes
        if not data.per_unit:
            bucket = max(data.bucket_bytes, bucket)
        out += min(bucket, held * data.reduce_bytes)
    return out
