"""Activation recomputation: what a layer keeps and what its backward pass runs again.

``none`` keeps everything; ``selective`` runs core attention again, which holds the s x s arrays
(Korthikanti 2022, section 4); ``full`` keeps the input of each layer and runs its whole forward
pass again, communication included (Chen 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distsim.parallel.step import Step, Unit
from distsim.parallel.tensor import TensorParallel
from distsim.workload.op import Op

Rule = Callable[[TensorParallel, Sequence[Op], float], tuple[tuple[Step, ...], float, float]]


def _all_saved(tensor: TensorParallel, ops: Sequence[Op]) -> float:
    return sum(tensor.saved_bytes(op) for op in ops)


def _none(
    tensor: TensorParallel, ops: Sequence[Op], input_bytes: float
) -> tuple[tuple[Step, ...], float, float]:
    return (), _all_saved(tensor, ops), 0.0


def _selective(
    tensor: TensorParallel, ops: Sequence[Op], input_bytes: float
) -> tuple[tuple[Step, ...], float, float]:
    again = tuple(s for op in ops if op.core_attention for s in tensor.forward(op))
    dropped = sum(tensor.core_bytes(op) for op in ops)
    return again, _all_saved(tensor, ops) - dropped, dropped


def _full(
    tensor: TensorParallel, ops: Sequence[Op], input_bytes: float
) -> tuple[tuple[Step, ...], float, float]:
    again = tuple(s for op in ops for s in tensor.forward(op))
    return again, input_bytes, _all_saved(tensor, ops)


#: Name -> steps run again before the backward pass, bytes kept, bytes alive while it runs.
RULES: dict[str, Rule] = {"none": _none, "selective": _selective, "full": _full}


def layer_unit(
    tensor: TensorParallel, ops: Sequence[Op], recompute: str, input_bytes: float
) -> Unit:
    """Build the unit of one transformer layer on one rank.

    Parameters
    ----------
    input_bytes : float
        Bytes of the layer's input that one rank keeps under full recomputation.
    """
    again, saved, working = RULES[recompute](tensor, ops, input_bytes)
    return Unit(
        "layer",
        forward=tuple(s for op in ops for s in tensor.forward(op)),
        backward=_splice(tensor, ops, again, recompute),
        parameters=sum(tensor.parameters(op) for op in ops),
        saved_bytes=saved,
        working_bytes=working,
    )


def _splice(
    tensor: TensorParallel, ops: Sequence[Op], again: tuple[Step, ...], recompute: str
) -> tuple[Step, ...]:
    """Put repeated steps where they run: core attention before its gradient, layers first."""
    steps: list[Step] = list(again) if recompute == "full" else []
    pending = again if recompute == "selective" else ()
    for op in reversed(ops):
        if pending and op.core_attention:
            steps += pending
            pending = ()
        steps += tensor.backward(op)
    return tuple(steps)


def plain_unit(name: str, tensor: TensorParallel, ops: Sequence[Op]) -> Unit:
    """Build the unit of the embedding or the head, which is never recomputed."""
    return Unit(
        name,
        forward=tuple(s for op in ops for s in tensor.forward(op)),
        backward=tuple(s for op in reversed(ops) for s in tensor.backward(op)),
        parameters=sum(tensor.parameters(op) for op in ops),
        saved_bytes=_all_saved(tensor, ops),
    )
