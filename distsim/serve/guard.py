"""Who is answered: pages of this server and programs of this machine, and nobody else's pages.

A page of another origin may not drive the server (Host and Origin are checked, which also stops
names that were made to point to this machine; browsers say where a request comes from in
Sec-Fetch-Site), may not read what it says (no CORS, Cross-Origin-Resource-Policy), and may not
frame its page. The page itself may load and ask for nothing but what is its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from distsim.serve.limits import LIMITS
from distsim.serve.refusals import Refused, bad_form, busy
from distsim.serve.reply import refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
#: Names of this machine that no other can take.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_METHODS = ("GET", "HEAD", "POST")


class Guard:
    """Refuses requests before anything is done for them, and adds headers to all answers.

    Parameters
    ----------
    app : ASGI application
    host : str
        Address that is listened on.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        self._requests += 1
        try:
            check(scope, self._host)
            if self._requests > LIMITS.requests:
                raise busy(f"{LIMITS.requests} requests are open")
        except Refused as error:
            await refusal(error)(scope, receive, headed)
        else:
            await self._app(scope, receive, headed)
        finally:
            self._requests -= 1


def check(scope: Scope, host: str) -> None:
    """Refuse what does not come from this machine or from a page of the server.

    Raises
    ------
    Refused
        DS727.
    """
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    named = _values(headers, b"host")
    if len(named) != 1 or not is_own(named[0], host):
        raise bad_form(
            "the request is for another host",
            "Host is the address that distsim serve prints",
            status=421,
        )
    method = scope["method"]
    if method not in _METHODS:
        raise bad_form("no such method", f"one of {', '.join(_METHODS)}", status=405)
    origins, sites = _values(headers, b"origin"), _values(headers, b"sec-fetch-site")
    if any(origin != f"http://{named[0]}" for origin in origins):
        raise _foreign()
    opens_page = method != "POST" and _is_navigation(headers)
    if any(site not in ("same-origin", "none") for site in sites) and not opens_page:
        raise _foreign()
    if method == "POST" and not _is_json(_values(headers, b"content-type")):
        raise bad_form(
            "the body is not declared as JSON", "Content-Type: application/json", status=415
        )


def _foreign() -> Refused:
    rule = "pages of this server and programs without an Origin"
    return bad_form("the request comes from another origin", rule, status=403)


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in headers if key.lower() == name]


def _is_navigation(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Say whether somebody follows a link to the page, as one that is shared."""
    modes, places = _values(headers, b"sec-fetch-mode"), _values(headers, b"sec-fetch-dest")
    return modes == ["navigate"] and places == ["document"]


def _is_json(types: list[str]) -> bool:
    return len(types) == 1 and types[0].partition(";")[0].strip().lower() == "application/json"


def is_own(named: str, host: str) -> bool:
    """Say whether a Host header names the server.

    A name that somebody else's server of names answers for could be made to point here, so only
    names of this machine count, the name that is listened on, and, where all addresses are listened
    on, addresses.

    Parameters
    ----------
    named : str
        The header.
    host : str
        Address that is listened on.

    Examples
    --------
    >>> [is_own(h, "127.0.0.1") for h in ("127.0.0.1:8642", "localhost", "evil.example:8642")]
    [True, True, False]
    """
    name, port = _split(named)
    if port and not (port.isascii() and port.isdecimal()):
        return False
    if name in LOOPBACK or name == host.lower():
        return True
    return host in ("0.0.0.0", "::") and _is_address(name)


def _split(named: str) -> tuple[str, str]:
    """Return name and port of a Host header, brackets of IPv6 removed."""
    text = named.lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        fits = bracket and (not rest or rest.startswith(":"))
        return (name, rest[1:]) if fits else ("", "")
    name, _, port = text.partition(":")
    return name, port


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
