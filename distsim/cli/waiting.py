"""Signs of life on standard error: work that takes longer than a second, and how long it took."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

from distsim.cli.settings import is_lively, settings

#: Seconds before anything is shown, and between two pictures.
_AFTER_S, _EVERY_S = 1.0, 0.1
_FRAMES, _ASCII_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"


class _Spinner:
    """A line that says what is going on, and for how long; another thread draws it."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._done = Event()
        self._lock = Lock()
        self._drawn = False
        self._thread = Thread(target=self._draw, daemon=True)
        self._thread.start()

    def _draw(self) -> None:
        frames = _FRAMES if _takes(_FRAMES) else _ASCII_FRAMES
        wait_s, ticks = _AFTER_S, round(_AFTER_S / _EVERY_S)
        while not self._done.wait(wait_s):
            wait_s, ticks = _EVERY_S, ticks + 1
            with self._lock, suppress(OSError, ValueError):
                if self._done.is_set():
                    return
                frame = frames[ticks % len(frames)]
                sys.stderr.write(f"\r\x1b[K{frame} {self.what}, {ticks * _EVERY_S:.0f} s")
                sys.stderr.flush()
                self._drawn = True

    def stop(self) -> None:
        """End it, and clear its line."""
        self._done.set()
        with self._lock, suppress(OSError, ValueError):
            if self._drawn:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
                self._drawn = False


@contextmanager
def streams_kept() -> Iterator[None]:
    """Give standard streams back as they were.

    rich takes them while it draws; an interrupt in the midst of that would leave them with it, and
    what is said afterwards would never be seen.
    """
    before = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


_now: _Spinner | None = None


def _takes(characters: str) -> bool:
    try:
        characters.encode(getattr(sys.stderr, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def hide() -> None:
    """Clear the line of whatever goes on, before something else is printed."""
    global _now
    spinner, _now = _now, None
    if spinner is not None:
        spinner.stop()


@contextmanager
def working(what: str, *, spinning: bool = True) -> Iterator[None]:
    """Show that work goes on: from its second second on, on a terminal, unless it is quiet.

    With ``--verbose`` it says afterwards how long the work took.

    Parameters
    ----------
    what : str
        ``reading the trace``.
    spinning : bool
        False where something else shows it.
    """
    global _now
    hide()
    begin_s = _now_s() if settings().verbose else 0.0
    if spinning and not settings().quiet and is_lively(sys.stderr):
        _now = _Spinner(what)
    try:
        yield
    finally:
        hide()
    if settings().verbose:
        sys.stderr.write(f"{what}: {_now_s() - begin_s:.2f} s\n")


def _now_s() -> float:
    from distsim.measure.clock import now_s

    return now_s()
