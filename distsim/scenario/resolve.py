"""From a scenario, as written, to a case: names looked up, defaults filled in, checks made."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from math import ceil, log2
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.cost.stack import DEFAULT_STACK, Overlap, Stack, load_stack
from distsim.errors import DistsimError, PlanError, ValueProblem
from distsim.hardware.block import Block
from distsim.hardware.catalogue import device as load_device
from distsim.hardware.catalogue import load_topology
from distsim.hardware.device import Device
from distsim.hardware.libraries import read_library
from distsim.hardware.topology import Topology
from distsim.parallel.data import data_parallel, shards
from distsim.parallel.placement import place
from distsim.parallel.plan import (
    Plan,
    check_divisions,
    divide_layers,
    resolve_mesh,
    resolve_microbatches,
)
from distsim.parallel.stages import boundary_bytes, model_chunks
from distsim.parallel.tensor import TensorParallel
from distsim.prediction.case import Case
from distsim.program.build import Inputs
from distsim.program.tail import Update
from distsim.scenario.schema import OptimizerBlock, PrecisionBlock, Scenario
from distsim.workload import transformer
from distsim.workload.catalogue import model as load_model
from distsim.workload.catalogue import model_from_block
from distsim.workload.model import ModelSpec
from distsim.workload.op import Numerics
from distsim.workload.optimizer import (
    OPTIMIZERS,
    OptimizerSpec,
    state_bytes_per_parameter,
    update_passes,
)
from distsim.workload.shape import Shape

BYTES = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0}
#: Megatron-LM pads the vocabulary to a multiple of this times tp.
VOCAB_MULTIPLE = 128


def resolve(scenario: Scenario) -> Case:
    """Resolve a scenario.

    Raises
    ------
    DistsimError
        With the place in the scenario's file, whatever layer found the problem.
    """
    try:
        return _resolve(scenario)
    except DistsimError as error:
        place = scenario.place(error.path)
        raise (error.at(place) if place else error) from error.__cause__


def _resolve(scenario: Scenario) -> Case:
    cluster, batch = scenario.cluster, scenario.batch
    topology = _topology(scenario)
    name = _beside(scenario, cluster.device or topology.device_name)
    device = load_device(name, path=("cluster", "device"))
    topology = replace(topology, library=topology.library.on(device.architecture))
    spec = _model(scenario.model)
    stack = load_stack(scenario.stack or DEFAULT_STACK)
    numerics = _numerics(scenario, stack, device)
    length = batch.sequence_length or spec.max_positions
    warnings = _check_length(spec, length)
    plan = _plan(scenario, spec, stack, length)
    padded, padding = _padded(spec, plan.tp)
    optimizer = _optimizer(scenario)
    shape = Shape(plan.micro_size, length, numerics, stack.fusion)
    sequences = float(batch.global_size)
    model_flop = sequences * transformer.model_flop_per_sequence(spec, length)
    return Case(
        name=scenario.name,
        model=spec.name,
        inputs=_inputs(
            plan, padded, shape, optimizer, device, topology, stack, _placed(scenario, topology)
        ),
        numerics=numerics,
        tokens=sequences * length,
        model_flop=model_flop,
        hardware_flop=model_flop + sequences * _recomputed_flop(spec, plan, length),
        optimizer_bytes=state_bytes_per_parameter(optimizer, numerics),
        parameters=spec.parameters,
        evaluator=scenario.evaluator,
        resolved={
            "topology": topology.name,
            "device": device.name,
            "library": topology.library.name,
            "placement": cluster.placement,
            "stack": stack.name,
            "precision": numerics.compute,
            "optimizer": optimizer.name,
            "global_size": batch.global_size,
            "sequence_length": length,
            "vocabulary": padded.vocab,
        },
        warnings=(*warnings, *padding),
    )


def _topology(scenario: Scenario) -> Topology:
    cluster = scenario.cluster
    whole = cluster.of or cluster.devices
    if whole < cluster.devices:
        raise ValueProblem(
            "DS203",
            f"devices({cluster.devices}) are more than the whole cluster of({whole})",
            path=("cluster", "of"),
            value=whole,
            rule="of >= devices",
            fix=f"set of to {cluster.devices} or more",
        )
    where = _beside(scenario, cluster.topology)
    topology = load_topology(where, whole, path=("cluster", "topology"))
    if cluster.library is None:
        return topology
    given = Block({"library": _beside(scenario, cluster.library)}, ("cluster",))
    return replace(topology, library=read_library(given))


def _placed(scenario: Scenario, topology: Topology) -> npt.NDArray[np.int64]:
    cluster = scenario.cluster
    free = np.arange(topology.n_devices)
    return place(
        cluster.placement, cluster.devices, free, topology.node_of.astype(np.int64), scenario.seed
    )


def _beside(scenario: Scenario, source: Any) -> Any:
    """Return a path as seen from the scenario's directory, if a file is there, else as it is."""
    if not isinstance(source, str):
        return source
    near = scenario.beside(source)
    return near if os.path.exists(near) else source


def _inputs(
    plan: Plan,
    spec: ModelSpec,
    shape: Shape,
    optimizer: OptimizerSpec,
    device: Device,
    topology: Topology,
    stack: Stack,
    device_of: npt.NDArray[np.int64],
) -> Inputs:
    numerics = shape.numerics
    tensor = TensorParallel(
        plan.tp, plan.sequence_parallel, plan.overlap_tensor, numerics.activation_bytes
    )
    region = float(shape.tokens * spec.hidden)
    chunks = model_chunks(
        plan,
        tensor,
        transformer.layer(spec, shape),
        transformer.embedding(spec, shape),
        transformer.head(spec, shape),
        region,
    )
    return Inputs(
        plan,
        data_parallel(plan, numerics),
        chunks,
        boundary_bytes(plan, tensor, region),
        _update(plan, spec, numerics, optimizer, topology, device_of),
        device,
        topology,
        numerics.compute,
        device_of,
        stack.restart_s if plan.pp > 1 and not plan.overlap_p2p else 0.0,
    )


def _model(block: Any) -> ModelSpec:
    if isinstance(block, str):
        return load_model(block, path=("model",))
    return model_from_block(block, ("model",))


def _check_length(spec: ModelSpec, length: int) -> list[str]:
    if length <= spec.max_positions:
        return []
    if spec.positions == "learned":
        raise ValueProblem(
            "DS230",
            f"sequence_length {length} is longer than the {spec.max_positions} positions "
            f"of {spec.name}",
            path=("batch", "sequence_length"),
            value=length,
            rule="learned positions end at max_positions",
            fix=f"use sequence_length <= {spec.max_positions}, or a model with more positions",
        )
    return [
        f"sequence_length {length} is longer than {spec.name}'s max_positions {spec.max_positions}"
    ]


def _numerics(scenario: Scenario, stack: Stack, device: Device) -> Numerics:
    given = scenario.precision
    block = PrecisionBlock(compute=given) if isinstance(given, str) else given
    compute = block.compute
    if compute not in device.peak_flop_per_s:
        known = ", ".join(sorted(device.peak_flop_per_s))
        raise ValueProblem(
            "DS231",
            f"{device.name} has no {compute} rate",
            path=("precision",),
            value=compute,
            rule=f"one of {known}",
            fix=f"choose a precision among {known}",
        )
    weights, low = stack.weights[compute], BYTES[compute] < 4
    if block.master_weights is not None:
        weights = compute if block.master_weights else weights
    master = low and weights == compute and block.master_weights is not False
    gradients = block.gradients or stack.gradients[compute]
    return Numerics(
        compute=compute,
        activation_bytes=BYTES[compute],
        weight_bytes=BYTES[weights],
        gradient_bytes=BYTES[gradients],
        master_bytes=4.0 if master else 0.0,
        reduce_bytes=BYTES[block.grad_communication or block.gradients or stack.reduction[compute]],
        gather_bytes=BYTES[compute],
        loss_scaling=compute == "fp16",
    )


def _plan(scenario: Scenario, spec: ModelSpec, stack: Stack, length: int) -> Plan:
    given, batch = scenario.plan, scenario.batch
    devices = scenario.cluster.devices
    if given.ep > 1:
        raise PlanError(
            "DS308",
            f"ep({given.ep}): {spec.name} has no experts",
            path=("plan", "ep"),
            value=given.ep,
            rule="ep = 1 for a dense model",
            fix="set ep: 1",
        )
    dp = resolve_mesh(devices, given.tp, given.pp, given.cp, given.dp)
    micro = resolve_microbatches(batch.global_size, batch.micro_size, dp)
    schedule = given.schedule or ("interleaved" if given.virtual_stages > 1 else "1f1b")
    overlap = _overlap(scenario, stack)
    plan = Plan(
        devices=devices,
        tp=given.tp,
        pp=given.pp,
        cp=given.cp,
        dp=dp,
        micro_size=batch.micro_size,
        microbatches=micro,
        schedule=schedule,
        virtual_stages=given.virtual_stages,
        zero_stage=given.zero_stage,
        sequence_parallel=given.sequence_parallel,
        recompute=given.recompute,
        scatter_gather_p2p=given.scatter_gather_p2p,
        bucket_bytes=given.bucket_size or 0.0,
        prefetch_layers=given.prefetch_layers,
        **overlap,
        layers_per_chunk=divide_layers(
            spec.layers,
            given.pp,
            given.virtual_stages,
            tuple(given.layers_per_stage) if given.layers_per_stage else None,
            given.first_stage_layers,
            given.last_stage_layers,
        ),
    )
    check_divisions(
        plan, heads=spec.heads, kv_heads=spec.kv_heads, ffn=spec.ffn, sequence_length=length
    )
    return plan


def _overlap(scenario: Scenario, stack: Stack) -> dict[str, bool]:
    """Return what overlaps: as the plan says, else as the stack does.

    Sharded parameters are gathered ahead and their gradients leave as they come in every
    framework that shards them.
    """
    given = scenario.plan
    forced = {"overlap_grad_reduce", "overlap_param_gather"} if given.zero_stage == 3 else set()
    out = {}
    for field in fields(Overlap):
        name, value = field.name, getattr(given, field.name)
        default = getattr(stack.overlap, name) or name in forced
        out[name] = bool(default if value is None else value)
    out["overlap_param_gather"] &= given.zero_stage > 0
    return out


def _padded(spec: ModelSpec, tp: int) -> tuple[ModelSpec, list[str]]:
    """Pad the vocabulary where ranks divide it, as Megatron-LM does."""
    unit = VOCAB_MULTIPLE * tp
    if tp == 1 or spec.vocab % unit == 0:
        return spec, []
    vocab = ceil(spec.vocab / unit) * unit
    note = (
        f"vocabulary padded from {spec.vocab} to {vocab}, a multiple of {VOCAB_MULTIPLE} * tp({tp})"
    )
    return replace(spec, vocab=vocab), [note]


def _optimizer(scenario: Scenario) -> OptimizerSpec:
    given = scenario.optimizer
    block = OptimizerBlock(name=given) if isinstance(given, str) else given
    return replace(OPTIMIZERS[block.name], clip_norm=block.clip_grad_norm)


def _update(
    plan: Plan,
    spec: ModelSpec,
    numerics: Numerics,
    optimizer: OptimizerSpec,
    topology: Topology,
    device_of: npt.NDArray[np.int64],
) -> Update:
    ends = device_of[:1], device_of[-1:]
    hop_s = float(topology.routes(*ends).latency_s(topology)[0]) if plan.devices > 1 else 0.0
    tied = spec.tied_embeddings and plan.pp > 1
    return Update(
        passes=update_passes(optimizer, numerics),
        shard=shards(plan)[2],
        synchronized=optimizer.clip_norm or numerics.loss_scaling,
        # A small all-reduce over a binomial tree, up and down (Thakur 2005).
        sync_latency_s=2 * ceil(log2(max(plan.devices, 2))) * hop_s,
        tied_bytes=spec.vocab * spec.hidden / plan.tp * numerics.reduce_bytes if tied else 0.0,
    )


def _recomputed_flop(spec: ModelSpec, plan: Plan, length: int) -> float:
    if plan.recompute == "full":
        head = 2.0 * length * spec.hidden * spec.vocab
        return transformer.model_flop_per_sequence(spec, length) / 3 - head
    if plan.recompute == "selective":
        return transformer.attention_flop_per_sequence(spec, length)
    return 0.0
