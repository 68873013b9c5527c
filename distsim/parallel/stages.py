"""Which units each model chunk of each pipeline stage holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distsim.parallel.division import Division
from distsim.parallel.plan import Plan
from distsim.parallel.recompute import group_unit, parts, plain_unit
from distsim.parallel.step import Collective, Step, Unit
from distsim.parallel.tensor import TensorParallel
from distsim.workload.linear import scale_updates
from distsim.workload.op import Op
from distsim.workload.precision import Fp8


@dataclass(frozen=True, slots=True)
class Chunk:
    """One model chunk: its units in forward order.

    Attributes
    ----------
    receives_forward, receives_backward : tuple of Step
        What a rank does with an activation or gradient that arrived from another stage, before
        the chunk runs.
    ends_forward, ends_backward : tuple of Step
        What comes after the chunk has run: new scales of fp8.
    """

    units: tuple[Unit, ...]
    receives_forward: tuple[Step, ...] = ()
    receives_backward: tuple[Step, ...] = ()
    ends_forward: tuple[Step, ...] = ()
    ends_backward: tuple[Step, ...] = ()

    @property
    def parameters(self) -> float:
        """Parameters that one rank holds beside those of experts."""
        return sum(u.parameters for u in self.units)

    @property
    def expert_parameters(self) -> float:
        """Parameters of experts that one rank holds."""
        return sum(u.expert_parameters for u in self.units)

    @property
    def saved_bytes(self) -> float:
        """Activations that one micro batch keeps here between forward and backward."""
        return sum(u.saved_bytes for u in self.units)

    @property
    def weight_bytes(self) -> float:
        """What one micro batch keeps here between input gradient and weight gradient."""
        return sum(u.weight_bytes for u in self.units)


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators of a model for one micro batch.

    Attributes
    ----------
    layers : tuple of str
        Kind of each layer, a key of `kinds`.
    kinds : dict of str to tuple of Op
    embedding, head : tuple of Op
    region_elements : float
        b s h: elements of the array that passes from layer to layer, of one rank's tokens.
    fp8 : Fp8 or None
        Recipe of linear layers in fp8.
    """

    layers: tuple[str, ...]
    kinds: dict[str, tuple[Op, ...]]
    embedding: tuple[Op, ...]
    head: tuple[Op, ...]
    region_elements: float
    fp8: Fp8 | None = None


def boundary_bytes(plan: Plan, tensor: TensorParallel, region_elements: float) -> float:
    """Bytes that one rank sends to the next stage for one micro batch.

    b s h elements, divided by t where tokens are divided anyway or where the tensor-parallel
    ranks each send a part and gather it again (scatter/gather, Narayanan 2021, section 4.1).
    """
    divided = plan.sequence_parallel or (plan.scatter_gather_p2p and plan.tp > 1)
    return region_elements * tensor.element_bytes / (plan.tp if divided else 1)


def _scales(
    recipe: Fp8 | None, division: Division, units: Sequence[Unit]
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return how a chunk makes new scales of delayed fp8, forward and backward.

    Largest values of the inputs, weights (forward) and output gradients of linear layers are
    reduced over the tensor-parallel group, 4 bytes each, all at once (Transformer Engine).
    """
    linear = [m for u in units for m in (*u.matrices, *u.expert_matrices) if not m.table]
    layers = sum(m.number for m in linear)
    out = []
    for work, tensors in zip(scale_updates(recipe, layers), (2 * layers, layers), strict=False):
        reduce = Collective("all_reduce", 4.0 * tensors) if division.tensor.size > 1 else None
        out.append((Step("fp8_scales", (work,), reduce),) if layers else ())
    return (out[0], out[1]) if out else ((), ())


def model_chunks(plan: Plan, division: Division, operators: Operators) -> list[list[Chunk]]:
    """Return ``[stage][chunk]``; embedding in the first, head in the last model chunk."""
    whole_bytes = operators.region_elements * division.tensor.element_bytes
    input_bytes = whole_bytes / (plan.tp if plan.sequence_parallel else 1)
    first = plain_unit("embedding", division, operators.embedding)
    last = plain_unit("head", division, operators.head)
    gathers: tuple[Step, ...] = ()
    if plan.scatter_gather_p2p and plan.tp > 1 and not plan.sequence_parallel:
        gathers = (Step("p2p_gather", (), Collective("all_gather", whole_bytes)),)
    made: dict[tuple[tuple[str, ...], int, str], Unit] = {}

    def units(begin: int, count: int) -> list[Unit]:
        out = []
        for part in parts(plan.recompute, begin, count):
            kinds = tuple(operators.layers[begin + i] for i in part.group)
            key = (kinds, part.place, part.mode)
            if key not in made:
                group = [operators.kinds[kind] for kind in kinds]
                made[key] = group_unit(
                    division, group, part.place, part.mode, input_bytes, plan.recompute.modules
                )
            out.append(made[key])
        return out

    counts = plan.chunk_layers()
    begins = [sum(counts[:k]) for k in range(len(counts))]
    at = {number: stage for stage, held in enumerate(plan.placement) for number in held}
    # Stages that hold the same units share their chunks, so that these are looked at once.
    alike: dict[tuple[tuple[int, ...], bool, bool], Chunk] = {}
    stages = []
    for stage, held in enumerate(plan.placement):
        chunks = []
        for number in held:
            k = number % len(counts)
            members = units(begins[k], counts[k])
            is_first, is_last = k == 0, k == len(counts) - 1
            members = ([first] if is_first else []) + members + ([last] if is_last else [])
            # What comes from a chunk on the same stage was not sent, so it is there in whole.
            sent = not is_first and at[number - 1] != stage
            returned = not is_last and at[number + 1] != stage
            same = (tuple(id(u) for u in members), sent, returned)
            if same not in alike:
                alike[same] = Chunk(
                    tuple(members),
                    gathers if sent else (),
                    gathers if returned else (),
                    *_scales(operators.fp8, division, members),
                )
            chunks.append(alike[same])
        stages.append(chunks)
    return stages
