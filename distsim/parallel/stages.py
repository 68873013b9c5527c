"""Which units each model chunk of each pipeline stage holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distsim.parallel.plan import Plan
from distsim.parallel.recompute import layer_unit, plain_unit
from distsim.parallel.step import Collective, Step, Unit
from distsim.parallel.tensor import TensorParallel
from distsim.workload.op import Op


@dataclass(frozen=True, slots=True)
class Chunk:
    """One model chunk: its units in forward order.

    Attributes
    ----------
    receives_forward, receives_backward : tuple of Step
        What a rank does with an activation or gradient that arrived from another stage, before
        the chunk runs.
    """

    units: tuple[Unit, ...]
    receives_forward: tuple[Step, ...] = ()
    receives_backward: tuple[Step, ...] = ()

    @property
    def parameters(self) -> float:
        """Parameters that one rank holds."""
        return sum(u.parameters for u in self.units)

    @property
    def saved_bytes(self) -> float:
        """Activations that one micro batch keeps here between forward and backward."""
        return sum(u.saved_bytes for u in self.units)


def boundary_bytes(plan: Plan, tensor: TensorParallel, region_elements: float) -> float:
    """Bytes that one rank sends to the next stage for one micro batch.

    b s h elements, divided by t where tokens are divided anyway or where the tensor-parallel
    ranks each send a part and gather it again (scatter/gather, Narayanan 2021, section 4.1).
    """
    divided = plan.sequence_parallel or (plan.scatter_gather_p2p and plan.tp > 1)
    return region_elements * tensor.element_bytes / (plan.tp if divided else 1)


def model_chunks(
    plan: Plan,
    tensor: TensorParallel,
    layer: Sequence[Op],
    embedding: Sequence[Op],
    head: Sequence[Op],
    region_elements: float,
) -> list[list[Chunk]]:
    """Return ``[stage][chunk]``; embedding in the first, head in the last model chunk.

    Parameters
    ----------
    region_elements : float
        b s h: elements of the array that passes from layer to layer.
    """
    tokens_divided = plan.tp if plan.sequence_parallel else 1
    unit = layer_unit(
        tensor, layer, plan.recompute, region_elements * tensor.element_bytes / tokens_divided
    )
    first, last = plain_unit("embedding", tensor, embedding), plain_unit("head", tensor, head)
    gathers: tuple[Step, ...] = ()
    if plan.scatter_gather_p2p and plan.tp > 1 and not plan.sequence_parallel:
        whole = Collective("all_gather", region_elements * tensor.element_bytes)
        gathers = (Step("p2p_gather", (), whole),)
    stages = []
    for stage in range(plan.pp):
        chunks = []
        for chunk in range(plan.virtual_stages):
            is_first = stage == 0 and chunk == 0
            is_last = stage == plan.pp - 1 and chunk == plan.virtual_stages - 1
            units = (unit,) * plan.layers_per_chunk[stage][chunk]
            units = ((first,) if is_first else ()) + units + ((last,) if is_last else ())
            chunks.append(Chunk(units, () if is_first else gathers, () if is_last else gathers))
        stages.append(chunks)
    return stages
