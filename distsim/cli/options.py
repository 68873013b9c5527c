"""Arguments and options that several commands take."""

from __future__ import annotations

import click

scenario_argument = click.argument("scenario", metavar="SCENARIO")
set_option = click.option(
    "--set",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a value of the scenario, for example plan.tp=4. May be given several times; "
    "the value is YAML, so [8, 8] and {name: adam} work too.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, in SI units, in place of the report."
)
html_option = click.option(
    "--html",
    "page",
    metavar="FILE",
    help="Also write a report to look at: one HTML file that opens without a network.",
)
fail_if_option = click.option(
    "--fail-if",
    "fail_if",
    metavar="CONDITION",
    multiple=True,
    help="Exit with 1 if CONDITION holds for the result: 'mfu < 0.4', "
    "'memory.peak_bytes > 70 GiB or step_s > 20 s'. Keys are those of --json.",
)
