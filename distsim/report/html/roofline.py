"""Operators of a step on the roofline: FLOP a byte, and the rate that each reaches.

S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for
multicore architectures", CACM 52(4), 2009: a rate is at most min(peak, intensity x bandwidth).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distsim.cost.kernel import price
from distsim.parallel.step import Step
from distsim.prediction.timeline import Timeline
from distsim.report.html.charts import axis, chart, series
from distsim.report.html.page import Section
from distsim.units import fmt_bytes, fmt_flop_per_s, fmt_s


@dataclass(frozen=True, slots=True)
class Operator:
    """What all kernels of an operator do in a step on the ranks that are simulated.

    Attributes
    ----------
    name, way : str
        ``way`` is ``forward`` or ``backward``; recomputation runs in the latter.
    flop, moved_bytes, time_s : float
    """

    name: str
    way: str
    flop: float
    moved_bytes: float
    time_s: float

    @property
    def intensity(self) -> float:
        """FLOP a byte."""
        return self.flop / self.moved_bytes

    @property
    def flop_per_s(self) -> float:
        """Rate that it reaches."""
        return self.flop / self.time_s


def operators(timeline: Timeline) -> list[Operator]:
    """Return the operators that a step runs, those that take longest first.

    Each counts as often as its segments run, on every rank that a class stands for; operators that
    compute nothing or move nothing have no place on the roofline and are left out.
    """
    program = timeline.program
    graph, fold = program.graph, program.network.fold
    owner = graph.stream_device[graph.stream]
    labelled = graph.segment >= 0
    times = np.bincount(
        graph.segment[labelled], weights=fold.count[owner[labelled]], minlength=len(graph.names)
    )
    sums: dict[tuple[str, str], list[float]] = {}
    priced: dict[tuple[int, int], tuple[float, float, float]] = {}
    for label, (pricer, steps) in program.contents.items():
        way = "forward" if graph.names[label].startswith("F ") else "backward"
        for step in steps:
            key = id(pricer), id(step)  # layers share their steps
            if key not in priced:
                device_s = price(step.works, pricer.device, pricer.dtype).device_s
                priced[key] = (*_size(step), device_s)
            found = sums.setdefault((step.op, way), [0.0, 0.0, 0.0])
            for at, value in enumerate(priced[key]):
                found[at] += value * float(times[label])
    out = [Operator(*of, *found) for of, found in sums.items() if min(found) > 0.0]
    return sorted(out, key=lambda o: -o.time_s)


def _size(step: Step) -> tuple[float, float]:
    return sum(w.flop for w in step.works), sum(w.moved_bytes for w in step.works)


def roofline_section(timeline: Timeline) -> Section | None:
    """Return the section with the roofline; None where no operator has a place on it."""
    found = operators(timeline)
    if not found:
        return None
    pricer, _ = next(iter(timeline.program.contents.values()))
    device, dtype = pricer.device, pricer.dtype
    peak, bandwidth = device.peak_flop_per_s[dtype], device.memory_bandwidth_bytes_per_s
    total_s = sum(o.time_s for o in found)
    ends = [o.intensity for o in found] + [peak / bandwidth]
    low, high = min(ends) / 2, max(ends) * 2
    roof = [(x, min(peak, x * bandwidth)) for x in sorted({low, min(peak / bandwidth, high), high})]
    sets = [
        series(way, (_point(o, total_s) for o in found if o.way == way), hollow=way == "backward")
        for way in ("forward", "backward")
    ]
    sets.append(series(f"roof of {device.name}", roof, line=True, marks=False, tone=-1))
    about = (
        f"Each operator as the plan divides it: its FLOP over the bytes it moves, and the rate it "
        f"reaches. The roof is {fmt_flop_per_s(peak)} ({dtype}, dense) and "
        f"{fmt_bytes(bandwidth)}/s of {device.name}; left of the ridge memory limits, right of it "
        "the matrix units. Larger marks take more of the time."
    )
    return chart(
        "roofline",
        "Roofline of operators",
        about,
        axis("FLOP a byte", log=True),
        axis("rate", "FLOP/s", log=True),
        [s for s in sets if s["points"]],
    )


def _point(o: Operator, total_s: float) -> list[Any]:
    share = o.time_s / total_s
    said = (
        f"{o.name}, {o.way}: {o.intensity:,.3g} FLOP a byte, {fmt_flop_per_s(o.flop_per_s)}, "
        f"{100 * share:.1f} % of kernel time, {fmt_s(o.time_s)} on all ranks"
    )
    return [o.intensity, o.flop_per_s, said, share]
