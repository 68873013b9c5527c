"""Arguments and options that several commands take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from distsim.cli.complete import files, keys, shipped

if TYPE_CHECKING:
    from distsim.study.diff.condition import Condition

F = TypeVar("F", bound=Callable[..., Any])

#: What arguments of several commands are, for their pages.
SCENARIO = {"SCENARIO": "A scenario file, or the name of a shipped one: see distsim scenarios."}
#: What exit code 1 means for several commands.
DOES_NOT_FIT = {1: "the plan does not fit into memory"}
FITS_OR_FAILS = {1: "the plan does not fit into memory, or a condition of --fail-if holds"}
#: Titles of sections of options.
OUTPUTS = "Output"

scenario_argument = click.argument(
    "scenario", metavar="SCENARIO", shell_complete=shipped("scenarios", ".yaml", ".yml")
)
set_option = click.option(
    "--set",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    shell_complete=keys,
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
    shell_complete=files(".html"),
    help="Also write a report to look at: one HTML file that opens without a network.",
)


def _conditions(
    context: click.Context, parameter: click.Parameter, value: Sequence[str]
) -> tuple[Condition, ...]:
    """Return conditions, read before any work is done."""
    if not value:
        return ()
    from distsim.study.diff.condition import parse

    return tuple(parse(text) for text in value)


fail_if_option = click.option(
    "--fail-if",
    "fail_if",
    metavar="CONDITION",
    multiple=True,
    callback=_conditions,
    help="Exit with 1 if CONDITION holds for the result, with keys of --json: 'mfu < 0.4'. May be "
    "given several times; see distsim help conditions.",
)


def output_option(what: str, *endings: str) -> Callable[[F], F]:
    """Return the option for a file that is also written."""
    return click.option("-o", "--output", metavar="FILE", shell_complete=files(*endings), help=what)
