"""The actions of all stages in one row, and what each of them waits for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distsim.errors import PlanError
from distsim.record import record
from distsim.schedule.actions import BACKWARD, FORWARD, INPUT, LETTERS, WEIGHT, Actions
from distsim.schedule.schedule import Placement

Ints = npt.NDArray[np.int64]


@record
class Flat:
    """All actions of a schedule in one row, stage after stage.

    Attributes
    ----------
    first : int64[stages + 1]
        Where the actions of each stage begin.
    stage, kind, chunk, microbatch : int64[a]
        Stage, kind, number of the model chunk through all copies, micro batch.
    paired : bool[a]
        As in `Actions`.
    chunks, microbatches, replicas : int
        Model chunks of all copies together, micro batches of all together, copies of the model.
    """

    first: Ints
    stage: Ints
    kind: Ints
    chunk: Ints
    microbatch: Ints
    paired: npt.NDArray[np.bool_]
    chunks: int
    microbatches: int
    replicas: int

    def label(self, action: int) -> str:
        """Return an action as PyTorch writes it."""
        letter = LETTERS[self.kind[action]]
        return f"{self.chunk[action]}{letter}{self.microbatch[action]}"

    def keys(self, *kinds: int) -> tuple[Ints, Ints]:
        """Return the actions of some kinds and a number for chunk and micro batch, both sorted."""
        where = np.flatnonzero(np.isin(self.kind, kinds))
        key = self.chunk[where] * self.microbatches + self.microbatch[where]
        order = np.argsort(key, kind="stable")
        return where[order], key[order]


def illegal(message: str, rule: str, fix: str) -> PlanError:
    """Return the error of an order of work that is no schedule."""
    return PlanError("DS317", message, path=("plan", "schedule"), rule=rule, fix=fix)


def flatten(orders: Sequence[Actions], placement: Placement, replicas: int = 1) -> Flat:
    """Return the actions of all stages in one row.

    Raises
    ------
    PlanError
        DS317 where stages, chunks and copies do not fit each other.
    """
    held = [len(chunks) for chunks in placement]
    numbers = sorted(number for chunks in placement for number in chunks)
    if numbers != list(range(len(numbers))) or len(numbers) % replicas:
        raise illegal(
            f"the placement holds model chunks {numbers[:8]} for {replicas} copies of the model",
            "model chunks are numbered from 0, each on one stage, as many in each copy",
            "number them through",
        )
    if not all(held):
        raise illegal(
            f"stage {held.index(0)} holds no model chunk",
            "every stage holds at least one",
            "leave the stage out",
        )
    if len(orders) != len(placement):
        raise illegal(
            f"there are {len(orders)} orders for {len(placement)} stages",
            "one order of work for each stage",
            "give as many orders as the placement has stages",
        )
    for stage, order in enumerate(orders):
        strange = (order.chunk < 0) | (order.chunk >= held[stage]) | (order.microbatch < 0)
        if strange.any():
            index = int(strange.argmax())
            raise illegal(
                f"action {index} of stage {stage} is of chunk {order.chunk[index]} and micro "
                f"batch {order.microbatch[index]}",
                f"chunks of the stage from 0 to {held[stage] - 1}, micro batches from 0",
                "number the chunks of a stage from 0",
            )
        _check_pairs(stage, order)
    first = np.concatenate([[0], np.cumsum([len(order) for order in orders])]).astype(np.int64)
    microbatch = np.concatenate([order.microbatch for order in orders]).astype(np.int64)
    chunk = np.concatenate(
        [np.asarray(c, dtype=np.int64)[o.chunk] for c, o in zip(placement, orders, strict=True)]
    )
    return Flat(
        first,
        np.repeat(np.arange(len(orders)), np.diff(first)),
        np.concatenate([order.kind for order in orders]).astype(np.int64),
        chunk,
        microbatch,
        np.concatenate([_paired(order) for order in orders]),
        len(numbers),
        int(microbatch.max(initial=-1)) + 1,
        replicas,
    )


def _paired(order: Actions) -> npt.NDArray[np.bool_]:
    """Return which actions are paired with the next one; those made without say nothing."""
    return order.paired if len(order.paired) else np.zeros(len(order), dtype=np.bool_)


def _check_pairs(stage: int, order: Actions) -> None:
    """Refuse pairs that are not one forward and one backward pass."""
    first = np.flatnonzero(_paired(order))
    forward = order.kind == FORWARD
    back = (order.kind == BACKWARD) | (order.kind == INPUT)
    for index in first.tolist():
        pair = slice(index, index + 2)
        if not (forward[pair].any() and back[pair].any()):
            raise illegal(
                f"action {index} of stage {stage} is paired with what is not its counterpart",
                "a forward pass is paired with a backward pass or input gradient next to it",
                "pair others, or none",
            )
    if (np.diff(first) == 1).any():
        raise illegal(
            f"three actions of stage {stage} are paired",
            "an action is in one pair at most",
            "pair others, or none",
        )


def needs(flat: Flat) -> Ints:
    """Return the action that each waits for beside the one before it on its stage; -1 = none.

    A forward pass waits for that of the chunk before. A backward pass or input gradient waits for
    that of the next chunk, in the last chunk for its own forward pass. A weight gradient waits for
    its own input gradient. The order must be complete (`first_fault`).
    """
    out = np.full(len(flat.kind), -1, dtype=np.int64)
    forward, _ = flat.keys(FORWARD)
    back, _ = flat.keys(BACKWARD, INPUT)
    weight, weight_key = flat.keys(WEIGHT)
    inner, inner_key = flat.keys(INPUT)
    # The micro batches of a chunk follow each other without gaps, so that the same place in the
    # block of the next chunk is the same micro batch.
    block = flat.microbatches // flat.replicas
    per_copy = flat.chunks // flat.replicas
    depth = flat.chunk[forward] % per_copy
    later = depth > 0
    out[forward[later]] = forward[np.flatnonzero(later) - block]
    last = depth == per_copy - 1
    out[back[~last]] = back[np.flatnonzero(~last) + block]
    out[back[last]] = forward[last]
    out[weight] = inner[np.searchsorted(inner_key, weight_key)]
    return out


def walk(flat: Flat, waits: Ints, *, joint: bool = False) -> list[int]:
    """Run the stages without times, each in its own order.

    Parameters
    ----------
    flat : Flat
    waits : int64[a]
        As `needs` returns it.
    joint : bool
        Two paired actions begin together, when both can.

    Returns
    -------
    list of int
        Actions in an order in which each comes after what it waits for; fewer than all if the
        stages wait for each other.
    """
    need, paired = waits.tolist(), (flat.paired & joint).tolist()
    first = flat.first.tolist()
    place, ends = first[:-1], first[1:]
    done = bytearray(len(need))
    waiting: dict[int, list[int]] = {}
    out: list[int] = []
    ready = list(range(len(place)))[::-1]
    while ready:
        stage = ready.pop()
        action = place[stage]
        while action < ends[stage]:
            after, missing = action + 1, need[action]
            if missing >= 0 and done[missing]:
                missing = -1
            if paired[action]:
                after, second = action + 2, need[action + 1]
                if missing < 0 <= second != action and not done[second]:
                    missing = second
            if missing >= 0:
                waiting.setdefault(missing, []).append(stage)
                break
            for one in range(action, after):
                done[one] = True
                out.append(one)
                if one in waiting:
                    ready += waiting.pop(one)
            action = after
        place[stage] = action
    return out
