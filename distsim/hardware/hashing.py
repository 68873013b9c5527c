"""A hash of a pair of devices and a seed: how equal-cost paths and detours are chosen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


def pair_hash(seed: int, src: Ints, dst: Ints) -> Words:
    """Return a word of 64 bits for each pair of devices; the same one at any time.

    Parameters
    ----------
    seed : int
        In 1 .. 2^31 - 1.
    src, dst : int64[k]

    Returns
    -------
    uint64[k]
        The finalizer of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom
        number generators", figure 14), run over the source and then over the target.
    """
    state = np.full(len(src), seed, dtype=np.uint64)
    for end in (src, dst):
        z = state * np.uint64(0x9E3779B97F4A7C15) + end.astype(np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = z ^ (z >> np.uint64(31))
    return state


def choices(word: Words, first: int, second: int) -> tuple[Ints, Ints]:
    """Return two independent choices for each word, among `first` and among `second`."""
    low, high = word % np.uint64(first), word // np.uint64(first) % np.uint64(second)
    return low.astype(np.int64), high.astype(np.int64)
