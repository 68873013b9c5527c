"""What takes memory for a while, and from when to when: read off a program and its run.

A span is something that is there from one instant until another: a unit's gathered parameters, a
bucket of gradients, a message between stages. Activations are no spans: what a micro batch keeps
shrinks in two steps where input and weight gradient run apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.engine.result import Run
from distsim.parallel.activations import activation_levels_bytes
from distsim.parallel.memory import recomputed_bytes
from distsim.program.actions import ROW, ClassProgram
from distsim.program.build import Program
from distsim.program.opgraph import TaskKind
from distsim.schedule import BACKWARD, INPUT, Actions

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Spans(NamedTuple):
    """Bytes that are there from one instant until another, each of shape (n,)."""

    begin_s: Floats
    end_s: Floats
    size_bytes: Floats

    def alive(self, times_s: Floats) -> Ints:
        """Return how many are there at each instant; one that ends then is gone."""
        begun = np.searchsorted(np.sort(self.begin_s), times_s, side="right")
        gone = np.searchsorted(np.sort(self.end_s), times_s, side="right")
        return np.asarray(begun - gone, dtype=np.int64)

    def level(self, times_s: Floats, most_bytes: float) -> Floats:
        """Return the bytes at each instant, and no more than `most_bytes`."""
        total = _summed(self.begin_s, self.size_bytes, times_s)
        total -= _summed(self.end_s, self.size_bytes, times_s)
        total[self.alive(times_s) == 0] = 0.0  # no rounding error is left behind
        return np.minimum(total, most_bytes)


def _summed(instants: Floats, sizes: Floats, times_s: Floats) -> Floats:
    order = np.argsort(instants, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(sizes[order])])
    return np.asarray(sums[np.searchsorted(instants[order], times_s, side="right")])


def no_spans() -> Spans:
    """Return nothing at no time."""
    none = np.zeros(0)
    return Spans(none, none, none)


@dataclass(frozen=True, slots=True)
class Wires:
    """Which transfer belongs to which task of the compute streams, for all classes of ranks.

    Attributes
    ----------
    gather : tuple of int64[tasks]
        Of each domain: the gather of parameters that a task waits for (-1: none).
    reduce : tuple of int64[tasks]
        Of each domain: the reduction that waits for a task (-1: none).
    last : tuple of int64[...]
        Source and target of each edge to a reduction after the last backward pass.
    send : int64[sends]
        Sends between stages.
    producer, consumer : int64[sends]
        The task after which each is ready, and the one that needs it (-1: none).
    sender, receiver : int64[sends]
        Classes of ranks (-1: none).
    backward : bool[sends]
        It is a gradient, no activation.
    """

    gather: tuple[Ints, ...]
    reduce: tuple[Ints, ...]
    last: tuple[Ints, Ints]
    send: Ints
    producer: Ints
    consumer: Ints
    sender: Ints
    receiver: Ints
    backward: Bools


def wires(program: Program) -> Wires:
    """Find the transfers of a program; streams are told apart by their names."""
    graph, names = program.graph, np.asarray(program.stream_names)
    source = graph.dep.astype(np.int64)
    target = np.repeat(np.arange(graph.n_tasks), np.diff(graph.dep_ptr))

    def on(*wanted: str) -> Bools:
        return np.asarray(np.isin(names, wanted)[graph.stream])

    gather, reduce = [], []
    for number, domain in enumerate(program.inputs.data.domains):
        ending = "" if number == 0 else f" {domain.name.split('_')[0]}"
        # With one rank in a shard group, parameters come from the host alone.
        found = on(f"gather{ending}" if domain.shard > 1 else "copy to device")
        gather.append(_partner(graph.n_tasks, target, source, found[source]))
        reduce.append(_partner(graph.n_tasks, source, target, on(f"reduce{ending}")[target]))
    ends = on("reduce")[target]
    pipeline = graph.kind == TaskKind.PIPELINE
    owner = graph.stream_device[graph.stream].astype(np.int64)
    send = np.flatnonzero(pipeline)
    made = pipeline[target] & ~pipeline[source]
    needed = pipeline[source] & ~pipeline[target] & (owner[source] != owner[target])
    consumer = _partner(graph.n_tasks, source, target, needed)[send]
    back = np.asarray([name.startswith("send backward") for name in names], dtype=bool)
    return Wires(
        tuple(gather),
        tuple(reduce),
        (source[ends], target[ends]),
        send,
        _partner(graph.n_tasks, target, source, made)[send],
        consumer,
        owner[send],
        np.where(consumer >= 0, owner[consumer], -1),
        back[graph.stream[send]],
    )


def _partner(tasks: int, of: Ints, other: Ints, keep: Bools) -> Ints:
    """Return the other end of the kept edges of each task, -1 where there is none."""
    out = np.full(tasks, -1, dtype=np.int64)
    out[of[keep]] = other[keep]
    return out


@dataclass(frozen=True, slots=True)
class Pass:
    """One class of ranks in a run: when its actions begin and end."""

    program: Program
    run: Run
    wires: Wires
    own: ClassProgram
    order: Actions

    def _began(self, tasks: Ints) -> Floats:
        return self.run.start_s[tasks]

    def _ended(self, tasks: Ints) -> Floats:
        return self.run.end_s[tasks]

    def _at(self) -> tuple[Ints, Ints, Ints]:
        """Return where `ClassProgram.begin` has each action."""
        order = self.order
        return ROW[order.kind], order.chunk.astype(np.int64), order.microbatch.astype(np.int64)

    def _last_of(self, tasks: Ints) -> Ints:
        """Return the last task of the actions, or pairs of actions, that tasks are in."""
        ends = np.unique(self.own.end[self.own.end >= 0])
        return np.asarray(ends[np.searchsorted(ends, tasks)], dtype=np.int64)

    def activations(self) -> tuple[Floats, Floats]:
        """Return instants, and the bytes of activations from each on."""
        inputs, at = self.program.inputs, self._at()
        chunks = [v.chunks[self.own.stage] for v in inputs.variants]
        levels = activation_levels_bytes(self.order, chunks, inputs.variants_of())
        grows = np.diff(levels, prepend=0.0) > 0
        # The two of a pair begin and end together, so either may stand for the other.
        begins, ends = self._began(self.own.begin[at]), self._ended(self.own.end[at])
        return np.where(grows, begins, ends), levels

    def in_flight(self, time_s: float) -> tuple[Ints, Ints]:
        """Return what each chunk holds at an instant.

        Returns
        -------
        tuple of int64[chunks]
            Micro batches whose activations are kept whole; those of which the input gradient is
            done and the weight gradient is not.
        """
        begin, end = self.own.begin, self.own.end
        forward = np.where(begin[0] >= 0, self._began(begin[0]), np.inf)
        back = np.where(end[1] >= 0, self._ended(end[1]), np.inf)
        weight = np.where(end[2] >= 0, self._ended(end[2]), -np.inf)
        whole = (forward <= time_s) & (time_s < back)
        left = (back <= time_s) & (time_s < weight)
        return whole.sum(axis=1), left.sum(axis=1)

    def recomputes(self) -> bool:
        """Say whether layers run again in a backward pass."""
        variants = self.program.inputs.variants
        units = (u for v in variants for c in v.chunks[self.own.stage] for u in c.units)
        return any(u.working_bytes for u in units if u.name == "layer")

    def working(self) -> Spans:
        """Return what recomputation and the loss bring back, during each backward pass."""
        inputs = self.program.inputs
        chunks = [v.chunks[self.own.stage] for v in inputs.variants]
        sizes = np.asarray([recomputed_bytes(held) for held in chunks])
        row, chunk, micro = self._at()
        back = (self.order.kind == BACKWARD) | (self.order.kind == INPUT)
        at = (row[back], chunk[back], micro[back])
        return Spans(
            self._began(self.own.begin[at]),
            self._ended(self.own.end[at]),
            sizes[inputs.variants_of()[micro[back]], chunk[back]],
        )

    def update(self, size_bytes: float) -> Spans:
        """Return the optimizer's update, while its kernels run, with so many bytes."""
        graph = self.program.graph
        own = (graph.kind == TaskKind.OPTIMIZER) & (graph.stream == self.own.stream)
        tasks = np.flatnonzero(own)
        return _alike(self._began(tasks), self._ended(tasks), size_bytes)

    def gathered(self, domain: int) -> Spans:
        """Return the units whose parameters are whole, from their gather until they are dropped.

        A unit is dropped when it has run; where parameters stay, when the backward pass of the
        micro batch has.
        """
        data, hook = self.program.inputs.data, self.own.gathers[domain]
        gather = self.wires.gather[domain][hook.task]
        there = gather >= 0
        task, gather = hook.task[there], gather[there]
        if not len(task) or data.gather not in ("each", "forward"):
            return no_spans()
        last = self._last_of(task)
        if data.gather == "each":
            units = np.unique(np.concatenate([h.task for h in self.own.gathers]))
            following = np.append(units, self.own.last + 1)[np.searchsorted(units, task) + 1]
            last = np.minimum(last, following - 1)
        else:
            forward, back = self.own.end[0].reshape(-1), self.own.end[1].reshape(-1)
            turn = np.argsort(forward)
            last = back[turn[np.searchsorted(forward, last, sorter=turn)]]
        amount = hook.amount[there] * data.gather_bytes
        return Spans(self._began(gather), self._ended(last), amount)

    def buckets(self, domain: int) -> Spans:
        """Return the gradients that are ready, until they are reduced and scattered."""
        hook = self.own.reduces[domain]
        reduce = self.wires.reduce[domain][hook.task]
        there = reduce >= 0
        amount = hook.amount[there] * self.program.inputs.data.reduce_bytes
        return Spans(self._ended(hook.task[there]), self._ended(reduce[there]), amount)

    def last_reductions(self, size_bytes: float) -> Spans:
        """Return the reductions after the last backward pass, with so many bytes in buckets."""
        source, target = self.wires.last
        found: set[int] = set()
        waiting = {self.own.last}
        while waiting:
            following = set(target[np.isin(source, list(waiting))].tolist()) - found
            found |= following
            waiting = following
        tasks = np.asarray(sorted(found), dtype=np.int64)
        return _alike(self._began(tasks), self._ended(tasks), size_bytes)

    def messages(self, size_bytes: float) -> dict[str, Spans]:
        """Return activations and gradients on their way between stages, of so many bytes each.

        What is sent is there until it has arrived. What is received is there from when it is sent;
        an activation is kept by the chunk from the beginning of its forward pass on, and a gradient
        is there until its backward pass has ended.
        """
        net = self.wires
        sends, needs = net.sender == self.own.index, net.receiver == self.own.index
        out = {}
        for back, what in ((False, "forward"), (True, "backward")):
            mine, other = sends & (net.backward == back), needs & (net.backward == back)
            producer, consumer = net.producer[mine], net.consumer[other]
            until = self._ended(self._last_of(consumer)) if back else self._began(consumer)
            out[f"sent {what}"] = _alike(
                self._ended(producer), self._ended(net.send[mine]), size_bytes
            )
            out[f"received {what}"] = _alike(self._began(net.send[other]), until, size_bytes)
        return out


def _alike(begin_s: Floats, end_s: Floats, size_bytes: float) -> Spans:
    return Spans(begin_s, end_s, np.full(len(begin_s), size_bytes))
