"""Messages between the server and its worker processes: a length, then JSON."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

#: Bytes of the length before each message.
HEAD = 4
#: Longest message; a timeline of as many spans as are drawn takes a tenth of it.
MOST = 256 * 1024**2


def packed(message: dict[str, Any]) -> bytes:
    """Return the bytes of a message.

    Raises
    ------
    ValueError
        For a number that is not finite.
    """
    body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii")
    return len(body).to_bytes(HEAD, "big") + body


def unpacked(body: bytes) -> dict[str, Any]:
    """Return the message of a body."""
    found: dict[str, Any] = json.loads(body)
    return found


def length(head: bytes) -> int:
    """Return the bytes that a message has after its head.

    Raises
    ------
    ValueError
        For more than a message may have: whoever sent it does not speak this language.
    """
    found = int.from_bytes(head, "big")
    if found > MOST:
        raise ValueError(f"a message of {found} bytes")
    return found


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """Return the next message of a stream, None at its end."""
    head = stream.read(HEAD)
    if len(head) < HEAD:
        return None
    size = length(head)
    body = stream.read(size)
    return unpacked(body) if len(body) == size else None
