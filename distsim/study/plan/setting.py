"""What all candidates of a search share: model, numbers, software, and the machine of each size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.cost.stack import DEFAULT_STACK, Stack, load_stack
from distsim.errors import PlanError
from distsim.hardware.device import Device
from distsim.hardware.topology import Topology
from distsim.parallel.load import ExpertLoad
from distsim.parallel.offload import Offload
from distsim.prediction.case import Case
from distsim.scenario.numerics import resolve_optimizer
from distsim.scenario.offload import offload_of
from distsim.scenario.profile import read_profile
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.scenario.step import resolve_load
from distsim.workload.network import Model
from distsim.workload.op import Numerics
from distsim.workload.optimizer import OptimizerSpec

Ints = npt.NDArray[np.int64]

#: A plan without any strategy; what a search does not vary stays as the scenario says.
PLAIN: Mapping[str, Any] = {
    "tp": 1, "pp": 1, "cp": 1, "ep": 1, "etp": None, "dp": None, "dp_replicas": 1,
    "schedule": None, "virtual_stages": 1, "zero_stage": 0, "sequence_parallel": False,
    "async_tensor": False, "recompute": "none", "layers_per_stage": None, "balance": "even",
    "first_stage_layers": None, "last_stage_layers": None, "offload": None,
    "grad_compression": "none", "expert_load": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """A cluster of one size.

    Attributes
    ----------
    topology : Topology
    device_of : int64[devices]
        Device of each rank.
    sync_s : float
        Latency of the small all-reduce before the update.
    """

    topology: Topology
    device_of: Ints
    sync_s: float


@dataclass(slots=True)
class Setting:
    """A scenario without its plan and its size, resolved.

    Attributes
    ----------
    scenario : Scenario
    model : Model
        As written: without padding of its vocabulary.
    length : int
        Tokens of a sample.
    device : Device
    numerics : Numerics
    stack : Stack
    optimizer : OptimizerSpec
    offload : Offload
    step_tokens : float
        Tokens of one step.
    machines : dict of int to Machine
        By number of devices, made when asked for.
    """

    scenario: Scenario
    model: Model
    length: int
    device: Device
    numerics: Numerics
    stack: Stack
    optimizer: OptimizerSpec
    offload: Offload
    step_tokens: float
    machines: dict[int, Machine] = field(default_factory=dict)
    _loads: dict[int, ExpertLoad | None] = field(default_factory=dict)

    @property
    def global_size(self) -> int:
        """Samples of one step."""
        return self.scenario.batch.global_size

    def machine(self, devices: int) -> Machine:
        """Return the cluster of a size."""
        if devices not in self.machines:
            self.machines[devices] = _machine(_plain(self.scenario, devices))
        return self.machines[devices]

    def load(self, ep: int) -> ExpertLoad | None:
        """Return how unequally experts are loaded."""
        if ep not in self._loads:
            asked = self.scenario.with_(plan={"ep": ep})
            self._loads[ep] = resolve_load(asked, self.model)
        return self._loads[ep]


def setting(scenario: Scenario, devices: int) -> Setting:
    """Resolve what all candidates share.

    Parameters
    ----------
    devices : int
        Any size of the search.

    Raises
    ------
    PlanError
        DS693 for what a search does not cover: unequal devices, sequences of several lengths.
    DistsimError
        As `distsim.scenario.resolve.resolve`.
    """
    _check(scenario)
    case = _plain(scenario, devices)
    stack = load_stack(scenario.stack or DEFAULT_STACK)
    if scenario.cluster.profile:
        stack = read_profile(scenario.beside(scenario.cluster.profile)).on_stack(stack)
    device = case.inputs.device
    return Setting(
        scenario,
        case.network,
        int(case.resolved["sequence_length"]),
        device,
        case.numerics,
        stack,
        resolve_optimizer(scenario, case.numerics, device),
        offload_of(scenario),
        case.tokens / devices * scenario.batch.global_size,
        {devices: _machine(case)},
    )


def _plain(scenario: Scenario, devices: int) -> Case:
    whole = scenario.cluster.of
    cluster: dict[str, Any] = {"devices": devices, "slow_links": ()}
    if whole is not None:
        cluster["of"] = max(whole, devices)
    batch = {"global_size": devices, "micro_size": 1}
    return resolve(scenario.with_(cluster=cluster, batch=batch, plan=dict(PLAIN), noise=None))


def _machine(case: Case) -> Machine:
    inputs = case.inputs
    return Machine(inputs.topology, inputs.device_of, inputs.update.sync_latency_s)


def _check(scenario: Scenario) -> None:
    found = [
        ("cluster", "unequal", bool(scenario.cluster.unequal), "devices of one kind and speed"),
        ("batch", "lengths", scenario.batch.lengths is not None, "samples of one length"),
    ]
    for block, key, wrong, rule in found:
        if wrong:
            raise PlanError(
                "DS693",
                f"a search over plans does not cover {block}.{key}",
                path=(block, key),
                value=key,
                rule=f"all candidates are compared on {rule}",
                fix=f"remove {key}, and run the plan that is found with it",
            )


__all__ = ["PLAIN", "Machine", "Setting", "replace", "setting"]
