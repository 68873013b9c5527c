"""The timeline of a step: spans of every class of ranks, expanded when someone looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

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


@dataclass(frozen=True, slots=True)
class Timeline:
    """Instants of all tasks of a run.

    Ranks of one class do the same at the same instants; the example rank stands for all.
    """

    program: Program
    run: Run

    def spans(self, *, operators: bool = True) -> Iterator[Span]:
        """Yield spans in task order, each segment followed by its operators.

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
        for task in range(graph.n_tasks):
            span = self._span(task)
            yield span
            inner = parts.get(int(graph.segment[task]), [])
            if operators and len(inner) > 1 and (every or graph.microbatch[task] == 0):
                yield from _nested(span, inner)

    def _span(self, task: int) -> Span:
        graph, run, fold = self.program.graph, self.run, self.program.network.fold
        kind = TaskKind(graph.kind[task]).name.lower()
        stream = int(graph.stream[task])
        owner = int(graph.stream_device[stream])
        label, micro = int(graph.segment[task]), int(graph.microbatch[task])
        args: dict[str, Any] = {"ranks": int(fold.count[owner])}
        if graph.stage[task] >= 0:
            args["stage"] = int(graph.stage[task])
        if micro >= 0:
            args["microbatch"] = micro
        transfer = int(graph.transfer[task])
        if transfer >= 0:
            rows = slice(int(graph.demand_ptr[transfer]), int(graph.demand_ptr[transfer + 1]))
            args["bytes"] = float(graph.demand_bytes[rows].max(initial=0.0))
        return Span(
            graph.names[label] if label >= 0 else kind,
            kind,
            int(fold.example[owner]),
            self.program.stream_names[stream],
            float(run.start_s[task]),
            float(run.end_s[task] - run.start_s[task]),
            args,
        )


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
