"""Errors, warnings and notes on standard error, in the width and the colours of a terminal."""

from __future__ import annotations

import re
import sys
import textwrap
from contextlib import suppress

import click

from distsim.cli.settings import is_colored, settings, width_of
from distsim.cli.waiting import hide

_COLORS = {"error": "red", "warning": "yellow", "note": "cyan"}


def message(kind: str, text: str) -> None:
    """Write ``KIND: text``.

    Parameters
    ----------
    kind : {"error", "warning", "note"}
        Notes are not for those who ask for quiet.
    text : str
        Further lines of it say more; each begins with two blanks.
    """
    if kind == "note" and settings().quiet:
        return
    lines = f"{kind}: {text}".split("\n")
    width = width_of(sys.stderr)
    if width is not None:
        lines = [part for line in lines for part in _wrapped(line, width)]
    shown = "\n".join(lines)
    head = click.style(f"{kind}:", fg=_COLORS[kind], bold=True)
    plain(head + shown.removeprefix(f"{kind}:"))


def plain(text: str) -> None:
    """Write a text as it is."""
    hide()
    with suppress(OSError):  # nobody listens
        click.echo(text, err=True, color=is_colored(sys.stderr))


def _wrapped(line: str, width: int) -> list[str]:
    """Return the lines of a line of a message, below its first word; paths and names stay whole."""
    label = re.match(r"(  \w+: +)?", line)
    indent = " " * (len(label[0]) if label and label[0] else 2)
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
