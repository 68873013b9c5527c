"""From exceptions to exit codes and one clear message on standard error."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from distsim.cli.messages import message, plain
from distsim.errors import DistsimError, UsageError, nearest

#: Exit codes beyond those of `DistsimError`: sysexits.h, and 128 + signal as shells report it.
INTERNAL, INTERRUPTED, CLOSED_PIPE = 70, 130, 141


def guarded(command: Callable[[], object]) -> int:
    """Run a command and return its exit code; no traceback unless DISTSIM_DEBUG is set."""
    try:
        code = command()
        return code if isinstance(code, int) else 0
    except DistsimError as error:
        message("error", str(error))
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        plain(error.ctx.get_help())
        return 2
    except click.ClickException as error:
        message("error", str(_usage(error)))
        return 2
    except (click.Abort, KeyboardInterrupt):
        plain("interrupted")
        return INTERRUPTED
    except Exception as error:
        # The last net: whatever it is, a person gets one line and a way to report it.
        if os.environ.get("DISTSIM_DEBUG"):
            raise
        message("error", str(_internal(error)))
        return INTERNAL


def _usage(error: click.ClickException) -> UsageError:
    """Return a problem with the command line in the form of all others."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "distsim"
    text, fix = error.format_message(), f"see {command} --help"
    if isinstance(error, click.NoSuchOption):
        text = f"no such option {error.option_name}"
        known = [o for p in context.command.params for o in p.opts] if context else []
        near = nearest(error.option_name, known)
        fix = f"did you mean {near}? {fix}" if near else fix
    elif isinstance(error, UnknownCommand):
        near = nearest(error.word, error.known)
        fix = f"did you mean {command} {near}? {fix}" if near else fix
    rule = " ".join(context.command.collect_usage_pieces(context)) if context else ""
    return UsageError(
        "DS602",
        text[:1].lower() + text[1:].rstrip("."),
        rule=f"usage: {command} {rule}" if rule else "",
        fix=fix,
    )


def _internal(error: Exception) -> DistsimError:
    text = str(error).strip().split("\n")[0]
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return DistsimError(
        "DS699",
        f"an error in distsim, not in your input ({what[:200]}); "
        "run again with DISTSIM_DEBUG=1 and report the traceback with the scenario",
    )


class UnknownCommand(click.UsageError):
    """A word that is no command of a group."""

    def __init__(self, word: str, known: list[str], context: click.Context) -> None:
        super().__init__(f"no such command {word!r}", ctx=context)
        self.word = word
        self.known = known
