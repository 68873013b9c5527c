"""What all commands take: ``--quiet``, ``--verbose`` and ``--color``."""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TextIO

import click


@dataclass(frozen=True, slots=True)
class Settings:
    """How a command speaks.

    Attributes
    ----------
    quiet : bool
        No progress and no notes on standard error.
    verbose : bool
        What is done, and how long it took, on standard error.
    color : str
        ``auto``, ``always`` or ``never``.
    """

    quiet: bool = False
    verbose: bool = False
    color: str = "auto"


_DEFAULT = Settings()
_current: ContextVar[Settings] = ContextVar("settings", default=_DEFAULT)


def settings() -> Settings:
    """Return how the command that runs speaks."""
    return _current.get()


def reset() -> None:
    """Forget what an earlier command in this process was told."""
    _current.set(Settings())


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; a closed one is none."""
    return stream is not None and not stream.closed and stream.isatty()


def is_lively(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that can write over what it wrote."""
    return is_terminal(stream) and os.environ.get("TERM", "") not in ("dumb", "unknown")


def is_colored(stream: TextIO | None) -> bool:
    """Return whether a stream gets colours: ``--color``, then NO_COLOR, then if it has them."""
    wanted = settings().color
    if wanted != "auto":
        return wanted == "always"
    return not os.environ.get("NO_COLOR") and is_lively(stream)


def width_of(stream: TextIO | None) -> int | None:
    """Return the columns of a text: COLUMNS, then the terminal's; None where there is no limit."""
    import shutil

    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


def _take(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Note an option, at whatever command of the line it stands; the last one counts."""
    name = parameter.name
    source = context.get_parameter_source(name) if name else None
    if name and source is not click.core.ParameterSource.DEFAULT:
        _current.set(replace(_current.get(), **{name: value}))
    return value


#: Options of every command.
COMMON = ("quiet", "verbose", "color")


def common_options() -> list[click.Option]:
    """Return the options that every command takes."""

    def option(*names: str, help: str, **how: Any) -> click.Option:
        return click.Option(names, help=help, expose_value=False, callback=_take, **how)

    return [
        option("-q", "--quiet", is_flag=True, help="Show no progress and no notes."),
        option(
            "-v",
            "--verbose",
            is_flag=True,
            help="Say on standard error what is done, and how long it took.",
        ),
        option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            show_default=True,
            help="Colours and bold text: auto is on a terminal without NO_COLOR.",
        ),
    ]
