"""``distsim trace``: read traces of real runs and of other simulators."""

from __future__ import annotations

import click

from distsim.cli.group import Commands
from distsim.cli.options import json_option, set_option


@click.group(cls=Commands)
def trace() -> None:
    """Read traces of real runs and of other simulators.

    To write the trace of a prediction: distsim run --trace, or --chakra.

    \b
    Examples:
      distsim trace import step.json.gz
      distsim trace import step.json.gz my.yaml -o both.json.gz
      distsim trace chakra traces/distsim.0.et
    """


@trace.command("import")
@click.argument("file", metavar="KINETO")
@click.argument("scenario", metavar="[SCENARIO]", required=False)
@set_option
@json_option
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Write a trace for Perfetto: the measured step, and the predicted one below it.",
)
def _import(
    file: str, scenario: str | None, changes: tuple[str, ...], as_json: bool, output: str | None
) -> None:
    """Sum up a trace of PyTorch's profiler, beside a prediction.

    KINETO is what export_chrome_trace wrote, plain or compressed, of one rank
    and one or more steps. Prints the time of a step by kind of work, measured
    and, if SCENARIO is given, predicted for the same rank, and what each
    stream did. Time counts as communication only where nothing computes.

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
    prediction = api.simulate(api.load(scenario, changes)) if scenario is not None else None
    found = compared(read_kineto(file, prediction.plan if prediction else None), prediction)
    if output is not None:
        write_file(output, side_by_side(found))
    if as_json:
        print_json(found.to_dict())
    else:
        print_text(import_text(found))


@trace.command("chakra")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@json_option
def _chakra(files: tuple[str, ...], as_json: bool) -> None:
    """Sum up Chakra execution traces: nodes by type, time, messages by group.

    Reads NAME.RANK.et of any simulator or converter. Needs the extra chakra.

    \b
    Examples:
      distsim trace chakra traces/distsim.0.et
      distsim trace chakra traces/distsim.*.et --json
    """
    from distsim.cli.output import print_json, print_text
    from distsim.report.trace_import import chakra_text
    from distsim.study.traces.chakra_read import summary

    found = [summary(file) for file in files]
    if as_json:
        print_json([one.to_dict() for one in found])
    else:
        print_text(chakra_text(found))
