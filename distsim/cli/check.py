"""``distsim check``: check a scenario without running it."""

from __future__ import annotations

import click

from distsim.cli.options import json_option, scenario_argument, set_option
from distsim.cli.verdict import exit_unless_fits


@click.command()
@scenario_argument
@set_option
@click.option("--operators", is_flag=True, help="FLOP, bytes and time of each operator.")
@json_option
def check(scenario: str, changes: tuple[str, ...], operators: bool, as_json: bool) -> None:
    """Check SCENARIO without running it.

    Looks up every name, multiplies the plan out and adds up the memory. Prints
    OK with the derived plan, or the first problem with its file and line.
    Exits with 1 if the plan does not fit into memory, with 2 for bad input.

    --operators takes the model apart: one micro batch, in the scenario's types
    and with its kernels, before the plan divides it.

    \b
    Examples:
      distsim check my.yaml
      distsim check gpt3-175b-1024xa100 --set cluster.devices=512
      distsim check bert-large-64xv100 --operators
    """
    from distsim import api
    from distsim.cli.output import print_json, print_text
    from distsim.scenario.jobs import Jobs

    found = api.load_any(scenario, changes)
    several = isinstance(found, Jobs)
    reports = api.check_jobs(found) if isinstance(found, Jobs) else [api.check(found)]
    jobs = found.scenarios if isinstance(found, Jobs) else (found,)
    parts = [api.operators(one) for one in jobs] if operators else []
    if as_json:
        shown = [report.to_dict() for report in reports]
        for record, part in zip(shown, parts, strict=False):
            record["anatomy"] = part
        print_json({"scenario": found.name, "jobs": shown} if several else shown[0])
    else:
        from distsim.report.anatomy import anatomy_text
        from distsim.report.text import check_text

        for index, report in enumerate(reports):
            print_text(check_text(report))
            if parts:
                print_text(anatomy_text(parts[index]))
    for report in reports:
        exit_unless_fits(report.memory, reported=not as_json)
