"""The plan: degrees multiplied out, defaults of stack and schedule filled in, all checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

from distsim.cost.stack import Overlap, Stack
from distsim.errors import ValueProblem
from distsim.files import read_text
from distsim.parallel.checks import check_divisions
from distsim.parallel.expert_check import check_experts
from distsim.parallel.layers import divide_layers
from distsim.parallel.plan import Plan, resolve_mesh, resolve_microbatches
from distsim.parallel.recompute import Recompute
from distsim.parallel.selective import CORE
from distsim.scenario.block import whole
from distsim.scenario.family import check_attention, check_family
from distsim.scenario.offload import offload_of
from distsim.scenario.schema import CompressionBlock, RecomputeBlock, Scenario
from distsim.scenario.schema import Plan as PlanBlock
from distsim.schedule import REGISTRY, Schedule, actions, chunks_of
from distsim.schedule.csv_actions import read as read_csv
from distsim.workload.model import DENSE
from distsim.workload.network import Model
from distsim.workload.zoo import decoder


def _check_model(scenario: Scenario, spec: Model, dp: int, etp: int) -> None:
    """Refuse a plan that cannot divide the model."""
    given, mixture = scenario.plan, decoder(spec)
    if mixture is None:
        check_family(given, spec)
        return
    check_experts(
        mixture,
        tp=given.tp,
        cp=given.cp,
        dp=dp,
        ep=given.ep,
        etp=etp,
        sequence_parallel=given.sequence_parallel,
    )
    check_attention(given, mixture)


def resolve_plan(scenario: Scenario, spec: Model, stack: Stack, length: int) -> Plan:
    """Return the plan of a scenario.

    Layers are divided as the scenario says, and evenly where it says nothing; `balance: cost`
    divides them later, when costs are known.

    Raises
    ------
    PlanError
        DS301 to DS324 where it does not multiply out or divide the model, or where strategies do
        not go together.
    """
    given, batch = scenario.plan, scenario.batch
    devices = scenario.cluster.devices
    mixture = decoder(spec)
    experts = mixture is not None and mixture.experts > 0
    etp = given.etp or (given.tp if experts else 1)
    dp = resolve_mesh(devices, given.tp, given.pp, given.cp, given.dp)
    _check_model(scenario, spec, dp, etp)
    micro = resolve_microbatches(batch.global_size, batch.micro_size, dp)
    schedule = _schedule(scenario)
    actions(schedule, given.pp, micro, given.virtual_stages)  # refuses what it cannot order
    plan = Plan(
        devices=devices,
        tp=given.tp,
        pp=given.pp,
        cp=given.cp,
        ep=given.ep,
        etp=etp,
        dp=dp,
        experts=experts,
        micro_size=batch.micro_size,
        microbatches=micro,
        pipeline=schedule,
        virtual_stages=given.virtual_stages,
        zero_stage=given.zero_stage,
        dp_replicas=given.dp_replicas,
        sequence_parallel=given.sequence_parallel,
        async_tensor=given.async_tensor,
        recompute=_recompute(scenario, spec),
        scatter_gather_p2p=given.scatter_gather_p2p,
        bucket_bytes=given.bucket_size or 0.0,
        prefetch_layers=given.prefetch_layers,
        reduce_each_microbatch=given.reduce_each_microbatch,
        reshard_after_forward=given.reshard_after_forward,
        max_gathered_bytes=given.max_gathered or float("inf"),
        context_mode=given.cp_mode,
        context_balanced=given.cp_balanced,
        grad_compression=_compression(scenario).name,
        offload=str(offload_of(scenario)),
        **_overlap(scenario, stack),
        layers=_layers(scenario, schedule, spec.layers),
    )
    check_divisions(
        plan,
        spec.divisions,
        sequence_length=length,
        flash_attention=stack.fusion.flash_attention,
    )
    return plan


def _compression(scenario: Scenario) -> CompressionBlock:
    given = scenario.plan.grad_compression
    return whole(CompressionBlock, given)


def _layers(scenario: Scenario, schedule: Schedule, layers: int) -> tuple[int, ...]:
    given = scenario.plan
    chunks = chunks_of(schedule, given.virtual_stages)
    explicit = tuple(given.layers_per_stage) if given.layers_per_stage else None
    first, last = given.first_stage_layers, given.last_stage_layers
    if given.balance == "cost" and explicit is None and first is None and last is None:
        explicit = _any_split(layers, given.pp * chunks // schedule.replicas)
    placement = schedule.placement(given.pp, chunks)
    return divide_layers(layers, placement, schedule.replicas, explicit, first, last)


def _any_split(layers: int, chunks: int) -> tuple[int, ...]:
    """Return some division, which costs will improve."""
    each, rest = divmod(layers, chunks)
    return tuple(each + (1 if k < rest else 0) for k in range(chunks))


def _schedule(scenario: Scenario) -> Schedule:
    """Return the schedule by name, or as a CSV file says."""
    given = scenario.plan
    name = given.schedule or ("interleaved" if given.virtual_stages > 1 else "1f1b")
    if name in REGISTRY:
        return REGISTRY[name]
    path = scenario.located(name)
    return _from_csv(read_text(path), Path(path).stem)


@lru_cache(maxsize=16)
def _from_csv(text: str, name: str) -> Schedule:
    """Return the schedule of a file, the same object for the same text."""
    return read_csv(text, name)


def _recompute(scenario: Scenario, spec: Model) -> Recompute:
    """Return which layers are recomputed.

    Raises
    ------
    ValueProblem
        DS203 for a layer that the model does not have, DS206 for options that exclude each other.
    """
    given = scenario.plan.recompute
    block = whole(RecomputeBlock, given, "mode")
    path = ("plan", "recompute")
    beyond = [layer for layer in block.layers or () if layer >= spec.layers]
    if beyond:
        raise ValueProblem(
            "DS203",
            f"layer {beyond[0]} of a model with {spec.layers}",
            path=(*path, "layers"),
            value=beyond[0],
            rule=f"layers 0 .. {spec.layers - 1}",
            fix="count layers from 0",
        )
    if block.first is not None and block.layers is not None:
        raise ValueProblem(
            "DS206",
            "recompute says both first and layers",
            path=path,
            value=block.first,
            rule="either so many layers of each chunk, or a list",
            fix="remove one of them",
        )
    if block.every > 1 and block.mode != "full":
        raise ValueProblem(
            "DS206",
            f"recompute.every({block.every}) with mode {block.mode}",
            path=(*path, "every"),
            value=block.every,
            rule="only whole layers (mode: full) are recomputed in groups",
            fix="set mode: full, or remove every",
        )
    modules = block.modules or Recompute().modules
    if block.modules is not None and block.mode != "selective":
        raise ValueProblem(
            "DS206",
            f"recompute.modules with mode {block.mode}",
            path=(*path, "modules"),
            value=list(modules),
            rule="parts of a layer are those of mode: selective",
            fix="set mode: selective, or remove modules",
        )
    _check_modules(modules, spec, (*path, "modules"))
    return Recompute(block.mode, block.every, block.first, block.layers, tuple(modules))


def _check_modules(modules: Sequence[str], spec: Model, path: tuple[str | int, ...]) -> None:
    """Refuse parts that no layer of the model has."""
    found = decoder(spec)
    mixture = found is not None and found.experts > 0
    has = {
        "mlp": found is not None and found.layer_kinds.count(DENSE) > 0,
        "moe": mixture,
        "moe_act": mixture,
        "shared_experts": found is not None and found.shared_experts > 0,
        "mla_up_proj": found is not None and found.latent,
        "layernorm": found is not None,
    }
    for module in modules:
        if not has.get(module, True):
            known = [CORE, *(name for name, there in has.items() if there)]
            raise ValueProblem(
                "DS206",
                f"recompute.modules has {module}, which no layer of {spec.name} has",
                path=path,
                value=module,
                rule=f"of this model one of {', '.join(known)}",
                fix=f"remove {module}",
            )


def _overlap(scenario: Scenario, stack: Stack) -> dict[str, bool]:
    """Return what overlaps: as the plan says, else as the stack does.

    Sharded parameters are gathered ahead and their gradients leave as they come in every
    framework that shards them, unless the stack says that it waits.
    """
    given = scenario.plan
    ahead = given.zero_stage == 3 and not stack.sharded.blocking
    forced = {"overlap_grad_reduce", "overlap_param_gather"} if ahead else set()
    out = {}
    for field in fields(Overlap):
        name, value = field.name, getattr(given, field.name)
        default = getattr(stack.overlap, name) or name in forced
        out[name] = bool(default if value is None else value)
    out["overlap_param_gather"] &= given.zero_stage > 0
    out["overlap_experts"] &= given.ep > 1
    if out["overlap_experts"] and (reason := _alone(given)):
        if given.overlap_experts:
            raise ValueProblem(
                "DS206",
                f"overlap_experts with {reason}",
                path=("plan", "overlap_experts"),
                value=True,
                rule="passes of two micro batches take turns layer by layer: without a pipeline or "
                "with virtual_stages > 1, and without recomputation of whole layers",
                fix="remove overlap_experts, or change the other",
            )
        out["overlap_experts"] = False
    return out


def _alone(given: PlanBlock) -> str:
    """Say why passes of two micro batches cannot take turns, as Megatron-Core has it, or nothing.

    (`TransformerConfig`, 0.16, on ``overlap_moe_expert_parallel_comm``.)
    """
    mode = given.recompute if isinstance(given.recompute, str) else given.recompute.mode
    if given.pp > 1 and given.virtual_stages == 1:
        return f"pp({given.pp}) and virtual_stages(1)"
    if mode == "full":
        return "recompute full"
    return "overlap_shared_experts" if given.overlap_shared_experts else ""
