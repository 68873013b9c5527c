"""``distsim serve``: it begins, says where, ends as other commands do, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from distsim.cli import main
from distsim.serve.pool import Pool, Worker
from tests.serving import ROOT, SMALL, Running, environment, heavy, start, stop


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Return a function that starts a server, which ends with the test however that goes."""
    all_of_them: list[Running] = []

    def begin(*arguments: str) -> Running:
        all_of_them.append(start(tmp_path, *arguments))
        return all_of_them[-1]

    yield begin
    for running in all_of_them:
        running.http.close()
        if running.process.poll() is None:
            running.process.terminate()
            running.process.communicate(timeout=20)


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    own = [int(word) for word in found.read_text().split()] if found.exists() else []
    return own + [below for child in own for below in _children(child)]


def _alive(pids: list[int]) -> list[int]:
    """Return those that run; one that has ended and was not asked for has no command line."""
    files = {pid: Path(f"/proc/{pid}/cmdline") for pid in pids}
    return [pid for pid, file in files.items() if file.exists() and file.read_bytes()]


def test_it_ends_with_its_processes_and_in_the_middle_of_work(started, tmp_path: Path) -> None:
    running = started("--no-cache")
    body = {"scenario": SMALL, "vary": ["batch.global_size=32:320:+8"], "devices": "8:64"}
    with running.http.stream("POST", "/api/sweep", json=body) as answer:
        next(answer.iter_lines())
        processes = _children(running.process.pid)
        assert len(processes) == 2
        running.process.send_signal(signal.SIGINT)
        running.process.wait(20)
    assert running.process.returncode == 130
    assert running.process.communicate()[1].strip() == "interrupted"
    running.http.close()
    assert _alive(processes) == []
    # Not even a cache, which was not wanted.
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_killed_server_takes_its_processes_along(started) -> None:
    running = started("--no-cache")
    running.post("/api/predict", {"scenario": SMALL})
    processes = _children(running.process.pid)
    running.process.kill()
    running.process.communicate()
    running.http.close()
    for _ in range(200):
        if not _alive(processes):
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError(_alive(processes))


def test_a_port_that_is_taken(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", str(server.port)]) == 2
    said = capsys.readouterr().err
    assert f"DS726: 127.0.0.1 port {server.port} cannot be listened on: address already" in said
    assert "fix:  choose another with --port" in said


def test_an_address_of_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "192.0.2.1", "--port", "0"]) == 2
    assert "DS726: 192.0.2.1 port 0 cannot be listened on" in capsys.readouterr().err


def test_options_that_exclude_each_other(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    assert main(["serve", "--cache", str(tmp_path / "x"), "--no-cache"]) == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_the_extra_that_is_missing_is_named(missing: str, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules[{missing!r}] = None
from distsim.cli import main
exit(main(["serve"]))
"""
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: DS640: distsim serve needs starlette and uvicorn")
    assert "pip install 'distsim-train[serve]'" in found.stderr


def test_the_help_is_read_without_the_extra() -> None:
    script = """
import sys
from distsim.cli import main
main(["serve", "--help"])
assert not {"starlette", "uvicorn", "numpy", "pydantic"} & set(sys.modules)
"""
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert found.returncode == 0, found.stderr


def test_the_page_opens_with_the_scenario(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []

    def run(host: str, port: int, **how: object) -> None:
        opened.append(f"{host} {port} {how['jobs']} {how['cache']!r}")
        how["on_ready"]("http://127.0.0.1:1/")  # type: ignore[operator]

    monkeypatch.setattr("distsim.serve.run.serve", run)
    monkeypatch.setattr("click.launch", opened.append)
    assert main(["serve", "gpt2-xl-8xa100", "--open", "--port", "0"]) == 0
    said = capsys.readouterr().out.split("\n")[0]
    assert opened[0] == "127.0.0.1 0 None ''"
    assert said == f"distsim serve: {opened[1]}" and opened[1].endswith("/#start=gpt2-xl-8xa100")
    assert main(["serve", "--no-cache", "--jobs", "3"]) == 0
    assert opened[2:] == ["127.0.0.1 8642 3 None"]


def test_a_request_that_nobody_waits_for_is_ended() -> None:
    async def run() -> tuple[bool, bool]:
        pool = Pool(2)
        await pool.warm()
        ask = {"do": "result", "scenario": heavy()}

        async def asked() -> None:
            async for _ in pool.asked(ask, 60.0):
                pass

        task = asyncio.get_running_loop().create_task(asked())
        await asyncio.sleep(0.3)
        (worker,) = pool._busy
        task.cancel()
        await asyncio.sleep(0.2)
        # It gets a moment, for what nearly all requests take.
        before = worker.alive
        for _ in range(100):
            await asyncio.sleep(0.05)
            if not worker.alive:
                break
        after = worker.alive
        await pool.close()
        return before, after

    assert asyncio.run(run()) == (True, False)


def test_whoever_goes_away_ends_what_was_asked(server: Running) -> None:
    server.post("/api/predict", {"scenario": SMALL})
    before = set(_children(server.process.pid))
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.Client(base_url=server.url, trust_env=False, verify=False, timeout=0.7) as client,
    ):
        client.post("/api/predict", json={"scenario": heavy()})
    # Its process is replaced: one that has an answer goes on.
    for _ in range(200):
        subprocess.run(["sleep", "0.05"], check=True)
        if set(_children(server.process.pid)) != before:
            return
    raise AssertionError("it runs on")


def test_a_quick_request_that_nobody_waits_for_costs_no_process() -> None:
    async def run() -> bool:
        pool = Pool(1)
        await pool.warm()
        (worker,) = pool._idle
        task = asyncio.get_running_loop().create_task(_first(pool))
        await asyncio.sleep(0.01)
        task.cancel()
        async for _ in pool.asked({"do": "scenario", "scenario": SMALL}, 60.0):
            pass
        same = worker.alive and pool._idle == [worker]
        await pool.close()
        return same

    async def _first(pool: Pool) -> None:
        async for _ in pool.asked({"do": "result", "scenario": SMALL}, 60.0):
            pass

    assert asyncio.run(run())


def test_a_process_that_was_killed_is_replaced(server: Running) -> None:
    server.post("/api/predict", {"scenario": SMALL})
    for pid in _children(server.process.pid):
        os.kill(pid, signal.SIGKILL)
    statuses = {server.post("/api/predict", {"scenario": SMALL}).status_code for _ in range(4)}
    assert statuses <= {200, 422}  # the first may meet one that is not yet known to have ended
    assert server.post("/api/predict", {"scenario": SMALL}).status_code == 200


def test_a_process_that_does_not_start_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distsim.serve.pool._CODE", "raise SystemExit(3)")

    async def run() -> str:
        try:
            await Worker.start(None)
        except Exception as error:
            return type(error).__name__
        return ""

    assert asyncio.run(run()) == "Lost"


def test_it_stops_cleanly_when_nobody_asked_anything(started) -> None:
    running = started()
    code, said = stop(running)
    assert (code, said.strip()) == (130, "interrupted")
