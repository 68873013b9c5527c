"""Activation recomputation: what a layer keeps and what its backward pass runs again.

``none`` keeps everything; ``selective`` runs core attention again, which holds the s x s arrays
(Korthikanti 2022, section 4); ``full`` keeps the input of a group of layers and runs their whole
forward pass again, communication included (Chen 2016, arXiv 1604.06174). A group is one layer,
unless `Recompute.every` says more: fewer inputs are kept, and more activations come back at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from distsim.parallel.division import Division
from distsim.parallel.step import Step, Unit
from distsim.workload.op import Op

MODES = ("none", "selective", "full")


@dataclass(frozen=True, slots=True)
class Recompute:
    """Which layers run again.

    Attributes
    ----------
    mode : str
        One of `MODES`.
    every : int
        Layers of a group under ``full``: one input is kept for so many layers (Megatron-LM's
        method ``uniform``).
    first : int or None
        Only so many layers at the beginning of each model chunk (Megatron-LM's ``block``).
    layers : tuple of int or None
        Only these layers of the model, counted from 0.
    """

    mode: str = "none"
    every: int = 1
    first: int | None = None
    layers: tuple[int, ...] | None = None

    def covers(self, layer: int, place: int) -> bool:
        """Say whether a layer is recomputed; `place` counts from the start of its chunk."""
        if self.mode == "none":
            return False
        if self.layers is not None:
            return layer in self.layers
        return self.first is None or place < self.first

    def __str__(self) -> str:
        if self.layers is not None:
            return f"{self.mode}, layers {' '.join(map(str, self.layers))}"
        if self.first is not None:
            return f"{self.mode}, first {self.first} of a chunk"
        return f"{self.mode}, every {self.every} layers" if self.every > 1 else self.mode


class Part(NamedTuple):
    """One layer of a chunk: its mode, and where it stands in its group."""

    mode: str
    place: int
    group: tuple[int, ...]


def parts(recompute: Recompute, first_layer: int, count: int) -> list[Part]:
    """Return what each of `count` layers of a chunk does; groups do not leave the chunk."""
    out: list[Part] = []
    place = 0
    while place < count:
        if not recompute.covers(first_layer + place, place):
            out.append(Part("none", 0, (place,)))
            place += 1
            continue
        group = [place]
        while (
            recompute.mode == "full"
            and len(group) < recompute.every
            and group[-1] + 1 < count
            and recompute.covers(first_layer + group[-1] + 1, group[-1] + 1)
        ):
            group.append(group[-1] + 1)
        out += [Part(recompute.mode, i, tuple(group)) for i in range(len(group))]
        place += len(group)
    return out


def _all_saved(division: Division, ops: Sequence[Op]) -> float:
    return sum(division.saved_bytes(op) for op in ops)


def _forward(division: Division, ops: Sequence[Op]) -> tuple[Step, ...]:
    return division.arranged([s for op in ops for s in division.forward(op)])


def layer_unit(
    division: Division, ops: Sequence[Op], mode: str = "none", input_bytes: float = 0.0
) -> Unit:
    """Build the unit of one transformer layer that is a group by itself.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    input_bytes : float
        Bytes of the layer's input that one rank keeps under full recomputation.
    """
    return group_unit(division, [ops], 0, mode, input_bytes)


def group_unit(
    division: Division, group: Sequence[Sequence[Op]], place: int, mode: str, input_bytes: float
) -> Unit:
    """Build the unit of one layer of a group.

    The backward pass of a group begins with its last layer, which runs all of them again first.

    Parameters
    ----------
    group : sequence of sequence of Op
        Operators of each layer of the group in forward order.
    place : int
        Which of them this is.
    """
    ops = group[place]
    saved, working = _all_saved(division, ops), 0.0
    again: tuple[Step, ...] = ()
    if mode == "selective":
        core = [op for op in ops if op.core_attention]
        again = _forward(division, core)
        working = sum(division.core_bytes(op) for op in ops)
        saved -= working
    elif mode == "full":
        if place == len(group) - 1:
            again = tuple(s for layer in group for s in _forward(division, layer))
        saved = input_bytes if place == 0 else 0.0
        working = sum(_all_saved(division, layer) for layer in group)
    weights = tuple(s for op in reversed(ops) for s in division.backward_weight(op))
    return Unit(
        "layer",
        forward=_forward(division, ops),
        backward=_spliced(division, ops, again, mode, split=False),
        backward_input=_spliced(division, ops, again, mode, split=True),
        backward_weight=weights,
        parameters=sum(division.parameters(op) for op in ops),
        saved_bytes=saved,
        working_bytes=working,
        expert_parameters=sum(division.expert_parameters(op) for op in ops),
        weight_bytes=sum(division.weight_bytes(op) for op in ops),
        matrices=tuple(m for op in ops for m in division.matrices(op)),
        expert_matrices=tuple(m for op in ops for m in division.expert_matrices(op)),
    )


def _spliced(
    division: Division, ops: Sequence[Op], again: tuple[Step, ...], mode: str, *, split: bool
) -> tuple[Step, ...]:
    """Put repeated steps where they run: core attention before its gradient, layers first."""
    steps: list[Step] = list(again) if mode == "full" else []
    pending = again if mode == "selective" else ()
    own: list[Step] = []
    for op in reversed(ops):
        if pending and op.core_attention:
            own += pending
            pending = ()
        own += division.backward_input(op) if split else division.backward(op)
    return (*steps, *division.arranged(own))


def plain_unit(name: str, division: Division, ops: Sequence[Op]) -> Unit:
    """Build the unit of the embedding or the head, which is never recomputed."""
    whole = layer_unit(division, ops)
    return Unit(
        name,
        whole.forward,
        whole.backward,
        whole.backward_input,
        whole.backward_weight,
        whole.parameters,
        whole.saved_bytes,
        weight_bytes=whole.weight_bytes,
        matrices=whole.matrices,
    )
