"""Directories that commands write: they appear whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable

from distsim.errors import UsageError


def check_directory(path: str) -> None:
    """Refuse a directory that cannot be made, before any work is done for it.

    Raises
    ------
    UsageError
        DS630.
    """
    if not path or "\0" in path:
        raise _unwritable(repr(path), "not the name of a directory")
    real = os.path.realpath(path)
    above = os.path.dirname(real)
    if not os.path.isdir(above):
        raise _unwritable(path, "the directory above does not exist")
    if not os.access(above, os.W_OK):
        raise _unwritable(path, "the directory above may not be written")
    if os.path.exists(real) and not os.path.isdir(real):
        raise _unwritable(path, "it is a file")
    if os.path.isdir(real) and os.listdir(real):
        raise _unwritable(path, "it is not empty")


def write_directory(
    path: str,
    files: Iterable[tuple[str, Iterable[bytes]]],
    on_file: Callable[..., None] | None = None,
) -> None:
    """Write a directory of files under another name, and rename it when all of it is there.

    Parameters
    ----------
    on_file : callable, optional
        Called after each file.

    Raises
    ------
    UsageError
        DS630 where it cannot be written.
    """
    check_directory(path)
    real = os.path.realpath(path)
    above, name = os.path.split(real)
    try:
        temporary = tempfile.mkdtemp(prefix=f".{name[:100]}.", suffix=".tmp", dir=above)
        try:
            for file, chunks in files:
                with open(os.path.join(temporary, file), "wb") as out:
                    out.writelines(chunks)
                if on_file is not None:
                    on_file()
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o777 & ~mask)
            os.replace(temporary, real)
        except BaseException:  # an interrupt leaves nothing behind either
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def _unwritable(name: str, reason: str) -> UsageError:
    return UsageError(
        "DS630",
        f"{name} cannot be written: {reason.lower()}",
        value=name,
        rule="a directory that is new or empty, in one that may be written",
        fix="choose another directory",
    )
