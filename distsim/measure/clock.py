"""The clock on the wall, and the date: nothing else in distsim reads them."""

from __future__ import annotations

import time
from datetime import timedelta


def now_s() -> float:
    """Return a time that only grows, in seconds since some instant."""
    return time.perf_counter()


def today() -> str:
    """Return the date in UTC as ``2026-11-26``."""
    return time.strftime("%Y-%m-%d", time.gmtime())


def duration(seconds_s: float) -> timedelta:
    """Return a length of time as PyTorch takes it."""
    return timedelta(seconds=seconds_s)
