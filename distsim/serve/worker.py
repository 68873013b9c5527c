"""A worker process: takes one request after another from its input, and sends what comes of it.

It lives for many requests, so that what predictions have in common is made once, and is killed by
the server when a request takes too long or nobody waits for it any more.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, BinaryIO

from distsim.errors import DistsimError
from distsim.serve import fence
from distsim.serve.channel import packed, receive
from distsim.serve.limits import LIMITS
from distsim.serve.refusals import INTERNAL, error_dict, too_much

#: Seconds that the server has to end a process after its time, before it ends itself.
_GRACE_S = 5.0
#: Share of the memory limit at which a process ends after its request, for a fresh one.
_FULL = 0.4
#: Shipped scenario that is predicted before the first request; it takes a moment.
_TRIED = "gpt2-xl-8xa100"


def main(configuration: str) -> None:
    """Serve requests until the input ends.

    Parameters
    ----------
    configuration : str
        JSON: ``memory_bytes``, and ``cache``, the file that keeps results of sweeps or None.
    """
    given = json.loads(configuration)
    os.umask(0o077)
    stdin, stdout = _streams()
    fence.limit(given["memory_bytes"])
    # It would measure words a little more closely, and keeps a file of fonts.
    modules: dict[str, Any] = sys.modules
    modules["matplotlib"] = None
    worker = _Worker(stdout, given["cache"])
    os.chdir(os.sep)
    fence.close()
    worker.send("ready", {"notes": worker.notes})
    while (ask := receive(stdin)) is not None:
        worker.answer(ask)
        last = worker.tired(given["memory_bytes"])
        worker.send("end", {"last": last})
        if last:
            return


def _streams() -> tuple[BinaryIO, BinaryIO]:
    """Return input and output, and let whatever else prints do so into nothing."""
    stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nothing, number)
    return stdin, stdout


class _Worker:
    """Answers requests.

    Attributes
    ----------
    notes : list of str
        Why results of sweeps are not kept, if they are not.
    """

    def __init__(self, stdout: BinaryIO, cache: str | None) -> None:
        from distsim.serve import sweeping, tasks
        from distsim.study.cache import Cache, default_path, open_cache

        self._stdout = stdout
        self._exhausted = False
        self.notes: list[str] = []
        self._cache: Cache | None = None
        if cache is not None:
            named = cache or None
            try:
                self._cache = open_cache(named or default_path(), self.notes.append)
            except DistsimError as error:
                self.notes.append(f"{error.message}; results of sweeps are not kept")
        self._tasks: dict[str, tasks.Task] = {
            "catalogue": tasks.catalogue,
            "scenario": tasks.scenario,
            "result": tasks.result,
            "page": tasks.page,
            "compare": tasks.compare,
            "sweep-open": sweeping.opened,
            "sweep-points": lambda ask, send: sweeping.points(ask, send, self._cache),
            "sweep-close": sweeping.closed,
        }
        _load(tasks.page)

    def send(self, event: str, data: Any) -> None:
        """Send a message to the server."""
        self._stdout.write(packed({"event": event, "data": data}))
        self._stdout.flush()

    def answer(self, ask: dict[str, Any]) -> None:
        """Do what is asked for, and say so where that is not possible: ``error``."""
        fence.end_after(ask["limit_s"] + _GRACE_S)
        try:
            self._tasks[ask["do"]](ask, self.send)
        except DistsimError as error:
            self.send("error", error_dict(error))
        except MemoryError:
            self._exhausted = True
            rule = f"at most {LIMITS.memory_bytes / 1024**3:.0f} GiB here"
            fix = "ask for less, or use distsim run"
            self.send("error", error_dict(too_much("it takes more memory", rule, fix=fix)))
        except BrokenPipeError:
            raise
        except Exception as error:
            self.send("error", error_dict(_internal(error)))
        fence.end_after(0)

    def tired(self, memory_bytes: int) -> bool:
        """Say whether a fresh process should follow."""
        return self._exhausted or _resident_bytes() > _FULL * memory_bytes


def _internal(error: Exception) -> DistsimError:
    text = str(error).strip().split("\n")[0]
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return DistsimError(
        INTERNAL,
        f"an error in distsim, not in your input ({what[:200]}); report it with the scenario",
    )


def _resident_bytes() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if os.uname().sysname == "Darwin" else 1024)


def _load(page: Callable[[dict[str, Any], Callable[[str, Any], None]], None]) -> None:
    """Import, read and try what the first request would wait for."""
    from distsim.serve.catalogue import catalogue, scenario_text

    import_module("distsim.engine.event")
    catalogue()
    page({"scenario": scenario_text(_TRIED)}, lambda *_: None)
