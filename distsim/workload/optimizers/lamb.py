"""LAMB: Adam with a trust ratio for each tensor (You 2020, arXiv 1904.00962, algorithm 2)."""

from __future__ import annotations

from distsim.record import record
from distsim.workload.op import Work, stream
from distsim.workload.optimizers.spec import Held, OptimizerSpec

#: The step of each parameter waits as fp32 until the ratio of its tensor is known.
STEP_BYTES = 4.0


@record
class Lamb:
    """Three kernels, since the ratio of two norms stands between direction and step.

    The first makes the direction from gradient, weight and moments; the second takes the norms of
    weights and directions, tensor by tensor; the third scales and applies. Where ranks divide the
    update, the norms of tensors that several hold are summed over them, a few bytes a tensor, which
    is not counted.
    """

    source: str = "You 2020 (arXiv 1904.00962), algorithm 2"
    moment_types: tuple[str, ...] = ("fp32", "bf16", "int8")

    def state_bytes(self, optimizer: OptimizerSpec, held: Held) -> float:
        """Return bytes of state: two moments."""
        return 2 * optimizer.moment_bytes * held.parameters

    def works(self, optimizer: OptimizerSpec, held: Held) -> tuple[Work, ...]:
        """Return the kernels of direction, norms and step."""
        g, w, moments = held.gradient_bytes, held.value_bytes, 2 * optimizer.moment_bytes
        passes = (g + w + 2 * moments + STEP_BYTES, w + STEP_BYTES, STEP_BYTES + 2 * w)
        return tuple(stream(b * held.parameters / held.shard) for b in passes)


RULE = Lamb()
