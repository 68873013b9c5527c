"""Blocks of a file: the base that all share, and the types of their values.

Every block refuses unknown keys and converts nothing: ``true`` is not 1 and ``"8"`` is not 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Strict,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from distsim.errors import DistsimError
from distsim.units import parse

#: Devices beyond any cluster; keeps a slip of the hand from filling memory.
MOST_DEVICES = 1_000_000
#: Sequences of a global batch, tokens of a sequence: above the largest published by far.
MOST_SEQUENCES = 10_000_000
MOST_TOKENS = 100_000_000

#: Tags of the two forms of a value that is a name or a block; they appear in pydantic's paths.
NAME, BLOCK = "<name>", "<block>"
_Kind = TypeVar("_Kind", bound="Block")


def form(value: object) -> str:
    """Say whether a value is a name or a block, for pydantic's discriminator."""
    # Most are names, and whether something is a mapping takes long to say.
    named = isinstance(value, str) or not isinstance(value, BaseModel | Mapping)
    return NAME if named else BLOCK


def whole(kind: type[_Kind], given: str | _Kind, key: str = "name") -> _Kind:
    """Return the block that a name alone stands for, or the one that is given."""
    return _whole(kind, given, key) if isinstance(given, str) else given


@lru_cache(maxsize=256)
def _whole(kind: type[_Kind], name: str, key: str) -> _Kind:
    return kind(**{key: name})


def _bytes(value: object) -> float:
    try:
        return parse(value, "bytes")
    except DistsimError as error:
        # pydantic collects ValueErrors only; `problems` takes this one out again.
        raise PydanticCustomError("distsim", "bad quantity", {"error": error}) from None


def _seconds(value: object) -> float:
    try:
        return parse(value, "s")
    except DistsimError as error:
        raise PydanticCustomError("distsim", "bad quantity", {"error": error}) from None


def _text_of_seconds(value: float) -> str:
    return f"{value:.17g} s"


def _text_of_rate(value: float | None) -> str | None:
    return None if value is None else f"{value:.17g} B/s"


def _text_of_bytes(value: float | None) -> str | None:
    return None if value is None else f"{value:.17g} B"


Name = Annotated[str, Field(min_length=1, max_length=1000)]
NameOrBlock = Annotated[
    Annotated[Name, Tag(NAME)] | Annotated[dict[str, Any], Tag(BLOCK)], Discriminator(form)
]
Degree = Annotated[int, Field(ge=1, le=MOST_DEVICES)]
Layers = Annotated[int, Field(ge=0, le=1_000_000)]
Bytes = Annotated[
    float,
    BeforeValidator(_bytes),
    PlainSerializer(_text_of_bytes),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\s*\+?[0-9.]+([eE][-+]?[0-9]+)?\s*[kMGTPE]?i?(B|bit)\s*$"}
    ),
]

Time = Annotated[
    float,
    BeforeValidator(_seconds),
    PlainSerializer(_text_of_seconds),
    WithJsonSchema({"type": "string", "pattern": r"^\s*\+?[0-9.]+([eE][-+]?[0-9]+)?\s*\w+\s*$"}),
]


def _rate(value: object) -> float:
    try:
        return parse(value, "bytes_per_s")
    except DistsimError as error:
        raise PydanticCustomError("distsim", "bad quantity", {"error": error}) from None


BytesPerS = Annotated[
    float,
    BeforeValidator(_rate),
    PlainSerializer(_text_of_rate),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*\+?[0-9.]+([eE][-+]?[0-9]+)?\s*[kMGTPE]?i?(B|bit)/s\s*$",
        }
    ),
]
#: A number that may be written without a decimal point.
Number = Annotated[float, Strict(False), Field(gt=0, le=1e15)]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Block(BaseModel):
    """A block of a scenario: frozen, without conversions or unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )
