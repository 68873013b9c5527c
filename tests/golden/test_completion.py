"""Completion: what it offers, in the shells themselves, and that it stays light."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distsim.cli import COMMANDS, cli, main
from distsim.cli.complete import CHOICES, choices
from distsim.cli.completion import SHELLS, VARIABLE
from distsim.files import shipped_directory, shipped_names
from distsim.schedule import REGISTRY
from distsim.study.money.prices import read_prices
from distsim.study.names import collectives
from distsim.workload.zoo import names as model_names

HERE = Path(__file__).parent
SCHEMA = HERE.parents[1] / "docs" / "schema" / "scenario.schema.json"
#: Keys of a scenario whose values are names of a list of their own.
_NAMED = {"model": "@model", "plan.schedule": "@schedule"}
_SHIPPED = {
    "cluster.topology": "topologies",
    "cluster.device": "devices",
    "cluster.library": "libraries",
    "stack": "stacks",
}


def _keys(schema: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the keys of scenarios with their dots, and what they may be where that is a list."""

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        name = node.get("$ref", "").rpartition("/")[2]
        return resolved(schema["$defs"][name]) if name else node

    def alternatives(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        node = resolved(node)
        yield node
        for one in (*node.get("anyOf", ()), *node.get("oneOf", ())):
            yield from alternatives(one)

    def walk(node: dict[str, Any], path: str) -> Iterator[tuple[str, list[str]]]:
        for name, value in node.get("properties", {}).items():
            key, forms = f"{path}{name}", list(alternatives(value))
            words = [str(word) for form in forms for word in form.get("enum", ())]
            if any(form.get("type") == "boolean" for form in forms):
                words += ["true", "false"]
            for form in forms:
                low, high = form.get("minimum", 0), form.get("maximum", 1000)
                words += map(str, range(low, high + 1)) if high - low < 8 else ()
            yield key, list(dict.fromkeys(words))
            for form in forms:
                yield from walk(form, f"{key}.")

    yield from walk(schema["$defs"]["Scenario"], "")


def _expected() -> str:
    """Return ``choices.txt``: a line for each list, its name first."""
    known = collectives()
    lists: dict[str, list[str]] = {
        "@model": list(model_names()),
        "@schedule": list(REGISTRY),
        "@collective": [name.replace("_", "-") for name in known],
        "@algorithm": ["auto", *dict.fromkeys(a for found in known.values() for a in found)],
        "@protocol": ["ll", "ll128", "simple"],
        "@region": sorted(read_prices().regions),
        "@currency": [read_prices().currency, *sorted(read_prices().rates.rates)],
        "@source": sorted(path.stem for path in shipped_directory("validation").glob("*.csv")),
    }
    for key, words in _keys(json.loads(SCHEMA.read_text(encoding="utf-8"))):
        named = lists.get(_NAMED.get(key, ""), [])
        shipped = shipped_names(_SHIPPED[key]) if key in _SHIPPED else ()
        lists.setdefault(key, []).extend(dict.fromkeys([*words, *named, *shipped]))
    return "".join(" ".join([name, *words]) + "\n" for name, words in lists.items())


def test_the_lists_are_those_of_the_program(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-goldens"):
        CHOICES.write_text(_expected(), encoding="utf-8")
        choices.cache_clear()
    assert CHOICES.read_text(encoding="utf-8") == _expected()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("my.yaml", "mine.yml", "my.log", "nccl.xml", ".hidden.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "inner.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _offered(line: str, monkeypatch: pytest.MonkeyPatch, shell: str = "zsh") -> list[str]:
    """Return what is offered at the end of a line, as the shell's script gets it."""
    words = line.split(" ")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
    found = SHELLS[shell](cli, {}, "distsim", VARIABLE).complete()
    return [text.partition("\t")[0] for text in found.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("distsim topo", ["topology", "topologies"]),
        ("distsim topology dr", ["draw"]),
        ("distsim run gpt3-175b-10", ["gpt3-175b-1024xa100"]),
        ("distsim run m", ["megatron-1t-3072xa100", "my.yaml", "mine.yml", "more/"]),
        ("distsim run more/", ["more/inner.yaml"]),
        ("distsim run .h", [".hidden.yaml"]),
        ("distsim run my.yaml --set plan.t", ["plan.tp="]),
        ("distsim run my.yaml --set plan.recompute=s", ["plan.recompute=selective"]),
        ("distsim sweep my.yaml --set plan.recompute=none,f", ["plan.recompute=none,full"]),
        ("distsim run my.yaml --set plan.sequence_parallel=t", ["plan.sequence_parallel=true"]),
        ("distsim run my.yaml --set model=gpt2-x", ["model=gpt2-xl"]),
        ("distsim run my.yaml --set cluster.topology=gb300-nvl72-s", 1),
        ("distsim run my.yaml --eval", ["--evaluator"]),
        ("distsim run my.yaml --evaluator g", ["graph"]),
        ("distsim models show llama3-40", ["llama3-405b"]),
        ("distsim devices show a100-40", ["a100-40gb-sxm"]),
        ("distsim schedule show zb-", ["zb-h1", "zb-h2", "zb-v"]),
        ("distsim collective all-r", ["all-reduce"]),
        ("distsim collective all-reduce --algorithm nvls_", ["nvls_tree"]),
        ("distsim topology import n", ["nccl.xml"]),
        ("distsim calibrate --device a100-40", ["a100-40gb-sxm"]),
        ("distsim calibrate m", ["my.log", "more/"]),
        ("distsim validate --source korth", ["korthikanti-2022"]),
        ("distsim explain ds30", [f"DS30{n}" for n in range(1, 10)]),
        ("distsim cost my.yaml --region fr", ["france"]),
        ("distsim help topology dr", ["draw"]),
        ("distsim help quant", ["quantities"]),
        ("distsim completion f", ["fish"]),
        ("distsim schema sc", ["scenario"]),
        ("distsim run no-such-thing", []),
        ("distsim run /no/such/directory/x", []),
        ("distsim run my.yaml --set no.such=", []),
    ],
)
def test_what_is_offered(
    line: str, expected: list[str] | int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shell in ("zsh", "fish"):
        found = _offered(line, monkeypatch, shell)
        if isinstance(expected, int):
            assert len(found) == expected
        else:
            assert set(expected) <= set(found) if line.endswith(" m") else found == expected


def test_every_command_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(_offered("distsim ", monkeypatch)) == set(COMMANDS)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{VARIABLE}={shell}_complete distsim" in script
    program = shutil.which(shell)
    if program is not None:  # the shell itself says whether it can read it
        subprocess.run([program, "-n"], input=script, text=True, check=True)


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which `distsim` is this one."""
    script = folder / "bin" / "distsim"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m distsim "$@"\n')
    script.chmod(0o755)
    found = {k: v for k, v in os.environ.items() if not k.startswith("COMP_")}
    root = str(HERE.parents[1])
    return found | {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": root}


def _in_bash(line: str, environment: dict[str, str]) -> list[str]:
    """Return what bash has after a tab at the end of a line: it breaks words at = and :."""
    words = " ".join(f"'{word}'" for word in line.replace("=", " = ").split(" ") if word)
    words += " ''" if line.endswith((" ", "=")) else ""
    code = f"""
source <(distsim completion bash)
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}
compopt() {{ echo "compopt $*"; }}
_distsim_completion
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.splitlines()


def test_bash_completes(environment: dict[str, str]) -> None:
    assert _in_bash("distsim topology d", environment) == ["draw"]
    assert _in_bash("distsim run my.yaml --set plan.t", environment) == [
        "compopt -o nospace",
        "plan.tp=",
    ]
    # What stands before the = is a word of its own to bash, and stays.
    found = _in_bash("distsim run my.yaml --set plan.recompute=", environment)
    assert found == ["none", "selective", "alternate", "full"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes(environment: dict[str, str]) -> None:
    code = """
autoload -U compinit; compinit -u -D
source <(distsim completion zsh)
_describe() { print -l -- "${(@)shown}"; }
compadd() { print -l -- open "${(@)open}"; }
words=(distsim topology d); CURRENT=3; _distsim_completion
words=(distsim run my.yaml --set plan.t); CURRENT=5; _distsim_completion
"""
    done = subprocess.run(
        ["zsh", "-f", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["draw:Draw a topology.", "open", "plan.tp="]


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes(environment: dict[str, str]) -> None:
    code = "distsim completion fish | source; complete -C 'distsim topology d'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "draw\tDraw a topology.\n"


@pytest.mark.parametrize("words", ["distsim ru", "distsim run g", "distsim run x --set plan.t"])
def test_completion_imports_nothing_that_evaluates(words: str) -> None:
    script = (
        "import sys; from distsim.cli import main\n"
        "try: main([])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pydantic', 'rich', 'simpy', 'networkx', 'yaml', 'distsim.api'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    given = {VARIABLE: "zsh_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
