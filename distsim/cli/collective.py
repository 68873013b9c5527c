"""``distsim collective``: one collective over many sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from distsim.cli.complete import files, shipped, words
from distsim.cli.group import Command
from distsim.cli.options import OUTPUTS, fail_if_option, json_option
from distsim.cli.page import About
from distsim.cli.waiting import working

if TYPE_CHECKING:
    from distsim.study.diff.condition import Condition
    from distsim.study.measured import Asked, Measurements
    from distsim.study.unequal import Shares

#: What is timed where nobody says.
_SIZES = "1kB:8GB"


@click.command(
    cls=Command,
    about=About(
        arguments={
            "COLLECTIVE": "all-reduce, all-gather, reduce-scatter, broadcast, reduce, all-to-all, "
            "send, sendrecv or barrier; all_reduce_perf and the like work too."
        },
        sections={
            "Devices": ("topology", "devices", "placement", "of", "seed"),
            "Algorithm": ("algorithm", "library", "protocol", "startup", "detail"),
            "Unequal shares": ("shares", "skew"),
            "Comparison with measurements": ("compare", "where", "in_place"),
            OUTPUTS: ("as_json", "plot", "fail_if"),
        },
        exits={1: "a condition of --fail-if holds"},
        see_also=("topology", "libraries", "help quantities", "docs/collectives.md"),
    ),
)
@click.argument("collective", metavar="COLLECTIVE", shell_complete=words("@collective"))
@click.option(
    "--topology",
    metavar="NAME",
    required=True,
    shell_complete=shipped("topologies", ".yaml", ".yml"),
    help="A shipped topology, or a file.",
)
@click.option(
    "--devices",
    metavar="N",
    type=click.IntRange(min=1),
    required=True,
    help="Devices that take part.",
)
@click.option(
    "--sizes",
    metavar="RANGE",
    help="Sizes of the whole array, as nccl-tests counts them: from:to, doubling; from:to:x4; "
    "from:to:+1MB; or a list 1MB,64MB. 8GB is 8*10^9 bytes, 8GiB is 8*2^30, and 8G alone is what "
    "nccl-tests means by it, 8*2^30. With --compare: of the measured sizes only those within. "
    f"[default: {_SIZES}]",
)
@click.option(
    "--algorithm",
    metavar="NAME",
    default="auto",
    show_default=True,
    shell_complete=words("@algorithm"),
    help="ring, tree, nvls, direct, ...; auto is what the library chooses, or the fastest.",
)
@click.option(
    "--library",
    metavar="NAME",
    shell_complete=shipped("libraries"),
    help="Communication library; ideal adds nothing to the links. Without it, the topology's.",
)
@click.option(
    "--protocol",
    metavar="NAME",
    shell_complete=words("@protocol"),
    help="The only one to use: ll, ll128 or simple.",
)
@click.option(
    "--startup",
    metavar="TIME",
    help="Added to every start, with its unit: what a caller sees that times single calls, such as "
    "22us from PyTorch.",
)
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
@click.option(
    "--of",
    metavar="N",
    type=click.IntRange(min=1),
    help="Devices of the whole cluster. Without it, --devices.",
)
@click.option(
    "--shares",
    metavar="FILE",
    shell_complete=files(".csv", ".txt"),
    help="Unequal shares of an all-to-all: n lines of n numbers, line by line the senders. Only "
    "their proportions count; the size is what members send on average.",
)
@click.option(
    "--skew",
    metavar="KIND:NUMBER",
    help="Unequal shares of an all-to-all by zipf:1.2 or dirichlet:0.5: all senders favour the "
    "same members, as tokens do hot experts.",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of a random placement and of a skew.",
)
@click.option(
    "--plot",
    metavar="FILE",
    shell_complete=files(".svg", ".png"),
    help="Also draw bus bandwidth over size: .svg or .png.",
)
@click.option(
    "--compare",
    metavar="FILE",
    shell_complete=files(".log", ".txt", ".csv"),
    help="Saved nccl-tests output, or a CSV with size_bytes and time_us (or algbw_GBps, "
    "busbw_GBps): print the error of each size there.",
)
@click.option(
    "--where",
    metavar="COLUMN=VALUE",
    multiple=True,
    help="With --compare: only these rows of a CSV, or run=2 of a log. May be given several times.",
)
@click.option("--in-place", is_flag=True, help="With --compare: times in place, not out of place.")
@json_option
@fail_if_option
def collective(
    collective: str,
    topology: str,
    devices: int,
    sizes: str | None,
    startup: str | None,
    shares: str | None,
    skew: str | None,
    seed: int,
    plot: str | None,
    compare: str | None,
    where: tuple[str, ...],
    in_place: bool,
    as_json: bool,
    fail_if: tuple[Condition, ...],
    **how: Any,
) -> None:
    """Time a collective over the devices of a topology.

    Prints a table in the form of nccl-tests: size, time, algorithm and bus
    bandwidth, with the algorithm and protocol chosen and the link that limits
    it.

    \b
    Examples:
      distsim collective all-reduce --topology dgx-h100-superpod --devices 64
      distsim collective all-gather --topology dgx-a100 --devices 8 --sizes 1MB
      distsim collective all-reduce --topology dgx-a100 --devices 8 --json
      distsim collective all-reduce --topology dgx-h100 --devices 8 --compare n.log
      distsim collective send --topology dgx-h100-superpod --devices 2 --of 16
      distsim collective all-to-all --topology dgx-h100 --devices 8 --skew zipf:1
    """
    from distsim.cli.output import check_target
    from distsim.study import comparison as compared
    from distsim.study.collective import collective_report
    from distsim.study.sizes import parse_sizes
    from distsim.units import parse

    if plot is not None:
        check_target(plot)
    measured = _measured(compare, _asked(collective, devices, where, in_place), sizes, bool(where))
    wanted = sorted({m.size_bytes for m in measured.points}) if measured else []
    with working("timing"):
        report = collective_report(
            collective,
            topology,
            devices,
            wanted or parse_sizes(sizes or _SIZES),
            seed=seed,
            shares=_shares(shares, skew, devices, seed),
            startup_s=parse(startup, "s") if startup is not None else 0.0,
            **how,
        )
    result = report.to_dict()
    result["comparison"] = (
        compared.compare(report, measured, in_place=in_place).to_dict() if measured else None
    )
    _show(result, plot, as_json)
    for condition in fail_if:
        condition.check(result)


def _show(result: dict[str, Any], plot: str | None, as_json: bool) -> None:
    from distsim.cli.output import print_json, print_text, write_bytes

    if plot is not None:
        from distsim.report.collective_plot import collective_plot

        with working("drawing"):
            write_bytes(plot, collective_plot(result, plot))
    if as_json:
        print_json(result)
    else:
        from distsim.report.collective import collective_text

        print_text(collective_text(result))


def _asked(collective: str, devices: int, where: tuple[str, ...], in_place: bool) -> Asked:
    """Return what measurements must be of."""
    from distsim.errors import UsageError, show
    from distsim.study import names
    from distsim.study.measured import Asked

    pairs = []
    for text in where:
        column, equals, value = text.partition("=")
        if not (column.strip() and equals):
            raise UsageError(
                "DS615",
                f"--where {show(text)} is no COLUMN=VALUE",
                value=text,
                rule="a column of the file, an equals sign and what stands there",
                fix="write for example --where id=h100-16",
            )
        pairs.append((column, value))
    name = names.choose("collective", collective, tuple(names.collectives()))
    return Asked(name, devices, tuple(pairs), in_place)


def _measured(
    file: str | None, asked: Asked, sizes: str | None, filtered: bool
) -> Measurements | None:
    """Return the measurements to compare with, of the sizes asked for."""
    from distsim.errors import UsageError
    from distsim.study.measured import read_measurements, within
    from distsim.study.sizes import span

    if file is None:
        if filtered or asked.in_place:
            raise UsageError(
                "DS615",
                "there is nothing to choose from",
                rule="--where and --in-place say which measurements to compare with",
                fix="add --compare FILE",
            )
        return None
    found = read_measurements(file, asked)
    return within(found, *span(sizes)) if sizes else found


def _shares(file: str | None, skew: str | None, devices: int, seed: int) -> Shares | None:
    from distsim.errors import UsageError
    from distsim.study.unequal import read_shares, skewed

    if file is not None and skew is not None:
        raise UsageError(
            "DS614",
            "shares are given twice",
            rule="--shares or --skew",
            fix="leave one of them out",
        )
    if file is not None:
        return read_shares(file, devices)
    return skewed(skew, devices, seed) if skew is not None else None
