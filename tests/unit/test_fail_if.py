"""--fail-if in every command that has it: after the output, never in place of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import pytest

from distsim.cli import COMMANDS, cli, main

DATA = Path(__file__).parents[1] / "data"
TRACE = DATA / "kineto" / "gpt-125m-h100.json.gz"
#: Command -> a condition that holds for its result.
HOLD = {
    "run gpt2-xl-8xa100": "mfu > 0.1 and memory.fits",
    "run two-jobs-128xa100": "jobs.0.slowdown >= 1 and jobs.1.slowdown > 1",
    "check gpt2-xl-8xa100": "memory.peak_bytes > 1 GB",
    "diff gpt2-xl-8xa100 --set plan.recompute=full": "step_s > 1.1 * base.step_s",
    "sweep gpt2-xl-8xa100 --no-cache": "rows.0.step_s > 1 s",
    "plan gpt2-xl-8xa100 --devices 8 --tokens 10B --set plan.pp=1": "best.devices == 8",
    "goodput gpt2-xl-8xa100 --tokens 300B --runs 10": "effective.p50 > 50%",
    "cost gpt2-xl-8xa100 --tokens 300B": "total.money > 100",
    "collective all-reduce --topology dgx-a100 --devices 8 --sizes 1MB": "rows.0.time_s > 1 us",
    "validate --source opt-2022 --again": "all.mape_percent > 1",
    f"trace import {TRACE}": "step_s > 1 ms",
}
#: What must never be run, nor bring the program down.
HOSTILE = (
    "__import__('os').system('touch pwned')",
    "mfu < 1; import os",
    "(" * 200 + "1" + ")" * 200,
    "$(touch pwned) > 1",
    "`touch pwned`",
    "mfu ** 9999999 > 1",
    "\0",
    "mfu < 1" + " or mfu < 1" * 500,
    "mfu.__class__ == 1",
    "\U0001d7d9 < 2",
    "1/0 > 1",
)


def _has(name: str) -> bool:
    command = cli.get_command(click.Context(cli), name)
    return any("--fail-if" in parameter.opts for parameter in getattr(command, "params", ()))


def test_every_command_with_conditions_is_tested() -> None:
    assert {name for name in COMMANDS if _has(name)} == {command.split()[0] for command in HOLD} - {
        "trace"
    }


@pytest.mark.parametrize("command", HOLD)
def test_a_condition_that_holds_ends_with_1_after_the_output(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*shlex.split(command), "--json", "--fail-if", HOLD[command]]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)
    assert printed.err.startswith(f"error: DS730: {HOLD[command]} holds: ")


def test_one_that_does_not_hold_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "gpt2-xl-8xa100", "--json"]
    assert main(words) == 0
    plain = capsys.readouterr()
    assert main([*words, "--fail-if", "mfu > 99%", "--fail-if", "not memory.fits"]) == 0
    assert capsys.readouterr() == plain


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_conditions_are_refused(
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "gpt2-xl-8xa100", "--fail-if", text]) == 2
    error = capsys.readouterr().err
    assert error.startswith(("error: DS731: ", "error: DS732: ")) and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
