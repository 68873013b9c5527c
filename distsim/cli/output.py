"""Where results go: standard output, and files that are either whole or not there."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from gzip import GzipFile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

import click

from distsim.cli.guard import CLOSED_PIPE
from distsim.cli.settings import is_colored, is_lively, width_of
from distsim.cli.waiting import hide
from distsim.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Columns of text where nothing limits them: lines of a pipe or a file are not wrapped.
_UNLIMITED = 10_000


def print_text(text: RenderableType) -> None:
    """Print a text, in the width that `distsim.cli.settings.width_of` says."""
    with _standard_output():
        console = _console(sys.stdout)
        with console.capture() as captured:
            console.print(text)
        # Tables pad their last column; nobody wants blanks at the ends of lines.
        lines = captured.get().splitlines()
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines))


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    colored = is_colored(stream)
    return Console(
        file=stream,
        width=width_of(stream) or _UNLIMITED,
        height=40,
        # A terminal without colours has no bold text either: NO_COLOR is for those who read plain.
        color_system="auto" if colored else None,
        force_terminal=colored or is_lively(stream),
        highlight=False,
        markup=False,
        emoji=False,
    )


def standard_error() -> Console:
    """Return a console for what is drawn on standard error."""
    return _console(sys.stderr)


def print_json(result: object) -> None:
    """Print a result as JSON."""
    from distsim.report.json_ import dumps

    print_raw(dumps(result))


def print_raw(text: str) -> None:
    """Print a text as it is."""
    with _standard_output():
        sys.stdout.write(text)


@contextmanager
def _standard_output() -> Iterator[None]:
    """Write to standard output; a reader that went away is no error, a full disk is one."""
    hide()
    try:
        if sys.stdout is None:
            raise OSError("it is closed")
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_the_rest()
        raise click.exceptions.Exit(CLOSED_PIPE) from None
    except OSError as error:
        _discard_the_rest()
        raise cannot_write("standard output", error.strerror or str(error)) from None


def _discard_the_rest() -> None:
    """Keep the interpreter from flushing into a broken stream when it exits."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_target(path: str) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Raises
    ------
    UsageError
        DS630.
    """
    if not path or "\0" in path:
        raise cannot_write(repr(path), "not a file name")
    if path == "-":
        raise cannot_write("-", "not a file name", fix="use --json for standard output")
    if os.path.isdir(path):
        raise cannot_write(
            path, "it is a directory", fix=f"give a file, as {Path(path) / 'out.json'}"
        )
    directory = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(directory):
        missing = os.path.dirname(path) or directory
        raise cannot_write(path, "its directory does not exist", fix=f"mkdir -p {missing}")
    if not os.access(directory, os.W_OK):
        raise cannot_write(path, "its directory may not be written")


def check_targets(source: str, *paths: str | None) -> None:
    """Refuse targets as `check_target` does, and two that are one file, or the scenario itself.

    Raises
    ------
    UsageError
        DS630.
    """
    taken = {os.path.realpath(source): "the scenario itself"} if "\0" not in source else {}
    for path in paths:
        if path is None:
            continue
        check_target(path)
        real = os.path.realpath(path)
        if real in taken:
            raise cannot_write(path, f"it is {taken[real]}", fix="give another name")
        taken[real] = f"also the target {path}"


def write_file(path: str, chunks: Iterable[str]) -> None:
    """Write a file in one piece: it appears whole, replaces an old one whole, or not at all.

    It is compressed where its name ends in ``.gz``, to the same bytes for the same content.

    Raises
    ------
    UsageError
        DS630 where it cannot be written.
    """
    check_target(path)
    real = os.path.realpath(path)  # a link keeps pointing to the file
    try:
        if os.path.exists(real) and not stat.S_ISREG(os.stat(real).st_mode):
            with open(real, "w", encoding="utf-8") as device:
                device.writelines(chunks)
        else:
            _replace(real, chunks)
    except OSError as error:
        raise cannot_write(path, error.strerror or str(error)) from None


def write_bytes(path: str, content: bytes) -> None:
    """Write a file of bytes as `write_file` does."""
    check_target(path)
    real = os.path.realpath(path)
    try:
        if os.path.exists(real) and not stat.S_ISREG(os.stat(real).st_mode):
            Path(real).write_bytes(content)
        else:
            _replace(real, content)
    except OSError as error:
        raise cannot_write(path, error.strerror or str(error)) from None


def _replace(real: str, content: Iterable[str] | bytes) -> None:
    directory, name = os.path.split(real)
    number, temporary = tempfile.mkstemp(prefix=f".{name[:100]}.", suffix=".tmp", dir=directory)
    try:
        if isinstance(content, bytes):
            with open(number, "wb") as raw:
                raw.write(content)
                raw.flush()
                os.fsync(number)
        else:
            with open(number, "wb") as file:
                # Level 1: traces shrink to a tenth in a third of the time that level 9 takes.
                with _compressed(file) if name.endswith(".gz") else nullcontext(file) as out:
                    for piece in content:
                        out.write(piece.encode())
                file.flush()
                os.fsync(number)
        os.chmod(temporary, _mode(real))
        os.replace(temporary, real)
    except BaseException:  # an interrupt leaves nothing behind either
        os.unlink(temporary)
        raise


def _compressed(file: BinaryIO) -> GzipFile:
    return GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0)


def _mode(real: str) -> int:
    """Return the permissions of the file that is replaced, or those of a new one."""
    if os.path.exists(real):
        return stat.S_IMODE(os.stat(real).st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def cannot_write(name: str, reason: str, fix: str = "") -> UsageError:
    """Return the error of a target that cannot be written."""
    return UsageError(
        "DS630",
        f"{name} cannot be written: {reason.lower()}",
        value=name,
        rule="a file in a directory that exists and may be written",
        fix=fix or "choose another file",
    )
