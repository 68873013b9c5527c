"""A timeline as columns: a few numbers for each span, in bytes that a browser reads at once."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.prediction.predict import Prediction
from distsim.prediction.timeline import Timeline
from distsim.program.opgraph import TaskKind
from distsim.report.html.page import Section, section
from distsim.study.whatif.path import critical_path

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Operators of all segments together that are shown one by one; beyond, a segment shows sums.
_MOST_PARTS = 150_000
#: Parts of the cost of a segment, in the order in which they are written.
_COSTS = ("compute_s", "tensor_s", "context_s", "expert_s", "host_wait_s")
_COMPUTING = (TaskKind.COMPUTE, TaskKind.OPTIMIZER)


def timeline_section(prediction: Prediction) -> Section:
    """Return the section with the timeline of a prediction."""
    about = (
        "One row for each stream of a rank that stands for its class. A bar above a span marks the "
        "critical path: the chain of tasks in which each waits for the one before it. "
        "Communication is half as high where kernels of its rank hide it. Zoom with the buttons, "
        "+ and -, two fingers, or the wheel (with Ctrl, or after a click); drag or use the arrow "
        "keys to move."
    )
    return section(
        "timeline", "timeline", "Pipeline timeline", about, **columns_of(prediction.timeline)
    )


def columns_of(timeline: Timeline) -> dict[str, Any]:
    """Return the spans of a timeline as columns, lane by lane and in each by start.

    Returns
    -------
    dict
        ``end_s``; ``kinds``, names of kinds; ``lanes``: stage, rank, ranks and name of each stream
        and where its spans begin (``first`` has one more entry); ``start_s, duration_s, exposed_s``
        and ``label, kind, microbatch, transfer, critical`` of each span in base64, little-endian;
        ``names`` and ``costs`` of labels, ``bytes`` of transfer types, ``parts`` of segments.
    """
    program, run = timeline.program, timeline.run
    graph = program.graph
    stream_rank = _lane_order(timeline)
    order = np.lexsort((run.end_s, run.start_s, stream_rank[graph.stream]))
    lanes = np.argsort(stream_rank)
    counts = np.bincount(stream_rank[graph.stream], minlength=len(lanes))
    critical = np.zeros(graph.n_tasks, dtype=np.uint8)
    critical[critical_path(program, run)] = 1
    exposed = exposed_s(timeline)
    columns = {
        "start_s": _base64(run.start_s[order], "<f8"),
        "duration_s": _base64((run.end_s - run.start_s)[order], "<f4"),
        "exposed_s": _base64(exposed[order], "<f4"),
        "label": _base64(graph.segment[order], "<i4"),
        "kind": _base64(graph.kind[order], "<u1"),
        "microbatch": _base64(graph.microbatch[order], "<i4"),
        "transfer": _base64(graph.transfer[order], "<i4"),
        "critical": _base64(critical[order], "<u1"),
    }
    fold = program.network.fold
    owner = graph.stream_device[lanes]
    return {
        "count": graph.n_tasks,
        "end_s": run.makespan,
        "kinds": [kind.name.lower() for kind in TaskKind],
        "lanes": {
            "name": [program.stream_names[i] for i in lanes.tolist()],
            "stage": [program.classes[i].stage for i in owner.tolist()],
            "rank": fold.example[owner].tolist(),
            "ranks": fold.count[owner].tolist(),
            "first": np.concatenate([[0], np.cumsum(counts)]).tolist(),
        },
        "columns": columns,
        "names": list(graph.names),
        "costs": _costs(timeline),
        "bytes": _transfer_bytes(timeline).tolist(),
        "parts": _parts(timeline),
    }


def _lane_order(timeline: Timeline) -> Ints:
    """Return the place of each stream: by stage and rank, the compute stream of each first."""
    program, graph = timeline.program, timeline.program.graph
    owner = graph.stream_device
    stage = np.asarray([c.stage for c in program.classes])[owner]
    later = np.asarray([name != "compute" for name in program.stream_names])
    used = np.bincount(graph.stream, minlength=len(owner)) > 0
    example = program.network.fold.example[owner]
    order = np.lexsort((np.arange(len(owner)), later, example, stage, ~used))
    place = np.empty(len(owner), dtype=np.int64)
    place[order] = np.arange(len(owner))
    return place


def exposed_s(timeline: Timeline) -> Floats:
    """Return how long each task runs while its rank computes nothing, shape (tasks,).

    Tasks that compute are exposed for their whole length.
    """
    graph, run = timeline.program.graph, timeline.run
    owner = graph.stream_device[graph.stream]
    computing = np.isin(graph.kind, _COMPUTING)
    out = run.end_s - run.start_s
    for index in np.unique(owner[~computing]).tolist():
        busy = np.flatnonzero(computing & (owner == index))
        others = np.flatnonzero(~computing & (owner == index))
        begin, end = _merged(run.start_s[busy], run.end_s[busy])
        hidden = _covered(begin, end, run.end_s[others]) - _covered(begin, end, run.start_s[others])
        out[others] = np.maximum(out[others] - hidden, 0.0)
    return np.asarray(out)


def _merged(start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """Return intervals in order, those that overlap cut at the end of the ones before."""
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    return np.maximum(start, np.concatenate([[-np.inf], end[:-1]])[: len(start)]), end


def _covered(begin: Floats, end: Floats, until: Floats) -> Floats:
    """Return how much of the time before each instant lies in intervals that do not overlap."""
    if not len(begin):
        return np.zeros(len(until))
    total = np.concatenate([[0.0], np.cumsum(np.maximum(end - begin, 0.0))])
    at = np.searchsorted(begin, until, side="right")
    inside = np.minimum(end[at - 1], until) - begin[at - 1]
    return np.asarray(np.where(at > 0, total[at - 1] + np.maximum(inside, 0.0), 0.0))


def _costs(timeline: Timeline) -> list[list[float] | None]:
    """Return what each label that is a segment spends on kernels, waits and the host."""
    program = timeline.program
    return [
        [float(f"{getattr(cost, name):.6g}") for name in _COSTS]
        if label in program.contents
        else None
        for label, cost in enumerate(program.segment_cost)
    ]


def _transfer_bytes(timeline: Timeline) -> Floats:
    """Return the most bytes that each transfer type puts on a link, shape (types,)."""
    graph = timeline.program.graph
    out = np.zeros(graph.n_types)
    types = np.repeat(np.arange(graph.n_types), np.diff(graph.demand_ptr))
    np.maximum.at(out, types, graph.demand_bytes)
    return out


def _parts(timeline: Timeline) -> dict[str, Any]:
    """Return the operators of each segment, one after another; sums by operator if they are many.

    A label without operators has none; ``first`` says where each label's begin.
    """
    program = timeline.program
    contents = program.contents
    sizes = {label: sum(2 for _ in steps) for label, (_, steps) in contents.items()}
    whole = sum(sizes.values()) <= 2 * _MOST_PARTS
    names: dict[tuple[str, str], int] = {}
    first, which, length = [0], list[int](), list[float]()
    for label in range(len(program.graph.names)):
        found: dict[int, float] = {}
        for part in program.parts(label):
            key = names.setdefault((part.name, part.category), len(names))
            if whole:
                which.append(key)
                length.append(part.duration_s)
            else:
                found[key] = found.get(key, 0.0) + part.duration_s
        which += found.keys()
        length += found.values()
        first.append(len(which))
    kinds = [kind.name.lower() for kind in TaskKind]
    return {
        "whole": whole,
        "names": [name for name, _ in names],
        "kinds": [kinds.index(category) for _, category in names],
        "first": _base64(np.asarray(first), "<i4"),
        "which": _base64(np.asarray(which, dtype=np.int64), "<i4"),
        "duration_s": _base64(np.asarray(length), "<f4"),
    }


def _base64(values: npt.NDArray[Any], dtype: str) -> str:
    return b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode()
