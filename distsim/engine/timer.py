"""The one kind of event that the engine schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import simpy


class Timer(simpy.Event):
    """Calls a function with itself when its time comes.

    A SimPy ``Timeout`` for callers that are no processes: nobody waits for it and it never fails,
    so it keeps no environment and no list of who is to be told.
    """

    #: SimPy asks every event that it processed.
    _ok = True

    def __init__(self, call: Callable[[Timer], None], what: Any) -> None:
        self.callbacks: Any = (call,)
        self.what = what


__all__ = ["Timer"]
