"""The passes of a schedule in an order in which they can run, and the messages between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from distsim.parallel.plan import Plan
from distsim.program.actions import ROW
from distsim.program.grouped import Grouped
from distsim.program.inputs import Inputs
from distsim.program.repeat import Cut, repeated
from distsim.program.sends import families, passages
from distsim.schedule import WEIGHT, Actions
from distsim.store import Same, Store

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Route:
    """The passes of all stages in an order in which they can run, as columns.

    Attributes
    ----------
    stage, cell : list of int
        Of each pass: where it runs, and its kind.
    slot : list of int
        Where its message arrives; -1: it waits for none.
    chain, number : list of int
        Chain of messages on which it sends, in the order of that chain (-1: none), and number of
        the message's duration.
    into : list of int
        Slot that it fills, by its message or, without one, by itself; -1: none.
    slots : int
    chains : list of (str, int)
        Family of sends and the stage that sends.
    periods : int64[periods, passes] or None
        Places of the passes of periods that repeat, see `repeat.repeated`.
    """

    stage: list[int]
    cell: list[int]
    slot: list[int]
    chain: list[int]
    number: list[int]
    into: list[int]
    slots: int
    chains: list[tuple[str, int]]
    periods: Ints | None = None

    def __len__(self) -> int:
        return len(self.stage)

    def passes(self) -> Iterator[tuple[int, int, int, int, int, int]]:
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
    shape = (stages, 2, most, micros)
    there = np.zeros(shape, dtype=bool)
    for stage, order in enumerate(orders):
        moves = order.kind != WEIGHT
        there[stage, ROW[order.kind[moves]], order.chunk[moves], order.microbatch[moves]] = True
    chains: list[tuple[str, int]] = []
    target, chain_of = _targets(plan, most, chains)
    incoming = np.zeros(there.size, dtype=bool)
    columns: list[list[Ints]] = []
    first_cell = 0
    for stage, order in enumerate(orders):
        row, chunk, micro = ROW[order.kind], order.chunk.astype(np.int64), order.microbatch
        moves = order.kind != WEIGHT
        row = np.where(moves, row, 0)
        place = np.ravel_multi_index((np.full(len(row), stage), row, chunk, micro), shape)
        own = np.where(moves, place, -1)
        to = target[stage, row, chunk]
        into = np.where(moves & (to >= 0), np.maximum(to, 0) * micros + micro, -1)
        into = np.where((into >= 0) & there.reshape(-1)[np.maximum(into, 0)], into, -1)
        chain = np.where(into >= 0, chain_of[stage, row, chunk], -1)
        number = chain * (int(variant_of.max(initial=0)) + 1) + variant_of[micro]
        incoming[into[into >= 0]] = True
        cell = groups[stage].pattern_of + first_cell
        columns.append([np.full(len(own), stage), cell, own, chain, number, into])
        first_cell += len(groups[stage].codes)
    for mine in columns:
        own = mine[2]
        mine[2] = np.where((own >= 0) & incoming[np.maximum(own, 0)], own, -1)
    ordered = _ordered([c[2].tolist() for c in columns], [c[5].tolist() for c in columns])
    if ordered is None:
        return None
    turns, periods = np.asarray(ordered), None
    if of is not None:
        periods = repeated(of, *([c[i] for c in columns] for i in (1, 2, 5)))
        if periods is None:
            return None
        place = np.empty(len(turns), dtype=np.int64)
        place[turns] = np.arange(len(turns))
        periods = place[periods]
    stages, cells, slots, along, numbers, fills = (
        np.concatenate(parts)[turns].tolist() for parts in zip(*columns, strict=True)
    )
    return Route(stages, cells, slots, along, numbers, fills, there.size, chains, periods)


def _targets(plan: Plan, most: int, chains: list[tuple[str, int]]) -> tuple[Ints, Ints]:
    """Return what follows each (stage, row, chunk): (stage, row, chunk) as a number, and the chain.

    -1: nothing follows; no message is sent, for the next chunk lies on the same stage. Chains are
    appended as (family of sends, stage that sends).
    """
    out = np.full((plan.pp, 2, most), -1, dtype=np.int64)
    chain = np.full((plan.pp, 2, most), -1, dtype=np.int64)
    named = families(plan)
    family = {(name.split()[0], hop): name for name, hops in named.items() for hop in hops}
    known: dict[tuple[str, int], int] = {}
    for row, direction in enumerate(("forward", "backward")):
        for p in passages(plan, direction):
            out[p.stage, row, p.chunk] = (p.to_stage * 2 + row) * most + p.to_chunk
            if p.stage != p.to_stage:
                key = (family[direction, (p.stage, p.to_stage)], p.stage)
                chain[p.stage, row, p.chunk] = known.setdefault(key, len(known))
    chains += list(known)
    return out, chain


def _ordered(waits: Sequence[list[int]], fills: Sequence[list[int]]) -> list[int] | None:
    """Return all passes in an order in which each comes after what it waits for.

    Parameters
    ----------
    waits, fills : sequence of list of int
        By stage, of each pass: the slot that it waits for, and the one that it fills (-1: none).

    Returns
    -------
    list of int or None
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
    return out


__all__ = ["Route", "route_of"]
