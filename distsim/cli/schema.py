"""``distsim schema``: the JSON Schemas of input and output."""

from __future__ import annotations

import click

from distsim.cli.group import Command
from distsim.cli.page import About

_WHICH = ("scenario", "prediction", "collective", "sweep", "plan")


@click.command(
    cls=Command,
    about=About(
        arguments={"WHICH": f"One of {', '.join(_WHICH)}."},
        see_also=("help scenario",),
    ),
)
@click.argument("which", metavar="WHICH", type=click.Choice(_WHICH))
def schema(which: str) -> None:
    """Print the JSON Schema of scenario files, or of what --json prints.

    scenario is that of scenario files, for editors that complete and check
    them; the others are of distsim run, collective, sweep and plan.

    \b
    Examples:
      distsim schema scenario > scenario.schema.json
      distsim schema prediction
    """
    from distsim.cli.output import print_json

    if which == "scenario":
        from distsim.scenario.jsonschema import scenario_schema

        print_json(scenario_schema())
    elif which == "collective":
        from distsim.report.collective_schema import collective_schema

        print_json(collective_schema())
    elif which == "sweep":
        from distsim.report.sweep_schema import sweep_schema

        print_json(sweep_schema())
    elif which == "plan":
        from distsim.report.plan_schema import plan_schema

        print_json(plan_schema())
    else:
        from distsim.report.schema import prediction_schema

        print_json(prediction_schema())
