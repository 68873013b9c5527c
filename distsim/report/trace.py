"""A timeline as Chrome trace events, which Perfetto and chrome://tracing open.

Format: "Trace Event Format" (Google, 2016), JSON object form: complete events (``ph`` X), flows
(``ph`` s and f), counters (``ph`` C) and metadata (``ph`` M). Instants and durations are in
microseconds. ``pid`` is the rank, ``tid`` the stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

#: Events that are written at once.
_CHUNK = 2048
#: Processes that are no rank of a prediction: measured ones, and the links.
MEASURED_PID, LINKS_PID = 1_000_000_000, 2_000_000_000
#: The resolution of viewers, and what a flow stays inside the span that it leaves, microseconds.
_NANOSECOND = 0.001
#: Names that are kept as JSON.
_KEPT_TEXTS = 10_000
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


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


class ArrowLike(Protocol):
    """From one span to another that waits for it; see `distsim.prediction.arrows.Arrow`."""

    @property
    def category(self) -> str:
        """Kind of transfer."""

    @property
    def rank(self) -> int:
        """Rank of the first span."""

    @property
    def stream(self) -> str:
        """Its stream."""

    @property
    def start_s(self) -> float:
        """Its begin, seconds."""

    @property
    def end_s(self) -> float:
        """Its end, seconds."""

    @property
    def to_rank(self) -> int:
        """Rank of the second span."""

    @property
    def to_stream(self) -> str:
        """Its stream."""

    @property
    def to_start_s(self) -> float:
        """Its begin, seconds."""

    @property
    def to_end_s(self) -> float:
        """Its end, seconds."""


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


class LevelLike(Protocol):
    """Use of a class of links; see `distsim.prediction.link_levels.LinkLevel`."""

    @property
    def name(self) -> str:
        """Name of the class."""

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Instants, shape (n,)."""

    @property
    def share(self) -> npt.NDArray[np.float64]:
        """Share of the bandwidth from each instant on, shape (n,)."""


@dataclass(slots=True)
class Threads:
    """Numbers of the streams of each rank, in the order in which they appear."""

    numbers: dict[tuple[int, str], int] = field(default_factory=dict)
    count: dict[int, int] = field(default_factory=dict)

    def add(self, rank: int, stream: str) -> int:
        """Give a new stream the next number of its rank."""
        number = self.numbers[rank, stream] = self.count.get(rank, 0)
        self.count[rank] = number + 1
        return number


def events(
    spans: Iterable[SpanLike], threads: Threads | None = None, *, measured: bool = False
) -> Iterator[str]:
    """Yield trace events as JSON: the name of each rank and stream before its first span."""
    known = Threads() if threads is None else threads
    numbers, shift = known.numbers, MEASURED_PID if measured else 0
    text = _Texts()
    for span in spans:
        pid = span.rank + shift
        tid = numbers.get((pid, span.stream))
        if tid is None:
            if pid not in known.count:
                yield from _name_rank(span, pid, measured)
            tid = known.add(pid, span.stream)
            yield from _name_stream(span, pid, tid)
        start_us, end_us = _us(span.start_s), _us(span.start_s + span.duration_s)
        # The duration from rounded ends, so that neighbours on a stream touch and never overlap.
        yield (
            f'{{"name":{text[span.name]},"cat":{text[span.category]},"ph":"X","ts":{start_us!r},'
            f'"dur":{round(end_us - start_us, 3)!r},"pid":{pid},"tid":{tid},'
            f'"args":{_args(span.args, text)}}}'
        )


def flows(arrows: Iterable[ArrowLike], threads: Threads) -> Iterator[str]:
    """Yield the two ends of each arrow between spans that have been written.

    Viewers join an end to the span around it, so that those of spans of no length are left out.
    """
    text, numbers = _Texts(), threads.numbers
    for number, arrow in enumerate(arrows):
        start_us, end_us = _us(arrow.start_s), _us(arrow.end_s)
        to_us = _us(arrow.to_start_s)
        leaves_us = max(start_us, round(end_us - _NANOSECOND, 3))
        if end_us == start_us or _us(arrow.to_end_s) == to_us or leaves_us > to_us:
            continue
        head = f'{{"name":{text[arrow.category]},"cat":{text[arrow.category]},"id":{number}'
        tid = numbers[arrow.rank, arrow.stream]
        yield f'{head},"ph":"s","ts":{leaves_us!r},"pid":{arrow.rank},"tid":{tid}}}'
        tid = numbers[arrow.to_rank, arrow.to_stream]
        yield f'{head},"ph":"f","bp":"e","ts":{to_us!r},"pid":{arrow.to_rank},"tid":{tid}}}'


def counters(timelines: Iterable[MemoryLike]) -> Iterator[str]:
    """Yield a counter event for each change of memory; categories that are never used are left out.

    Viewers stack the categories of a counter, in bytes.
    """
    text = _Texts()
    for timeline in timelines:
        used = {name: part for name, part in timeline.parts.items() if part.any()}
        for first in range(0, len(timeline.times_s), _CHUNK):
            block = slice(first, first + _CHUNK)
            columns = [np.rint(part[block]).astype(np.int64).tolist() for part in used.values()]
            for time_s, *values in zip(timeline.times_s[block].tolist(), *columns, strict=True):
                args = _args(dict(zip(used, values, strict=True)), text)
                yield _counter("memory", time_s, timeline.rank, args)


def link_counters(levels: Iterable[LevelLike]) -> Iterator[str]:
    """Yield a counter event for each change of the use of a class of links, in percent."""
    named = False
    for level in levels:
        if not named:
            named = True
            yield _metadata("process_name", LINKS_PID, 0, {"name": "links"})
            yield _metadata("process_sort_index", LINKS_PID, 0, {"sort_index": LINKS_PID})
        percent = (100.0 * level.share).round(4).tolist()
        for time_s, value in zip(level.times_s.tolist(), percent, strict=True):
            yield _counter(level.name, time_s, LINKS_PID, f'{{"percent":{value!r}}}')


class _Texts(dict[str, str]):
    """Texts as JSON, each made once: a million spans have few names."""

    def __missing__(self, text: str) -> str:
        if len(self) > _KEPT_TEXTS:
            self.clear()
        self[text] = json.dumps(text)
        return self[text]


def _args(args: Mapping[str, Any], text: _Texts) -> str:
    """Return details as JSON; whole numbers, most of them, need no encoder."""
    parts = [
        f"{text[key]}:{value if type(value) is int else _encode(value)}"
        for key, value in args.items()
    ]
    return f"{{{','.join(parts)}}}"


def _counter(name: str, time_s: float, pid: int, args: str) -> str:
    head = f'{{"name":{json.dumps(name)},"ph":"C","ts":{_us(time_s)!r}'
    return f'{head},"pid":{pid},"args":{args}}}'


def _us(instant_s: float) -> float:
    """Return microseconds, to the nanosecond that trace viewers resolve."""
    return round(instant_s * 1e6, 3)


def _name_rank(span: SpanLike, pid: int, measured: bool) -> Iterator[str]:
    stage, ranks = span.args.get("stage"), span.args.get("ranks", 1)
    name = f"{'measured, ' if measured else ''}rank {span.rank}"
    if stage is not None:
        name += f", stage {stage}"
    if ranks > 1:
        name += f" (stands for {ranks} ranks)"
    yield _metadata("process_name", pid, 0, {"name": name})
    # What was measured stands on top.
    yield _metadata("process_sort_index", pid, 0, {"sort_index": -1 if measured else pid})


def _name_stream(span: SpanLike, pid: int, tid: int) -> Iterator[str]:
    # The compute stream on top, the others as they first appear.
    place = -1 if span.stream == "compute" else tid
    yield _metadata("thread_name", pid, tid, {"name": span.stream})
    yield _metadata("thread_sort_index", pid, tid, {"sort_index": place})


def _metadata(name: str, pid: int, tid: int, args: dict[str, Any]) -> str:
    return _encode({"name": name, "ph": "M", "pid": pid, "tid": tid, "args": args})


def chunks(
    spans: Iterable[SpanLike],
    about: Mapping[str, Any],
    memory: Iterable[MemoryLike] = (),
    *,
    arrows: Iterable[ArrowLike] = (),
    links: Iterable[LevelLike] = (),
    measured: Iterable[SpanLike] = (),
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
    arrows : iterable of ArrowLike
        Between streams that `spans` have.
    links : iterable of LevelLike
        Shown as counters of a process of their own.
    measured : iterable of SpanLike
        What ran in fact: shown above, each rank as a process of its own.
    """
    head = {"displayTimeUnit": "ms", "otherData": dict(about)}
    yield json.dumps(head, allow_nan=False)[:-1] + ', "traceEvents": [\n'
    threads = Threads()
    found = chain(
        events(measured, threads, measured=True),
        events(spans, threads),
        flows(arrows, threads),
        counters(memory),
        link_counters(links),
    )
    pending: list[str] = []
    separator = ""
    for event in found:
        pending.append(event)
        if len(pending) == _CHUNK:
            yield separator + ",\n".join(pending)
            separator = ",\n"
            pending.clear()
    yield (separator + ",\n".join(pending) if pending else "") + "\n]}\n"
