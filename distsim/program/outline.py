"""The outline of a step: the passes of each stage and what they wait for, without tasks.

Most plans run one program a pipeline stage, and most passes of it are one segment. Then a step is
known by the order of the passes, their durations and those of the messages between them, far fewer
numbers than an op graph has tasks. An outline is as exact as the graph evaluator, and as valid: it
sees no links that are shared and no kernels that a transfer slows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import NamedTuple

import numpy as np

from distsim.program.build import Inputs, grouped_of
from distsim.program.cells import AnyCell, Cell, Hooked, gathered, in_brief
from distsim.program.comm import Network
from distsim.program.compile import build_network
from distsim.program.grouped import Grouped
from distsim.program.groups import groups_of
from distsim.program.links import ahead_of, phases
from distsim.program.repeat import Cut, cut
from distsim.program.route import Route, route_of
from distsim.program.stage_cells import cells_of
from distsim.program.tail import update_cost
from distsim.record import record
from distsim.schedule import Actions, actions, paired


@record
class Collective:
    """A collective after the last pass, by stage: those that take part wait for each other."""

    stages: tuple[int, ...]
    duration_s: float


@record
class Outline:
    """A step without its tasks.

    Attributes
    ----------
    cells : list of float, Cell, Leaving or Arriving
        What each kind of pass takes.
    send_s : list of float
        ``[number of duration]``.
    gather_s, reduce_s : sequence of mapping
        Of each stage, (domain, parameters) -> seconds of the gather; of each phase of the
        reduction.
    prefetch : int
        A gather does not begin before the unit so many before its own.
    ahead : mapping
        (stage, domain) -> for each gather the unit that must have begun, or -1, where what is
        gathered has a limit.
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
    times : int
        Periods that were left out (see `repeat`); the route says which passes are one.
    whole : callable
        Returns the outline with nothing left out.
    """

    route: Route
    cells: list[AnyCell]
    send_s: list[float]
    gather_s: Sequence[Mapping[Hooked, float]] = ()
    reduce_s: Sequence[Mapping[Hooked, tuple[float, ...]]] = ()
    prefetch: int = 0
    ahead: Mapping[tuple[int, int], Sequence[int]] = field(default_factory=dict)
    blocking_sends: bool = False
    blocking_reductions: bool = False
    end: Sequence[Collective] = ()
    norm_s: float = -1.0
    update_s: Sequence[float] = ()
    gather_end: Sequence[Collective] = ()
    times: int = 0
    whole: Callable[[], Outline | None] | None = None


def outline(inputs: Inputs) -> Outline | None:
    """Return the outline of a step; None where the op graph has to be built.

    That is where ranks of a stage differ, passes run in pairs, steps overlap, states are on the
    hosts, or gradients are compressed.
    """
    if inputs.offloading is not None or inputs.batches > 1 or inputs.data.compression is not None:
        return None
    plan, orders = inputs.plan, inputs.orders()
    if not plan.pipeline.flush or paired(orders):
        return None
    of = _cut(inputs, orders)
    if of is not None:
        fewer = replace(inputs, plan=replace(plan, microbatches=of.microbatches))
        found = _outline(fewer, fewer.orders(), of)
        if found is not None:
            return replace(found, times=of.times, whole=lambda: _outline(inputs, orders, None))
    return _outline(inputs, orders, None)


def _cut(inputs: Inputs, orders: Sequence[Actions]) -> Cut | None:
    """Leave periods out of a step, if all passes in them are single segments."""
    data, plan = inputs.data, inputs.plan
    beside = data.gather in ("forward", "each") or data.reduce == "each"
    if beside or len(inputs.variants) > 1:
        return None
    return cut(orders, lambda n: actions(plan.pipeline, plan.pp, n, plan.virtual_stages))


def _outline(inputs: Inputs, orders: Sequence[Actions], of: Cut | None) -> Outline | None:
    plan, roles = inputs.plan, inputs.roles()
    network = build_network(
        inputs.device_of, roles, groups_of(inputs), inputs.topology, fold_enabled=True
    )
    if len(network.fold.example) != plan.pp:
        return None
    groups = grouped_of(inputs)
    route = route_of(inputs, orders, groups, of)
    if route is None:
        return None
    return _Maker(inputs, network, groups, cells_of(inputs, network, groups), route).outline()


#: Amounts of gathers and of reductions whose times are kept, for links of each kind.
_KEPT_HOOKS = 10_000


class _Hooks(NamedTuple):
    """(domain, parameters) -> seconds of the gather; of each phase of the reduction."""

    gather_s: dict[Hooked, float]
    reduce_s: dict[Hooked, tuple[float, ...]]


@record
class _Stage:
    """What stages alike have in common.

    Attributes
    ----------
    cells, entries : sequence of float, Cell, Leaving or Arriving
        What each kind of pass takes; with all entries of those that have some.
    gather_s, reduce_s : mapping
        See `Outline`.
    """

    cells: Sequence[AnyCell]
    entries: Sequence[float | Cell]
    gather_s: Mapping[Hooked, float]
    reduce_s: Mapping[Hooked, tuple[float, ...]]


class _Maker:
    """Puts durations to the passes of a route."""

    def __init__(
        self,
        inputs: Inputs,
        network: Network,
        groups: Sequence[Grouped],
        cells: Sequence[Sequence[float | Cell]],
        route: Route,
    ) -> None:
        self.inputs, self.network, self.route = inputs, network, route
        self.groups, self.cells = groups, cells
        self._seen: dict[tuple[int, ...], _Hooks] = {}
        #: Of each stage; one object for stages that do the same between the same links.
        self.stages = self._stages()

    def outline(self) -> Outline:
        """Return the outline."""
        inputs, plan, data = self.inputs, self.inputs.plan, self.inputs.data
        update = inputs.update
        meets = update.synchronized and plan.devices > 1
        return Outline(
            self.route,
            [cell for stage in self.stages for cell in stage.cells],
            self._sends(),
            [stage.gather_s for stage in self.stages],
            [stage.reduce_s for stage in self.stages],
            data.prefetch,
            self._ahead() if np.isfinite(data.limit_bytes) else {},
            plan.pp > 1 and not plan.overlap_p2p,
            data.blocking,
            [*self._reductions(), *self._shared()],
            update.sync_latency_s if meets else -1.0,
            self._updates(),
            self._gathers_at_end(),
        )

    def _updates(self) -> list[float]:
        """Return what the update takes, by stage; stages that hold the same share it."""
        inputs, update = self.inputs, self.inputs.update
        kinds = inputs.kinds()[self.network.fold.example].tolist()
        known: dict[tuple[int, int], float] = {}
        out = []
        for stage, kind in enumerate(kinds):
            key = (id(update.works[stage]), kind)
            if key not in known:
                cost = update_cost(update, stage, inputs.devices[kind], inputs.dtype)
                known[key] = cost.total_s
            out.append(known[key])
        return out

    def _collective_s(self, stage: int, axis: str, collective: str, size_bytes: float) -> float:
        group = self._groups(axis)[stage]
        return self.network.collective_s(axis, group, collective, size_bytes)

    def _groups(self, axis: str) -> list[int]:
        """Return the group of each stage."""
        groups, ranks = self.network.groups[axis], self.network.fold.example
        return self.network.known(("stages", axis), lambda: groups.of_rank[ranks].tolist())

    def _phases(self, domain: int, amount: float) -> list[tuple[str, str, float]]:
        data = self.inputs.data
        return [
            (p.axis, p.collective, p.size_bytes) for p in phases(data, data.domains[domain], amount)
        ]

    def _sends(self) -> list[float]:
        out = []
        sizes = [variant.boundary_bytes for variant in self.inputs.variants]
        groups = {name: self._links(name) for name in {name for name, _ in self.route.chains}}
        # Most stages send over links alike.
        known: dict[int, list[float]] = {}
        for name, stage in self.route.chains:
            group, alike = groups[name][stage]
            if alike not in known:
                known[alike] = [
                    self.network.collective_s(name, group, "send", size) for size in sizes
                ]
            out += known[alike]
        return out

    def _links(self, axis: str) -> list[tuple[int, int]]:
        """Return the group of each stage, and the number of its links (`Network.alike`)."""
        network = self.network

        def found() -> list[tuple[int, int]]:
            # A stage that sends nothing along the axis is in no group.
            return [(g, network.alike(axis, g) if g >= 0 else -1) for g in self._groups(axis)]

        return network.known(("sends", axis), found)

    def _stages(self) -> list[_Stage]:
        network, domains = self.network, self.inputs.data.domains
        named = (n for d in domains for n in (d.name, d.across))
        axes = [axis for axis in named if axis in network.groups]
        known: dict[tuple[int, tuple[int, ...]], _Stage] = {}
        brief: dict[tuple[int, ...], dict[int, AnyCell]] = {}
        out = []
        every = network.known(
            ("links", *axes),
            lambda: [
                tuple([network.alike(axis, self._groups(axis)[stage]) for axis in axes])
                for stage in range(len(self.cells))
            ],
        )
        for stage, (cells, links) in enumerate(zip(self.cells, every, strict=True)):
            key = (id(cells), links)
            if key not in known:
                seen = brief.setdefault(links, {})
                known[key] = self._stage(stage, cells, self._hooks(links), seen)
            out.append(known[key])
        return out

    def _hooks(self, links: tuple[int, ...]) -> _Hooks:
        """Return what gathers and reductions over links take, as far as they were asked for."""
        data = self.inputs.data
        how = (data.collective, data.reduce_bytes, data.gather_bytes, data.domains)
        key = ("hooks", how, links)
        if links not in self._seen:
            found = self.network.known(key, lambda: _Hooks({}, {}))
            if max(len(found.gather_s), len(found.reduce_s)) > _KEPT_HOOKS:
                # Outlines that were made before keep theirs.
                found = self.network.memo[key] = _Hooks({}, {})
            self._seen[links] = found
        return self._seen[links]

    def _stage(
        self,
        stage: int,
        cells: Sequence[float | Cell],
        hooks: _Hooks,
        brief: dict[int, AnyCell],
    ) -> _Stage:
        """Return what a stage does; `brief` has its cells in brief as far as they were seen."""
        data, (gather_s, reduce_s) = self.inputs.data, hooks
        limited = np.isfinite(data.limit_bytes)
        for cell in {id(cell): cell for cell in cells}.values():
            if isinstance(cell, float) or id(cell) in brief:
                continue
            for hook in cell.arriving:
                domain = data.domains[hook[0]]
                if domain.shard > 1 and hook not in gather_s:
                    size = hook[1] * data.gather_bytes
                    gather_s[hook] = self._collective_s(stage, domain.name, "all_gather", size)
            for hook in cell.leaving:
                if hook not in reduce_s:
                    phases = self._phases(*hook)
                    reduce_s[hook] = tuple([self._collective_s(stage, *p) for p in phases])
            waited = data.blocking or any([len(reduce_s[hook]) > 1 for hook in cell.leaving])
            short = cell if limited else in_brief(cell, gather_s, None if waited else reduce_s)
            brief[id(cell)] = short
        out = [cell if isinstance(cell, float) else brief[id(cell)] for cell in cells]
        return _Stage(out, cells, gather_s, reduce_s)

    def _ahead(self) -> dict[tuple[int, int], list[int]]:
        """Return for each gather of a stage the unit whose beginning it waits for."""
        data = self.inputs.data
        out: dict[tuple[int, int], list[int]] = {}
        known: dict[int, list[dict[int, list[float]]]] = {}
        for stage, groups in enumerate(self.groups):
            cells = self.stages[stage].entries
            if id(cells) not in known:
                known[id(cells)] = [gathered(cells, d) for d in range(len(data.domains))]
            for d, each in enumerate(known[id(cells)]):
                if each and data.domains[d].shard > 1:
                    chosen = np.zeros(len(cells), dtype=bool)
                    chosen[list(each)] = True
                    runs = groups.pattern_of
                    runs = runs[chosen[runs]].tolist()
                    amounts = np.asarray([a for number in runs for a in each[number]])
                    out[stage, d] = ahead_of(amounts, data).tolist()
        return out

    def _parameters(self, stage: int, domain: int) -> float:
        held = self.inputs.data.domains[domain]
        return sum(held.parameters(c) for c in self.inputs.chunks[stage])

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
        network = self.network

        def found() -> list[tuple[int, tuple[int, int]]]:
            name, table = network.table("tied")
            class_of, ranks = network.fold.class_of, network.families[name].ranks
            pairs = np.sort(class_of[ranks[table.example]], axis=1).tolist()
            return [(g, (a, b)) for g, (a, b) in zip(table.example.tolist(), pairs, strict=True)]

        size = {of.stages: of.size_bytes for of in shared}
        return [
            Collective(pair, network.collective_s("tied", group, "all_reduce", size[pair]))
            for group, pair in network.known(("pairs", "tied"), found)
        ]

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


__all__ = ["Collective", "Outline", "outline"]
