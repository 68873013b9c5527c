"""A timeline as Chrome trace events, which Perfetto and chrome://tracing open.

Format: "Trace Event Format" (Google, 2016), JSON object form: complete events (``ph`` X), counters
(``ph`` C) and metadata (``ph`` M). Instants and durations are in microseconds, ``pid`` is the rank,
``tid`` the stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

#: Events that are written at once.
_CHUNK = 2048


class SpanLike(Protocol):
    """One task on one stream of one rank; see `distsim.prediction.timeline.Span`."""

    @property
    def name(self) -> str:
        """What runs."""

    @property
    def category(self) -> str:
        """Kind of task."""

    @property
    def rank(self) -> int:
        """Rank that it runs on."""

    @property
    def stream(self) -> str:
        """Stream of the rank."""

    @property
    def start_s(self) -> float:
        """Begin, seconds."""

    @property
    def duration_s(self) -> float:
        """Duration, seconds."""

    @property
    def args(self) -> Mapping[str, Any]:
        """Details."""


def events(spans: Iterable[SpanLike]) -> Iterator[dict[str, Any]]:
    """Yield trace events: the name of each rank and stream before its first span."""
    streams: dict[tuple[int, str], int] = {}
    order: dict[int, int] = {}
    for span in spans:
        if span.rank not in order:
            order[span.rank] = 0
            yield from _name_rank(span)
        key = (span.rank, span.stream)
        if key not in streams:
            streams[key] = order[span.rank]
            order[span.rank] += 1
            yield from _name_stream(span, streams[key])
        start_us, end_us = _us(span.start_s), _us(span.start_s + span.duration_s)
        yield {
            "name": span.name,
            "cat": span.category,
            "ph": "X",
            "ts": start_us,
            # From rounded ends, so that neighbours on a stream touch and never overlap.
            "dur": round(end_us - start_us, 3),
            "pid": span.rank,
            "tid": streams[key],
            "args": dict(span.args),
        }


class MemoryLike(Protocol):
    """Memory of one rank; see `distsim.prediction.memory_timeline.MemoryTimeline`."""

    @property
    def rank(self) -> int:
        """Rank that it is of."""

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Instants, shape (n,)."""

    @property
    def parts(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """Bytes of each category from each instant on, shape (n,)."""


def counters(timelines: Iterable[MemoryLike]) -> Iterator[dict[str, Any]]:
    """Yield a counter event for each change of memory; categories that are never used are left out.

    Viewers stack the categories of a counter, in bytes.
    """
    for timeline in timelines:
        used = {name: part for name, part in timeline.parts.items() if part.any()}
        columns = [np.rint(part).astype(np.int64).tolist() for part in used.values()]
        for time_s, *values in zip(timeline.times_s.tolist(), *columns, strict=True):
            yield {
                "name": "memory",
                "ph": "C",
                "ts": _us(time_s),
                "pid": timeline.rank,
                "args": dict(zip(used, values, strict=True)),
            }


def _us(instant_s: float) -> float:
    """Return microseconds, to the nanosecond that trace viewers resolve."""
    return round(instant_s * 1e6, 3)


def _name_rank(span: SpanLike) -> Iterator[dict[str, Any]]:
    stage, ranks = span.args.get("stage"), span.args.get("ranks", 1)
    name = f"rank {span.rank}"
    if stage is not None:
        name += f", stage {stage}"
    if ranks > 1:
        name += f" (stands for {ranks} ranks)"
    yield _metadata("process_name", span.rank, 0, {"name": name})
    yield _metadata("process_sort_index", span.rank, 0, {"sort_index": span.rank})


def _name_stream(span: SpanLike, tid: int) -> Iterator[dict[str, Any]]:
    # The compute stream on top, the others as they first appear.
    place = -1 if span.stream == "compute" else tid
    yield _metadata("thread_name", span.rank, tid, {"name": span.stream})
    yield _metadata("thread_sort_index", span.rank, tid, {"sort_index": place})


def _metadata(name: str, pid: int, tid: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": pid, "tid": tid, "args": args}


def chunks(
    spans: Iterable[SpanLike], about: Mapping[str, Any], memory: Iterable[MemoryLike] = ()
) -> Iterator[str]:
    """Yield the trace file in pieces, so that a long one never stands in memory as a whole.

    Parameters
    ----------
    spans : iterable of SpanLike
        In any order.
    about : mapping
        What the trace shows; viewers list it as metadata.
    memory : iterable of MemoryLike
        Shown as a counter of its rank.
    """
    head = {"displayTimeUnit": "ms", "otherData": dict(about)}
    yield json.dumps(head, allow_nan=False)[:-1] + ', "traceEvents": [\n'
    encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
    pending: list[str] = []
    separator = ""
    for event in chain(events(spans), counters(memory)):
        pending.append(encode(event))
        if len(pending) == _CHUNK:
            yield separator + ",\n".join(pending)
            separator = ",\n"
            pending.clear()
    yield (separator + ",\n".join(pending) if pending else "") + "\n]}\n"
