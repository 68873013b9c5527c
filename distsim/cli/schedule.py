"""``distsim schedule``: the pipeline schedules, and what one of them does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distsim.cli.complete import listed
from distsim.cli.group import Commands
from distsim.cli.options import OUTPUTS, json_option, output_option
from distsim.cli.page import About
from distsim.cli.records import Record, print_list

if TYPE_CHECKING:
    from distsim.schedule import Schedule

#: What is shown of a schedule where nobody says.
_STAGES, _MICROBATCHES = 4, 8


def _time(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """Return a time that can be reckoned with."""
    if not 1e-9 <= value <= 1e9:
        raise click.BadParameter(f"{value!r} is not between 1e-9 and 1e9")
    return value


def _rows() -> list[Record]:
    from distsim.schedule import REGISTRY

    return [
        {
            "name": name,
            "chunks": "any" if one.chunks is None else str(one.chunks),
            "copies": str(one.replicas),
            "weights": str(one.weight_versions),
            "summary": one.summary,
        }
        for name, one in REGISTRY.items()
    ]


@click.group(
    cls=Commands,
    invoke_without_command=True,
    subcommand_metavar="[list | show NAME]",
    about=About(see_also=("run", "docs/strategies/pipeline.md")),
)
@json_option
@click.pass_context
def schedule(context: click.Context, as_json: bool) -> None:
    """List the pipeline schedules, or show what one of them does.

    \b
    Examples:
      distsim schedule
      distsim schedule show zb-h1 --stages 4 --microbatches 8
    """
    context.obj = as_json
    if context.invoked_subcommand is None:
        print_list("schedules", _rows(), as_json)


@schedule.command("list")
@json_option
@click.pass_obj
def _list(outer: bool, as_json: bool) -> None:
    """List the pipeline schedules.

    Chunks are those that a stage holds, copies those of the model, weights the
    versions of them that a stage keeps.

    \b
    Examples:
      distsim schedule list
      distsim schedule list --json
    """
    print_list("schedules", _rows(), as_json or outer)


@schedule.command(
    "show",
    about=About(
        arguments={
            "NAME": "A schedule that distsim schedule lists, or a CSV file as PyTorch writes it."
        },
        sections={
            "Size": ("stages", "microbatches", "virtual_stages"),
            "Times": ("forward", "input_", "weight"),
            OUTPUTS: ("as_json", "output", "communication"),
        },
        see_also=("schedule", "run", "docs/strategies/pipeline.md"),
    ),
)
@click.argument("name", metavar="NAME", shell_complete=listed("@schedule", ".csv"))
@click.option(
    "--stages",
    metavar="P",
    type=click.IntRange(min=1),
    help=f"Pipeline stages. Without it {_STAGES}, or those of the file.",
)
@click.option(
    "--microbatches",
    metavar="M",
    type=click.IntRange(min=1),
    help=f"Micro batches. Without it {_MICROBATCHES}, or those of the file.",
)
@click.option(
    "--virtual-stages",
    metavar="V",
    type=click.IntRange(min=1),
    help="Model chunks a stage. Without it 2 for interleaved, otherwise those of the schedule.",
)
@click.option(
    "--forward",
    metavar="T",
    type=float,
    callback=_time,
    default=1.0,
    show_default=True,
    help="Time of the forward pass of a micro batch on a stage, in any unit.",
)
@click.option(
    "--input",
    "input_",
    metavar="T",
    type=float,
    callback=_time,
    default=1.0,
    show_default=True,
    help="Time of its input gradient, in the same unit.",
)
@click.option(
    "--weight",
    metavar="T",
    type=float,
    callback=_time,
    default=1.0,
    show_default=True,
    help="Time of its weight gradient, in the same unit.",
)
@output_option("Also write it as PyTorch's CSV.", ".csv")
@click.option(
    "--communication", is_flag=True, help="With -o: with sends and receives, without waits."
)
@json_option
@click.pass_obj
def _show(
    outer: bool,
    name: str,
    stages: int | None,
    microbatches: int | None,
    virtual_stages: int | None,
    forward: float,
    input_: float,
    weight: float,
    output: str | None,
    communication: bool,
    as_json: bool,
) -> None:
    """Show bubble, micro batches in flight and time slots of the schedule NAME.

    All stages take the same times and sends take none. The bubble is measured
    on them and stands beside the closed form of the paper.

    \b
    Examples:
      distsim schedule show 1f1b --stages 4 --microbatches 8
      distsim schedule show interleaved --virtual-stages 2 --input 1.2 --weight 0.8
      distsim schedule show zb-v --stages 4 --microbatches 8 -o zb-v.csv
      distsim schedule show dualpipe --stages 4 --microbatches 8 --json
    """
    from distsim.cli.output import check_targets, print_json, print_text, write_file
    from distsim.schedule import REGISTRY, chunks_of
    from distsim.schedule.csv_actions import write
    from distsim.schedule.summary import summary

    if communication and output is None:
        raise click.UsageError("--communication needs -o FILE")
    shipped = name in REGISTRY
    check_targets("" if shipped else name, output)
    found, p, m = (REGISTRY[name], _STAGES, _MICROBATCHES) if shipped else _read(name)
    p, m = stages or p, microbatches or m
    chunks = chunks_of(found, virtual_stages or (2 if found.chunks is None else 1))
    record = summary(
        found, p, m, chunks, forward=forward, input_=input_, weight=weight, closed_form=shipped
    )
    if output is not None:
        orders, placement = found.order(p, m, chunks), found.placement(p, chunks)
        write_file(output, [write(orders, placement, communication=communication)])
    if as_json or outer:
        print_json(record)
    else:
        from distsim.report.schedule import schedule_text

        print_text(schedule_text(record))


def _read(name: str) -> tuple[Schedule, int, int]:
    """Return the schedule of a file, its stages and its micro batches.

    Raises
    ------
    PlanError
        DS318 for a word that is neither a schedule nor a file.
    """
    import os

    from distsim.errors import PlanError, nearest, show
    from distsim.files import Limits, read_text
    from distsim.schedule import REGISTRY
    from distsim.schedule.csv_actions import MOST_CHARACTERS, parse

    is_path = os.sep in name or "/" in name or name.lower().endswith(".csv")
    if not is_path and ("\0" in name or not os.path.lexists(name)):
        near = nearest(name, REGISTRY)
        raise PlanError(
            "DS318",
            f"there is no schedule {show(name)}",
            value=name,
            rule=f"one of {', '.join(REGISTRY)}, or a CSV file",
            fix=f"did you mean {near}?" if near else "choose one of them",
        )
    table = parse(read_text(name, Limits(size_bytes=MOST_CHARACTERS)), name)
    return table.schedule(), table.stages, table.microbatches
