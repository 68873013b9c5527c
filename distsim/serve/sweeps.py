"""A sweep over the worker processes: who evaluates what, how far it is, what came of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from distsim.serve.limits import LIMITS
from distsim.serve.pool import Lost, Message, Pool
from distsim.serve.refusals import TOO_MUCH, Refused, error_dict, too_much
from distsim.study.evaluate import Outcome

#: Most combinations that a process is given at once, and how many such pieces each gets.
_CHUNK, _PIECES = 16, 8
#: Least seconds between two reports.
_EVERY_S = 0.1
_DIED = "the process that evaluated it ended, as it does where memory runs out"


async def swept(pool: Pool, ask: dict[str, Any]) -> AsyncGenerator[Message]:
    """Yield ``progress`` of a sweep, and its ``page``.

    Raises
    ------
    TimeoutError, Lost
        As `Worker.messages`.
    """
    ends = asyncio.get_running_loop().time() + LIMITS.sweep_s
    space: dict[str, Any] = {}
    opening = pool.asked({**ask, "do": "sweep-open"}, LIMITS.predict_s, slow=True)
    async with aclosing(opening) as messages:
        async for message in messages:
            if message["event"] == "error":
                yield message
            else:
                space = message["data"]
    if not space:
        return
    sweep = _Sweep(pool, ask, space["evaluate"], space["total"])
    try:
        async with aclosing(sweep.progress(ends)) as reports:
            async for data in reports:
                yield {"event": "progress", "data": data}
    finally:
        await sweep.stop()
    outcomes = [sweep.outcomes[index] for index in range(space["evaluate"])]
    closing = {**ask, "do": "sweep-close", "outcomes": outcomes}
    async with aclosing(pool.asked(closing, LIMITS.predict_s, slow=True)) as messages:
        async for message in messages:
            yield message


class _Sweep:
    """Combinations that wait, and outcomes of those that are done.

    Attributes
    ----------
    outcomes : dict of int to dict
        By index, as `Outcome.to_dict`.
    """

    def __init__(self, pool: Pool, ask: dict[str, Any], count: int, total: int) -> None:
        self.outcomes: dict[int, dict[str, Any]] = {}
        self._pool, self._ask = pool, ask
        self._count, self._total = count, total
        self._waiting = list(range(count))
        self._runners = max(pool.size - 1, 1)
        self._share = min(max(count // (self._runners * _PIECES), 1), _CHUNK)
        self._seen: Counter[str] = Counter()
        self._known = 0
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def progress(self, ends: float) -> AsyncGenerator[dict[str, Any]]:
        """Yield how far it is until all is done.

        Raises
        ------
        TimeoutError
        """
        loop = asyncio.get_running_loop()
        yield self._report()
        self._tasks = [loop.create_task(self._run()) for _ in range(self._runners)]
        while len(self.outcomes) < self._count:
            async with asyncio.timeout_at(ends):
                await self._news.wait()
            self._news.clear()
            for task in self._tasks:
                if task.done() and not task.cancelled() and (error := task.exception()):
                    raise error
            yield self._report()
            await asyncio.sleep(_EVERY_S)
        yield self._report()

    def _report(self) -> dict[str, Any]:
        refused = self._total - self._count
        return {
            "done": len(self.outcomes) + refused,
            "total": self._total,
            "known": self._known,
            "ok": self._seen["ok"],
            "does_not_fit": self._seen["does not fit"],
            "not_possible": self._seen["not possible"] + refused,
        }

    async def _run(self) -> None:
        """Evaluate what waits, piece by piece."""
        try:
            while self._waiting:
                chunk, self._waiting = self._waiting[: self._share], self._waiting[self._share :]
                await self._piece(chunk)
        finally:
            self._news.set()

    async def _piece(self, chunk: list[int]) -> None:
        left = list(chunk)
        ask = {**self._ask, "do": "sweep-points", "indices": chunk}
        try:
            async with self._pool.worker(slow=True) as worker:
                whole_s = LIMITS.predict_s * len(chunk)
                found = worker.messages(ask, whole_s, each_s=LIMITS.predict_s)
                async with aclosing(found) as messages:
                    async for message in messages:
                        if message["event"] == "error":
                            # Of the request, not of one combination.
                            raise _failed(message["data"])
                        left.remove(message["data"]["index"])
                        self._note(message["data"])
        except TimeoutError:
            self._lost(left, f"it takes longer than {LIMITS.predict_s:.0f} s")
        except Lost:
            self._lost(left, _DIED)

    def _lost(self, left: list[int], why: str) -> None:
        """Note what became of the combination that a process ended at; the others wait again."""
        if left:
            outcome = Outcome(0, code=TOO_MUCH, message=why, rule="a limit of the server")
            self._note({"index": left[0], "known": False, "outcome": outcome.to_dict()})
            self._waiting = [*left[1:], *self._waiting]

    def _note(self, found: dict[str, Any]) -> None:
        outcome = Outcome.from_dict(found["outcome"])
        self.outcomes[found["index"]] = found["outcome"]
        self._seen[outcome.status] += 1
        self._known += bool(found["known"])
        self._news.set()

    async def stop(self) -> None:
        """End whatever still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _failed(error: dict[str, Any]) -> Refused:
    return Refused(
        int(error["status"]),
        error["code"],
        error["message"],
        rule=error["rule"],
        fix=error["fix"],
    )


def over_time(limit_s: float) -> dict[str, Any]:
    """Return the error of a request that takes too long, as plain values."""
    rule = f"at most {limit_s:.0f} s here"
    return error_dict(too_much("it takes longer", rule, fix="ask for less, or use distsim run"))
