"""Progress of long work: a bar on standard error, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distsim.cli.settings import is_lively, settings
from distsim.cli.waiting import streams_kept, working

Done = Callable[..., None]


@contextmanager
def progress(total: int, *, what: str = "evaluated") -> Iterator[Done | None]:
    """Show how much of `total` is done, the rate and the time that is left.

    Yields
    ------
    callable or None
        To be called, with anything, once for each that is done; None where nothing is shown: with
        ``--quiet``, or where standard error is no terminal.
    """
    if settings().quiet or total < 1 or not is_lively(sys.stderr):
        with working(what):
            yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from distsim.cli.output import standard_error

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        Left(),
        TextColumn("left"),
    )
    with (
        working(what, spinning=False),
        streams_kept(),
        Progress(*columns, console=standard_error(), transient=True) as shown,
    ):
        task = shown.add_task(what, total=total, rate="")

        def done(*_: object) -> None:
            speed = shown.tasks[0].speed
            shown.update(task, advance=1, rate=f"{speed:,.1f}/s" if speed else "")

        yield done
