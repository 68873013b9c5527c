"""The outline of a step: the passes of each stage and what they wait for, without tasks.

Most plans run one program a pipeline stage, and most passes of it are one segment. Then a step is
known by the order of the passes, their durations and those of the messages between them, far fewer
numbers than an op graph has tasks. An outline is as exact as the graph evaluator, and as valid: it
sees no links that are shared and no kernels that a transfer slows.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from distsim.program.build import Inputs, laid_out, pricers_of
from distsim.program.comm import Network
from distsim.program.compile import build_network
from distsim.program.groups import groups_of
from distsim.program.layout import ClassActions
from distsim.program.links import ahead_of, phases
from distsim.program.pattern import Entry, Pattern
from distsim.program.route import Route, route_of
from distsim.program.segment import Pricer
from distsim.program.tail import update_cost


@dataclass(frozen=True, slots=True)
class Cell:
    """A pass that is more than one segment, or that meets gathers or reductions.

    Attributes
    ----------
    duration_s : tuple of float
        Of each entry.
    after : tuple of tuple of int
        Offsets of the entries that each one waits for; what reaches before the first is the last
        entry of the pass before.
    gathers, reduces : tuple of tuple of (int, float)
        (domain, parameters) that each entry waits for, or that leave after it.
    """

    duration_s: tuple[float, ...]
    after: tuple[tuple[int, ...], ...]
    gathers: tuple[tuple[tuple[int, float], ...], ...]
    reduces: tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True, slots=True)
class Collective:
    """A collective after the last pass, by stage: those that take part wait for each other."""

    stages: tuple[int, ...]
    duration_s: float


@dataclass(frozen=True, slots=True)
class Outline:
    """A step without its tasks.

    Attributes
    ----------
    cells : list of float or Cell
        What each kind of pass takes.
    send_s : list of float
        ``[number of duration]``.
    gather_s, reduce_s : mapping
        (stage, domain, parameters) -> seconds of the gather; of each phase of the reduction.
    ahead : mapping
        (stage, domain) -> for each gather the unit that must have begun, or -1.
    blocking_sends, blocking_reductions : bool
        Compute waits for each of them.
    end : list of Collective
        Reductions after the last pass, in order, then sums of shared weights.
    norm_s : float
        What all ranks wait for together before the update; negative: they do not meet.
    update_s : list of float
        By stage.
    gather_end : list of Collective
        Gathers after the update.
    """

    route: Route
    cells: list[float | Cell]
    send_s: list[float]
    gather_s: Mapping[tuple[int, int, float], float] = field(default_factory=dict)
    reduce_s: Mapping[tuple[int, int, float], tuple[float, ...]] = field(default_factory=dict)
    ahead: Mapping[tuple[int, int], Sequence[int]] = field(default_factory=dict)
    blocking_sends: bool = False
    blocking_reductions: bool = False
    end: Sequence[Collective] = ()
    norm_s: float = -1.0
    update_s: Sequence[float] = ()
    gather_end: Sequence[Collective] = ()


def outline(inputs: Inputs) -> Outline | None:
    """Return the outline of a step; None where the op graph has to be built.

    That is where ranks of a stage differ, passes run in pairs, steps overlap, states are on the
    hosts, or gradients are compressed.
    """
    if inputs.offloading is not None or inputs.batches > 1 or inputs.data.compression is not None:
        return None
    plan, orders = inputs.plan, inputs.orders()
    if not plan.pipeline.flush or any(order.paired.any() for order in orders):
        return None
    roles = inputs.roles()
    network = build_network(
        inputs.device_of, roles, groups_of(inputs), inputs.topology, fold_enabled=True
    )
    if len(network.fold.example) != plan.pp:
        return None
    pricers = pricers_of(inputs, network)
    actions = laid_out(inputs, network, pricers, whole=True)
    route = route_of(inputs, orders, [a.groups for a in actions])
    if route is None:
        return None
    return _Maker(inputs, network, pricers, actions, route).outline()


class _Maker:
    """Puts durations to the passes of a route."""

    def __init__(
        self,
        inputs: Inputs,
        network: Network,
        pricers: Sequence[Pricer],
        actions: Sequence[ClassActions],
        route: Route,
    ) -> None:
        self.inputs, self.network, self.pricers = inputs, network, pricers
        self.actions, self.route = actions, route
        self.rank = network.fold.example.tolist()
        self._known: dict[tuple[int, Hashable], float | Cell] = {}
        self._group: dict[tuple[int, str], tuple[int, int]] = {}
        self._seconds: dict[tuple[str, int, str, float], float] = {}
        self.cells = [self._cell(p, s) for s, laid in enumerate(actions) for p in laid.patterns]

    def outline(self) -> Outline:
        """Return the outline."""
        inputs, plan, data = self.inputs, self.inputs.plan, self.inputs.data
        update = inputs.update
        meets = update.synchronized and plan.devices > 1
        gathers, reduces = self._hooked()
        return Outline(
            self.route,
            self.cells,
            self._sends(),
            self._gathers(gathers),
            {
                key: tuple(self._collective_s(key[0], *p) for p in self._phases(*key[1:]))
                for key in reduces
            },
            self._ahead(),
            plan.pp > 1 and not plan.overlap_p2p,
            data.blocking,
            [*self._reductions(), *self._shared()],
            update.sync_latency_s if meets else -1.0,
            [update_cost(update, s, self.pricers[s]).total_s for s in range(plan.pp)],
            self._gathers_at_end(),
        )

    def _collective_s(self, stage: int, axis: str, collective: str, size_bytes: float) -> float:
        if (stage, axis) not in self._group:
            group = int(self.network.groups[axis].of_rank[self.rank[stage]])
            self._group[stage, axis] = (group, self.network.alike(axis, group))
        group, alike = self._group[stage, axis]
        key = (axis, alike, collective, size_bytes)
        if key not in self._seconds:
            self._seconds[key] = self.network.collective_s(axis, group, collective, size_bytes)
        return self._seconds[key]

    def _phases(self, domain: int, amount: float) -> list[tuple[str, str, float]]:
        data = self.inputs.data
        return [
            (p.axis, p.collective, p.size_bytes) for p in phases(data, data.domains[domain], amount)
        ]

    def _cell(self, pattern: Pattern, stage: int) -> float | Cell:
        """Return what a pattern takes; stages with the same groups share it."""
        key = (id(pattern), self.actions[stage].key)
        if key not in self._known:
            self._known[key] = self._made_cell(pattern, stage)
        return self._known[key]

    def _made_cell(self, pattern: Pattern, stage: int) -> float | Cell:
        if len(pattern) == 1 and not pattern[0].gathers and not pattern[0].reduces:
            return pattern[0].cost.total_s
        return Cell(
            tuple(self._entry_s(e, stage) for e in pattern),
            tuple(e.after for e in pattern),
            tuple(tuple((d, a) for d, a in enumerate(e.gathers) if a) for e in pattern),
            tuple(tuple((d, a) for d, a in enumerate(e.reduces) if a) for e in pattern),
        )

    def _entry_s(self, entry: Entry, stage: int) -> float:
        c = entry.collective
        if c is None:
            return entry.cost.total_s
        return self._collective_s(stage, c.axis, c.name, c.size_bytes)

    def _sends(self) -> list[float]:
        out = []
        for name, stage in self.route.chains:
            for variant in self.inputs.variants:
                out.append(self._collective_s(stage, name, "send", variant.boundary_bytes))
        return out

    def _hooked(self) -> tuple[set[tuple[int, int, float]], set[tuple[int, int, float]]]:
        """Return (stage, domain, parameters) of what is gathered and reduced beside passes."""
        gathers: set[tuple[int, int, float]] = set()
        reduces: set[tuple[int, int, float]] = set()
        stages = [s for s, laid in enumerate(self.actions) for _ in laid.patterns]
        for cell, stage in zip(self.cells, stages, strict=True):
            if isinstance(cell, Cell):
                gathers |= {(stage, d, a) for each in cell.gathers for d, a in each}
                reduces |= {(stage, d, a) for each in cell.reduces for d, a in each}
        return gathers, reduces

    def _gathers(self, found: set[tuple[int, int, float]]) -> dict[tuple[int, int, float], float]:
        data = self.inputs.data
        return {
            (stage, d, amount): self._collective_s(
                stage, data.domains[d].name, "all_gather", amount * data.gather_bytes
            )
            for stage, d, amount in found
            if data.domains[d].shard > 1
        }

    def _ahead(self) -> dict[tuple[int, int], list[int]]:
        """Return for each gather of a stage the unit whose beginning it waits for."""
        data = self.inputs.data
        out: dict[tuple[int, int], list[int]] = {}
        for stage, laid in enumerate(self.actions):
            for d, domain in enumerate(data.domains):
                if domain.shard == 1:
                    continue
                each = [
                    [e.gathers[d] for e in p if e.gathers and e.gathers[d]] for p in laid.patterns
                ]
                if any(each):
                    amounts = [a for p in laid.groups.pattern_of.tolist() for a in each[p]]
                    out[stage, d] = ahead_of(np.asarray(amounts), data).tolist()
        return out

    def _parameters(self, stage: int, domain: int) -> float:
        held = self.inputs.data.domains[domain]
        return sum(held.parameters(c) for c in self.actions[stage].work.variants[0])

    def _reductions(self) -> list[Collective]:
        """Return what is reduced after the last pass."""
        data, stages = self.inputs.data, range(self.inputs.plan.pp)
        out: list[Collective] = []
        if data.reduce != "end":
            return out
        for number in range(len(data.domains)):
            for stage in stages:
                held = self._parameters(stage, number)
                for axis, collective, size in self._phases(number, held) if held else ():
                    out.append(
                        Collective((stage,), self._collective_s(stage, axis, collective, size))
                    )
        return out

    def _shared(self) -> list[Collective]:
        """Return the sums of weights that two stages hold."""
        shared = self.inputs.update.shared
        if not shared:
            return []
        table = self.network.table("tied")[1]
        ranks = self.network.families[self.network.table("tied")[0]].ranks
        by_stages = {of.stages: of for of in shared}
        out = []
        for group in table.example.tolist():
            a, b = sorted(int(c) for c in self.network.fold.class_of[ranks[group]])
            of = by_stages[a, b]
            seconds = self.network.collective_s("tied", group, "all_reduce", of.size_bytes)
            out.append(Collective((a, b), seconds))
        return out

    def _gathers_at_end(self) -> list[Collective]:
        data = self.inputs.data
        out: list[Collective] = []
        if data.gather != "end":
            return out
        for number, domain in enumerate(data.domains):
            for stage in range(self.inputs.plan.pp) if domain.shard > 1 else ():
                size = self._parameters(stage, number) * data.gather_bytes
                if size:
                    seconds = self._collective_s(stage, domain.name, "all_gather", size)
                    out.append(Collective((stage,), seconds))
        return out


__all__ = ["Cell", "Collective", "Outline", "outline"]
