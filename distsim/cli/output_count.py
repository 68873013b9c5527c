"""How far work is whose end nobody knows beforehand: a count on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distsim.cli.settings import is_lively, settings
from distsim.cli.waiting import streams_kept, working


@contextmanager
def counting(*, what: str = "done") -> Iterator[Callable[[object], None] | None]:
    """Show how many are done, and for how long.

    Yields
    ------
    callable or None
        To be called, with anything, once for each; None where nothing is shown: with ``--quiet``,
        or where standard error is no terminal.
    """
    if settings().quiet or not is_lively(sys.stderr):
        with working(what):
            yield None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from distsim.cli.output import standard_error

    columns = (SpinnerColumn(), TextColumn(f"{{task.completed:,.0f}} {what}"), TimeElapsedColumn())
    with (
        working(what, spinning=False),
        streams_kept(),
        Progress(*columns, console=standard_error(), transient=True) as shown,
    ):
        task = shown.add_task(what, total=None)
        yield lambda _: shown.advance(task)
