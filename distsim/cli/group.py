"""Commands and groups of them: their options, their pages, and words that are none of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from distsim.cli.guard import UnknownCommand
from distsim.cli.page import About, Page, Rows, page_of, page_text
from distsim.cli.settings import common_options

_HELP = ("-h", "--help")


class Command(click.Command):
    """A command with the common options and a page."""

    def __init__(self, *args: Any, about: About | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.about = about or About()
        self.params += common_options()

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Return both, in whatever context: click keeps the option of the first one."""
        return list(_HELP)

    def page(self, context: click.Context) -> Page:
        """Return the page."""
        return page_of(self, context, self.about, [])

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the page."""
        formatter.write(page_text(self.page(ctx), formatter.width))


class Commands(click.Group):
    """A group with the common options and a page, whose unknown words are `UnknownCommand`."""

    command_class = Command

    def __init__(self, *args: Any, about: About | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.about = about or About()
        self.params += common_options()

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Return both, as a `Command` does."""
        return list(_HELP)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            raise UnknownCommand(word, self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, args)

    def titles(self, ctx: click.Context) -> Sequence[tuple[str, Sequence[str]]]:
        """Return the commands under their titles."""
        return [("Commands", self.list_commands(ctx))]

    def summary(self, ctx: click.Context, name: str) -> str:
        """Return what a command does, in a line."""
        command = self.get_command(ctx, name)
        return command.get_short_help_str(limit=200) if command else ""

    def page(self, context: click.Context) -> Page:
        """Return the page."""
        lists: list[tuple[str, Rows]] = [
            (title, [(name, self.summary(context, name)) for name in names])
            for title, names in self.titles(context)
        ]
        return page_of(self, context, self.about, lists)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the page."""
        formatter.write(page_text(self.page(ctx), formatter.width))


def page_for(command: click.Command, context: click.Context) -> Page:
    """Return the page of any command."""
    if isinstance(command, Command | Commands):
        return command.page(context)
    return page_of(command, context, About(), [])
