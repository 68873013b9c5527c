"""The longest path through an outline: pass by pass, without tasks.

The same recurrence as `engine.graph` over the same order of work, for outlines: it gives the same
step time, in about a tenth of the time that a graph takes to build and to walk.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import islice

import numpy as np
import numpy.typing as npt

from distsim.program.cells import AnyCell, Arriving, Cell, Leaving
from distsim.program.outline import Collective, Outline
from distsim.program.route import Pass


class _Stages:
    """Where each stage is, and what runs beside its passes."""

    def __init__(self, outline: Outline) -> None:
        stages = len(outline.update_s)
        self.of = outline
        self.blocked = outline.blocking_sends or outline.blocking_reductions
        #: Of each pass that is one segment, as most are; below zero: there is more to do.
        self.brief = [cell if isinstance(cell, float) else -1.0 for cell in outline.cells]
        #: End of the last segment of each stage; when its next one may begin.
        self.last = [0.0] * stages
        self.gate = [0.0] * stages if self.blocked else self.last
        #: When what a pass waits for arrives, by slot; end of the last message by chain.
        self.arrived = [0.0] * (outline.route.slots + 2)
        self.sent = [0.0] * len(outline.route.chains)
        #: End of the last gather of (stage, domain), and of the last reduction by phase.
        self.gathered: dict[tuple[int, int], float] = {}
        self.reduced: dict[tuple[int, int], list[float]] = {}
        #: End of what ran before each unit that was gathered for.
        self.opened: dict[tuple[int, int], list[float]] = {}

    def run(self, stage: int, cell: AnyCell, begin: float) -> float:
        """Run a pass that is more than one segment from an instant on; return its end."""
        if isinstance(cell, Leaving):
            return self._leaving(stage, cell, begin)
        if isinstance(cell, Arriving):
            return self._arriving(stage, cell, begin)
        if isinstance(cell, Cell):
            return self._cell(stage, cell, begin)
        raise TypeError(f"a pass of {cell} s has nothing to run")

    def _cell(self, stage: int, cell: Cell, begin: float) -> float:
        end, start = self.last[stage], begin
        for duration, gathers, reduces in cell.segments:
            for domain, amount in gathers:
                start = max(start, self._gather(stage, domain, amount, end))
            start = end = start + duration
            for domain, amount in reduces:
                done = self._reduce(stage, domain, amount, end)
                if self.of.blocking_reductions and done > start:
                    start = done
        self.last[stage] = end
        self.gate[stage] = start
        return end

    def _leaving(self, stage: int, cell: Leaving, begin: float) -> float:
        """Run a pass whose gradients leave beside it; return its end."""
        for domain, last, all_s in cell.queues:
            ends = self.reduced.setdefault((stage, domain), [0.0])
            ends[0] = max(begin + last, ends[0] + all_s)
        end = self.last[stage] = self.gate[stage] = begin + cell.duration_s
        return end

    def _arriving(self, stage: int, cell: Arriving, begin: float) -> float:
        """Run a pass whose parameters arrive beside it; return its end."""
        key, prefetch = (stage, cell.domain), self.of.prefetch
        opened = self.opened.setdefault(key, [])
        gathered, previous = self.gathered.get(key, 0.0), self.last[stage]
        for duration, seconds in cell.segments:
            if seconds >= 0.0:
                unit = len(opened) - prefetch
                opened.append(previous)
                if unit >= 0 and opened[unit] > gathered:
                    gathered = opened[unit]
                gathered += seconds
                if gathered > begin:
                    begin = gathered
            begin = previous = begin + duration
        self.gathered[key] = gathered
        self.last[stage] = self.gate[stage] = begin
        return begin

    def _gather(self, stage: int, domain: int, amount: float, previous: float) -> float:
        seconds = self.of.gather_s[stage].get((domain, amount))
        if seconds is None:
            return 0.0
        key = (stage, domain)
        opened = self.opened.setdefault(key, [])
        # The unit before the first has no end; nothing ran before it.
        opened.append(previous)
        unit = len(opened) - 1
        unit = self.of.ahead[key][unit] if key in self.of.ahead else unit - self.of.prefetch
        start = self.gathered.get(key, 0.0)
        if unit >= 0 and opened[unit] > start:
            start = opened[unit]
        end = self.gathered[key] = start + seconds
        return end

    def _reduce(self, stage: int, domain: int, amount: float, end: float) -> float:
        seconds = self.of.reduce_s[stage][domain, amount]
        before = self.reduced.setdefault((stage, domain), [0.0] * len(seconds))
        for phase, duration in enumerate(seconds):
            end = max(end, before[phase]) + duration
            before[phase] = end
        return end


def step_s(outline: Outline) -> float:
    """Return the time of a step, in seconds, as the graph evaluator gives it."""
    if not outline.times:
        return _walked(outline, None)
    times = array("d")
    short_s = _walked(outline, times)
    recorded = np.frombuffer(times).reshape(-1, 2)
    period_s = _period_s(recorded[outline.route.periods - outline.route.window()[0]], short_s)
    if period_s is not None:
        return short_s + outline.times * period_s
    whole = outline.whole() if outline.whole is not None else None
    if whole is None:
        raise ValueError("an outline of part of a step without the whole")
    return _walked(whole, None)


def _period_s(times: npt.NDArray[np.float64], step_s: float) -> float | None:
    """Return by what each period comes later than the one before; None if they differ.

    Parameters
    ----------
    times : float64[periods, passes, 2]
        End of each pass and of its message.
    """
    later = np.diff(times, axis=0)
    period_s = float(later[-1].mean())
    return period_s if np.abs(later - period_s).max() <= _SAME * step_s else None


#: Rounding of times, as a share of the step.
_SAME = 1e-12


def _walked(outline: Outline, times: array[float] | None) -> float:
    """Walk the passes; return the end of the step.

    The end of each pass of a period, and that of its message, are appended to `times`, if given.
    """
    stages, passes = _Stages(outline), outline.route.passes()
    walk = _blocked if stages.blocked else _freely
    if times is not None:
        first, last = outline.route.window()
        walk(stages, islice(passes, first))
        _blocked(stages, islice(passes, last - first), times)
    walk(stages, passes)
    return max(_tail(outline, stages), max(stages.sent, default=0.0))


def _freely(stages: _Stages, passes: Iterable[Pass]) -> None:
    """Walk passes after which nothing waits for a message or a reduction to leave."""
    last, arrived, sent, brief = stages.last, stages.arrived, stages.sent, stages.brief
    cells, send_s = stages.of.cells, stages.of.send_s
    for stage, at, slot, chain, number, into in passes:
        begin, end = last[stage], arrived[slot]
        if end > begin:
            begin = end
        duration = brief[at]
        if duration >= 0.0:
            end = last[stage] = begin + duration
        else:
            end = stages.run(stage, cells[at], begin)
        if chain >= 0:
            if sent[chain] > end:
                end = sent[chain]
            end = sent[chain] = end + send_s[number]
        arrived[into] = end


def _blocked(stages: _Stages, passes: Iterable[Pass], times: array[float] | None = None) -> None:
    """Walk passes that may be blocked; see `_walked` for `times`."""
    last, arrived, sent, brief = stages.last, stages.arrived, stages.sent, stages.brief
    cells, send_s, gate = stages.of.cells, stages.of.send_s, stages.gate
    blocking = stages.of.blocking_sends
    for stage, at, slot, chain, number, into in passes:
        begin = gate[stage]
        if arrived[slot] > begin:
            begin = arrived[slot]
        duration = brief[at]
        if duration >= 0.0:
            done = last[stage] = gate[stage] = begin + duration
        else:
            done = stages.run(stage, cells[at], begin)
        end = done
        if chain >= 0:
            if sent[chain] > end:
                end = sent[chain]
            end = sent[chain] = end + send_s[number]
            if blocking and end > gate[stage]:
                gate[stage] = end
        arrived[into] = end
        if times is not None:
            times.append(done)
            times.append(end)


def _tail(outline: Outline, stages: _Stages) -> float:
    """Return the end of what comes after the passes: reductions, norm, update, gathers."""
    ready = list(stages.last)
    for (stage, _), ends in stages.reduced.items():
        ready[stage] = max([ready[stage], *ends])
    latest = max([*stages.gathered.values(), *ready])
    for reduction in outline.end:
        latest = max(latest, _meet(ready, reduction))
    if outline.norm_s >= 0.0:
        met = max(ready) + outline.norm_s
        ready = [met] * len(ready)
    ready = [max(r, g) + u for r, g, u in zip(ready, stages.last, outline.update_s, strict=True)]
    for gather in outline.gather_end:
        _meet(ready, gather)
    return max(latest, *ready)


def _meet(ready: list[float], collective: Collective) -> float:
    """Let stages run a collective after all that they have; return its end."""
    end = max(ready[s] for s in collective.stages) + collective.duration_s
    for stage in collective.stages:
        ready[stage] = end
    return end
