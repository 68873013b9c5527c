"""The reference of the command line, from the pages that ``--help`` shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import click

from distsim.cli import cli
from distsim.cli.group import Command, Commands
from distsim.cli.page import About, page_of
from distsim.cli.topics import TOPICS

#: Said once, of all commands.
_COMMON = "Common options"
_INTRODUCTION = """# Command line

Every command with its options, as `--help` shows them. `KEY=VALUE` of `--set` takes any key of a
[scenario](scenario.md). What an error code means is in [Error codes](../errors.md), and
`distsim explain CODE` prints it.
"""


def page() -> str:
    """Return the page, as Markdown."""
    topics = (line for name in TOPICS for line in _topic(name))
    return "\n".join([_INTRODUCTION, *_command(cli, None, "distsim"), "## Topics\n", *topics])


def _command(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    """Yield the section of a command, and those of the commands in it."""
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100)
    has_page = isinstance(command, Command | Commands)
    shown = command.page(context) if has_page else page_of(command, context, About(), [])
    depth = len(shown.name.split())
    yield f"{'#' * min(depth + 1, 4)} {shown.name}\n"
    yield f"{_text(shown.summary)}\n\n```text\n{shown.name} {shown.usage}\n```\n"
    yield from (f"{_text(p)}\n" for p in shown.text.split("\n\n") if p)
    for title, rows in shown.lists:
        if title != _COMMON or depth == 1:
            yield from _table(title, rows, shown.name)
    if shown.examples:
        yield "Examples:\n\n```bash\n" + "\n".join(shown.examples) + "\n```\n"
    if shown.see_also:
        yield "See also: " + ", ".join(map(_link, shown.see_also)) + ".\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _command(found, context, inner)


def _topic(name: str) -> Iterator[str]:
    topic = TOPICS[name]
    yield f"### distsim help {name}\n"
    yield f"{_text(topic.title)}\n"
    yield f"```text\n{topic.body.strip(chr(10))}\n```\n"


def _table(title: str, rows: Sequence[tuple[str, str]], name: str) -> Iterator[str]:
    """Yield a table of terms; names of commands become links to their sections."""
    commands = all(re.fullmatch(r"[a-z][a-z-]*", term) for term, _ in rows)
    yield f"| {title} | |\n|---|---|"
    for term, text in rows:
        shown = _link(f"{name} {term}") if commands else f"`{term}`"
        yield f"| {shown} | {_text(text)} |"
    yield ""


def _link(name: str) -> str:
    """Return a link to the section of a command, or to a page."""
    if name.startswith("docs/"):
        return name
    return f"[{name}](#{name.replace(' ', '-')})"


def _text(text: str) -> str:
    """Return a text in one line, in which Markdown finds nothing to interpret."""
    return re.sub(r"([*_<>\[\]#|])", r"\\\1", " ".join(text.split()))
