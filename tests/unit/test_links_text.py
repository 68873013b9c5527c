"""The table of links: every class, and the busiest links by name."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from distsim.prediction.usage import ClassUsage, Usage
from distsim.report.links import links_table

BUSIEST = (
    ("n0.nic0->leaf0", "rail", 0.9),
    ("n1.nic0->leaf0", "rail", 0.9),
    ("leaf0->spine", "spine", 0.5),
)


def printed(usage: Usage, *more: str) -> str:
    out = StringIO()
    Console(file=out, width=100).print(links_table(usage, *more))
    return out.getvalue()


def test_the_busiest_links_are_named_with_their_shares():
    classes = (
        ClassUsage("rail", 2, 8e9, 0.9, 0.9, BUSIEST[0][0]),
        ClassUsage("spine", 4, 1e9, 0.2, 0.5, BUSIEST[2][0]),
        ClassUsage("idle", 4, 0.0, 0.0, 0.0, ""),
    )
    text = printed(Usage(classes, BUSIEST), "the longest step of a job")
    assert "in the longest step of a job, share of their bandwidth" in text
    assert "Busiest: 90.0 % n0.nic0->leaf0, n1.nic0->leaf0; 50.0 % leaf0->spine." in text
    assert "4 GB" in text and "250 MB" in text and "idle" not in text


def test_links_that_carry_nothing_are_not_listed():
    assert printed(Usage((ClassUsage("rail", 2, 0.0, 0.0, 0.0, ""),), ())) == (
        "No link carries anything.\n"
    )
