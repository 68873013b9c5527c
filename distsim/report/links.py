"""What the links carry, as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.prediction.usage import Usage
from distsim.report.layout import columns, heading, percent
from distsim.units import fmt_bytes


def links_table(usage: Usage) -> RenderableType:
    """Return the utilisation by class of link; nothing where no link carries anything."""
    rows: list[list[str | Text]] = [
        [
            c.name,
            f"{c.links:,}",
            fmt_bytes(c.bytes / c.links),
            percent(c.mean_utilisation),
            percent(c.max_utilisation),
            c.busiest,
        ]
        for c in usage.classes
        if c.bytes > 0.0
    ]
    if not rows:
        return Text("No link carries anything.", style="dim")
    heads = ("links", "number", "bytes each", "mean", "busiest", "")
    return Group(
        heading("What the links carry in a step, share of their bandwidth"),
        columns(heads, rows, left=(0, 5)),
    )
