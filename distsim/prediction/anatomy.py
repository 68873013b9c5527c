"""A model taken apart: what one sample computes, moves and keeps, operator by operator."""

from __future__ import annotations

from typing import Any

from distsim.hardware.device import Device
from distsim.workload.network import Model
from distsim.workload.op import Fusion, Numerics, Op, Work
from distsim.workload.shape import Shape


def anatomy(
    model: Model, samples: int, length: int, device: Device | None = None
) -> dict[str, Any]:
    """Return FLOP, bytes and activations of a micro batch, in all and by operator.

    Weights and activations are in 16 bits. FLOP are those that kernels run: causal attention
    counts half, fused attention runs its scores again backward.

    Parameters
    ----------
    samples, length : int
        Samples of the micro batch, and tokens of each.
    device : Device, optional
        Says for each operator on which side of its roofline it lies (Williams 2009): an operator
        is bound by memory where its FLOP a byte are below peak rate over bandwidth.
    """
    shape = Shape(samples, length, Numerics(), Fusion())
    blocks = model.blocks(shape)
    count: dict[Op, int] = {}
    layers = [op for kind in blocks.layers for op in blocks.kinds[kind]]
    for op in (*blocks.embedding, *layers, *blocks.head):
        count[op] = count.get(op, 0) + 1
    saved = sum(n * (op.saved_bytes + op.saved_token_bytes) for op, n in count.items())
    return {
        "length": length,
        "samples": samples,
        "forward_flop": samples * model.forward_flop(length),
        "forward_and_backward_flop": samples * model.model_flop(length),
        "activation_bytes": saved,
        "operators": [_row(op, n, device) for op, n in count.items()],
    }


def _row(op: Op, count: int, device: Device | None) -> dict[str, Any]:
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
        ridge = device.peak_flop_per_s["bf16"] / device.memory_bandwidth_bytes_per_s
        row["bound"] = "compute" if intensity > ridge else "memory"
    return row


def _sums(works: tuple[Work, ...]) -> tuple[float, float]:
    return sum(w.flop for w in works), sum(w.moved_bytes for w in works)
