"""Ten thousand requests that nobody should send: the server stays up and answers with errors."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from distsim.serve.limits import LIMITS
from tests.serving import SMALL, Running

COUNT = 10_000
#: Connections at once.
LANES = 32
GETS = ("/", "/static/app.js", "/static/report.css", "/api/catalogue", "/api/scenarios/x")
POSTS = ("/api/scenario", "/api/predict", "/api/page", "/api/sweep", "/api/compare")
NAUGHTY = (
    *("../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd"),
    *("....//....//etc/passwd", "..\\..\\etc\\passwd", "%00", "app.js%00.css", "/etc/passwd"),
    *("//etc/passwd", "C:%5cboot.ini", "file:///etc/passwd", "~root", ".git/config", "%c0%ae/"),
    *("app.py", "__init__.py", "index.html", "../app.py", "%", "%zz", "a" * 3000, "?x=1", ";a"),
    *("\u00e9", "{}", "%0d%0aSet-Cookie:x=1", "http://evil.example/", "gpt2-xl-8xa100.yaml"),
)  # fmt: skip
HOSTS = ("evil.example", "127.0.0.1.evil.example", "", "localhost:x", "[::1", "10.0.0.1", "a b")
SITES = ("cross-site", "same-site", "nonsense")
ORIGINS = ("http://evil.example", "null", "http://localhost", "https://127.0.0.1", "file://")
#: What stands in a scenario in place of something else.
VALUES = (
    *("0", "-1", "1e999", "9" * 50, "null", "true", "[]", "{}", "[[[[[[]]]]]]", '""', "'x", "&a"),
    *("*a", "yes", "1_000", "0x10", "../../etc/passwd", "/etc/passwd.yaml", "!!python/name:os.x"),
    *("gpt3-175b", "<<", "\u202e", "\x07", "1 GB", "2 h", "8:64", "none", "full", "1000000", "3"),
)  # fmt: skip


def _raw(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


class Sender:
    """Makes requests from a seed."""

    def __init__(self, seed: int, port: int) -> None:
        self.rng = random.Random(seed)
        self.own = {"Host": f"127.0.0.1:{port}", "Connection": "close"}
        self.kinds: tuple[tuple[int, Callable[[], bytes]], ...] = (
            (18, self.path),
            (6, self.method),
            (14, self.foreign),
            (12, self.noise),
            (8, self.cut),
            (14, self.body),
            (18, self.fields),
            (8, self.scenario),
            (2, self.long),
        )

    def one(self) -> tuple[bytes, bool]:
        """Return a request, and whether nothing comes after it."""
        weights = [weight for weight, _ in self.kinds]
        kind = self.rng.choices([kind for _, kind in self.kinds], weights)[0]
        return kind(), kind in (self.noise, self.cut)

    def path(self) -> bytes:
        """Return one for a path that leads out of where it is."""
        before = self.rng.choice(("/", "/static/", "/api/scenarios/", "/api/", "/static/../"))
        return _raw(self.rng.choice(("GET", "HEAD")), before + self.rng.choice(NAUGHTY), self.own)

    def method(self) -> bytes:
        """Return one of a method that is not known there."""
        known = ("PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "POST", "get", "G\0T", "")
        path = self.rng.choice((*GETS, *POSTS, "*", "evil.example:443"))
        return _raw(self.rng.choice(known), path, self.own)

    def foreign(self) -> bytes:
        """Return one that another origin could make a browser send."""
        headers = dict(self.own)
        if self.rng.random() < 0.3:
            headers["Host"] = self.rng.choice(HOSTS)
        if self.rng.random() < 0.5:
            headers["Origin"] = self.rng.choice(ORIGINS)
        else:
            headers["Sec-Fetch-Site"] = self.rng.choice(SITES)
        content = json.dumps({"scenario": SMALL}).encode()
        headers["Content-Type"] = self.rng.choice(("text/plain", "application/json", "*/*"))
        headers["Content-Length"] = str(len(content))
        return _raw("POST", self.rng.choice(POSTS), headers, content)

    def noise(self) -> bytes:
        """Return bytes, some of them with the look of a request."""
        found = bytearray(self.rng.randbytes(self.rng.randint(1, 400)))
        if self.rng.random() < 0.7:
            found = bytearray(_raw("GET", "/", self.own)) + found
            for _ in range(self.rng.randint(1, 6)):
                found[self.rng.randrange(len(found))] = self.rng.randrange(256)
        return bytes(found)

    def cut(self) -> bytes:
        """Return one that ends before its end."""
        headers = self.own | {"Content-Type": "application/json", "Content-Length": "500"}
        whole = _raw("POST", self.rng.choice(POSTS), headers, b'{"scenario": "' + b"x" * 400)
        return whole[: self.rng.randint(1, len(whole))]

    def posted(self, path: str, body: bytes, **headers: str) -> bytes:
        """Return a post of a body."""
        given = {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
        return _raw("POST", path, self.own | given, body)

    def body(self) -> bytes:
        """Return one whose body is no JSON of any form."""
        text = json.dumps({"scenario": SMALL, "set": ["plan.tp=2"]}).encode()
        how = self.rng.randrange(4)
        if how == 0:
            text = self.rng.randbytes(self.rng.randint(0, 600))
        elif how == 1:
            text = text[: self.rng.randint(0, len(text) - 1)]
        elif how == 2:
            text = self.rng.choice((b"[", b'{"a":')) * self.rng.randint(1, 50_000)
        else:
            text = text.replace(b'"', self.rng.choice((b"'", b"\0", b"\xff", b"")), 3)
        return self.posted(self.rng.choice(POSTS), text)

    def fields(self) -> bytes:
        """Return one whose body is JSON of another form."""
        names = ("scenario", "set", "base", "a", "b", "devices", "vary", "along", "weak", "x", "")
        given = {
            self.rng.choice(names): self.value(3) for _ in range(self.rng.randint(0, 5))
        }  # fmt: skip
        return self.posted(self.rng.choice(POSTS), json.dumps(given).encode())

    def value(self, deep: int) -> object:
        """Return any value of JSON."""
        how = self.rng.randrange(9 if deep else 6)
        if how > 5:
            inner = [self.value(deep - 1) for _ in range(self.rng.randint(0, 4))]
            return inner if how < 8 else dict(zip("abcd", inner, strict=False))
        text = self.rng.choice((*NAUGHTY, *VALUES, "\ud800", "plan.tp=3", "x=" * 99))
        return (None, True, self.rng.randint(-(10**30), 10**30), 1.5, text, text)[how]

    def scenario(self) -> bytes:
        """Return one of a scenario that was tampered with."""
        text = SMALL
        for _ in range(self.rng.randint(1, 3)):
            how = self.rng.randrange(3)
            if how == 0:
                at = self.rng.randint(0, len(text))
                text = text[:at] + self.rng.choice("\0\t\n\"':[{\u00e9\u2028") + text[at:]
            elif how == 1:
                words = re.findall(r"(?<=: )[^,{}\n]+", text)
                text = text.replace(self.rng.choice(words or [" "]), self.rng.choice(VALUES), 1)
            else:
                lines = text.split("\n")
                self.rng.shuffle(lines)
                text = "\n".join(lines[: self.rng.randint(1, len(lines))])
        given: dict[str, object] = {"scenario": text}
        if self.rng.random() < 0.3:
            key = self.rng.choice(
                ("plan.tp", "model", "cluster.topology", "plan.schedule", "a.b.c")
            )
            given["set"] = [f"{key}={self.rng.choice(VALUES)}"]
        path = self.rng.choice(POSTS[:4])
        if path == "/api/sweep":
            given["vary"] = [f"plan.pp={self.rng.choice(('1,2', '1:4', '::', '1:1e9:+1', '[1'))}"]
        return self.posted(path, json.dumps(given).encode())

    def long(self) -> bytes:
        """Return one that is longer than it may be, or says so."""
        how, path = self.rng.randrange(4), self.rng.choice(POSTS)
        if how == 0:
            return self.posted(
                path, b"{}", **{"Content-Length": str(10 ** self.rng.randint(6, 30))}
            )
        if how == 1:
            return self.posted(path, b" " * (LIMITS.body_bytes + self.rng.randint(1, 1000)))
        if how == 2:
            return _raw("GET", "/", self.own | {"X-Long": "x" * self.rng.randint(1000, 200_000)})
        own = self.own | {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
        return _raw("POST", path, own, (b"10000\r\n" + b" " * 65536 + b"\r\n") * 8)


async def _answer(port: int, request: bytes, *, ends: bool = False) -> tuple[int, bytes]:
    """Return status and body of the answer to some bytes; 0 for none.

    Parameters
    ----------
    ends : bool
        Close this side behind them, which the server takes for nobody being there.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        if ends:
            writer.write_eof()
        answer = await reader.read()
    except ConnectionError:
        return 0, b""
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    return int(found[1]) if found else 0, body


@pytest.mark.parametrize("seed", [20261126])
def test_whatever_is_sent_it_stays_up(server: Running, seed: int) -> None:
    before = server.files()
    sender = Sender(seed, server.port)
    requests = [sender.one() for _ in range(COUNT)]
    seen: Counter[int] = Counter()
    wrong: list[tuple[int, bytes, bytes]] = []

    async def lane(own: list[tuple[bytes, bool]]) -> None:
        for request, ends in own:
            answer = _answer(server.port, request, ends=ends)
            status, body = await asyncio.wait_for(answer, 60)
            seen[status] += 1
            if status >= 500 and status != 503:
                wrong.append((status, request[:1500], body[:1000]))

    async def run() -> None:
        await asyncio.gather(*(lane(requests[n::LANES]) for n in range(LANES)))

    asyncio.run(run())
    assert wrong == []
    assert sum(seen.values()) == COUNT
    # All kinds of errors are among the answers, and most requests have one.
    assert {200, 400, 403, 404, 405, 413, 415, 421, 422} <= set(seen), seen
    assert seen[0] < COUNT / 5, seen
    _still_well(server, before)


def _still_well(server: Running, before: dict[str, int]) -> None:
    assert server.process.poll() is None
    assert server.http.get("/").status_code == 200
    assert server.post("/api/predict", {"scenario": SMALL}).status_code == 200
    assert server.files() == before
    cached = {path.name.partition("-")[0] for path in (server.folder / "cache").rglob("*.*")}
    assert cached <= {"outcomes"}


def test_two_hundred_at_once(server: Running) -> None:
    before = server.files()
    body = json.dumps({"scenario": SMALL}).encode()
    own = {
        "Host": f"127.0.0.1:{server.port}",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }

    async def run() -> list[tuple[int, bytes]]:
        asked = [_answer(server.port, _raw("POST", POSTS[n % 4], own, body)) for n in range(200)]
        return await asyncio.gather(*asked)

    answers = asyncio.run(run())
    statuses = Counter(status for status, _ in answers)
    assert set(statuses) == {200, 503} and statuses[200] >= LIMITS.waiting
    refused = [body for status, body in answers if status == 503]
    assert all(b'"DS728"' in body for body in refused)
    assert any(b"requests wait for a process" in body for body in refused)
    _still_well(server, before)


def test_requests_that_are_never_finished_hold_nobody_up(server: Running) -> None:
    async def run() -> int:
        opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(100)]
        for number, (_, writer) in enumerate(opened):
            writer.write(
                b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n" if number % 2 else b""
            )
        own = {"Host": "127.0.0.1", "Connection": "close"}
        status, _ = await _answer(server.port, _raw("GET", "/", own))
        for _, writer in opened:
            writer.close()
        return status

    assert asyncio.run(run()) == 200


def test_files_that_the_watch_would_see(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    watched = Running("http://127.0.0.1:1", tmp_path, None)  # type: ignore[arg-type]
    watched.http.close()
    assert watched.files() == {}
    (tmp_path / "home" / "left.txt").write_text("x")
    assert watched.files() == {"home/left.txt": 1}
