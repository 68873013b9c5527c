"""Transcripts of the command line, compared to the letter.

A transcript is a file ``*.txt`` beside this one. Its lines ``$ distsim ...`` are run in order,
here; what follows each is the standard output, the standard error marked ``2>``, and the exit
code. Write the commands of a new one into a file and run ``pytest --update-goldens``; then read
the difference before you commit it.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from distsim.cli import main
from distsim.files import shipped_directory

HERE = Path(__file__).parent
TRANSCRIPTS = sorted(HERE.glob("*.txt"))


def _replay(transcript: str, capsys: pytest.CaptureFixture[str]) -> str:
    out: list[str] = []
    for line in transcript.splitlines():
        if not line.startswith("$ distsim"):
            continue
        code = main(shlex.split(line.removeprefix("$ distsim")))
        result = capsys.readouterr()
        out += [line, *result.out.splitlines()]
        out += [f"2> {text}" for text in result.err.splitlines()]
        out += [f"[exit {code}]", ""]
    text = "\n".join(out).replace(str(HERE), "$PWD")
    return text.replace(str(shipped_directory("scenarios")), "$SCENARIOS")


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(HERE)
    expected = path.read_text(encoding="utf-8")
    actual = _replay(expected, capsys)
    if request.config.getoption("--update-goldens"):
        path.write_text(actual, encoding="utf-8")
    else:
        assert actual == expected, "if the change is meant: pytest --update-goldens"


def test_there_are_transcripts() -> None:
    assert {path.stem for path in TRANSCRIPTS} >= {
        "bad-input",
        "catalogues",
        "explain",
        "run",
        "usage",
    }
