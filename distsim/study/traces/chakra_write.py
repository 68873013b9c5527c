"""Chakra execution traces of a prediction: one file for each rank, and the groups of ranks.

Ranks of one class run the same nodes but for whom they talk to. So the nodes of a class are encoded
once, and the attribute that names the group or the peer is appended for each rank: fields of a
message may come in any order (Protocol Buffers encoding).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from distsim.errors import UsageError
from distsim.prediction.predict import Prediction
from distsim.program.build import Program
from distsim.study.traces.chakra_schema import CollectiveType, NodeType, messages, varint
from distsim.study.traces.chakra_workload import WORLD, Message, Node, Workload
from distsim.version import __version__

PREFIX, GROUPS_FILE = "distsim", "comm_groups.json"
#: Version of the schema that the files name.
SCHEMA_VERSION = "0.0.4"
#: Nodes of all ranks beyond which nothing is written: about 150 bytes each.
MOST_NODES = 50_000_000

_TYPES = {name.lower(): kind for name, kind in CollectiveType.__members__.items()}


class ChakraTraces:
    """The files of a prediction.

    Raises
    ------
    UsageError
        DS722 where there are too many nodes; DS723 without protobuf.
    """

    def __init__(self, prediction: Prediction) -> None:
        self._messages = messages()
        timeline = prediction.timeline
        self._program, self._name = timeline.program, prediction.scenario
        workload = Workload(timeline.program, timeline.run)
        count = timeline.program.network.fold.count
        self._nodes: list[list[Node]] = []
        total = 0
        for index in range(len(count)):
            self._nodes.append(workload.nodes(index))
            total += len(self._nodes[-1]) * int(count[index])
            if total > MOST_NODES:
                raise UsageError(
                    "DS722",
                    f"the Chakra traces of {prediction.devices:,} ranks have more than "
                    f"{MOST_NODES:,} nodes",
                    value=total,
                    rule="a node for each run of kernels and each message of every rank",
                    fix="simulate fewer micro batches or devices",
                )
        self.n_nodes = total
        self._numbers = _numbers(timeline.program)

    @property
    def n_ranks(self) -> int:
        """Number of files, beside that of the groups."""
        return len(self._program.network.fold.class_of)

    def groups(self) -> dict[str, list[int]]:
        """Return the ranks of each process group by its number, as `pg_name` has it."""
        network = self._program.network
        out = {"1": list(range(self.n_ranks))}
        for axis, first in self._numbers.items():
            if axis != WORLD:
                for n, ranks in enumerate(network.groups[axis].ranks.tolist()):
                    out[str(first + n)] = ranks
        return out

    def files(self) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Yield name and content of each file: groups first, then ranks by class."""
        yield GROUPS_FILE, [(json.dumps(self.groups(), indent=1) + "\n").encode()]
        class_of = self._program.network.fold.class_of
        for index, nodes in enumerate(self._nodes):
            encoded = [self._encoded(n, node) for n, node in enumerate(_whole_micros(nodes))]
            talks = [node.message for node in nodes]
            for rank in np.flatnonzero(class_of == index).tolist():
                yield f"{PREFIX}.{rank}.et", self._rank(rank, encoded, talks)

    def _rank(
        self, rank: int, encoded: list[bytes], talks: list[Message | None]
    ) -> Iterator[bytes]:
        head = self._messages.metadata(version=SCHEMA_VERSION)
        head.attr.add(name="simulator", string_val=f"distsim {__version__}")
        head.attr.add(name="scenario", string_val=self._name)
        head.attr.add(name="rank", int64_val=rank)
        yield _delimited(head.SerializeToString())
        suffixes: dict[tuple[str, str, int], bytes] = {}
        for body, message in zip(encoded, talks, strict=True):
            if message is None:
                yield _delimited(body)
                continue
            key = (message.axis, message.collective, message.sender)
            if key not in suffixes:
                suffixes[key] = self._suffix(rank, message)
            yield _delimited(body + suffixes[key])

    def _suffix(self, rank: int, message: Message) -> bytes:
        """Return the attributes of a communication node that depend on the rank."""
        groups, class_of = self._program.network.groups, self._program.network.fold.class_of
        node = self._messages.node()
        if message.collective in ("send", "recv"):
            pairs = groups[message.axis]
            if message.collective == "send":
                ends = pairs.ranks[pairs.of_rank[rank]].tolist()
            else:
                # A rank may receive from two stages, and then from ranks of two classes.
                comes = (pairs.ranks[:, 1] == rank) & (
                    class_of[pairs.ranks[:, 0]] == message.sender
                )
                ends = pairs.ranks[int(np.flatnonzero(comes)[0])].tolist()
            _add_peers(node, *ends)
        elif message.collective in ("to_next", "from_previous"):
            ring = groups[message.axis].ranks[groups[message.axis].of_rank[rank]].tolist()
            at = ring.index(rank)
            if message.collective == "to_next":
                _add_peers(node, rank, ring[(at + 1) % len(ring)])
            else:
                _add_peers(node, ring[at - 1], rank)
        else:
            number = self._numbers[message.axis]
            if message.axis != WORLD:
                number += int(groups[message.axis].of_rank[rank])
            node.attr.add(name="pg_name", string_val=str(number))
        encoded: bytes = node.SerializeToString()
        return encoded

    def _encoded(self, number: int, timed: tuple[Node, int]) -> bytes:
        """Return a node without what depends on the rank."""
        node, micros = timed
        out: Any = self._messages.node(
            id=number,
            name=node.name,
            type=int(node.type),
            data_deps=node.after,
            start_time_micros=round(node.start_s * 1e6),
            duration_micros=micros,
        )
        out.attr.add(name="is_cpu_op", bool_val=node.on_host)
        message = node.message
        if message is None:
            if node.flop:
                out.attr.add(name="num_ops", int64_val=round(node.flop))
            if node.moved_bytes:
                out.attr.add(name="tensor_size", uint64_val=round(node.moved_bytes))
        else:
            out.attr.add(name="comm_size", int64_val=round(message.size_bytes))
            if node.type == NodeType.COMM_COLL_NODE:
                kind = _TYPES[message.collective]
                out.attr.add(name="comm_type", int64_val=int(kind))
            else:
                out.attr.add(name="comm_tag", int32_val=message.tag % 2**31)
        encoded: bytes = out.SerializeToString()
        return encoded


def _numbers(program: Program) -> dict[str, int]:
    """Return the number of the first group of each axis; that of all ranks is 1."""
    out, following = {WORLD: 1}, 2
    for name, groups in program.network.groups.items():
        if name.split()[0] not in ("forward", "backward"):
            out[name] = following
            following += len(groups.ranks)
    return out


def _add_peers(node: Any, source: int, target: int) -> None:
    node.attr.add(name="comm_src", int32_val=source)
    node.attr.add(name="comm_dst", int32_val=target)


def _whole_micros(nodes: Iterable[Node]) -> Iterator[tuple[Node, int]]:
    """Yield nodes with durations in whole microseconds, which a trace has.

    What rounding leaves goes to the next node, so that sums are right to a microsecond.
    """
    exact_us, written = 0.0, 0
    for node in nodes:
        exact_us += node.duration_s * 1e6
        micros = max(0, round(exact_us) - written)
        written += micros
        yield node, micros


def _delimited(body: bytes) -> bytes:
    return varint(len(body)) + body
