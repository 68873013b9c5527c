"""``distsim collective``: one collective over many sizes."""

from __future__ import annotations

import click

from distsim.cli.options import json_option


@click.command()
@click.argument("collective", metavar="COLLECTIVE")
@click.option("--topology", metavar="NAME", required=True, help="A shipped topology, or a file.")
@click.option("--devices", metavar="N", type=click.IntRange(min=1), required=True, help="How many.")
@click.option(
    "--sizes",
    metavar="RANGE",
    default="1kB:8GB",
    show_default=True,
    help="From:to, doubling; from:to:x4; or a list 1MB,64MB. Of the whole array, as nccl-tests.",
)
@click.option("--algorithm", default="auto", show_default=True, help="auto, ring, tree, ...")
@click.option("--library", metavar="NAME", help="Communication library in place of its own.")
@click.option(
    "--detail",
    type=click.Choice(["fluid", "steps"]),
    default="fluid",
    show_default=True,
    help="fluid: the algorithm in lock step. steps: every message as a flow on links.",
)
@click.option(
    "--placement",
    type=click.Choice(["packed", "strided", "random"]),
    default="packed",
    show_default=True,
    help="Which devices: consecutive ones, dealt over the nodes, or any.",
)
@click.option("--of", metavar="N", type=click.IntRange(min=1), help="Devices of the whole cluster.")
@click.option("--seed", metavar="N", type=int, default=0, help="Of a random placement.")
@click.option("--plot", metavar="FILE", help="Also draw bus bandwidth over size: .svg or .png.")
@click.option(
    "--compare",
    metavar="FILE",
    help="Saved nccl-tests output, or a CSV with size_bytes and time_us: print the error of each "
    "size there.",
)
@json_option
def collective(
    collective: str,
    topology: str,
    devices: int,
    sizes: str,
    algorithm: str,
    library: str | None,
    detail: str,
    placement: str,
    of: int | None,
    seed: int,
    plot: str | None,
    compare: str | None,
    as_json: bool,
) -> None:
    """Time a collective over the devices of a topology.

    Prints a table in the form of nccl-tests: size, time, algorithm and bus
    bandwidth, with the algorithm and protocol chosen and the link that limits
    it.

    \b
    Examples:
      distsim collective all-reduce --topology dgx-h100-superpod --devices 64
      distsim collective all-gather --topology dgx-a100 --devices 8 --sizes 1MB:1GB
      distsim collective all-reduce --topology dgx-a100 --devices 8 --algorithm ring --json
      distsim collective all-reduce --topology dgx-h100 --devices 8 --compare nccl.log
      distsim collective send --topology dgx-h100-superpod --devices 2 --of 16 --placement strided
    """
    from distsim.cli.output import print_json, print_text, write_bytes
    from distsim.study.collective import collective_report, parse_sizes
    from distsim.study.nccl_log import compare as compared
    from distsim.study.nccl_log import read_measurements

    measured = read_measurements(compare) if compare else []
    wanted = [m.size_bytes for m in measured] if compare else parse_sizes(sizes)
    report = collective_report(
        collective,
        topology,
        devices,
        wanted,
        algorithm,
        library,
        detail=detail,
        placement=placement,
        of=of,
        seed=seed,
    )
    result = report.to_dict()
    comparison = compared(report, measured, str(compare)).to_dict() if compare else None
    if plot is not None:
        from distsim.report.collective_plot import collective_plot

        write_bytes(plot, collective_plot(result, comparison, plot))
    if as_json:
        print_json(result | ({"comparison": comparison} if comparison else {}))
    else:
        from distsim.report.collective import collective_text

        print_text(collective_text(result, comparison))
