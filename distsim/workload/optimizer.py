"""Optimizers: bytes of state a parameter and memory traffic of the update."""

from __future__ import annotations

from dataclasses import dataclass

from distsim.workload.op import Numerics


@dataclass(frozen=True, slots=True)
class OptimizerSpec:
    """One optimizer.

    Attributes
    ----------
    state_bytes : float
        Bytes of state a parameter beside the master weights (Adam: two fp32 moments).
    clip_norm : bool
        The gradient is scaled to a global norm before the update.
    """

    name: str = "adam"
    state_bytes: float = 8.0
    clip_norm: bool = True


#: Kingma and Ba 2015; AdamW only changes arithmetic, not traffic (Loshchilov and Hutter 2019).
OPTIMIZERS = {"adam": OptimizerSpec("adam"), "adamw": OptimizerSpec("adamw")}


def state_bytes_per_parameter(optimizer: OptimizerSpec, numerics: Numerics) -> float:
    """Return bytes of optimizer state a parameter: moments and the master copy.

    Mixed-precision Adam: 4 (master) + 4 + 4 = 12 (Rajbhandari 2020, section 3.1).
    """
    return optimizer.state_bytes + numerics.master_bytes


def update_passes(optimizer: OptimizerSpec, numerics: Numerics) -> tuple[float, ...]:
    """Memory traffic of each pass over the parameters in one update, bytes a parameter.

    Multi-tensor kernels as in Apex and Megatron-LM: gradients to fp32 where they are not, unscale
    and check (fp16), norm, clip, update, copy to model weights, clear. Each pass streams through
    memory once; the sum for Adam with fp32 gradients and fp16 weights is 58 bytes.
    """
    g, w, master = numerics.gradient_bytes, numerics.weight_bytes, numerics.master_bytes
    fp32_gradient = 4.0 if master else g
    passes: list[float] = []
    if master and g != fp32_gradient:
        passes.append(g + fp32_gradient)
    if numerics.loss_scaling:
        passes.append(2 * fp32_gradient)
    if optimizer.clip_norm:
        passes += [fp32_gradient, 2 * fp32_gradient]
    value = master or w
    passes.append(fp32_gradient + 2 * value + 2 * optimizer.state_bytes)
    if master:
        passes.append(master + w)
    passes.append(g)
    return tuple(passes)
