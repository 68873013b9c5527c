"""What programs on the same hardware have in common is made once and kept while there is room."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")


class Same:
    """A key that equals another only if both are of one and the same object, which it keeps."""

    __slots__ = ("of",)

    def __init__(self, of: Any) -> None:
        self.of = of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.of is other.of

    def __hash__(self) -> int:
        return id(self.of)


class Store:
    """Values by key; those that were not used for the longest time are dropped first.

    Parameters
    ----------
    limit_bytes : int
        What the values may take together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], T], size_of: Callable[[T], int]) -> T:
        """Return the value of a key, made now if it is not there.

        Parameters
        ----------
        size_of : callable
            Bytes that a value takes.
        """
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            value: T = found[0]
            return value
        value = make()
        size = size_of(value)
        self._kept[key] = (value, size)
        self.size_bytes += size
        while self.size_bytes > self.limit_bytes and len(self._kept) > 1:
            _, (_, dropped) = self._kept.popitem(last=False)
            self.size_bytes -= dropped
        return value

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self.size_bytes = 0


class Numbers:
    """A number for each value, equal for equal ones: cheap to compare where values are large.

    Numbers are forgotten when there are too many, and none ever stands for two values.

    Parameters
    ----------
    most : int
        Values that are remembered.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._of: dict[Hashable, int] = {}
        self._next = count()

    def of(self, value: Hashable) -> int:
        """Return the number of a value."""
        if value not in self._of:
            if len(self._of) >= self.most:
                self._of.clear()
            self._of[value] = next(self._next)
        return self._of[value]


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let the garbage collector look less often.

    Who evaluates thousands of plans makes many small objects and no cycles of them, and to look
    for cycles among all that is kept takes a sixth of the time.
    """
    before = gc.get_threshold()
    # Objects made and not freed between two looks at the young ones. With what they hold they take
    # 350 bytes each, measured over the space of benchmarks/prediction_speed.py.
    gc.set_threshold(1_000_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Interned:
    """One object for all equal values, so that those who keep what they made for it find it again.

    Parameters
    ----------
    most : int
        Values that are remembered.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._of: dict[Any, Any] = {}

    def of(self, value: T) -> T:
        """Return the value that is kept for all that equal this one."""
        if len(self._of) >= self.most:
            self._of.clear()
        kept: T = self._of.setdefault(value, value)
        return kept


__all__ = ["Interned", "Numbers", "Same", "Store", "seldom_collected"]
