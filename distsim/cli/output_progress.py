"""Progress of long work: a bar on standard error, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Done = Callable[..., None]


@contextmanager
def progress(total: int, *, quiet: bool = False, what: str = "evaluated") -> Iterator[Done | None]:
    """Show how much of `total` is done, the rate and the time that is left.

    Yields
    ------
    callable or None
        To be called, with anything, once for each that is done; None where nothing is shown: with
        `quiet`, or where standard error is no terminal.
    """
    if quiet or total < 1 or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        Left(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total, rate="")

        def done(*_: object) -> None:
            speed = shown.tasks[0].speed
            shown.update(task, advance=1, rate=f"{speed:,.1f}/s" if speed else "")

        yield done
