"""``distsim sweep``: every combination of some values, and how a job scales."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from distsim.cli.complete import files, keys
from distsim.cli.group import Command
from distsim.cli.messages import message
from distsim.cli.options import (
    OUTPUTS,
    SCENARIO,
    fail_if_option,
    html_option,
    json_option,
    output_option,
    scenario_argument,
)
from distsim.cli.page import About
from distsim.cli.waiting import working

if TYPE_CHECKING:
    from distsim.study.cache import Cache
    from distsim.study.diff.condition import Condition
    from distsim.study.sweep.run import Sweep

#: Endings of files of tables.
TABLES = (".parquet", ".csv", ".json")


@click.command(
    cls=Command,
    about=About(
        arguments=SCENARIO,
        sections={
            "Values": ("devices", "changes", "along", "scaling", "max_points"),
            "Evaluation": ("jobs", "backend", "scheduler", "cache", "no_cache"),
            OUTPUTS: ("best", "as_json", "output", "plot", "page", "fail_if"),
        },
        exits={1: "no combination fits, or a condition of --fail-if holds"},
        files={
            "~/.cache/distsim/": "Results that are kept, unless --cache or --no-cache says "
            "otherwise; in $XDG_CACHE_HOME/distsim/ if that is set.",
        },
        see_also=("plan", "whatif", "run", "help quantities", "docs/sweeps.md"),
    ),
)
@scenario_argument
@click.option(
    "--devices",
    metavar="COUNTS",
    help="Numbers of devices: 8:1024 doubles, 8:1024:x4, 8:64:+8, or a list 8,24,64.",
)
@click.option(
    "--set",
    "changes",
    metavar="KEY=VALUES",
    multiple=True,
    shell_complete=keys,
    help="Values of a key of the scenario, as plan.tp=1,2,4,8; ranges as for --devices, also with "
    "units. Every combination of all is evaluated. One value just changes the scenario.",
)
@click.option(
    "--along",
    metavar="KEY=VALUES",
    multiple=True,
    shell_complete=keys,
    help="Values that go along with --devices, one for each count: a model that grows too.",
)
@click.option("--strong", "scaling", flag_value="strong", help="The global batch stays: default.")
@click.option(
    "--weak", "scaling", flag_value="weak", help="The global batch grows with the devices."
)
@click.option("--best", is_flag=True, help="Print only the best plan of each number of devices.")
@output_option("Also write all rows: .parquet, .csv or .json.", *TABLES)
@click.option(
    "--plot",
    metavar="FILE",
    shell_complete=files(".svg", ".png"),
    help="Also draw scaling and breakdown: .svg or .png.",
)
@html_option
@json_option
@fail_if_option
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    help="Processes that evaluate. Without it, one a processor.",
)
@click.option(
    "--backend",
    type=click.Choice(["loky", "dask"]),
    default="loky",
    show_default=True,
    help="loky: processes of this machine. dask: a Dask cluster.",
)
@click.option("--scheduler", metavar="ADDRESS", help="With --backend dask: tcp://host:8786.")
@click.option(
    "--cache",
    metavar="FILE",
    shell_complete=files(".sqlite"),
    help="Where results are kept. Without it, in the user's cache directory.",
)
@click.option("--no-cache", is_flag=True, help="Keep no results, and use none.")
@click.option(
    "--max-points",
    metavar="N",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Most combinations.",
)
def sweep(
    scenario: str,
    changes: tuple[str, ...],
    scaling: str | None,
    best: bool,
    output: str | None,
    plot: str | None,
    page: str | None,
    as_json: bool,
    cache: str | None,
    no_cache: bool,
    fail_if: tuple[Condition, ...],
    **how: Any,
) -> None:
    """Evaluate every combination of some values of SCENARIO.

    Prints step time, throughput, memory, speed-up and efficiency of each, why
    the others cannot run, and where the time goes at each number of devices.
    Combinations that are impossible or do not fit are rows like all others.

    Results are kept in a file as they come, so that a sweep that was
    interrupted goes on where it was, and none is evaluated twice.

    \b
    Examples:
      distsim sweep llama2-7b-64xh100-zero3 --devices 8:256 --best
      distsim sweep my.yaml --devices 64:1024:x4 --set plan.tp=4,8 -o rows.parquet
      distsim sweep gpt2-xl-8xa100 --set batch.micro_size=1:8 --plot rows.svg
      distsim sweep my.yaml --devices 512,1024 --weak --plot weak.svg
      distsim sweep my.yaml --devices 512,1024 --along batch.global_size=768,1536
    """
    from distsim.cli.output import check_targets
    from distsim.cli.output_progress import progress
    from distsim.report.figure import file_format
    from distsim.study.pool import runner
    from distsim.study.sweep.study import space_of, sweep_of

    check_targets(scenario, output, plot, page)
    if output is not None:
        _ending(output)
    if plot is not None:
        file_format(plot)
    chosen = runner(how["backend"], jobs=how["jobs"], scheduler=how["scheduler"])
    space = space_of(
        scenario,
        devices=how["devices"],
        set_=changes,
        along=how["along"],
        weak=scaling == "weak",
        max_points=how["max_points"],
    )
    with _cache(cache, no_cache) as kept, progress(len(space)) as done:
        result = sweep_of(space, runner=chosen, cache=kept, on_result=done)
    _report(result, best=best, as_json=as_json, output=output, plot=plot, page=page)
    for condition in fail_if:
        condition.check(result.to_dict())
    _exit_unless_some_fit(result, reported=not as_json)


def _warn(text: str) -> None:
    message("warning", text)


@contextmanager
def _cache(path: str | None, no_cache: bool) -> Iterator[Cache | None]:
    """Open the cache, and say how to go on if the sweep is interrupted."""
    from distsim.study.cache import open_cache

    if no_cache and path is not None:
        raise click.UsageError("--cache and --no-cache exclude each other")
    opened = None if no_cache else open_cache(path, _warn)
    try:
        yield opened
    except KeyboardInterrupt:
        if opened is not None and opened.keeps:
            _warn(f"what was evaluated is kept in {opened.path}; the same command goes on from it")
        raise
    finally:
        if opened is not None:
            opened.close()


def _ending(path: str) -> str:
    from pathlib import Path

    from distsim.errors import UsageError

    ending = Path(path).suffix.lower()
    if ending in TABLES:
        return ending
    raise UsageError(
        "DS665",
        f"{path} has no ending of a table",
        value=path,
        rule=f"one of {', '.join(TABLES)}",
        fix=f"name it {Path(path).stem or 'sweep'}.csv",
    )


def _report(
    result: Sweep,
    *,
    best: bool,
    as_json: bool,
    output: str | None,
    plot: str | None,
    page: str | None,
) -> None:
    from distsim.cli.output import print_json, print_text, write_bytes, write_file

    if output is not None:
        _write_table(result, output)
    if plot is not None:
        from distsim.report.sweep_plot import sweep_plot

        with working("drawing"):
            write_bytes(plot, sweep_plot(result, plot))
    if page is not None:
        from distsim.report.html.sweep import sweep_html

        with working("writing the report"):
            write_file(page, sweep_html(result))
    if as_json:
        print_json(result.to_dict())
    else:
        from distsim.report.sweep import sweep_text

        print_text(sweep_text(result, best=best, evaluated=result.evaluated, found=result.found))


def _write_table(result: Sweep, path: str) -> None:
    from distsim.cli.output import write_bytes, write_file

    table, ending = result.table, _ending(path)
    if ending == ".parquet":
        write_bytes(path, table.to_parquet())
    else:
        write_file(path, [table.to_csv() if ending == ".csv" else table.to_json()])


def _exit_unless_some_fit(result: Sweep, *, reported: bool) -> None:
    """Leave with exit code 1 if nothing fits, and 70 if anything failed inside distsim.

    Raises
    ------
    InfeasibleError
        DS663, where the output does not say so to a person.
    """
    from distsim.cli.guard import INTERNAL
    from distsim.errors import InfeasibleError
    from distsim.study.evaluate import INTERNAL as FAILED

    if any(row.outcome.code == FAILED for row in result.rows):
        _warn("an error in distsim in some rows; please report it with the scenario")
        raise click.exceptions.Exit(INTERNAL)
    if result.counts["ok"]:
        return
    first = result.rows[0].outcome.reason
    error = InfeasibleError(
        "DS663",
        f"none of {len(result.rows):,} combinations fits; the first: {first}",
        rule="at least one combination is possible and fits into memory",
        fix="read the reasons of the rows, and vary something else",
    )
    if reported:
        raise click.exceptions.Exit(error.exit_code)
    raise error
