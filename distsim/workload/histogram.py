"""The distribution of sequence lengths that a file states as a histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
import numpy.typing as npt

from distsim.errors import WorkloadError, show
from distsim.record import record

Floats = npt.NDArray[np.float64]
Path = tuple[str | int, ...]

#: Parts of equal width that stand for a range; a narrower range is exact.
RANGE_PARTS = 64
#: Entries of a histogram, and tokens of a sequence, at most.
MOST_ENTRIES = 10_000
MOST_TOKENS = 100_000_000
_RULE = (
    "a list of [length, weight] or [low, high, weight], or a mapping of length to weight, with "
    f"whole numbers 1 <= low <= high <= {MOST_TOKENS} and weights >= 0 that are not all 0"
)


@record(eq=False)
class Lengths:
    """Sequence lengths and how often they occur.

    Attributes
    ----------
    length : float64[k]
        Ascending; of a part of a range the mean.
    square : float64[k]
        Mean of the squared lengths.
    weight : float64[k]
        Fraction of the sequences; they sum to 1.
    longest : int
        The longest sequence.
    """

    length: Floats
    square: Floats
    weight: Floats
    longest: int

    @property
    def below(self) -> Floats:
        """Fraction of the sequences that are at most so long, float64[k]; ends in 1."""
        out = np.cumsum(self.weight)
        out[-1] = 1.0
        return np.minimum(out, 1.0)

    @property
    def mean(self) -> float:
        """Mean length."""
        return float(self.weight @ self.length)

    @property
    def mean_square(self) -> float:
        """Mean of the squared lengths."""
        return float(self.weight @ self.square)


def read_lengths(value: object, *, path: Path = ()) -> Lengths:
    """Return the distribution that a histogram describes.

    Parameters
    ----------
    value : sequence or mapping
        ``[length, weight]`` or ``[low, high, weight]`` each (lengths are spread evenly from low
        to high), or length -> weight. Only proportions of weights count.
    path : tuple, optional
        Where it stands, for errors.

    Raises
    ------
    WorkloadError
        DS236 for anything else.
    """
    if isinstance(value, Mapping):
        entries: list[object] = [[key, weight] for key, weight in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        entries = list(value)
    else:
        raise _problem(f"{show(value)} is no histogram of lengths", value, path)
    if not 0 < len(entries) <= MOST_ENTRIES:
        raise _problem(f"a histogram of {len(entries)} entries", len(entries), path)
    ranges = np.array([_entry(entry, (*path, i)) for i, entry in enumerate(entries)])
    ranges = ranges[ranges[:, 2] > 0]
    if not len(ranges):
        raise _problem("all weights are 0", value, path)
    low, high, weight = _split(ranges)
    order = np.argsort((low + high) / 2, kind="stable")
    count = high - low + 1
    mean = (low + high) / 2
    # The variance of the whole numbers from low to high is (n^2 - 1) / 12.
    square = mean**2 + (count**2 - 1) / 12
    return Lengths(
        mean[order], square[order], (weight / weight.sum())[order], int(ranges[:, 1].max())
    )


def _entry(entry: object, path: Path) -> tuple[float, float, float]:
    if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) not in (2, 3):
        raise _problem(f"{show(entry)} is no entry of a histogram", entry, path)
    low, high, weight = entry if len(entry) == 3 else (entry[0], entry[0], entry[1])
    ends = [
        int(e) if isinstance(e, str) and e.isascii() and e.isdecimal() else e for e in (low, high)
    ]
    whole = all(isinstance(e, int) and not isinstance(e, bool) for e in ends)
    if not whole or not 1 <= ends[0] <= ends[1] <= MOST_TOKENS:
        raise _problem(f"{show(entry)} has no such lengths", entry, path)
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 <= weight <= 1e15 or not isfinite(weight):
        raise _problem(f"{show(entry)} has no weight", entry, path)
    return float(ends[0]), float(ends[1]), float(weight)


def _split(ranges: Floats) -> tuple[Floats, Floats, Floats]:
    """Cut wide ranges into parts: first and last length and weight of each part."""
    low, high, weight = ranges.T
    parts = np.minimum(high - low + 1, RANGE_PARTS).astype(np.int64)
    of = np.repeat(np.arange(len(parts)), parts)
    index = np.arange(len(of)) - np.repeat(np.cumsum(parts) - parts, parts)
    width = (high - low + 1)[of]
    first = low[of] + np.floor(width * index / parts[of])
    last = low[of] + np.floor(width * (index + 1) / parts[of]) - 1
    return first, last, weight[of] * (last - first + 1) / width


def _problem(message: str, value: object, path: Path) -> WorkloadError:
    return WorkloadError(
        "DS236",
        message,
        path=path,
        value=value,
        rule=_RULE,
        fix="write for example [[512, 0.7], [1024, 4096, 0.3]]",
    )
