"""Activations that one rank keeps between passes, as its micro batches come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.parallel.stages import Chunk
from distsim.schedule import BACKWARD, FORWARD, INPUT, WEIGHT, Actions
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
    if len(stages[0]) > 1 or any(order.paired.any() for order in orders):
        return [
            activations_in_flight_bytes(order, chunks, variant_of)
            for order, chunks in zip(orders, stages, strict=True)
        ]
    held = [_held(Same(chunks[0])) for chunks in stages]
    kinds = tuple([of.kind_of for of in held])
    ways = _IN_FLIGHT.get((Same(orders), kinds), lambda: _ways(orders, kinds), _Ways.nbytes)
    kept = np.zeros((len(held), ways.counts.shape[1]))
    for row, of in zip(kept, held, strict=True):
        row[: len(of.kept_bytes)] = of.kept_bytes
    bytes_ = np.einsum("wk,wk->w", ways.counts, kept[ways.stage])
    out: list[float] = np.maximum.reduceat(bytes_, ways.begin).tolist()
    return out


class _Held(NamedTuple):
    """What the chunks of a stage keep; chunks alike are one kind.

    `kept_bytes` are those after a forward pass and those after an input gradient, by kind.
    """

    kind_of: tuple[int, ...]
    kept_bytes: tuple[float, ...]


@lru_cache(maxsize=4096)
def _held(chunks: Same) -> _Held:
    different = {id(c): c for c in chunks.of}
    number = {key: i for i, key in enumerate(different)}
    kept = [b for c in different.values() for b in (c.saved_bytes, c.weight_bytes)]
    return _Held(_KINDS.of(tuple([number[id(c)] for c in chunks.of])), tuple(kept))


#: One object for stages that hold kinds of chunks in the same order.
_KINDS = Interned(4096)


@dataclass(frozen=True, slots=True)
class _Ways:
    """How many micro batches are in flight after a pass that adds some, in every way.

    Attributes
    ----------
    counts : float64[ways, 2 kinds]
        By kind of chunk: those between forward pass and (input) gradient, and those between input
        gradient and weight gradient.
    stage : int64[ways]
        In order.
    begin : int64[stages]
        First way of each stage.
    """

    counts: Floats
    stage: Ints
    begin: Ints

    def nbytes(self) -> int:
        """Return what the arrays take."""
        return 256 + self.counts.nbytes + self.stage.nbytes + self.begin.nbytes


#: Of orders seen before.
_IN_FLIGHT = Store(64 << 20)


def _ways(orders: Sequence[Actions], kinds: Sequence[Sequence[int]]) -> _Ways:
    """Find the ways; `kinds` has the kind of each chunk, ``[stage][chunk]``."""
    sizes = [len(order) for order in orders]
    kind = np.concatenate([order.kind for order in orders])
    column = np.concatenate([np.asarray(k)[o.chunk] for k, o in zip(kinds, orders, strict=True)])
    width = 2 * (1 + int(column.max(initial=0)))
    changes = np.zeros((len(kind), width), dtype=np.int8)
    at = np.arange(len(kind))
    changes[at, 2 * column] = np.where(kind == FORWARD, 1, np.where(kind == WEIGHT, 0, -1))
    changes[at, 2 * column + 1] = (kind == INPUT).astype(np.int8) - (kind == WEIGHT)
    # What a pass frees is less than what there was before it.
    grows = (kind == FORWARD) | (kind == INPUT)
    stage = np.repeat(np.arange(len(orders)), sizes)
    # With a way for each stage in which nothing is in flight.
    total = np.concatenate([np.zeros_like(changes[:1], np.int32), np.cumsum(changes, 0, np.int32)])
    before = total[np.cumsum([0, *sizes[:-1]])]
    levels = np.zeros((len(orders) + int(grows.sum()), 1 + width), dtype=np.int32)
    levels[:, 0] = np.concatenate([np.arange(len(orders)), stage[grows]])
    levels[len(orders) :, 1:] = total[1:][grows] - before[stage[grows]]
    distinct = set(levels.view(f"V{levels.itemsize * levels.shape[1]}").ravel().tolist())
    found = np.frombuffer(b"".join(distinct), dtype=np.int32).reshape(-1, levels.shape[1])
    found = found[np.argsort(found[:, 0], kind="stable")]
    begin = np.searchsorted(found[:, 0], np.arange(len(orders)))
    return _Ways(found[:, 1:].astype(np.float64), found[:, 0].astype(np.int64), begin)


__all__ = [
    "activation_changes_bytes",
    "activation_levels_bytes",
    "activations_in_flight_bytes",
    "in_flight_bytes",
    "kept_bytes",
]
