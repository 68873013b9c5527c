"""Sweeps that are killed or interrupted lose nothing, and two may write at once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.sweeping import SMALL

ROOT = str(Path(__file__).parents[2])
COMBINATIONS = 60
#: Varies what is evaluated, some of it impossible; enough to be killed in the midst of.
_VALUES = ["--set", "seed=0:19:+1", "--set", "plan.tp=1,2,3"]
#: One process, which says on standard output what it evaluates and what it reports, as it does.
_ONE_BY_ONE = """
import sys, json
from distsim.study.cache import Cache
from distsim.study.evaluate import evaluate
from distsim.study.sweep.run import sweep
from distsim.study.sweep.study import space_of
from tests.sweeping import SMALL, Counting

def say(*words):
    print(*words, flush=True)

def told(scenario):
    say("evaluate", scenario.seed, scenario.plan.tp)
    return evaluate(scenario)

space = space_of(SMALL, set_=["seed=0:19:+1", "plan.tp=1,2,3"])
with Cache(sys.argv[1]) as cache:
    points = space.points()
    def report(index, outcome):
        scenario = points[index].scenario
        say("report", scenario.seed, scenario.plan.tp, json.dumps(outcome.to_dict()))
    sweep(space, Counting(told), cache=cache, on_result=report)
"""


def _start(*words: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": ROOT, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _killed(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)  # the sweep alone
    process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # then what it had started
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def test_what_was_reported_before_a_kill_is_neither_lost_nor_evaluated_again(
    tmp_path: Path,
) -> None:
    evaluated: list[tuple[str, ...]] = []
    reported: dict[tuple[str, ...], str] = {}
    for kill_after in (3, 9, 1, 14, None):
        before = dict(reported)
        process = _start("-c", _ONE_BY_ONE, "c.sqlite", directory=tmp_path)
        assert process.stdout is not None
        for line in process.stdout:  # to its end: what it said before it died counts too
            what, seed, tp, *rest = line.split(maxsplit=3)
            if what == "evaluate":
                assert (seed, tp) not in before
                evaluated.append((seed, tp))
            elif rest and rest[0].endswith("}\n"):  # not cut by the kill
                assert before.get((seed, tp), rest[0]) == rest[0]
                reported[seed, tp] = rest[0]
            if kill_after is not None and len(reported) - len(before) == kill_after:
                os.kill(process.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (0 if kill_after is None else -signal.SIGKILL), said
    assert len(reported) == COMBINATIONS
    # At each kill one evaluation may have been under way, no more.
    assert COMBINATIONS <= len(evaluated) <= COMBINATIONS + 4


def _rows(path: Path) -> int:
    """Return how many outcomes a cache has, 0 where there is none yet."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(path, timeout=10)
    try:
        return int(connection.execute("SELECT count(*) FROM outcomes").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def _wait_for(path: Path, rows: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while _rows(path) < rows:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing is evaluated"
        time.sleep(0.01)


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(SMALL))
    return path


def _sweep(scenario: Path, output: str, *more: str) -> subprocess.Popen[str]:
    words = ("-m", "distsim", "sweep", scenario.name, *_VALUES, "--jobs", "2", "-o", output)
    return _start(*words, *more, directory=scenario.parent)


def _done(process: subprocess.Popen[str]) -> str:
    out, said = process.communicate(timeout=240)
    assert (process.returncode, said) == (0, "")
    return out


def test_a_command_that_is_killed_three_times_ends_with_the_same_table(scenario: Path) -> None:
    cache = scenario.parent / "c.sqlite"
    for rows in (5, 15, 30):
        process = _sweep(scenario, "out.csv", "--cache", "c.sqlite")
        _wait_for(cache, rows, process)
        _killed(process)
        assert not (scenario.parent / "out.csv").exists()
        assert _rows(cache) < COMBINATIONS
    known = _rows(cache)
    out = _done(_sweep(scenario, "out.csv", "--cache", "c.sqlite"))
    assert f"{COMBINATIONS - known} evaluated now, {known} known" in out
    _done(_sweep(scenario, "whole.csv", "--no-cache"))
    tables = [(scenario.parent / name).read_bytes() for name in ("out.csv", "whole.csv")]
    assert tables[0] == tables[1]
    assert tables[0].count(b"\n") == 1 + COMBINATIONS


def test_two_sweeps_at_once_share_a_cache(scenario: Path) -> None:
    both = [_sweep(scenario, f"{n}.csv", "--cache", "c.sqlite") for n in (1, 2)]
    for process in both:
        _done(process)
    tables = [(scenario.parent / f"{n}.csv").read_bytes() for n in (1, 2)]
    assert tables[0] == tables[1]
    assert _rows(scenario.parent / "c.sqlite") == COMBINATIONS


def test_an_interrupt_ends_at_once_and_says_how_to_go_on(scenario: Path) -> None:
    cache = scenario.parent / "c.sqlite"
    process = _sweep(scenario, "out.csv", "--cache", "c.sqlite")
    _wait_for(cache, 5, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does at Ctrl-C
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "goes on from it" in said and said.endswith("interrupted\n")
    assert "Traceback" not in said
    assert not (scenario.parent / "out.csv").exists()
    assert 5 <= _rows(cache) < COMBINATIONS
