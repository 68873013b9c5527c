"""Several jobs on one fabric: what sharing it costs each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from distsim.engine.result import Run
from distsim.errors import PlanError
from distsim.prediction.case import Case
from distsim.prediction.measured import measure
from distsim.prediction.predict import Prediction, assemble, predict
from distsim.prediction.usage import Usage, link_bytes, usage_of
from distsim.program.jobs import Joint, join

#: Steps of a job at most, and tasks of all of them: a short job beside a long one stops there.
_MOST_STEPS, _MOST_TASKS = 64, 2_000_000


@dataclass(frozen=True, slots=True)
class JobResult:
    """One job among others.

    Attributes
    ----------
    prediction : Prediction
        Of a step during which all jobs run.
    alone_s : float
        Step time on the same devices with the fabric to itself.
    steps : int
        Steps over which the shared step time is the mean.
    """

    name: str
    placement: str
    nodes: int
    prediction: Prediction
    step_s: float
    alone_s: float
    steps: int

    @property
    def slowdown(self) -> float:
        """Shared over alone."""
        return self.step_s / self.alone_s

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "placement": self.placement,
            "devices": self.prediction.devices,
            "nodes": self.nodes,
            "step_s": self.step_s,
            "alone_s": self.alone_s,
            "slowdown": self.slowdown,
            "steps": self.steps,
            "prediction": self.prediction.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class JobsPrediction:
    """All jobs, and what the links carry while they all run.

    Attributes
    ----------
    links : Usage
        Over a step of the job whose steps are longest.
    """

    scenario: str
    topology: str
    devices: int
    jobs: tuple[JobResult, ...]
    links: Usage
    events: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        return {
            "scenario": self.scenario,
            "topology": self.topology,
            "devices": self.devices,
            "jobs": [job.to_dict() for job in self.jobs],
            "links": self.links.to_dict(),
            "events": self.events,
        }


@dataclass(frozen=True, slots=True)
class JobCase:
    """A job to predict, on devices of its own.

    Attributes
    ----------
    nodes : int
        On which it runs.
    start_s : float
        When its first step begins.
    """

    name: str
    placement: str
    nodes: int
    case: Case
    start_s: float


def predict_jobs(name: str, jobs: Sequence[JobCase], *, fold: bool = True) -> JobsPrediction:
    """Predict steps of jobs that run side by side.

    Every job repeats its step for about as long as the longest step of any job takes, twice. Its
    shared step time is the mean over the steps that began while all jobs still ran.

    Raises
    ------
    PlanError
        DS308 for a schedule without a flush, whose steps do not follow one another.
    """
    from distsim.engine import event

    for index, job in enumerate(jobs):
        plan = job.case.inputs.plan
        if not plan.pipeline.flush:
            raise PlanError(
                "DS308",
                f"job {job.name!r} has schedule {plan.schedule}, whose batches overlap",
                path=("jobs", index, "plan", "schedule"),
                value=plan.schedule,
                rule="jobs side by side repeat whole steps, one after another",
                fix="choose a schedule that flushes, such as 1f1b",
            )
    topology = jobs[0].case.inputs.topology
    alone = [predict(job.case, evaluator="event", fold=fold) for job in jobs]
    copies = _copies([p.step_s for p in alone], [p.tasks for p in alone])
    joint = join(
        [job.case.inputs for job in jobs],
        topology,
        copies,
        [job.start_s for job in jobs],
        fold_enabled=fold,
    )
    run = event.evaluate(joint.graph)
    ends = [_last_end(joint, run, index) for index in range(len(jobs))]
    results, bytes_per_s = [], np.zeros(topology.n_links)
    for index, (job, single) in enumerate(zip(jobs, alone, strict=True)):
        spans = [_span(joint, run, index, copy) for copy in range(copies[index])]
        counted = [s for s in spans if s[0] < min(ends)] or spans[:1]
        step_s = (counted[-1][1] - counted[0][0]) / len(counted)
        program = joint.programs[index]
        one = _one_step(joint, run, index)
        shown = assemble(job.case, program, one, "event", measure(program, one))
        results.append(
            JobResult(
                job.name, job.placement, job.nodes, shown, step_s, single.step_s, len(counted)
            )
        )
        bytes_per_s += link_bytes(program) / step_s
    longest_s = max(job.step_s for job in results)
    return JobsPrediction(
        name,
        topology.name,
        topology.n_devices,
        tuple(results),
        usage_of(topology, bytes_per_s * longest_s, longest_s),
        run.n_events,
    )


def _copies(steps_s: Sequence[float], tasks: Sequence[int]) -> list[int]:
    longest = max(steps_s)
    out = []
    for step_s, count in zip(steps_s, tasks, strict=True):
        wanted = 2 * ceil(longest / step_s)
        out.append(max(1, min(wanted, _MOST_STEPS, _MOST_TASKS // max(count, 1))))
    return out


def _span(joint: Joint, run: Run, job: int, copy: int) -> tuple[float, float]:
    """Return when a step of a job begins and ends."""
    tasks = joint.step_tasks(job, copy)
    return float(run.start_s[tasks].min()), float(run.end_s[tasks].max())


def _last_end(joint: Joint, run: Run, job: int) -> float:
    return _span(joint, run, job, joint.copies[job] - 1)[1]


def _one_step(joint: Joint, run: Run, job: int) -> Run:
    """Return the first step of a job as a run that begins at zero."""
    tasks = joint.step_tasks(job, 0)
    begin = _span(joint, run, job, 0)[0]
    return replace(
        run, start_s=run.start_s[tasks] - begin, end_s=run.end_s[tasks] - begin, n_events=0
    )
