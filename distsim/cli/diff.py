"""``distsim diff``: what changed between two scenarios or results, and what it did."""

from __future__ import annotations

import click

from distsim.cli.options import fail_if_option, json_option


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B", required=False)
@click.option(
    "--set",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a value of B, for example plan.tp=4; without B, of A.",
)
@json_option
@fail_if_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
def diff(
    a: str,
    b: str | None,
    changes: tuple[str, ...],
    as_json: bool,
    fail_if: tuple[str, ...],
    quiet: bool,
) -> None:
    """Say what changed from A to B, and what each change did to the step.

    A and B are scenarios (files or names), or results that distsim run wrote
    as JSON. The changes between two scenarios are made one by one: each alone
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
    from distsim.study.diff.condition import parse
    from distsim.study.diff.run import diff as run
    from distsim.study.diff.run import side, work

    conditions = [parse(text) for text in fail_if]
    if b is None and not changes:
        raise click.UsageError("there is nothing to compare A with: give B, or --set")
    first = side(a)
    second = side(a if b is None else b, changes)
    with progress(work(first, second), quiet=quiet, what="changes") as done:
        found = run(first, second, on_result=done)
    if as_json:
        print_json(found.to_dict())
    else:
        print_text(diff_text(found))
    for condition in conditions:
        condition.check(second.result, first.result)
