"""The operations of every class of ranks as nodes of a Chakra trace: what runs, and after what.

A run of kernels between two messages is one compute node, with the time that its kernels take by
themselves; whoever replays the trace finds out what communication costs on a network of his own.
Nodes come in an order in which each follows all that it waits for.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.engine.result import Run
from distsim.parallel.step import Collective
from distsim.program.build import Program
from distsim.program.opgraph import TaskKind
from distsim.study.traces.chakra_schema import NodeType

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

#: The group of all ranks, and what the norm of the gradients sums up over it: one fp32 number.
WORLD, _NORM_BYTES = "world", 4.0
#: Kinds of work inside a layer, of which every class of ranks has tasks of its own.
_INSIDE = (TaskKind.TENSOR, TaskKind.CONTEXT, TaskKind.EXPERT)


class Message(NamedTuple):
    """What a communication node moves.

    Attributes
    ----------
    axis : str
        Whose groups: a name of `distsim.program.comm.Groups`, or `WORLD`.
    collective : str
        ``all_reduce``, ..., ``send``, ``recv``, and ``to_next`` and ``from_previous`` of a ring.
    size_bytes : float
        As nccl-tests counts it: all of the array.
    tag : int
        Equal at both ends of a send.
    sender : int
        Class of the ranks that send what is received.
    """

    axis: str
    collective: str
    size_bytes: float
    tag: int = 0
    sender: int = -1


@dataclass(frozen=True, slots=True)
class Node:
    """One node of all ranks of a class.

    Attributes
    ----------
    after : tuple of int
        Numbers of the nodes that it waits for.
    start_s : float
        When it begins in the prediction.
    flop, moved_bytes : float
        Of kernels.
    on_host : bool
    message : Message or None
    """

    name: str
    type: NodeType
    after: tuple[int, ...]
    start_s: float
    duration_s: float = 0.0
    flop: float = 0.0
    moved_bytes: float = 0.0
    on_host: bool = False
    message: Message | None = None


class _Piece(NamedTuple):
    """A message, kernels, or both at the same time."""

    name: str
    collective: Collective | None = None
    compute_s: float = 0.0
    flop: float = 0.0
    moved_bytes: float = 0.0


@dataclass(slots=True)
class Workload:
    """Nodes of the classes of ranks of a program."""

    program: Program
    run: Run
    _pieces: dict[int, list[_Piece]] = field(default_factory=dict)
    _rings: int = 0

    def nodes(self, index: int) -> list[Node]:
        """Return the nodes of each rank of a class; a node's number is its place."""
        out: list[Node] = []
        ends: dict[int, tuple[int, ...]] = {}
        self._rings = 0
        graph = self.program.graph
        for task in self._ordered(np.flatnonzero(self._mine(index))):
            deps = graph.dep[graph.dep_ptr[task] : graph.dep_ptr[task + 1]].tolist()
            after = sorted({end for dep in deps for end in ends.get(dep, ())})
            ends[task] = self._add(out, task, index, tuple(after))
        return out

    def _mine(self, index: int) -> Bools:
        """Say which tasks a rank of a class takes part in."""
        graph, network = self.program.graph, self.program.network
        owner = graph.stream_device[graph.stream]
        rank, class_of = int(network.fold.example[index]), network.fold.class_of
        out = (owner == index) & (graph.kind != TaskKind.DATA)
        for stream, name in enumerate(self.program.stream_names):
            lead = int(graph.stream_device[stream])
            if name.startswith("send "):
                groups = network.groups[name.removeprefix("send ")]
                senders = groups.ranks[groups.ranks[:, 1] == rank, 0]
                if (class_of[senders] == lead).any():
                    out |= graph.stream == stream
        for task in np.flatnonzero(graph.kind == TaskKind.DATA).tolist():
            axis = self._axis(task)
            if axis == WORLD:
                out[task] = True
                continue
            group = int(network.groups[axis].of_rank[rank])
            kind = network.types[graph.transfer[task]].kind
            # One class of each type of group has the tasks; the others wait for them.
            out[task] = group >= 0 and network.type_of(axis, group) == kind
        return np.asarray(out)

    def _axis(self, task: int) -> str:
        kind = self.program.network.types[self.program.graph.transfer[task]]
        prefix = self.program.network.prefix
        return kind.family.split("/")[0].removeprefix(prefix) if kind.family else WORLD

    def _ordered(self, tasks: Ints) -> Iterator[int]:
        """Yield tasks in order of time, each after all that it waits for."""
        graph, run = self.program.graph, self.run
        here = set(tasks.tolist())
        following: dict[int, list[int]] = {}
        waits: dict[int, int] = {}
        for task in here:
            deps = graph.dep[graph.dep_ptr[task] : graph.dep_ptr[task + 1]].tolist()
            mine = [dep for dep in deps if dep in here]
            waits[task] = len(mine)
            for dep in mine:
                following.setdefault(dep, []).append(task)
        starts = run.start_s
        ready = [(float(starts[task]), task) for task in here if not waits[task]]
        heapq.heapify(ready)
        while ready:
            _, task = heapq.heappop(ready)
            yield task
            for other in following.get(task, ()):
                waits[other] -= 1
                if not waits[other]:
                    heapq.heappush(ready, (float(starts[other]), other))

    def _add(
        self, out: list[Node], task: int, index: int, after: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Add the nodes of a task and return those that end it."""
        graph = self.program.graph
        kind, label = TaskKind(graph.kind[task]), int(graph.segment[task])
        start_s = float(self.run.start_s[task])
        name = graph.names[label] if label >= 0 else kind.name.lower()
        if kind == TaskKind.PIPELINE:
            return self._transfer(out, task, index, name, after)
        if kind == TaskKind.DATA:
            message = self._data(task, name)
            return _appended(out, _collective_node(name, after, start_s, message))
        if kind in _INSIDE:
            found = self.program.collectives[label]
            return self._collective(out, name, found, after, start_s)
        if kind == TaskKind.OFFLOAD:
            return self._copy(out, task, name, after)
        if kind == TaskKind.HOST:
            seconds = float(graph.work_s[task])
            node = Node(name, NodeType.COMP_NODE, after, start_s, seconds, on_host=True)
            return _appended(out, node)
        return self._segment(out, label, task, name, after)

    def _segment(
        self, out: list[Node], label: int, task: int, name: str, after: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Add the pieces of a segment, one after another, and what its host makes it wait."""
        start_s = float(self.run.start_s[task])
        for piece in self._of_label(label):
            before = after
            if piece.collective is not None:
                after = self._collective(out, piece.name, piece.collective, before, start_s)
            if piece.compute_s > 0.0:
                beside = before if piece.collective is not None else after
                node = Node(
                    piece.name if piece.collective else name,
                    NodeType.COMP_NODE,
                    beside,
                    start_s,
                    piece.compute_s,
                    piece.flop,
                    piece.moved_bytes,
                )
                ends = _appended(out, node)
                after = (*after, *ends) if piece.collective is not None else ends
        wait_s = self.program.segment_cost[label].host_wait_s if label >= 0 else 0.0
        if wait_s > 0.0:
            node = Node("host", NodeType.COMP_NODE, after, start_s, wait_s, on_host=True)
            after = _appended(out, node)
        return after

    def _collective(
        self,
        out: list[Node],
        name: str,
        found: Collective,
        after: tuple[int, ...],
        start_s: float,
    ) -> tuple[int, ...]:
        """Add a collective inside a layer; where all send to the next, a send and a receipt."""
        if found.name != "send_recv":
            message = Message(found.axis, found.name, found.size_bytes)
            return _appended(out, _collective_node(f"{name} {found.name}", after, start_s, message))
        # All ranks of a ring come to its messages in the same order, so counting tells them apart.
        self._rings += 1
        ends = (
            (NodeType.COMM_SEND_NODE, "to_next"),
            (NodeType.COMM_RECV_NODE, "from_previous"),
        )
        nodes = []
        for kind, what in ends:
            message = Message(found.axis, what, found.size_bytes, self._rings)
            nodes.append(Node(f"{name} {what}", kind, after, start_s, message=message))
        return _appended(out, *nodes)

    def _of_label(self, label: int) -> list[_Piece]:
        if label not in self._pieces:
            self._pieces[label] = list(self._made(label)) if label >= 0 else []
        return self._pieces[label]

    def _made(self, label: int) -> Iterator[_Piece]:
        """Yield the pieces of a segment; kernels without a message between them are one."""
        pricer, steps = self.program.contents.get(label, (None, ()))
        if pricer is None or not steps:
            yield _Piece("", None, self.program.segment_cost[label].compute_s)
            return
        seconds = flop = moved = 0.0
        for step in steps:
            mine = _Piece(
                step.op,
                step.collective,
                pricer.step(step).compute_s,
                sum(work.flop for work in step.works),
                sum(work.moved_bytes for work in step.works),
            )
            if step.collective is not None:
                if seconds > 0.0:
                    yield _Piece("", None, seconds, flop, moved)
                    seconds = flop = moved = 0.0
                if step.beside:
                    yield mine
                    continue
                yield _Piece(step.op, step.collective)
            seconds += mine.compute_s
            flop += mine.flop
            moved += mine.moved_bytes
        if seconds > 0.0:
            yield _Piece("", None, seconds, flop, moved)

    def _transfer(
        self, out: list[Node], task: int, index: int, name: str, after: tuple[int, ...]
    ) -> tuple[int, ...]:
        graph = self.program.graph
        stream = int(graph.stream[task])
        axis = self.program.stream_names[stream].removeprefix("send ")
        sender = int(graph.stream_device[stream])
        sends = sender == index
        size = self.program.network.types[graph.transfer[task]].payload_bytes
        kind = NodeType.COMM_SEND_NODE if sends else NodeType.COMM_RECV_NODE
        message = Message(axis, "send" if sends else "recv", size, task, sender)
        return _appended(
            out, Node(name, kind, after, float(self.run.start_s[task]), message=message)
        )

    def _data(self, task: int, name: str) -> Message:
        """Return the collective of a reduction or a gather.

        Transfers that cost the same are one type; which of the collectives that have it is meant,
        the name of the task says.
        """
        axis, network = self._axis(task), self.program.network
        if axis == WORLD:
            return Message(WORLD, "all_reduce", _NORM_BYTES)
        kind = network.types[self.program.graph.transfer[task]]
        found = sorted(
            (collective, size)
            for (of, _, collective, size), (known, _) in network.best_of.items()
            if of == axis and known == kind
        )
        gathers = name.startswith("gather")
        fitting = [one for one in found if (one[0] == "all_gather") == gathers] or found
        if not fitting:
            fitting = [(kind.family.split("/")[2], kind.payload_bytes)]
        return Message(axis, *fitting[0])

    def _copy(
        self, out: list[Node], task: int, name: str, after: tuple[int, ...]
    ) -> tuple[int, ...]:
        graph = self.program.graph
        stream = self.program.stream_names[int(graph.stream[task])]
        kinds = {
            "copy to host": NodeType.MEM_STORE_NODE,
            "write drives": NodeType.MEM_STORE_NODE,
            "copy to device": NodeType.MEM_LOAD_NODE,
            "read drives": NodeType.MEM_LOAD_NODE,
        }
        kind = kinds.get(stream, NodeType.COMP_NODE)
        seconds, start_s = float(graph.work_s[task]), float(self.run.start_s[task])
        node = Node(name, kind, after, start_s, seconds, on_host=kind == NodeType.COMP_NODE)
        return _appended(out, node)


def _appended(out: list[Node], *nodes: Node) -> tuple[int, ...]:
    first = len(out)
    out.extend(nodes)
    return tuple(range(first, len(out)))


def _collective_node(name: str, after: tuple[int, ...], start_s: float, message: Message) -> Node:
    return Node(name, NodeType.COMM_COLL_NODE, after, start_s, message=message)
