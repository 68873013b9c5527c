"""Where the middle of a step repeats itself, so that part of it can be left out.

With many micro batches most of a pipeline's order of work is one period over and over: the same
passes, some micro batches later. Once the times of a period are those of the one before, each later
by the same time, they go on so: the recurrence of a step adds and takes maxima (a linear system in
max-plus algebra; Baccelli 1992, *Synchronization and Linearity*, theorem 3.109), and what the next
period waits for was later by that time, too. So a step of many micro batches is a step of fewer and
so many times the period; whether that was reached is seen from the times, not assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from distsim.record import record
from distsim.schedule import Actions
from distsim.store import Same, Store

Ints = npt.NDArray[np.int64]

#: Periods that are kept: some in which the pipeline settles, two that are compared, and one in
#: which the last micro batch may already be.
KEPT = 4


@record
class Cut:
    """A step with fewer micro batches, whose order of work is that of the whole less some periods.

    Attributes
    ----------
    microbatches : int
        That are left.
    times : int
        Periods that were left out.
    begin : tuple of int
        First action of the first period of each stage.
    length : int
        Actions of a period on a stage.
    """

    microbatches: int
    times: int
    begin: tuple[int, ...]
    length: int


def cut(orders: Sequence[Actions], again: Callable[[int], Sequence[Actions]]) -> Cut | None:
    """Leave periods out of a step; None where it has none, or too few.

    Parameters
    ----------
    orders : sequence of Actions
        Of each stage.
    again : callable
        The orders with so many micro batches.
    """
    return _CUTS.get(
        Same(orders),
        lambda: _cut(orders, again),
        # The key keeps the orders.
        lambda _: sum(order.nbytes for order in orders),
    )


#: Of orders seen before.
_CUTS = Store(64 << 20)


def _cut(orders: Sequence[Actions], again: Callable[[int], Sequence[Actions]]) -> Cut | None:
    found = _found(orders)
    if found is None or not _agree(orders, again(found.microbatches), found):
        return None
    return found


def _found(every: Sequence[Actions]) -> Cut | None:
    """Find the period: as many micro batches as there are stages."""
    count, stages = len(every[0]), len(every)
    if any(len(order) != count for order in every):
        return None
    micros = 1 + int(every[0].microbatch.max(initial=0))
    length = count // micros * stages
    if count % micros or micros < (KEPT + 1) * stages or length < 1:
        return None
    kind, chunk, micro = (
        np.stack([getattr(order, name) for order in every])
        for name in ("kind", "chunk", "microbatch")
    )
    same = (kind[:, length:] == kind[:, :-length]) & (chunk[:, length:] == chunk[:, :-length])
    same &= micro[:, length:] == micro[:, :-length] + stages
    begin, periods = [], []
    for row in same:
        bounds = np.concatenate([[-1], np.flatnonzero(~row), [len(row)]])
        longest = int(np.argmax(np.diff(bounds)))
        begin.append(int(bounds[longest]) + 1)
        periods.append((int(bounds[longest + 1]) - begin[-1] + length) // length)
    times = min(periods) - KEPT
    if times < 1:
        return None
    return Cut(micros - times * stages, times, tuple(begin), length)


def _agree(orders: Sequence[Actions], fewer: Sequence[Actions], found: Cut) -> bool:
    """Say whether the schedule orders fewer micro batches as it does more, less some periods."""
    shift = found.times * len(orders)
    for whole, part, begin in zip(orders, fewer, found.begin, strict=True):
        head = begin + KEPT * found.length
        tail = head + found.times * found.length
        for name, less in (("kind", 0), ("chunk", 0), ("microbatch", shift)):
            of, left = getattr(whole, name), getattr(part, name)
            if len(left) != len(of) - (tail - head):
                return False
            if (of[:head] != left[:head]).any() or (of[tail:] - less != left[head:]).any():
                return False
    return True


def repeated(
    found: Cut, stage: Ints, sizes: Sequence[int], cell: Ints, waits: Ints, fills: Ints
) -> Ints | None:
    """Return the passes of periods that follow one another, in which nothing else happens.

    Parameters
    ----------
    stage, cell, waits, fills : int64[passes]
        Of each pass, stage after stage: where it runs, its kind, the slot that it waits for, and
        the one that it fills (-1: none).
    sizes : sequence of int
        Passes of each stage.

    Returns
    -------
    int64[periods, passes] or None
        Numbers of the passes, counted through all stages, those of a period in one order. If the
        times of each period are those of the one before plus a time, all that follows comes so much
        later for every period that is put in after them. None if there are no such periods.
    """
    begins = np.cumsum([0, *sizes[:-1]]) + np.asarray(found.begin)
    # Periods, stages, and passes of a stage in a period.
    body = (
        begins[None, :, None]
        + (np.arange(KEPT) * found.length)[:, None, None]
        + np.arange(found.length)
    ).reshape(KEPT, -1)
    period = np.clip((np.arange(len(stage)) - begins[stage]) // found.length, -1, KEPT)
    maker = np.full(1 + int(max(waits.max(initial=0), fills.max(initial=0))), -1)
    maker[fills[fills >= 0]] = np.flatnonzero(fills >= 0)
    source = np.where(waits >= 0, maker[np.maximum(waits, 0)], -1)
    alike = (cell[body[1:]] == cell[body[:-1]]).all(axis=1)
    if not alike.any():
        return None
    last = int(np.flatnonzero(alike)[-1]) + 1
    first = last - int(np.argmin(np.append(alike[:last][::-1], False)))
    mine = body[last][source[body[last]] >= 0]
    reach = max(1, int((last - period[source[mine]]).max(initial=1)))
    later = np.flatnonzero((period > last) & (source >= 0))
    begin = last - reach
    if begin < first or begin < 1 or (period[source[later]] < begin).any():
        return None
    return np.asarray(body[begin : last + 1])


__all__ = ["Cut", "cut", "repeated"]
