"""The timeline of a step: spans of every class of ranks, expanded when someone looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from distsim.engine.result import Run
from distsim.program.build import Program
from distsim.program.opgraph import TaskKind


class Span(NamedTuple):
    """One task on one stream of one rank."""

    name: str
    category: str
    rank: int
    stream: str
    start_s: float
    duration_s: float
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Instants of all tasks of a run.

    Ranks of one class do the same at the same instants; the example rank stands for all.
    """

    program: Program
    run: Run

    def spans(self) -> Iterator[Span]:
        """Yield spans in task order."""
        graph, run, fold = self.program.graph, self.run, self.program.network.fold
        names = self.program.stream_names
        kinds = [TaskKind(k).name.lower() for k in graph.kind]
        for task in range(graph.n_tasks):
            stream = int(graph.stream[task])
            owner = int(graph.stream_device[stream])
            label, micro = int(graph.segment[task]), int(graph.microbatch[task])
            name = graph.names[label] if label >= 0 else kinds[task]
            args: dict[str, Any] = {"ranks": int(fold.count[owner])}
            if graph.stage[task] >= 0:
                args["stage"] = int(graph.stage[task])
            if micro >= 0:
                args["microbatch"] = micro
            transfer = int(graph.transfer[task])
            if transfer >= 0:
                span = slice(int(graph.demand_ptr[transfer]), int(graph.demand_ptr[transfer + 1]))
                args["bytes"] = float(graph.demand_bytes[span].max(initial=0.0))
            yield Span(
                name,
                kinds[task],
                int(fold.example[owner]),
                names[stream],
                float(run.start_s[task]),
                float(run.end_s[task] - run.start_s[task]),
                args,
            )
