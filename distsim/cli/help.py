"""``distsim help``: pages of commands and of what they share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from distsim.cli.group import Command, Commands, page_for
from distsim.cli.page import About
from distsim.cli.topics import TOPICS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _complete(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    group, _ = _found(tuple(context.params.get("words") or ()))
    names: list[str] = []
    if isinstance(group, Commands):
        names = group.list_commands(click.Context(group))
        names += TOPICS if group.name == "cli" else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _found(words: tuple[str, ...]) -> tuple[click.Command, click.Context]:
    """Return the command that words name."""
    from distsim.cli import cli

    command: click.Command = cli
    context = click.Context(cli, info_name="distsim", **cli.context_settings)
    for word in words:
        if not isinstance(command, Commands):
            raise click.UsageError(f"{context.command_path} has no commands", context)
        name, found, _ = command.resolve_command(context, [word])
        if found is None:  # an option
            raise click.UsageError(f"{word} is no command", context)
        command, context = found, click.Context(found, parent=context, info_name=name)
    return command, context


@click.command(
    cls=Command,
    about=About(
        arguments={
            "COMMAND": "Words of a command, such as topology draw.",
            "TOPIC": f"One of {', '.join(TOPICS)}.",
        },
        see_also=("explain", "completion"),
    ),
)
@click.argument("words", metavar="[COMMAND...|TOPIC]", nargs=-1, shell_complete=_complete)
@click.option(
    "--man-pages",
    "directory",
    metavar="DIR",
    help="Write a man page of every command there, distsim-plan.1 and so on, in place of showing "
    "one; ~/.local/share/man/man1 is where man looks.",
)
def help(words: tuple[str, ...], directory: str | None) -> None:
    """Show the page of a command, or of a topic that commands share.

    Without a word it shows all commands. The page of a command is that of
    COMMAND --help.

    \b
    Examples:
      distsim help plan
      distsim help topology draw
      distsim help quantities
      distsim help --man-pages man1
    """
    from distsim.cli.output import print_raw

    if directory is not None:
        if words:
            raise click.UsageError("--man-pages writes those of all commands, and one is named")
        print_raw(f"{directory}: {_write_pages(directory):,} man pages\n")
    elif words and words[0] in TOPICS:
        if words[1:]:
            raise click.UsageError(f"{words[0]} is a topic, and has no {words[1]}")
        print_raw(TOPICS[words[0]].text())
    else:
        print_raw(_found(words)[1].get_help() + "\n")


def _write_pages(directory: str) -> int:
    """Write the man pages of all commands, and return how many they are."""
    import os

    from distsim import __version__
    from distsim.cli.output import cannot_write, write_file
    from distsim.cli.roff import page_roff

    pages = [page_for(command, context) for command, context in _all(())]
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise cannot_write(directory, error.strerror or str(error)) from None
    for page in pages:
        name = f"{page.name.replace(' ', '-')}.1"
        write_file(os.path.join(directory, name), [page_roff(page, __version__)])
    return len(pages)


def _all(words: tuple[str, ...]) -> Iterator[tuple[click.Command, click.Context]]:
    """Yield a command and all commands in it."""
    command, context = _found(words)
    yield command, context
    if isinstance(command, Commands):
        for name in command.list_commands(context):
            yield from _all((*words, name))
