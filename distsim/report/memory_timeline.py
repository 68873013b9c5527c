"""Memory through a step: a curve for each stage, and what it holds at its peak."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text

from distsim.prediction.memory_timeline import MemoryTimeline
from distsim.report.layout import BYTES, SECONDS, columns, fixed, heading, scale_of
from distsim.units import fmt_bytes

_CURVE = "▁▂▃▄▅▆▇█"
_ASCII_CURVE = "_.-=+*#@"
_WIDTH = 24


class MemoryThroughStep:
    """A row for each stage.

    Parameters
    ----------
    timelines : sequence of MemoryTimeline
        Of each stage.
    """

    def __init__(self, timelines: Sequence[MemoryTimeline]) -> None:
        self.timelines = timelines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        marks = _ASCII_CURVE if options.ascii_only else _CURVE
        least = min(float(t.allocated_bytes.min()) for t in self.timelines)
        most = max(t.peak_bytes for t in self.timelines)
        scale, unit = scale_of(most, BYTES)
        end_s = max(float(t.times_s[-1]) for t in self.timelines)
        second, second_unit = scale_of(end_s, SECONDS)
        rows: list[list[str | Text]] = [
            [
                str(t.stage),
                Text(curve(t.binned(_WIDTH), least, most, marks), style="cyan"),
                f"{fixed(t.peak_bytes, most, scale)} {unit}",
                f"{fixed(t.peak_s, end_s, second)} {second_unit}",
                t.holds,
            ]
            for t in self.timelines
        ]
        yield Group(
            heading(f"Memory through the step, from {fmt_bytes(least)} to {fmt_bytes(most)}"),
            columns(("stage", "allocated", "peak", "from", "holds then"), rows, left=(0, 1, 4)),
        )


def curve(values: Sequence[float] | np.ndarray, least: float, most: float, marks: str) -> str:
    """Return a mark for each value, the first of `marks` at `least` and the last at `most`.

    >>> curve([0.0, 5.0, 10.0], 0.0, 10.0, "_-#")
    '_-#'
    """
    if most <= least:
        return marks[-1] * len(values)
    shares = (np.asarray(values) - least) / (most - least)
    return "".join(marks[i] for i in np.rint(shares * (len(marks) - 1)).astype(int))
