"""Weighted max-min fairness for transfers with a demand on each of several links.

A transfer o makes progress r_o a second (all of it is 1) and asks r_o * demand_o,l of row l. Like
SimGrid's parallel-task model (L07), the rates are max-min fair: every transfer's largest byte rate
on any row, r_o * w_o with w_o = max_l demand_o,l, grows at the same pace until one of its rows is
full (progressive filling, Bertsekas and Gallager 1992, section 6.5.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
import numpy.typing as npt

Demand = Sequence[tuple[int, float]]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Rows whose fair level is this close to the lowest fill together (relative).
LEVEL_TOL = 1e-12


def solve_few(
    demands: Sequence[Demand],
    capacity: Sequence[float],
    weight: Sequence[float] | None = None,
    limit: Sequence[float] | None = None,
) -> list[float]:
    """Return the rate of each transfer; plain Python, for a handful of them.

    Parameters
    ----------
    demands : sequence of sequence of (row, bytes)
        Positive bytes on each row a transfer uses; at least one row each.
    capacity : sequence of float
        Bytes/s of each row.
    weight : sequence of float, optional
        Weight of each transfer, bytes; by default its largest demand.
    limit : sequence of float, optional
        The most that each transfer's rate may be; by default no limit.
    """
    weight = weight or [max(b for _, b in demand) for demand in demands]
    most = [x * w for x, w in zip(limit, weight, strict=True)] if limit else [inf] * len(demands)
    rates = [0.0] * len(demands)
    active = set(range(len(demands)))
    left = {row: capacity[row] for demand in demands for row, _ in demand}
    while active:
        slope = dict.fromkeys(left, 0.0)
        for o in sorted(active):
            for row, b in demands[o]:
                slope[row] += b / weight[o]
        level = min(left[row] / s for row, s in slope.items() if s > 0)
        level = min(level, *(most[o] for o in active))
        full = {
            row for row, s in slope.items() if s > 0 and left[row] / s <= level * (1 + LEVEL_TOL)
        }
        frozen = [
            o
            for o in sorted(active)
            if most[o] <= level * (1 + LEVEL_TOL) or any(row in full for row, _ in demands[o])
        ]
        for o in frozen:
            rates[o] = level / weight[o]
            active.discard(o)
            for row, b in demands[o]:
                left[row] = max(0.0, left[row] - rates[o] * b)
    return rates


def solve_many(
    transfer: Ints, row: Ints, demand: Floats, capacity: Floats, weight: Floats | None = None
) -> Floats:
    """Return the rate of each transfer; flat arrays, for many of them.

    Levels of rows never fall while others fill, so every row that is the lowest of all that its
    transfers cross fills at once, wherever the lowest of all stands: rounds grow with the depth of
    what waits for what, not with the number of levels.

    Parameters
    ----------
    transfer, row : int64[entries]
        Which transfer loads which row, ordered by transfer; every transfer 0..max has an entry.
    demand : float64[entries]
        Bytes, positive.
    capacity : float64[rows]
    weight : float64[transfers], optional
        By default the largest demand of each transfer.
    """
    size = np.bincount(transfer)
    if weight is None:
        weight = np.maximum.reduceat(demand, np.cumsum(size) - size) if len(size) else demand
    rates, active = np.zeros(len(size)), np.arange(len(size))
    left, level = capacity.astype(np.float64), np.zeros(len(capacity))
    share = demand / weight[transfer]
    while len(active):
        slope = np.bincount(row, share, len(left))
        before = level.copy()
        np.divide(left, slope, out=level, where=slope > 0)
        np.maximum(level, before, out=level)
        mine = level[row]
        lowest = np.minimum.reduceat(mine, np.cumsum(size) - size)
        here = np.repeat(lowest, size)
        waits = np.bincount(row, mine > here * (1 + LEVEL_TOL), len(left)) > 0
        frozen = np.logical_or.reduceat(~waits[row], np.cumsum(size) - size)
        rates[active[frozen]] = lowest[frozen] / weight[active[frozen]]
        ends = np.repeat(frozen, size)
        left -= np.bincount(row[ends], (share * here)[ends], len(left))
        np.maximum(left, 0.0, out=left)
        active, size, row, share = active[~frozen], size[~frozen], row[~ends], share[~ends]
    return rates


def certificate(
    demands: Sequence[Demand],
    capacity: Sequence[float],
    rates: Sequence[float],
    tol: float = 1e-9,
    limit: Sequence[float] | None = None,
    weight: Sequence[float] | None = None,
) -> bool:
    """Say whether rates are max-min fair; weights and limits as in `solve_few`.

    No row is asked for more than it has, and each transfer crosses a full row on which no other
    transfer's weighted rate is larger (the bottleneck property; it holds for the fair rates only),
    or goes as fast as its limit allows.
    """
    used: dict[int, float] = {}
    users: dict[int, list[int]] = {}
    for o, demand in enumerate(demands):
        for row, b in demand:
            used[row] = used.get(row, 0.0) + rates[o] * b
            users.setdefault(row, []).append(o)
    if any(u > capacity[row] * (1 + tol) for row, u in used.items()):
        return False
    weight = weight or [max(b for _, b in demand) for demand in demands]
    pace = [rate * w for rate, w in zip(rates, weight, strict=True)]
    for o, demand in enumerate(demands):
        if limit and rates[o] > limit[o] * (1 + tol):
            return False
        bottleneck = bool(limit and rates[o] >= limit[o] * (1 - tol)) or any(
            used[row] >= capacity[row] * (1 - tol)
            and all(pace[other] <= pace[o] * (1 + tol) for other in users[row])
            for row, _ in demand
        )
        if not bottleneck:
            return False
    return True
