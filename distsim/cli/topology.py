"""``distsim topology``: show, check, draw, measure and import topologies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from distsim.cli.complete import files, shipped
from distsim.cli.group import Commands
from distsim.cli.messages import message
from distsim.cli.options import json_option, output_option
from distsim.cli.page import About
from distsim.cli.records import Record, print_list, print_record
from distsim.cli.waiting import working

if TYPE_CHECKING:
    from distsim.hardware.topology import Topology

F = TypeVar("F", bound=Callable[..., Any])

_NAMES = shipped("topologies", ".yaml", ".yml")
_ABOUT = About(
    arguments={"NAME": "A shipped topology (distsim topologies), or a file."},
    see_also=("topology", "topologies", "docs/topologies.md"),
)

#: Devices that a topology is shown with: beyond one unit of a superpod, if it has as many.
SHOWN_DEVICES = 256
#: Devices with which a topology is checked.
_CHECKED_DEVICES = 1024


def devices_option(most: int) -> Callable[[F], F]:
    """Return the option for a number of devices, of which there are up to `most` by default."""
    return click.option(
        "--devices",
        metavar="N",
        type=click.IntRange(min=1),
        help=f"Number of devices. Without it as many as fit, up to {most:,}.",
    )


def topology_rows() -> list[Record]:
    """Return ``name, kind, device, description`` of each shipped topology."""
    from distsim.hardware.catalogue import topology_info, topology_names

    keys = ("name", "kind", "device", "description")
    found = [topology_info(name) for name in topology_names()]
    return [{key: info[key] for key in keys} for info in found]


def topology_record(name: str, devices: int | None) -> Record:
    """Return counts, bisection and link classes of a topology, as ``topology show`` prints them."""
    topology = _load(name, devices, SHOWN_DEVICES)
    record, found_by = topology.shape(), "formula"
    bisection = record.pop("bisection_bytes_per_s", None)
    oversubscription = record.pop("oversubscription", None)
    classes = record.pop("link_classes")
    if bisection is None:
        from distsim.hardware.bisection import bisection_of

        with working("cutting the topology in halves"):
            found = bisection_of(topology)
        bisection, found_by = found.bisection_bytes_per_s, found.found_by
        oversubscription = found.oversubscription
    return record | {
        "bisection_bytes_per_s": bisection,
        "bisection_found_by": found_by,
        "oversubscription": oversubscription,
        "link_classes": classes,
    }


def _load(name: str, devices: int | None, most: int) -> Topology:
    """Return a topology with some devices, by default as many as fit up to a number."""
    from distsim.hardware.catalogue import load_topology
    from distsim.hardware.header import TooManyDevices

    if devices is not None:
        return load_topology(name, devices)
    try:
        return load_topology(name, most)
    except TooManyDevices as error:
        return load_topology(name, error.most)


@click.group(cls=Commands, about=About(see_also=("topologies", "collective", "docs/topologies.md")))
def topology() -> None:
    """Show, check, draw, measure and import topologies.

    docs/topology-command.md describes what --json prints.

    \b
    Examples:
      distsim topology list
      distsim topology show dgx-a100-superpod --devices 1024
      distsim topology check mine.yaml
      distsim topology draw dgx-h100-superpod --devices 1024 -o pod.svg
      distsim topology bisection fat-tree-512xa100-oversubscribed
      distsim topology import nccl.xml --nodes 2 -o mine.yaml
    """


@topology.command("list")
@json_option
def _list(as_json: bool) -> None:
    """List the shipped topologies.

    \b
    Examples:
      distsim topology list
      distsim topology list --json
    """
    print_list("topologies", topology_rows(), as_json)


@topology.command("show", about=_ABOUT)
@click.argument("name", metavar="NAME", shell_complete=_NAMES)
@devices_option(SHOWN_DEVICES)
@json_option
def _show(name: str, devices: int | None, as_json: bool) -> None:
    """Show counts, bisection, diameter and link classes of a topology.

    \b
    Examples:
      distsim topology show dgx-h100
      distsim topology show dgx-a100-superpod --devices 1024 --json
    """
    print_record(topology_record(name, devices), as_json)


@topology.command(
    "check",
    about=About(
        arguments={"FILE": "A topology of your own, or the name of a shipped one."},
        see_also=("topology show", "topology draw", "docs/topologies.md"),
    ),
)
@click.argument("file", metavar="FILE", shell_complete=_NAMES)
@devices_option(_CHECKED_DEVICES)
@json_option
def _check(file: str, devices: int | None, as_json: bool) -> None:
    """Check that a topology can be built and joins all its devices.

    Says OK with the counts, or the first error with its file and line. Warns
    of links that no route takes and of a device that is not shipped.

    \b
    Examples:
      distsim topology check mine.yaml
      distsim topology check mine.yaml --devices 4 --json
    """
    from distsim.cli.output import print_json, print_text

    record = _checked(file, _load(file, devices, _CHECKED_DEVICES), whole=devices is None)
    if as_json:
        print_json(record)
    else:
        from distsim.report.topology_text import check_text

        print_text(check_text(record))


def _checked(file: str, found: Topology, *, whole: bool) -> Record:
    """Return the record of a check.

    Parameters
    ----------
    file : str
    found : Topology
    whole : bool
        Whether all its devices are there, so that links on no route are worth a warning.

    Raises
    ------
    HardwareError
        DS414 for a pair of devices whose route does not join them.
    """
    from distsim.errors import HardwareError, Place
    from distsim.hardware.catalogue import device_names
    from distsim.hardware.reach import broken_route, reach_of

    reach = reach_of(found)
    broken = broken_route(found, reach)
    if broken is not None:
        first, second = map(found.device_label, broken)
        raise HardwareError(
            "DS414",
            f"no route leads from {first!r} to {second!r}",
            value=broken,
            rule="every device reaches every other",
            fix="add the missing links",
            place=Place(file),
        )
    warnings = []
    unused = int((~reach.used).sum())
    if unused and whole:
        example = found.link_name(int((~reach.used).argmax()))
        warnings.append(f"{unused:,} of {found.n_links:,} links are on no route, as {example}")
    if found.device_name not in device_names():
        warnings.append(f"device {found.device_name} is not shipped: a scenario needs its file")
    return {"ok": True, "file": file, **found.shape(), "warnings": warnings}


@topology.command("draw", about=_ABOUT)
@click.argument("name", metavar="NAME", shell_complete=_NAMES)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    shell_complete=files(".svg", ".png", ".pdf"),
    help="Picture to write: .svg, .png or .pdf.",
)
@devices_option(SHOWN_DEVICES)
def _draw(name: str, output: str, devices: int | None) -> None:
    """Draw a topology.

    What repeats is drawn once, with how many there are of it: one node with
    its devices, switch and adapters, then units, pods or groups, and the
    switches above. Up to 16 devices are all drawn. Needs matplotlib: pip
    install 'distsim-train[plot]'.

    \b
    Examples:
      distsim topology draw dgx-h100-superpod --devices 1024 -o pod.svg
      distsim topology draw tpu-v4-cube -o cube.png
    """
    from distsim.cli.output import check_target, print_raw, write_bytes
    from distsim.report.figure import figure, file_format

    file_format(output)
    check_target(output)
    figure()  # an extra that is missing is said before any work
    from distsim.report.layout import plural
    from distsim.report.topology_plot import topology_plot

    found = _load(name, devices, SHOWN_DEVICES)
    with working("drawing"):
        write_bytes(output, topology_plot(found, output))
    where = plural(int(found.node_of.max()) + 1, "node")
    print_raw(f"{output}: {plural(found.n_devices, 'device')} of {found.name} on {where}\n")


@topology.command("bisection", about=_ABOUT)
@click.argument("name", metavar="NAME", shell_complete=_NAMES)
@devices_option(SHOWN_DEVICES)
@json_option
def _bisection(name: str, devices: int | None, as_json: bool) -> None:
    """Find the bisection bandwidth of a topology.

    The least that half of the devices can send to the other half, in one
    direction: exact by maximum flow where there are few ways to halve them, by
    the closed form of the kind, or the best cut found, which is an upper bound
    and called one. Links that no route takes do not count. Full bisection is
    what half of the devices can inject, each while the others are silent;
    oversubscription is full bisection over bisection.

    \b
    Examples:
      distsim topology bisection dgx-h100-superpod --devices 1024
      distsim topology bisection dgx1-v100 --json
    """
    from dataclasses import asdict

    from distsim.cli.output import print_json, print_text
    from distsim.hardware.bisection import bisection_of

    with working("cutting the topology in halves"):
        topology = _load(name, devices, SHOWN_DEVICES)
        found = bisection_of(topology)
    record = {
        "name": topology.name,
        "kind": topology.kind,
        "device": topology.device_name,
        "devices": topology.n_devices,
        "nodes": int(topology.node_of.max()) + 1,
        "links": topology.n_links,
        "how": found.how,
        **asdict(found),
    }
    if as_json:
        print_json(record)
    else:
        from distsim.report.topology_text import bisection_text

        print_text(bisection_text(record))


@topology.command(
    "import",
    about=About(
        arguments={"FILE": "What NCCL wrote to the file that NCCL_TOPO_DUMP_FILE names."},
        see_also=("topology check", "topology draw", "docs/topologies.md"),
    ),
)
@click.argument("file", metavar="FILE", shell_complete=files(".xml"))
@click.option(
    "--nodes",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Machines like that of the file, joined rail by rail.",
)
@click.option(
    "--device",
    metavar="NAME",
    shell_complete=shipped("devices", ".yaml", ".yml"),
    help="A shipped device or a file, where FILE does not say which.",
)
@output_option("Write the topology there, and print a summary.", ".yaml", ".yml")
def _import(file: str, nodes: int, device: str | None, output: str | None) -> None:
    """Make a topology of the file that NCCL wrote of a machine.

    Prints it as YAML, and on standard error what the file leaves out and what
    was taken instead.

    \b
    Examples:
      distsim topology import nccl.xml > mine.yaml
      distsim topology import nccl.xml --nodes 2 -o mine.yaml
    """
    from distsim.cli.output import check_targets, print_raw, print_text, write_file
    from distsim.hardware.catalogue import load_topology
    from distsim.scenario.importers.nccl_topology import read_nccl_topology, to_yaml

    check_targets(file, output)
    imported = read_nccl_topology(file, nodes=nodes, device=device)
    text = to_yaml(imported)
    if output is None:
        print_raw(text)
        for note in imported.notes:
            message("note", note)
        return
    shape = load_topology(imported.block, imported.summary["devices"]).shape()
    write_file(output, [text])
    from distsim.report.topology_text import import_text

    print_text(import_text(output, shape, imported.notes))
