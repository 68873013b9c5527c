"""The protobuf schema of Chakra execution traces, made where it is needed.

Package ``ChakraProtoMsg`` of the MLCommons working group (Sridharan et al. 2023, "Chakra: Advancing
Performance Benchmarking and Co-design using Standardized Execution Traces", arXiv 2305.14516;
et_def.proto). A file is a sequence of messages, each after its length as a varint: first a
``GlobalMetadata``, then a ``Node`` for each operation of one rank.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from distsim.errors import UsageError


class NodeType(IntEnum):
    """What a node is (enum ``NodeType``)."""

    INVALID_NODE = 0
    METADATA_NODE = 1
    MEM_LOAD_NODE = 2
    MEM_STORE_NODE = 3
    COMP_NODE = 4
    COMM_SEND_NODE = 5
    COMM_RECV_NODE = 6
    COMM_COLL_NODE = 7


class CollectiveType(IntEnum):
    """Which collective a node runs (enum ``CollectiveCommType``)."""

    ALL_REDUCE = 0
    REDUCE = 1
    ALL_GATHER = 2
    GATHER = 3
    SCATTER = 4
    BROADCAST = 5
    ALL_TO_ALL = 6
    REDUCE_SCATTER = 7
    REDUCE_SCATTER_BLOCK = 8
    BARRIER = 9


#: Types of the oneof of an attribute, in the order of their field numbers: from 3, each followed by
#: its list.
VALUES = (
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64",
    "fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes",
)  # fmt: skip
_PACKAGE = "ChakraProtoMsg"


class Messages(NamedTuple):
    """Classes of the messages."""

    metadata: Any
    node: Any
    attribute: Any


@cache
def messages() -> Messages:
    """Return the classes of the messages of a trace.

    Raises
    ------
    UsageError
        DS723 where the extra ``chakra`` is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise UsageError(
            "DS723",
            "Chakra traces need the package protobuf",
            rule="protobuf is an extra",
            fix="pip install 'distsim-train[chakra]'",
        ) from None
    file = descriptor_pb2.FileDescriptorProto(
        name="distsim/et_def.proto", package=_PACKAGE, syntax="proto3"
    )
    _describe(file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in ("GlobalMetadata", "Node", "AttributeProto")
    )
    return Messages(*found)


def _describe(file: Any) -> None:
    """Add all messages to the description of a file."""
    for enum in (NodeType, CollectiveType):
        name = "CollectiveCommType" if enum is CollectiveType else enum.__name__
        added = file.enum_type.add(name=name)
        for value in enum:
            added.value.add(name=value.name, number=int(value))
    attribute = file.message_type.add(name="AttributeProto")
    _field(attribute, "name", 1, "string")
    _field(attribute, "doc_string", 2, "string")
    attribute.oneof_decl.add(name="value")
    for n, kind in enumerate(VALUES):
        title = kind.capitalize()
        listed = file.message_type.add(name=f"{title}List")
        _field(listed, "values", 1, kind, repeated=True)
        _field(attribute, f"{kind}_val", 3 + 2 * n, kind, oneof=True)
        _field(attribute, f"{kind}_list", 4 + 2 * n, f".{_PACKAGE}.{title}List", oneof=True)
    values = file.message_type.add(name="IOInfo")
    for n, name in enumerate(("values", "shapes", "types"), start=1):
        _field(values, name, n, "string")
    metadata = file.message_type.add(name="GlobalMetadata")
    _field(metadata, "version", 1, "string")
    _field(metadata, "attr", 2, f".{_PACKAGE}.AttributeProto", repeated=True)
    node = file.message_type.add(name="Node")
    _field(node, "id", 1, "uint64")
    _field(node, "name", 2, "string")
    _field(node, "type", 3, f".{_PACKAGE}.NodeType", enum=True)
    _field(node, "ctrl_deps", 4, "uint64", repeated=True)
    _field(node, "data_deps", 5, "uint64", repeated=True)
    _field(node, "start_time_micros", 6, "uint64")
    _field(node, "duration_micros", 7, "uint64")
    _field(node, "inputs", 8, f".{_PACKAGE}.IOInfo")
    _field(node, "outputs", 9, f".{_PACKAGE}.IOInfo")
    _field(node, "attr", 10, f".{_PACKAGE}.AttributeProto", repeated=True)


def _field(
    message: Any,
    name: str,
    number: int,
    kind: str,
    *,
    repeated: bool = False,
    oneof: bool = False,
    enum: bool = False,
) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    added = message.field.add(
        name=name,
        number=number,
        label=Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL,
    )
    if kind.startswith("."):
        added.type = Field.TYPE_ENUM if enum else Field.TYPE_MESSAGE
        added.type_name = kind
    else:
        added.type = getattr(Field, f"TYPE_{kind.upper()}")
    if oneof:
        added.oneof_index = 0


def varint(value: int) -> bytes:
    """Return a length as a varint: seven bits a byte, the lowest first.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
