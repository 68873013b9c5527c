"""``distsim goodput``: a training with failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from distsim.cli.cost import (
    MONEY,
    prices_option,
    pricing_option,
    region_option,
    steps_option,
    tokens_option,
)
from distsim.cli.group import Command
from distsim.cli.options import (
    FITS_OR_FAILS,
    OUTPUTS,
    SCENARIO,
    fail_if_option,
    html_option,
    json_option,
    output_option,
    scenario_argument,
    set_option,
)
from distsim.cli.page import About
from distsim.cli.waiting import working

if TYPE_CHECKING:
    from distsim.study.diff.condition import Condition


@click.command(
    cls=Command,
    about=About(
        arguments=SCENARIO,
        sections={
            "Failures and repair": (
                *("mtbf_device", "shape", "detect", "restart"),
                *("spares", "repair", "hardware_share", "when_empty"),
            ),
            "Checkpoints": ("checkpoint_interval", "checkpoint", "storage"),
            "Prices": MONEY[:3],
            OUTPUTS: ("as_json", "output", "page", "fail_if"),
        },
        exits=FITS_OR_FAILS,
        see_also=("cost", "plan", "help quantities", "docs/goodput.md"),
    ),
)
@scenario_argument
@set_option
@tokens_option
@steps_option
@click.option(
    "--mtbf-device",
    metavar="TIME",
    default="50000h",
    show_default=True,
    help="Mean time between failures of one device, with its share of node and network; Llama 3 "
    "had one in 50,676 h.",
)
@click.option(
    "--weibull",
    "shape",
    metavar="K",
    type=float,
    default=1.0,
    show_default=True,
    help="Shape of the times between failures of the cluster; 1 is exponential.",
)
@click.option(
    "--checkpoint-interval",
    metavar="auto|scenario|TIME",
    default="auto",
    show_default=True,
    help="Work between checkpoints: the best, as the scenario says, or for example 30min.",
)
@click.option(
    "--checkpoint",
    type=click.Choice(["sync", "async", "overlapped"]),
    help="What training waits for: the storage, the copy to the host, or what of it the next step "
    "leaves. Without it, what the scenario says, or async.",
)
@click.option(
    "--storage",
    metavar="RATE",
    help="What the storage takes from all nodes: 2 TB/s. Without it, what the scenario says, or "
    "1 GB/s of each node.",
)
@click.option(
    "--detect",
    metavar="TIME",
    default="2min",
    show_default=True,
    help="From a failure until it is noticed.",
)
@click.option(
    "--restart",
    metavar="TIME",
    default="5min",
    show_default=True,
    help="From then until the job runs again.",
)
@click.option(
    "--spares",
    metavar="N",
    type=click.IntRange(0, 10**6),
    help="Spare nodes. Without it there are always enough.",
)
@click.option(
    "--repair", metavar="TIME", default="24h", show_default=True, help="Time to repair a node."
)
@click.option(
    "--hardware-share",
    metavar="SHARE",
    default="78%",
    show_default=True,
    help="Share of the failures after which a node is repaired; the others only restart.",
)
@click.option(
    "--when-empty",
    type=click.Choice(["wait", "shrink"]),
    default="wait",
    show_default=True,
    help="Without a spare node: wait for a repair, or go on with fewer replicas.",
)
@click.option(
    "--runs",
    metavar="N",
    type=int,
    default=1000,
    show_default=True,
    help="Trainings that are drawn.",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of what is drawn.",
)
@click.option(
    "--start", metavar="DATE", help="Day on which the training starts, 2027-01-31, for its end."
)
@pricing_option
@prices_option
@region_option
@json_option
@output_option("Also write a row of each run to FILE, a .csv.", ".csv")
@html_option
@fail_if_option
def goodput(
    scenario: str,
    changes: tuple[str, ...],
    hardware_share: str,
    as_json: bool,
    output: str | None,
    page: str | None,
    fail_if: tuple[Condition, ...],
    **how: Any,
) -> None:
    """Say when a training with SCENARIO ends if devices fail.

    Draws many trainings: failures, detection, restarts, steps that are done
    again, checkpoints, spare nodes and their repair. Prints duration, useful
    share of the time, failures and money (p10, p50, p90), where the time
    goes, and the best interval between checkpoints.

    \b
    Examples:
      distsim goodput llama3-405b-16384xh100 --tokens 15.6T
      distsim goodput my.yaml --tokens 2T --checkpoint-interval 30min
      distsim goodput my.yaml --tokens 2T --spares 4 --repair 3d --json
      distsim goodput my.yaml --tokens 2T --fail-if 'effective.p50 < 0.5'
    """
    from distsim import api
    from distsim.cli.output import check_targets, print_json, print_text, write_file
    from distsim.cli.verdict import exit_unless_fits
    from distsim.report.goodput import goodput_text
    from distsim.units import parse

    check_targets(scenario, output, page)
    share = parse(hardware_share, "1")
    loaded = api.load(scenario, changes)
    with working("drawing trainings"):
        found = api.goodput(loaded, hardware_share=share, **how)
    if output is not None:
        write_file(output, [found.table.to_csv()])
    if page is not None:
        from distsim.report.html.goodput import goodput_html

        write_file(page, goodput_html(found, loaded))
    if as_json:
        print_json(found.to_dict())
    else:
        print_text(goodput_text(found))
    for condition in fail_if:
        condition.check(found.to_dict())
    exit_unless_fits(found.memory, reported=not as_json)
