"""What a step is made of: operators divided by the plan, the update, and layers by their cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from distsim.cost.kernel import price
from distsim.cost.stack import Stack
from distsim.hardware.device import Device
from distsim.parallel.compression import Options, compression
from distsim.parallel.compressions.base import Compression
from distsim.parallel.context import ContextParallel
from distsim.parallel.data import data_parallel
from distsim.parallel.dispatch import DISPATCHERS, sent_copies
from distsim.parallel.division import PLAIN, Division, Software
from distsim.parallel.expert import ExpertParallel
from distsim.parallel.layers import balanced_layers
from distsim.parallel.load import ExpertLoad, dirichlet_shares, expert_load, histogram_shares
from distsim.parallel.plan import Plan
from distsim.parallel.recompute import layer_unit, plain_unit
from distsim.parallel.stages import Chunk, Operators, boundary_bytes, model_chunks
from distsim.parallel.step import Unit
from distsim.parallel.tensor import TensorParallel
from distsim.program.build import Inputs, Variant
from distsim.scenario.block import whole
from distsim.scenario.host import resolve_offload
from distsim.scenario.machine import Machine
from distsim.scenario.offload import offload_of
from distsim.scenario.schema import CompressionBlock, Scenario
from distsim.scenario.update import update_of, updated
from distsim.store import Interned
from distsim.workload.network import Model
from distsim.workload.op import Numerics
from distsim.workload.optimizer import OptimizerSpec
from distsim.workload.shape import Shape
from distsim.workload.zoo import decoder

Ints = npt.NDArray[np.int64]


@lru_cache(maxsize=128)
def operators_of(model: Model, shape: Shape) -> Operators:
    """Return the operators of a model for one micro batch."""
    blocks = model.blocks(shape)
    return Operators(
        blocks.layers,
        dict(blocks.kinds),
        blocks.embedding,
        blocks.head,
        blocks.region_elements,
        shape.numerics.fp8,
    )


def division_of(
    plan: Plan,
    model: Model,
    numerics: Numerics,
    load: ExpertLoad | None,
    *,
    overlap_shared: bool = False,
    sent_share: float = 1.0,
    software: Software = PLAIN,
) -> Division:
    """Return who divides which operator; see `ExpertParallel` and `Division` for the last three."""
    tensor = TensorParallel(
        plan.tp,
        plan.sequence_parallel,
        plan.overlap_tensor,
        numerics.activation_bytes,
        plan.async_tensor,
    )
    context = expert = None
    if plan.cp > 1:
        context = ContextParallel(plan.cp, plan.context_mode, plan.context_balanced, tensor)
    spec = decoder(model)
    if spec is not None and spec.experts:
        expert = ExpertParallel(
            plan.ep,
            plan.etp,
            plan.tp,
            spec.experts,
            numerics.activation_bytes,
            load.imbalance if load else 1.0,
            load.worst if load else 1.0,
            overlap_shared,
            sent_share,
            plan.overlap_experts,
        )
    return Division(tensor, context, expert, software)


def resolve_sent_share(scenario: Scenario, plan: Plan, model: Model, machine: Machine) -> float:
    """Return what is sent to experts over what it would be with a copy of a token for each."""
    spec = decoder(model)
    if spec is None or not spec.experts or scenario.plan.expert_dispatch == DISPATCHERS[0]:
        return 1.0
    groups = machine.topology.node_of[machine.device_of[plan.mesh().groups("ep")]]
    nodes = max(len(np.unique(group)) for group in np.unique(groups, axis=0))
    k = spec.experts_per_token
    limits = spec.routing_groups, spec.routing_groups_per_token
    return sent_copies(spec.experts, k, plan.ep, nodes, *limits) / k


def _division(
    scenario: Scenario,
    plan: Plan,
    model: Model,
    numerics: Numerics,
    machine: Machine,
    stack: Stack,
) -> Division:
    return division_of(
        plan,
        model,
        numerics,
        resolve_load(scenario, model),
        overlap_shared=scenario.plan.overlap_shared_experts,
        sent_share=resolve_sent_share(scenario, plan, model, machine),
        software=software_of(stack, numerics),
    )


def software_of(stack: Stack, numerics: Numerics) -> Software:
    """Return what a stack does around the operators of a layer and of the loss.

    Logits that are products in fp32 need no copy.
    """
    given, copied = stack.footprint, numerics.activation_bytes < 4
    whole = given.loss_copies if copied else 0.0
    divided = given.divided_loss_copies if copied and not stack.fusion.cross_entropy else whole
    return Software(stack.layer_wait_s, stack.early_stop, whole, divided)


def resolve_load(scenario: Scenario, model: Model) -> ExpertLoad | None:
    """Return how unequally experts are loaded; None: equally, or there are none.

    Raises
    ------
    PlanError
        DS324 for a histogram or concentration that makes no sense.
    """
    given, path = scenario.plan.expert_load, ("plan", "expert_load")
    spec = decoder(model)
    if given is None or spec is None or not spec.experts:
        return None
    if given.histogram is not None:
        shares = histogram_shares(given.histogram, spec.experts, (*path, "histogram"))
    else:
        layers = spec.layer_kinds.count("moe")
        alpha = 1.0 if given.alpha is None else given.alpha
        shares = dirichlet_shares(alpha, spec.experts, layers, scenario.seed, (*path, "alpha"))
    return expert_load(shares, scenario.plan.ep, spec.experts_per_token, spec.capacity_factor)


def balanced(
    plan: Plan, division: Division, operators: Operators, device: Device, dtype: str
) -> Plan:
    """Divide layers so that the slowest model chunk computes as briefly as can be."""

    def unit_s(unit: Unit) -> float:
        works = [w for s in (*unit.forward, *unit.backward) for w in s.works]
        return price(works, device, dtype).device_s

    def layer_s(layer: int, kind: str) -> float:
        mode = plan.recompute.mode if plan.recompute.covers(layer, 0) else "none"
        ops, modules = operators.kinds[kind], plan.recompute.modules
        return unit_s(layer_unit(division, ops, mode, modules=modules))

    seen: dict[tuple[str, bool], float] = {}
    costs = []
    for layer, kind in enumerate(operators.layers):
        key = (kind, plan.recompute.covers(layer, 0))
        if key not in seen:
            seen[key] = layer_s(layer, kind)
        costs.append(seen[key])
    ends = (operators.embedding, operators.head)
    first_s, last_s = (unit_s(plain_unit("end", division, ops)) for ops in ends)
    return replace(plan, layers=balanced_layers(costs, len(plan.layers), first_s, last_s))


def resolve_compression(
    scenario: Scenario, numerics: Numerics, chunks: Sequence[Chunk]
) -> Compression | None:
    """Return how gradients are compressed, or None.

    Parameters
    ----------
    chunks : sequence of Chunk
        Of the first stage, whose matrices stand for all.

    Raises
    ------
    ValueProblem
        DS248 for an unknown name, DS249 for an option out of range.
    """
    given = scenario.plan.grad_compression
    block = whole(CompressionBlock, given)
    if block.name == "none":
        return None
    defaults = Options()
    options = Options(
        numerics.reduce_bytes,
        defaults.density if block.density is None else block.density,
        defaults.rank if block.rank is None else block.rank,
        [m for c in chunks for u in c.units for m in u.matrices],
        sum(c.parameters for c in chunks),
    )
    return compression(block.name, options, ("plan", "grad_compression"))


def step_inputs(
    scenario: Scenario,
    plan: Plan,
    spec: Model,
    shapes: Sequence[Shape],
    variant_of: Ints,
    optimizer: OptimizerSpec,
    machine: Machine,
    stack: Stack,
) -> tuple[Inputs, tuple[tuple[float, ...], ...]]:
    """Return the inputs of the program, and bytes of optimizer state (`Case.optimizer_bytes`).

    Parameters
    ----------
    shapes : sequence of Shape
        One for each variant of micro batches.
    variant_of : int64[microbatches]
    """
    numerics = shapes[0].numerics
    division = _division(scenario, plan, spec, numerics, machine, stack)
    made = [operators_of(spec, shape) for shape in shapes]
    if scenario.plan.balance == "cost":
        plan = balanced(plan, division, made[-1], machine.devices[0], numerics.compute)
    variants = tuple(
        Variant(
            model_chunks(plan, division, operators),
            boundary_bytes(plan, division.tensor, operators.region_elements),
        )
        for operators in made
    )
    chunks = variants[0].chunks
    offload = offload_of(scenario)
    data = _DATA.of(
        data_parallel(
            plan,
            numerics,
            resolve_compression(scenario, numerics, chunks[0]),
            offloaded=offload.active,
            handover=stack.sharded,
        )
    )
    held, works, states = updated(plan, data, numerics, optimizer, chunks, offload)
    owned = [
        [(count, size) for (count, _), size in zip(stage, sizes, strict=True)]
        for stage, sizes in (zip(held, states, strict=True) if offload.active else ())
    ]
    inputs = Inputs(
        plan,
        data,
        variants,
        update_of(plan, spec, numerics, optimizer, machine, works, chunks, data.domains),
        machine.devices,
        machine.topology,
        numerics.compute,
        machine.device_of,
        machine.kind_of,
        variant_of,
        offloading=resolve_offload(scenario, machine, plan, data, numerics, owned),
        restart_s=stack.restart_s if plan.pp > 1 and not plan.overlap_p2p else 0.0,
    )
    return inputs, states


#: One object for what plans have in common, so that what was laid out for it is found again.
_DATA = Interned(4096)
