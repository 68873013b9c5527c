"""Small changes: those that are always tried, and those of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from distsim.errors import DistsimError, HardwareError, ValueProblem, show
from distsim.files import find, load_yaml, read_text
from distsim.hardware.block import Block
from distsim.hardware.topology import Topology
from distsim.prediction.case import Case
from distsim.scenario.schema import Scenario
from distsim.study.whatif.hardware import DEVICE_KEYS, Hardware

#: The stack that followed another.
NEWER = {
    "megatron-2021": "megatron-2022",
    "megatron-2022": "megatron-core",
    "deepspeed-2021": "pytorch-fsdp",
    "deepspeed-pipeline-2022": "megatron-core",
    "llm-foundry-2023": "pytorch-fsdp",
    "nemo-2024": "megatron-core",
    "pytorch-eager": "pytorch-fsdp",
    "pytorch-fsdp": "torchtitan",
}
_SWITCHES = {
    "overlap_grad_reduce": "gradients reduced during the backward pass",
    "overlap_param_gather": "parameters gathered during the forward pass",
    "overlap_p2p": "pipeline sends during compute",
    "overlap_tensor": "tensor collectives beside compute",
}
_RECOMPUTE = {
    "none": "no recomputation",
    "selective": "selective recomputation",
    "full": "full recomputation",
}
_MOST_FACTOR = 1000.0
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes
    ----------
    name : str
    set : mapping
        Blocks of the scenario, as `Scenario.with_` takes them.
    hardware : Hardware or None
    """

    name: str
    set: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    hardware: Hardware | None = None

    @property
    def kind(self) -> str:
        """``hardware``, ``plan``, ``software`` or ``scenario``: what changes."""
        if self.hardware is not None:
            return "hardware"
        if set(self.set) <= {"plan", "batch"}:
            return "plan"
        return "software" if set(self.set) <= {"stack", "precision"} else "scenario"

    def applied(self, scenario: Scenario) -> Scenario:
        """Return the scenario with the values that the change sets."""
        return scenario.with_(**dict(self.set)) if self.set else scenario


def usual(scenario: Scenario, case: Case) -> list[Change]:
    """Return the changes that are always tried, as far as they are changes of this scenario."""
    return [*_hardware(scenario, case.inputs.topology), *_plan(scenario, case), *_software(case)]


def _hardware(scenario: Scenario, topology: Topology) -> Iterator[Change]:
    yield Change("2x matrix rate of the device", hardware=Hardware(peak=2.0))
    yield Change("2x memory bandwidth", hardware=Hardware(memory_bandwidth=2.0))
    yield Change("2x memory", hardware=Hardware(memory=2.0))
    yield Change("half the gaps between kernels", hardware=Hardware(overhead=2.0))
    inside, across = link_classes(topology)
    if inside or across:
        yield Change("half the latencies", hardware=Hardware(latency=2.0))
    if inside:
        yield Change(f"2x {' and '.join(inside)}", hardware=Hardware(links=_twice(inside)))
    if across:
        name = f"a second network adapter (2x {', '.join(across)})"
        yield Change(name, hardware=Hardware(links=_twice(across)))
    over = _oversubscribed(scenario)
    if over is not None:
        yield Change("half the oversubscription", set={"cluster": {"topology": over}})


def _twice(names: tuple[str, ...]) -> Mapping[str, float]:
    return MappingProxyType(dict.fromkeys(names, 2.0))


def link_classes(topology: Topology) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the classes of links inside nodes, and those that only routes between nodes take.

    Those between nodes are of the routes from the first device to all others.
    """
    others = np.arange(1, topology.n_devices)
    if not len(others):
        return (), ()
    routes = topology.routes(np.zeros(len(others), dtype=np.int64), others)
    local = topology.node_of[others] == topology.node_of[0]
    of_route = np.repeat(local, np.diff(routes.ptr))
    classes = topology.link_class[routes.link]
    inside, outside = (np.unique(classes[chosen]) for chosen in (of_route, ~of_route))
    names = topology.class_names
    return (
        tuple(names[i] for i in inside.tolist()),
        tuple(names[i] for i in outside.tolist() if i not in inside),
    )


def _oversubscribed(scenario: Scenario) -> dict[str, Any] | None:
    """Return the topology as a block with half of its oversubscription; None where it has none."""
    source = scenario.cluster.topology
    if isinstance(source, str):
        file = find("topologies", scenario.beside(source))
        block, _ = load_yaml(file)
        block = {**block, "name": file.stem}
    else:
        block = dict(source)
    found = block.get("oversubscription", 1)
    if isinstance(found, Mapping):
        over = {k: v for k, v in found.items() if isinstance(v, int | float) and v > 1}
        if not over:
            return None
        return block | {
            "oversubscription": {**found, **{k: max(1, v / 2) for k, v in over.items()}}
        }
    if not isinstance(found, int | float) or found <= 1:
        return None
    return block | {"oversubscription": max(1, found / 2)}


def _plan(scenario: Scenario, case: Case) -> Iterator[Change]:
    given, plan = scenario.plan, case.inputs.plan
    tp, pp, virtual = plan.tp, plan.pp, given.virtual_stages
    # Layers that are dealt out by hand belong to one number of stages.
    anew = {
        key: None
        for key in ("layers_per_stage", "first_stage_layers", "last_stage_layers")
        if getattr(given, key) is not None
    }

    def degrees(name: str, **values: Any) -> Change:
        moved = anew if {"pp", "virtual_stages"} & set(values) else {}
        dp = {"dp": None} if given.dp is not None else {}
        return Change(name, {"plan": {**values, **moved, **dp}})

    if tp > 1:
        yield degrees(f"tp {tp} -> {tp // 2}, dp x2", tp=tp // 2)
        yield degrees(f"tp {tp} -> {tp // 2}, pp {pp} -> {2 * pp}", tp=tp // 2, pp=2 * pp)
    yield degrees(f"tp {tp} -> {2 * tp}, dp / 2", tp=2 * tp)
    if pp > 1:
        yield degrees(f"tp {tp} -> {2 * tp}, pp {pp} -> {pp // 2}", tp=2 * tp, pp=pp // 2)
        yield degrees(f"pp {pp} -> {pp // 2}, dp x2", pp=pp // 2)
        for chunks in (2 * virtual, virtual // 2):
            if chunks:
                name = f"virtual stages {virtual} -> {chunks}"
                yield degrees(name, virtual_stages=chunks)
    yield degrees(f"pp {pp} -> {2 * pp}, dp / 2", pp=2 * pp)
    yield from _batch(scenario)
    yield from _switches(scenario, case)


def _batch(scenario: Scenario) -> Iterator[Change]:
    size = scenario.batch.micro_size
    yield Change(f"micro batch {size} -> {2 * size}", {"batch": {"micro_size": 2 * size}})
    if size > 1:
        yield Change(f"micro batch {size} -> {size // 2}", {"batch": {"micro_size": size // 2}})


def _switches(scenario: Scenario, case: Case) -> Iterator[Change]:
    given, plan = scenario.plan, case.inputs.plan
    shown = plan.to_dict()
    for mode, name in _RECOMPUTE.items():
        if shown["recompute"] != mode:
            yield Change(name, {"plan": {"recompute": mode}})
    for stage in (plan.zero_stage - 1, plan.zero_stage + 1):
        if 0 <= stage <= 3:
            yield Change(f"ZeRO {plan.zero_stage} -> {stage}", {"plan": {"zero_stage": stage}})
    if plan.tp > 1 and not given.sequence_parallel:
        yield Change("sequence parallelism", {"plan": {"sequence_parallel": True}})
    if plan.tp > 1 and not given.async_tensor:
        changed = {"async_tensor": True, "sequence_parallel": True}
        yield Change("async tensor parallelism", {"plan": changed})
    for switch, name in _SWITCHES.items():
        if not shown[switch]:
            yield Change(name, {"plan": {switch: True}})


def _software(case: Case) -> Iterator[Change]:
    stack, device = str(case.resolved["stack"]), case.inputs.device
    if stack in NEWER:
        yield Change(f"stack {stack} -> {NEWER[stack]}", {"stack": NEWER[stack]})
    if case.numerics.fp8 is None and "fp8" in device.peak_flop_per_s:
        yield Change("linear layers in fp8", {"precision": "fp8"})


def read_changes(source: str) -> list[Change]:
    """Return the changes of a file.

    ``changes`` is a list of ``{name, set, device, links, latency}``: `set` has dotted keys of the
    scenario with their values, `device` factors of peak, memory_bandwidth, memory and overhead,
    `links` factors of bandwidth by class, and `latency` says how many times as short it is.

    Raises
    ------
    FileError
        DS101 for a file that does not exist.
    ValueProblem
        DS710 for what is no list of changes, with the line in the file.
    """
    read_text(source)
    data, positions = load_yaml(source)
    try:
        return _read(data)
    except DistsimError as error:
        found: DistsimError = error
        if isinstance(error, HardwareError):
            found = ValueProblem(
                "DS710", error.message, path=error.path, value=error.value, rule=error.rule,
                fix=error.fix,
            )  # fmt: skip
        place = positions.place(error.path)
        raise (found.at(place) if place else found) from None


def _read(data: object) -> list[Change]:
    block = Block(data)
    block.only("schema", "kind", "changes")
    if block.text("kind") != "changes" or block.integer("schema", _SCHEMA) != _SCHEMA:
        raise block.error(
            "DS710",
            "this file is no list of changes",
            key="kind",
            rule=f"kind: changes and schema: {_SCHEMA}",
            fix="write both at the top",
        )
    found = [_change(entry) for entry in block.blocks("changes")]
    if not found:
        raise block.error(
            "DS710", "there is no change", key="changes", fix="add one, or drop --changes"
        )
    return found


def _change(entry: Block) -> Change:
    entry.only("name", "set", "device", "links", "latency")
    name = entry.text("name")
    values = _nested(entry.block("set")) if entry.has("set") else {}
    device = entry.block("device") if entry.has("device") else Block({})
    device.only(*DEVICE_KEYS)
    links = entry.block("links") if entry.has("links") else Block({})
    factors: dict[str, Any] = {key: _factor(device, key) for key in device.names()}
    if entry.has("latency"):
        factors["latency"] = _factor(entry, "latency")
    by_class = {key: _factor(links, key) for key in links.names()}
    if not (values or factors or by_class):
        raise entry.error(
            "DS710",
            f"{show(name)} changes nothing",
            rule="set, device, links or latency says what changes",
            fix="add for example set: {plan.tp: 4}",
        )
    hardware = Hardware(**factors, links=MappingProxyType(by_class))
    return Change(name, values, hardware if factors or by_class else None)


def _factor(block: Block, key: str) -> float:
    return block.quantity(key, "1", high=_MOST_FACTOR)


def _nested(block: Block) -> dict[str, Any]:
    """Return dotted keys as mappings within mappings."""
    out: dict[str, Any] = {}
    for key in block.names():
        parts = key.split(".")
        inner = out
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise block.error(
                    "DS710", f"{show(key)} goes through a value", key=key,
                    rule="a key sets a value or holds others", fix="set one of them",
                )  # fmt: skip
        inner[parts[-1]] = block.raw(key)
    return out
