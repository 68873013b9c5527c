"""What tests of the server share: a real one, in a process of its own and an empty directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from distsim.files import shipped_directory

ROOT = Path(__file__).parents[1]


def scenario_text(name: str) -> str:
    """Return the file of a shipped scenario."""
    return (shipped_directory("scenarios") / f"{name}.yaml").read_text(encoding="utf-8")


#: Predicted in milliseconds.
SMALL = """\
schema: 1
name: small
cluster: {topology: dgx-a100, devices: 8}
model: {family: gpt, layers: 4, hidden: 1024, heads: 16, vocab: 51200, max_positions: 1024}
batch: {global_size: 32, micro_size: 1, sequence_length: 1024}  # a comment
plan: {tp: 2, pp: 2}
"""


def heavy(devices: int = 1024) -> str:
    """Return a scenario that the server would evaluate, but not in some seconds."""
    text = scenario_text("gpt3-175b-1024xa100").replace("auto", "event")
    return text.replace("1536", "98304").replace("1024", str(devices))


@dataclass
class Running:
    """A server that runs.

    Attributes
    ----------
    url : str
        Without a slash at its end.
    folder : Path
        Holds all directories that it could write to; ``cache`` is the only one it may.
    """

    url: str
    folder: Path
    process: subprocess.Popen[str]

    def __post_init__(self) -> None:
        # One for all requests, without certificates: to read them takes longer than to ask.
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False, verify=False)

    @property
    def port(self) -> int:
        """Port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def post(self, path: str, body: object, **how: Any) -> httpx.Response:
        """Post JSON."""
        headers = {"Content-Type": "application/json"}
        return self.http.post(path, content=json.dumps(body), headers=headers, **how)

    def files(self) -> dict[str, int]:
        """Return all files outside of the cache, with their sizes."""
        return {
            str(path.relative_to(self.folder)): path.stat().st_size
            for path in self.folder.rglob("*")
            if path.is_file() and path.relative_to(self.folder).parts[0] != "cache"
        }


def environment(folder: Path) -> dict[str, str]:
    """Return an environment whose home, temporary and cache directories are below a folder."""
    for name in ("home", "tmp", "cache", "work"):
        (folder / name).mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "DISTSIM_", "COV"))}
    return kept | {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def start(folder: Path, *arguments: str) -> Running:
    """Start a server on a port that is free."""
    process = subprocess.Popen(
        [sys.executable, "-m", "distsim", "serve", "--port", "0", "--jobs", "2", *arguments],
        cwd=folder / "work",
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("distsim serve: http://"):
        process.kill()
        raise AssertionError(line + process.communicate()[1])
    address = line.removeprefix("distsim serve: ").strip()
    return Running(address.partition("/#")[0].rstrip("/"), folder, process)


def stop(running: Running) -> tuple[int, str]:
    """End a server as Ctrl-C does; return its exit code and what it said on standard error."""
    running.http.close()
    running.process.send_signal(signal.SIGINT)
    _, said = running.process.communicate(timeout=20)
    return running.process.returncode, said


def events(text: str) -> list[tuple[str, Any]]:
    """Return name and data of server-sent events."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: ") and data.startswith("data: ")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found
