"""What one layer, the embedding and the head take and keep on one rank, priced once for each way.

A way is what changes the operators of a rank: tensor, context and expert parallelism, the micro
batch, recomputation. There are hundreds of them where there are a hundred thousand candidates, so
each goes through the same code as a prediction does (`distsim.parallel.recompute`,
`distsim.program.segment`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import lcm
from operator import add
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.parallel.data import Domain
from distsim.parallel.dispatch import DISPATCHERS, sent_copies
from distsim.parallel.division import Division
from distsim.parallel.memory import fp8_elements
from distsim.parallel.mesh import Mesh
from distsim.parallel.plan import Plan
from distsim.parallel.recompute import group_unit, plain_unit
from distsim.parallel.stages import Operators, boundary_bytes
from distsim.parallel.step import Collective, Step, Unit
from distsim.program.groups import MESH_AXIS, inside_axes
from distsim.program.segment import Pricer
from distsim.scenario.lengths import padded_vocabulary
from distsim.scenario.step import division_of, operators_of, software_of
from distsim.schedule import BACKWARD, FORWARD, INPUT, WEIGHT
from distsim.study.plan.setting import Setting
from distsim.study.plan.wires import Wires
from distsim.workload.network import Model
from distsim.workload.op import Axis
from distsim.workload.optimizer import state_bytes
from distsim.workload.shape import Shape
from distsim.workload.zoo import decoder

Floats = npt.NDArray[np.float64]
#: Kinds of passes, in the order of `distsim.schedule`.
PASSES = (FORWARD, BACKWARD, WEIGHT, INPUT)
MODES = ("none", "selective", "full")


class Way(NamedTuple):
    """What changes the operators of one rank.

    Attributes
    ----------
    tp, cp, ep, etp, sp, micro : int
        `sp` is 1 with sequence parallelism.
    mode : int
        Of recomputation, an index into `MODES`.
    overlap : int
        1: tensor-parallel collectives run beside compute.
    site : int
        Devices of the cluster where groups span nodes; 0 where they do not.
    """

    tp: int
    cp: int
    ep: int
    etp: int
    sp: int
    micro: int
    mode: int
    overlap: int
    site: int


@dataclass(frozen=True, slots=True)
class Layer:
    """Units of one way: kinds of layers, then the embedding, then the head.

    Attributes
    ----------
    device_s, host_s : float64[units, 4]
        Of each pass (forward, backward, weight gradient, input gradient): on the device, and of the
        host that launches it.
    free_s : float64[units, 4]
        `device_s` if kernels beside a transfer were not slowed down.
    compute_s : float64[units, 4]
        Of `device_s`, kernels.
    wait_s : float64[units, 4]
        Beside both, in which the device waits for the host.
    parameters, states_bytes, copies : float64[2, units]
        Of each domain (all but experts, experts): parameters, bytes of optimizer state, elements of
        matrices that are copied to fp8.
    at_once, largest : float64[2, units]
        Most parameters that a collective of ZeRO-3 holds, beside lists of arrays; elements of the
        largest matrix.
    saved_bytes, weight_bytes, working_bytes : float64[units]
    boundary_bytes : float
    gather_s : float
        On the device, for an activation that arrives in parts.
    completed : tuple of tuple of float
        Parameters of the first domain whose gradients are complete after each step of the backward
        pass of each unit, in order.
    inside : frozenset of int
        Classes of links that collectives inside layers load.
    meets : bool
        Groups inside layers may load one link at different times.
    """

    device_s: Floats
    host_s: Floats
    free_s: Floats
    compute_s: Floats
    wait_s: Floats
    parameters: Floats
    states_bytes: Floats
    copies: Floats
    at_once: Floats
    largest: Floats
    saved_bytes: Floats
    weight_bytes: Floats
    working_bytes: Floats
    boundary_bytes: float
    gather_s: float
    completed: tuple[tuple[float, ...], ...]
    inside: frozenset[int]
    meets: bool


def kinds_of(setting: Setting) -> tuple[str, ...]:
    """Return the kind of each layer of the model."""
    shape = Shape(1, setting.length, setting.numerics, setting.stack.fusion)
    return operators_of(setting.model, shape).layers


def plan_of(setting: Setting, way: Way, **more: Any) -> Plan:
    """Return a plan that divides layers in a way, on as many devices as that needs.

    Experts exchange beside compute where the scenario or its stack may: what forbids it in a plan
    only makes the plan slower than its bound.
    """
    given = setting.scenario.plan
    beside = given.overlap_experts
    if beside is None:
        beside = setting.stack.overlap.overlap_experts
    mixture = decoder(setting.model)
    block = lcm(way.tp * way.cp, way.ep * way.etp)
    fixed: dict[str, Any] = {
        "devices": block,
        "dp": block // (way.tp * way.cp),
        "tp": way.tp,
        "cp": way.cp,
        "ep": way.ep,
        "etp": way.etp,
        "experts": mixture is not None and mixture.experts > 0,
        "micro_size": way.micro,
        "sequence_parallel": bool(way.sp),
        "overlap_tensor": bool(way.overlap),
        "async_tensor": given.async_tensor and bool(way.sp),
        "scatter_gather_p2p": given.scatter_gather_p2p,
        "context_mode": given.cp_mode,
        "context_balanced": given.cp_balanced,
        "overlap_experts": beside and way.ep > 1,
    }
    return Plan(**{**fixed, **more})


def layer(setting: Setting, wires: Wires, way: Way) -> Layer:
    """Price and weigh the units of one way."""
    plan = plan_of(setting, way)
    model, _ = padded_vocabulary(setting.model, way.tp)
    shape = Shape(way.micro, setting.length, setting.numerics, setting.stack.fusion, 0.0, way.cp)
    operators = operators_of(model, shape)
    division = _division(setting, plan, way, model)
    units = _units(plan, division, operators, MODES[way.mode])
    times = _Times(setting, wires, plan)
    priced = [times.of(unit) for unit in units]
    device_s, free_s, compute_s, host_s, wait_s = np.moveaxis(np.asarray(priced), 2, 0)
    domains = (Domain("data", 1), Domain("expert_data", 1))
    gather = Collective("all_gather", operators.region_elements * division.tensor.element_bytes)
    arrives = plan.scatter_gather_p2p and plan.tp > 1 and not plan.sequence_parallel
    optimizer, numerics = setting.optimizer, setting.numerics

    def held(of: Domain, unit: Unit) -> float:
        return state_bytes(optimizer, numerics, of.parameters(unit), of.matrices(unit))

    def largest(of: Domain, unit: Unit) -> float:
        return max((m.elements for m in of.matrices(unit)), default=0.0)

    most = largest if setting.stack.sharded.by_weight else Domain.parameters

    def table(of: Callable[[Domain, Unit], float]) -> Floats:
        return np.asarray([[of(d, u) for u in units] for d in domains])

    return Layer(
        device_s,
        host_s,
        free_s,
        compute_s,
        wait_s,
        table(Domain.parameters),
        table(held),
        table(fp8_elements),
        table(most),
        table(largest),
        np.asarray([u.saved_bytes for u in units]),
        np.asarray([u.weight_bytes for u in units]),
        np.asarray([u.working_bytes for u in units]),
        boundary_bytes(plan, division.tensor, operators.region_elements),
        times.collective_s(gather) if arrives else 0.0,
        tuple(tuple(s.parameters for s in u.backward if s.parameters) for u in units),
        times.inside,
        times.meets,
    )


def _division(setting: Setting, plan: Plan, way: Way, model: Model) -> Division:
    """Return who divides which operator, as `distsim.scenario.step` does."""
    division = division_of(
        plan,
        model,
        setting.numerics,
        setting.load(way.ep),
        overlap_shared=setting.scenario.plan.overlap_shared_experts,
        sent_share=_sent_share(setting, plan),
    )
    return replace(division, software=software_of(setting.stack, setting.numerics))


def _units(plan: Plan, division: Division, operators: Operators, mode: str) -> list[Unit]:
    whole_bytes = operators.region_elements * division.tensor.element_bytes
    input_bytes = whole_bytes / (plan.tp if plan.sequence_parallel else 1)
    kinds = dict.fromkeys(operators.layers)
    layers = [group_unit(division, [operators.kinds[k]], 0, mode, input_bytes) for k in kinds]
    ends = (("embedding", operators.embedding), ("head", operators.head))
    return [*layers, *(plain_unit(name, division, ops) for name, ops in ends)]


def _sent_share(setting: Setting, plan: Plan) -> float:
    """Return the least share of what is sent to experts: that of a group on the fewest nodes."""
    spec = decoder(setting.model)
    dispatch = setting.scenario.plan.expert_dispatch
    if spec is None or not spec.experts or dispatch == DISPATCHERS[0]:
        return 1.0
    topology = next(iter(setting.machines.values())).topology
    fewest = max(1, -(-plan.ep * plan.etp // topology.devices_per_node))
    k, limits = spec.experts_per_token, (spec.routing_groups, spec.routing_groups_per_token)
    nodes = range(fewest, plan.ep + 1)
    return min(sent_copies(spec.experts, k, plan.ep, n, *limits) for n in nodes or (1,)) / k


class _Times:
    """Prices steps on the device, with collectives over the groups of a plan."""

    def __init__(self, setting: Setting, wires: Wires, plan: Plan) -> None:
        self._wires = wires
        self._ranks = {axis: self._groups(plan, axis) for axis in inside_axes(plan)}
        device = setting.device
        compute = setting.numerics.compute
        self._pricer = Pricer(device, compute, self.collective_s)
        free = replace(device, contention_factor=0.0)
        self._free = Pricer(free, compute, self.collective_s) if device.contention_factor else None
        self._seen: dict[int, tuple[Step, tuple[float, ...]]] = {}
        self.inside: frozenset[int] = frozenset()
        self.meets = len(self._ranks) > 1
        for axis, (key, ranks) in self._ranks.items():
            name = "all_to_all" if axis == "expert" else "all_gather"
            self.inside |= wires.classes(key, ranks, name)
            self.meets |= not wires.apart(key, ranks, name)

    def _groups(self, plan: Plan, axis: str) -> tuple[object, npt.NDArray[np.int64]]:
        """Return the groups of an axis on the first nodes of the cluster."""
        machine = self._wires.machine
        block = lcm(plan.devices, machine.topology.devices_per_node)
        size = min(block, len(machine.device_of)) // plan.devices * plan.devices
        mesh = Mesh(plan.tp, plan.cp, size // (plan.tp * plan.cp), 1, plan.ep, plan.etp)
        return (axis, mesh), mesh.groups(MESH_AXIS[axis])

    def collective_s(self, collective: Collective) -> float:
        key, ranks = self._ranks[collective.axis]
        return self._wires.chosen_s(key, ranks, collective.name, collective.size_bytes)

    def of(self, unit: Unit) -> list[tuple[float, ...]]:
        """Return device, free, compute, host and wait seconds of each pass."""
        return [self._sum(unit.steps(kind)) for kind in PASSES]

    def _sum(self, steps: Sequence[Step]) -> tuple[float, ...]:
        total = (0.0,) * 5
        for step in steps:
            if id(step) not in self._seen:
                cost = self._pricer.step(step)
                free = self._free.step(step) if self._free and step.beside else cost
                each = (
                    cost.device_s, free.device_s, cost.compute_s, cost.host_s, cost.restart_s
                )  # fmt: skip
                self._seen[id(step)] = (step, each)
            total = tuple(map(add, total, self._seen[id(step)][1]))
        return total


__all__ = ["MODES", "Axis", "Layer", "Way", "kinds_of", "layer", "plan_of"]
