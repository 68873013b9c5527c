"""Groups of commands that name the nearest one when a word is none of theirs."""

from __future__ import annotations

import click

from distsim.cli.guard import UnknownCommand


class Commands(click.Group):
    """A group whose unknown words become `UnknownCommand`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            raise UnknownCommand(word, self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, args)
