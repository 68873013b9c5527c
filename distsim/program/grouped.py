"""Which actions of a stage run together, and which of them are alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from distsim.record import record
from distsim.schedule import BACKWARD, FORWARD, WEIGHT, Actions, paired
from distsim.store import Interned, Same, Store

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
#: What tells the patterns of a stage apart: of the first action, and of the second (-1: none).
Codes = tuple[tuple[int, int], ...]

#: A code is flags, the kind of the action, and its model chunk.
GATHERS, REDUCES, AFTER_HOOK, ENDS_BATCH, KIND, CHUNK = 1, 2, 4, 8, 16, 64


@record
class Grouped:
    """Actions of a stage that run together, and which of them are alike.

    Attributes
    ----------
    lead : int64[groups]
        First action of each group (one action, or a pair).
    codes : tuple of (int, int)
        One object for stages whose codes are equal.
    pattern_of : int64[groups]
        Index into `codes`.
    """

    lead: Ints
    codes: Codes
    pattern_of: Ints


@record
class Hooks:
    """Where actions wait for parameters and where their gradients leave.

    Attributes
    ----------
    gather, reduce : str
        As `DataParallel` has them.
    batches : int
        Optimizer steps that the orders span; their micro batches follow one another.
    chunks : int
        Model chunks of a stage.
    """

    gather: str
    reduce: str
    batches: int
    chunks: int


#: What groups of actions there are; a few kilobytes a stage.
_GROUPED = Store(64 << 20)
_CODES = Interned(4096)


def grouped(orders: Sequence[Actions], hooks: Hooks, variant_of: Ints) -> tuple[Grouped, ...]:
    """Group the actions of each stage; plans with the same schedule and the same hooks share it.

    Parameters
    ----------
    variant_of : int64[microbatches]
        Shape of each micro batch.
    """
    return _GROUPED.get(
        (Same(orders), hooks, variant_of.tobytes()),
        lambda: _grouped(orders, hooks, variant_of),
        lambda made: sum(512 + 16 * len(g.lead) for g in made),
    )


def _grouped(orders: Sequence[Actions], hooks: Hooks, variant_of: Ints) -> tuple[Grouped, ...]:
    counts = [len(order) for order in orders]
    bounds = [0, *np.cumsum(counts).tolist()]
    stage = np.repeat(np.arange(len(orders)), counts)
    codes = _codes(orders, stage, np.asarray(bounds[:-1]), hooks, variant_of)
    if paired(orders):
        parts = zip(orders, bounds[:-1], bounds[1:], strict=True)
        return tuple(_pairs(codes[a:b], order.paired) for order, a, b in parts)
    most = int(codes.max(initial=0)) + 1
    keys = stage * most + codes
    distinct = np.flatnonzero(np.bincount(keys, minlength=len(orders) * most))
    number = np.zeros(len(orders) * most, dtype=np.int64)
    number[distinct] = np.arange(len(distinct))
    place = number[keys]
    first = np.searchsorted(distinct, np.arange(len(orders) + 1) * most).tolist()
    out = []
    for s, count in enumerate(counts):
        own = (distinct[first[s] : first[s + 1]] - s * most).tolist()
        ones = _CODES.of(tuple([(code, -1) for code in own]))
        pattern_of = place[bounds[s] : bounds[s + 1]] - first[s]
        out.append(Grouped(np.arange(count), ones, pattern_of))
    return tuple(out)


def _pairs(codes: Ints, together: Bools) -> Grouped:
    """Group the actions of a stage of which some run in pairs."""
    pair = together if len(together) else np.zeros(len(codes), dtype=bool)
    second = np.concatenate([[False], pair[:-1]])
    lead = np.flatnonzero(~second)
    following = np.append(codes[1:], 0)[lead]
    most = int(codes.max(initial=0)) + 2
    keys = codes[lead] * most + np.where(pair[lead], following, -1) + 1
    distinct, pattern_of = np.unique(keys, return_inverse=True)
    pairs = tuple((key // most, key % most - 1) for key in distinct.tolist())
    return Grouped(lead, pairs, pattern_of.reshape(-1))


def _codes(
    orders: Sequence[Actions], stage: Ints, begin: Ints, hooks: Hooks, variant_of: Ints
) -> Ints:
    """Return what tells the patterns of actions apart, stage after stage.

    Parameters
    ----------
    stage : int64[actions]
    begin : int64[stages]
        First action of each stage.
    """
    kind = np.concatenate([order.kind for order in orders])
    chunk = np.concatenate([order.chunk for order in orders]).astype(np.int64)
    micro = np.concatenate([order.microbatch for order in orders])
    batch = micro // max(1, len(variant_of) // hooks.batches)
    batch_of = stage * hooks.batches + batch
    gather, reduce = _hooked(kind, batch_of * hooks.chunks + chunk, hooks)
    so_far = np.concatenate([[0], np.cumsum(reduce)])
    after_hook = (so_far[1:] > so_far[begin][stage]) | gather
    ends = np.zeros(len(kind), dtype=bool)
    if hooks.batches > 1:
        ends[_last(batch_of, np.flatnonzero((kind != FORWARD) & (batch < hooks.batches - 1)))] = (
            True
        )
    return np.asarray(
        GATHERS * gather
        + REDUCES * reduce
        + AFTER_HOOK * after_hook
        + ENDS_BATCH * ends
        + KIND * kind.astype(np.int64)
        + CHUNK * (chunk + hooks.chunks * variant_of[micro])
    )


def _hooked(kind: npt.NDArray[np.uint8], of: Ints, hooks: Hooks) -> tuple[Bools, Bools]:
    """Say for each action whether it waits for parameters and whether its gradients leave.

    Parameters
    ----------
    of : int64[actions]
        Number of its stage, batch and model chunk.
    """
    forward, completes = kind == FORWARD, (kind == BACKWARD) | (kind == WEIGHT)
    gather, reduce = np.zeros(len(kind), dtype=bool), np.zeros(len(kind), dtype=bool)
    if hooks.gather == "each":
        gather = kind != WEIGHT
    if hooks.gather == "forward":
        gather = forward
    if hooks.gather == "first":
        gather[_last(of, np.flatnonzero(forward)[::-1])] = True
    if hooks.reduce == "each":
        reduce = completes
    if hooks.reduce == "last":
        reduce[_last(of, np.flatnonzero(completes))] = True
    return gather, reduce


@lru_cache(maxsize=4096)
def different(codes: Same, kinds: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Return the codes that differ in more than which of some chunks alike it is.

    Parameters
    ----------
    kinds : tuple of int
        What each chunk is: as many numbers as there are kinds of them.

    Returns
    -------
    firsts, which : list of int
        The first codes of their like; of each code, which of these it is like.
    """
    known: dict[tuple[int, int], int] = {}
    firsts: list[int] = []
    which: list[int] = []
    for code, _ in codes.of:
        key = (code % CHUNK, kinds[code // CHUNK])
        if key not in known:
            known[key] = len(firsts)
            firsts.append(code)
        which.append(known[key])
    return firsts, which


def _last(key: Ints, places: Ints) -> Ints:
    """Return the last of some places for each key that they have."""
    found = np.full(int(key.max(initial=0)) + 1, -1, dtype=np.int64)
    found[key[places]] = places  # of several, the last stays
    return found[found >= 0]


__all__ = ["CHUNK", "KIND", "Codes", "Grouped", "Hooks", "different", "grouped"]
