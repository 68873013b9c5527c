"""Answers: JSON in one piece, or events one after another until whoever asked goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from distsim.errors import DistsimError
from distsim.serve.refusals import error_dict

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from distsim.serve.pool import Message

_JSON, _EVENTS = b"application/json", b"text/event-stream; charset=utf-8"


class Json:
    """A JSON answer.

    Parameters
    ----------
    content : dict
    status : int
    headers : sequence of (bytes, bytes)
    """

    def __init__(
        self, content: Any, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        self._body = json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
        self._status = status
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [
            (b"content-type", _JSON),
            (b"content-length", str(len(self._body)).encode()),
            (b"cache-control", b"no-store"),
            *self._headers,
        ]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else self._body
        await send({"type": "http.response.body", "body": body})


def refusal(error: DistsimError) -> ASGIApp:
    """Return the answer that says why there is no other."""
    return _failed(error_dict(error))


def _failed(error: dict[str, Any]) -> Json:
    status = int(error["status"])
    extra: tuple[tuple[bytes, bytes], ...] = ()
    if status == 503:
        extra = ((b"retry-after", b"1"),)
    elif status == 405:
        extra = ((b"allow", b"GET, HEAD, POST"),)
    elif status == 413:
        # What is left of the body is not read.
        extra = ((b"connection", b"close"),)
    return Json({"error": error}, status, extra)


class Answer:
    """What comes of a request, ended as soon as nobody listens.

    An error before anything else is an answer of its own, with its status.

    Parameters
    ----------
    source : async generator of message
        Each with ``event`` and ``data``.
    streams : bool
        Every message as a server-sent event; otherwise the data of the first, as JSON.
    """

    def __init__(self, source: AsyncGenerator[Message], *, streams: bool) -> None:
        self._source = source
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        loop = asyncio.get_running_loop()
        work = loop.create_task(self._send(scope, receive, send))
        watch = loop.create_task(_gone(receive))
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, watch):
                task.cancel()
            found = await asyncio.gather(work, watch, return_exceptions=True)
        if isinstance(found[0], Exception):
            raise found[0]

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._source) as messages:
            begun = failed = False
            async for message in messages:
                failed = message["event"] == "error"
                if not begun and failed:
                    await _failed(message["data"])(scope, receive, send)
                    return
                if not begun and not self._streams:
                    await Json(message["data"])(scope, receive, send)
                elif not begun:
                    await _begin(send)
                begun = True
                if self._streams:
                    await send(_event(message["event"], message["data"]))
            if self._streams:
                if not failed:
                    await send(_event("done", {}))
                await send({"type": "http.response.body", "body": b""})


async def _begin(send: Send) -> None:
    headers = [(b"content-type", _EVENTS), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def _event(name: str, data: Any) -> dict[str, Any]:
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    body = f"event: {name}\ndata: {text}\n\n".encode("ascii")
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _gone(receive: Receive) -> None:
    """Return when whoever asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
