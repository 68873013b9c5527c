"""The worker processes of a server: started when needed, ended when a request is over its time."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from distsim.serve.channel import HEAD, length, packed, unpacked
from distsim.serve.limits import LIMITS
from distsim.serve.refusals import busy

#: Processes: one for every processor, at least two, so that a prediction never waits for a sweep.
LEAST, MOST = 2, 8
#: Seconds that a process may take to start.
_START_S = 60.0
#: Seconds for a request that nobody waits for any more, and for one that takes long as a rule.
_GRACE_S, _GRACE_SLOW_S = 1.0, 0.2
_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from distsim.serve.worker import main; main(sys.argv[2])"
)
#: Processes share the processors among themselves; their libraries need no threads.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Seconds in which all processes end with the server.
_END_S = 3.0

Message = dict[str, Any]


class Lost(Exception):
    """A worker process ended before its answer did."""


class Worker:
    """One process.

    Parameters
    ----------
    process : asyncio.subprocess.Process
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._next: int | None = None  # length of the message that has begun
        #: Whether it was told to end, and whether it is at a request.
        self.killed = self.unfinished = False

    @classmethod
    async def start(cls, cache: str | None) -> Worker:
        """Start a process and wait until it takes requests.

        Parameters
        ----------
        cache : str or None
            File that keeps results of sweeps; empty for the user's own, None for none.

        Raises
        ------
        Lost
            Where it does not start.
        """
        paths = json.dumps([os.path.abspath(p) for p in sys.path])
        given = json.dumps({"memory_bytes": LIMITS.memory_bytes, "cache": cache})
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-B", "-c", _CODE, paths, given),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if os.environ.get("DISTSIM_DEBUG") else asyncio.subprocess.DEVNULL,
            env=os.environ | dict.fromkeys(_THREADS, "1"),
            start_new_session=True,
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(_START_S):
                await worker._receive()
        except BaseException as error:
            worker.kill()
            await worker.gone()
            if isinstance(error, TimeoutError):
                raise Lost("it does not start") from None
            raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return self._process.returncode is None

    async def messages(
        self, ask: Mapping[str, Any], limit_s: float, each_s: float = float("inf")
    ) -> AsyncGenerator[Message]:
        """Yield what it sends for a request.

        Parameters
        ----------
        limit_s, each_s : float
            Time of the whole request, and of each message.

        Raises
        ------
        Lost
            Where the process ends.
        TimeoutError
            Where it takes longer; the process is ended.
        """
        clock = asyncio.get_running_loop().time
        ends, self.unfinished = clock() + limit_s, True
        try:
            async with asyncio.timeout_at(ends):
                await self._send({**ask, "limit_s": limit_s})
            while True:
                async with asyncio.timeout_at(min(ends, clock() + each_s)):
                    message = await self._receive()
                if message["event"] == "end":
                    self._ended(message)
                    return
                yield message
        except (Lost, TimeoutError):
            self.kill()
            raise

    async def finish(self, grace_s: float) -> None:
        """Let it finish a request that nobody waits for any more, or end it."""
        try:
            async with asyncio.timeout(grace_s):
                while (message := await self._receive())["event"] != "end":
                    pass
            self._ended(message)
        except (Lost, TimeoutError):
            self.kill()

    def _ended(self, message: Message) -> None:
        self.unfinished = False
        if message["data"]["last"]:
            self.kill()

    async def _send(self, message: Mapping[str, Any]) -> None:
        if self._process.stdin is None:
            raise Lost("no input")
        try:
            self._process.stdin.write(packed(dict(message)))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise Lost("it ended") from None

    async def _receive(self) -> Message:
        if self._process.stdout is None:
            raise Lost("no output")
        try:
            # Whoever is cancelled in between leaves the rest to whoever reads on.
            if self._next is None:
                self._next = length(await self._process.stdout.readexactly(HEAD))
            body = await self._process.stdout.readexactly(self._next)
            self._next = None
            return unpacked(body)
        except (asyncio.IncompleteReadError, ConnectionResetError, ValueError):
            raise Lost("it ended") from None

    def kill(self) -> None:
        """End it at once."""
        self.killed = True
        with suppress(ProcessLookupError):
            self._process.kill()

    async def gone(self) -> None:
        """Wait until it has ended, and let go of what it said."""
        await self._process.communicate()


class Pool:
    """Worker processes, and who waits for one.

    Parameters
    ----------
    size : int, optional
        Processes; by default one a processor.
    cache : str, optional
        As `Worker.start`.
    """

    def __init__(self, size: int | None = None, cache: str | None = None) -> None:
        found = os.cpu_count() or LEAST
        self.size = size or min(max(found, LEAST), MOST)
        self._cache = cache
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._free = asyncio.Semaphore(self.size)
        #: Sweeps leave one process to whoever waits for a prediction.
        self._slow = asyncio.Semaphore(max(self.size - 1, 1))
        self._waiting = self._starting = 0
        self._came = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def warm(self) -> None:
        """Start all processes, so that the first request finds one."""
        await asyncio.gather(*(self._ready() for _ in range(self.size)))

    async def _ready(self) -> None:
        """Start a process, if there are fewer than there may be."""
        if self._closed or len(self._idle) + len(self._busy) + self._starting >= self.size:
            return
        try:
            worker = await self._started()
        except (Lost, OSError):
            return  # whoever needs one tries again, and says so
        self._busy.add(worker)
        self._return(worker)

    @asynccontextmanager
    async def worker(self, *, slow: bool = False) -> AsyncIterator[Worker]:
        """Lend a process.

        Parameters
        ----------
        slow : bool
            For work that others may overtake.

        Raises
        ------
        Refused
            DS728 where too many wait already, or where the server ends.
        Lost
            Where no process can be started.
        """
        if self._waiting >= LIMITS.waiting:
            raise busy(f"{LIMITS.waiting} requests wait for a process")
        self._waiting += 1
        try:
            if slow:
                await self._slow.acquire()
            try:
                await self._free.acquire()
            except BaseException:
                if slow:
                    self._slow.release()
                raise
        finally:
            self._waiting -= 1
        try:
            worker = await self._taken()
        except BaseException:
            self._release(slow)
            raise
        try:
            yield worker
        finally:
            if worker.unfinished and worker.alive and not worker.killed:
                self._later(self._finish(worker, slow))
            else:
                self._return(worker)
                self._release(slow)

    async def asked(
        self, ask: Mapping[str, Any], limit_s: float, *, slow: bool = False
    ) -> AsyncGenerator[Message]:
        """Yield what a process sends for a request.

        Raises
        ------
        TimeoutError, Lost, Refused
            As `Worker.messages` and `worker`.
        """
        async with (
            self.worker(slow=slow) as worker,
            aclosing(worker.messages(ask, limit_s)) as messages,
        ):
            async for message in messages:
                yield message

    def _release(self, slow: bool) -> None:
        self._free.release()
        if slow:
            self._slow.release()

    async def _finish(self, worker: Worker, slow: bool) -> None:
        """Give a process a moment for what nobody waits for: starting another takes longer."""
        try:
            await worker.finish(_GRACE_SLOW_S if slow else _GRACE_S)
        finally:
            self._return(worker)
            self._release(slow)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _taken(self) -> Worker:
        """Return a process that is idle, or start one if there are fewer than there may be.

        Raises
        ------
        Refused
            Where the server ends.
        Lost
            Where none can be started.
        """
        while not self._closed:
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    self._busy.add(worker)
                    return worker
                self._later(worker.gone())
            if len(self._busy) + self._starting < self.size:
                worker = await self._started()
                self._busy.add(worker)
                return worker
            self._came.clear()
            await self._came.wait()
        raise busy("the server ends")

    async def _started(self) -> Worker:
        self._starting += 1
        try:
            worker = await Worker.start(self._cache)
        finally:
            self._starting -= 1
            self._came.set()
        if self._closed:
            worker.kill()
        return worker

    def _return(self, worker: Worker) -> None:
        self._busy.discard(worker)
        if self._closed:
            worker.kill()
        if worker.alive and not worker.killed:
            self._idle.append(worker)
            self._came.set()
        else:
            self._later(self._replace(worker))

    async def _replace(self, worker: Worker) -> None:
        """Start another process, for the next request should not have to wait for it."""
        await worker.gone()
        await self._ready()

    async def close(self) -> None:
        """End all processes, and with them whatever they are doing."""
        self._closed = True
        self._came.set()
        for worker in (*self._idle, *self._busy):
            worker.kill()
        for worker in self._idle:
            self._later(worker.gone())
        self._idle.clear()
        ends = asyncio.get_running_loop().time() + _END_S
        # Whoever was at a process gives it back, which begins more work.
        while (self._busy or self._tasks) and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(0.02)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
