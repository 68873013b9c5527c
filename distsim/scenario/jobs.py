"""Several jobs on one cluster: ``jobs:`` in a scenario file.

    name: two-jobs
    cluster: {topology: dgx-h100-superpod, devices: 64}
    jobs:
      - {name: a, devices: 32, model: gpt3-6.7b, batch: {global_size: 64}}
      - {name: b, devices: 32, placement: strided, model: gpt3-1.3b, batch: {global_size: 64}}

A job says what a scenario says, but for the cluster, which is common: in its place it states how
many devices it takes, and how they are chosen among those that the jobs before it left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, PrivateAttr, Strict, ValidationError

from distsim.errors import PlanError, ValueProblem
from distsim.parallel.placement import place
from distsim.positions import Path, Positions, Shifted
from distsim.prediction.jobs import JobCase
from distsim.scenario.load import build, read
from distsim.scenario.overrides import apply
from distsim.scenario.problems import first_problem
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Block, Degree, Name, NameOrBlock, PlacementKind, Scenario, Time

#: Jobs of one file.
MOST_JOBS = 64
#: Keys of a job that a scenario has under cluster, or not at all.
_OWN = ("name", "devices", "placement", "start")


class Fabric(Block):
    """The hardware that all jobs share."""

    topology: NameOrBlock = Field(description="As in a scenario of one job.")
    devices: Degree = Field(description="Devices of the whole cluster.")
    device: Name | None = Field(default=None, description="As in a scenario of one job.")
    library: NameOrBlock | None = Field(default=None, description="As in a scenario of one job.")


class Job(Block):
    """One job: a scenario without a cluster."""

    name: Name = Field(description="Name for reports.")
    devices: Degree = Field(description="Devices that the job takes.")
    placement: PlacementKind = Field(
        default="packed", description="How they are chosen among the free ones."
    )
    start: Time = Field(default=0.0, description="When its first step begins, with unit (2 s).")
    model: Any = Field(description="As in a scenario of one job.")
    batch: Any = Field(description="As in a scenario of one job.")
    plan: Any = Field(default=None, description="As in a scenario of one job.")
    precision: Any = Field(default=None, description="As in a scenario of one job.")
    optimizer: Any = Field(default=None, description="As in a scenario of one job.")
    stack: Any = Field(default=None, description="As in a scenario of one job.")


class Jobs(Block):
    """Several jobs on one cluster."""

    schema_version: Annotated[int, Field(ge=1, le=1)] = Field(
        default=1, alias="schema", description="Version of the format."
    )
    name: Name = Field(description="Name for reports.")
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(default=0, description="Of placements.")
    cluster: Fabric = Field(description="The hardware.")
    jobs: Annotated[tuple[Job, ...], Strict(False), Field(min_length=1, max_length=MOST_JOBS)] = (
        Field(description="The jobs.")
    )

    _scenarios: tuple[Scenario, ...] = PrivateAttr(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that load back to the same jobs."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """Each job as a scenario of its own."""
        return self._scenarios


def load_any(
    source: str | PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = ()
) -> Scenario | Jobs:
    """Return a scenario of one job, or of several; see `distsim.scenario.load.load`."""
    data, positions = read(source)
    if overrides:
        data = apply(data, overrides, positions)
    return build_any(data, positions)


def build_any(data: dict[str, Any], positions: Positions) -> Scenario | Jobs:
    """Return the scenario of a file's content, of one job or of several."""
    return _jobs(data, positions) if "jobs" in data else build(data, positions)


def load_jobs(
    source: str | PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = ()
) -> Jobs:
    """Return a scenario of several jobs.

    Raises
    ------
    ValueProblem
        DS246 for one without ``jobs``, and whatever is wrong in it.
    """
    found = load_any(source, overrides)
    if isinstance(found, Jobs):
        return found
    raise ValueProblem(
        "DS246", f"{found.name} has no jobs", rule="a scenario with jobs: [...]", fix="use load"
    )


def _jobs(data: dict[str, Any], positions: Positions) -> Jobs:
    blocks: dict[Path, type[Block]] = {(): Jobs, ("cluster",): Fabric, ("jobs",): Job}
    try:
        jobs = Jobs.model_validate(data)
    except ValidationError as error:
        raise first_problem(error, positions, blocks) from None
    scenarios = [
        _scenario(jobs, index, data["jobs"][index], positions) for index in range(len(jobs.jobs))
    ]
    wanted = sum(job.devices for job in jobs.jobs)
    if wanted > jobs.cluster.devices:
        place_ = positions.place(("cluster", "devices"))
        counts = " + ".join(str(job.devices) for job in jobs.jobs)
        problem = PlanError(
            "DS313",
            f"the jobs take {wanted} devices of a cluster of {jobs.cluster.devices}",
            path=("cluster", "devices"),
            value=jobs.cluster.devices,
            rule=f"devices({jobs.cluster.devices}) >= {counts}",
            fix=f"set cluster.devices to {wanted} or more, or give jobs fewer",
        )
        raise problem.at(place_) if place_ else problem
    copy = jobs.model_copy()
    copy._scenarios = tuple(scenarios)
    return copy


def _scenario(jobs: Jobs, index: int, given: Mapping[str, Any], positions: Positions) -> Scenario:
    cluster = jobs.cluster.model_dump(mode="json", exclude_none=True)
    job = jobs.jobs[index]
    data: dict[str, Any] = {k: v for k, v in given.items() if k not in _OWN}
    data |= {
        "name": f"{jobs.name}: {job.name}",
        "seed": jobs.seed,
        "cluster": cluster
        | {"devices": job.devices, "of": jobs.cluster.devices, "placement": job.placement},
        "evaluator": "event",
    }
    here: Path = ("jobs", index)
    moved: dict[Path, Path] = {
        ("cluster", "devices"): (*here, "devices"),
        ("cluster", "placement"): (*here, "placement"),
        ("cluster", "of"): ("cluster", "devices"),
        ("cluster",): ("cluster",),
    }
    return build(data, Shifted(positions, here, moved))


def resolve_jobs(jobs: Jobs) -> list[JobCase]:
    """Resolve every job and give it devices of its own, in the order of the file."""
    out: list[JobCase] = []
    free: npt.NDArray[np.int64] | None = None
    for index, (job, scenario) in enumerate(zip(jobs.jobs, jobs.scenarios, strict=True)):
        case = resolve(scenario)
        topology = case.inputs.topology
        node_of = topology.node_of.astype(np.int64)
        if free is None:
            free = np.arange(topology.n_devices)
        device_of = place(job.placement, job.devices, free, node_of, jobs.seed + index)
        free = np.setdiff1d(free, device_of)
        case = replace(case, inputs=replace(case.inputs, device_of=device_of))
        nodes = len(np.unique(node_of[device_of]))
        out.append(JobCase(job.name, job.placement, nodes, case, job.start))
    return out
