"""Runs the blocks of one page in one directory, as a reader would.

A command line that is nothing but ``distsim ...`` runs in this process, with its two outputs in
one; everything else that a reader may type (``cat``, pipes, ``python job.py``) runs in bash, which
finds `distsim` and `python` of this environment.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from distsim.cli import main
from tests.docs.blocks import ROOT, Block, blocks, inputs
from tests.docs.compare import matches, trimmed

#: What ends a command of a page that fails on purpose.
_EXIT = re.compile(r"\s+#.*\bexit code (\d+)$")
#: Characters that only a shell understands.
_SHELL = re.compile(r"[|&;<>`*?]|\$[({A-Za-z?]|^\w+=")


@dataclass(frozen=True, slots=True)
class Difference:
    """What a page shows in the lines (from, to) and what was printed instead."""

    where: str
    lines: tuple[int, int]
    shown: tuple[str, ...]
    printed: tuple[str, ...]

    def __str__(self) -> str:
        """Return both texts, one below the other."""
        return "\n".join(
            [f"{self.where} shows", *self.shown, "", "and this was printed", *self.printed]
        )


class Failure(AssertionError):
    """A block that could not be run as it stands."""


class Reader:
    """The blocks of a page, run one after another in `directory`."""

    def __init__(self, page: Path, directory: Path) -> None:
        self.page, self.directory = page, directory
        self.names: dict[str, Any] = {"__name__": "__main__"}
        for path in inputs(page):
            target = directory / path.name
            if path.is_dir():
                target.symlink_to(path)
            else:
                target.write_bytes(path.read_bytes())

    def run(self) -> list[Difference]:
        """Run all blocks and return where the page is wrong.

        Raises
        ------
        Failure
            Where a command has another exit code than the page says, or Python code fails.
        """
        found: list[Difference] = []
        all_blocks = blocks(self.page)
        with self._inside():
            for block, after in zip_longest(all_blocks, all_blocks[1:]):
                if block.title and not block.not_run:
                    (self.directory / block.title).parent.mkdir(parents=True, exist_ok=True)
                    (self.directory / block.title).write_text(block.text, encoding="utf-8")
                elif block.not_run:
                    continue
                elif block.info in ("console", "bash", "sh"):
                    found += self._commands(block)
                elif block.info == "pycon":
                    found += self._doctest(block)
                elif block.info == "python":
                    found += self._python(block, after)
        return found

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Work in the directory, with a cache of its own and the programs of this environment."""
        programs = self.directory.parent / f"{self.directory.name}-programs"
        programs.mkdir(exist_ok=True)
        for name, words in {"distsim": "-m distsim", "python": ""}.items():
            script = programs / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
            script.chmod(0o755)
        changes = {
            "XDG_CACHE_HOME": str(programs / "cache"),
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        before, old = os.getcwd(), {key: os.environ.get(key) for key in changes}
        os.chdir(self.directory)
        os.environ.update(changes)
        try:
            yield
        finally:
            os.chdir(before)
            for key, value in old.items():
                os.environ.pop(key, None) if value is None else os.environ.update({key: value})

    def _commands(self, block: Block) -> list[Difference]:
        found = []
        for command in block.commands():
            where = f"{block.page.relative_to(ROOT)}:{command.line + 1}"
            printed, code = run(command.text)
            shown = any(line.startswith("error: ") for line in command.expected)
            self._check_exit(where, command.text, printed, code, shown)
            if block.info == "console" and not matches(command.expected, printed):
                found.append(Difference(where, command.output, command.expected, tuple(printed)))
        return found

    @staticmethod
    def _check_exit(where: str, text: str, printed: list[str], code: int, shown: bool) -> None:
        """Hold a command to the exit code that the page gives it, or to an error that it shows."""
        said = _EXIT.search(text)
        failed = shown and any(line.startswith("error: ") for line in printed)
        right = code == int(said[1]) if said else (code in (1, 2) if failed else code == 0)
        if not right:
            raise Failure("\n".join([f"{where}: exit code {code} of {text}", *printed]))

    def _python(self, block: Block, after: Block | None) -> list[Difference]:
        out = io.StringIO()
        code = compile("\n" * block.line + block.text, str(block.page), "exec")
        with redirect_stdout(out):
            exec(code, self.names)
        printed = out.getvalue().splitlines()
        shows = after is not None and after.info == "text" and after.follows
        if after is None or not shows:
            if printed:
                text = "\n".join(printed)
                raise Failure(f"{block.where}: no text block shows what it prints:\n{text}")
            return []
        shown = after.text.splitlines()
        if matches(shown, printed):
            return []
        lines = (after.line, after.line + len(shown))
        return [Difference(after.where, lines, tuple(shown), tuple(printed))]

    def _doctest(self, block: Block) -> list[Difference]:
        found = []
        for example in doctest.DocTestParser().get_examples(block.text):
            out = io.StringIO()
            code = compile(example.source, block.where, "single")
            with redirect_stdout(out):
                exec(code, self.names)
            shown, printed = example.want.splitlines(), trimmed(out.getvalue().splitlines())
            if not matches(shown, printed):
                begin = block.line + example.lineno + example.source.count("\n")
                where = f"{block.page.relative_to(ROOT)}:{begin}"
                lines = (begin, begin + len(shown))
                found.append(Difference(where, lines, tuple(shown), tuple(printed)))
        return found


def run(command: str) -> tuple[list[str], int]:
    """Run a command line; return the lines that it prints, and its exit code."""
    text = _EXIT.sub("", command)
    bare = re.sub(r"'[^']*'", "", text)
    command, _, target = text.rpartition(" > ")
    if command.startswith("distsim ") and not _SHELL.search(re.sub(r" > \S+$", "", bare)):
        out, err, code = _in_process(command, apart=True)
        Path(target).write_text(out, encoding="utf-8")
        return trimmed(err.splitlines()), code
    if text.startswith("distsim ") and not _SHELL.search(bare):
        out, _, code = _in_process(text)
        return trimmed(out.splitlines()), code
    done = subprocess.run(
        ["bash", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return trimmed(done.stdout.decode("utf-8").splitlines()), done.returncode


def _in_process(text: str, apart: bool = False) -> tuple[str, str, int]:
    raw = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(r, encoding="utf-8", write_through=True) for r in raw)
    with redirect_stdout(out), redirect_stderr(err if apart else out):
        code = main(shlex.split(text, comments=True)[1:])
    return raw[0].getvalue().decode("utf-8"), raw[1].getvalue().decode("utf-8"), code
