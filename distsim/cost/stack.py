"""Software stacks: what a framework release fuses, overlaps and stores, as named profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import Any

from distsim.collectives.handover import PLAIN, Handover
from distsim.errors import ValueProblem
from distsim.record import record
from distsim.units import parse
from distsim.workload.footprint import Footprint
from distsim.workload.op import Fusion


@record
class Overlap:
    """What a stack overlaps unless the plan says otherwise."""

    overlap_grad_reduce: bool = False
    overlap_param_gather: bool = False
    overlap_p2p: bool = False
    overlap_tensor: bool = False
    overlap_experts: bool = False


@record
class Stack:
    """A framework generation.

    Attributes
    ----------
    restart_s : float
        After a pipeline exchange that blocks, host and device have met, so the device idles until
        the host has gone through the schedule and launched kernels again.
    weights, gradients, reduction : mapping of str to str
        Type of the stored weights, of the gradient buffer and of gradients on the wire for each
        compute type. Weights stored in fp32 serve as master weights.
    sharded : Handover
        What it does around the collectives of sharded parameters and gradients.
    layer_wait_s : float
        What each pass through a layer takes beside its kernels, whatever their size: the device
        waits for the host.
    early_stop : bool
        Full recomputation ends with the last array that a gradient needs, so the last product of a
        layer does not run again.
    attention_kernel : str
        Kernel of fused attention, one of `KERNELS`; empty: the one that the device's numbers are
        of, and so is one that the device has no numbers of.
    footprint : Footprint
        What it allocates beside model states and kept activations.
    """

    name: str
    description: str
    source: str
    fusion: Fusion
    overlap: Overlap
    restart_s: float = 0.0
    weights: Mapping[str, str] = field(default_factory=dict)
    gradients: Mapping[str, str] = field(default_factory=dict)
    reduction: Mapping[str, str] = field(default_factory=dict)
    sharded: Handover = PLAIN
    attention_kernel: str = ""
    layer_wait_s: float = 0.0
    early_stop: bool = False
    footprint: Footprint = field(default_factory=Footprint)


#: Kernels of fused attention: FlashAttention 1 (and what Triton made of it in 2022) to 4, the one
#: of Triton's tutorial, and cuDNN's.
KERNELS = ("flash-1", "flash-2", "flash-3", "flash-4", "triton", "cudnn")
_KERNEL = "attention_kernel"
DEFAULT_STACK = "megatron-core"
#: Blocks of switches in a file, and the attributes that they fill.
PARTS = {"fused": "fusion", "overlap": "overlap", "sharded": "sharded"}


def _data() -> Any:
    return files("distsim") / "data" / "stacks"


@lru_cache(maxsize=1)
def stack_names() -> tuple[str, ...]:
    """Return the names of the shipped stacks."""
    return tuple(
        sorted(p.name[: -len(".yaml")] for p in _data().iterdir() if p.name.endswith(".yaml"))
    )


def _switches(kind: type, block: Mapping[str, Any], path: tuple[str | int, ...]) -> dict[str, bool]:
    known = [f.name for f in fields(kind) if f.type == "bool"]
    for key, value in block.items():
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            raise ValueProblem(
                "DS201",
                f"unknown key {key!r}",
                path=(*path, key),
                value=key,
                rule=f"one of {', '.join(known)}",
                fix=f"did you mean {near[0]!r}?" if near else "remove the key",
            )
        if not isinstance(value, bool):
            raise ValueProblem(
                "DS202",
                f"{key} is {value!r}, not true or false",
                path=(*path, key),
                value=value,
                rule="a switch",
                fix="write true or false",
            )
    return dict(block)


@lru_cache(maxsize=64)
def _shipped(name: str) -> Stack:
    import yaml

    raw = yaml.safe_load((_data() / f"{name}.yaml").read_text(encoding="utf-8"))
    return Stack(
        name=name,
        description=raw["description"],
        source=raw["source"],
        fusion=Fusion(**_switches(Fusion, raw["fused"], ("fused",))),
        overlap=Overlap(**_switches(Overlap, raw["overlap"], ("overlap",))),
        restart_s=parse(raw["restart"]["value"], "s"),
        weights=raw["weights"],
        gradients=raw["gradients"],
        reduction=raw["reduction"],
        sharded=_handover(raw.get("sharded", {})),
        attention_kernel=raw.get("attention_kernel", ""),
        layer_wait_s=parse(raw["layer_wait"]["value"], "s") if "layer_wait" in raw else 0.0,
        early_stop=raw.get("early_stop", False),
        footprint=_footprint(raw.get("memory", {})),
    )


def _footprint(block: Mapping[str, Any]) -> Footprint:
    """Return bytes by name: numbers stand beside their source or under a common one."""
    given = {key: value for key, value in block.items() if key != "source"}
    for key, value in given.items():
        if isinstance(value, Mapping) and "value" in value:
            given[key] = value["value"]
    return Footprint(**given)


def _handover(block: Mapping[str, Any]) -> Handover:
    switches = {key: value for key, value in block.items() if key != "bandwidth"}
    share = block["bandwidth"]["value"] if "bandwidth" in block else 1.0
    return Handover(**_switches(Handover, switches, ("sharded",)), bandwidth=share)


def load_stack(
    value: str | Mapping[str, Any], *, path: tuple[str | int, ...] = ("stack",)
) -> Stack:
    """Return a stack by name, or one with some switches changed.

    Parameters
    ----------
    value : str or mapping
        A name, or ``{profile: NAME, fused: {...}, overlap: {...}, sharded: {...},
        attention_kernel: NAME}``.

    Raises
    ------
    ValueProblem
        DS221 unknown stack; DS201 or DS202 for its switches, DS204 for its kernel.
    """
    block: Mapping[str, Any] = {"profile": value} if isinstance(value, str) else value
    for key in block:
        if key not in ("profile", _KERNEL, *PARTS):
            raise ValueProblem(
                "DS201",
                f"unknown key {key!r}",
                path=(*path, key),
                value=key,
                rule=f"one of profile, {_KERNEL}, {', '.join(PARTS)}",
                fix="remove the key",
            )
    name = block.get("profile", DEFAULT_STACK)
    if name not in stack_names():
        near = get_close_matches(str(name), stack_names(), 1)
        raise ValueProblem(
            "DS221",
            f"unknown stack {name!r}",
            path=path,
            value=name,
            rule=f"one of {', '.join(stack_names())}",
            fix=f"did you mean {near[0]!r}?" if near else "choose a shipped stack",
        )
    base = _shipped(str(name))
    if len(block) == ("profile" in block):
        return base
    changed: dict[str, Any] = {}
    for key, part in PARTS.items():
        given = block.get(key, {})
        if not isinstance(given, Mapping):
            raise ValueProblem(
                "DS202", f"{key} is not a mapping", path=(*path, key), value=given,
                rule="switches by name", fix="write key: true or key: false",
            )  # fmt: skip
        current = getattr(base, part)
        changed[part] = replace(current, **_switches(type(current), given, (*path, key)))
    if _KERNEL in block:
        changed[_KERNEL] = _kernel(block[_KERNEL], (*path, _KERNEL))
    return replace(base, **changed)


def _kernel(name: object, path: tuple[str | int, ...]) -> str:
    if name not in KERNELS:
        near = get_close_matches(str(name), KERNELS, 1)
        raise ValueProblem(
            "DS204",
            f"{_KERNEL} {name!r} is unknown",
            path=path,
            value=name,
            rule=f"one of {', '.join(KERNELS)}",
            fix=f"did you mean {near[0]}?" if near else "leave it out for the device's own",
        )
    return str(name)
