"""``distsim scenarios, models, devices, topologies, stacks``: what is shipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from distsim.cli.complete import listed, shipped
from distsim.cli.group import Commands
from distsim.cli.options import json_option
from distsim.cli.page import About
from distsim.cli.records import Record, print_list, print_record
from distsim.cli.topology import SHOWN_DEVICES, devices_option, topology_record, topology_rows
from distsim.cli.waiting import working

if TYPE_CHECKING:
    from distsim.workload.network import Model


def _catalogue(
    kind: str,
    rows: Callable[[], Sequence[Record]],
    about: str,
    *,
    optional: Sequence[Sequence[str]] = (),
    see_also: Sequence[str] = (),
) -> click.Group:
    """Return the command that lists what is shipped of a kind; `show` is added to it."""

    @click.group(
        kind,
        cls=Commands,
        invoke_without_command=True,
        subcommand_metavar="[show NAME]",
        help=f"List the shipped {kind}, or show one.\n\n{about}",
        about=About(see_also=see_also),
    )
    @json_option
    @click.pass_context
    def group(context: click.Context, as_json: bool) -> None:
        context.obj = as_json
        if context.invoked_subcommand is None:
            print_list(kind, rows(), as_json, optional)

    return group


def _show(what: str, *see_also: str) -> About:
    """Return what the page of a command says that shows one thing that ships."""
    return About(arguments={"NAME": f"A shipped {what}, or a file."}, see_also=see_also)


def _model_rows() -> list[Record]:
    from distsim.workload.zoo import names, network

    keys = ("name", "family", "parameters", "layers", "hidden", "heads", "kv_heads", "vocab")
    shapes = [network(name).to_dict() for name in names()]
    return [{key: _whole(shape.get(key)) for key in keys} for shape in shapes]


def _whole(value: object) -> object:
    """Return a value of a list of models: nothing for what a family does not have."""
    return value if isinstance(value, str | int) else ""


models = _catalogue(
    "models",
    _model_rows,
    "A scenario takes one by its name, or changes a few values of one.\n\n"
    "\b\nExamples:\n  distsim models\n  distsim models show llama3-70b --json",
    optional=[["family"]],
    see_also=("help scenario", "run", "docs/models.md"),
)


@models.command(
    "show",
    about=About(
        arguments={
            "NAME": "A shipped model, or the path of a Hugging Face config.json; what that leaves "
            "open is listed as notes."
        },
        see_also=("models", "check", "docs/models.md"),
    ),
)
@click.argument("name", metavar="NAME", shell_complete=listed("@model", ".json"))
@click.option(
    "--operators/--no-operators",
    default=True,
    show_default=True,
    help="FLOP, bytes and activations by operator.",
)
@click.option(
    "--samples",
    metavar="N",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="Samples of the micro batch.",
)
@click.option(
    "--length",
    metavar="N",
    type=click.IntRange(1, 10_000_000),
    help="Tokens of a sample. Without it, as many as the model takes.",
)
@click.option(
    "--device",
    metavar="NAME",
    shell_complete=shipped("devices", ".yaml", ".yml"),
    help="Say on which side of its roofline each operator lies, and its times.",
)
@json_option
@click.pass_obj
def _show_model(
    outer: bool,
    name: str,
    operators: bool,
    samples: int,
    length: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Show a model: shape, parameters, FLOP, activations, operators.

    Each operator has its FLOP a byte; with --device also on which side of that
    device's roofline it lies, and its times there.

    \b
    Examples:
      distsim models show llama3-70b
      distsim models show bert-base --samples 32 --device a100-80gb-sxm
      distsim models show config.json --no-operators
    """
    from distsim.hardware.catalogue import device as load_device
    from distsim.prediction.anatomy import anatomy

    as_json = as_json or outer
    model, notes = _found(name)
    on = load_device(device) if device else None
    parts = anatomy(model, samples, length or model.default_length, on)
    rows = parts.pop("operators")
    record = model.to_dict() | parts
    if notes:
        record["notes"] = list(notes) if as_json else "\n".join(notes)
    if as_json:
        print_record(record | ({"operators": rows} if operators else {}), as_json)
        return
    print_record(record, as_json)
    if operators:
        from distsim.cli.output import print_raw
        from distsim.report.anatomy import narrow

        print_raw("\n")
        print_list("operators", [narrow(row) for row in rows], as_json)


def _found(name: str) -> tuple[Model, tuple[str, ...]]:
    if name.endswith(".json"):
        from distsim.scenario.importers.huggingface import model_from_config

        return model_from_config(name)
    from distsim.workload.zoo import network

    return network(name), ()


def _device_rows() -> list[Record]:
    from distsim.hardware.catalogue import device, device_names

    found = [device(name) for name in device_names()]
    return [
        {
            "name": d.name,
            "vendor": d.vendor,
            "status": d.status,
            "memory_bytes": d.memory_bytes,
            "memory_bandwidth_bytes_per_s": d.memory_bandwidth_bytes_per_s,
            "peak_flop_per_s": d.peak_flop_per_s.get("bf16", d.peak_flop_per_s.get("fp16")),
        }
        for d in found
    ]


devices = _catalogue(
    "devices",
    _device_rows,
    "The peak is that of dense 16-bit matrix products. Every number of a device has a source: "
    "see show.\n\n"
    "\b\nExamples:\n  distsim devices\n  distsim devices show a100-80gb-sxm",
    see_also=("topologies", "measure", "calibrate"),
)


@devices.command("show", about=_show("device", "devices", "measure"))
@click.argument("name", metavar="NAME", shell_complete=shipped("devices", ".yaml", ".yml"))
@json_option
@click.pass_obj
def _show_device(outer: bool, name: str, as_json: bool) -> None:
    """Show all numbers of a device, each with its source.

    \b
    Examples:
      distsim devices show a100-80gb-sxm --json
    """
    from dataclasses import asdict

    from distsim.hardware.catalogue import device

    print_record(asdict(device(name)), as_json or outer)


topologies = _catalogue(
    "topologies",
    topology_rows,
    "A scenario takes one by its name, by a path of a file, or as a block.\n\n"
    "\b\nExamples:\n  distsim topologies\n"
    "  distsim topologies show dgx-a100-superpod --devices 1024",
    see_also=("topology", "collective", "docs/topologies.md"),
)


@topologies.command("show", about=_show("topology", "topology", "topologies"))
@click.argument("name", metavar="NAME", shell_complete=shipped("topologies", ".yaml", ".yml"))
@devices_option(SHOWN_DEVICES)
@json_option
@click.pass_obj
def _show_topology(outer: bool, name: str, devices: int | None, as_json: bool) -> None:
    """Show counts, bisection and link classes of a topology, as topology show.

    \b
    Examples:
      distsim topologies show dgx-a100-superpod --devices 1024
    """
    print_record(topology_record(name, devices), as_json or outer)


def _stack_rows() -> list[Record]:
    from distsim.cost.stack import load_stack, stack_names

    found = [load_stack(name) for name in stack_names()]
    return [{"name": s.name, "description": s.description} for s in found]


stacks = _catalogue(
    "stacks",
    _stack_rows,
    "A stack is a framework generation: what it fuses, overlaps and stores.\n\n"
    "\b\nExamples:\n  distsim stacks\n  distsim stacks show megatron-core",
    see_also=("help scenario", "run"),
)


@stacks.command("show", about=_show("stack", "stacks"))
@click.argument("name", metavar="NAME", shell_complete=shipped("stacks", ".yaml", ".yml"))
@json_option
@click.pass_obj
def _show_stack(outer: bool, name: str, as_json: bool) -> None:
    """Show what a stack fuses and overlaps, and the types that it stores.

    \b
    Examples:
      distsim stacks show megatron-core
    """
    from dataclasses import asdict

    from distsim.cost.stack import load_stack

    print_record(asdict(load_stack(name)), as_json or outer)


def _library_rows() -> list[Record]:
    from distsim.hardware.libraries import library, library_names

    found = [library(name) for name in library_names()]
    return [
        {"name": one.name, "tuner": "yes" if one.tuner else "no", "description": one.description}
        for one in found
    ]


libraries = _catalogue(
    "libraries",
    _library_rows,
    "A communication library is what NCCL or its like adds to the links: protocols, start-up, and "
    "which algorithm it chooses. cluster.library in a scenario and --library take one by name.\n\n"
    "\b\nExamples:\n  distsim libraries\n  distsim libraries show nccl",
    see_also=("collective", "docs/collectives.md"),
)


@libraries.command("show", about=_show("library", "libraries", "collective"))
@click.argument("name", metavar="NAME", shell_complete=shipped("libraries", ".yaml", ".yml"))
@json_option
@click.pass_obj
def _show_library(outer: bool, name: str, as_json: bool) -> None:
    """Show the protocols of a library, its algorithms, and what it chooses from.

    \b
    Examples:
      distsim libraries show nccl
    """
    from distsim.hardware.libraries import library

    print_record(library(name).to_dict(), as_json or outer)


def _scenario_rows(directory: str = "") -> list[Record]:
    from distsim import api
    from distsim.files import shipped_below, shipped_names
    from distsim.scenario.jobs import Jobs

    rows = []
    for name in shipped_below("scenarios", directory) if directory else shipped_names("scenarios"):
        found = api.load_any(name)
        if isinstance(found, Jobs):
            reports = api.check_jobs(found)
            taken = {"devices": found.cluster.devices, "dp": "", "tp": "", "pp": ""}
        else:
            reports = [api.check(found)]
            taken = {key: reports[0].plan[key] for key in ("devices", "dp", "tp", "pp")}
        models = ", ".join(dict.fromkeys(report.model for report in reports))
        device = reports[0].resolved["device"]
        rows.append({"name": name, "model": models, "device": device, **taken})
    return rows


def _in_words(row: Record) -> Record:
    """Return a row of the list of scenarios with number and kind of devices as one text."""
    several = row["model"].count(", ") + 1
    return {
        "name": row["name"],
        "model": row["model"] if several == 1 else f"{several} jobs",
        "cluster": f"{row['devices']:,} x {row['device']}",
        **{key: row[key] for key in ("dp", "tp", "pp")},
    }


@click.group(
    "scenarios",
    cls=Commands,
    invoke_without_command=True,
    subcommand_metavar="[show NAME]",
    about=About(see_also=("run", "check", "help scenario", "docs/textbook.md")),
)
@click.option("--textbook", is_flag=True, help="List the examples of docs/textbook.md instead.")
@json_option
@click.pass_context
def scenarios(context: click.Context, textbook: bool, as_json: bool) -> None:
    """List the shipped scenarios, or show one.

    \b
    Examples:
      distsim scenarios
      distsim scenarios show gpt3-175b-1024xa100 > my.yaml
      distsim run my.yaml
      distsim scenarios --textbook
    """
    context.obj = as_json
    if context.invoked_subcommand is not None:
        return
    with working("checking scenarios"):
        rows = _scenario_rows("textbook" if textbook else "")
    shown = rows if as_json else [_in_words(row) for row in rows]
    print_list("scenarios", shown, as_json, optional=[["dp", "tp", "pp"], ["model"]])


@scenarios.command("show", about=_show("scenario", "run", "help scenario"))
@click.argument("name", metavar="NAME", shell_complete=shipped("scenarios"))
@json_option
@click.pass_obj
def _show_scenario(outer: bool, name: str, as_json: bool) -> None:
    """Print the file of a shipped scenario, to start one's own from.

    \b
    Examples:
      distsim scenarios show gpt3-175b-1024xa100 > my.yaml
    """
    from distsim import api
    from distsim.cli.output import print_json, print_raw
    from distsim.files import find_shipped, read_text

    file = find_shipped("scenarios", name)
    if as_json or outer:
        print_json(api.load_any(file).to_dict())
    else:
        print_raw(read_text(file))
