"""Who is answered: this server's pages and programs of this machine, nobody else's pages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from distsim.serve.guard import POLICY, Guard, check, is_own
from distsim.serve.refusals import Refused
from tests.serving import SMALL, Running

FOREIGN = {"sec_fetch_site": "cross-site"}
FOLLOWED = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


def _scope(method: str = "POST", **headers: str) -> dict[str, Any]:
    found = {"host": "127.0.0.1:8642"}
    if method == "POST":
        found["content-type"] = "application/json"
    found |= {name.replace("_", "-"): value for name, value in headers.items()}
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in found.items() if value]
    return {"type": "http", "method": method, "headers": pairs}


@pytest.mark.parametrize(
    "named",
    ["127.0.0.1", "127.0.0.1:8642", "localhost:8642", "LOCALHOST", "[::1]:8642", "[::1]"],
)
def test_names_of_this_machine_are_its_own(named: str) -> None:
    assert is_own(named, "127.0.0.1")


@pytest.mark.parametrize(
    "named",
    [
        "evil.example",
        "evil.example:8642",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8642",
        "evil.example#127.0.0.1",
        "127.0.0.1:8642@evil.example",
        "127.0.0.1:8642.evil.example",
        "192.168.0.2:8642",
        "[::1",
        "[::1]evil",
        "::1",
        "0.0.0.0",
        "2130706433",
        "127.1",
        "",
        " ",
    ],
)
def test_other_names_are_not(named: str) -> None:
    assert not is_own(named, "127.0.0.1")


def test_where_all_addresses_are_listened_on_names_still_do_not_count() -> None:
    assert is_own("192.168.0.2:8642", "0.0.0.0") and is_own("[fe80::1]:8642", "::")
    assert not is_own("evil.example", "0.0.0.0") and not is_own("evil.example", "::")
    assert is_own("gpu-box:8642", "gpu-box")


def _status(scope: dict[str, Any], host: str = "127.0.0.1") -> int:
    try:
        check(scope, host)
    except Refused as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8642", "sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"content_type": "application/json; charset=utf-8"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://127.0.0.1:8642"}, 403),
        # Another server of this machine, and the same under another name.
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "http://localhost:8642"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        # A form may be posted from anywhere, and navigates.
        (FOREIGN | FOLLOWED, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": "multipart/form-data; boundary=application/json"}, 415),
        ({"content_type": "text/plain; application/json"}, 415),
        ({"content_type": ""}, 415),
        ({"host": "evil.example:8642"}, 421),
        ({"host": ""}, 421),
    ],
)
def test_posts(headers: dict[str, str], status: int) -> None:
    assert _status(_scope(**headers)) == status


def test_two_hosts_and_two_origins_are_refused() -> None:
    scope = _scope()
    scope["headers"].append((b"host", b"127.0.0.1:8642"))
    assert _status(scope) == 421
    scope = _scope(origin="http://127.0.0.1:8642")
    scope["headers"].append((b"Origin", b"http://evil.example"))
    assert _status(scope) == 403


def test_a_link_to_the_page_may_be_followed_but_not_framed_or_fetched() -> None:
    loaded = {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "script"}
    assert _status(_scope("GET", **FOREIGN, **FOLLOWED)) == 200
    assert _status(_scope("GET", **FOREIGN, **FOLLOWED | {"sec_fetch_dest": "iframe"})) == 403
    assert _status(_scope("GET", **FOREIGN, **loaded)) == 403
    assert _status(_scope("GET", **FOREIGN)) == 403
    assert _status(_scope("DELETE")) == 405
    assert _status(_scope("OPTIONS", origin="http://evil.example")) == 405


def test_websockets_are_closed() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        await Guard(_fails, "127.0.0.1")({"type": "websocket", "headers": []}, _fails, send)

    asyncio.run(run())
    assert [m["type"] for m in sent] == ["websocket.close"]


async def _fails(*_: Any) -> Any:
    raise AssertionError("it was passed on")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/nothing"), ("POST", "/api/predict"), ("DELETE", "/api/predict")],
)
def test_every_answer_has_the_headers_that_browsers_heed(
    server: Running, method: str, path: str
) -> None:
    headers = server.http.request(method, path, json={} if method == "POST" else None).headers
    assert headers["content-security-policy"] == POLICY
    assert "default-src 'none'" in POLICY and "unsafe" not in POLICY and "*" not in POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert not [name for name in headers if name.startswith("access-control-")]
    assert "server" not in headers


def test_a_preflight_is_not_answered_for(server: Running) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    found = server.http.options("/api/predict", headers=asked)
    assert found.status_code == 405 and "access-control-allow-origin" not in found.headers
    # What a page could send without a preflight.
    simple = server.http.post(
        "/api/predict",
        content=f'{{"scenario": {SMALL!r}}}',
        headers={"Origin": "http://evil.example", "Content-Type": "text/plain"},
    )
    assert (simple.status_code, simple.json()["error"]["code"]) == (403, "DS727")
