"""The passes of a schedule in an order in which they can run, and the messages between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distsim.parallel.plan import Plan
from distsim.program.actions import ROW
from distsim.program.inputs import Inputs
from distsim.program.layout import Grouped
from distsim.program.sends import families, passages
from distsim.schedule import WEIGHT, Actions
from distsim.store import Same, Store

Ints = npt.NDArray[np.int64]

#: (stage, cell, slot where its message arrives or -1, chain on which it sends or -1, number of the
#: message's duration, slot that the message fills)
Pass = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Route:
    """The passes of all stages in an order in which they can run.

    Attributes
    ----------
    passes : list of Pass
        A chain of -1 and a slot that is filled: the next chunk lies on the same stage.
    slots : int
    chains : list of (str, int)
        Family of sends and the stage that sends.
    first_cell : list of int
        Where the cells of each stage begin.
    """

    passes: list[Pass]
    slots: int
    chains: list[tuple[str, int]]
    first_cell: list[int]

    def nbytes(self) -> int:
        """Return roughly what it takes in memory."""
        return 1024 + 150 * len(self.passes)


#: Routes of plans with the same schedule.
_ROUTES = Store(96 << 20)


def route_of(inputs: Inputs, orders: Sequence[Actions], groups: Sequence[Grouped]) -> Route | None:
    """Return the route of a plan; None where its passes wait for one another."""
    plan, data = inputs.plan, inputs.data
    key = (
        Same(orders[0]),
        plan.placement,
        data.gather,
        data.reduce,
        inputs.variants_of().tobytes(),
    )
    variants = inputs.variants_of()
    return _ROUTES.get(
        key,
        lambda: _made_route(plan, orders, groups, variants),
        lambda route: route.nbytes() if route else 64,
    )


def _made_route(
    plan: Plan, orders: Sequence[Actions], groups: Sequence[Grouped], variant_of: Ints
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
    columns: list[tuple[list[int], ...]] = []
    first_cell = [0]
    for stage, order in enumerate(orders):
        row, chunk, micro = ROW[order.kind], order.chunk.astype(np.int64), order.microbatch
        moves = order.kind != WEIGHT
        row = np.where(moves, row, 0)
        own = np.where(
            moves, np.ravel_multi_index((np.full(len(row), stage), row, chunk, micro), shape), -1
        )
        to = target[stage, row, chunk]
        into = np.where(moves & (to >= 0), np.maximum(to, 0) * micros + micro, -1)
        into = np.where((into >= 0) & there.reshape(-1)[np.maximum(into, 0)], into, -1)
        chain = np.where(into >= 0, chain_of[stage, row, chunk], -1)
        number = chain * (int(variant_of.max(initial=0)) + 1) + variant_of[micro]
        incoming[into[into >= 0]] = True
        cell = groups[stage].pattern_of + first_cell[-1]
        columns.append(tuple(c.tolist() for c in (cell, own, chain, number, into)))
        first_cell.append(first_cell[-1] + len(groups[stage].codes))
    ordered = _ordered(columns, incoming)
    return None if ordered is None else Route(ordered, there.size, chains, first_cell)


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


def _ordered(
    columns: Sequence[tuple[list[int], ...]], incoming: npt.NDArray[np.bool_]
) -> list[Pass] | None:
    """Return the passes of all stages in an order in which each comes after what it waits for.

    Parameters
    ----------
    columns : sequence of (cells, own slots, chains, numbers, slots filled)
        By stage.
    """
    filled = [False] * (len(incoming) + 1)
    at = [0] * len(columns)
    out: list[Pass] = []
    waits, rows = [], []
    for stage, (cells, own, chain, number, into) in enumerate(columns):
        slots = np.asarray(own, dtype=np.int64)
        slots = np.where((slots >= 0) & incoming[np.maximum(slots, 0)], slots, -1).tolist()
        waits.append(slots)
        rows.append(list(zip([stage] * len(cells), cells, slots, chain, number, into, strict=True)))
    total = sum(len(mine) for mine in rows)
    while len(out) < total:
        before = len(out)
        for stage, slots in enumerate(waits):
            fills = columns[stage][-1]
            first = i = at[stage]
            for i in range(first, len(slots)):
                if slots[i] >= 0 and not filled[slots[i]]:
                    break
                filled[fills[i]] = True
            else:
                i = len(slots)
            out += rows[stage][first:i]
            at[stage] = i
        if len(out) == before:
            return None
    return out


__all__ = ["Pass", "Route", "route_of"]
