"""Finding and reading the files that people write: bounded, and every problem with its place.

YAML is read with the types of YAML 1.2's core schema: ``true``, ``false``, ``null``, decimal
numbers, and everything else is a text. What YAML 1.1 reads in another way is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distsim.errors import FileError, Place, SyntaxProblem, nearest, show
from distsim.record import record

if TYPE_CHECKING:
    from distsim.positions import Positions

_PACKAGE = Path(__file__).resolve().parent
_SUFFIXES = (".yaml", ".yml")
#: Kinds of shipped files, each with a directory.
SHIPPED = (
    *("defaults", "devices", "families", "hosts", "libraries", "models", "prices", "stacks"),
    *("scenarios", "topologies", "validation"),
)
#: Whether this process may read shipped files alone (`fence`).
_fenced = False


@record
class Limits:
    """What a file may cost before it is refused.

    Attributes
    ----------
    size_bytes : int
        Size of the file.
    depth : int
        Collections within collections.
    nodes : int
        Values, after each alias is replaced by what it stands for.
    """

    size_bytes: int = 1_000_000
    depth: int = 32
    nodes: int = 100_000


LIMITS = Limits()


@lru_cache(maxsize=8)
def shipped_directory(kind: str) -> Path:
    """Return where the shipped files of a kind are: in the package, or beside it in a checkout."""
    inside = _PACKAGE / "data" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def shipped_names(kind: str) -> tuple[str, ...]:
    """Return the names of the shipped files of a kind (``scenarios``, ``topologies``), sorted."""
    return _names_in(shipped_directory(kind))


@lru_cache(maxsize=32)
def _names_in(directory: Path) -> tuple[str, ...]:
    if not directory.is_dir():
        return ()
    return tuple(sorted(p.stem for p in directory.iterdir() if p.suffix == ".yaml"))


def shipped_below(kind: str, directory: str) -> tuple[str, ...]:
    """Return the names of the shipped files in a directory of their kind, ``directory/name``."""
    below = shipped_directory(kind) / directory
    return tuple(sorted(f"{directory}/{path.stem}" for path in below.glob("*.yaml")))


def find_shipped(kind: str, name: str) -> Path:
    """Return the shipped file of that name, or of ``directory/name``.

    Raises
    ------
    FileError
        DS101 where there is none.
    """
    return _shipped_below(kind, name) or shipped(kind, name)


def shipped(kind: str, name: str, *, path: tuple[str | int, ...] = ()) -> Path:
    """Return the shipped file of that name.

    Parameters
    ----------
    kind : str
        Plural as its directory: ``scenarios``, ``topologies``.
    path : tuple of str or int, optional
        Key path for the error.

    Raises
    ------
    FileError
        DS101, with the nearest names.
    """
    names = shipped_names(kind)
    if name in names:
        return shipped_directory(kind) / f"{name}.yaml"
    word = _singular(kind)
    near = nearest(name, names)
    raise FileError(
        "DS101",
        f"no {word} {show(name)}",
        path=path,
        value=name,
        rule=f"a path of a file, or one of the {len(names)} shipped: {_some(names)}",
        fix=f"did you mean {near!r}?" if near else f"name a shipped {word} or a file that exists",
    )


def _singular(kind: str) -> str:
    return f"{kind[:-3]}y" if kind.endswith("ies") else kind.removesuffix("s")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "none"


def find(kind: str, source: str | os.PathLike[str], *, path: tuple[str | int, ...] = ()) -> Path:
    """Return the file that `source` means: a path, or the name of a shipped file.

    A plain word is a shipped name first and a file of the working directory second; anything with
    a separator or a YAML suffix is a path first, and else a shipped file in a directory of its
    kind (``textbook/01-08-square-gemm``).

    Raises
    ------
    FileError
        DS101 where neither exists, with the nearest shipped names; DS729 behind a `fence`.
    """
    name = os.fspath(source)
    if _fenced:
        return _find_inside(kind, name, path)
    looks_like_path = isinstance(source, os.PathLike) or _is_path(name)
    if not looks_like_path and name in shipped_names(kind):
        return shipped(kind, name)
    if looks_like_path or (name and "\0" not in name and os.path.lexists(name)):
        if _exists(name):
            return Path(name)
        inside = _shipped_below(kind, name)
        if inside is None:
            raise _missing(kind, name, path)
        return inside
    return shipped(kind, name, path=path)


def fence() -> None:
    """Let this process, for good, find and read no file but shipped ones, whatever it is given."""
    global _fenced
    _fenced = True


def is_there(path: str) -> bool:
    """Say whether something is at a path; behind a `fence` no path but shipped files has anything.

    A scenario may ask for any path, and what it is told of others must not depend on them.
    """
    return not (_fenced and not _is_inside(path)) and os.path.exists(path)


def _find_inside(kind: str, name: str, path: tuple[str | int, ...]) -> Path:
    """Return a shipped file as `find` does, without a look at any other.

    Raises
    ------
    FileError
        DS729 for a path that leads elsewhere, whether or not something is there.
    """
    if name in shipped_names(kind) or not (_is_path(name) or "\0" in name):
        return shipped(kind, name, path=path)
    below = _shipped_below(kind, name)
    if below is None and _is_inside(name) and os.path.isfile(name):
        return Path(name)
    if below is None:
        raise _outside(name, path)
    return below


def _is_inside(name: str) -> bool:
    """Say whether a path leads to where shipped files are, links followed."""
    if "\0" in name:
        return False
    real = os.path.realpath(name)
    roots = {os.path.realpath(shipped_directory(kind)) for kind in SHIPPED}
    return any(real.startswith(root + os.sep) for root in roots)


def _outside(name: str, path: tuple[str | int, ...] = ()) -> FileError:
    return FileError(
        "DS729",
        f"{_shown(name)} is not among the shipped files",
        path=path,
        value=name,
        rule="here a scenario names what is shipped, and reads no other file",
        fix="name something of the catalogue, write it out as a block, or use distsim run",
    )


def _shipped_below(kind: str, name: str) -> Path | None:
    """Return the shipped file that ``directory/name`` means, or None."""
    parts = name.split("/")
    if len(parts) != 2 or not all(part.strip(".") for part in parts) or "\0" in name:
        return None
    file = shipped_directory(kind) / parts[0] / f"{parts[1].removesuffix('.yaml')}.yaml"
    return file if file.is_file() else None


def _is_path(name: str) -> bool:
    return "/" in name or os.sep in name or name in (".", "..") or name.endswith(_SUFFIXES)


def _exists(name: str) -> bool:
    try:
        os.stat(name)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
    except ValueError:  # a null byte
        return True
    return True


def _missing(kind: str, name: str, path: tuple[str | int, ...]) -> FileError:
    directory = name.partition("/")[0]
    below = shipped_below(kind, directory) if directory.strip(".") and "\0" not in name else ()
    near = nearest(name, below) or nearest(Path(name).stem, shipped_names(kind))
    return FileError(
        "DS101",
        f"file not found: {_shown(name)}",
        path=path,
        value=name,
        rule=f"a path of a file that exists, seen from {_shown(os.getcwd())}",
        fix=f"check the path, or use the shipped {_singular(kind)} {near!r}"
        if near
        else "check the path",
    )


def _shown(name: str) -> str:
    """Return a file name that can be printed, whatever bytes it has."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 200 else f"{text[:90]}...{text[-90:]}"


def read_text(path: str | os.PathLike[str], limits: Limits = LIMITS) -> str:
    """Return the text of a regular file.

    Raises
    ------
    FileError
        DS101 missing, DS102 not a regular file, DS103 unreadable, DS104 too large, DS105 not
        UTF-8, DS106 empty.
    """
    name = _shown(os.fspath(path))
    raw = _read_bytes(os.fspath(path), name, limits.size_bytes)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FileError(
            "DS105",
            f"byte 0x{raw[error.start]:02x} is not UTF-8",
            value=raw[error.start : error.start + 4],
            rule="text in UTF-8",
            fix="save the file as UTF-8",
            place=Place(name, line),
        ) from None
    if not text.strip():
        raise FileError(
            "DS106",
            "the file is empty",
            rule="a mapping of keys to values",
            fix="start from a shipped scenario",
            place=Place(name),
        )
    return text


def read_bytes(path: str | os.PathLike[str], limits: Limits = LIMITS) -> bytes:
    """Return the bytes of a regular file, for formats that state their own encoding.

    Raises
    ------
    FileError
        DS101 to DS104, as `read_text`.
    """
    return _read_bytes(os.fspath(path), _shown(os.fspath(path)), limits.size_bytes)


def _read_bytes(path: str, name: str, limit_bytes: int) -> bytes:
    if _fenced and not _is_inside(path):
        raise _outside(path)
    try:
        # Looked at before it is opened: opening a pipe waits and opening a device may act.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise FileError(
                "DS102",
                f"{name} is {_kind_of_file(mode)}",
                value=path,
                rule="a regular file",
                fix="give the path of a file",
                place=Place(name),
            )
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            # Never more than the limit: it may grow meanwhile, or state no size at all.
            raw = file.read(limit_bytes + 1)
            size = max(os.fstat(file.fileno()).st_size, len(raw))
    except (OSError, ValueError) as error:
        raise _unreadable(path, name, error) from None
    if size > limit_bytes:
        raise FileError(
            "DS104",
            f"the file has {size} bytes",
            value=size,
            rule=f"at most {limit_bytes} bytes",
            fix="check that the path is the right file",
            place=Place(name),
        )
    return raw


def _kind_of_file(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _unreadable(path: str, name: str, error: OSError | ValueError) -> FileError:
    missing = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
    reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
    return FileError(
        "DS101" if missing else "DS103",
        f"file not found: {name}" if missing else f"{name} cannot be read: {reason}",
        value=path,
        rule="a file that exists and may be read",
        fix="check the path" if missing else "check the path and its permissions",
        place=Place(name),
    )


def load_yaml(
    path: str | os.PathLike[str], limits: Limits = LIMITS
) -> tuple[dict[str, Any], Positions]:
    """Return the mapping that a YAML file holds, and where each of its keys stands.

    Raises
    ------
    FileError
        DS101 to DS106, as `read_text`.
    SyntaxProblem
        DS110 to DS121, with file and line.
    """
    data, positions = read_yaml(read_text(path, limits), _shown(os.fspath(path)), limits)
    positions.directory = os.path.dirname(os.fspath(path))
    return data, positions


def read_yaml(text: str, name: str, limits: Limits = LIMITS) -> tuple[dict[str, Any], Positions]:
    """Return the mapping that a YAML text holds, as `load_yaml` does for a file of that name."""
    from distsim.yamlparse import parse_yaml

    data, positions = parse_yaml(text, name, limits)
    if not isinstance(data, dict):
        kind = "nothing but comments" if data is None else f"a {type(data).__name__} at the top"
        raise SyntaxProblem(
            "DS106" if data is None else "DS119",
            f"the file holds {kind}",
            value=data,
            rule="a mapping of keys to values",
            fix="write key: value lines",
            place=positions.place(()),
        )
    return data, positions
