"""Activations that one rank keeps between passes, as its micro batches come and go."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.parallel.stages import Chunk
from distsim.record import record
from distsim.schedule import BACKWARD, FORWARD, INPUT, WEIGHT, Actions, paired
from distsim.store import Interned, Same, Store

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def activation_changes_bytes(
    order: Actions,
    saved_bytes: Floats,
    weight_bytes: Floats,
) -> Floats:
    """Return by how much activations grow with each action of a rank, shape (a,).

    A forward pass keeps what the backward pass needs; an input gradient frees it but for what the
    weight gradient needs (Qi 2023, section 2.2).

    Parameters
    ----------
    saved_bytes, weight_bytes : float64[a]
        What one micro batch keeps after the forward pass and after the input gradient, for the
        chunk and micro batch of each action.
    """
    by_kind = np.zeros((4, len(order.kind)))
    by_kind[FORWARD] = saved_bytes
    by_kind[BACKWARD] = -saved_bytes
    by_kind[INPUT] = weight_bytes - saved_bytes
    by_kind[WEIGHT] = -weight_bytes
    return by_kind[order.kind, np.arange(len(order.kind))]


def kept_bytes(order: Actions, chunks: Sequence[Sequence[Chunk]], variant_of: Ints) -> Floats:
    """Return by how many bytes the activations of a rank grow with each action, shape (a,).

    Parameters
    ----------
    chunks : sequence of sequence of Chunk
        ``[variant][chunk]`` of the rank's stage.
    variant_of : int64[microbatches]
    """
    saved = np.asarray([[c.saved_bytes for c in held] for held in chunks])
    weight = np.asarray([[c.weight_bytes for c in held] for held in chunks])
    at = (variant_of[order.microbatch], order.chunk)
    return activation_changes_bytes(order, saved[at], weight[at])


def activation_levels_bytes(
    order: Actions, chunks: Sequence[Sequence[Chunk]], variant_of: Ints
) -> Floats:
    """Return what activations take after each change, in the order of the actions, shape (a,).

    Of a pair that runs together, what grows comes first: the forward pass allocates while the
    backward pass still holds what it frees.
    """
    changes = kept_bytes(order, chunks, variant_of)
    first = np.flatnonzero(order.paired)
    late = first[changes[first] < changes[first + 1]]
    changes[late], changes[late + 1] = changes[late + 1], changes[late]
    return np.cumsum(changes)


def activations_in_flight_bytes(
    order: Actions, chunks: Sequence[Sequence[Chunk]], variant_of: Ints
) -> float:
    """Return the most activation bytes alive at once, with the parameters of `kept_bytes`."""
    return float(activation_levels_bytes(order, chunks, variant_of).max(initial=0.0))


def in_flight_bytes(
    orders: Sequence[Actions], stages: Sequence[Sequence[Sequence[Chunk]]], variant_of: Ints
) -> list[float]:
    """Return the most activation bytes alive at once on a rank of each stage.

    Parameters
    ----------
    stages : sequence of sequence of sequence of Chunk
        ``[stage][variant][chunk]``.
    variant_of : int64[microbatches]
    """
    if len(stages[0]) > 1 or paired(orders):
        return [
            activations_in_flight_bytes(order, chunks, variant_of)
            for order, chunks in zip(orders, stages, strict=True)
        ]
    different = {id(chunks[0]): chunks[0] for chunks in stages}
    known = {key: _held(Same(chunks)) for key, chunks in different.items()}
    held = [known[id(chunks[0])] for chunks in stages]
    kinds = tuple([of.kind_of for of in held])
    levels = _IN_FLIGHT.get((Same(orders), kinds), lambda: _levels(orders, kinds), _Levels.nbytes)
    width = levels.width
    each = [of.saved_bytes + (0.0,) * (width - len(of.saved_bytes)) for of in held]
    if len(levels.counts) > width:
        more = [of.weight_bytes + (0.0,) * (width - len(of.weight_bytes)) for of in held]
        each = [saved + weight for saved, weight in zip(each, more, strict=True)]
    bytes_: Floats = np.zeros(len(levels.stage))
    for count, kept in zip(levels.counts, np.asarray(each).T, strict=True):
        bytes_ += count * kept[levels.stage]
    out: list[float] = np.maximum.reduceat(bytes_, levels.begin).tolist()
    return out


class _Held(NamedTuple):
    """What the chunks of a stage keep; chunks alike are one kind.

    `saved_bytes` are kept after a forward pass and `weight_bytes` after an input gradient, by kind.
    """

    kind_of: tuple[int, ...]
    saved_bytes: tuple[float, ...]
    weight_bytes: tuple[float, ...]


@lru_cache(maxsize=4096)
def _held(chunks: Same) -> _Held:
    different = {id(c): c for c in chunks.of}
    number = {key: i for i, key in enumerate(different)}
    return _Held(
        _KINDS.of(tuple([number[id(c)] for c in chunks.of])),
        tuple([c.saved_bytes for c in different.values()]),
        tuple([c.weight_bytes for c in different.values()]),
    )


#: One object for stages that hold kinds of chunks in the same order.
_KINDS = Interned(4096)


@record
class _Levels:
    """How many micro batches are in flight after each pass that adds some.

    Attributes
    ----------
    width : int
        Kinds of chunks.
    counts : float64[width or 2 width, levels]
        By kind of chunk: those between forward pass and (input) gradient, then those between input
        gradient and weight gradient, if these are apart.
    stage : int64[levels]
        In order.
    begin : int64[stages]
        First level of each stage: nothing is in flight.
    """

    width: int
    counts: Floats
    stage: Ints
    begin: Ints

    def nbytes(self) -> int:
        """Return what the arrays take."""
        return 256 + self.counts.nbytes + self.stage.nbytes + self.begin.nbytes


#: Of orders seen before.
_IN_FLIGHT = Store(64 << 20)


def _levels(orders: Sequence[Actions], kinds: Sequence[Sequence[int]]) -> _Levels:
    """Count what is in flight; `kinds` has the kind of each chunk, ``[stage][chunk]``."""
    if max(max(of) for of in kinds) == 0 and all([len(order) for order in orders]):
        most = _most_in_flight(orders)
        if most is not None:
            at = np.arange(len(orders))
            return _Levels(1, most[None, :], at, at)
    # A row before each stage, so that what was there before it can be taken off.
    starts = np.cumsum([0, *(1 + len(order) for order in orders)])
    rows, begin = int(starts[-1]), starts[:-1]
    kind, column = np.full(rows, WEIGHT), np.zeros(rows, dtype=np.int64)
    for first, order, of in zip(begin.tolist(), orders, kinds, strict=True):
        mine = slice(first + 1, first + 1 + len(order))
        kind[mine], column[mine] = order.kind, np.asarray(of)[order.chunk]
    stage = np.repeat(np.arange(len(orders)), np.diff(starts))
    at = np.arange(rows)
    width, apart = 1 + int(column.max(initial=0)), any((o.kind == INPUT).any() for o in orders)
    changes = np.zeros((2 * width if apart else width, rows))
    changes[column, at] = np.where(kind == FORWARD, 1, np.where(kind == WEIGHT, 0, -1))
    if apart:
        changes[width + column, at] = (kind == INPUT) * 1 - (kind == WEIGHT)
    changes[:, begin] = 0.0
    total = np.cumsum(changes, axis=1)
    # What a pass frees is less than what there was before it.
    counted = (kind == FORWARD) | (kind == INPUT)
    counted[begin] = True
    own = stage[counted]
    counts = total[:, counted] - total[:, begin][:, own]
    return _Levels(width, counts, own, np.searchsorted(own, np.arange(len(orders))))


def _most_in_flight(orders: Sequence[Actions]) -> Floats | None:
    """Return how many passes each stage has in flight at most; None if some split their gradients.

    Where all chunks of a stage keep the same, that is all there is to know.
    """
    kind = np.concatenate([order.kind for order in orders])
    if (kind >= WEIGHT).any():
        return None
    sizes = [len(order) for order in orders]
    begin = np.cumsum([0, *sizes[:-1]])
    total = np.cumsum(np.where(kind == FORWARD, 1.0, -1.0))
    before = np.concatenate([[0.0], total])[begin]
    return np.asarray(np.maximum.reduceat(total, begin) - before)


__all__ = [
    "activation_changes_bytes",
    "activation_levels_bytes",
    "activations_in_flight_bytes",
    "in_flight_bytes",
    "kept_bytes",
]
