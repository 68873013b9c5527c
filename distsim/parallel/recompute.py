"""Activation recomputation: what a layer keeps and what its backward pass runs again.

``none`` keeps everything; ``selective`` runs parts of a layer again, by default core attention,
which holds the s x s arrays (Korthikanti 2022, section 4); ``alternate`` keeps attention and every
second product (`distsim.parallel.selective`); ``full`` keeps the input of a group of layers and
runs their whole forward pass again, communication included (Chen 2016, arXiv 1604.06174). A group
is one layer, unless `Recompute.every` says more: fewer inputs are kept, and more activations come
back at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import NamedTuple

from distsim.parallel.division import PLAIN, Division
from distsim.parallel.selective import (
    CORE,
    Alternate,
    alternate,
    modules_again,
    needed,
    without_gather,
)
from distsim.parallel.step import Step, Unit
from distsim.record import record
from distsim.workload.op import Op

MODES = ("none", "selective", "alternate", "full")
#: Name of the operator of the loss.
LOSS = "cross_entropy"


@record
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
    modules : tuple of str
        Parts of a layer that run again under ``selective`` (`distsim.parallel.selective.MODULES`).
    """

    mode: str = "none"
    every: int = 1
    first: int | None = None
    layers: tuple[int, ...] | None = None
    modules: tuple[str, ...] = (CORE,)

    def covers(self, layer: int, place: int) -> bool:
        """Say whether a layer is recomputed; `place` counts from the start of its chunk."""
        if self.mode == "none":
            return False
        if self.layers is not None:
            return layer in self.layers
        return self.first is None or place < self.first

    def __str__(self) -> str:
        which = []
        if self.modules != (CORE,):
            which.append(" ".join(self.modules))
        if self.layers is not None:
            which.append(f"layers {' '.join(map(str, self.layers))}")
        elif self.first is not None:
            which.append(f"first {self.first} of a chunk")
        elif self.every > 1:
            which.append(f"every {self.every} layers")
        return ", ".join((self.mode, " in ".join(which))) if which else self.mode


class Part(NamedTuple):
    """One layer of a chunk: its mode, and where it stands in its group."""

    mode: str
    place: int
    group: tuple[int, ...]


@lru_cache(maxsize=1024)
def parts(recompute: Recompute, first_layer: int, count: int) -> tuple[Part, ...]:
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
    return tuple(out)


def _all_saved(division: Division, ops: Sequence[Op]) -> float:
    return sum(division.saved_bytes(op) for op in ops)


def _forward(division: Division, ops: Sequence[Op]) -> tuple[Step, ...]:
    return division.arranged([s for op in ops for s in division.forward(op)])


def layer_unit(
    division: Division,
    ops: Sequence[Op],
    mode: str = "none",
    input_bytes: float = 0.0,
    modules: Sequence[str] = (CORE,),
) -> Unit:
    """Build the unit of one transformer layer that is a group by itself.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    input_bytes : float
        Bytes of the layer's input on one rank, which recomputation keeps.
    modules : sequence of str
        See `Recompute.modules`.
    """
    return group_unit(division, [ops], 0, mode, input_bytes, modules)


@record
class _Again:
    """What a layer keeps and what its backward pass runs again.

    Attributes
    ----------
    saved_bytes, working_bytes : float
    first : tuple of Step
        What runs before the backward pass.
    before : dict of int to tuple of Step
        What runs before the gradient of the operator at this place.
    gathered : bool
        What runs again gathers inputs of divided operators, also for their weight gradients.
    """

    saved_bytes: float
    working_bytes: float = 0.0
    first: tuple[Step, ...] = ()
    before: Mapping[int, tuple[Step, ...]] = field(default_factory=dict)
    gathered: bool = False


def group_unit(
    division: Division,
    group: Sequence[Sequence[Op]],
    place: int,
    mode: str,
    input_bytes: float,
    modules: Sequence[str] = (CORE,),
) -> Unit:
    """Build the unit of one layer of a group.

    The backward pass of a group begins with its last layer, which runs all of them again first.

    Parameters
    ----------
    group : sequence of sequence of Op
        Operators of each layer of the group in forward order.
    place : int
        Which of them this is.
    mode, input_bytes, modules
        See `layer_unit`.
    """
    ops = group[place]
    again = _repeated(division, group, place, mode, input_bytes, modules)
    weights = tuple(s for op in reversed(ops) for s in division.backward_weight(op))
    wait_s = division.software.layer_wait_s
    wait = (Step("host", wait_s=wait_s),) if wait_s else ()
    return Unit(
        "layer",
        forward=(*wait, *_forward(division, ops)),
        backward=(*wait, *_spliced(division, ops, again, split=False)),
        backward_input=(*wait, *_spliced(division, ops, again, split=True)),
        backward_weight=weights,
        parameters=sum(division.parameters(op) for op in ops),
        saved_bytes=again.saved_bytes,
        working_bytes=again.working_bytes,
        expert_parameters=sum(division.expert_parameters(op) for op in ops),
        weight_bytes=sum(division.weight_bytes(op) for op in ops),
        matrices=tuple(m for op in ops for m in division.matrices(op)),
        expert_matrices=tuple(m for op in ops for m in division.expert_matrices(op)),
    )


def _repeated(
    division: Division,
    group: Sequence[Sequence[Op]],
    place: int,
    mode: str,
    input_bytes: float,
    modules: Sequence[str],
) -> _Again:
    ops = group[place]
    everything = _all_saved(division, ops)
    if mode == "selective":
        found = modules_again(division, ops, modules, input_bytes)
        working = sum(found.dropped_bytes.values())
        before = {
            reader: _forward(division, [ops[i] for i in places])
            for reader, places in found.before.items()
        }
        return _Again(everything - working + found.kept_bytes, working, before=before)
    if mode == "alternate":
        rest: Alternate = alternate(division, ops)
        steps = tuple(s for s in _forward(division, rest.ops) if s.works or s.collective)
        return _Again(input_bytes + rest.kept_bytes, everything, steps, gathered=True)
    if mode == "full":
        stops = division.software.early_stop
        ends = (*group[:-1], needed(division, group[-1]) if stops else group[-1])
        again = tuple(s for layer in ends for s in _forward(division, layer))
        first = again if place == len(group) - 1 else ()
        working = sum(_all_saved(division, layer) for layer in group)
        return _Again(input_bytes if place == 0 else 0.0, working, first)
    return _Again(everything)


def _spliced(
    division: Division, ops: Sequence[Op], again: _Again, *, split: bool
) -> tuple[Step, ...]:
    """Put repeated steps where they run: parts before their gradient, layers first."""
    own: list[Step] = []
    for place, op in reversed(list(enumerate(ops))):
        own += again.before.get(place, ())
        steps = division.backward_input(op) if split else division.backward(op)
        own += without_gather(steps) if again.gathered and op.opens and not split else steps
    return (*again.first, *division.arranged(own))


def plain_unit(name: str, division: Division, ops: Sequence[Op]) -> Unit:
    """Build the unit of the embedding or the head, which is never recomputed."""
    software, kept = division.software, _all_saved(division, [op for op in ops if op.name == LOSS])
    divided = division.tensor.size > 1
    copies = software.divided_loss_copies if divided else software.loss_copies
    whole = layer_unit(replace(division, software=PLAIN), ops)
    return Unit(
        name,
        whole.forward,
        whole.backward,
        whole.backward_input,
        whole.backward_weight,
        whole.parameters,
        whole.saved_bytes,
        working_bytes=copies * kept,
        weight_bytes=whole.weight_bytes,
        matrices=whole.matrices,
    )
