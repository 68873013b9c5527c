"""Optimizers: bytes of state, and the kernels of an update with all that comes before and after."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from distsim.errors import ValueProblem, nearest
from distsim.workload.op import Numerics, Work, stream
from distsim.workload.optimizers import RULES
from distsim.workload.optimizers.spec import MOMENT_BYTES, Held, Matrix, OptimizerSpec

#: Optimizers with their defaults.
OPTIMIZERS: Mapping[str, OptimizerSpec] = {
    name: OptimizerSpec(name, moment_type=rule.moment_types[0]) for name, rule in RULES.items()
}
#: Types in 16 bit, in which Muon's products run as well as in bf16.
_HALF = ("bf16", "fp16")


@lru_cache(maxsize=256)
def optimizer_spec(
    name: str,
    *,
    clip_norm: bool = True,
    moment_type: str | None = None,
    path: tuple[str | int, ...] = ("optimizer",),
) -> OptimizerSpec:
    """Return an optimizer with its options.

    Parameters
    ----------
    name : str
        A key of `OPTIMIZERS`.
    clip_norm, moment_type
        See `OptimizerSpec`; None = the optimizer's default.

    Raises
    ------
    ValueProblem
        DS247 for an optimizer that does not exist or moments that it cannot keep.
    """
    if name not in RULES:
        near = nearest(name, RULES)
        raise ValueProblem(
            "DS247",
            f"unknown optimizer {name!r}",
            path=(*path, "name"),
            value=name,
            rule=f"one of {', '.join(RULES)}",
            fix=f"did you mean {near!r}?" if near else "choose one of them",
        )
    allowed = RULES[name].moment_types
    chosen = allowed[0] if moment_type is None else moment_type
    if chosen not in allowed:
        raise ValueProblem(
            "DS247",
            f"{name} does not keep moments in {chosen!r}",
            path=(*path, "moments"),
            value=chosen,
            rule=f"moments of {name}: {', '.join(allowed)}",
            fix=f"choose {' or '.join(allowed)}, or leave it out",
        )
    return replace(OPTIMIZERS[name], clip_norm=clip_norm, moment_type=chosen)


def check_products(
    optimizer: OptimizerSpec, numerics: Numerics, device: str, peaks: Collection[str]
) -> None:
    """Refuse an optimizer whose products have no rate on a device.

    Raises
    ------
    ValueProblem
        DS231.
    """
    needed = _product_type(numerics)
    if optimizer.name == "muon" and needed and needed not in peaks:
        raise ValueProblem(
            "DS231",
            f"{device} has no {needed} rate",
            path=("optimizer",),
            value=optimizer.name,
            rule=f"muon multiplies matrices in {needed}; the device has {', '.join(sorted(peaks))}",
            fix="choose another optimizer or device, or a compute type of 16 bit",
        )


def _product_type(numerics: Numerics) -> str:
    return "" if numerics.compute in _HALF else "bf16"


def _held(
    numerics: Numerics, parameters: float, matrices: Sequence[Matrix], shard: int = 1
) -> Held:
    return Held(
        parameters,
        _joined(matrices),
        shard,
        4.0 if numerics.master_bytes else numerics.gradient_bytes,
        numerics.master_bytes or numerics.weight_bytes,
        _product_type(numerics),
    )


def _joined(matrices: Sequence[Matrix]) -> tuple[Matrix, ...]:
    """Return one entry for each shape, so that the work grows with shapes, not with layers."""
    numbers: dict[tuple[float, float, bool], int] = {}
    for m in matrices:
        shape = (m.rows, m.columns, m.table)
        numbers[shape] = numbers.get(shape, 0) + m.number
    return tuple(Matrix(r, c, n, table) for (r, c, table), n in numbers.items())


def state_bytes(
    optimizer: OptimizerSpec,
    numerics: Numerics,
    parameters: float,
    matrices: Sequence[Matrix] = (),
) -> float:
    """Return bytes of optimizer state of a rank before sharding: moments and the master copy.

    Mixed-precision Adam: 4 (master) + 4 + 4 = 12 a parameter (Rajbhandari 2020, section 3.1).

    Parameters
    ----------
    parameters : float
        All that the rank holds.
    matrices : sequence of Matrix
        Those that are two-dimensional. Without them all count as vectors.
    """
    held = _held(numerics, parameters, matrices)
    own = RULES[optimizer.name].state_bytes(optimizer, held)
    return own + numerics.master_bytes * parameters


def update_works(
    optimizer: OptimizerSpec,
    numerics: Numerics,
    parameters: float,
    matrices: Sequence[Matrix] = (),
    shard: int = 1,
) -> tuple[Work, ...]:
    """Return the kernels of one rank's update, in order.

    Multi-tensor kernels as in Apex and Megatron-LM: gradients to fp32 where they are not, unscale
    and check (fp16), norm, clip, the optimizer's own, copy to model weights, clear. Each streams
    through memory once. For Adam with fp32 gradients and fp16 weights they move 58 bytes a
    parameter.

    Parameters
    ----------
    parameters : float
        All that the rank holds, before sharding.
    matrices : sequence of Matrix
        Those that are two-dimensional, as divided by tensor parallelism. Without them all count
        as vectors.
    shard : int
        Ranks that divide the update.
    """
    g, w, master = numerics.gradient_bytes, numerics.weight_bytes, numerics.master_bytes
    held = _held(numerics, parameters, matrices, shard)
    wide = held.gradient_bytes
    before: list[float] = []
    if master and g != wide:
        before.append(g + wide)
    if numerics.loss_scaling:
        before.append(2 * wide)
    if optimizer.clip_norm:
        before += [wide, 2 * wide]
    after = [master + w, g] if master else [g]
    return (
        *(stream(b * parameters / shard) for b in before),
        *RULES[optimizer.name].works(optimizer, held),
        *(stream(b * parameters / shard) for b in after),
    )


def state_bytes_per_parameter(optimizer: OptimizerSpec, numerics: Numerics) -> float:
    """Return bytes of optimizer state a parameter that is in no matrix."""
    return state_bytes(optimizer, numerics, 1.0)


def update_passes(optimizer: OptimizerSpec, numerics: Numerics) -> tuple[float, ...]:
    """Memory traffic of each pass over parameters that are in no matrix, bytes a parameter."""
    return tuple(w.stream_bytes for w in update_works(optimizer, numerics, 1.0))


__all__ = [
    "MOMENT_BYTES",
    "OPTIMIZERS",
    "Matrix",
    "OptimizerSpec",
    "check_products",
    "optimizer_spec",
    "state_bytes",
    "state_bytes_per_parameter",
    "update_passes",
    "update_works",
]
