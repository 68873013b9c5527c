"""Packing of whole sequences into rows: first fit, the longest first.

First-fit-decreasing needs at most 11/9 of the fewest rows possible, and 6/9 of a row more
(Dósa 2007); on histograms of real data a few per cent stay empty (Krell 2021, arXiv 2107.02027).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.workload.histogram import Lengths

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Rows that a sample fills about: enough that the last one, which is not full, does not count.
SAMPLE_ROWS = 512
LEAST_SAMPLE, MOST_SAMPLE = 2048, 1 << 20


def whole_counts(weight: Floats, total: int) -> Ints:
    """Return whole counts in proportion to weights that sum to 1; they sum to `total`.

    Their running sums are those of the weights to the next whole number, so that many small
    weights lose nothing together.
    """
    sums = np.concatenate([[0.0], np.rint(total * np.cumsum(weight))])
    return np.asarray(np.diff(sums), dtype=np.int64)


def sample(lengths: Lengths, row: int) -> tuple[Ints, Ints]:
    """Return whole lengths, ascending, and how many sequences of each stand for all."""
    size = int(min(max(SAMPLE_ROWS * row / lengths.mean, LEAST_SAMPLE), MOST_SAMPLE))
    whole, part_of = np.unique(np.rint(lengths.length).astype(np.int64), return_inverse=True)
    weight = np.bincount(part_of, lengths.weight).astype(np.float64)
    counts = whole_counts(weight, size)
    return whole[counts > 0], counts[counts > 0]


def pack_rows(lengths: Lengths, row: int) -> tuple[Floats, Floats]:
    """Pack a sample and return each row's tokens and its sum of squared lengths.

    Parameters
    ----------
    row : int
        Tokens of a row; no sequence is longer.

    Returns
    -------
    tokens, squares : float64[rows]
    """
    return first_fit(*sample(lengths, row), row)


def first_fit(length: Ints, count: Ints, row: int) -> tuple[Floats, Floats]:
    """Put sequences into rows, the longest first, each into the first row with room.

    Sequences of one length fill a row until it has no more room and then go on to the next, so
    that all of one length are placed at once.

    Parameters
    ----------
    length, count : int64[k]
        Ascending lengths of at most `row`, and how many sequences there are of each.
    """
    room = np.zeros(0, dtype=np.int64)
    squares = np.zeros(0)
    for size, left in zip(length[::-1].tolist(), count[::-1].tolist(), strict=True):
        fits = room // size
        before = np.cumsum(fits) - fits
        placed = np.clip(left - before, 0, fits)
        room = room - placed * size
        squares = squares + placed * float(size) ** 2
        full, rest = divmod(left - int(placed.sum()), row // size)
        new = np.array([row // size] * full + [rest] * (rest > 0), dtype=np.int64)
        room = np.append(room, row - new * size)
        squares = np.append(squares, new * float(size) ** 2)
    return (row - room).astype(np.float64), squares
