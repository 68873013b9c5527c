"""Types of numbers: from what the scenario says and what the stack stores."""

from __future__ import annotations

from dataclasses import replace

from distsim.cost.stack import Stack
from distsim.errors import ValueProblem
from distsim.hardware.device import Device
from distsim.scenario.block import whole
from distsim.scenario.schema import OptimizerBlock, PrecisionBlock, Scenario
from distsim.workload.op import Numerics
from distsim.workload.optimizer import OptimizerSpec, check_products, optimizer_spec
from distsim.workload.precision import fp8_recipe

BYTES = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0}


def resolve_numerics(scenario: Scenario, stack: Stack, device: Device) -> Numerics:
    """Return bytes per element of everything.

    Raises
    ------
    ValueProblem
        DS231 where the device has no rate for a type; DS232 to DS234 for fp8.
    """
    given = scenario.precision
    block = whole(PrecisionBlock, given, "compute")
    in_fp8 = block.fp8 or ("delayed" if block.compute == "fp8" else None)
    compute = "bf16" if block.compute == "fp8" else block.compute
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
    numerics = Numerics(
        compute=compute,
        activation_bytes=BYTES[compute],
        weight_bytes=BYTES[weights],
        gradient_bytes=BYTES[gradients],
        master_bytes=4.0 if master else 0.0,
        reduce_bytes=BYTES[block.grad_communication or block.gradients or stack.reduction[compute]],
        gather_bytes=BYTES[block.param_communication or compute],
        loss_scaling=compute == "fp16",
    )
    if in_fp8 is None:
        return numerics
    recipe = fp8_recipe(
        in_fp8,
        device=device.name,
        architecture=device.architecture,
        peaks=device.peak_flop_per_s,
        compute=compute,
        path=("precision", "fp8") if isinstance(given, PrecisionBlock) else ("precision",),
    )
    return replace(numerics, fp8=recipe)


def resolve_optimizer(scenario: Scenario, numerics: Numerics, device: Device) -> OptimizerSpec:
    """Return the optimizer with its options.

    Raises
    ------
    ValueProblem
        DS247 for moments that it cannot keep, DS231 for products that the device cannot run.
    """
    given = scenario.optimizer
    block = whole(OptimizerBlock, given)
    optimizer = optimizer_spec(
        block.name, clip_norm=block.clip_grad_norm, moment_type=block.moments
    )
    check_products(optimizer, numerics, device.name, device.peak_flop_per_s)
    return optimizer
