"""Help pages: every command has one, and every example in it works."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from itertools import takewhile
from pathlib import Path

import click
import pytest

from distsim.cli import COMMANDS, cli, main
from distsim.files import shipped_directory


def _command(*words: str) -> click.Command:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None, word
        command = found
    return command


def _help(*words: str) -> str:
    return inspect.cleandoc(_command(*words).help or "")


def _commands(*words: str) -> list[tuple[str, ...]]:
    """Return the words of a command and of all commands in it."""
    command = _command(*words)
    inner = (
        command.list_commands(click.Context(command)) if isinstance(command, click.Group) else []
    )
    return [words, *(line for name in inner for line in _commands(*words, name))]


#: Every command and every command of a group.
ALL = _commands()
PAGES = {" ".join(("distsim", *words)): _help(*words) for words in ALL}
EXAMPLES = sorted(
    {line for page in PAGES.values() for line in re.findall(r"^  distsim .*", page, re.M)}
)


#: Operator timings and a profile, made up.
TIMINGS = {
    "format": "distsim-timings/1",
    "date": "2026-01-01",
    "device": {"name": "made up", "kind": "cuda"},
    "versions": {},
    "timings": [
        {"kind": "gemm", "batch": 1, "m": m, "n": 4096, "k": 4096, "dtype": "bf16", "layout": "tn",
         "time_s": m * 5e-8, "low_s": m * 5e-8, "high_s": m * 5e-8, "repeats": 5}
        for m in (2048, 4096, 8192)
    ],
}  # fmt: skip
PROFILE = """
schema: 1
kind: profile
name: my-a100
device: a100-80gb-sxm
values: {device: {gemm_efficiency: {value: 0.7, low: 0.68, high: 0.72, source: made up}}}
"""
PRICES = """
schema: 1
kind: prices
name: ours
date: 2026-01-01
"""
CHANGES = """
schema: 1
kind: changes
changes: [{name: more memory bandwidth, device: {memory_bandwidth: 2}}]
"""
#: Takes minutes over all sources, so it runs on one.
LONG = ["validate"]

DATA = Path(__file__).parents[1] / "data"
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
    (tmp_path / "timings.json").write_text(json.dumps(TIMINGS))
    (tmp_path / "my-a100.yaml").write_text(PROFILE)
    own = shipped_directory("topologies") / "example-edge-list.yaml"
    (tmp_path / "mine.yaml").write_bytes(own.read_bytes())
    (tmp_path / "nccl.xml").write_bytes((DATA / "nccl" / "dgx-h100.xml").read_bytes())
    monkeypatch.chdir(tmp_path)
    words = [*takewhile(lambda word: word not in ("|", ">"), shlex.split(example))][1:]
    _beside(words, tmp_path, capsys)
    if words == LONG:
        words = [*words, "--source", "opt-2022"]
    if words[0] == "measure":
        pytest.importorskip("torch", reason="an extra")
    assert main(words) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


def _beside(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Make the files that an example names."""
    if "ours.yaml" in words:
        (folder / "ours.yaml").write_text(CHANGES if words[0] == "whatif" else PRICES)
    if words[0] == "diff":
        for name in ("before", "after"):
            (folder / f"{name}.yaml").write_bytes((folder / "my.yaml").read_bytes())
        assert main(["run", "my.yaml", "--json", "-o", "main.json"]) == 0
        (folder / "branch.json").write_bytes((folder / "main.json").read_bytes())
    if words[:2] == ["trace", "import"]:
        for name, source in (
            ("step.json.gz", "gpt-125m-h100.json.gz"),
            ("my.yaml", "gpt-125m.yaml"),
        ):
            (folder / name).write_bytes((DATA / "kineto" / source).read_bytes())
    if words[:2] == ["trace", "chakra"]:
        assert main(["run", "llama3-8b-8xh100-fp8", "--chakra", "traces"]) == 0
    capsys.readouterr()
    # What a shell does with a pattern.
    for i, word in enumerate(words):
        if "*" in word and " " not in word:
            words[i : i + 1] = sorted(str(p.relative_to(folder)) for p in folder.glob(word))


def test_every_option_is_explained() -> None:
    for words in ALL:
        for parameter in _command(*words).params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{words} {parameter.opts}"


def test_groups_are_looked_into() -> None:
    assert {words[0] for words in ALL if words} == set(COMMANDS)
    assert {("topology", "draw"), ("models", "show")} <= set(ALL)
