"""Where scenarios are evaluated: in this process, in others (loky), or on a Dask cluster.

joblib's loky starts the processes of one machine, ``distributed`` talks to a Dask scheduler. Both
give the same outcomes in whatever order they are done. A process that dies costs nothing but the
time to evaluate again what it had not handed over; a scenario that ends every process that takes
it gets an outcome which says so.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from distsim.errors import UsageError, nearest
from distsim.positions import Positions
from distsim.scenario.schema import Scenario
from distsim.store import seldom_collected
from distsim.study.digest import own_digest
from distsim.study.evaluate import Outcome, Runner, evaluate

#: Scenarios up to which starting processes costs more than it saves.
FEW = 16
#: Most scenarios that a task evaluates: one costs loky about 0.3 ms, and Dask's scheduler 1 ms.
CHUNK = 16
#: How long a Dask scheduler may take to answer, and to come back, s.
ANSWER_S = 15.0
#: How long a process waits for work before it ends, as it does where its sweep was killed, s.
IDLE_S = 30
BACKENDS = ("loky", "dask")
#: Processes share the processors among themselves; their libraries need no threads.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
#: Code of an outcome whose process died each time.
DIED = "DS683"

OnResult = Callable[[int, Outcome], None]
Results = Iterator[tuple[int, Outcome]]


@dataclass(frozen=True, slots=True)
class Serial:
    """Evaluates in this process, in order."""

    def run(self, scenarios: Sequence[Scenario], on_result: OnResult | None = None) -> Results:
        """Yield index and outcome of each scenario; see `Runner`."""
        for index, scenario in enumerate(scenarios):
            yield _told(index, evaluate(scenario), on_result)


@dataclass(frozen=True, slots=True)
class Loky:
    """Evaluates in several processes of this machine.

    Attributes
    ----------
    jobs : int or None
        Processes; None for one a processor, and none at all for a few scenarios.
    """

    jobs: int | None = None

    def run(self, scenarios: Sequence[Scenario], on_result: OnResult | None = None) -> Results:
        """Yield index and outcome of each scenario; see `Runner`."""
        if self.jobs == 1 or (self.jobs is None and len(scenarios) <= FEW):
            yield from Serial().run(scenarios, on_result)
            return
        from joblib import cpu_count

        jobs = self.jobs or int(cpu_count())
        left = dict(enumerate(scenarios))
        while left:
            try:
                for index, outcome in _parallel(left, jobs):
                    del left[index]
                    yield _told(index, outcome, on_result)
            except BrokenProcessPool:
                # One of the first of those that are left; each of them alone shows which.
                for index in list(left)[: 2 * jobs]:
                    yield _told(index, _alone(left.pop(index)), on_result)


def _parallel(scenarios: dict[int, Scenario], jobs: int) -> Results:
    """Yield outcomes as they are done.

    Raises
    ------
    BrokenProcessPool
        Where a process died.
    """
    from joblib.externals.loky import get_reusable_executor

    here, size = os.getcwd(), _share(len(scenarios), jobs)
    left = iter(list(scenarios.items()))
    chunks = iter(lambda: [(i, _absolute(s)) for i, s in islice(left, size)], [])
    executor = get_reusable_executor(
        max_workers=jobs, timeout=IDLE_S, env=_ONE_THREAD, initializer=_ignore_interrupts
    )
    running: set[Future[list[tuple[int, Outcome]]]] = set()
    try:
        while True:
            # No more than keeps all busy, so that little is lost where a process dies.
            for chunk in islice(chunks, 2 * jobs - len(running)):
                with _interrupts_wait():
                    running.add(executor.submit(_tasks, chunk, here))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()
    except KeyboardInterrupt:
        # The pool's own thread says of what is left that it failed. Where that is cancelled already
        # the thread ends with an error, the processes live on, and this one waits for them.
        running = set()
        executor.shutdown(wait=False, kill_workers=True)
        raise
    finally:
        for future in running:
            future.cancel()


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait, and processes that are started meanwhile never hear of it.

    The parent ends them; of their own they would print where they were.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_interrupts() -> None:
    """Let a process of the pool not hear of Ctrl-C, whoever started it: the pool replaces some."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _share(count: int, workers: int) -> int:
    """Return how many scenarios make a task: at least 32 tasks a worker, so that all end alike."""
    return min(max(count // (32 * workers), 1), CHUNK)


def _alone(scenario: Scenario) -> Outcome:
    try:
        return next(outcome for _, outcome in _parallel({0: scenario}, 2))
    except BrokenProcessPool:
        return Outcome(
            scenario.cluster.devices,
            code=DIED,
            message="the process that evaluated it was killed, as it is where memory runs out",
            rule="a scenario is evaluated in the memory that there is",
            fix="give it more memory, or fewer --jobs",
        )


def _tasks(scenarios: list[tuple[int, Scenario]], directory: str) -> list[tuple[int, Outcome]]:
    """Evaluate scenarios in a process of the pool, which outlives a sweep."""
    os.chdir(directory)
    with seldom_collected():
        return [(index, evaluate(scenario)) for index, scenario in scenarios]


def _absolute(scenario: Scenario) -> Scenario:
    """Return the scenario for another process: its directory means the same from anywhere.

    Where its values stand is left behind, for an outcome does not say it.
    """
    positions = scenario.positions
    return scenario.at(Positions(positions.file, os.path.abspath(positions.directory)))


def _told(index: int, outcome: Outcome, on_result: OnResult | None) -> tuple[int, Outcome]:
    if on_result is not None:
        on_result(index, outcome)
    return index, outcome


@dataclass(frozen=True, slots=True)
class Dask:
    """Evaluates on a Dask cluster, whose workers have the same version of distsim installed.

    Attributes
    ----------
    scheduler : str
        Address, ``tcp://host:8786``.
    """

    scheduler: str

    def run(self, scenarios: Sequence[Scenario], on_result: OnResult | None = None) -> Results:
        """Yield index and outcome of each scenario; see `Runner`.

        Raises
        ------
        UsageError
            DS682 a scheduler that does not answer or goes away, DS684 workers that cannot
            evaluate, DS685 Dask that is not installed.
        """
        distributed = _distributed()
        with _quiet(), _connected(distributed, self.scheduler) as client:
            _wait_for_workers(client, self.scheduler)
            threads = max(1, sum(client.nthreads().values()))
            size = _share(len(scenarios), threads)
            chunks = [
                range(i, min(i + size, len(scenarios))) for i in range(0, len(scenarios), size)
            ]
            version = own_digest()
            futures = {
                client.submit(_chunk, [_absolute(scenarios[i]) for i in c], version, pure=False): c
                for c in chunks
            }
            for future in distributed.as_completed(list(futures), loop=client.loop):
                chunk = futures.pop(future)
                outcomes = self._outcomes(distributed, future, [scenarios[i] for i in chunk])
                future.release()
                for index, outcome in zip(chunk, outcomes, strict=True):
                    yield _told(index, outcome, on_result)

    def _outcomes(self, distributed: Any, future: Any, chunk: list[Scenario]) -> list[Outcome]:
        try:
            found: list[Outcome] = future.result()
            return found
        except distributed.scheduler.KilledWorker:
            # Dask has tried it on several workers already.
            said = "the workers that evaluated it died, as they do where memory runs out"
            return [Outcome(s.cluster.devices, code=DIED, message=said) for s in chunk]
        except (
            distributed.CancelledError,
            distributed.comm.CommClosedError,
            TimeoutError,
            OSError,
        ):
            raise _gone(self.scheduler) from None
        except UsageError:
            raise
        except Exception as error:
            raise _unable(f"{type(error).__name__}: {error}") from None


def _chunk(scenarios: list[Scenario], version: str) -> list[Outcome]:
    """Evaluate some scenarios on a worker.

    Raises
    ------
    UsageError
        DS684 where the worker has another version of distsim: its numbers would be others.
    """
    if own_digest() != version:
        raise _unable("another version of distsim is installed there")
    return [evaluate(scenario) for scenario in scenarios]


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise UsageError(
            "DS685",
            "backend dask needs dask and distributed, which are not installed",
            rule="Dask is an extra, so that distsim itself stays small",
            fix="pip install 'distsim-train[dask]', here and on the workers",
        ) from None
    return distributed


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from logging what is raised as an error of ours, tracebacks and all."""
    named = [n for n in logging.root.manager.loggerDict if n.split(".")[0] == "distributed"]
    before = {name: logging.getLogger(name).level for name in named}
    try:
        for name in named:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _connected(distributed: Any, scheduler: str) -> Any:
    try:
        return distributed.Client(scheduler, timeout=ANSWER_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, ImportError) as error:
        raise UsageError(
            "DS682",
            f"no Dask scheduler answers at {scheduler}: {str(error).splitlines()[0]}",
            value=scheduler,
            rule="the address of a scheduler that runs, as tcp://host:8786",
            fix="start one with `dask scheduler`, and workers with `dask worker ADDRESS`",
        ) from None


def _wait_for_workers(client: Any, scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=ANSWER_S)
    except (OSError, TimeoutError):
        raise UsageError(
            "DS682",
            f"the Dask scheduler at {scheduler} has no workers",
            value=scheduler,
            rule="at least one worker evaluates",
            fix=f"start workers with `dask worker {scheduler}`",
        ) from None


def _gone(scheduler: str) -> UsageError:
    return UsageError(
        "DS682",
        f"the Dask scheduler at {scheduler} went away",
        value=scheduler,
        rule="a scheduler runs until the sweep is done",
        fix="start it again and repeat the command: what was reported is kept in the cache",
    )


def _unable(reason: str) -> UsageError:
    return UsageError(
        "DS684",
        f"the Dask workers cannot evaluate: {reason}",
        value=reason[:100],
        rule="every worker has the same version of distsim, and sees the files that are named",
        fix="install this version on the workers and start them again",
    )


def runner(
    backend: str = "loky", *, jobs: int | None = None, scheduler: str | None = None
) -> Runner:
    """Return what evaluates scenarios.

    Parameters
    ----------
    backend : {"loky", "dask"}
    jobs : int, optional
        Processes of loky; by default one a processor, and none for a few scenarios.
    scheduler : str, optional
        Address of Dask's scheduler.

    Raises
    ------
    UsageError
        DS686 for a backend, scheduler or number of jobs that cannot be.
    """
    if backend not in BACKENDS:
        near = nearest(backend, BACKENDS)
        raise _option(f"no backend {backend!r}", f"one of {', '.join(BACKENDS)}", near)
    if (backend == "dask") != (scheduler is not None):
        raise _option(
            "backend dask needs a scheduler" if scheduler is None else "loky has no scheduler",
            "--backend dask and --scheduler ADDRESS go together",
            None,
        )
    if jobs is not None and (jobs < 1 or backend == "dask"):
        said = "Dask's workers say how many" if backend == "dask" else "at least 1 process"
        raise _option(f"jobs {jobs} with backend {backend}", said, None)
    return Dask(scheduler) if scheduler is not None else Loky(jobs)


def _option(message: str, rule: str, near: str | None) -> UsageError:
    fix = "use --backend dask --scheduler tcp://host:8786, or leave both out"
    return UsageError(
        "DS686", message, rule=rule, fix=f"did you mean {near!r}? {fix}" if near else fix
    )
