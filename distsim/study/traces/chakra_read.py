"""Reading Chakra execution traces, of any simulator: what a rank computes and communicates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

from distsim.errors import Place, SyntaxProblem
from distsim.files import Limits, read_bytes
from distsim.study.traces.chakra_schema import CollectiveType, NodeType, messages

#: A trace of a rank that is read at once.
LIMITS = Limits(size_bytes=500_000_000)
_LONGEST_VARINT = 10
_RULE = "messages of package ChakraProtoMsg, each after its length: GlobalMetadata, then Nodes"


@dataclass(frozen=True, slots=True)
class ChakraNode:
    """One node.

    Attributes
    ----------
    deps : tuple of int
        Data and control dependencies.
    attributes : dict
        Values by name; lists are lists.
    """

    id: int
    name: str
    type: int
    deps: tuple[int, ...]
    start_micros: int
    duration_micros: int
    attributes: dict[str, Any]


@dataclass(slots=True)
class ChakraSummary:
    """What the nodes of a file come to.

    Attributes
    ----------
    types : dict of str to int
        Nodes by type.
    compute_s : float
        Durations of all compute nodes together.
    flop : float
    messages : dict of (str, str) to (int, float)
        Collective, ``send`` or ``recv``, and group or peer -> nodes and bytes.
    missing : int
        Dependencies on nodes that are not there.
    """

    file: str
    version: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    nodes: int = 0
    dependencies: int = 0
    missing: int = 0
    types: dict[str, int] = field(default_factory=dict)
    compute_s: float = 0.0
    flop: float = 0.0
    messages: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "file": self.file,
            "version": self.version,
            "attributes": self.attributes,
            "nodes": self.nodes,
            "dependencies": self.dependencies,
            "missing": self.missing,
            "types": self.types,
            "compute_s": self.compute_s,
            "flop": self.flop,
            "messages": [
                {"message": what, "with": whom, "nodes": count, "bytes": size}
                for (what, whom), (count, size) in self.messages.items()
            ],
        }


def read_chakra(path: str | PathLike[str]) -> tuple[str, dict[str, Any], list[ChakraNode]]:
    """Return version, attributes and nodes of a trace.

    Raises
    ------
    FileError
        DS101 to DS104.
    SyntaxProblem
        DS721 where it is damaged, cut, or something else.
    UsageError
        DS723 without protobuf.
    """
    found = messages()
    name = "".join(c if c.isprintable() else "?" for c in fspath(path))
    raw = read_bytes(path, LIMITS)
    bodies = _bodies(raw, name)
    first = next(bodies, None)
    if first is None:
        raise _damaged(name, "it is empty")
    head = _parsed(found.metadata, first[1], first[0], name, "GlobalMetadata")
    nodes, seen = [], set()
    for at, body in bodies:
        node = _parsed(found.node, body, at, name, "Node")
        if node.id in seen:
            raise _damaged(name, f"two nodes have the number {node.id} (byte {at:,})")
        seen.add(node.id)
        nodes.append(
            ChakraNode(
                node.id,
                node.name,
                node.type,
                (*node.data_deps, *node.ctrl_deps),
                node.start_time_micros,
                node.duration_micros,
                {attr.name: _value(attr) for attr in node.attr},
            )
        )
    return head.version, {attr.name: _value(attr) for attr in head.attr}, nodes


def summary(path: str | PathLike[str]) -> ChakraSummary:
    """Sum up a trace; see `read_chakra` for its errors."""
    version, attributes, nodes = read_chakra(path)
    out = ChakraSummary(str(path), version, attributes, len(nodes))
    known = {node.id for node in nodes}
    for node in nodes:
        kind = NodeType(node.type).name if node.type in list(NodeType) else f"type {node.type}"
        out.types[kind] = out.types.get(kind, 0) + 1
        out.dependencies += len(node.deps)
        out.missing += sum(dep not in known for dep in node.deps)
        if node.type == NodeType.COMP_NODE:
            out.compute_s += node.duration_micros * 1e-6
            out.flop += _number(node.attributes.get("num_ops"))
        elif NodeType.COMM_SEND_NODE <= node.type <= NodeType.COMM_COLL_NODE:
            key = _message(node)
            count, size = out.messages.get(key, (0, 0.0))
            size += _number(node.attributes.get("comm_size"))
            out.messages[key] = (count + 1, size)
    return out


def _message(node: ChakraNode) -> tuple[str, str]:
    attributes = node.attributes
    if node.type == NodeType.COMM_COLL_NODE:
        kind = attributes.get("comm_type")
        what = f"collective {kind}"
        if isinstance(kind, int) and kind in list(CollectiveType):
            what = CollectiveType(kind).name.lower()
        return what, f"group {attributes.get('pg_name', '-')}"
    sends = node.type == NodeType.COMM_SEND_NODE
    peer = attributes.get("comm_dst" if sends else "comm_src", "-")
    return "send" if sends else "recv", f"rank {peer}"


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value)


def _bodies(raw: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the messages of a file with the bytes at which they begin."""
    at = 0
    while at < len(raw):
        begin, size, shift = at, 0, 0
        while True:
            if at >= len(raw):
                raise _damaged(name, f"it ends in the middle of a length (byte {begin:,})")
            if at - begin >= _LONGEST_VARINT:
                raise _damaged(name, f"what stands at byte {begin:,} is no length")
            byte = raw[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if size > len(raw) - at:
            raise _damaged(
                name,
                f"the message at byte {begin:,} has {size:,} bytes, of which "
                f"{len(raw) - at:,} are there",
            )
        yield begin, raw[at : at + size]
        at += size


def _parsed(kind: Any, body: bytes, at: int, name: str, what: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(body)
    except (DecodeError, UnicodeDecodeError):
        raise _damaged(name, f"the message at byte {at:,} is no {what}") from None


def _value(attribute: Any) -> Any:
    chosen = attribute.WhichOneof("value")
    if chosen is None:
        return None
    value = getattr(attribute, chosen)
    if chosen.endswith("_list"):
        return [_plain(one) for one in value.values]
    return _plain(value)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _damaged(name: str, why: str) -> SyntaxProblem:
    return SyntaxProblem(
        "DS721",
        f"the Chakra trace cannot be read: {why}",
        rule=_RULE,
        fix="give a file NAME.RANK.et as a simulator or converter wrote it; copy it again if it "
        "is cut",
        place=Place(name),
    )
