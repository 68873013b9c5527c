"""``distsim measure``: time operators on the machine at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distsim.cli.options import json_option

if TYPE_CHECKING:
    from distsim.hardware.device import Device
    from distsim.measure import Timings
    from distsim.measure.session import Progress


@click.command()
@click.option(
    "--device", metavar="NAME", help="cuda, cuda:1 or cpu.  [default: a GPU if there is one]"
)
@click.option(
    "--kinds",
    metavar="LIST",
    help="Of gemm, attention, memory, launch, host and collective.  [default: all]",
)
@click.option(
    "--dtypes",
    metavar="LIST",
    help="Of bf16, fp16, tf32, fp32 and fp8.  [default: bf16,fp8 on a GPU, fp32 on a processor]",
)
@click.option("--quick", is_flag=True, help="A tenth of the shapes: half a minute, 10 s on a CPU.")
@click.option(
    "--budget",
    metavar="SECONDS",
    type=float,
    help="Time to measure in; what it does not reach is skipped.  [default: 300, 45 on a CPU]",
)
@click.option("-o", "--output", metavar="FILE", help="Write the timings there, as JSON.")
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
    the first process reports. docs/measure.md says how each is timed. The file
    is what distsim calibrate reads. Needs PyTorch: pip install
    'distsim-train[torch]'.

    \b
    Examples:
      distsim measure --quick
      distsim measure --device cpu --kinds memory,host --budget 5 -o timings.json
      torchrun --nproc-per-node 8 -m distsim measure --kinds collective -o collectives.json
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
    timings = run(request, _progress())
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


def _progress() -> Progress | None:
    """Return what shows how far it is, on a terminal."""
    import sys

    if sys.stderr is None or not sys.stderr.isatty():
        return None

    def show(done: int, total: int, case: object) -> None:
        kind = getattr(case, "kind", "")
        click.echo(f"\r{done + 1}/{total} {kind:<12}", err=True, nl=done + 1 == total)

    return show
