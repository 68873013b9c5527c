"""The only place where workload, plan and hardware meet: they become an `OpGraph`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

import numpy as np
import numpy.typing as npt

from distsim.parallel.step import Collective, Step
from distsim.program.actions import ClassProgram, Work
from distsim.program.comm import Network, Transfers
from distsim.program.compile import build_network
from distsim.program.emit import Emitter
from distsim.program.grouped import Grouped, Hooks, grouped
from distsim.program.groups import groups_of, inside_axes
from distsim.program.inputs import Inputs, Variant
from distsim.program.layout import ClassActions, Labels, named, patterns_of
from distsim.program.links import reductions_and_gathers
from distsim.program.offload import Copies
from distsim.program.opgraph import OpGraph
from distsim.program.pattern import Pattern
from distsim.program.segment import Cost, Part, Pricer
from distsim.program.sends import families, pipeline_sends
from distsim.program.tail import finish, update_cost
from distsim.record import record
from distsim.store import Numbers, Same

Ints = npt.NDArray[np.int64]


@record
class Program:
    """An op graph and what its tasks stand for.

    Attributes
    ----------
    graph : OpGraph
    network : Network
        Folded communication; ``network.fold`` has the classes of ranks.
    classes : tuple of ClassProgram
        What each class of ranks runs on its compute stream.
    segment_cost : list of Cost
        Cost of each label of the graph (zero for transfers).
    contents : dict
        Steps of each label that is a segment, and who prices them.
    stream_names : tuple of str
    inputs : Inputs
    collectives : dict
        Collective of each label that is one inside a layer, with tasks of its own.
    """

    graph: OpGraph
    network: Network
    classes: tuple[ClassProgram, ...]
    segment_cost: list[Cost]
    contents: dict[int, tuple[Pricer, tuple[Step, ...]]]
    stream_names: tuple[str, ...]
    inputs: Inputs
    collectives: dict[int, Collective] = field(default_factory=dict)

    def parts(self, label: int) -> list[Part]:
        """Return the operators of a segment in order, with what they take by themselves."""
        if label not in self.contents:
            return []
        pricer, steps = self.contents[label]
        return [part for step in steps for part in pricer.parts(step)]


def meeting_axes(network: Network, inputs: Inputs) -> tuple[frozenset[str], frozenset[str]]:
    """Say which axes inside layers share links with others at times that nobody knows beforehand.

    Returns
    -------
    tuple of frozenset
        Axes that do at any time, and those that do while gradients or parameters are on the wire.
    """
    plan, data = inputs.plan, inputs.data
    axes = inside_axes(plan)
    sending = tuple(families(plan)) if plan.overlap_p2p and plan.pp > 1 else ()
    hooks = data.reduce in ("last", "each") or data.gather in ("first", "forward", "each")
    names = tuple(n for d in data.domains for n in (d.name, d.across)) if hooks else ()
    return network.known(
        ("meeting", axes, sending, names), lambda: _meeting(network, axes, sending, names)
    )


def _meeting(
    network: Network, axes: Sequence[str], sending: Sequence[str], names: Sequence[str]
) -> tuple[frozenset[str], frozenset[str]]:
    always: set[str] = set()
    for axis in axes:
        others = [a for a in axes if a != axis]
        if (
            network.groups_meet(axis)
            or any(network.groups_meet(axis, other) for other in others)
            or network.loads(axis)[network.foreign].any()
        ):
            always.add(axis)
    always |= {a for a in axes if (network.loads(a) & network.loads(*sending)).any()}
    hooked = {a for a in axes if (network.loads(a) & network.loads(*names)).any()}
    return frozenset(always), frozenset(hooked)


def build(inputs: Inputs, *, fold_enabled: bool = True) -> Program:
    """Build the op graph of one optimizer step (or of `Inputs.batches`).

    Parameters
    ----------
    fold_enabled : bool
        False simulates every rank; the result is the same to rounding.
    """
    network = build_network(
        inputs.device_of,
        inputs.roles(),
        groups_of(inputs),
        inputs.topology,
        fold_enabled=fold_enabled,
    )
    return emit(inputs, network)(network.frozen())


def emit(inputs: Inputs, network: Network) -> Callable[[Transfers], Program]:
    """Emit all tasks of a step over a folded network; its transfers are frozen after that.

    Returns
    -------
    callable
        Makes the program from the frozen transfers.
    """
    plan, data = inputs.plan, inputs.data
    emitter = Emitter()
    labels = Labels(emitter)
    pricers = pricers_of(inputs, network)
    programs = _compute(network, emitter, labels, laid_out(inputs, network, pricers))
    for axis in inside_axes(plan):
        _join_groups(emitter, network, programs, axis)
    if plan.pp > 1:
        sizes = np.asarray([v.boundary_bytes for v in inputs.variants])[inputs.variants_of()]
        pipeline_sends(emitter, network, programs, plan, sizes)
    copies = Copies(emitter, inputs.offloading) if inputs.offloading else None
    ready = reductions_and_gathers(emitter, network, programs, data, copies)
    update = inputs.update
    finish(emitter, network, programs, update, data, ready, pricers, labels, copies, inputs.batches)
    factors = np.asarray([p.device.contention_factor for p in pricers])
    costs = labels.costs + [Cost()] * (len(emitter.names) - len(labels.costs))
    names = tuple(name for _, name in emitter.streams)
    inside = labels.collectives

    def program(transfers: Transfers) -> Program:
        graph = emitter.graph(transfers, network.fold.capacity_bytes_per_s, factors)
        classes, contents = tuple(programs), labels.contents
        return Program(graph, network, classes, costs, contents, names, inputs, inside)

    return program


def laid_out(inputs: Inputs, network: Network, pricers: Sequence[Pricer]) -> list[ClassActions]:
    """Lay out what each class of ranks runs on its compute stream; equal ones are one object."""
    orders, variants_of, groups = inputs.orders(), inputs.variants_of(), grouped_of(inputs)
    everywhere, hooked = meeting_axes(network, inputs)
    data, batches = inputs.data, inputs.batches
    found: dict[tuple[int, int], ClassActions] = {}
    #: Stages that hold the same and do it in the same ways share their patterns.
    alike: dict[tuple[int, ...], list[Pattern]] = {}
    out = []
    conditions = conditions_of(inputs, network)
    for stage, key, pricer in zip(_stages(inputs, network), conditions, pricers, strict=True):
        if (stage, key) not in found:
            held = [v.chunks[stage] for v in inputs.variants]
            between = Cost()
            if batches > 1:
                between = update_cost(inputs.update, stage, pricer.device, pricer.dtype)
            work = Work(
                stage, held, variants_of, orders[stage], batches, data, between, inputs.restart_s
            )
            codes = groups[stage].codes
            at = (key, id(codes), *[id(chunks) for chunks in held])
            if at not in alike or named(batches, codes):
                alike[at] = patterns_of(
                    work, codes, pricer, key, expand_all=everywhere, expand_hooked=hooked
                )
            found[stage, key] = ClassActions(work, groups[stage], alike[at], pricer, key)
        out.append(found[stage, key])
    return out


def _stages(inputs: Inputs, network: Network) -> list[int]:
    """Return the pipeline stage of each class of ranks."""
    mesh, ranks = inputs.plan.mesh(), network.fold.example
    return network.known(("stages", mesh.pp), lambda: mesh.stage_of()[ranks].tolist())


def _compute(
    network: Network, emitter: Emitter, labels: Labels, actions: Sequence[ClassActions]
) -> list[ClassProgram]:
    """Emit what each class of ranks runs on its compute stream."""
    known: dict[int, Ints] = {}
    for laid in actions:
        if id(laid) not in known:
            known[id(laid)] = laid.labelled(labels)
    return [
        laid.emit(emitter, network, index, int(network.fold.example[index]), known[id(laid)])
        for index, laid in enumerate(actions)
    ]


def grouped_of(inputs: Inputs) -> tuple[Grouped, ...]:
    """Return by stage which actions run together, and which of them are alike."""
    data = inputs.data
    hooks = Hooks(data.gather, data.reduce, inputs.batches, len(inputs.chunks[0]))
    return grouped(inputs.orders(), hooks, inputs.variants_of())


def conditions_of(inputs: Inputs, network: Network) -> list[int]:
    """Return by class a number for all that prices of steps depend on."""
    axes, ranks = inside_axes(inputs.plan), network.fold.example

    def found() -> list[tuple[int, ...]]:
        groups = [network.groups[axis].of_rank[ranks].tolist() for axis in axes]
        own = zip(*groups, strict=True) if axes else [()] * len(ranks)
        return [tuple([network.alike(a, g) for a, g in zip(axes, of, strict=True)]) for of in own]

    # The network keeps what is its own: devices differ from case to case, as in a fit.
    links = network.known(("links inside", axes), found)
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    out = []
    for kind, of in zip(inputs.kinds()[ranks].tolist(), links, strict=True):
        if (kind, of) not in known:
            device = Same(inputs.devices[kind])
            known[kind, of] = _CONDITIONS.of((device, inputs.dtype, of))
        out.append(known[kind, of])
    return out


#: Conditions seen before.
_CONDITIONS = Numbers(4096)


def pricers_of(inputs: Inputs, network: Network) -> list[Pricer]:
    """Return who prices the steps of each class of ranks."""
    ranks = network.fold.example
    kinds = inputs.kinds()[ranks].tolist()
    return [
        pricer_of(inputs, network, rank, kind)
        for rank, kind in zip(ranks.tolist(), kinds, strict=True)
    ]


def pricer_of(inputs: Inputs, network: Network, rank: int, kind: int) -> Pricer:
    """Return who prices the steps of a rank, whose device is of some kind."""

    def collective_s(c: Collective) -> float:
        group = int(network.groups[c.axis].of_rank[rank])
        return network.collective_s(c.axis, group, c.name, c.size_bytes)

    return Pricer(inputs.devices[kind], inputs.dtype, collective_s)


def _join_groups(
    emitter: Emitter, network: Network, programs: Sequence[ClassProgram], axis: str
) -> None:
    """Keep the ranks of a group inside layers in step: a task waits for all peers, too.

    Ranks of one class do the same at the same instants, so only groups that span classes need it.
    """
    members = network.fold.class_of[network.groups[axis].ranks]
    for group in np.unique(np.sort(members, axis=1), axis=0):
        classes = np.unique(group)
        for a in classes:
            for b in classes:
                if a != b:
                    one, other = programs[a], programs[b]
                    emitter.edges(one.first + one.before, other.first + other.after)


__all__ = [
    "Inputs",
    "Program",
    "Variant",
    "build",
    "conditions_of",
    "emit",
    "grouped_of",
    "groups_of",
    "laid_out",
    "meeting_axes",
    "pricer_of",
    "pricers_of",
]
