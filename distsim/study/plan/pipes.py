"""How a pipeline lies over the layers: schedules, model chunks, and layers of each chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import floor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.errors import DistsimError
from distsim.schedule import (
    BACKWARD,
    FORWARD,
    INPUT,
    REGISTRY,
    WEIGHT,
    Actions,
    actions,
    chunks_of,
)
from distsim.study.plan.setting import Setting
from distsim.workload.shape import Shape

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

#: Schedules that a search tries, without and with model chunks of one's own choosing.
SCHEDULES = ("1f1b", "interleaved", "zb-h1", "zb-h2", "zb-v")
#: Schedules whose order repeats after the warm-up, so that a few micro batches stand for many.
_PERIODIC = frozenset(SCHEDULES)
#: Rows of counts whose dominated ones are looked for: fewer cost less to keep than to compare.
_FEW, _MANY = 1024, 4096
#: Share by which a division by cost must be faster than an even one to be a candidate of its own.
_WORTH = 0.01


class Pipe(NamedTuple):
    """A schedule over chunks: `layers` of each model chunk in model order."""

    schedule: str
    pp: int
    v: int
    layers: tuple[int, ...]
    even: bool


def ends_in_layers(setting: Setting) -> tuple[float, float]:
    """Return what embedding and head compute over what a mean layer does, by FLOP."""
    shape = Shape(1, setting.length, setting.numerics, setting.stack.fusion)
    blocks = setting.model.blocks(shape)
    total = sum(op.forward_flop for kind in blocks.layers for op in blocks.kinds[kind])
    mean = total / max(len(blocks.layers), 1)
    first, last = (sum(op.forward_flop for op in ops) for ops in (blocks.embedding, blocks.head))
    return first / mean + 1e-3, last / mean


def fitted(layers: int, pp: int, v: int, ends: tuple[float, float]) -> tuple[int, ...]:
    """Divide layers of equal cost over chunks so that the fullest stage has the least.

    Parameters
    ----------
    ends : (float, float)
        Cost of embedding and head in layers.

    Notes
    -----
    Every chunk gets what fits under the least bound that holds all layers; what is too much then
    goes from the fullest stage, one layer after another.
    """
    chunks = pp * v
    extra = np.zeros(chunks)
    extra[0] += ends[0]
    extra[-1] += ends[1]
    whole = -(-layers // chunks)
    bounds = sorted({k + e for k in range(max(whole - 1, 0), whole + 2) for e in (0.0, *ends)})
    counts = next(
        c
        for bound in (*bounds, whole + 2 + max(ends))
        if (c := [max(floor(bound - e + 1e-9), 0) for e in extra.tolist()]) and sum(c) >= layers
    )
    for _ in range(sum(counts) - layers):
        load = [sum(counts[k] + extra[k] for k in range(s, chunks, pp)) for s in range(pp)]
        stage = max(
            (s for s in range(pp) if any(counts[k] for k in range(s, chunks, pp))),
            key=lambda s: (round(load[s], 6), s == pp - 1, -s),
        )
        held = [k for k in range(stage, chunks, pp)]
        chunk = max(held, key=lambda k: (counts[k] + extra[k], k))
        counts[chunk if counts[chunk] else max(held, key=lambda k: counts[k])] -= 1
    return tuple(counts)


def _heaviest(counts: Sequence[int], pp: int, ends: tuple[float, float]) -> float:
    load = [float(sum(counts[s::pp])) for s in range(pp)]
    load[0] += ends[0]
    load[-1] += ends[1]
    return max(load)


def divisions(
    layers: int, pp: int, v: int, ends: tuple[float, float]
) -> list[tuple[tuple[int, ...], bool]]:
    """Return (layers of each chunk, whether even): evenly where that goes, and by cost."""
    chunks = pp * v
    out: list[tuple[tuple[int, ...], bool]] = []
    if layers % chunks == 0:
        out.append(((layers // chunks,) * chunks, True))
    if chunks == 1 or layers < chunks - 2:
        return out
    by_cost = fitted(layers, pp, v, ends)
    if not out or _heaviest(by_cost, pp, ends) < (1 - _WORTH) * _heaviest(out[0][0], pp, ends):
        out.append((by_cost, False))
    return out


def pipes(
    setting: Setting,
    pp: int,
    schedules: Sequence[str],
    virtual_stages: Sequence[int],
    ends: tuple[float, float],
) -> list[Pipe]:
    """Return all ways to lay the layers over `pp` stages."""
    layers = setting.model.layers
    if pp == 1:
        return [Pipe("1f1b", 1, 1, (layers,), True)]
    out = []
    for name in schedules:
        chosen = REGISTRY[name].chunks
        for v in virtual_stages:
            own = v > 1 if name == "interleaved" else chosen is None or v == chosen
            if own and layers >= pp * v - 2:
                out += [Pipe(name, pp, v, *d) for d in divisions(layers, pp, v, ends)]
    return out


@dataclass(frozen=True, slots=True)
class Counts:
    """How often what runs on a stage between two of its actions, and how much is kept.

    Attributes
    ----------
    span : int64[stages, 2, 3, chunks, 4]
        Actions of each chunk and kind from the first forward pass of the first or last model chunk
        of the stage on, until the last gradient of activations of the first or last one, or until
        the end; both ends included.
    hooked : int64[stages, 2, chunks, 4]
        Likewise from these starts on, until before the first action whose gradients leave on the
        last micro batch.
    after_hook : int64[stages]
        Actions from that one on.
    kept : tuple of int64[rows, 2 * chunks]
        For each stage: micro batches whose activations are kept at one time, and those that wait
        for their weight gradient, by chunk. Only rows that another does not exceed.
    ends : int64[stages, 2]
        Chunk of the stage that is first, and that is last, in model order.
    splits_backward : bool
        Input and weight gradients run apart.
    extra : int
        Micro batches that the counts leave out: each adds one action of every chunk and kind that
        the schedule has.
    """

    span: Ints
    hooked: Ints
    after_hook: Ints
    kept: tuple[Ints, ...]
    ends: Ints
    splits_backward: bool
    extra: int


def short(schedule: str, pp: int, microbatches: int, v: int) -> int:
    """Return how many micro batches stand for all: warm-up, a steady state, and the end."""
    limit = 3 * pp
    if schedule not in _PERIODIC or microbatches <= limit:
        return microbatches
    return limit + microbatches % pp


def possible(schedule: str, pp: int, microbatches: int, v: int) -> DistsimError | None:
    """Return why a schedule cannot order so many micro batches, or None."""
    try:
        counts(schedule, pp, microbatches, v)
    except DistsimError as error:
        return error
    return None


def counts(schedule: str, pp: int, microbatches: int, v: int) -> Counts:
    """Count the actions of a schedule.

    Raises
    ------
    DistsimError
        From the schedule, where it cannot order so many micro batches.
    """
    few = short(schedule, pp, microbatches, v)
    found = _counts(schedule, pp, few, v)
    return found if few == microbatches else replace(found, extra=microbatches - few)


@lru_cache(maxsize=8192)
def _counts(schedule: str, pp: int, few: int, v: int) -> Counts:
    orders = actions(schedule, pp, few, v)
    found = REGISTRY[schedule]
    chunks = chunks_of(found, v)
    placement = np.asarray(found.placement(pp, chunks))
    ends = np.stack([placement.argmin(axis=1), placement.argmax(axis=1)], axis=1)
    span = np.zeros((pp, 2, 3, chunks, 4), dtype=np.int64)
    hooked = np.zeros((pp, 2, chunks, 4), dtype=np.int64)
    after, kept = np.zeros(pp, dtype=np.int64), []
    for s, order in enumerate(orders):
        code = order.chunk.astype(np.int64) * 4 + order.kind
        running = np.zeros((len(code) + 1, chunks * 4), dtype=np.int64)
        running[np.arange(1, len(code) + 1), code] = 1
        np.cumsum(running, axis=0, out=running)
        grads = (order.kind == BACKWARD) | (order.kind == INPUT)
        leave = (order.kind == BACKWARD) | (order.kind == WEIGHT)
        begin = [np.flatnonzero((order.kind == FORWARD) & (order.chunk == c))[0] for c in ends[s]]
        end = [np.flatnonzero(grads & (order.chunk == c))[-1] + 1 for c in ends[s]]
        first = min(np.flatnonzero(leave & (order.chunk == c))[-1] for c in range(chunks))
        for x in range(2):
            for y, stop in enumerate((*end, len(code))):
                span[s, x, y] = (running[stop] - running[begin[x]]).reshape(chunks, 4)
            hooked[s, x] = (running[first] - running[begin[x]]).reshape(chunks, 4)
        after[s] = len(code) - first
        kept.append(_kept(order, running, chunks))
    split = any((o.kind == WEIGHT).any() for o in orders)
    return Counts(span, hooked, after, tuple(kept), ends, split, 0)


def _kept(order: Actions, running: Ints, chunks: int) -> Ints:
    """Return how many micro batches are kept at the times when most are, by chunk."""
    each = running.reshape(-1, chunks, 4)
    if not (order.kind == WEIGHT).any():
        # Only forward passes add, so the most is after one that another does not follow.
        grows = np.append(order.kind == FORWARD, False)
        each = each[1:][grows[:-1] & ~grows[1:]]
    freed = each[:, :, BACKWARD] + each[:, :, INPUT]
    waiting = each[:, :, INPUT] - each[:, :, WEIGHT]
    rows = np.concatenate([each[:, :, FORWARD] - freed, waiting], axis=1)
    return _undominated(_distinct(rows))


def _distinct(rows: Ints) -> Ints:
    """Return each row once; sorted as bytes, which is many times as fast as by columns."""
    packed = np.ascontiguousarray(rows, dtype=np.int32)
    _, first = np.unique(packed.view(f"V{4 * rows.shape[1]}").reshape(-1), return_index=True)
    return rows[first]


def _undominated(rows: Ints) -> Ints:
    """Leave out rows that another one is not below in any column, where there are many."""
    if not _FEW < len(rows) <= _MANY:
        return rows
    covers = np.asarray((rows[:, None, :] >= rows[None, :, :]).all(axis=2))
    np.fill_diagonal(covers, False)
    return rows[~covers.any(axis=0)]


class Composition(NamedTuple):
    """Units of each chunk: distinct rows of counts, and the row of each chunk.

    Attributes
    ----------
    units : int64[rows, units]
    of_chunk : int64[stages, chunks]
    model : int64[stages, chunks]
        Number of each chunk in the model.
    leaves, returns : bool[stages, chunks]
        The next chunk, and the one before, lies on another stage.
    """

    units: Ints
    of_chunk: Ints
    model: Ints
    leaves: Flags
    returns: Flags


def composition(pipe: Pipe, kinds: Sequence[str]) -> Composition:
    """Return which units each chunk of a pipe has; kinds of layers, then embedding and head."""
    number = {kind: i for i, kind in enumerate(dict.fromkeys(kinds))}
    begins = np.concatenate([[0], np.cumsum(pipe.layers)])
    running = np.zeros((len(kinds) + 1, len(number)), dtype=np.int64)
    running[np.arange(1, len(kinds) + 1), [number[k] for k in kinds]] = 1
    np.cumsum(running, axis=0, out=running)
    of_model = np.zeros((len(pipe.layers), len(number) + 2), dtype=np.int64)
    of_model[:, : len(number)] = running[begins[1:]] - running[begins[:-1]]
    of_model[0, -2] = of_model[-1, -1] = 1
    units, row = np.unique(of_model, axis=0, return_inverse=True)
    found = REGISTRY[pipe.schedule]
    placement = np.asarray(found.placement(pipe.pp, chunks_of(found, pipe.v)))
    stage = np.zeros(placement.size, dtype=np.int64)
    stage[placement] = np.arange(pipe.pp)[:, None]
    passes = np.append(stage[1:] != stage[:-1], False)
    arrives = np.append(False, stage[1:] != stage[:-1])
    return Composition(
        units, row.reshape(-1)[placement], placement, passes[placement], arrives[placement]
    )


__all__ = ["SCHEDULES", "Composition", "Counts", "Pipe", "composition", "counts"]
