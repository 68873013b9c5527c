"""Files that commands write: whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from distsim.cli import main
from distsim.cli.output import write_file
from distsim.errors import UsageError


def _failing() -> Iterator[str]:
    yield "half a "
    raise KeyboardInterrupt


def test_a_file_appears_whole_with_the_usual_permissions(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    write_file(str(target), ["a", "b"])
    (tmp_path / "other").touch()
    assert target.read_text() == "ab"
    assert target.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("before", [None, "old"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, before: str | None) -> None:
    target = tmp_path / "out.json"
    if before is not None:
        target.write_text(before)
    with pytest.raises(KeyboardInterrupt):
        write_file(str(target), _failing())
    assert [p.read_text() for p in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_link_keeps_its_target_and_a_file_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_file(str(tmp_path / "link"), ["new"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_file(os.devnull, ["x"])
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize("name", ["", "-", ".", "missing/x", "a\0b"])
def test_targets_that_cannot_be(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        write_file(name, ["x"])
    assert caught.value.code == "DS630"
    assert list(tmp_path.iterdir()) == []


def test_run_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "p.json"
    assert main(["run", "--json", "gpt2-xl-8xa100", "-o", str(target)]) == 0
    assert target.read_text() == capsys.readouterr().out


def test_a_plan_that_does_not_fit_is_written_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "p.json"
    big = ["--set", "batch.micro_size=64"]
    assert main(["run", "gpt2-xl-8xa100", *big, "-o", str(target)]) == 1
    assert json.loads(target.read_text())["memory"]["fits"] is False
    assert "DS501: does not fit" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("run gpt2-xl-8xa100 -o /dev/full", "/dev/full cannot be written: no space left on device"),
        ("run gpt2-xl-8xa100 --trace /dev/full", "/dev/full cannot be written: no space left"),
        ("run gpt2-xl-8xa100 --html /dev/full", "/dev/full cannot be written: no space left"),
        ("run gpt2-xl-8xa100 --chakra /dev/full", "/dev/full cannot be written: it is a file"),
        ("whatif gpt2-xl-8xa100 -o .", ". cannot be written: it is a directory"),
        ("topology draw dgx-a100 -o none/x.svg", "none/x.svg cannot be written: its directory"),
        ("help --man-pages /dev/null/man1", "/dev/null/man1 cannot be written: not a directory"),
        ("sweep gpt2-xl-8xa100 -o full", "DS665: full has no ending of a table"),
    ],
)
def test_what_cannot_be_written_is_said(
    words: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: DS") and reason in error
    assert error.splitlines()[1].startswith("  rule: ")
    assert list(tmp_path.iterdir()) == []
