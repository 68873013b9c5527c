"""From a resolved case to a prediction: build, evaluate, measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from distsim.engine import graph, passes
from distsim.engine.result import Run
from distsim.parallel.activations import in_flight_bytes
from distsim.parallel.memory import (
    FRAGMENTATION,
    NOTHING,
    StageMemory,
    recomputed_bytes,
    stage_memory,
)
from distsim.parallel.plan import Plan
from distsim.parallel.stages import Chunk
from distsim.prediction.advice import memory_advice
from distsim.prediction.bounds import Bounds
from distsim.prediction.breakdown import Breakdown
from distsim.prediction.case import Case
from distsim.prediction.interval import Interval
from distsim.prediction.jitter import Distribution, distribution
from distsim.prediction.measured import Measured, batches, difference, measure
from distsim.prediction.memory_timeline import MemoryTimelines
from distsim.prediction.overheads import Overheads, overheads
from distsim.prediction.timeline import Timeline
from distsim.prediction.usage import Usage, usage_of
from distsim.program.build import Inputs, Program, build
from distsim.program.outline import outline


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of every pipeline stage against the device's capacity, bytes.

    Attributes
    ----------
    peak_bytes : float
        What is allocated on the fullest stage.
    plan : Plan
    fragmentation : float
        What the caching allocator may hold beyond that, over what it allocates.
    """

    peak_bytes: float
    capacity_bytes: float
    stages: tuple[StageMemory, ...]
    plan: Plan
    fragmentation: float = FRAGMENTATION

    @property
    def fits(self) -> bool:
        """Whether the fullest stage fits."""
        return self.peak_bytes <= self.capacity_bytes

    @property
    def advice(self) -> tuple[str, ...]:
        """What is over by how much, and what would make it fit; empty where it does."""
        return () if self.fits else memory_advice(self.plan, self.stages, self.capacity_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "peak_bytes": self.peak_bytes,
            "capacity_bytes": self.capacity_bytes,
            "fits": self.fits,
            "stages": [
                s.to_dict() | {"fragmentation_reserve_bytes": s.reserve_bytes(self.fragmentation)}
                for s in self.stages
            ],
            "advice": list(self.advice),
        }


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one optimizer step takes, where its time goes, and whether it fits.

    Attributes
    ----------
    step_s : float
    tokens_per_s, tokens_per_s_per_device : float
    model_flop_per_s_per_device : float
        FLOP of the model (without recomputation) over time.
    mfu, hfu : float
        Model and hardware FLOP (with recomputation) over the dense peak, 0..1.
    interval : Interval or None
        Between what times the step lies, by the errors of validated runs; `distsim.simulate` has
        it, `predict` leaves it out.
    """

    scenario: str
    model: str
    parameters: int
    evaluator: str
    devices: int
    plan: dict[str, Any]
    step_s: float
    tokens_per_s: float
    tokens_per_s_per_device: float
    model_flop_per_s_per_device: float
    mfu: float
    hfu: float
    breakdown: Breakdown
    memory: Memory
    links: Usage
    bounds: Bounds
    bottleneck: str
    warnings: tuple[str, ...]
    events: int
    tasks: int
    classes: int
    resolved: dict[str, Any] = field(repr=False)
    timeline: Timeline = field(repr=False)
    memory_timeline: MemoryTimelines = field(repr=False)
    distribution: Distribution | None = None
    overheads: Overheads | None = None
    interval: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        return {
            "scenario": self.scenario,
            "model": self.model,
            "parameters": self.parameters,
            "evaluator": self.evaluator,
            "devices": self.devices,
            "plan": self.plan,
            "resolved": self.resolved,
            "step_s": self.step_s,
            "tokens_per_s": self.tokens_per_s,
            "tokens_per_s_per_device": self.tokens_per_s_per_device,
            "model_flop_per_s_per_device": self.model_flop_per_s_per_device,
            "mfu": self.mfu,
            "hfu": self.hfu,
            "breakdown": self.breakdown.to_dict(),
            "memory": self._memory(),
            "links": self.links.to_dict(),
            "bounds": {"lower_s": self.bounds.lower_s, "upper_s": self.bounds.upper_s},
            "bottleneck": self.bottleneck,
            "warnings": list(self.warnings),
            "events": self.events,
            "tasks": self.tasks,
            "classes": self.classes,
            "distribution": self.distribution.to_dict() if self.distribution else None,
            "overheads": self.overheads.to_dict() if self.overheads else None,
            "interval": self.interval.to_dict() if self.interval else None,
        }

    def _memory(self) -> dict[str, Any]:
        """Return the closed forms, with when each stage peaks and what it then holds."""
        out = self.memory.to_dict()
        for stage, seen in zip(out["stages"], self.memory_timeline.by_stage(), strict=True):
            stage |= {"peak_s": seen.peak_s, "holds": seen.holds}
        return out


def evaluate(program: Program, evaluator: str) -> Run:
    """Run the cheapest valid evaluator, or the one that is asked for.

    ``auto`` takes the longest path and keeps it if no link is ever asked for more than it has and
    no kernel meets a transfer that slows it; then the discrete-event engine would give the same.
    """
    if evaluator != "event":
        run = graph.evaluate(program.graph)
        if evaluator == "graph" or graph.is_valid(program.graph, run):
            return run
    from distsim.engine import event  # SimPy is only loaded where it runs

    return event.evaluate(program.graph)


def memory(case: Case) -> Memory:
    """Add up the memory of every stage."""
    plan = case.inputs.plan
    inputs, last = case.inputs, batches(plan)[-1]
    inputs = inputs if inputs.batches == last else replace(inputs, batches=last)
    #: Stages that hold the same chunks differ only in what is in flight.
    known: dict[tuple[int, ...], StageMemory] = {}
    held = list(zip(*[v.chunks for v in inputs.variants], strict=True))
    keys = [tuple([id(of) for of in chunks]) for chunks in held]
    for stage, key in enumerate(keys):
        if key not in known:
            known[key] = _stage_memory(case, inputs, stage, held[stage])
    in_flight = in_flight_bytes(inputs.orders(), held, inputs.variants_of())
    stages = [
        known[key].with_activations(active) for key, active in zip(keys, in_flight, strict=True)
    ]
    # The stage that is nearest to what its smallest device has.
    peaks = [(s.peak_bytes, room) for s, room in zip(stages, _room_bytes(inputs), strict=True)]
    peak, capacity = max(peaks, key=lambda pair: pair[0] / pair[1])
    gaps = case.footprint.fragmentation
    share = FRAGMENTATION if gaps is None else gaps
    return Memory(peak, capacity, tuple(stages), plan, share)


def _room_bytes(inputs: Inputs) -> list[float]:
    """Return the memory of the smallest device of each stage."""
    plan = inputs.plan
    if len(inputs.devices) == 1:
        return [inputs.device.memory_bytes] * plan.pp
    size = np.asarray([d.memory_bytes for d in inputs.devices])[inputs.kinds()]
    room = np.full(plan.pp, np.inf)
    np.minimum.at(room, plan.mesh().stage_of(), size)
    out: list[float] = room.tolist()
    return out


def _stage_memory(
    case: Case, inputs: Inputs, stage: int, chunks: Sequence[Sequence[Chunk]]
) -> StageMemory:
    """Add up a stage without what is in flight; `chunks` are ``[variant][chunk]``."""
    return stage_memory(
        inputs.plan,
        inputs.data,
        case.numerics,
        chunks[0],
        0.0,
        optimizer_bytes=case.optimizer_bytes[stage],
        boundary_bytes=inputs.boundary_bytes,
        reserved_bytes=inputs.device.reserved_bytes,
        offload=inputs.offloading.offload if inputs.offloading else NOTHING,
        working_bytes=max(
            max(recomputed_bytes(list({id(c): c for c in held}.values())), default=0.0)
            for held in chunks
        ),
        footprint=case.footprint,
    )


_NAMES = {
    "tensor_s": "exposed tensor-parallel communication",
    "pipeline_s": "exposed pipeline sends",
    "data_s": "exposed data-parallel communication",
    "context_s": "exposed context-parallel communication",
    "expert_s": "exposed expert-parallel communication",
    "bubble_s": "the pipeline bubble and waiting for other stages",
    "optimizer_s": "the optimizer",
    "offload_s": "copies to and from the host, and its update",
    "host_s": "waiting for the host to launch kernels",
}


def _bottleneck(parts: Breakdown, step_s: float) -> str:
    share = {k: v / step_s for k, v in parts.to_dict().items()}
    worst = max(_NAMES, key=lambda k: share[k])
    text = f"compute takes {100 * share['compute_s']:.0f} % of the step"
    if share[worst] < 0.005:
        return text
    return f"{text}; the largest loss is {_NAMES[worst]}, {100 * share[worst]:.1f} %"


def predict(case: Case, *, evaluator: str | None = None, fold: bool = True) -> Prediction:
    """Predict one optimizer step.

    Parameters
    ----------
    evaluator : str, optional
        ``auto``, ``graph`` or ``event``; by default what the scenario says.
    fold : bool
        False simulates every rank.
    """
    asked = evaluator or case.evaluator
    steps: list[Measured] = []
    for count in batches(case.inputs.plan):
        program = build(replace(case.inputs, batches=count), fold_enabled=fold)
        run = evaluate(program, asked)
        steps.append(measure(program, run))
    step = steps[0] if len(steps) == 1 else difference(*steps)
    return assemble(case, program, run, asked, step)


def step_time_s(case: Case, *, evaluator: str | None = None) -> float:
    """Return the time of one optimizer step alone, as `predict` gives it, in seconds.

    For the graph evaluator most plans need no graph (`distsim.program.outline`): that is about ten
    times as fast.
    """
    asked = evaluator or case.evaluator
    if asked == "graph" and (found := outline(case.inputs)) is not None:
        return passes.step_s(found)
    if len(counts := batches(case.inputs.plan)) > 1:
        return predict(case, evaluator=evaluator).step_s
    return evaluate(build(replace(case.inputs, batches=counts[0])), asked).makespan


def assemble(case: Case, program: Program, run: Run, asked: str, step: Measured) -> Prediction:
    """Put a prediction together: rates, where its time goes, memory, links.

    Parameters
    ----------
    asked : str
        The evaluator that was asked for.
    step : Measured
        One step of the run.
    """
    inputs = case.inputs
    step_s, parts = step.step_s, step.parts
    devices = inputs.plan.devices
    peak = case.peak_flop_per_s
    warnings = list(case.warnings)
    if run.evaluator == "graph" and asked == "graph" and not graph.is_valid(program.graph, run):
        warnings.append(
            "transfers share links in this plan, which the graph evaluator does not see: "
            "step_s is a lower bound; use --evaluator event"
        )
    needs = memory(case)
    if not needs.fits:
        warnings.append("the plan does not fit into device memory")
    return Prediction(
        scenario=case.name,
        model=case.model,
        parameters=case.parameters,
        evaluator=run.evaluator,
        devices=devices,
        plan=inputs.plan.to_dict(),
        step_s=step_s,
        tokens_per_s=case.tokens / step_s,
        tokens_per_s_per_device=case.tokens / step_s / devices,
        model_flop_per_s_per_device=case.model_flop / step_s / devices,
        mfu=case.model_flop / step_s / peak,
        hfu=case.hardware_flop / step_s / peak,
        breakdown=parts,
        memory=needs,
        links=usage_of(program.network.topology, step.link_bytes, step_s),
        bounds=step.bounds,
        bottleneck=_bottleneck(parts, step_s),
        warnings=tuple(warnings),
        events=run.n_events,
        tasks=program.graph.n_tasks,
        classes=len(program.classes),
        resolved=case.resolved,
        timeline=Timeline(program, run),
        memory_timeline=MemoryTimelines(program, run, needs.stages, needs.fragmentation),
        distribution=_distribution(case, program, run),
        overheads=_overheads(case, step_s),
    )


def _overheads(case: Case, step_s: float) -> Overheads | None:
    rest = case.rest
    if not rest.any:
        return None
    return overheads(
        step_s, loading=rest.loading, checkpoint=rest.checkpoint, evaluation=rest.evaluation
    )


def _distribution(case: Case, program: Program, run: Run) -> Distribution | None:
    if case.noise is None:
        return None
    drawn = case.noise
    return distribution(program, run, drawn.noise, drawn.samples, drawn.seed)
