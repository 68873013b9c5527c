"""A model taken apart: what one sample computes, moves and keeps, operator by operator."""

from __future__ import annotations

from typing import Any

from distsim.cost.kernel import price
from distsim.hardware.device import Device
from distsim.prediction.case import Case
from distsim.workload.network import Model
from distsim.workload.op import Fusion, Numerics, Op, Work
from distsim.workload.shape import Shape


def anatomy(
    model: Model, samples: int, length: int, device: Device | None = None
) -> dict[str, Any]:
    """Return FLOP, bytes and activations of a micro batch, in all and by operator.

    Weights and activations are in 16 bits; see `dissect`.

    Parameters
    ----------
    samples, length : int
        Samples of the micro batch, and tokens of each.
    """
    return dissect(model, Shape(samples, length, Numerics(), Fusion()), device)


def case_anatomy(case: Case) -> dict[str, Any]:
    """Return `dissect` of a scenario: its largest micro batch, types, fused kernels and device.

    The operators are those of the whole model, before a plan divides them.
    """
    shape = max(case.shapes, key=lambda s: s.sequences * s.length)
    return dissect(case.network, shape.whole, case.inputs.device)


def dissect(model: Model, shape: Shape, device: Device | None = None) -> dict[str, Any]:
    """Return FLOP, bytes and activations of a micro batch, in all and by operator.

    FLOP are those that kernels run: causal attention counts half, fused attention runs its scores
    again backward. Where a device is known, its time for the kernels of each operator comes too,
    and on which side of the roofline the forward pass lies (Williams 2009): an operator is bound
    by memory where its FLOP a byte are below peak rate over bandwidth.
    """
    blocks = model.blocks(shape)
    count: dict[Op, int] = {}
    layers = [op for kind in blocks.layers for op in blocks.kinds[kind]]
    for op in (*blocks.embedding, *layers, *blocks.head):
        count[op] = count.get(op, 0) + 1
    saved = sum(n * (op.saved_bytes + op.saved_token_bytes) for op, n in count.items())
    samples, length = shape.sequences, shape.length
    return {
        "length": length,
        "samples": samples,
        "forward_flop": samples * model.forward_flop(length),
        "forward_and_backward_flop": samples * model.model_flop(length),
        "activation_bytes": saved,
        "operators": [_row(op, n, device, shape.numerics.compute) for op, n in count.items()],
    }


def _row(op: Op, count: int, device: Device | None, dtype: str) -> dict[str, Any]:
    backward = (*op.backward_data, *op.backward_weight)
    flop, moved = _sums(op.forward)
    both = tuple(a + b for a, b in zip(_sums(op.forward), _sums(backward), strict=True))
    intensity = flop / moved if moved else 0.0
    row: dict[str, Any] = {
        "operator": op.name,
        "times": count,
        "parameters": op.parameters + op.replicated_parameters,
        "forward_flop": flop,
        "forward_bytes": moved,
        "flop_per_byte": intensity,
        "backward_flop": both[0] - flop,
        "saved_bytes": op.saved_bytes + op.saved_token_bytes,
    }
    if device is not None:
        ridge = device.peak_flop_per_s[dtype] / device.memory_bandwidth_bytes_per_s
        row["bound"] = "compute" if intensity > ridge else "memory"
        row["forward_s"] = price(op.forward, device, dtype).device_s
        row["backward_s"] = price(backward, device, dtype).device_s
    return row


def _sums(works: tuple[Work, ...]) -> tuple[float, float]:
    return sum(w.flop for w in works), sum(w.moved_bytes for w in works)
