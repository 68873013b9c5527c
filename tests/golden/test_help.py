"""Help pages: every command has one, and every example in it works."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import click
import pytest

from distsim.cli import COMMANDS, cli, main
from distsim.files import shipped_directory


def _help(*words: str) -> str:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None, word
        command = found
    return inspect.cleandoc(command.help or "")


PAGES = {name: _help(name) for name in COMMANDS} | {"distsim": _help()}
EXAMPLES = sorted(
    {line for page in PAGES.values() for line in re.findall(r"^  distsim .*", page, re.M)}
)


#: Two rows of nccl-tests, made up.
NCCL_LOG = """
#       size         count      type   redop    root     time   algbw   busbw #wrong
     1048576        262144     float     sum      -1    45.10   23.25   40.69      0
  1073741824     268435456     float     sum      -1   4000.1  268.43  469.75      0
"""


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_examples(name: str) -> None:
    assert "Examples:\n  distsim" in PAGES[name]


@pytest.mark.parametrize("example", EXAMPLES, ids=str.strip)
def test_examples_work(
    example: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shipped = shipped_directory("scenarios") / "gpt3-175b-1024xa100.yaml"
    (tmp_path / "my.yaml").write_bytes(shipped.read_bytes())
    (tmp_path / "nccl.log").write_text(NCCL_LOG)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(re.split(r" [|>] ", example)[0])[1:]
    assert main(words) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


def test_every_option_is_explained() -> None:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"
