"""``distsim check``: check a scenario without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distsim.cli.group import Command
from distsim.cli.options import (
    FITS_OR_FAILS,
    SCENARIO,
    fail_if_option,
    json_option,
    scenario_argument,
    set_option,
)
from distsim.cli.page import About
from distsim.cli.verdict import exit_unless_fits
from distsim.cli.waiting import working

if TYPE_CHECKING:
    from distsim.study.diff.condition import Condition


@click.command(
    cls=Command,
    about=About(
        arguments=SCENARIO, exits=FITS_OR_FAILS, see_also=("run", "scenarios", "help scenario")
    ),
)
@scenario_argument
@set_option
@click.option("--operators", is_flag=True, help="FLOP, bytes and time of each operator.")
@json_option
@fail_if_option
def check(
    scenario: str,
    changes: tuple[str, ...],
    operators: bool,
    as_json: bool,
    fail_if: tuple[Condition, ...],
) -> None:
    """Check SCENARIO without running it.

    Looks up every name, multiplies the plan out and adds up the memory. Prints
    OK with the derived plan, or the first problem with its file and line.

    --operators takes the model apart: one micro batch, in the scenario's types
    and with its kernels, before the plan divides it.

    \b
    Examples:
      distsim check my.yaml
      distsim check gpt3-175b-1024xa100 --set cluster.devices=512
      distsim check bert-large-64xv100 --operators
      distsim check my.yaml --fail-if 'memory.peak_bytes > 60 GB'
    """
    from distsim import api
    from distsim.cli.output import print_json, print_text
    from distsim.scenario.jobs import Jobs

    found = api.load_any(scenario, changes)
    several = isinstance(found, Jobs)
    with working("checking"):
        reports = api.check_jobs(found) if isinstance(found, Jobs) else [api.check(found)]
        jobs = found.scenarios if isinstance(found, Jobs) else (found,)
        parts = [api.operators(one) for one in jobs] if operators else []
    shown = [report.to_dict() for report in reports]
    for record, part in zip(shown, parts, strict=False):
        record["anatomy"] = part
    result = {"scenario": found.name, "jobs": shown} if several else shown[0]
    if as_json:
        print_json(result)
    else:
        from distsim.report.anatomy import anatomy_text
        from distsim.report.text import check_text

        for index, report in enumerate(reports):
            print_text(check_text(report))
            if parts:
                print_text(anatomy_text(parts[index]))
    for condition in fail_if:
        condition.check(result)
    for report in reports:
        exit_unless_fits(report.memory, reported=not as_json)
