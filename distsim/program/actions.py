"""Laying out the actions of a class of ranks on its compute stream, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distsim.parallel.data import DataParallel
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Collective, Step
from distsim.program.comm import Network
from distsim.program.emit import Emitter
from distsim.program.opgraph import TaskKind
from distsim.program.pattern import Entry, Pattern, pattern, pieces
from distsim.program.segment import Cost, Pricer
from distsim.schedule import BACKWARD, FORWARD, Actions

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassProgram:
    """Tasks of one class of ranks on its compute stream, in order.

    Attributes
    ----------
    index, rank, stage : int
        Class, an example rank, its pipeline stage.
    stream, first, count : int
        Compute stream; number of its first task; number of tasks.
    begin, end : int64[2, chunks, microbatches]
        First and last task of each action; kind 0 forward, 1 backward.
    gather_task, gather_bytes, reduce_task, reduce_bytes : arrays
        Tasks that wait for parameters, tasks whose gradients are ready, in program order.
    parameters : float
        Parameters that one rank holds.
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
    gather_task: Ints
    gather_bytes: Floats
    reduce_task: Ints
    reduce_bytes: Floats
    parameters: float
    before: Ints
    after: Ints

    @property
    def last(self) -> int:
        """Return the last task of the compute stream."""
        return self.first + self.count - 1


@dataclass(frozen=True, slots=True)
class ClassActions:
    """What all classes with the same stage and tensor-parallel links share."""

    stage: int
    order: Actions
    patterns: list[Pattern]
    labels: list[Ints]
    pattern_of: Ints
    chunks: int
    parameters: float

    def emit(self, emitter: Emitter, network: Network, index: int, rank: int) -> ClassProgram:
        """Add the tasks of one class of ranks."""
        flat = [entry for entries in self.patterns for entry in entries]
        size = np.asarray([len(entries) for entries in self.patterns])
        start = np.concatenate([[0], np.cumsum(size)[:-1]])
        counts = size[self.pattern_of]
        offset = np.concatenate([[0], np.cumsum(counts)])
        total = int(offset[-1])
        within = np.arange(total) - np.repeat(offset[:-1], counts)
        entry = np.repeat(start[self.pattern_of], counts) + within
        stream = emitter.stream(index, "compute")
        stream_of = np.full(len(flat), stream)
        transfer = np.full(len(flat), -1)
        collectives = [(i, e.collective) for i, e in enumerate(flat) if e.collective is not None]
        if collectives:
            stream_of[[i for i, _ in collectives]] = emitter.stream(index, "tensor")
            for i, collective in collectives:
                transfer[i] = _tensor_transfer(network, index, rank, collective)
        first = emitter.tasks(
            total,
            stream=stream_of[entry],
            kind=np.asarray([e.kind for e in flat])[entry],
            work_s=np.asarray([e.cost.total_s for e in flat])[entry],
            transfer=transfer[entry],
            segment=np.concatenate(self.labels)[entry],
            microbatch=np.repeat(self.order.microbatch, counts),
            stage=self.stage,
        )
        before, after = _order(flat, entry)
        emitter.edges(first + before, first + after)
        shape = (2, self.chunks, int(self.order.microbatch.max()) + 1)
        begin, end = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        where = (self.order.kind, self.order.chunk, self.order.microbatch)
        begin[where], end[where] = first + offset[:-1], first + offset[1:] - 1
        gather = np.asarray([e.gather_bytes for e in flat])[entry]
        reduce = np.asarray([e.reduce_bytes for e in flat])[entry]
        return ClassProgram(
            index,
            rank,
            self.stage,
            stream,
            first,
            total,
            begin,
            end,
            first + np.flatnonzero(gather),
            gather[gather > 0],
            first + np.flatnonzero(reduce),
            reduce[reduce > 0],
            self.parameters,
            before,
            after,
        )


def _tensor_transfer(network: Network, index: int, rank: int, collective: Collective) -> int:
    """Return the transfer type of a tensor-parallel collective for one class of its group.

    A group whose ranks are in several classes sends once, from the first class; the others wait.
    """
    groups = network.groups["tensor"]
    group = int(groups.of_rank[rank])
    if index != int(network.fold.class_of[groups.ranks[group]].min()):
        return network.latency_only(0.0)
    return network.transfer("tensor", group, collective.name, collective.size_bytes)


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


def _hooked(
    order: Actions, data: DataParallel
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Say for each action whether it waits for parameters and whether its gradients leave."""
    forward, count = order.kind == FORWARD, len(order.kind)
    gather, reduce = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    if data.gather == "each":
        gather[:] = True
    if data.reduce == "each":
        reduce = ~forward
    for chunk in np.unique(order.chunk):
        here = order.chunk == chunk
        if data.gather == "first":
            gather[np.flatnonzero(here & forward)[0]] = True
        if data.reduce == "last":
            reduce[np.flatnonzero(here & ~forward)[-1]] = True
    return gather, reduce


def lay_out(
    chunks: Sequence[Chunk],
    order: Actions,
    data: DataParallel,
    pricer: Pricer,
    *,
    stage: int,
    expand_all: bool,
    expand_hooked: bool,
    emitter: Emitter,
    costs: list[Cost],
    contents: dict[int, tuple[Pricer, tuple[Step, ...]]],
    priced: dict[int, Cost],
    restart_s: float = 0.0,
) -> ClassActions:
    """Choose a pattern for every action of a stage.

    Parameters
    ----------
    expand_all, expand_hooked : bool
        Give tensor-parallel collectives tasks of their own in all actions, or in those that run
        beside gradients and parameters on the wire.
    costs : list of Cost
        Receives the cost of each label registered with `emitter`.
    contents : dict
        Receives what each label stands for, and who prices it.
    priced : dict
        Cost of each step by identity; layers and stages share their steps, so that hashing them
        would take longer than pricing them.
    restart_s : float
        Time at the start of every action in which the device waits for the host.
    """
    gather, reduce = _hooked(order, data)

    def cost_of(steps: tuple[Step, ...]) -> Cost:
        total = Cost()
        for step in steps:
            if id(step) not in priced:
                priced[id(step)] = pricer.step(step)
            total += priced[id(step)]
        return total

    after_hook = np.maximum.accumulate(reduce)
    expand = np.full(len(order), expand_all) | (expand_hooked & (gather | after_hook))
    flags = gather + 2 * reduce + 4 * expand + 8 * order.kind.astype(np.int64)
    distinct, pattern_of = np.unique(flags + 32 * order.chunk, return_inverse=True)
    patterns: list[Pattern] = []
    labels: list[Ints] = []
    for code in distinct.tolist():
        chunk, kind = code // 32, code // 8 % 4
        gathers, reduces, expands = bool(code & 1), bool(code & 2), bool(code & 4)
        name = f"{'FB'[kind]} stage {stage}" + (f" chunk {chunk}" if len(chunks) > 1 else "")
        cuts = pieces(chunks[chunk], data, forward=kind == FORWARD, gather=gathers, reduce=reduces)
        entries = pattern(name, cuts, pricer, expand=expands, cost_of=cost_of)
        entries[0].cost += Cost(restart_s=restart_s)
        patterns.append(entries)
        labels.append(np.asarray([emitter.name(e.label) for e in entries], dtype=np.int64))
        costs += [e.cost for e in entries]
        contents |= {
            int(label): (pricer, e.steps) for label, e in zip(labels[-1], entries, strict=True)
        }
    parameters = sum(c.parameters for c in chunks)
    return ClassActions(
        stage, order, patterns, labels, pattern_of.reshape(-1), len(chunks), parameters
    )


__all__ = ["BACKWARD", "FORWARD", "ClassActions", "ClassProgram", "TaskKind", "lay_out"]
