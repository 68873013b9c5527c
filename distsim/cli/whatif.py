"""``distsim whatif``: what small changes gain."""

from __future__ import annotations

import click

from distsim.cli.complete import files
from distsim.cli.group import Command
from distsim.cli.options import SCENARIO, json_option, output_option, scenario_argument, set_option
from distsim.cli.page import About


@click.command(
    cls=Command,
    about=About(arguments=SCENARIO, see_also=("diff", "plan", "sweep", "docs/whatif.md")),
)
@scenario_argument
@set_option
@click.option(
    "--changes",
    "file",
    metavar="FILE",
    shell_complete=files(".yaml", ".yml"),
    help="Changes of your own, in place of the usual ones; docs/whatif.md shows the form.",
)
@json_option
@output_option("Also write a row of each change to FILE, a .csv.", ".csv")
def whatif(
    scenario: str,
    changes: tuple[str, ...],
    file: str | None,
    as_json: bool,
    output: str | None,
) -> None:
    """Rank small changes to SCENARIO by what they gain.

    Says which resources explain the critical path of a step, estimates from
    it what twice the memory bandwidth, a second network adapter, half the
    latencies, another tp, pp, micro batch, recomputation, ZeRO stage or
    software would gain, and checks each by running it.

    \b
    Examples:
      distsim whatif gpt2-xl-8xa100
      distsim whatif gpt2-xl-8xa100 --set batch.micro_size=4 --json
      distsim whatif my.yaml --changes ours.yaml
    """
    from distsim import api
    from distsim.cli.output import check_targets, print_json, print_text, write_file
    from distsim.cli.output_progress import progress
    from distsim.report.whatif import whatif_text
    from distsim.study.whatif.changes import read_changes
    from distsim.study.whatif.run import changes_of

    check_targets(scenario, output)
    loaded = api.load(scenario, changes)
    tried = changes_of(loaded) if file is None else read_changes(file)
    with progress(len(tried), what="changes") as done:
        found = api.whatif(loaded, tried, on_result=done)
    if output is not None:
        write_file(output, [found.table.to_csv()])
    if as_json:
        print_json(found.to_dict())
    else:
        print_text(whatif_text(found))
