"""Spans in which a class of ranks computes nothing, by what it waits for: the idle side of a step.

They are the waits of `distsim.prediction.breakdown`, laid out in time: a wait is bubble first, and
then the transfers to the task that comes next, in the order of their kinds. Exposed communication
inside a segment is one of its operators, and no wait here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from distsim.engine.result import Run
from distsim.prediction.breakdown import after_update_s, gaps
from distsim.prediction.timeline import Span
from distsim.program.build import Program
from distsim.units import REL_TOL

#: The stream on which waits are shown, and the categories of its spans.
WAITS, BUBBLE, EXPOSED = "waits", "bubble", "exposed"


def waits(program: Program, run: Run) -> Iterator[Span]:
    """Yield what each class of ranks waits for, gap by gap.

    The spans of category `BUBBLE` of a class sum to its bubble in the breakdown of the run; those
    of category `EXPOSED` to what transfers beside compute expose. What is shorter than the
    tolerance is rounding, and left out.
    """
    graph, fold, step_s = program.graph, program.network.fold, run.makespan
    least_s = REL_TOL * step_s
    found = gaps(program, run)
    owner = graph.stream_device[graph.stream[found.tasks]]
    to_s = run.start_s[found.tasks]
    stage_of = {p.index: p.stage for p in program.classes}

    def span(category: str, name: str, index: int, start_s: float, duration_s: float) -> Span:
        args = {"ranks": int(fold.count[index]), "stage": stage_of[index]}
        rank = int(fold.example[index])
        return Span(name, category, rank, WAITS, start_s, duration_s, args)

    for at in np.flatnonzero(to_s - found.from_s > least_s).tolist():
        index, start_s = int(owner[at]), float(found.from_s[at])
        each = {kind: float(value[at]) for kind, value in found.waits.items()}
        bubble_s = float(to_s[at]) - start_s - sum(each.values())
        if bubble_s > least_s:
            yield span(BUBBLE, "bubble", index, start_s, bubble_s)
            start_s += bubble_s
        for kind, wait_s in each.items():
            if wait_s > least_s:
                name = f"waits for {kind.name.lower()}"
                yield span(EXPOSED, name, index, start_s, wait_s)
                start_s += wait_s
    last_s = np.zeros(len(program.classes))
    np.maximum.at(last_s, owner, run.end_s[found.tasks])
    for index, (begin_s, data_s) in enumerate(
        zip(last_s.tolist(), after_update_s(program, run).tolist(), strict=True)
    ):
        if data_s > least_s:
            yield span(EXPOSED, "waits for data", index, begin_s, data_s)
        if step_s - begin_s - data_s > least_s:
            yield span(BUBBLE, "bubble", index, begin_s + data_s, step_s - begin_s - data_s)
