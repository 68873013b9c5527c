"""The processes on the hosts, driven from one place, each with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from benchmarks.testbed.commands import inside
from benchmarks.testbed.network import Network, uninterrupted

#: How long before it begins a command is sent, s: time for all processes to get ready.
LEAD_S = 0.008
#: One thread each; PyTorch has newer names for two of the collectives, which older ones lack.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore::FutureWarning",
}


class WorkerError(RuntimeError):
    """A process failed, is gone, or did not answer in time."""


class Fleet:
    """One process on each host.

    Parameters
    ----------
    network : Network
    groups : sequence of int
        Sizes of groups; each is of the first hosts.
    nice : int
        Of the processes' sessions to the scheduler; other work on the machine disturbs less the
        lower it is.
    """

    def __init__(self, network: Network, groups: Sequence[int], nice: int = 0) -> None:
        self._nice = nice
        self._network = network
        self._groups = list(groups)
        self._processes: list[subprocess.Popen[str]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="distsim-testbed-")
        self.versions: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            hosts = self._network.names.hosts
            for host in range(hosts):
                self._processes.append(self._start(host))
            store = os.path.join(self._folder.name, "store")
            join = {"do": "join", "world": hosts, "store": store, "groups": self._groups}
            replies = self.tell(
                range(hosts), [join | {"rank": r} for r in range(hosts)], timeout_s=90
            )
            self.versions = {"torch": replies[0]["torch"]}
            if self._nice:
                order = {"do": "nice", "level": self._nice}
                self.tell(range(hosts), [order] * hosts, timeout_s=10)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self, host: int) -> subprocess.Popen[str]:
        command = (sys.executable, "-m", "benchmarks.testbed.worker")
        return subprocess.Popen(
            self._inside(host, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
            env=os.environ | ENVIRONMENT,
        )

    def _inside(self, host: int, command: Sequence[str]) -> Sequence[str]:
        return inside(self._network.names.host(host), command)

    def tell(
        self, hosts: Iterable[int], commands: Sequence[dict[str, Any]], timeout_s: float
    ) -> list[dict[str, Any]]:
        """Give each host its command and return their answers.

        Raises
        ------
        WorkerError
            For a process that fails, ends, or has not answered after `timeout_s` seconds.
        """
        hosts = list(hosts)
        for host, command in zip(hosts, commands, strict=True):
            pipe = self._processes[host].stdin
            assert pipe is not None
            try:
                pipe.write(json.dumps(command) + "\n")
            except BrokenPipeError as error:
                raise WorkerError(f"host {host} has ended") from error
        until = time.monotonic() + timeout_s
        return [self._answer(host, until) for host in hosts]

    def _answer(self, host: int, until: float) -> dict[str, Any]:
        pipe = self._processes[host].stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
        line = pipe.readline() if ready else ""
        if not line:
            raise WorkerError(f"host {host} {'has ended' if ready else 'did not answer in time'}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"host {host}: {reply['error']}")
        return reply

    def together(self, n: int, command: dict[str, Any], timeout_s: float) -> list[dict[str, Any]]:
        """Have the first n hosts do the same, begun at one instant; add ``at`` to each answer."""
        at = time.monotonic() + LEAD_S
        replies = self.tell(range(n), [command | {"at": at}] * n, timeout_s)
        return [reply | {"at": at} for reply in replies]

    def stop(self) -> None:
        """End all processes, at once."""
        with uninterrupted():
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            for process in self._processes:
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        with contextlib.suppress(BrokenPipeError):
                            pipe.close()
            self._folder.cleanup()


def elapsed_s(replies: Sequence[dict[str, Any]]) -> float:
    """Return from the agreed instant, or the last start if that was later, to the last end."""
    start = max(max(r["start"] for r in replies), replies[0]["at"])
    return float(max(r["end"] for r in replies) - start)
