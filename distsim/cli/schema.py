"""``distsim schema``: the JSON Schemas of input and output."""

from __future__ import annotations

import click


@click.command()
@click.argument(
    "which", type=click.Choice(["scenario", "prediction", "collective", "sweep", "plan"])
)
def schema(which: str) -> None:
    """Print the JSON Schema of scenario files, predictions, collectives, sweeps or plans.

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
