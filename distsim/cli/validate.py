"""``distsim validate``: predictions against published measurements."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from distsim.cli.complete import files, shipped, words
from distsim.cli.group import Command
from distsim.cli.messages import message
from distsim.cli.options import OUTPUTS, fail_if_option, html_option, json_option
from distsim.cli.page import About
from distsim.cli.waiting import working
from distsim.errors import CheckFailed

if TYPE_CHECKING:
    from distsim.study.diff.condition import Condition

KINDS = ("dense", "moe", "context", "zero3", "long")


def _percent(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return a share such as ``5%`` or ``5`` as a number of percent."""
    if value is None:
        return None
    try:
        percent = float(value.strip().removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 < percent < 1e6:
        raise click.BadParameter(f"{value!r} is not a percentage above 0, such as 5%", ctx, param)
    return percent


@click.command(
    cls=Command,
    about=About(
        sections={
            "Which runs": ("source", "device", "kind"),
            OUTPUTS: ("each", "as_json", "plot", "page", "fail_above", "fail_if"),
        },
        exits={1: "a source is above --fail-above, or a condition of --fail-if holds"},
        see_also=("calibrate", "run", "docs/accuracy.md"),
    ),
)
@click.option(
    "--source",
    metavar="NAME",
    shell_complete=words("@source"),
    help="Only the measurements of this source.",
)
@click.option(
    "--device", metavar="NAME", shell_complete=shipped("devices"), help="Only runs on this device."
)
@click.option("--kind", type=click.Choice(KINDS), help="Only runs of this kind.")
@click.option("--rows", "each", is_flag=True, help="Print every run, not only the worst.")
@click.option(
    "--plot",
    metavar="FILE",
    shell_complete=files(".svg", ".png"),
    help="Also draw predicted over measured: .svg or .png.",
)
@html_option
@click.option(
    "--fail-above",
    callback=_percent,
    metavar="SHARE",
    help="Exit with 1 if the mean absolute error of a source is above SHARE: 5%.",
)
@click.option("--again", is_flag=True, help="Predict all runs anew, whatever ships.")
@json_option
@fail_if_option
def validate(
    source: str | None,
    device: str | None,
    kind: str | None,
    each: bool,
    plot: str | None,
    page: str | None,
    fail_above: float | None,
    again: bool,
    as_json: bool,
    fail_if: tuple[Condition, ...],
) -> None:
    """Compare predictions with published measurements.

    Predicts every published run that is shipped and prints the error of each
    source: the mean absolute error (MAPE), of rows that calibrated profiles and
    of held-out ones, median, worst and mean. Then the same by device, by kind
    of run (long: sequences of 32,768 tokens or more) and by precision.

    Predictions ship with the measurements. They are taken as long as nothing
    that they depend on has changed; otherwise, and with --again, all runs are
    predicted anew, which takes about a minute.

    \b
    Examples:
      distsim validate
      distsim validate --source korthikanti-2022 --rows
      distsim validate --source nemo-2024 --plot nemo.svg --fail-above 12%
    """
    from distsim.cli.output import check_target, print_json, print_text
    from distsim.report.figure import file_format
    from distsim.study.validate import validate as compare

    if plot is not None:
        file_format(plot)
        check_target(plot)
    if page is not None:
        check_target(page)
    processes = os.cpu_count() or 1
    with working("comparing with measurements"):
        report = compare(
            source, device=device, kind=kind, processes=processes, again=again
        ).to_dict()
    if as_json:
        print_json(report)
    else:
        from distsim.report.validation import validation_text

        print_text(validation_text(report, rows=each or source is not None))
    if plot is not None:
        from distsim.cli.output import write_bytes
        from distsim.report.validation_plot import validation_plot

        with working("drawing"):
            write_bytes(plot, validation_plot(report, plot))
    if page is not None:
        from distsim.cli.output import write_file
        from distsim.report.html.validate import validate_html

        write_file(page, validate_html(report))
    _fail_above(report, fail_above)
    for condition in fail_if:
        condition.check(report)


def _fail_above(report: dict[str, Any], percent: float | None) -> None:
    """Leave with exit code 1 if a source is worse, and say on standard error which are."""
    if percent is None:
        return
    above = [s for s in report["sources"] if s["mape_percent"] > percent]
    if above:
        said = ", ".join(f"{s['name']} ({s['mape_percent']:.1f} %)" for s in above)
        message("error", f"mean absolute error above {percent:g} %: {said}")
        raise click.exceptions.Exit(CheckFailed.exit_code)
