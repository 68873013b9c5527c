"""``distsim diff``: what changed between two scenarios or results, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distsim.cli.complete import keys, shipped
from distsim.cli.group import Command
from distsim.cli.options import fail_if_option, json_option
from distsim.cli.page import About

if TYPE_CHECKING:
    from distsim.study.diff.condition import Condition

_SIDES = shipped("scenarios", ".yaml", ".yml", ".json")


@click.command(
    cls=Command,
    about=About(
        arguments={
            "A, B": "Scenarios, by file or name, or results that distsim run -o wrote (.json). B "
            "may be left out where --set says what changes."
        },
        exits={1: "a condition of --fail-if holds"},
        see_also=("run", "whatif", "help conditions"),
    ),
)
@click.argument("a", metavar="A", shell_complete=_SIDES)
@click.argument("b", metavar="[B]", required=False, shell_complete=_SIDES)
@click.option(
    "--set",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    shell_complete=keys,
    help="Change a value of B, for example plan.tp=4; without B, of A.",
)
@json_option
@fail_if_option
def diff(
    a: str,
    b: str | None,
    changes: tuple[str, ...],
    as_json: bool,
    fail_if: tuple[Condition, ...],
) -> None:
    """Say what changed from A to B, and what each change did to the step.

    The changes between two scenarios are made one by one: each alone
    on A, and one after another from A to B. In --fail-if keys are those of B,
    and base.KEY those of A.

    \b
    Examples:
      distsim diff before.yaml after.yaml
      distsim diff my.yaml --set plan.tp=4 --set plan.pp=16
      distsim diff main.json branch.json --fail-if 'step_s > 1.02 * base.step_s'
    """
    from distsim.cli.output import print_json, print_text
    from distsim.cli.output_progress import progress
    from distsim.report.diff import diff_text
    from distsim.study.diff.run import diff as run
    from distsim.study.diff.run import side, work

    if b is None and not changes:
        raise click.UsageError("there is nothing to compare A with: give B, or --set")
    first = side(a)
    second = side(a if b is None else b, changes)
    with progress(work(first, second), what="changes") as done:
        found = run(first, second, on_result=done)
    if as_json:
        print_json(found.to_dict())
    else:
        print_text(diff_text(found))
    for condition in fail_if:
        condition.check(second.result, first.result)
