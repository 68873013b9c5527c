"""What a request may ask for: size, form, work, and no file of this machine."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

import distsim.serve.app as app_module
import distsim.serve.sweeps as sweeps_module
from distsim.serve.limits import LIMITS
from distsim.serve.pool import Pool
from tests.serving import ROOT, SMALL, Running, events, heavy, scenario_text


def _error(server: Running, path: str, body: object) -> tuple[int, str, str]:
    found = server.post(path, body)
    error = found.json()["error"]
    return found.status_code, error["code"], error["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "not"),
        ({}, "no scenario"),
        ({"scenario": 1}, "scenario is 1"),
        ({"scenario": SMALL, "file": "/etc/passwd"}, "'file'"),
        ({"scenario": SMALL, "set": "plan.tp=2"}, "set is"),
        ({"scenario": SMALL, "set": [1]}, "set is"),
        ({"scenario": SMALL, "set": ["a=1"] * 65}, "too many"),
        ({"scenario": SMALL, "set": ["a=" + "1" * 10_001]}, "too many"),
        ({"scenario": SMALL, "base": "../scenarios"}, "base is"),
        ({"scenario": SMALL, "base": ["x"]}, "base is"),
    ],
)
def test_a_body_of_another_form_is_refused(server: Running, body: object, said: str) -> None:
    for path in ("/api/predict", "/api/page", "/api/scenario", "/api/sweep"):
        status, code, message = _error(server, path, body)
        assert (status, code) == (400, "DS727")
        assert said in message or "is not" in message or "the body is" in message


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"scenario": NaN}', b"[" * 100_000, b'"\\ud800', b"9" * 5000],
)
def test_a_body_that_is_no_json_is_refused(server: Running, content: bytes) -> None:
    found = server.http.post(
        "/api/predict", content=content, headers={"Content-Type": "application/json"}
    )
    assert (found.status_code, found.json()["error"]["code"]) == (400, "DS727")


def test_a_body_is_read_up_to_its_limit(server: Running) -> None:
    fits = json.dumps({"scenario": "#" * (LIMITS.body_bytes - 100)})
    head = {"Content-Type": "application/json"}

    def pieces() -> object:
        for _ in range(100):
            yield b" " * 10_000

    assert server.http.post("/api/predict", content=fits, headers=head).status_code == 422
    long = server.http.post("/api/predict", content=fits + " " * 200, headers=head)
    assert (long.status_code, long.json()["error"]["code"]) == (413, "DS727")
    # Of no declared length.
    assert server.http.post("/api/predict", content=pieces(), headers=head).status_code == 413


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (BOMB, "DS113"),
        ("a: " + "[" * 60 + "]" * 60, "DS112"),
        ("a: [" + "1," * 30_000 + "1]", "DS113"),
        ("a: !!python/object/apply:os.system ['true']", "DS116"),
        ("a: " + "9" * 200_000, "DS213"),
        (SMALL + "b: \ud800", "DS105"),
        (SMALL + "b: \0", "DS110"),
    ],
)
def test_yaml_that_is_a_bomb_is_refused(server: Running, text: str, code: str) -> None:
    assert _error(server, "/api/predict", {"scenario": text})[:2] == (422, code)


@pytest.mark.parametrize(
    "changes",
    [
        ["cluster.devices=200000"],
        ["cluster.of=200000"],
        ["cluster.devices=65536", "plan.tp=1", "plan.pp=1", "batch.global_size=65536000000"],
        ["noise={kind: lognormal, sigma: 0.1, samples: 20000}"],
    ],
)
def test_work_beyond_the_limits_is_refused_before_it_is_begun(
    server: Running, changes: list[str]
) -> None:
    text = scenario_text("gpt3-175b-1024xa100")
    for path in ("/api/predict", "/api/page"):
        status, code, _ = _error(server, path, {"scenario": text, "set": changes})
        assert status == 422 and code in ("DS728", "DS203", "DS209")
    sizes = [f"cluster.devices={LIMITS.devices + 8}"]
    assert _error(server, "/api/predict", {"scenario": text, "set": sizes})[1] == "DS728"


def test_passes_are_counted(server: Running) -> None:
    text = scenario_text("gpt3-175b-1024xa100")
    status, code, message = _error(
        server, "/api/page", {"scenario": text, "set": ["batch.global_size=1536000"]}
    )
    assert (status, code) == (422, "DS728") and "2,304,000 passes" in message


def test_scenarios_that_have_nothing_in_common_are_not_told_apart(server: Running) -> None:
    other = {"scenario": scenario_text("llama2-70b-256xh100-checkpoints"), "set": ["seed=1"]}
    more = [
        f"plan.{change}"
        for change in (
            *("cp_balanced=false", "balance=cost", "expert_dispatch=deepep", "etp=3", "cp=7"),
            *("overlap_tensor=true", "overlap_experts=true", "overlap_param_gather=true", "ep=9"),
            *("scatter_gather_p2p=false", "first_stage_layers=1", "prefetch_layers=2", "dp=5"),
            *("last_stage_layers=1", "async_tensor=true", "dp_replicas=2", "bucket_size=1 MB"),
            *("max_gathered=1 GB", "overlap_shared_experts=true", "reshard_after_forward=true"),
            *("reduce_each_microbatch=true", "overlap_p2p=true", "grad_compression=fp16"),
        )
    ]
    one = {"scenario": scenario_text("gpt3-175b-1024xa100"), "set": more}
    status, code, message = _error(server, "/api/compare", {"a": one, "b": other})
    assert (status, code) == (422, "DS728") and "differ in 3" in message


#: Every place where a scenario names something that the command line looks for in files.
PLACES = (
    "model",
    "stack",
    "cluster.topology",
    "cluster.device",
    "cluster.library",
    "cluster.profile",
    "cluster.host",
    "plan.schedule",
    "cluster.unequal.0.device",
    "cluster.topology.device",
    "cluster.topology.library",
    "cluster.library.base",
    "cluster.topology.library.base",
    "model.base",
    "stack.base",
)
INLINE = "{kind: switch, description: own, source: own, device: a100-40gb-sxm}"


def _named(place: str, name: str) -> list[str]:
    """Return changes that name something at a place."""
    value = json.dumps(name)
    if place == "cluster.unequal.0.device":
        return [f"cluster.unequal=[{{devices: 1, device: {value}}}]"]
    head, _, last = place.rpartition(".")
    if place.startswith("cluster.topology."):
        inner = f"{{base: {value}}}" if place.endswith("library.base") else value
        key = "library" if "library" in place else last
        return [f"cluster.topology={INLINE}", f"cluster.topology.{key}={inner}"]
    return [f"{head}={{{last}: {value}}}"] if last == "base" else [f"{place}={value}"]


@pytest.mark.parametrize("place", PLACES)
def test_no_file_of_this_machine_is_read_or_looked_for(
    server: Running, place: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.yaml"
    for name in ("secret", "secret.yaml", "secret.json", "secret.csv"):
        for folder in (server.folder / "work", tmp_path):
            (folder / name).write_text("secret: open sesame\n")
    up = "../" * 12
    try:
        for there in (
            str(secret),
            str(tmp_path / "secret.json"),
            str(tmp_path / "secret.csv"),
            up + str(secret)[1:],
            "secret.yaml",
            "./secret.json",
            "secret.csv",
            "secret",
            "/etc/passwd",
            "/proc/self/environ",
            "/dev/zero",
            f"{up}etc/passwd\0.yaml",
        ):
            for base in ("", "textbook/01-08-square-gemm"):
                said = []
                for name in (there, _nothing(there)):
                    body = {"scenario": SMALL, "set": _named(place, name), "base": base}
                    found = server.post("/api/predict", body)
                    assert found.status_code == 422, (name, found.text)
                    assert "sesame" not in found.text and "root:" not in found.text
                    said.append(_nothing(found.json()["error"]["text"].split("\n")[0]))
                # What is there and what is not make no difference.
                assert said[0] == said[1], place
    finally:
        for file in (server.folder / "work").iterdir():
            file.unlink()


def _nothing(text: str) -> str:
    """Return a text with other names, as long, of files that are not there."""
    for something, nothing in (("secret", "secreu"), ("passwd", "passwt"), ("zero", "zerp")):
        text = text.replace(something, nothing)
    return text.replace("environ", "envirom")


def test_the_fence_of_a_process_holds_whatever_the_code_above_it_does(tmp_path: Path) -> None:
    script = f"""
import os, sqlite3, subprocess, shutil, tempfile, socket
from distsim.serve import fence
from distsim.files import find_shipped, read_text
fence.close()
assert read_text(find_shipped("scenarios", "gpt2-xl-8xa100"))
os.chdir({str(tmp_path)!r})
tries = dict(
    read=lambda: open("/etc/passwd"), low=lambda: os.open("/etc/passwd", os.O_RDONLY),
    up=lambda: open(os.path.dirname(fence.__file__) + "/../../../../../../../../etc/passwd"),
    listed=lambda: os.listdir("/etc"), scanned=lambda: os.scandir("/"),
    write=lambda: open("new", "w"), append=lambda: open(fence.__file__, "a"),
    made=lambda: os.mkdir("new"), gone=lambda: os.remove(fence.__file__),
    linked=lambda: os.symlink("/etc/passwd", "link"), ran=lambda: subprocess.run(["true"]),
    system=lambda: os.system("true"), forked=lambda: os.fork(), killed=lambda: os.kill(1, 0),
    base=lambda: sqlite3.connect("new.sqlite"), temporary=lambda: tempfile.mkdtemp(),
    called=lambda: socket.create_connection(("127.0.0.1", 9)), moved=lambda: os.rename("a", "b"),
)
for name, tried in tries.items():
    try:
        tried()
    except PermissionError:
        continue
    except FileNotFoundError as error:
        if "No usable temporary directory" in str(error):
            continue
        print(name, repr(error))
    except Exception as error:
        print(name, repr(error))
    print("passed:", name)
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (found.stdout, found.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def _limited(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    fewer = replace(LIMITS, **limits)
    for module in (app_module, sweeps_module):
        monkeypatch.setattr(module, "LIMITS", fewer)


def _inside(work: Callable[[httpx.AsyncClient], Awaitable[None]], size: int = 2) -> None:
    """Run something against an application in this process."""

    async def run() -> None:
        pool = Pool(size)
        await pool.warm()
        transport = httpx.ASGITransport(app=app_module.application(pool))
        try:
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", timeout=60
            ) as client:
                await work(client)
        finally:
            await pool.close()

    asyncio.run(run())


def test_what_takes_too_long_is_ended_and_others_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _limited(monkeypatch, predict_s=1.0)

    async def work(client: httpx.AsyncClient) -> None:
        slow = await client.post("/api/predict", json={"scenario": heavy()})
        assert (slow.status_code, slow.json()["error"]["code"]) == (422, "DS728")
        assert "longer" in slow.json()["error"]["message"]
        quick = await client.post("/api/predict", json={"scenario": SMALL})
        assert quick.status_code == 200
        # The same, bit by bit: what was known before stays.
        said = events((await client.post("/api/page", json={"scenario": heavy()})).text)
        assert [name for name, _ in said] == ["preview", "error"]
        # In a sweep it is one row of several.
        body = {"scenario": heavy(), "vary": ["batch.global_size=1536,98304"]}
        said = events((await client.post("/api/sweep", json=body)).text)
        rows = next(s for s in dict(said)["page"]["sections"] if s["id"] == "rows")["rows"]
        assert [row[2] for row in rows] == ["ok", "not possible"]
        assert rows[1][-1].startswith("DS728: it takes longer than")

    _inside(work)


def test_a_process_that_needs_too_much_memory_says_so_and_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("distsim.serve.pool.LIMITS", replace(LIMITS, memory_bytes=400 * 2**20))

    large = SMALL.replace("dgx-a100", "dgx-h100-superpod").replace("devices: 8", "devices: 131072")
    large = large.replace("tp: 2, pp: 2", "tp: 1").replace("global_size: 32", "global_size: 131072")

    async def run() -> list[tuple[str, object]]:
        pool, said = Pool(1), []
        for text in (large, SMALL):
            try:
                async for message in pool.asked({"do": "result", "scenario": text}, 60.0):
                    error = message["data"].get("code") if message["event"] == "error" else ""
                    said.append((message["event"], error))
            except Exception as error:
                said.append(("lost", type(error).__name__))
        await pool.close()
        return said

    first, second = asyncio.run(run())
    assert first in (("error", "DS728"), ("lost", "Lost"))
    assert second == ("result", "")


def test_the_documentation_says_the_limits() -> None:
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    table = page[page.index("## Limits") : page.index("## Safety")]
    whole = (LIMITS.yaml_nodes, LIMITS.devices, LIMITS.passes, LIMITS.samples, LIMITS.spans)
    for number in (*whole, LIMITS.points, LIMITS.changed_keys, LIMITS.waiting, LIMITS.requests):
        assert f" {number:,}" in table, number
    for seconds in (LIMITS.predict_s, LIMITS.compare_s, LIMITS.sweep_s):
        assert f"{seconds:.0f} s" in table
    assert f"{LIMITS.body_bytes // 1024} KiB" in table
    assert f"{LIMITS.memory_bytes // 1024**3} GiB" in table
    assert f"up to {LIMITS.changes}" in page
