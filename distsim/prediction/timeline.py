"""The timeline of a step: spans of every class of ranks, expanded when someone looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.engine.result import Run
from distsim.program.build import Program
from distsim.program.opgraph import TaskKind
from distsim.program.segment import Part


class Span(NamedTuple):
    """One task on one stream of one rank."""

    name: str
    category: str
    rank: int
    stream: str
    start_s: float
    duration_s: float
    args: dict[str, Any]


#: Spans up to which every segment is shown with its operators; beyond, only those of the first
#: micro batch are.
OPERATOR_SPANS = 250_000
#: The stream on which a segment's operators are shown, beside the one that runs them.
OPERATORS = "operators"
#: Tasks that become spans at once.
_BLOCK = 4096
_CATEGORIES = {int(kind): kind.name.lower() for kind in TaskKind}


@dataclass(frozen=True, slots=True)
class Timeline:
    """Instants of all tasks of a run.

    Ranks of one class do the same at the same instants; the example rank stands for all.
    """

    program: Program
    run: Run

    def spans(self, *, operators: bool = True) -> Iterator[Span]:
        """Yield spans in task order, each segment followed by its operators.

        Tasks become spans some thousands at a time, so that a long timeline never stands in memory.

        Parameters
        ----------
        operators : bool
            False yields one span a task. The operators of a segment fill it, on a stream of their
            own for viewers.
        """
        graph = self.program.graph
        parts = {label: self.program.parts(label) for label in self.program.contents}
        size = np.asarray([len(parts.get(i, ())) for i in range(len(graph.names))])
        every = int(size[graph.segment].sum()) + graph.n_tasks <= OPERATOR_SPANS
        for first in range(0, graph.n_tasks, _BLOCK):
            block = slice(first, min(first + _BLOCK, graph.n_tasks))
            labels, micros = graph.segment[block].tolist(), graph.microbatch[block].tolist()
            for span, label, micro in zip(self._spans(block), labels, micros, strict=True):
                yield span
                inner = parts.get(label, [])
                if operators and len(inner) > 1 and (every or micro == 0):
                    yield from _nested(span, inner)

    def _spans(self, block: slice) -> Iterator[Span]:
        graph, run, fold = self.program.graph, self.run, self.program.network.fold
        stream = graph.stream[block]
        owner = graph.stream_device[stream]
        moved = np.append(self._moved_bytes(), 0.0)
        columns = (
            fold.example[owner],
            fold.count[owner],
            stream,
            graph.kind[block],
            graph.segment[block],
            graph.stage[block],
            graph.microbatch[block],
            graph.transfer[block],
            moved[graph.transfer[block]],
            run.start_s[block],
            run.end_s[block] - run.start_s[block],
        )
        for (
            rank, ranks, lane, kind, label, stage, micro, transfer, size_bytes, start_s, duration_s
        ) in zip(*(column.tolist() for column in columns), strict=True):  # fmt: skip
            args: dict[str, Any] = {"ranks": ranks}
            if stage >= 0:
                args["stage"] = stage
            if micro >= 0:
                args["microbatch"] = micro
            if transfer >= 0:
                args["bytes"] = size_bytes
            category = _CATEGORIES[kind]
            name = graph.names[label] if label >= 0 else category
            stream_name = self.program.stream_names[lane]
            yield Span(name, category, rank, stream_name, start_s, duration_s, args)

    def _moved_bytes(self) -> npt.NDArray[np.float64]:
        """Return the most bytes that each transfer type puts on a link, shape (types,)."""
        graph = self.program.graph
        out = np.zeros(graph.n_types)
        types = np.repeat(np.arange(graph.n_types), np.diff(graph.demand_ptr))
        np.maximum.at(out, types, graph.demand_bytes)
        return out


def _nested(span: Span, parts: list[Part]) -> Iterator[Span]:
    """Spread the operators over their segment, stretched as the segment is.

    A segment takes longer than its operators where the host is late or a collective beside it
    slows kernels down; when exactly is not known, so all stretch alike.
    """
    total = sum(p.duration_s for p in parts)
    scale = span.duration_s / total if total > 0 else 0.0
    start_s = span.start_s
    for part in parts:
        duration_s = part.duration_s * scale
        yield span._replace(
            name=part.name,
            category=part.category,
            stream=OPERATORS,
            start_s=start_s,
            duration_s=duration_s,
        )
        start_s += duration_s
