"""Hosts as network namespaces: built on entry, removed on exit, whatever happens between."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from benchmarks.testbed import commands
from benchmarks.testbed.commands import Names

#: Runs a command, returns what it prints, raises NetworkError.
Runner = Callable[[Sequence[str]], str]


class NetworkError(RuntimeError):
    """A command of iproute2 failed."""


def run(command: Sequence[str]) -> str:
    """Run a command and return what it prints.

    Raises
    ------
    NetworkError
        Where it fails, is not installed, or does not end within 10 s.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back signals that would end this process until something is tidied up."""
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGALRM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Network:
    """A switch and its hosts.

    Parameters
    ----------
    hosts : int
    bits_per_s : float
        Rate of each host, each way.
    runner : callable, optional
        Runs commands; tests give one that only notes them.
    process : int, optional
        In the names; this process by default.
    """

    def __init__(
        self, hosts: int, bits_per_s: float, runner: Runner = run, process: int | None = None
    ) -> None:
        self.names = Names(os.getpid() if process is None else process, hosts)
        self.bits_per_s = bits_per_s
        self._run = runner

    def __enter__(self) -> Self:
        try:
            for command in commands.build(self.names):
                self._run(command)
            self.limit(self.bits_per_s)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def limit(self, bits_per_s: float) -> None:
        """Set the rate of all hosts."""
        for command in commands.limit(self.names, bits_per_s):
            self._run(command)
        self.bits_per_s = bits_per_s

    def sent_bytes(self, host: int) -> int:
        """Return the bytes that a host has sent so far, headers included."""
        file = f"/sys/class/net/{commands.INTERFACE}/statistics/tx_bytes"
        return int(self._run(commands.inside(self.names.host(host), ("cat", file))))

    def remove(self) -> None:
        """Remove what this testbed made; what is gone already is fine."""
        with uninterrupted():
            for command in commands.remove(self.names.all()):
                with contextlib.suppress(NetworkError):
                    self._run(command)


def clean(
    runner: Runner = run,
    alive: Callable[[int], bool] = lambda process: os.path.exists(f"/proc/{process}"),
    kill: Callable[[int, int], None] = os.kill,
) -> list[str]:
    """Remove testbeds that ended processes left behind, with what runs in them.

    Parameters
    ----------
    runner : callable, optional
    alive : callable, optional
        Whether a process still runs: its testbed is left alone.
    kill : callable, optional
        Sends a signal to a process.

    Returns
    -------
    list of str
        Namespaces that were removed.
    """
    left = [
        name
        for name, process in commands.of_testbeds(runner(("ip", "netns", "list"))).items()
        if not alive(process)
    ]
    for name in left:
        for process in runner(("ip", "netns", "pids", name)).split():
            with contextlib.suppress(ProcessLookupError):
                kill(int(process), signal.SIGKILL)
    for command in commands.remove(left):
        runner(command)
    return left
