"""Whether an order of work is a schedule: complete, in order, and free of deadlock.

An order of work is legal if each micro batch passes each model chunk of its copy of the model once
forwards and once backwards (in one piece, or as input gradient and weight gradient), if a stage
never needs what it only does later, and if the stages, each in its own order, all come to an end.
Actions are named as PyTorch does: ``5F3`` is the forward pass of micro batch 3 in model chunk 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from distsim.record import record
from distsim.schedule.actions import BACKWARD, FORWARD, INPUT, WEIGHT, Actions
from distsim.schedule.flat import Flat, Ints, flatten, illegal, needs, walk
from distsim.schedule.schedule import Placement

#: Waiting actions that a message lists.
_SHOWN = 3


@record
class Fault:
    """The first thing that keeps an order from being a schedule.

    Attributes
    ----------
    kind : str
        ``coverage`` (missing, twice, mixed) or ``order`` (too early, never).
    message, rule, fix : str
    stage, index : int
        Where; an index of -1 means the stage as a whole.
    """

    kind: Literal["coverage", "order"]
    message: str
    rule: str
    fix: str
    stage: int
    index: int = -1


def first_fault(flat: Flat) -> Fault | None:
    """Return what keeps an order from being a schedule, None for a legal one."""
    return _coverage(flat) or _backward(flat) or _early(flat) or _stuck(flat)


def check(orders: Sequence[Actions], placement: Placement, replicas: int = 1) -> None:
    """Refuse an order of work that is no schedule.

    Parameters
    ----------
    orders : sequence of Actions
        Actions of each stage.
    placement : tuple of tuple of int
        ``[stage][chunk]`` -> number of the model chunk.
    replicas : int
        Copies of the model; copy r has the r-th part of the micro batches.

    Raises
    ------
    PlanError
        DS317: a micro batch misses a chunk or passes it twice, a gradient comes before what it
        needs, or the stages wait for each other for ever.
    """
    fault = first_fault(flatten(orders, placement, replicas))
    if fault is not None:
        where = f"stage {fault.stage}" + (f", action {fault.index}" if fault.index >= 0 else "")
        raise illegal(f"{where}: {fault.message}", fault.rule, fault.fix)


def _at(flat: Flat, action: int) -> tuple[int, int]:
    """Return stage and index of an action."""
    stage = int(flat.stage[action])
    return stage, action - int(flat.first[stage])


def _coverage(flat: Flat) -> Fault | None:
    """Find a micro batch that does not pass a chunk exactly once each way."""
    block = flat.microbatches // flat.replicas
    if flat.microbatches % flat.replicas:
        return Fault(
            "coverage",
            f"{flat.microbatches} micro batches for {flat.replicas} copies of the model",
            "every copy has as many micro batches",
            "change the number of micro batches",
            0,
        )
    rule = "every micro batch passes every chunk once: F, then B or I and W"
    if not flat.microbatches:
        return Fault("coverage", "there are no actions", rule, "add some", 0)
    copy = flat.chunk // (flat.chunks // flat.replicas)
    stray = np.flatnonzero(flat.microbatch // max(block, 1) != copy)
    if len(stray):
        action = int(stray[0])
        message = (
            f"{flat.label(action)} is of copy {copy[action]}, whose micro batches are "
            f"{copy[action] * block} to {(copy[action] + 1) * block - 1}"
        )
        return Fault("coverage", message, rule, "give it a micro batch of its", *_at(flat, action))
    for kinds, name in (((FORWARD,), "F"), ((BACKWARD, INPUT), "B or I")):
        where, key = flat.keys(*kinds)
        again = np.flatnonzero(key[1:] == key[:-1]) + 1
        if len(again):
            action = int(where[again].min())
            other = int(where[again[where[again].argmin()] - 1])
            message = f"{flat.label(action)} comes after {flat.label(other)}, the same again"
            return Fault("coverage", message, rule, "remove one of the two", *_at(flat, action))
        if len(key) < flat.chunks * block:
            return _missing(flat, np.bincount(flat.chunk[where], minlength=flat.chunks), key, name)
    return None


def _missing(flat: Flat, count: Ints, key: Ints, name: str) -> Fault:
    """Say which micro batch the first chunk with a gap lacks."""
    block = flat.microbatches // flat.replicas
    chunk = int((count < block).argmax())
    held = np.flatnonzero(flat.chunk == chunk)
    begin = chunk // (flat.chunks // flat.replicas) * block
    mine = key[key // flat.microbatches == chunk] % flat.microbatches - begin
    microbatch = begin + int((np.append(mine, block) != np.arange(len(mine) + 1)).argmax())
    return Fault(
        "coverage",
        f"chunk {chunk} has no {name} of micro batch {microbatch}",
        f"all {flat.microbatches} micro batches have F, then B or I and W in every chunk",
        f"add the missing action: {chunk}{name[0]}{microbatch}",
        int(flat.stage[held[0]]) if len(held) else 0,
    )


def _backward(flat: Flat) -> Fault | None:
    """Find a weight gradient that is missing, there twice, or beside a whole backward pass."""
    weight, weight_key = flat.keys(WEIGHT)
    inner, inner_key = flat.keys(INPUT)
    rule = "a backward pass is B alone, or I and later one W"
    again = np.flatnonzero(weight_key[1:] == weight_key[:-1]) + 1
    if len(again):
        action = int(weight[again].min())
        message = f"{flat.label(action)} is there twice"
        return Fault("coverage", message, rule, "remove one of the two", *_at(flat, action))
    stray = weight[~np.isin(weight_key, inner_key)]
    if len(stray):
        action = int(stray.min())
        message = f"{flat.label(action)} stands beside B of the same micro batch, not I"
        return Fault("coverage", message, rule, "remove W, or write I for B", *_at(flat, action))
    alone = inner[~np.isin(inner_key, weight_key)]
    if len(alone):
        action = int(alone.min())
        message = f"{flat.label(action)} has no W"
        return Fault("coverage", message, rule, "add W, or write B for I", *_at(flat, action))
    return None


def _early(flat: Flat) -> Fault | None:
    """Find a gradient that comes before what it needs on its own stage."""
    forward, _ = flat.keys(FORWARD)
    back, _ = flat.keys(BACKWARD, INPUT)
    weight, weight_key = flat.keys(WEIGHT)
    inner, inner_key = flat.keys(INPUT)
    for mine, needed in ((back, forward), (weight, inner[np.isin(inner_key, weight_key)])):
        early = np.flatnonzero(mine < needed)
        if len(early):
            one = int(early[mine[early].argmin()])
            action, other = int(mine[one]), int(needed[one])
            return Fault(
                "order",
                f"{flat.label(action)} comes before {flat.label(other)}",
                "F before B or I, I before W",
                "change the order of the two",
                *_at(flat, action),
            )
    return None


def _stuck(flat: Flat) -> Fault | None:
    """Find stages that wait for each other."""
    waits = needs(flat)
    done = walk(flat, waits, joint=True)
    if len(done) == len(flat.kind):
        return None
    left = np.ones(len(flat.kind), dtype=np.bool_)
    left[done] = False
    blocked = [
        stage + int(left[stage:end].argmax())
        for stage, end in zip(flat.first[:-1].tolist(), flat.first[1:].tolist(), strict=True)
        if left[stage:end].any()
    ]
    # Where a pair waits, it may be for what its second action needs.
    blocked = [a if left[waits[a]] and waits[a] >= 0 else a + 1 for a in blocked]
    shown = "; ".join(
        f"stage {flat.stage[a]} waits at {flat.label(a)} for {flat.label(int(waits[a]))} of stage "
        f"{flat.stage[waits[a]]}"
        for a in blocked[:_SHOWN]
    )
    more = f"; and {len(blocked) - _SHOWN} more" if len(blocked) > _SHOWN else ""
    return Fault(
        "order",
        f"the stages wait for each other for ever: {shown}{more}",
        "F waits for F of the chunk before, B or I for B or I of the next chunk",
        "move what is waited for before what waits",
        *_at(flat, blocked[0]),
    )
