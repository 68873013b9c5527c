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

from distsim.parallel.data import DataParallel, shards
from distsim.parallel.plan import Plan
from distsim.parallel.stages import Chunk
from distsim.workload.op import Numerics


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Bytes on one rank of a stage at its peak."""

    weights_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    buffers_bytes: float

    @property
    def peak_bytes(self) -> float:
        """Sum of all parts."""
        return (
            self.weights_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.activations_bytes
            + self.buffers_bytes
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all parts and the peak."""
        return asdict(self) | {"peak_bytes": self.peak_bytes}


def activations_in_flight_bytes(
    forward: npt.NDArray[np.bool_], chunk: npt.NDArray[np.int32], saved_bytes: Sequence[float]
) -> float:
    """Return the most activation bytes alive at once.

    Parameters
    ----------
    forward : ndarray of bool, shape (a,)
        Whether each action of the rank's schedule is a forward (it keeps) or backward (it frees).
    chunk : ndarray of int, shape (a,)
        Model chunk of each action.
    saved_bytes : sequence of float
        Bytes that one micro batch keeps in each chunk.
    """
    sizes = np.asarray(saved_bytes, dtype=np.float64)[chunk]
    alive = np.cumsum(np.where(forward, sizes, -sizes))
    return float(alive.max(initial=0.0))


def stage_memory(
    plan: Plan,
    data: DataParallel,
    numerics: Numerics,
    chunks: Sequence[Chunk],
    activations_bytes: float,
    *,
    optimizer_bytes: float,
    boundary_bytes: float,
    reserved_bytes: float,
) -> StageMemory:
    """Add up one rank of a stage.

    Parameters
    ----------
    activations_bytes : float
        Activations in flight at the peak (`activations_in_flight_bytes`).
    optimizer_bytes : float
        Bytes of optimizer state a parameter.
    boundary_bytes : float
        Bytes sent to the next stage for one micro batch.
    reserved_bytes : float
        What the runtime takes before the first tensor: context and communication buffers.
    """
    parameters = sum(c.parameters for c in chunks)
    weights, gradients, optimizer = shards(plan)
    units = [u for c in chunks for u in c.units]
    largest = max((u.parameters for u in units), default=0.0)
    working = max((u.working_bytes for u in units), default=0.0)
    buffers = reserved_bytes + working
    if plan.pp > 1:
        buffers += 4 * boundary_bytes  # sent and received, forward and backward
    if plan.zero_stage == 3 and data.size > 1:
        buffers += (1 + data.prefetch) * largest * numerics.gather_bytes
    if plan.zero_stage >= 2 and data.size > 1:
        bucket = min(
            max(data.bucket_bytes, largest * data.reduce_bytes), parameters * data.reduce_bytes
        )
        buffers += bucket
    return StageMemory(
        weights_bytes=parameters * numerics.weight_bytes / weights,
        gradients_bytes=parameters * numerics.gradient_bytes / gradients,
        optimizer_bytes=parameters * optimizer_bytes / optimizer,
        activations_bytes=activations_bytes,
        buffers_bytes=buffers,
    )
