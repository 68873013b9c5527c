"""``distsim measure``: time operators on the machine at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from distsim.cli.group import Command
from distsim.cli.options import OUTPUTS, json_option, output_option
from distsim.cli.page import About

if TYPE_CHECKING:
    from distsim.hardware.device import Device
    from distsim.measure import Timings
    from distsim.measure.session import Progress


@click.command(
    cls=Command,
    about=About(
        sections={
            "What is timed": ("device", "kinds", "dtypes", "quick", "budget"),
            OUTPUTS: ("as_json", "output"),
        },
        exits={1: "nothing could be measured"},
        see_also=("calibrate", "devices", "docs/measure.md"),
    ),
)
@click.option(
    "--device", metavar="NAME", help="cuda, cuda:1 or cpu. Without it, a GPU if there is one."
)
@click.option(
    "--kinds",
    metavar="LIST",
    help="Some of gemm,attention,memory,launch,host,collective. Without it, all.",
)
@click.option(
    "--dtypes",
    metavar="LIST",
    help="Some of bf16,fp16,tf32,fp32,fp8. Without it bf16,fp8 on a GPU, fp32 on a processor.",
)
@click.option("--quick", is_flag=True, help="A tenth of the shapes: half a minute, 10 s on a CPU.")
@click.option(
    "--budget",
    metavar="SECONDS",
    type=float,
    help="Time to measure in, in seconds; what it does not reach is skipped. Without it 300, on a "
    "processor 45.",
)
@output_option("Also write the timings as JSON, which distsim calibrate reads.", ".json")
@json_option
def measure(
    device: str | None,
    kinds: str | None,
    dtypes: str | None,
    quick: bool,
    budget: float | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Time operators with PyTorch on the machine at hand.

    Matrix products and attention of transformer shapes, memory-bound operators,
    launches and the host's issue rate; under torchrun also collectives, which
    the first process reports. Needs PyTorch: pip install
    'distsim-train[torch]'.

    \b
    Examples:
      distsim measure --quick
      distsim measure --device cpu --kinds memory,host --budget 5 -o timings.json
      torchrun --nproc-per-node 8 -m distsim measure --kinds collective
    """
    from distsim.cli.output import check_target, print_json, write_file
    from distsim.measure import measure as run
    from distsim.measure import read_request
    from distsim.measure.group import Group

    if quick and budget is not None:
        raise click.UsageError("--quick and --budget exclude each other")
    request = read_request(device, kinds, dtypes, quick=quick, budget_s=budget)
    if output is not None and Group.from_environment().is_first:
        check_target(output)
    with _progress() as show:
        timings = run(request, show)
    if timings is None:  # not the first process
        return
    if output is not None:
        from distsim.report.json_ import dumps

        write_file(output, [dumps(timings.to_dict())])
    if as_json:
        print_json(timings.to_dict())
    else:
        _print(timings, output)


def _print(timings: Timings, output: str | None) -> None:
    """Print the tables and what was left out."""
    from distsim.cli.output import print_raw, print_text
    from distsim.measure.summary import skipped_lines, tables
    from distsim.report.layout import columns, heading, plural

    profile = _profile(timings)
    for table in tables(timings, profile):
        print_text(heading(table.title))
        print_text(columns(table.heads, table.rows, left=table.left))
        print_raw("\n")
    name, versions = timings.device["name"], timings.versions
    threads = timings.device["threads"] if timings.device["kind"] == "cpu" else 0
    device = f"{name}, {plural(threads, 'thread')}" if threads else name
    peaks = [f"peaks of {profile.name}"] if profile else []
    print_raw(", ".join([device, f"PyTorch {versions['torch']}", *peaks]) + "\n")
    for line in (*timings.notes, *skipped_lines(timings)):
        print_raw(f"note: {line}\n")
    where = f"{output}: " if output else ""
    print_raw(f"{where}{plural(len(timings.measured), 'timing')}\n")


def _profile(timings: Timings) -> Device | None:
    """Return the shipped profile of the device, if there is one."""
    from distsim.hardware.catalogue import device, device_names
    from distsim.measure.summary import profile_of

    if timings.device["kind"] == "cpu":
        return None
    profiles = [device(name) for name in device_names()]
    return profile_of(timings.device["name"], timings.device["memory_bytes"], profiles)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show which case is timed, on a terminal: a line that costs the processor nothing."""
    import sys

    from distsim.cli.settings import is_lively, settings

    if settings().quiet or not is_lively(sys.stderr):
        yield None
        return

    def show(done: int, total: int, case: object) -> None:
        sys.stderr.write(f"\r\x1b[K{done + 1}/{total} {getattr(case, 'kind', '')}")
        sys.stderr.flush()

    try:
        yield show
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
