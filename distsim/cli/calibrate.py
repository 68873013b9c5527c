"""``distsim calibrate``: fit a profile of one's own cluster."""

from __future__ import annotations

import click

from distsim.cli.complete import files, shipped
from distsim.cli.group import Command
from distsim.cli.options import OUTPUTS, json_option, output_option
from distsim.cli.page import About
from distsim.cli.waiting import working

_MEASUREMENTS = files(".log", ".txt", ".csv", ".json", ".gz")


@click.command(
    cls=Command,
    about=About(
        arguments={"FILE": "Measurements; the same as with --from."},
        sections={
            "Cluster and measurements": ("device", "topology", "files", "scenario"),
            "What is fitted": ("only", "keep"),
            OUTPUTS: ("name", "output", "as_json"),
        },
        see_also=("measure", "validate", "trace import", "docs/calibration.md"),
    ),
)
@click.option(
    "--device",
    required=True,
    metavar="NAME",
    shell_complete=shipped("devices", ".yaml", ".yml"),
    help="Device, by name or file.",
)
@click.option(
    "--topology",
    metavar="NAME",
    shell_complete=shipped("topologies", ".yaml", ".yml"),
    help="Topology, by name or file; none for one device.",
)
@click.option(
    "--from",
    "files",
    multiple=True,
    metavar="FILE",
    shell_complete=_MEASUREMENTS,
    help="Measurements; may be given several times.",
)
@click.argument("more", nargs=-1, metavar="[FILE]...", shell_complete=_MEASUREMENTS)
@click.option(
    "--scenario",
    metavar="SCENARIO",
    shell_complete=shipped("scenarios", ".yaml", ".yml"),
    help="What step times are of, where files do not say.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the profile. Without it, that of the file of -o."
)
@click.option(
    "--fit", "only", multiple=True, metavar="KEY", help="Fit only this number; several times."
)
@click.option(
    "--keep", multiple=True, metavar="KEY", help="Leave this number as shipped; several times."
)
@output_option("Also write the profile, which cluster.profile of a scenario takes.", ".yaml")
@json_option
def calibrate(
    device: str,
    topology: str | None,
    files: tuple[str, ...],
    more: tuple[str, ...],
    scenario: str | None,
    name: str | None,
    only: tuple[str, ...],
    keep: tuple[str, ...],
    output: str | None,
    as_json: bool,
) -> None:
    """Fit a profile to measurements of a cluster.

    Reads any mix of training logs (Megatron-LM, torchtitan, DeepSpeed), CSVs
    of step times, output of nccl-tests, traces of PyTorch's profiler and
    timings that distsim measure wrote; what a file is shows in its content.
    Step times need to know what they are of: arguments in the log, columns of
    the CSV, a scenario beside the file (run.yaml beside run.log), --scenario.

    Fitted are a few physical numbers: efficiencies of products, memory and
    links, latencies, launches. Each starts from the shipped number and moves
    as far as the measurements call for; those that nothing depends on stay.

    \b
    Examples:
      distsim calibrate --device a100-80gb-sxm --topology dgx-a100 nccl.log
      distsim calibrate --device h100-80gb-sxm timings.json -o my-h100.yaml
      distsim run my.yaml --set cluster.profile=my-a100.yaml
      distsim calibrate --device h100-80gb-sxm --from timings.json --json
    """
    from pathlib import Path

    import yaml

    from distsim import __version__, api
    from distsim.cli.output import check_target, print_json, print_raw, print_text, write_file
    from distsim.measure.clock import today
    from distsim.study.calibration.calibrate import profile_block

    given = (*files, *more)
    if not given:
        raise click.UsageError("no measurements: give files with --from")
    if output is not None:
        check_target(output)
    title = name or (Path(output).stem if output else "calibrated")
    with working("fitting"):
        found = api.calibrate(
            given, device, topology, scenario=scenario, name=title, only=only, keep=keep
        )
    if output is not None:
        block = profile_block(found, date=today(), version=__version__)
        text = yaml.safe_dump(block, sort_keys=False, allow_unicode=True, width=100)
        write_file(output, [text])
    if as_json:
        print_json(found.to_dict())
        return
    from distsim.report.calibration import calibration_text

    print_text(calibration_text(found.to_dict()))
    if output is not None:
        print_raw(f"\nProfile: {output}; use it with cluster.profile: {output}\n")
