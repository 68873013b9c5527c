"""The fenced blocks of the project's Markdown pages, and what is done with each.

What a block is stands in its info string:

========== =====================================================================================
info       what the tests do
========== =====================================================================================
console    ``$ command`` lines are run, what follows each is compared with what it prints
bash, sh   every line is a command; all are run, nothing is compared
python     is run; a ``text`` block right after it is compared with what it prints
pycon      ``>>>`` lines are run, what follows is compared, as doctest does
yaml       is read; keys of a scenario are checked against the JSON Schema of scenarios
csv, json  is read
usage      every option named exists
text       is a formula, a drawing or a table: nothing
========== =====================================================================================

A block with ``title="FILE"`` is written to that file first, so that later commands find it. HTML
comments right before a block say the rest: ``<!-- not run: REASON -->`` with a reason of `REASONS`.
A page with ``<!-- with: PATH ... -->`` has copies of these files of the project (of all files of a
directory) in the directory that it runs in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
#: Pages whose blocks count; docs/errors.md is written by the code it documents.
PAGES = tuple(
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))
    if path.name != "errors.md"
)
#: Why a command may stand in a page without being run.
REASONS = {
    "installs packages",
    "needs several GPUs",
    "the times of one machine",
    "runs until it is stopped",
}
RUN = {"console", "bash", "sh", "python", "pycon"}
SHOWN = {"yaml", "csv", "json", "usage", "text"}

_TITLE = re.compile(r'\btitle="([^"]+)"')
_NOT_RUN = re.compile(r"<!-- not run: (.*?) -->")
_WITH = re.compile(r"<!-- with: (.*?) -->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a block, with the lines (from, to) of its output in the page."""

    text: str
    line: int
    expected: tuple[str, ...]
    output: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `line` is that of its first content, counted from 0."""

    page: Path
    info: str
    line: int
    text: str
    title: str = ""
    not_run: str = ""
    #: Whether nothing but blank lines lies between the block before and this one.
    follows: bool = False

    @property
    def where(self) -> str:
        """Return the page and the line, as editors read them."""
        return f"{self.page.relative_to(ROOT)}:{self.line + 1}"

    def commands(self) -> list[Command]:
        """Return the commands of a console or shell block in their order."""
        found: list[Command] = []
        lines = self.text.splitlines()
        at = 0
        while at < len(lines):
            begin, words = at, lines[at]
            while words.endswith("\\"):
                at += 1
                words = f"{words[:-1].rstrip()} {lines[at].strip().removeprefix('> ')}"
            at += 1
            if self.info != "console":
                if words.strip() and not words.startswith("#"):
                    found.append(Command(words, self.line + begin, (), (0, 0)))
                continue
            assert words.startswith("$ "), f"{self.where}: {words!r} is no '$ command'"
            start = at
            while at < len(lines) and not lines[at].startswith("$ "):
                at += 1
            found.append(
                Command(
                    words.removeprefix("$ "),
                    self.line + begin,
                    tuple(lines[start:at]),
                    (self.line + start, self.line + at),
                )
            )
        return found


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order.

    Raises
    ------
    AssertionError
        Where a block is indented instead of fenced, so that nobody knows what it is.
    """
    return list(_blocks(page, page.read_text(encoding="utf-8")))


def _blocks(page: Path, text: str) -> Iterator[Block]:
    lines = text.splitlines()
    last = 0
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.map is None or token.type not in ("fence", "code_block"):
            continue
        first, end = token.map
        where = f"{page.relative_to(ROOT)}:{first + 1}"
        assert token.type == "fence", f"{where}: indented code; use a fence that says what it is"
        info = (token.info.split() or [""])[0]
        title, reason = _TITLE.search(token.info), _NOT_RUN.fullmatch(lines[first - 1].strip())
        yield Block(
            page,
            info,
            first + 1,
            token.content,
            title=title[1] if title else "",
            not_run=reason[1] if reason else "",
            follows=first > last > 0 and not "".join(lines[last:first]).strip(),
        )
        last = end


def inputs(page: Path) -> list[Path]:
    """Return the files of the project that a page works with."""
    found = _WITH.findall(page.read_text(encoding="utf-8"))
    paths = [ROOT / word for names in found for word in names.split()]
    return [f for p in paths for f in (sorted(p.iterdir()) if p.is_dir() else [p])]
