"""What only a process of its own shows: start-up, pipes, colours, signals, the last net."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = [sys.executable, "-m", "distsim"]


def _run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("DISTSIM_DEBUG", "NO_COLOR")}
    return subprocess.run(
        [*RUN, *argv],
        capture_output=True,
        text=True,
        env=env | environment,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("argv", [["--version"], ["--help"], ["run", "--help"]])
def test_heavy_modules_stay_out_of_start_up(argv: list[str]) -> None:
    script = (
        "import sys; from distsim.cli import main; main(sys.argv[1:]); "
        "heavy = {'numpy', 'pydantic', 'rich', 'simpy', 'networkx', 'yaml'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *argv], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_importing_the_package_imports_nothing_else() -> None:
    script = (
        "import sys; before = set(sys.modules); import distsim; print(set(sys.modules) - before)"
    )
    out = subprocess.check_output(
        [sys.executable, "-S", "-c", f"import sys; {script}"],
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "distsim.api" not in out and "importlib.metadata" not in out


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [*RUN, "explain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*RUN, "explain"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 2
    assert result.stderr.startswith("error: DS630: standard output cannot be written")
    assert "Exception ignored" not in result.stderr


def test_output_that_is_no_terminal_is_plain_and_the_same_in_every_environment() -> None:
    plain = _run("check", "gpt3-175b-1024xa100", COLUMNS="").stdout
    assert "\x1b" not in plain
    for name, value in (("COLUMNS", "wide"), ("FORCE_COLOR", "1"), ("TERM", "xterm-256color")):
        other = {"COLUMNS": "", name: value}
        assert _run("check", "gpt3-175b-1024xa100", **other).stdout == plain
    # A fact is a line, for grep; who gives a width gets it.
    assert len(next(line for line in plain.splitlines() if line.startswith("  plan "))) > 100
    narrow = _run("check", "gpt3-175b-1024xa100", COLUMNS="60").stdout
    assert max(map(len, narrow.splitlines())) <= 60
    assert narrow.split() == plain.split()


def test_a_terminal_without_block_characters_gets_others() -> None:
    result = _run("run", "gpt2-xl-8xa100", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii() and "####" in result.stdout


BREAK = (
    "import sys, distsim.api as api; api.load_any = lambda *a: 1 / 0; "
    "from distsim.cli import main; sys.exit(main(['run', 'x']))"
)


@pytest.mark.parametrize("debug", ["", "1"])
def test_an_error_of_ours_is_one_line_and_a_traceback_on_demand(debug: str) -> None:
    env = os.environ | {"DISTSIM_DEBUG": debug}
    result = subprocess.run(
        [sys.executable, "-c", BREAK], capture_output=True, text=True, env=env, check=False
    )
    if debug:
        assert "Traceback" in result.stderr
    else:
        assert result.returncode == 70
        assert result.stderr.startswith("error: DS699: ") and result.stderr.count("\n") == 1


def test_an_interrupt_ends_with_130() -> None:
    script = BREAK.replace("1 / 0", "(_ for _ in ()).throw(KeyboardInterrupt)")
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr.strip()) == (130, "interrupted")
