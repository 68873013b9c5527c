"""``distsim trace``: read traces of real runs and of other simulators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distsim.cli.complete import files, shipped
from distsim.cli.group import Commands
from distsim.cli.options import fail_if_option, json_option, output_option, set_option
from distsim.cli.page import About
from distsim.cli.waiting import working

if TYPE_CHECKING:
    from distsim.study.diff.condition import Condition


@click.group(cls=Commands, about=About(see_also=("run", "docs/traces.md")))
def trace() -> None:
    """Read traces of real runs and of other simulators.

    To write the trace of a prediction: distsim run --trace, or --chakra.

    \b
    Examples:
      distsim trace import step.json.gz
      distsim trace import step.json.gz my.yaml -o both.json.gz
      distsim trace chakra traces/distsim.0.et
    """


@trace.command(
    "import",
    about=About(
        arguments={
            "KINETO": "What export_chrome_trace wrote, plain or compressed (.gz), of one rank and "
            "one or more steps.",
            "SCENARIO": "What was run: a file, or the name of a shipped scenario.",
        },
        exits={1: "a condition of --fail-if holds"},
        see_also=("run", "calibrate", "help conditions"),
    ),
)
@click.argument("file", metavar="KINETO", shell_complete=files(".json", ".gz"))
@click.argument(
    "scenario",
    metavar="[SCENARIO]",
    required=False,
    shell_complete=shipped("scenarios", ".yaml", ".yml"),
)
@set_option
@json_option
@output_option(
    "Also write a trace for Perfetto: the measured step, and the predicted one below it.",
    ".json",
    ".gz",
)
@fail_if_option
def _import(
    file: str,
    scenario: str | None,
    changes: tuple[str, ...],
    as_json: bool,
    output: str | None,
    fail_if: tuple[Condition, ...],
) -> None:
    """Sum up a trace of PyTorch's profiler, beside a prediction.

    Prints the time of a step by kind of work, measured and, if SCENARIO is
    given, predicted for the same rank, what each stream did, and the longest
    kernels. Time counts as communication only where nothing computes.

    \b
    Examples:
      distsim trace import step.json.gz
      distsim trace import step.json.gz my.yaml --json
      distsim trace import step.json.gz my.yaml -o both.json.gz
    """
    from distsim import api
    from distsim.cli.output import check_targets, print_json, print_text, write_file
    from distsim.report.trace_import import import_text, side_by_side
    from distsim.study.traces.kineto import read_kineto
    from distsim.study.traces.measured import compared

    check_targets(file, output)
    if changes and scenario is None:
        raise click.UsageError("--set changes a scenario, and none is given")
    with working("reading the trace"):
        prediction = api.simulate(api.load(scenario, changes)) if scenario is not None else None
        found = compared(read_kineto(file, prediction.plan if prediction else None), prediction)
    if output is not None:
        with working("writing the trace"):
            write_file(output, side_by_side(found))
    if as_json:
        print_json(found.to_dict())
    else:
        print_text(import_text(found))
    for condition in fail_if:
        condition.check(found.to_dict())


@trace.command(
    "chakra",
    about=About(
        arguments={"FILE": "Execution traces of ranks, NAME.RANK.et."},
        see_also=("run", "docs/traces.md"),
    ),
)
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, shell_complete=files(".et"))
@json_option
def _chakra(paths: tuple[str, ...], as_json: bool) -> None:
    """Sum up Chakra execution traces: nodes by type, time, messages by group.

    Reads the traces of any simulator or converter. Needs protobuf: pip install
    'distsim-train[chakra]'.

    \b
    Examples:
      distsim trace chakra traces/distsim.0.et
      distsim trace chakra traces/distsim.*.et --json
    """
    from distsim.cli.output import print_json, print_text
    from distsim.report.trace_import import chakra_text
    from distsim.study.traces.chakra_read import summary

    with working("reading the traces"):
        found = [summary(path) for path in paths]
    if as_json:
        print_json([one.to_dict() for one in found])
    else:
        print_text(chakra_text(found))
