"""The passes of a schedule in an order in which they can run, and the messages between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from distsim.parallel.plan import Plan
from distsim.program.actions import ROW
from distsim.program.grouped import Grouped
from distsim.program.inputs import Inputs
from distsim.program.repeat import Cut, repeated
from distsim.program.sends import families_of, passages_of
from distsim.record import record
from distsim.schedule import FORWARD, WEIGHT, Actions, Schedule
from distsim.store import Same, Store

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


#: Stage, cell, slot, chain, number of the message, slot that is filled.
Pass = tuple[int, int, int, int, int, int]


@record
class Route:
    """The passes of all stages in an order in which they can run, as columns.

    Attributes
    ----------
    stage, cell : list of int
        Of each pass: where it runs, and its kind.
    slot : list of int
        Where its message arrives; `slots`: it waits for none.
    chain, number : list of int
        Chain of messages on which it sends, in the order of that chain (-1: none), and number of
        the message's duration.
    into : list of int
        Slot that it fills, by its message or, without one, by itself; `slots` + 1: none.
    slots : int
    chains : list of (str, int)
        Family of sends and the stage that sends.
    periods : int64[periods, passes]
        Places of the passes of periods that repeat, see `repeat.repeated`; empty: none are known.
    """

    stage: list[int]
    cell: list[int]
    slot: list[int]
    chain: list[int]
    number: list[int]
    into: list[int]
    slots: int
    chains: list[tuple[str, int]]
    periods: Ints = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.stage)

    def window(self) -> tuple[int, int]:
        """Return the first place of the passes of the periods, and the one after the last."""
        if not self.periods.size:
            return 0, 0
        return int(self.periods.min()), int(self.periods.max()) + 1

    def passes(self) -> Iterator[Pass]:
        """Yield stage, cell, slot, chain, number and the slot that is filled of each pass."""
        columns = (self.stage, self.cell, self.slot, self.chain, self.number, self.into)
        return zip(*columns, strict=True)

    def nbytes(self) -> int:
        """Return roughly what it takes in memory."""
        return 1024 + 6 * 24 * len(self.stage)


#: Routes of plans with the same schedule.
_ROUTES = Store(96 << 20)


def route_of(
    inputs: Inputs, orders: Sequence[Actions], groups: Sequence[Grouped], of: Cut | None = None
) -> Route | None:
    """Return the route of a plan; None where its passes wait for one another.

    Parameters
    ----------
    of : Cut, optional
        What was left out of the plan's step.
    """
    plan, data = inputs.plan, inputs.data
    key = (
        Same(orders),
        Same(plan.placement),
        data.gather,
        data.reduce,
        inputs.variants_of().tobytes(),
        of and (of.begin, of.length),
    )
    variants = inputs.variants_of()
    return _ROUTES.get(
        key,
        lambda: _made_route(plan, orders, groups, variants, of),
        lambda route: route.nbytes() if route else 64,
    )


def _made_route(
    plan: Plan,
    orders: Sequence[Actions],
    groups: Sequence[Grouped],
    variant_of: Ints,
    of: Cut | None,
) -> Route | None:
    """Order the passes; None where they wait for one another.

    A slot is numbered by (stage, row, chunk, micro batch) of the pass that it is for.
    """
    stages, most = len(orders), max(int(o.chunk.max(initial=0)) for o in orders) + 1
    micros = len(variant_of)
    sizes = [len(order) for order in orders]
    stage = np.repeat(np.arange(stages), sizes)
    kind = np.concatenate([order.kind for order in orders])
    chunk = np.concatenate([order.chunk for order in orders]).astype(np.int64)
    micro = np.concatenate([order.microbatch for order in orders])
    moves = kind != WEIGHT
    row = np.where(moves, ROW[kind], 0)
    own = np.where(moves, ((stage * 2 + row) * most + chunk) * micros + micro, -1)
    there = np.zeros(stages * 2 * most * micros, dtype=bool)
    there[own[moves]] = True
    target, chain_of, chains = _targets(plan.pipeline, plan.pp, plan.chunks, most)
    to = target[stage, row, chunk]
    into = np.where(moves & (to >= 0), to * micros + micro, -1)
    into = np.where((into >= 0) & there[into], into, -1)
    chain = np.where(into >= 0, chain_of[stage, row, chunk], -1)
    number = chain * (int(variant_of.max(initial=0)) + 1) + variant_of[micro]
    incoming = np.zeros(len(there), dtype=bool)
    incoming[into[into >= 0]] = True
    slot = np.where((own >= 0) & incoming[own], own, -1)
    first_cell = np.cumsum([0, *(len(g.codes) for g in groups[:-1])])
    cell = np.concatenate([g.pattern_of for g in groups]) + first_cell[stage]
    turns = _in_step(stage, kind == FORWARD, slot, into, sizes)
    if turns is None:
        turns = _ordered(
            *([a.tolist() for a in np.split(of, np.cumsum(sizes)[:-1])] for of in (slot, into))
        )
    if turns is None:
        return None
    periods = np.zeros((0, 0), dtype=np.int64)
    if of is not None:
        alike = repeated(of, stage, sizes, cell, slot, into)
        if alike is None:
            return None
        place = np.empty(len(turns), dtype=np.int64)
        place[turns] = np.arange(len(turns))
        periods = place[alike]
    slots = len(there)
    slot, into = np.where(slot < 0, slots, slot), np.where(into < 0, slots + 1, into)
    stages_, cells, waits_, along, numbers, fills_ = (
        column[turns].tolist() for column in (stage, cell, slot, chain, number, into)
    )
    return Route(stages_, cells, waits_, along, numbers, fills_, slots, chains, periods)


@lru_cache(maxsize=256)
def _targets(
    pipeline: Schedule, stages: int, chunks: int, most: int
) -> tuple[Ints, Ints, list[tuple[str, int]]]:
    """Return what follows each (stage, row, chunk).

    Returns
    -------
    target, chain : int64[stages, 2, most]
        (stage, row, chunk) as a number, and the chain: -1 where nothing follows, and where no
        message is sent because the next chunk lies on the same stage.
    chains : list of (str, int)
        Family of sends, and stage that sends.
    """
    out = np.full((stages, 2, most), -1, dtype=np.int64)
    chain = np.full((stages, 2, most), -1, dtype=np.int64)
    named = families_of(pipeline, stages, chunks)
    family = {(name.split()[0], hop): name for name, hops in named.items() for hop in hops}
    known: dict[tuple[str, int], int] = {}
    for row, direction in enumerate(("forward", "backward")):
        for p in passages_of(pipeline, stages, chunks, direction):
            out[p.stage, row, p.chunk] = (p.to_stage * 2 + row) * most + p.to_chunk
            if p.stage != p.to_stage:
                key = (family[direction, (p.stage, p.to_stage)], p.stage)
                chain[p.stage, row, p.chunk] = known.setdefault(key, len(known))
    return out, chain, list(known)


def _in_step(
    stage: Ints, forward: Bools, waits: Ints, fills: Ints, sizes: Sequence[int]
) -> Ints | None:
    """Order passes by when they would run if each took as long as any other.

    Before its first backward pass a stage is behind the first one by its number, and from then on
    all are behind it by the same: that is so in 1F1B, interleaved or not (Narayanan 2021, section
    2.2), and where it is not the order is not valid.

    Parameters
    ----------
    stage, waits, fills : int64[passes]
        Of all stages, one after another; slots that are waited for and filled, -1: none.
    forward : bool[passes]
    sizes : sequence of int
        Passes of each stage.

    Returns
    -------
    int64[passes] or None
        Passes in order; None where one would come before what it waits for.
    """
    if not min(sizes):
        return None
    stages, passes = len(sizes), np.arange(len(stage))
    begin = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    first = np.minimum.reduceat(np.where(forward, len(stage), passes), begin)[stage]
    behind = np.where(passes < first, stage, stages - 1)
    when = (passes - begin[stage] + behind) * stages
    turns = np.argsort(when + np.where(forward, stage, stages - 1 - stage), kind="stable")
    place = np.empty(len(turns), dtype=np.int64)
    place[turns] = passes
    slots = 1 + max(int(waits.max(initial=0)), int(fills.max(initial=0)))
    filled = np.full(slots, len(stage))
    filled[fills[fills >= 0]] = place[fills >= 0]
    waiting = waits >= 0
    return turns if (filled[waits[waiting]] < place[waiting]).all() else None


def _ordered(waits: Sequence[list[int]], fills: Sequence[list[int]]) -> Ints | None:
    """Return all passes in an order in which each comes after what it waits for.

    Parameters
    ----------
    waits, fills : sequence of list of int
        By stage, of each pass: the slot that it waits for, and the one that it fills (-1: none).

    Returns
    -------
    int64[passes] or None
        Passes, counted through all stages.
    """
    slots = 1 + max((max(mine, default=0) for mine in fills), default=0)
    # After the slots: one that is never filled, and one that is, for -1.
    filled = bytearray(slots + 2)
    filled[-1] = 1
    left = [zip(*both, strict=True) for both in zip(waits, fills, strict=True)]
    #: What the next pass of each stage waits for and fills.
    stuck = [next(rest, (slots, slots)) for rest in left]
    at = [0] * len(waits)
    base = [0, *accumulate(len(mine) for mine in waits)]
    out: list[int] = []
    while len(out) < base[-1]:
        before = len(out)
        for stage, rest in enumerate(left):
            slot, into = stuck[stage]
            if not filled[slot]:
                continue
            filled[into] = 1
            end = at[stage] + 1
            stuck[stage] = (slots, slots)
            for slot, into in rest:
                if not filled[slot]:
                    stuck[stage] = (slot, into)
                    break
                filled[into] = 1
                end += 1
            out += range(base[stage] + at[stage], base[stage] + end)
            at[stage] = end
        if len(out) == before:
            return None
    return np.asarray(out)


__all__ = ["Pass", "Route", "route_of"]
