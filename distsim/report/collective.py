"""A collective over many sizes as text, in the form of nccl-tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import columns, heading


def collective_text(
    report: Mapping[str, Any], comparison: Mapping[str, Any] | None = None
) -> RenderableType:
    """Return the table of a collective, and its errors beside it if it was compared."""
    errors = [row["error_percent"] for row in comparison["rows"]] if comparison else []
    heads = [
        "size (B)",
        "time (us)",
        "algbw (GB/s)",
        "busbw (GB/s)",
        "algorithm",
        "protocol",
        "bottleneck",
    ]
    body: list[list[str | Text]] = []
    rows = report["rows"]
    if comparison:
        by_size = {row["size_bytes"]: row for row in rows}
        rows = [by_size[row["size_bytes"]] for row in comparison["rows"]]
        heads[2:3] = ["measured (us)", "error"]
    for index, row in enumerate(rows):
        cells: list[str | Text] = [
            f"{row['size_bytes']:.0f}",
            f"{row['time_s'] * 1e6:.2f}",
            f"{row['algbw_bytes_per_s'] / 1e9:.2f}",
            f"{row['busbw_bytes_per_s'] / 1e9:.2f}",
            row["algorithm"],
            row["protocol"],
            row["bottleneck"],
        ]
        if comparison:
            measured = comparison["rows"][index]["measured_s"]
            cells[2:3] = [f"{measured * 1e6:.2f}", f"{errors[index]:+.1f} %"]
        body.append(cells)
    title = (
        f"{report['collective']} over {report['devices']:,} devices on {report['nodes']:,} "
        f"{'node' if report['nodes'] == 1 else 'nodes'} of {report['topology']}, "
        f"{report['library']}"
    )
    parts: list[RenderableType] = [
        heading(title),
        columns(heads, body, left=[len(heads) - 3, len(heads) - 2, len(heads) - 1]),
    ]
    if comparison:
        worst = max(errors, key=abs)
        parts += [
            Text(),
            Text(f"median error {comparison['median_percent']:.1f} %, worst {worst:+.1f} %"),
        ]
    return Group(*parts)
