"""``distsim run``: predict one optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from distsim.cli.complete import files
from distsim.cli.group import Command
from distsim.cli.options import (
    FITS_OR_FAILS,
    OUTPUTS,
    SCENARIO,
    fail_if_option,
    html_option,
    json_option,
    output_option,
    scenario_argument,
    set_option,
)
from distsim.cli.page import About
from distsim.cli.verdict import exit_unless_fits
from distsim.cli.waiting import working

if TYPE_CHECKING:
    from distsim.prediction.predict import Prediction
    from distsim.scenario.jobs import Jobs
    from distsim.scenario.schema import Scenario
    from distsim.study.diff.condition import Condition


@click.command(
    cls=Command,
    about=About(
        arguments=SCENARIO,
        sections={
            OUTPUTS: ("show_memory", "as_json", "output", "page", "trace", "chakra", "fail_if")
        },
        exits=FITS_OR_FAILS,
        see_also=("check", "diff", "whatif", "help scenario", "help conditions"),
    ),
)
@scenario_argument
@set_option
@click.option(
    "--evaluator",
    type=click.Choice(["auto", "graph", "event"]),
    help="graph: one pass over the longest path, no contention. event: the discrete-event engine. "
    "auto: the cheapest that is exact. Without it, what the scenario says.",
)
@click.option(
    "--no-fold", is_flag=True, help="Simulate every rank, in place of one of each class. Slow."
)
@json_option
@output_option("Also write the JSON to FILE.", ".json")
@click.option(
    "--trace",
    metavar="FILE",
    shell_complete=files(".json", ".gz"),
    help="Also write the timeline as a trace that Perfetto opens; compressed if FILE ends in .gz.",
)
@html_option
@click.option(
    "--chakra",
    metavar="DIR",
    shell_complete=files(),
    help="Also write a Chakra execution trace of every rank into a new directory, for other "
    "simulators.",
)
@fail_if_option
@click.option(
    "--memory",
    "show_memory",
    is_flag=True,
    help="Also show how memory rises and falls through the step, stage by stage.",
)
def run(
    scenario: str,
    changes: tuple[str, ...],
    evaluator: str | None,
    no_fold: bool,
    as_json: bool,
    output: str | None,
    trace: str | None,
    page: str | None,
    chakra: str | None,
    fail_if: tuple[Condition, ...],
    show_memory: bool,
) -> None:
    """Predict one optimizer step of SCENARIO.

    Prints the step time with its interval, throughput and utilization, where
    the time goes, the memory of every pipeline stage, what the links carry,
    and the bottleneck. If the plan does not fit into memory the report is
    still complete. A file with several jobs gives what sharing the fabric
    costs each of them.

    \b
    Examples:
      distsim run gpt3-175b-1024xa100
      distsim run my.yaml --set plan.tp=4 --set plan.recompute=full
      distsim run my.yaml --json | jq .step_s
      distsim run my.yaml -o prediction.json --trace trace.json
      distsim run my.yaml --html report.html
      distsim run my.yaml --fail-if 'mfu < 0.4'
    """
    from distsim import api
    from distsim.cli.output import check_targets, print_json, print_text, write_file
    from distsim.cli.output_directory import check_directory
    from distsim.scenario.jobs import Jobs

    check_targets(scenario, output, trace, page)
    if chakra is not None:
        check_directory(chakra)
    found = api.load_any(scenario, changes)
    if isinstance(found, Jobs):
        if trace is not None or chakra is not None:
            raise click.UsageError("--trace and --chakra are of one job, and here are several")
        _run_jobs(found, fail_if, fold=not no_fold, as_json=as_json, output=output, page=page)
        return
    with working("predicting"):
        prediction = api.simulate(found, evaluator=evaluator, fold=not no_fold)
        result = prediction.to_dict()
    if output is not None:
        from distsim.report.json_ import dumps

        write_file(output, [dumps(result)])
    _write_views(prediction, found, trace=trace, page=page, chakra=chakra)
    if as_json:
        print_json(result)
    else:
        from distsim.report.text import run_text

        print_text(run_text(prediction, through_step=show_memory))
    for condition in fail_if:
        condition.check(result)
    exit_unless_fits(prediction.memory, reported=not as_json)


def _run_jobs(
    jobs: Jobs,
    conditions: Sequence[Condition],
    *,
    fold: bool,
    as_json: bool,
    output: str | None,
    page: str | None,
) -> None:
    from distsim import api
    from distsim.cli.output import print_json, print_text, write_file
    from distsim.report.jobs import jobs_text
    from distsim.report.json_ import dumps

    with working("predicting"):
        prediction = api.simulate_jobs(jobs, fold=fold)
        result = prediction.to_dict()
    if output is not None:
        write_file(output, [dumps(result)])
    if page is not None:
        from distsim.report.html.run import jobs_html

        write_file(page, jobs_html(prediction, jobs))
    if as_json:
        print_json(result)
    else:
        print_text(jobs_text(prediction))
    for condition in conditions:
        condition.check(result)
    for job in prediction.jobs:
        exit_unless_fits(job.prediction.memory, reported=not as_json)


def _write_views(
    prediction: Prediction,
    scenario: Scenario,
    *,
    trace: str | None,
    page: str | None,
    chakra: str | None,
) -> None:
    if trace is not None:
        _write_trace(trace, prediction)
    if page is not None:
        from distsim.cli.output import write_file
        from distsim.report.html.run import run_html

        with working("writing the report"):
            write_file(page, run_html(prediction, scenario))
    if chakra is not None:
        _write_chakra(chakra, prediction)


def _write_chakra(path: str, prediction: Prediction) -> None:
    from distsim.cli.output_directory import write_directory
    from distsim.cli.output_progress import progress
    from distsim.study.traces.chakra_write import ChakraTraces

    traces = ChakraTraces(prediction)
    with progress(traces.n_ranks + 1, what="Chakra traces") as done:
        write_directory(path, traces.files(), on_file=done)


def _write_trace(path: str, prediction: Prediction) -> None:
    from distsim.cli.output import write_file
    from distsim.report.trace_prediction import prediction_chunks

    with working("writing the trace"):
        write_file(path, prediction_chunks(prediction))
