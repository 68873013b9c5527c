"""The text of a file of measurements, however it was saved, and the scenario beside it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from distsim.errors import FileError, Place, SyntaxProblem
from distsim.files import Limits, read_bytes
from distsim.study.calibration.readers.base import Base, read_base

#: Logs and traces grow long; this much is read at once, plain or after decompression.
LIMITS = Limits(size_bytes=200_000_000)

_GZIP = b"\x1f\x8b"
#: Escape sequences of terminals: colours and cursor (ECMA-48, CSI), and titles (OSC).
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b\n]{0,1000}(?:\x07|\x1b\\)|[@-Z\\^_])"
)


class Document:
    """A file of measurements.

    Parameters
    ----------
    path : str or path
    scenario : str, path, mapping or None
        The scenario of its step times; None: a YAML file of the same stem beside it, if any.
    defaults : mapping, optional
        What counts where neither the file nor that scenario says anything.

    Attributes
    ----------
    file : str
        Name for messages.
    text : str
        Without colours, and with lines that end in newlines.
    notes : tuple of str
        How the text was got.

    Raises
    ------
    FileError
        DS101 to DS104, and DS106 where it is empty.
    SyntaxProblem
        DS634 where it is compressed and damaged.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        scenario: str | PathLike[str] | Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(fspath(path))
        self.file = "".join(c if c.isprintable() else "?" for c in fspath(path))
        self._scenario, self._defaults = scenario, defaults or {}
        self._base: Base | None = None
        notes: list[str] = []
        raw = _plain(read_bytes(path, LIMITS), self.file, notes)
        self.text = clean(_decoded(raw, self.file, notes))
        self.notes = tuple(notes)
        if not self.text.strip():
            raise FileError(
                "DS106",
                "the file is empty",
                rule="a log, a table, a trace or operator timings",
                fix="give the file that the run wrote",
                place=Place(self.file),
            )

    @property
    def stem(self) -> str:
        """Name of the file without its suffixes."""
        return self.path.name.split(".")[0] or "log"

    @property
    def is_cut(self) -> bool:
        """Whether the last line has no end, so that it may not be whole."""
        return not self.text.endswith("\n")

    @property
    def base(self) -> Base:
        """What the scenario beside the file says; nothing where there is none.

        Raises
        ------
        FileError, SyntaxProblem, ValueProblem
            Where it cannot be read.
        """
        if self._base is None:
            self._base = read_base(self.path, self._scenario, self._defaults)
        return self._base

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines with their numbers from 1."""
        yield from enumerate(self.text.split("\n"), start=1)


def clean(text: str) -> str:
    r"""Return a text without escape sequences, its lines ended by newlines alone.

    What a progress bar wrote over stays on its line, after a blank.

    >>> clean("\x1b[31mstep: 1\x1b[0m\r\n 1%\r 2%")
    'step: 1\n 1%  2%'
    """
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if "\r" not in text:
        return text
    return text.replace("\r\n", "\n").replace("\r", " " if "\n" in text else "\n")


def _plain(raw: bytes, file: str, notes: list[str]) -> bytes:
    """Return the content of a file that may be compressed with gzip."""
    if not raw.startswith(_GZIP):
        return raw
    out, size = [], 0
    while raw.startswith(_GZIP):
        reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            out.append(reader.decompress(raw, LIMITS.size_bytes + 1 - size))
        except zlib.error as error:
            raise _damaged(file, str(error)) from None
        size += len(out[-1])
        if size > LIMITS.size_bytes:
            raise FileError(
                "DS104",
                f"the file has more than {LIMITS.size_bytes} bytes without compression",
                rule=f"at most {LIMITS.size_bytes} bytes",
                fix="give a shorter part of the log",
                place=Place(file),
            )
        if not reader.eof and not size:
            raise _damaged(file, "it ends at once")
        if not reader.eof:
            notes.append(f"{file}: the compressed file is cut off; what is there is read")
        raw = reader.unused_data
    return b"".join(out)


def _damaged(file: str, why: str) -> SyntaxProblem:
    return SyntaxProblem(
        "DS634",
        f"the compressed file is damaged: {why}",
        rule="a gzip file (RFC 1952)",
        fix="copy the file again, or give it without compression",
        place=Place(file),
    )


def _decoded(raw: bytes, file: str, notes: list[str]) -> str:
    """Return the text: UTF-8, UTF-16 as PowerShell writes it, else Latin-1."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace").removeprefix("\ufeff")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = raw[error.start]
        notes.append(f"{file}:{line}: byte 0x{byte:02x} is not UTF-8: the file is read as Latin-1")
        return raw.decode("latin-1")
