"""A collective over many sizes as text, in the form of nccl-tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import columns, heading, plural

#: Columns of the table; those of the middle are of a comparison, or of bandwidth.
_HEAD, _TAIL = ("size (B)", "time (us)"), ("busbw (GB/s)", "algorithm", "protocol", "bottleneck")


def collective_text(report: Mapping[str, Any]) -> RenderableType:
    """Return the table of a collective, and its errors beside it if it was compared."""
    comparison = report["comparison"]
    by_size = {row["size_bytes"]: row for row in report["rows"]}
    if comparison is None:
        middle = ["algbw (GB/s)"]
        body = [_cells(row, [_giga(row["algbw_bytes_per_s"])]) for row in report["rows"]]
    else:
        middle = ["measured", "error"]
        body = [
            _cells(
                by_size[row["size_bytes"]],
                [_micro(row["measured_s"]), f"{row['error_percent']:+.1f} %"],
            )
            for row in comparison["rows"]
        ]
    heads = [*_HEAD, *middle, *_TAIL]
    last = len(heads) - 1
    parts: list[RenderableType] = [heading(_title(report))]
    if report["shares"] is not None:
        parts += [Text(_balance(report["shares"])), Text()]
    # A bandwidth follows from size and time, so it goes where the width is too little.
    bandwidth = 2 if comparison is None else last - 3
    left = [last - 2, last - 1, last]
    parts.append(columns(heads, body, left=left, optional=((bandwidth,), (last - 1,))))
    if report["collisions"]:
        parts += [Text(), Text(_collisions(report["collisions"]))]
    if comparison is not None:
        parts += [Text(), *_errors(comparison)]
    return Group(*parts)


def _title(report: Mapping[str, Any]) -> str:
    return (
        f"{report['collective']} over {plural(report['devices'], 'device')} on "
        f"{plural(report['nodes'], 'node')} of {report['topology']}, {report['library']}"
    )


def _balance(shares: Mapping[str, Any]) -> str:
    """Return which member is the slowest, and how uneven the shares are."""
    return (
        f"Unequal shares, {shares['label']}. Slowest member: {shares['slowest_member']} "
        f"({shares['slowest_device']}), which {shares['side']} {shares['imbalance']:.2f} times the "
        f"mean. Most over mean: sent {shares['sent_imbalance']:.2f}, received "
        f"{shares['received_imbalance']:.2f}."
    )


def _collisions(tiers: Sequence[Mapping[str, Any]]) -> str:
    """Return which of the hashed uplinks is the fullest, against even spreading."""
    worst = max(tiers, key=lambda tier: float(tier["ratio"]))
    return (
        f"Hashed uplinks: {worst['name']}, one of {worst['parallel']:,} in parallel, carries "
        f"{worst['ratio']:.2f} times what the fullest would with even spreading."
    )


def _cells(row: Mapping[str, Any], middle: Sequence[str]) -> list[str | Text]:
    return [
        f"{row['size_bytes']:.0f}",
        _micro(row["time_s"]),
        *middle,
        _giga(row["busbw_bytes_per_s"]),
        row["algorithm"],
        row["protocol"],
        row["bottleneck"],
    ]


def _micro(value_s: float) -> str:
    return f"{value_s * 1e6:.2f}"


def _giga(value: float) -> str:
    return f"{value / 1e9:.2f}"


def _errors(comparison: Mapping[str, Any]) -> list[RenderableType]:
    """Return the errors summed up, and what is to be known of the file."""
    rows: list[list[str | Text]] = [
        [
            f"from {s['from_bytes'] / 1e6:.0f} MB" if s["from_bytes"] else "all sizes",
            f"{s['sizes']:,}",
            f"{s['median_percent']:.1f} %",
            f"{s['p90_percent']:.1f} %",
            f"{s['worst_percent']:+.1f} % at {s['worst_bytes']:.0f} B",
        ]
        for s in comparison["summaries"]
    ]
    heads = ("absolute error", "sizes", "median", "90th percentile", "worst")
    notes = [Text(f"note: {note}", style="yellow") for note in comparison["notes"]]
    return [columns(heads, rows, left=(0, 4)), *notes]
