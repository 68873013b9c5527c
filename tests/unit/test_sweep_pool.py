"""Other processes and clusters give what this process gives, whoever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from joblib.externals import loky

import distsim as ds
from distsim.errors import UsageError
from distsim.files import shipped
from distsim.positions import Positions
from distsim.study import pool
from distsim.study.evaluate import Outcome
from distsim.study.pool import DIED, Dask, Loky, Serial, runner
from tests.sweeping import SMALL


def scenarios(count: int) -> list[ds.Scenario]:
    base = ds.load(SMALL)
    sizes = [16 * (1 + n % 12) for n in range(count)]
    return [
        base.with_(batch={"global_size": size}, plan={"tp": 1 + n % 3}, seed=n)
        for n, size in enumerate(sizes)
    ]


class _Poison:
    """What ends every process that takes it, as running out of memory does."""

    positions = Positions("", "/")
    cluster = SimpleNamespace(devices=8)

    def at(self, _: Positions) -> _Poison:
        return self

    def __reduce__(self) -> Any:
        return os._exit, (1,)


@pytest.fixture(scope="module")
def expected() -> dict[int, Outcome]:
    return dict(Serial().run(scenarios(40)))


@pytest.fixture(autouse=True, scope="module")
def _no_processes_stay() -> Iterator[None]:
    yield
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def test_processes_give_what_this_one_gives(expected: dict[int, Outcome]) -> None:
    told: dict[int, Outcome] = {}
    found = dict(Loky(2).run(scenarios(40), told.__setitem__))
    assert found == told == expected
    assert {o.status for o in found.values()} == {"ok", "not possible"}


def test_a_few_are_evaluated_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Any:
        raise AssertionError("no process for a few")

    monkeypatch.setattr(pool, "_parallel", never)
    assert len(dict(Loky().run(scenarios(pool.FEW)))) == pool.FEW
    assert len(dict(Loky(1).run(scenarios(pool.FEW + 1)))) == pool.FEW + 1


def test_an_error_in_distsim_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("distsim.study.evaluate.predict", broken)
    ((_, outcome),) = Serial().run(scenarios(1))
    assert (outcome.code, outcome.possible) == ("DS699", False)
    assert "ZeroDivisionError: by zero" in outcome.message
    monkeypatch.setenv("DISTSIM_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        dict(Serial().run(scenarios(1)))


def test_files_beside_a_scenario_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shipped("topologies", "dgx-a100").read_text(encoding="utf-8")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "net.yaml").write_text(text)
    written = json.dumps(SMALL | {"cluster": {"topology": "net.yaml", "devices": 8}})
    (tmp_path / "there" / "s.yaml").write_text(written)
    monkeypatch.chdir(tmp_path)
    scenario = ds.load("there/s.yaml")
    ((_, found),) = Loky(2).run([scenario])
    assert found.possible
    assert found == dict(Serial().run([scenario]))[0]
    monkeypatch.chdir(tmp_path / "there")  # and a name that is seen from where one is
    beside = ds.load(json.loads(written))
    assert dict(Loky(2).run([beside]))[0] == found


@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs")
def test_a_scenario_that_kills_its_process_is_the_only_one_lost(
    expected: dict[int, Outcome],
) -> None:
    given: list[Any] = scenarios(40)
    given[7] = _Poison()
    found = dict(Loky(2).run(given))
    assert len(found) == 40
    assert (found[7].code, found[7].devices) == (DIED, 8)
    assert {n: o for n, o in found.items() if n != 7} == {
        n: o for n, o in expected.items() if n != 7
    }


@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs")
def test_a_process_that_is_killed_costs_nothing(expected: dict[int, Outcome]) -> None:
    from joblib.externals.loky import reusable_executor

    killed: list[int] = []

    def kill(*_: object) -> None:
        if not killed:
            killed.append(next(iter(reusable_executor._executor._processes)))
            os.kill(killed[0], signal.SIGKILL)

    found = dict(Loky(2).run(scenarios(40), kill))
    assert killed
    assert found == expected


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"backend": "lokky"}, "DS686"),
        ({"backend": "dask"}, "DS686"),
        ({"backend": "loky", "scheduler": "tcp://x:1"}, "DS686"),
        ({"backend": "dask", "scheduler": "tcp://x:1", "jobs": 2}, "DS686"),
        ({"jobs": 0}, "DS686"),
    ],
)
def test_backends_that_cannot_be(options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        runner(**options)
    assert caught.value.code == code
    assert caught.value.fix


def test_dask_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"distsim-train\[dask\]") as caught:
        list(Dask("tcp://127.0.0.1:1").run(scenarios(1)))
    assert caught.value.code == "DS685"


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1"])
def test_a_scheduler_that_does_not_answer(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(pool, "ANSWER_S", 0.5)
    with pytest.raises(UsageError) as caught:
        list(Dask(scheduler).run(scenarios(1)))
    assert caught.value.code == "DS682"


#: In a process of its own: Dask leaves threads and processes that end when they like.
_ON_A_CLUSTER = """
import json, os, signal, sys
from distributed import LocalCluster
from distsim.errors import UsageError
from distsim.files import shipped
from distsim.study import pool
from tests.unit.test_sweep_pool import scenarios

def main(what):
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(n_workers=2, silence_logs=50, **options) as cluster:
        workers = [nanny.pid for nanny in cluster.workers.values()]
        killed = []

        def told(index, outcome):
            if what == "kill" and not killed:
                killed.append(workers[0])
                os.kill(workers[0], signal.SIGKILL)

        if what == "version":
            pool.own_digest = lambda: "another"
        try:
            found = dict(pool.Dask(cluster.scheduler_address).run(scenarios(40), told))
            said = {n: outcome.to_dict() for n, outcome in found.items()}
        except UsageError as error:
            said = str(error)
        print(json.dumps({"workers": len(set(workers)), "killed": len(killed), "said": said}))

if __name__ == "__main__":
    main(sys.argv[1])
"""


def _on_a_cluster(what: str, directory: Path) -> dict[str, Any]:
    pytest.importorskip("distributed")
    script = directory / "on_a_cluster.py"
    script.write_text(_ON_A_CLUSTER)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(script), what],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_dask_with_a_worker_that_is_killed_midway(
    tmp_path: Path, expected: dict[int, Outcome]
) -> None:
    found = _on_a_cluster("kill", tmp_path)
    assert (found["workers"], found["killed"]) == (2, 1)
    outcomes = {int(n): Outcome.from_dict(said) for n, said in found["said"].items()}
    assert outcomes == expected


def test_dask_workers_of_another_version_are_refused(tmp_path: Path) -> None:
    said = _on_a_cluster("version", tmp_path)["said"]
    assert said.startswith("DS684: the Dask workers cannot evaluate: another version")


class _Waiting:
    """A pool none of whose tasks has begun."""

    def __init__(self) -> None:
        self.futures: list[Future[object]] = []
        self.ended: dict[str, bool] = {}

    def submit(self, *_: object) -> Future[object]:
        self.futures.append(Future())
        return self.futures[-1]

    def shutdown(self, **how: bool) -> None:
        self.ended = how


def test_an_interrupt_leaves_tasks_that_wait_to_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread fails on a task that was cancelled, and then no process ends."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    executor = _Waiting()
    monkeypatch.setattr(loky, "get_reusable_executor", lambda **_: executor)
    monkeypatch.setattr(pool, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(Loky(2).run(scenarios(3)))
    assert executor.ended == {"wait": False, "kill_workers": True}
    assert len(executor.futures) == 3
    assert not any(future.cancelled() for future in executor.futures)
