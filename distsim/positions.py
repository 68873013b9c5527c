"""Where each value of a file stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from distsim.errors import Place, show

Path = tuple[str | int, ...]


class _Change(NamedTuple):
    """A value that was changed in Python; most are never asked for their place."""

    path: Path
    value: object

    def place(self) -> Place:
        return Place(f"with_({'.'.join(map(str, self.path))}={show(self.value)})")


class Positions:
    """Places of key paths; a path that has none takes that of its nearest ancestor.

    Parameters
    ----------
    file : str
        Name for messages; empty for data that came from no file.
    directory : str
        Where the file is: paths in it are seen from there.
    """

    def __init__(self, file: str = "", directory: str = "") -> None:
        self.file = file
        self.directory = directory
        self._values: dict[Path, tuple[int, int]] = {}
        self._keys: dict[Path, tuple[int, int]] = {}
        self._overrides: dict[Path, Place | _Change] = {}

    def add(self, path: Path, value: tuple[int, int], key: tuple[int, int] | None = None) -> None:
        """Note line and column (from 1) of a value, and of its key if it has one."""
        self._values[path] = value
        if key is not None:
            self._keys[path] = key

    def override(self, path: Path, place: Place) -> None:
        """Say that the value at `path` and all below it came from elsewhere."""
        self._override(path, place)

    def change(self, path: Path, value: object) -> None:
        """Say that the value at `path` was changed in Python to another."""
        self._override(path, _Change(path, value))

    def _override(self, path: Path, place: Place | _Change) -> None:
        n = len(path)
        for old in [p for p in self._overrides if p[:n] == path]:
            del self._overrides[old]
        self._overrides[path] = place

    def copy(self) -> Positions:
        """Return a copy whose overrides are its own."""
        other = Positions(self.file, self.directory)
        other._values, other._keys = self._values, self._keys
        other._overrides = dict(self._overrides)
        return other

    def place(self, path: Path, *, key: bool = False) -> Place | None:
        """Return the place of the value at `path`, or of its nearest ancestor.

        Parameters
        ----------
        key : bool
            The place of the key itself instead of its value's.
        """
        prefixes = [path[:n] for n in range(len(path), -1, -1)]
        for prefix in prefixes:
            if prefix in self._overrides:
                found = self._overrides[prefix]
                return found if isinstance(found, Place) else found.place()
        for prefix in prefixes:
            # A value that is not there is looked for at the key of its block.
            at_key = key or prefix != path
            at = self._keys.get(prefix) if at_key else None
            at = at or self._values.get(prefix)
            if at is not None:
                return Place(self.file, *at)
        return Place(self.file) if self.file else None

    def order(self, path: Path) -> tuple[int, int, int]:
        """Return what sorts problems: changes first, then line and column, then the unplaced."""
        place = self.place(path)
        if place is None:
            return (2, 0, 0)
        return (1 if place.line else 0, place.line, place.column)


class Shifted(Positions):
    """Places of data that was taken out of a part of a file.

    Parameters
    ----------
    base : Positions
        Of the file.
    prefix : Path
        Where the part stands.
    moved : mapping of Path to Path
        Paths that stand elsewhere in the file; the longest that fits counts.
    """

    def __init__(self, base: Positions, prefix: Path, moved: Mapping[Path, Path]) -> None:
        super().__init__(base.file, base.directory)
        self._base, self._prefix, self._moved = base, prefix, moved

    def place(self, path: Path, *, key: bool = False) -> Place | None:
        """Return the place in the file."""
        for n in range(len(path), 0, -1):
            if path[:n] in self._moved:
                return self._base.place((*self._moved[path[:n]], *path[n:]), key=key)
        return self._base.place((*self._prefix, *path), key=key)

    def copy(self) -> Positions:
        """Return a copy whose overrides are its own."""
        return Shifted(self._base.copy(), self._prefix, self._moved)

    def _override(self, path: Path, place: Place | _Change) -> None:
        self._base._override((*self._prefix, *path), place)
