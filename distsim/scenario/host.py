"""The host and the rest of the step: offload, loading, checkpoints, evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distsim.errors import ValueProblem
from distsim.hardware.host import Host, host, host_of
from distsim.parallel.data import DataParallel, Domain, shards
from distsim.parallel.offload import Held, check_offload
from distsim.parallel.plan import Plan
from distsim.prediction.case import Rest
from distsim.prediction.overheads import (
    Checkpoint,
    Evaluation,
    Loading,
    checkpoint_bytes,
    writing_devices,
    writing_nodes,
)
from distsim.program.offload import Offloading
from distsim.scenario.machine import Machine
from distsim.scenario.offload import offload_of
from distsim.scenario.schema import CheckpointBlock, LoadingBlock, Scenario
from distsim.workload.op import Numerics


def resolve_host(scenario: Scenario, machine: Machine) -> Host:
    """Return the host of the devices, as fully used as the job does.

    Raises
    ------
    ValueProblem
        For a host that does not exist.
    """
    name, path = scenario.cluster.host, ("cluster", "host")
    found = host(scenario.beside(name), path=path) if name else None
    if found is None:
        found = host_of(machine.devices[0].name, path=path)
    used = np.bincount(machine.topology.node_of[machine.device_of]).max()
    return found.serving(int(used))


def resolve_offload(
    scenario: Scenario,
    machine: Machine,
    plan: Plan,
    data: DataParallel,
    numerics: Numerics,
    held: Sequence[Sequence[tuple[float, float]]],
) -> Offloading | None:
    """Return what is on the host, checked; None if nothing is.

    Parameters
    ----------
    held : sequence of sequence of (float, float)
        ``[stage][domain]``: parameters of one rank, and bytes of optimizer state for all of them.

    Raises
    ------
    PlanError
        DS330 to DS334.
    """
    offload = offload_of(scenario)
    if not offload.active:
        return None
    at = resolve_host(scenario, machine)
    each = tuple(
        tuple(
            _held(plan, data, domain, numerics, count, states)
            for domain, (count, states) in zip(data.domains, stage, strict=True)
        )
        for stage in held
    )
    check_offload(offload, at, [h for stage in each for h in stage])
    return Offloading(offload, at, each)


def _held(
    plan: Plan,
    data: DataParallel,
    domain: Domain,
    numerics: Numerics,
    parameters: float,
    state_bytes: float,
) -> Held:
    again = data.reduce == "each"
    gathers = {"each": 2 * plan.microbatches, "forward": plan.microbatches, "first": 1}
    return Held(
        parameters,
        numerics,
        state_bytes / parameters if parameters else 0.0,
        shards(plan, domain),
        plan.zero_stage,
        reductions=plan.microbatches if again else 1,
        gathers=gathers.get(data.gather, 0) if plan.zero_stage == 3 else 0,
        gradients_leave=plan.zero_stage >= 2 and (again or plan.microbatches == 1),
    )


def resolve_rest(
    scenario: Scenario,
    machine: Machine,
    plan: Plan,
    numerics: Numerics,
    parameters: float,
    state_bytes: float,
    tokens: float,
) -> Rest:
    """Return what comes beside the optimizer step.

    Parameters
    ----------
    state_bytes : float
        Bytes of optimizer state a parameter.
    tokens : float
        Useful tokens of a step, over all devices.
    """
    if scenario.cluster.host:
        resolve_host(scenario, machine)  # refuses a host that does not exist, also if none is used
    given = scenario.evaluation
    return Rest(
        _loading(scenario.loading, float(scenario.batch.global_size), tokens, machine),
        _checkpoint(scenario, machine, plan, numerics, parameters, state_bytes),
        Evaluation(given.every_steps, given.batches) if given else None,
    )


def _loading(
    block: LoadingBlock | None, samples: float, tokens: float, machine: Machine
) -> Loading | None:
    if block is None:
        return None
    rates = {
        "samples_per_s": (samples, block.samples_per_s),
        "tokens_per_s": (tokens, block.tokens_per_s),
        "bandwidth": (samples * (block.sample_size or 0.0), block.bandwidth),
    }
    found = [(key, amount, rate) for key, (amount, rate) in rates.items() if rate is not None]
    if len(found) != 1 or (block.bandwidth is None) != (block.sample_size is None):
        given = ", ".join(key for key, _, _ in found) or "none"
        raise ValueProblem(
            "DS206",
            f"loading gives {given}",
            path=("loading",),
            value=given,
            rule="exactly one of samples_per_s, tokens_per_s, or bandwidth with sample_size",
            fix="write for example samples_per_s: 400",
        )
    _, amount, rate = found[0]
    nodes = len(np.unique(machine.topology.node_of[machine.device_of]))
    return Loading(amount, rate, nodes, block.prefetch)


def _checkpoint(
    scenario: Scenario,
    machine: Machine,
    plan: Plan,
    numerics: Numerics,
    parameters: float,
    state_bytes: float,
) -> Checkpoint | None:
    block: CheckpointBlock | None = scenario.checkpoint
    if block is None:
        return None
    at, offload = resolve_host(scenario, machine), offload_of(scenario)
    writing = writing_devices(block.writers, plan.devices, plan.dp)
    nodes = writing_nodes(writing, at.devices)
    copied = (0.0 if offload.parameters != "none" else numerics.weight_bytes) + (
        0.0 if offload.optimizer != "none" else state_bytes
    )
    return Checkpoint(
        block.every_steps,
        checkpoint_bytes(parameters, numerics.weight_bytes, state_bytes),
        min(nodes * block.bandwidth, block.total_bandwidth or float("inf")),
        block.mode,
        # Written synchronously, the copy to the host is part of what the storage receives.
        0.0 if block.mode == "sync" else parameters * copied / writing,
        at.copy_bytes_per_s,
    )
