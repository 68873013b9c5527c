"""What the links carry, as a table."""

from __future__ import annotations

from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.prediction.usage import Usage
from distsim.report.layout import columns, heading, percent
from distsim.units import fmt_bytes


def links_table(usage: Usage, span: str = "a step") -> RenderableType:
    """Return the utilisation by class of link, and the busiest links of all.

    Parameters
    ----------
    span : str
        The time that is meant.
    """
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
        heading(f"What the links carry in {span}, share of their bandwidth"),
        columns(heads, rows, left=(0, 5)),
        Text(f"Busiest: {_busiest(usage)}.", style="dim"),
    )


def _busiest(usage: Usage) -> str:
    """Return the busiest links, those that are as busy together."""
    runs = groupby(usage.busiest, key=lambda link: percent(link[2]))
    return "; ".join(f"{share} {', '.join(name for name, _, _ in run)}" for share, run in runs)
