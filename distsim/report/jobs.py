"""Jobs that share a fabric, as text."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.prediction.jobs import JobsPrediction
from distsim.report.layout import columns, heading
from distsim.report.links import links_table
from distsim.units import fmt_s


def jobs_text(prediction: JobsPrediction) -> RenderableType:
    """Return all that `distsim run` prints for a scenario with jobs."""
    heads = ("job", "devices", "nodes", "placement", "alone", "shared", "slower", "steps")
    rows: list[list[str | Text]] = [
        [
            job.name,
            f"{job.prediction.devices:,}",
            f"{job.nodes:,}",
            job.placement,
            fmt_s(job.alone_s),
            fmt_s(job.step_s),
            f"{100 * (job.slowdown - 1):.1f} %",
            f"{job.steps:,}",
        ]
        for job in prediction.jobs
    ]
    warnings = dict.fromkeys(w for job in prediction.jobs for w in job.prediction.warnings)
    return Group(
        heading(f"{prediction.scenario}: {prediction.devices:,} devices on {prediction.topology}"),
        columns(heads, rows, left=(0, 3)),
        Text(),
        links_table(prediction.links, "the longest step of a job"),
        *(Text(f"warning: {text}", style="yellow") for text in warnings),
    )
