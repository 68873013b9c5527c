"""The layers, and the rules that keep each of them small and its results the same every time."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "distsim"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {str(f.relative_to(PACKAGE)): ast.parse(f.read_text(encoding="utf-8")) for f in FILES}

MOST_LINES_OF_A_FILE = 420
MOST_LINES_OF_A_FUNCTION = 60


def _calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the dotted name and the line of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the module and the line of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.lineno


def test_each_layer_imports_only_layers_below_it() -> None:
    # A process of its own, so that it reads the checkout and not what the tests have imported.
    script = "from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True))"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_the_command_line_prints_exits_or_writes() -> None:
    forbidden = {"print", "exit", "quit", "sys.exit", "os._exit", "input"}
    found = [
        f"{name}:{line} {call}"
        for name, tree in TREES.items()
        if not name.startswith(("cli/", "__main__"))
        for call, line in _calls(tree)
        if call in forbidden or call.startswith(("sys.stdout", "sys.stderr"))
        or call.endswith((".write_text", ".write_bytes", "click.echo"))
    ]  # fmt: skip
    assert found == []


def test_nothing_depends_on_the_clock_on_chance_or_on_the_network() -> None:
    clocks = {"time", "random", "secrets", "uuid", "socket", "urllib", "http", "ssl"}
    exempt = {"measure/clock.py"}  # it times real operators: what it finds is input, not prediction
    found = [
        f"{name}:{line} {module}"
        for name, tree in TREES.items()
        for module, line in _imports(tree)
        if module.split(".")[0] in clocks and name not in exempt
    ]
    # Dates that are given are counted on from; none is taken from a clock.
    found += [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and name not in exempt
        and ast.unparse(node.func).endswith((".today", ".now", ".utcnow", ".fromtimestamp"))
    ]  # fmt: skip
    assert found == []


def test_numbers_of_chance_come_from_a_generator_with_a_seed() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).startswith(("np.random.", "numpy.random."))
        and not (ast.unparse(node.func).endswith("default_rng") and node.args)
    ]
    assert found == []


def test_simpy_stays_in_the_engine_and_networkx_in_hardware() -> None:
    home = {"simpy": "engine", "networkx": "hardware", "pydantic": "scenario", "rich": "report"}
    found = [
        f"{name}:{line} {module}"
        for name, tree in TREES.items()
        for module, line in _imports(tree)
        if (place := home.get(module.split(".")[0])) and not name.startswith((place, "cli/output"))
    ]
    assert found == []


def test_asserts_are_no_checks_of_input() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert) and node.msg is None
    ]
    assert found == []


@pytest.mark.parametrize("name", TREES)
def test_files_and_functions_are_short(name: str) -> None:
    text = (PACKAGE / name).read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES_OF_A_FILE
    long = {
        node.name: lines
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := _body_lines(node)) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    first = function.body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_text else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_every_package_says_what_it_is_for() -> None:
    missing = [name for name, tree in TREES.items() if ast.get_docstring(tree) is None]
    assert missing == []


def test_the_public_names_are_those_of_the_facade() -> None:
    import distsim

    for name in distsim.__all__:
        assert getattr(distsim, name) is not None
    assert set(distsim.__all__) == set(distsim._HOMES) | {"__version__"}
    assert set(dir(distsim)) == set(distsim.__all__)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        distsim.simulat  # noqa: B018
