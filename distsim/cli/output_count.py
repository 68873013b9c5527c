"""How far work is whose end nobody knows beforehand: a count on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting(
    *, quiet: bool = False, what: str = "done"
) -> Iterator[Callable[[object], None] | None]:
    """Show how many are done, and for how long.

    Yields
    ------
    callable or None
        To be called, with anything, once for each; None where nothing is shown: with `quiet`, or
        where standard error is no terminal.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn(f"{{task.completed:,.0f}} {what}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda _: shown.advance(task)
