"""Activations that one rank keeps between passes, as its micro batches come and go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distsim.parallel.stages import Chunk
from distsim.schedule import BACKWARD, FORWARD, INPUT, WEIGHT, Actions
from distsim.store import Same, Store

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
    if len(chunks) > 1 or order.paired.any():
        return float(activation_levels_bytes(order, chunks, variant_of).max(initial=0.0))
    held = [c.saved_bytes for c in chunks[0]] + [c.weight_bytes for c in chunks[0]]
    count = len(chunks[0])
    seen = _IN_FLIGHT.get(
        (Same(order), count), lambda: _in_flight(order, count), lambda a: a.nbytes + order.nbytes
    )
    return float((seen @ held).max(initial=0.0))


#: What is in flight in orders seen before.
_IN_FLIGHT = Store(64 << 20)


def _in_flight(of: Actions, chunks: int) -> npt.NDArray[np.int32]:
    """Return how many micro batches are in flight after a pass that adds some, in every way.

    Returns
    -------
    int32[n, 2 chunks]
        By chunk: those between forward pass and (input) gradient, and those between input gradient
        and weight gradient.
    """
    counts = np.zeros((len(of.kind), 2 * chunks), dtype=np.int8)
    at, chunk = np.arange(len(of.kind)), of.chunk
    counts[at, chunk] = np.where(of.kind == FORWARD, 1, np.where(of.kind == WEIGHT, 0, -1))
    counts[at, chunks + chunk] = (of.kind == INPUT).astype(np.int8) - (of.kind == WEIGHT)
    # What a pass frees is less than what there was before it.
    grows = (of.kind == FORWARD) | (of.kind == INPUT)
    levels = np.cumsum(counts, axis=0, dtype=np.int32)[grows]
    distinct = set(levels.view(f"V{levels.itemsize * 2 * chunks}").ravel().tolist())
    return np.frombuffer(b"".join(distinct), dtype=np.int32).reshape(-1, 2 * chunks)
