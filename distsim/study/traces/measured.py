"""A measured step beside the predicted one: exposed time by kind, busy time by stream.

An instant of a device belongs to one kind of what is under way: to compute if any kernel computes,
else to the communication that it waits for, else to nobody (idle). So the parts sum to the step, as
those of `distsim.prediction.breakdown` do, whose bubble and waits for the host are idle here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.prediction.breakdown import breakdown
from distsim.prediction.predict import Prediction
from distsim.prediction.timeline import Span
from distsim.study.traces.kinds import COMMUNICATION, COMPUTE, KINDS, OFFLOAD, OPTIMIZER
from distsim.study.traces.kineto import Kernel, KinetoTrace, Step

IDLE = "idle"
#: Kinds of a comparison, in the order of a report.
PARTS = (COMPUTE, OPTIMIZER, *COMMUNICATION, OFFLOAD, IDLE)
#: Kernels that a summary names.
_NAMED = 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of a comparison, seconds of a step.

    Attributes
    ----------
    measured_s : float
        Exposed: mean over the steps.
    busy_s : float
        With what kernels hide; 0 for idle.
    predicted_s : float or None
        None without a scenario, and for communication of unknown kind.
    """

    kind: str
    measured_s: float
    busy_s: float
    predicted_s: float | None

    @property
    def error(self) -> float | None:
        """Predicted over measured, less 1; None where one of them is missing or 0."""
        if self.predicted_s is None or not self.measured_s:
            return None
        return self.predicted_s / self.measured_s - 1.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A trace, summed up, and the prediction beside it.

    Attributes
    ----------
    step_s, low_s, high_s : float
        Mean, shortest and longest of the steps.
    parts : tuple of Part
        They sum to `step_s`.
    streams : tuple of dict
        ``stream, kernels, busy_s, by_kind`` of one step, on average.
    kernels : tuple of dict
        The longest by name: ``name, kind, count, time_s`` of one step, on average.
    predicted_rank : int or None
        Rank whose breakdown is shown; None for the mean over devices.
    """

    trace: KinetoTrace
    step_s: float
    low_s: float
    high_s: float
    parts: tuple[Part, ...]
    streams: tuple[dict[str, Any], ...]
    kernels: tuple[dict[str, Any], ...]
    prediction: Prediction | None = None
    predicted_rank: int | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        predicted = self.prediction
        return {
            "file": self.trace.file,
            "device": self.trace.device,
            "rank": self.trace.rank,
            "world_size": self.trace.world_size,
            "steps": [{"number": s.number, "step_s": s.duration_s} for s in self.trace.steps],
            "step_s": self.step_s,
            "low_s": self.low_s,
            "high_s": self.high_s,
            "scenario": predicted.scenario if predicted else None,
            "predicted_step_s": predicted.step_s if predicted else None,
            "predicted_rank": self.predicted_rank,
            "error": predicted.step_s / self.step_s - 1.0 if predicted and self.step_s else None,
            "parts": [
                {
                    "kind": p.kind,
                    "measured_s": p.measured_s,
                    "busy_s": p.busy_s,
                    "predicted_s": p.predicted_s,
                    "error": p.error,
                }
                for p in self.parts
            ],
            "streams": list(self.streams),
            "kernels": list(self.kernels),
            "notes": list(self.notes),
        }


def compared(trace: KinetoTrace, prediction: Prediction | None = None) -> Comparison:
    """Sum up a trace by kind and stream, and put a prediction beside it."""
    notes = list(trace.notes)
    each = [exposed(step) for step in trace.steps]
    mean = {kind: float(np.mean([parts[kind] for parts in each])) for kind in PARTS}
    busy = {
        kind: float(np.mean([_union(_of_kinds(s, (kind,))) for s in trace.steps])) for kind in KINDS
    }
    predicted, rank = _predicted(trace, prediction, notes) if prediction else ({}, None)
    parts = tuple(
        Part(kind, mean[kind], busy.get(kind, 0.0), predicted.get(kind))
        for kind in PARTS
        if mean[kind] > 0 or busy.get(kind) or predicted.get(kind)
    )
    times = [step.duration_s for step in trace.steps]
    return Comparison(
        trace,
        float(np.mean(times)),
        min(times),
        max(times),
        parts,
        tuple(_streams(trace.steps)),
        tuple(_longest(trace.steps)),
        prediction,
        rank,
        tuple(notes),
    )


def exposed(step: Step) -> dict[str, float]:
    """Return seconds of each of `PARTS`; they sum to the step."""
    out, covered = {}, 0.0
    for n, kind in enumerate(KINDS):
        total = _union(_of_kinds(step, KINDS[: n + 1]))
        out[kind], covered = total - covered, total
    out[IDLE] = step.duration_s - covered
    return out


def _of_kinds(step: Step, kinds: Sequence[str]) -> Floats:
    """Return begin and end of the kernels of some kinds within the step, shape (n, 2)."""
    rows = [
        (k.start_s, min(k.end_s, step.end_s))
        for k in step.kernels
        if k.kind in kinds and k.start_s < step.end_s
    ]
    return np.asarray(rows, dtype=np.float64).reshape(-1, 2)


def _union(spans: Floats) -> float:
    """Return the time during which any of the spans, sorted by begin, is under way."""
    if not len(spans):
        return 0.0
    begin, end = spans[:, 0], np.maximum.accumulate(spans[:, 1])
    gaps = np.maximum(begin[1:] - end[:-1], 0.0)
    return float(end[-1] - begin[0] - gaps.sum())


def _predicted(
    trace: KinetoTrace, prediction: Prediction, notes: list[str]
) -> tuple[dict[str, float], int | None]:
    """Return the predicted parts of the rank of the trace, else the mean over devices."""
    timeline = prediction.timeline
    parts: Mapping[str, float] = prediction.breakdown.to_dict()
    rank = trace.rank
    if trace.world_size is not None and trace.world_size != prediction.devices:
        notes.append(
            f"the trace is of {trace.world_size} ranks and the scenario of {prediction.devices} "
            "devices"
        )
        rank = None
    class_of = timeline.program.network.fold.class_of
    one_step = abs(timeline.run.makespan - prediction.step_s) <= 1e-9 * prediction.step_s
    if rank is not None and rank < len(class_of) and one_step:
        parts = breakdown(timeline.program, timeline.run)[1][int(class_of[rank])]
    else:
        rank = None
    out = {kind: parts.get(f"{kind}_s", 0.0) for kind in KINDS if f"{kind}_s" in parts}
    out[IDLE] = parts["bubble_s"] + parts["host_s"]
    return out, rank


def _streams(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    count: Counter[str] = Counter()
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(KINDS, 0.0))
    for kernel in _all(steps):
        count[kernel.stream] += 1
        seconds[kernel.stream][kernel.kind] += kernel.end_s - kernel.start_s
    number = len(steps)
    for stream, kinds in sorted(
        seconds.items(), key=lambda item: (-sum(item[1].values()), item[0])
    ):
        by_kind = {kind: kinds[kind] / number for kind in KINDS if kinds[kind]}
        yield {
            "stream": stream,
            "kernels": count[stream] / number,
            "busy_s": sum(by_kind.values()),
            "by_kind": by_kind,
        }


def _longest(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    count: Counter[tuple[str, str]] = Counter()
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for kernel in _all(steps):
        key = (kernel.name, kernel.kind)
        count[key] += 1
        seconds[key] += kernel.end_s - kernel.start_s
    for key, total in sorted(seconds.items(), key=lambda item: (-item[1], item[0]))[:_NAMED]:
        yield {
            "name": key[0],
            "kind": key[1],
            "count": count[key] / len(steps),
            "time_s": total / len(steps),
        }


def _all(steps: Iterable[Step]) -> Iterator[Kernel]:
    for step in steps:
        yield from step.kernels


def typical(trace: KinetoTrace) -> Step:
    """Return the step whose time is the median, the shorter of two."""
    ordered = sorted(trace.steps, key=lambda step: step.duration_s)
    return ordered[(len(ordered) - 1) // 2]


def measured_spans(trace: KinetoTrace) -> Iterator[Span]:
    """Yield the kernels of the typical step, from its begin on, as spans of a timeline."""
    step, rank = typical(trace), trace.rank or 0
    for kernel in step.kernels:
        yield Span(
            kernel.name,
            kernel.kind,
            rank,
            kernel.stream,
            kernel.start_s - step.start_s,
            kernel.end_s - kernel.start_s,
            {"step": step.number},
        )
