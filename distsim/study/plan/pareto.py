"""What no other one is better than in every respect."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

#: Most comparisons at once.
_BLOCK = 1 << 22


def dominated(values: Floats, points: Floats) -> Flags:
    """Say which rows some point is at most in every column, bool[n].

    Parameters
    ----------
    values : float64[n, k]
    points : float64[m, k]
    """
    out = np.zeros(len(values), dtype=bool)
    step = max(1, _BLOCK // max(1, values.size))
    for begin in range(0, len(points), step):
        some = points[begin : begin + step]
        below = np.asarray((some[None, :, :] <= values[:, None, :]).all(axis=2))
        out |= below.any(axis=1)
    return out


def front(values: Floats, slack: npt.ArrayLike = 1.0) -> Ints:
    """Return the rows that no other row dominates, by the first column; of equal ones the first.

    Parameters
    ----------
    values : float64[n, k]
    slack : float64[k], optional
        Factors up to 1: a row that comes later has to be below the product in some column.
    """
    order = np.lexsort(values.T[::-1])
    kept: list[int] = []
    for row in order.tolist():
        if not kept or not dominated(values[[row]], values[kept] * np.asarray(slack))[0]:
            kept.append(row)
    return np.asarray(kept, dtype=np.int64)
