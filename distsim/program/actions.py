"""Laying out the actions of a class of ranks on its compute stream, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from distsim.parallel.data import DataParallel
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Collective, Step
from distsim.program.comm import Network
from distsim.program.emit import Emitter
from distsim.program.pattern import Entry, Pattern, beside, pattern
from distsim.program.pieces import pieces
from distsim.program.segment import Cost, Pricer
from distsim.schedule import BACKWARD, FORWARD, INPUT, WEIGHT, Actions
from distsim.schedule.actions import LETTERS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Row of `ClassProgram.begin` for each kind of action: forward; backward or input gradient; weight
#: gradient.
ROW = np.asarray([0, 1, 2, 1])


@dataclass(frozen=True, slots=True)
class Hook:
    """Tasks that wait for parameters, or whose gradients are ready, in program order.

    Attributes
    ----------
    task : int64[n]
    amount : float64[n]
        Parameters.
    """

    task: Ints
    amount: Floats


@dataclass(frozen=True, slots=True)
class ClassProgram:
    """Tasks of one class of ranks on its compute stream, in order.

    Attributes
    ----------
    index, rank, stage : int
        Class, an example rank, its pipeline stage.
    stream, first, count : int
        Compute stream; number of its first task; number of tasks.
    begin, end : int64[3, chunks, microbatches]
        First and last task of each action, -1 where there is none: row 0 forward, 1 backward or
        input gradient, 2 weight gradient.
    gathers, reduces : tuple of Hook
        For each domain of the data-parallel ranks.
    parameters : tuple of float
        Parameters of each domain that one rank holds.
    before, after : int64[edges]
        Order of the tasks, counted from `first`.
    """

    index: int
    rank: int
    stage: int
    stream: int
    first: int
    count: int
    begin: Ints
    end: Ints
    gathers: tuple[Hook, ...]
    reduces: tuple[Hook, ...]
    parameters: tuple[float, ...]
    before: Ints
    after: Ints

    @property
    def last(self) -> int:
        """Return the last task of the compute stream."""
        return self.first + self.count - 1


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage does, whatever its class: chunks, order, data parallelism.

    Attributes
    ----------
    stage : int
    variants : sequence of sequence of Chunk
        ``[variant][chunk]``: chunks as micro batches of each shape run them.
    variant_of : int64[microbatches]
    order : Actions
    batches : int
        Optimizer steps that the order spans; their micro batches follow one another.
    data : DataParallel
    between : Cost
        What runs after every batch but the last (an update without a flush).
    restart_s : float
        Time at the start of every action in which the device waits for the host.
    """

    stage: int
    variants: Sequence[Sequence[Chunk]]
    variant_of: Ints
    order: Actions
    batches: int
    data: DataParallel
    between: Cost = field(default_factory=Cost)
    restart_s: float = 0.0

    @property
    def chunks(self) -> int:
        """Model chunks of the stage."""
        return len(self.variants[0])

    def hooked(self) -> tuple[Bools, Bools]:
        """Say for each action whether it waits for parameters and whether its gradients leave."""
        order, data = self.order, self.data
        forward, count = order.kind == FORWARD, len(order.kind)
        completes = (order.kind == BACKWARD) | (order.kind == WEIGHT)
        gather, reduce = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        if data.gather == "each":
            gather[:] = order.kind != WEIGHT
        if data.gather == "forward":
            gather[:] = forward
        if data.reduce == "each":
            reduce = completes
        batch = self.batch_of()
        for chunk in np.unique(order.chunk):
            for step in range(self.batches):
                here = (order.chunk == chunk) & (batch == step)
                if data.gather == "first":
                    gather[np.flatnonzero(here & forward)[0]] = True
                if data.reduce == "last":
                    reduce[np.flatnonzero(here & completes)[-1]] = True
        return gather, reduce

    def batch_of(self) -> Ints:
        """Return the batch of each action."""
        each = max(1, len(self.variant_of) // self.batches)
        return np.asarray(self.order.microbatch // each, dtype=np.int64)

    def ends_batch(self) -> Bools:
        """Say which actions are the last of a batch that another batch follows."""
        out = np.zeros(len(self.order.kind), dtype=bool)
        batch = self.batch_of()
        for step in range(self.batches - 1):
            out[np.flatnonzero((batch == step) & (self.order.kind != FORWARD))[-1]] = True
        return out


class Priced:
    """Labels, costs and contents of the segments of a program, and prices seen before."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.costs: list[Cost] = []
        self.contents: dict[int, tuple[Pricer, tuple[Step, ...]]] = {}
        self._seen: dict[object, dict[int, tuple[Step, Cost]]] = {}
        self._patterns: dict[object, tuple[Chunk, Pattern]] = {}

    def steps(self, key: object, pricer: Pricer, steps: tuple[Step, ...]) -> Cost:
        """Price steps; `key` says under what conditions.

        Steps are told apart by identity: layers and stages share theirs, and hashing them would
        take longer than pricing them.
        """
        seen = self._seen.setdefault(key, {})
        compute = tensor = context = expert = host = restart = 0.0
        for step in steps:
            found = seen.get(id(step))
            if found is None:
                found = seen[id(step)] = (step, pricer.step(step))
            cost = found[1]
            compute += cost.compute_s
            tensor += cost.tensor_s
            context += cost.context_s
            expert += cost.expert_s
            host += cost.host_s
            restart += cost.restart_s
        return Cost(compute, tensor, context, expert, host, restart)

    def pattern(
        self, key: Hashable, chunk: Chunk, label: str, made: Callable[[], Pattern]
    ) -> Pattern:
        """Return a pattern under a label; `key` says what it depends on beside the chunk.

        Chunks are told apart by identity, too: stages that hold the same share theirs.
        """
        at = (key, id(chunk))
        if at not in self._patterns:
            self._patterns[at] = (chunk, made())
        return [e.named(label) for e in self._patterns[at][1]]

    def label(self, entry: Entry, pricer: Pricer) -> int:
        """Register the label of an entry."""
        self.costs += [Cost()] * (len(self.emitter.names) - len(self.costs))
        label = self.emitter.name(entry.label)
        self.costs.append(entry.cost)
        self.contents[label] = (pricer, entry.steps)
        return label


@dataclass(frozen=True, slots=True)
class ClassActions:
    """What all classes with the same stage, device and links inside layers share.

    Attributes
    ----------
    lead : int64[groups]
        First action of each group of actions that run together (one, or a pair).
    pattern_of : int64[groups]
    trailing : int64[patterns]
        Entries after the end of the action, for which no send waits.
    """

    work: Work
    lead: Ints
    patterns: list[Pattern]
    labels: list[Ints]
    pattern_of: Ints
    trailing: Ints

    def emit(self, emitter: Emitter, network: Network, index: int, rank: int) -> ClassProgram:
        """Add the tasks of one class of ranks."""
        order = self.work.order
        flat = [entry for entries in self.patterns for entry in entries]
        size = np.asarray([len(entries) for entries in self.patterns])
        start = np.concatenate([[0], np.cumsum(size)[:-1]])
        counts = size[self.pattern_of]
        offset = np.concatenate([[0], np.cumsum(counts)])
        total = int(offset[-1])
        within = np.arange(total) - np.repeat(offset[:-1], counts)
        entry = np.repeat(start[self.pattern_of], counts) + within
        stream = emitter.stream(index, "compute")
        stream_of, transfer = _streams(flat, emitter, network, index, rank, stream)
        first = emitter.tasks(
            total,
            stream=stream_of[entry],
            kind=np.asarray([e.kind for e in flat])[entry],
            work_s=np.asarray([e.cost.total_s for e in flat])[entry],
            transfer=transfer[entry],
            segment=np.concatenate(self.labels)[entry],
            microbatch=np.repeat(order.microbatch[self.lead], counts),
            stage=self.work.stage,
        )
        before, after = _order(flat, entry)
        emitter.edges(first + before, first + after)
        begin, end = self._bounds(first, offset)
        domains = self.work.data.domains
        return ClassProgram(
            index,
            rank,
            self.work.stage,
            stream,
            first,
            total,
            begin,
            end,
            tuple(_hook([e.gathers for e in flat], d, entry, first) for d in range(len(domains))),
            tuple(_hook([e.reduces for e in flat], d, entry, first) for d in range(len(domains))),
            tuple(sum(d.parameters(c) for c in self.work.variants[0]) for d in domains),
            before,
            after,
        )

    def _bounds(self, first: int, offset: Ints) -> tuple[Ints, Ints]:
        order = self.work.order
        shape = (3, self.work.chunks, len(self.work.variant_of))
        begin, end = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
        group = np.searchsorted(self.lead, np.arange(len(order.kind)), side="right") - 1
        where = (ROW[order.kind], order.chunk, order.microbatch)
        begin[where] = first + offset[group]
        end[where] = first + offset[group + 1] - 1 - self.trailing[self.pattern_of[group]]
        return begin, end


def _hook(amounts: list[tuple[float, ...]], domain: int, entry: Ints, first: int) -> Hook:
    each = np.asarray([a[domain] if a else 0.0 for a in amounts])[entry]
    return Hook(first + np.flatnonzero(each), each[each > 0])


def _streams(
    flat: list[Entry], emitter: Emitter, network: Network, index: int, rank: int, compute: int
) -> tuple[Ints, Ints]:
    """Return the stream and the transfer type (-1: none) of each entry."""
    stream_of, transfer = np.full(len(flat), compute), np.full(len(flat), -1)
    opened: dict[str, int] = {}
    for i, entry in enumerate(flat):
        if entry.stream != "compute":
            if entry.stream not in opened:
                opened[entry.stream] = emitter.stream(index, entry.stream.replace("_", " "))
            stream_of[i] = opened[entry.stream]
        if entry.collective is not None:
            transfer[i] = _transfer(network, index, rank, entry.collective)
    return stream_of, transfer


def _transfer(network: Network, index: int, rank: int, collective: Collective) -> int:
    """Return the transfer type of a collective inside a layer for one class of its group.

    A group whose ranks are in several classes sends once, from the first class; the others wait.
    """
    groups = network.groups[collective.axis]
    group = int(groups.of_rank[rank])
    if index != int(network.fold.class_of[groups.ranks[group]].min()):
        return network.latency_only(0.0)
    return network.transfer(collective.axis, group, collective.name, collective.size_bytes)


def _order(flat: list[Entry], entry: Ints) -> tuple[Ints, Ints]:
    """Return which tasks of a class wait for which, counted from its first task."""
    tasks = np.arange(len(entry))
    before, after = [], []
    for column in range(max(len(e.after) for e in flat)):
        back = np.asarray([e.after[column] if column < len(e.after) else 0 for e in flat])[entry]
        keep = (back < 0) & (tasks + back >= 0)
        before.append((tasks + back)[keep])
        after.append(tasks[keep])
    return np.concatenate(before), np.concatenate(after)


def lay_out(
    work: Work,
    pricer: Pricer,
    priced: Priced,
    key: Hashable,
    *,
    expand_all: frozenset[str],
    expand_hooked: frozenset[str],
) -> ClassActions:
    """Choose a pattern for every action of a stage.

    Parameters
    ----------
    priced : Priced
        Receives what each label stands for.
    key : object
        What the pricer depends on.
    expand_all, expand_hooked : frozenset of str
        Axes whose collectives get tasks of their own in all actions, and in those that run beside
        gradients and parameters on the wire.
    """
    order = work.order
    gather, reduce = work.hooked()
    after_hook = np.maximum.accumulate(reduce) | gather
    codes = (
        gather
        + 2 * reduce
        + 4 * after_hook
        + 8 * work.ends_batch()
        + 16 * order.kind.astype(np.int64)
        + 64 * (order.chunk + work.chunks * work.variant_of[order.microbatch])
    )
    paired = order.paired if len(order.paired) else np.zeros(len(codes), dtype=bool)
    second = np.concatenate([[False], paired[:-1]])
    lead = np.flatnonzero(~second)
    following = np.append(codes[1:], 0)[lead]
    keys = np.stack([codes[lead], np.where(paired[lead], following, -1)])
    distinct, pattern_of = np.unique(keys, axis=1, return_inverse=True)
    patterns: list[Pattern] = []
    for one, other in distinct.T.tolist():
        made = _pattern(work, pricer, priced, key, one, expand_all, expand_hooked)
        if other >= 0:
            second_made = _pattern(work, pricer, priced, key, other, expand_all, expand_hooked)
            label = f"{made[0].label} with {second_made[0].label}"
            made = beside(label, made, second_made, pricer.device.contention_factor)
        patterns.append(made)
    labels = [
        np.asarray([priced.label(e, pricer) for e in entries], dtype=np.int64)
        for entries in patterns
    ]
    trailing = np.asarray([sum(e.update for e in entries[-1:]) for entries in patterns])
    return ClassActions(work, lead, patterns, labels, pattern_of.reshape(-1), trailing)


def _pattern(
    work: Work,
    pricer: Pricer,
    priced: Priced,
    key: Hashable,
    code: int,
    expand_all: frozenset[str],
    expand_hooked: frozenset[str],
) -> Pattern:
    """Build the pattern of one kind of action, as `lay_out` codes it."""
    kind, at = code // 16 % 4, code // 64
    variant, chunk = divmod(at, work.chunks)
    name = f"{LETTERS[kind]} stage {work.stage}"
    name += f" chunk {chunk}" if work.chunks > 1 else ""
    held = work.variants[variant][chunk]
    expand = expand_all | (expand_hooked if code & 4 else frozenset())
    gather, reduce = bool(code & 1), bool(code & 2)

    def made() -> Pattern:
        return pattern(
            "",
            pieces(held, work.data, kind=kind, gather=gather, reduce=reduce),
            pricer,
            expand=expand,
            cost_of=lambda steps: priced.steps(key, pricer, steps),
        )

    entries = priced.pattern((key, kind, gather, reduce, expand), held, name, made)
    entries[0].cost += Cost(restart_s=work.restart_s)
    if code & 8:
        entries.append(Entry(f"optimizer stage {work.stage}", work.between, update=True))
    return entries


__all__ = ["BACKWARD", "FORWARD", "INPUT", "ClassActions", "ClassProgram", "Hook", "lay_out"]
