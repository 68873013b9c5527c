"""The only place where workload, plan and hardware meet: they become an `OpGraph`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distsim.hardware.device import Device
from distsim.hardware.topology import Topology
from distsim.parallel.data import DataParallel
from distsim.parallel.mesh import Mesh
from distsim.parallel.plan import Plan
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Step
from distsim.program.actions import ClassActions, ClassProgram, lay_out
from distsim.program.comm import (
    Groups,
    Network,
    Transfers,
    build_network,
    collective_groups,
    pair_groups,
)
from distsim.program.emit import Emitter
from distsim.program.links import pipeline_sends, reductions_and_gathers
from distsim.program.opgraph import OpGraph
from distsim.program.segment import Cost, Part, Pricer
from distsim.program.tail import Update, finish
from distsim.schedule import Actions, actions

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a step is made of.

    Attributes
    ----------
    chunks : list of list of Chunk
        ``[stage][chunk]``.
    boundary_bytes : float
        Bytes one rank sends to the next stage for one micro batch.
    update : Update
        The optimizer step.
    dtype : str
        Type of the matrix products.
    device_of : int64[ranks]
        Device of each rank.
    restart_s : float
        Time at the start of every pass through a model chunk in which the device waits for the
        host, because the exchange before it blocked.
    """

    plan: Plan
    data: DataParallel
    chunks: list[list[Chunk]]
    boundary_bytes: float
    update: Update
    device: Device
    topology: Topology
    dtype: str
    device_of: Ints
    restart_s: float = 0.0


@dataclass(frozen=True, slots=True)
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
    """

    graph: OpGraph
    network: Network
    classes: tuple[ClassProgram, ...]
    segment_cost: list[Cost]
    contents: dict[int, tuple[Pricer, tuple[Step, ...]]]
    stream_names: tuple[str, ...]

    def parts(self, label: int) -> list[Part]:
        """Return the operators of a segment in order, with what they take by themselves."""
        if label not in self.contents:
            return []
        pricer, steps = self.contents[label]
        return [part for step in steps for part in pricer.parts(step)]


def mesh_of(plan: Plan) -> Mesh:
    """Return the mesh of a plan."""
    return Mesh(plan.tp, plan.cp, plan.dp, plan.pp)


def plan_actions(plan: Plan) -> list[Actions]:
    """Return the schedule's actions of each stage."""
    return actions(plan.schedule, plan.pp, plan.microbatches, plan.virtual_stages)


def stage_hops(plan: Plan) -> list[tuple[int, int]]:
    """Return the stages between which activations pass, in the forward direction."""
    hops = [(s, s + 1) for s in range(plan.pp - 1)]
    return [*hops, (plan.pp - 1, 0)] if plan.virtual_stages > 1 else hops


def groups_of(inputs: Inputs) -> list[Groups]:
    """Return who talks to whom in a step."""
    plan = inputs.plan
    mesh, device_of = mesh_of(plan), inputs.device_of
    groups = []
    if plan.tp > 1:
        sizes = _tensor_sizes(inputs.chunks)
        groups.append(collective_groups(mesh, "tp", "tensor", device_of, sizes))
    if inputs.data.size > 1:
        groups.append(collective_groups(mesh, "dp_cp", "data", device_of, _data_sizes(inputs)))
    if plan.pp > 1:
        hops = stage_hops(plan)
        sends = {"send": {inputs.boundary_bytes}}
        groups.append(pair_groups(mesh, "forward", hops, sends))
        groups.append(pair_groups(mesh, "backward", [(b, a) for a, b in hops], sends))
        if inputs.update.tied_bytes:
            sizes = {"all_reduce": {inputs.update.tied_bytes}}
            groups.append(pair_groups(mesh, "tied", [(0, plan.pp - 1)], sizes))
    return groups


def _tensor_sizes(chunks: list[list[Chunk]]) -> dict[str, set[float]]:
    sizes: dict[str, set[float]] = {}
    steps: set[Step] = set()
    for chunk in (c for stage in chunks for c in stage):
        steps |= {*chunk.receives_forward, *chunk.receives_backward}
        for unit in set(chunk.units):
            steps |= {*unit.forward, *unit.backward}
    for collective in (s.collective for s in steps if s.collective):
        sizes.setdefault(collective.name, set()).add(collective.size_bytes)
    return dict(sorted(sizes.items()))


def _data_sizes(inputs: Inputs) -> dict[str, set[float]]:
    data = inputs.data
    sizes: dict[str, set[float]] = {}
    held = [sum(c.parameters for c in stage) for stage in inputs.chunks]
    if data.reduce == "end":
        sizes[data.collective] = {p * data.reduce_bytes for p in held}
    elif data.reduce != "none":
        sizes[data.collective] = {
            sum(chunk.units[::-1][i].parameters for i in bucket) * data.reduce_bytes
            for stage in inputs.chunks
            for chunk in stage
            for bucket in data.buckets(chunk.units[::-1])
        }
    if data.gather != "none":
        sizes["all_gather"] = {p * data.gather_bytes for p in held}
    return sizes


def _shared_links(network: Network, plan: Plan, data: DataParallel) -> tuple[bool, bool]:
    """Say whether tensor-parallel links also carry overlapped sends, or overlapped gradients.

    Where groups meet each other, or other jobs, on a link, they are like any other transfers on it.
    """
    if plan.tp == 1:
        return False, False
    tensor = network.links_of("tensor")
    if network.groups_meet("tensor") or len(np.intersect1d(tensor, network.foreign)):
        return True, True
    sends = plan.overlap_p2p and plan.pp > 1
    hooks = data.reduce in ("last", "each") or data.gather in ("first", "each")
    with_sends = sends and len(np.intersect1d(tensor, network.links_of("forward", "backward"))) > 0
    with_data = hooks and len(np.intersect1d(tensor, network.links_of("data"))) > 0
    return bool(with_sends), bool(with_data)


def build(inputs: Inputs, *, fold_enabled: bool = True) -> Program:
    """Build the op graph of one optimizer step.

    Parameters
    ----------
    fold_enabled : bool
        False simulates every rank; the result is the same to rounding.
    """
    network = build_network(
        inputs.device_of,
        mesh_of(inputs.plan).stage_of(),
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
    costs: list[Cost] = []
    contents: dict[int, tuple[Pricer, tuple[Step, ...]]] = {}
    programs = _compute(inputs, network, emitter, costs, contents)
    _join_tensor_groups(emitter, network, programs)
    if plan.pp > 1:
        pipeline_sends(emitter, network, programs, plan, inputs.boundary_bytes, stage_hops(plan))
    ready = reductions_and_gathers(emitter, network, programs, data)
    finish(
        emitter, network, programs, inputs.update, data, ready, inputs.device, inputs.dtype, costs
    )
    factors = np.full(len(programs), inputs.device.contention_factor)
    costs += [Cost()] * (len(emitter.names) - len(costs))
    names = tuple(name for _, name in emitter.streams)

    def program(transfers: Transfers) -> Program:
        graph = emitter.graph(transfers, network.fold.capacity_bytes_per_s, factors)
        return Program(graph, network, tuple(programs), costs, contents, names)

    return program


def _compute(
    inputs: Inputs,
    network: Network,
    emitter: Emitter,
    costs: list[Cost],
    contents: dict[int, tuple[Pricer, tuple[Step, ...]]],
) -> list[ClassProgram]:
    """Emit what each class of ranks runs on its compute stream."""
    plan, data = inputs.plan, inputs.data
    orders = plan_actions(plan)
    with_sends, with_data = _shared_links(network, plan, data)
    stage_of = mesh_of(plan).stage_of()
    laid_out: dict[tuple[int, int], ClassActions] = {}
    priced: dict[int, dict[int, Cost]] = {}
    programs = []
    for index, rank in enumerate(network.fold.example):
        stage = int(stage_of[rank])
        tensor_kind = _tensor_type(network, int(rank))
        key = (stage, tensor_kind)
        if key not in laid_out:
            laid_out[key] = lay_out(
                inputs.chunks[stage],
                orders[stage],
                data,
                _pricer(inputs, network, int(rank)),
                stage=stage,
                expand_all=with_sends,
                expand_hooked=with_data,
                emitter=emitter,
                costs=costs,
                contents=contents,
                priced=priced.setdefault(tensor_kind, {}),
                restart_s=inputs.restart_s,
            )
        programs.append(laid_out[key].emit(emitter, network, index, int(rank)))
    return programs


def _tensor_type(network: Network, rank: int) -> int:
    if "tensor" not in network.groups:
        return -1
    return network.type_of("tensor", int(network.groups["tensor"].of_rank[rank]))


def _pricer(inputs: Inputs, network: Network, rank: int) -> Pricer:
    def collective_s(name: str, size_bytes: float) -> float:
        group = int(network.groups["tensor"].of_rank[rank])
        return network.collective_s("tensor", group, name, size_bytes)

    return Pricer(inputs.device, inputs.dtype, lambda c: collective_s(c.name, c.size_bytes))


def _join_tensor_groups(
    emitter: Emitter, network: Network, programs: Sequence[ClassProgram]
) -> None:
    """Keep tensor-parallel ranks of different classes in step: a task waits for all peers, too.

    Ranks of one class do the same at the same instants, so only groups that span classes need it.
    """
    if "tensor" not in network.groups:
        return
    members = network.fold.class_of[network.groups["tensor"].ranks]
    for group in np.unique(np.sort(members, axis=1), axis=0):
        classes = np.unique(group)
        for a in classes:
            for b in classes:
                if a != b:
                    one, other = programs[a], programs[b]
                    emitter.edges(one.first + one.before, other.first + other.after)
