"""Help pages: every command has one, and every example in it works."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
from itertools import takewhile
from pathlib import Path

import click
import pytest
from rich.cells import cell_len

from distsim.cli import COMMANDS, cli, main
from distsim.cli.group import page_for
from distsim.cli.page import About, Page, page_text
from distsim.cli.roff import page_roff
from distsim.cli.topics import TOPICS
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
    {
        line
        for page in PAGES.values()
        for line in re.findall(r"^  distsim .*", page, re.M)
        if not line.startswith("  distsim serve")  # it runs until it is stopped: tests/serve
    }
)
EXAMPLES += [
    line
    for topic in TOPICS.values()
    for line in re.findall(
        r"(?:^| {2})(distsim (?:run|check|diff|schema|scenarios) .*)", topic.body, re.M
    )
]


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
CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 256,
}
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
    assert re.search(r"Examples:\n  .*distsim", PAGES[name])


def _page(words: tuple[str, ...]) -> Page:
    command, context = _command(*words), click.Context(cli, info_name="distsim")
    for n, word in enumerate(words):
        context = click.Context(_command(*words[: n + 1]), parent=context, info_name=word)
    return page_for(command, context)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
@pytest.mark.parametrize("width", [80, 120])
def test_pages_fit(words: tuple[str, ...], width: int) -> None:
    text = page_text(_page(words), width - 2)  # click leaves two columns
    for line in text.splitlines():
        assert cell_len(line) <= width, line
        assert line == line.rstrip() and "\b" not in line


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_pages_say_all_that_there_is(words: tuple[str, ...]) -> None:
    """Every argument and option, once; sections and other pages that exist."""
    page, command = _page(words), _command(*words)
    assert page.summary.endswith(".") and len(page.summary) <= 76
    listed = dict(page.lists)
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    assert len(listed.get("Arguments", [])) >= len(arguments) - 1  # [FILE]... is that of --from
    assert bool(arguments) == ("Arguments" in listed)
    terms = [term for title, rows in page.lists for term, _ in rows if term.startswith("-")]
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert len(terms) == len(set(terms)) == len(options) + 1  # --help
    names = {p.name for p in command.params}
    about = getattr(command, "about", About())
    for section in (about.sections or {}).values():
        assert set(section) <= names
    for name in page.see_also:
        if name.startswith("docs/"):
            assert (DATA.parents[1] / name).is_file(), name
        elif name.startswith("distsim help "):
            assert name.removeprefix("distsim help ") in TOPICS
        else:
            _command(*name.split()[1:])
    assert [code for code, _ in listed["Exit codes"]][:1] == ["0"]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_man_pages_say_the_same(words: tuple[str, ...]) -> None:
    page = _page(words)
    roff = page_roff(page, "1.0")
    plain = re.sub(r"\\f[BR]|\\&", "", roff).replace("\\-", "-").replace("\\e", "\\")
    assert plain.startswith(f'.TH "{page.name.upper().replace(" ", "-")}" "1"')
    for _, rows in page.lists:
        for term, text in rows:
            assert f"\n{term}\n{text}" in plain
    for example in page.examples:
        assert f"\n{example}\n" in plain
    assert not re.search(r"(?<!\\)--", roff)  # such ones turn into dashes, which no shell takes
    # A line that begins with a dot is an instruction: these are all there are.
    found = {line.split()[0] for line in roff.splitlines() if line.startswith(".")}
    assert found <= {".TH", ".SH", ".PP", ".TP", ".nf", ".fi"}


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_man_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "distsim-plan.1"
    path.write_text(page_roff(_page(("plan",)), "1.0"), encoding="utf-8")
    done = subprocess.run(
        ["man", "--warnings=w", "-l", str(path)],
        env=os.environ | {"MANPAGER": "cat", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    assert "SYNOPSIS\n       distsim plan [OPTIONS] SCENARIO\n" in done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=str.strip)
def test_examples_work(
    example: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shipped = shipped_directory("scenarios") / "gpt3-175b-1024xa100.yaml"
    (tmp_path / "my.yaml").write_bytes(shipped.read_bytes())
    for name in ("nccl.log", "n.log"):
        (tmp_path / name).write_text(NCCL_LOG)
    (tmp_path / "timings.json").write_text(json.dumps(TIMINGS))
    (tmp_path / "my-a100.yaml").write_text(PROFILE)
    own = shipped_directory("topologies") / "example-edge-list.yaml"
    (tmp_path / "mine.yaml").write_bytes(own.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
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
    if words[0] == "diff" or "a.json" in words:
        for name in ("before", "after"):
            (folder / f"{name}.yaml").write_bytes((folder / "my.yaml").read_bytes())
        assert main(["run", "my.yaml", "--json", "-o", "main.json"]) == 0
        for name in ("branch", "a", "b"):
            (folder / f"{name}.json").write_bytes((folder / "main.json").read_bytes())
    if words[:2] == ["trace", "import"]:
        for name, source in (
            ("step.json.gz", "gpt-125m-h100.json.gz"),
            ("my.yaml", "gpt-125m.yaml"),
        ):
            (folder / name).write_bytes((DATA / "kineto" / source).read_bytes())
    if words[:2] == ["trace", "chakra"]:
        assert main(["run", "gpt2-xl-8xa100", "--chakra", "traces"]) == 0
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
