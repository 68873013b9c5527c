"""From a scenario, as written, to a case: names looked up, defaults filled in, checks made."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.cost.attention import with_kernel
from distsim.cost.stack import DEFAULT_STACK, Stack, load_stack
from distsim.engine.noise import Noise
from distsim.errors import DistsimError, PlanError, ValueProblem
from distsim.hardware.block import Block
from distsim.hardware.catalogue import device as load_device
from distsim.hardware.catalogue import load_topology
from distsim.hardware.device import Device
from distsim.hardware.libraries import read_library
from distsim.hardware.slow_links import LinkRule, slow_links
from distsim.hardware.topology import Topology
from distsim.parallel.placement import place
from distsim.parallel.plan import Plan
from distsim.parallel.recompute import Recompute
from distsim.parallel.selective import CORE, again_flop
from distsim.parallel.unequal import Rule, at_speed, unequal
from distsim.prediction.case import Case, Jitter
from distsim.scenario.batches import Batches, resolve_batches
from distsim.scenario.family import check_fp8
from distsim.scenario.host import resolve_rest
from distsim.scenario.lengths import check_length, padded_vocabulary, sample_of
from distsim.scenario.machine import Machine
from distsim.scenario.numerics import resolve_numerics, resolve_optimizer
from distsim.scenario.plan import resolve_plan
from distsim.scenario.profile import NO_PROFILE, Profile, read_profile
from distsim.scenario.schema import Scenario, SlowLinks, UnequalDevices
from distsim.scenario.step import step_inputs
from distsim.store import Same
from distsim.workload.network import Model
from distsim.workload.op import Fusion, Numerics
from distsim.workload.optimizer import state_bytes_per_parameter
from distsim.workload.shape import Shape
from distsim.workload.zoo import network, network_from_block, vocabulary


def resolve(scenario: Scenario, profile: Profile | None = None) -> Case:
    """Resolve a scenario.

    Parameters
    ----------
    profile : Profile, optional
        Calibrated numbers, in place of those that ``cluster.profile`` names.

    Raises
    ------
    DistsimError
        With the place in the scenario's file, whatever layer found the problem.
    """
    try:
        return _resolve(scenario, profile)
    except DistsimError as error:
        place = scenario.place(error.path)
        raise (error.at(place) if place else error) from error.__cause__


def _resolve(scenario: Scenario, profile: Profile | None) -> Case:
    batch = scenario.batch
    profile = profile or _profile(scenario)
    stack = profile.on_stack(load_stack(scenario.stack or DEFAULT_STACK))
    machine = _machine(scenario, profile, stack)
    device = machine.devices[0]
    spec, said = _model(scenario)
    numerics = resolve_numerics(scenario, stack, device)
    check_fp8(numerics, spec)
    optimizer = resolve_optimizer(scenario, numerics, device)
    length = batch.sequence_length or spec.default_length
    warnings = check_length(spec, batch.sequence_length, length)
    plan = resolve_plan(scenario, spec, stack, length)
    padded, padding = padded_vocabulary(spec, plan.tp)
    batches = resolve_batches(scenario, plan, spec, length, numerics, stack.fusion)
    inputs, states = step_inputs(
        scenario, plan, padded, batches.shapes, batches.variant_of, optimizer, machine, stack
    )
    a_parameter = state_bytes_per_parameter(optimizer, numerics)
    return Case(
        name=scenario.name,
        model=spec.name,
        inputs=inputs,
        numerics=numerics,
        tokens=batches.tokens,
        model_flop=batches.model_flop,
        hardware_flop=batches.model_flop
        + _recomputed_flop(spec, inputs.plan, batches, length, stack.early_stop),
        optimizer_bytes=states,
        footprint=stack.footprint,
        parameters=spec.parameters,
        evaluator=scenario.evaluator,
        network=spec,
        shapes=batches.shapes,
        resolved={
            **_names(scenario, machine, stack, profile, numerics),
            "optimizer": optimizer.name,
            "global_size": batch.global_size,
            "sequence_length": length,
            "vocabulary": vocabulary(padded),
            "sample": sample_of(spec),
            "micro_batches": batches.to_dict(),
        },
        warnings=(*said, *warnings, *padding),
        peak_flop_per_s=_peak(machine, numerics.compute),
        noise=_noise(scenario, plan),
        rest=resolve_rest(
            scenario, machine, plan, numerics, spec.parameters, a_parameter, batches.tokens
        ),
    )


def _names(
    scenario: Scenario, machine: Machine, stack: Stack, profile: Profile, numerics: Numerics
) -> dict[str, Any]:
    """Return what was chosen by name: hardware, software, type of numbers."""
    return {
        "topology": machine.topology.name,
        "device": machine.devices[0].name,
        "library": machine.topology.library.name,
        "profile": profile.name,
        "placement": scenario.cluster.placement,
        "stack": stack.name,
        "precision": numerics.compute if numerics.fp8 is None else f"{numerics.compute} + fp8",
    }


def _peak(machine: Machine, compute: str) -> float:
    """Return the sum of the dense peaks of all devices, at their nominal speed."""
    if len(machine.nominal) == 1:
        return len(machine.kind_of) * machine.nominal[0].peak_flop_per_s[compute]
    count = np.bincount(machine.kind_of, minlength=len(machine.nominal))
    peaks = [d.peak_flop_per_s[compute] for d in machine.nominal]
    return float(count @ np.asarray(peaks))


def _noise(scenario: Scenario, plan: Plan) -> Jitter | None:
    """Return what varies at random.

    Raises
    ------
    PlanError
        DS308 for a schedule without a flush, whose steps overlap.
    """
    block = scenario.noise
    if block is None:
        return None
    if not plan.pipeline.flush:
        raise PlanError(
            "DS308",
            f"noise with schedule {plan.schedule}, whose batches overlap",
            path=("noise",),
            value=block.kind,
            rule="samples are of whole steps, one after another",
            fix="choose a schedule that flushes, such as 1f1b, or remove noise",
        )
    noise = Noise(
        block.kind,
        block.sigma,
        block.device_share,
        block.slow_probability,
        block.slow_factor,
        block.transfer_sigma,
    )
    return Jitter(noise, block.samples, scenario.seed)


def _profile(scenario: Scenario) -> Profile:
    named = scenario.cluster.profile
    return read_profile(scenario.located(named)) if named else NO_PROFILE


def _machine(scenario: Scenario, profile: Profile, stack: Stack) -> Machine:
    cluster = scenario.cluster
    topology = profile.on_topology(_topology(scenario))
    name = scenario.located(cluster.device or topology.device_name)
    kernel = stack.attention_kernel
    device = _with_kernel(load_device(name, path=("cluster", "device")), kernel)
    device = profile.on_device(device)
    topology = _running_on(Same(topology), device.architecture)
    placed = _placed(cluster.placement, cluster.devices, Same(topology.node_of), scenario.seed)
    if cluster.slow_links:
        topology = slow_links(topology, [_link_rule(r) for r in cluster.slow_links])
    if not cluster.unequal:
        warm = _warm(Same(device))
        return Machine((warm,), topology, placed, _ordinary(len(placed)), (warm,))
    found = unequal([_device_rule(r) for r in cluster.unequal], topology.node_of, device.name)
    nominal = [
        _warm(
            Same(device if k.device == device.name else _with_kernel(load_device(k.device), kernel))
        )
        for k in found.kinds
    ]
    devices = tuple(at_speed(d, k.speed) for d, k in zip(nominal, found.kinds, strict=True))
    kinds = found.kind_of_device[placed]
    return Machine(devices, topology, placed, kinds, tuple(nominal))


def _with_kernel(device: Device, kernel: str) -> Device:
    return _running(Same(device), kernel)


@lru_cache(maxsize=64)
def _ordinary(ranks: int) -> npt.NDArray[np.int64]:
    """Return the kinds of devices that are all of the first kind."""
    out = np.zeros(ranks, dtype=np.int64)
    out.flags.writeable = False
    return out


@lru_cache(maxsize=64)
def _running(device: Same, kernel: str) -> Device:
    """Return a device with a kernel of attention, the same object for the same device."""
    return with_kernel(device.of, kernel)


@lru_cache(maxsize=64)
def _running_on(topology: Same, architecture: str) -> Topology:
    """Return a topology whose library runs on devices of a generation, the same object for both."""
    whole: Topology = topology.of
    library = whole.library.on(architecture)
    return whole if library is whole.library else replace(whole, library=library)


@lru_cache(maxsize=64)
def _warm(device: Same) -> Device:
    """Return a device as it runs in a step, the same object for the same device."""
    warm: Device = device.of.warm()
    return warm


def _device_rule(block: UnequalDevices) -> Rule:
    chosen = block.devices if isinstance(block.devices, tuple) else (block.devices,)
    return Rule(chosen, block.speed, block.device)


def _link_rule(block: SlowLinks) -> LinkRule:
    return LinkRule(block.link_class, block.pattern, block.between, block.bandwidth, block.latency)


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
    given = cluster.topology
    where = scenario.located(given) if isinstance(given, str) else given
    topology = load_topology(where, whole, path=("cluster", "topology"))
    if cluster.library is None:
        return topology
    library: Any = cluster.library
    library = scenario.located(library) if isinstance(library, str) else library
    return replace(topology, library=read_library(Block({"library": library}, ("cluster",))))


@lru_cache(maxsize=64)
def _placed(placement: str, devices: int, node_of: Same, seed: int) -> npt.NDArray[np.int64]:
    """Return the device of each rank, the same array for the same question."""
    nodes: npt.NDArray[np.int64] = node_of.of.astype(np.int64)
    placed = place(placement, devices, np.arange(len(nodes)), nodes, seed)
    placed.flags.writeable = False
    return placed


def _model(scenario: Scenario) -> tuple[Model, tuple[str, ...]]:
    """Return the model, and what its file leaves open."""
    block = scenario.model
    if not isinstance(block, str):
        return network_from_block(block, ("model",)), ()
    if block.endswith(".json"):
        from distsim.scenario.importers.huggingface import model_from_config  # only where used

        return model_from_config(scenario.located(block), path=("model",))
    return network(block, path=("model",)), ()


def _recomputed_flop(
    spec: Model, plan: Plan, batches: Batches, length: int, early_stop: bool
) -> float:
    """FLOP that run again in a step: as Korthikanti 2022 counts them, by layers.

    Parameters
    ----------
    early_stop : bool
        See `Stack`.
    """
    recompute = plan.recompute
    layers = _layers_again(recompute, plan.layers, spec.layers)
    share = len(layers) / spec.layers
    if recompute.mode == "full" and not early_stop:
        return batches.layers_again_flop * share
    if recompute.mode == "none":
        return 0.0
    if recompute.mode == "selective" and recompute.modules == (CORE,):
        return batches.attention_again_flop * share
    # Parts of layers: their share of the forward pass of one sample, every product in full.
    unfused, first = Fusion(flash_attention=False), batches.shapes[0]
    fusion = first.fusion if recompute.mode == "alternate" else unfused
    blocks = spec.blocks(Shape(1, length, first.numerics, fusion))
    again = {
        kind: again_flop(ops, recompute.mode, recompute.modules, early_stop)
        for kind, ops in blocks.kinds.items()
    }
    whole = spec.blocks(Shape(1, length, first.numerics, unfused))
    forward = sum(op.forward_flop for kind in whole.layers for op in whole.kinds[kind])
    return batches.layers_again_flop * sum(again[blocks.layers[i]] for i in layers) / forward


@lru_cache(maxsize=256)
def _layers_again(recompute: Recompute, chunks: tuple[int, ...], layers: int) -> tuple[int, ...]:
    """Return the layers that are recomputed; `chunks` has the layers of each model chunk."""
    begins = np.concatenate([[0], np.cumsum(chunks)])
    chunk = np.searchsorted(begins, np.arange(layers), side="right") - 1
    return tuple(
        layer
        for layer in range(layers)
        if recompute.covers(layer, layer - int(begins[chunk[layer]]))
    )
