"""Transcripts of the command line, compared to the letter.

A transcript is a file ``*.txt`` beside this one. Its lines ``$ distsim ...`` are run in order,
here; what follows each is the standard output, the standard error marked ``2>``, and the exit
code. ``NAME.txt`` is what goes into a pipe, ``NAME.80.txt`` and ``NAME.120.txt`` what a terminal
shows that is so wide. Write the commands of a new one into the files and run ``pytest
--update-goldens``; then read the difference before you commit it.
"""

from __future__ import annotations

import io
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import pytest
from rich.cells import cell_len

import distsim.measure
from distsim.cli import cli, main
from distsim.cli.group import Commands
from distsim.files import shipped_directory
from distsim.measure import Timings
from distsim.measure.cases import gemm, launch, memory
from distsim.measure.document import Measured, Skipped
from distsim.measure.timing import Timing

HERE = Path(__file__).parent
TRANSCRIPTS = sorted(HERE.glob("*.txt"))
WIDTHS = (80, 120)
#: What prints documents as they are.
RAW = ("--json", " schema", " completion", "topology import", "scenarios show")
#: Commands that run until they are stopped.
ENDLESS = {("serve",)}


class _Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _width(path: Path) -> int | None:
    """Return the width that the name of a transcript says; None for a pipe."""
    width = path.stem.rpartition(".")[2]
    return int(width) if width.isdecimal() else None


def _commands(transcript: str) -> list[str]:
    lines = transcript.splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ distsim")]


def _replay(transcript: str, width: int | None) -> str:
    lines: list[str] = []
    for command in _commands(transcript):
        kind = io.StringIO if width is None else _Terminal
        out, err = kind(), kind()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(shlex.split(command)[1:])
        lines += [f"$ {command}", *out.getvalue().splitlines()]
        lines += [f"2> {text}" for text in err.getvalue().splitlines()]
        lines += [f"[exit {code}]", ""]
    text = "\n".join(lines).replace(str(Path.cwd()), "$PWD")
    return text.replace(str(shipped_directory("scenarios")), "$SCENARIOS")


def _made_up(*_: object) -> Timings:
    """Return timings that no machine took."""
    timing = Timing(1e-3, 0.9e-3, 1.2e-3, 60, True)
    cases = (gemm(4096, 8192, 8192, "bf16"), memory("copy", 1024, 1024, "bf16"), launch())
    device = {"name": "NVIDIA H100 80GB HBM3", "kind": "cuda", "memory_bytes": 85_000_000_000}
    measured = tuple(Measured(case, timing) for case in cases)
    left_out = (Skipped(gemm(1, 2, 3, "bf16"), "out of memory"),)
    return Timings("2026-01-01", device, {"torch": "2.9"}, {}, measured, left_out, ())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work beside a copy of the inputs, with no machine to measure and no width but the one given.

    ``data`` leads to the files of real runs in tests/data.
    """
    shutil.copytree(HERE / "inputs", tmp_path / "inputs")
    (tmp_path / "data").symlink_to(HERE.parent / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(distsim.measure, "measure", _made_up)
    for name in ("COLUMNS", "NO_COLOR", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "dumb")  # no colours: what a person can read is compared
    yield tmp_path


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    width = _width(path)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    expected = path.read_text(encoding="utf-8")
    actual = _replay(expected, width)
    if request.config.getoption("--update-goldens"):
        path.write_text(actual, encoding="utf-8")
    else:
        assert actual == expected, "if the change is meant: pytest --update-goldens"


@pytest.mark.parametrize("path", [p for p in TRANSCRIPTS if _width(p)], ids=lambda path: path.stem)
def test_nothing_is_wider_than_the_terminal(path: Path) -> None:
    """Texts fit; so do errors, but for words (paths, names) that are longer than a line."""
    width, command, wide = _width(path), "", []
    assert width is not None
    for line in path.read_text(encoding="utf-8").splitlines():
        command = line if line.startswith("$ ") else command
        text = line.removeprefix("2> ")
        raw = any(word in command for word in RAW)
        if text is not command and cell_len(text) > width and not raw and " " in text.strip():
            wide.append(f"{command}: {text}")
    assert wide == []


def _leaves(group: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, and those of groups that do something themselves."""
    if not isinstance(group, click.Group):
        yield words
        return
    if group.invoke_without_command:
        yield words
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield from _leaves(found, (*words, name))


def _shown(width: int | None) -> set[tuple[str, ...]]:
    """Return the commands that transcripts of a width show."""
    known = set(_leaves(cli))
    found = set()
    for path in TRANSCRIPTS:
        if _width(path) == width:
            for command in _commands(path.read_text(encoding="utf-8")):
                words = tuple(shlex.split(command)[1:])
                found |= {
                    max((words[:n] for n in (1, 2) if words[:n] in known), default=(), key=len)
                }
    return found


@pytest.mark.parametrize("width", [None, *WIDTHS])
def test_every_command_has_a_transcript(width: int | None) -> None:
    assert set(_leaves(cli)) - ENDLESS <= _shown(width)


@pytest.mark.parametrize("path", [p for p in TRANSCRIPTS if _width(p) == 80], ids=lambda p: p.stem)
def test_both_widths_show_the_same_commands(path: Path) -> None:
    wide = path.with_name(path.name.replace(".80.", ".120."))
    assert _commands(path.read_text("utf-8")) == _commands(wide.read_text("utf-8"))


def test_groups_are_looked_into() -> None:
    leaves = set(_leaves(cli))
    assert {("topology", "draw"), ("models", "show"), ("models",), ("run",)} <= leaves
    assert isinstance(cli, Commands) and sys.stdout is not None
