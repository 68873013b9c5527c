"""Bus bandwidth of a collective over its size, predicted and measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distsim.report.figure import COLOURS, figure, file_format, rendered


def collective_plot(report: Mapping[str, Any], path: str) -> bytes:
    """Return the plot as the content of a file of the format of `path`."""
    file_format(path)
    drawn = figure()
    axes = drawn.subplots()
    rows = sorted(report["rows"], key=lambda row: row["size_bytes"])
    sizes = [row["size_bytes"] for row in rows]
    factor = {row["size_bytes"]: row["busbw_bytes_per_s"] * row["time_s"] for row in rows}
    runs = dict.fromkeys((row["algorithm"], row["protocol"]) for row in rows)
    axes.plot(sizes, [r["busbw_bytes_per_s"] / 1e9 for r in rows], color="0.7", zorder=1)
    for colour, run in zip(COLOURS * 4, runs, strict=False):
        mine = [row for row in rows if (row["algorithm"], row["protocol"]) == run]
        axes.scatter(
            [row["size_bytes"] for row in mine],
            [row["busbw_bytes_per_s"] / 1e9 for row in mine],
            color=colour,
            s=22,
            zorder=2,
            label=" ".join(run),
        )
    if report["comparison"]:
        measured = report["comparison"]["rows"]
        axes.plot(
            [row["size_bytes"] for row in measured],
            [factor[row["size_bytes"]] / row["measured_s"] / 1e9 for row in measured],
            linestyle="none",
            marker="x",
            color="black",
            label="measured",
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("size, bytes")
    axes.set_ylabel("bus bandwidth, GB/s")
    axes.set_title(
        f"{report['collective']} over {report['devices']:,} devices of {report['topology']}",
        loc="left",
        fontsize="medium",
    )
    axes.grid(alpha=0.3, which="major")
    axes.legend(frameon=False, fontsize="small")
    return rendered(drawn, path)
