"""Outcomes on disk: what was evaluated once is not evaluated again, by whomever.

One SQLite file in write-ahead mode. A result is committed before it is reported, so that a sweep
that is killed loses nothing it has shown, and several sweeps may write at once. Rows are keyed by
what they depend on (`distsim.study.digest`), so none is ever out of date; those of other versions
are of no use to this one and are dropped when the file grows too large.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distsim.errors import FileError
from distsim.scenario.schema import Scenario
from distsim.study.digest import Keys, own_digest
from distsim.study.evaluate import INTERNAL, Outcome, Runner
from distsim.study.pool import DIED, OnResult
from distsim.version import __version__

#: Marks the file as ours ("DSIM"), and its form.
APPLICATION_ID, FORM = 0x4453494D, 1
#: How long a writer waits for another one, s.
BUSY_S = 30.0
#: Tries to turn a new file to write-ahead mode while others do the same.
_TRIES = 100
#: Bytes from which rows of other versions are dropped.
LARGE_BYTES = 500e6
#: Outcomes that say something of the moment and not of the scenario.
_PASSING = (INTERNAL, DIED)

_CREATE = (
    "CREATE TABLE outcomes (key TEXT PRIMARY KEY, version TEXT NOT NULL, outcome TEXT NOT NULL)"
)
Warn = Callable[[str], None]


def default_path() -> Path:
    """Return where the cache is unless said otherwise: the user's directory for caches."""
    from platformdirs import user_cache_path

    return user_cache_path("distsim", appauthor=False) / f"outcomes-{FORM}.sqlite"


class Cache:
    """Outcomes by key in a SQLite file.

    Parameters
    ----------
    path : str or path
    warn : callable, optional
        Told, once, when results can no longer be kept; the sweep goes on without.

    Raises
    ------
    FileError
        DS680 cannot be opened, DS681 no cache or a corrupt one, DS687 a cache of another form.
    """

    def __init__(self, path: str | os.PathLike[str], warn: Warn | None = None) -> None:
        self.path = os.fspath(path)
        self.keeps = True
        self._warn = warn
        self._version = f"{__version__}+{own_digest()[:16]}"
        self._connection = _opened(self.path)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        try:
            self._to_wal()
            self._connection.execute("PRAGMA synchronous=NORMAL")
            # In one transaction, for another sweep may make the same file at this moment.
            self._connection.execute("BEGIN IMMEDIATE")
            self._make_or_check()
            self._drop_if_large()
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if not _is_read_only(error):
                raise _unusable(self.path, error) from None
            self._read_only(error)
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _read_only(self, error: sqlite3.Error) -> None:
        """Go on with what is there, if it can be read at all."""
        try:
            self._check()
        except sqlite3.Error:
            raise _unusable(self.path, error) from None
        self._stop(error)

    def _to_wal(self) -> None:
        """Turn an empty file, and no other, to write-ahead mode."""
        if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return
        for _ in range(_TRIES):
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                # This statement does not wait for a lock, but a transaction does.
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute("ROLLBACK")

    def _make_or_check(self) -> None:
        if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._check()
            return
        self._connection.execute(_CREATE)
        self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version={FORM}")

    def _check(self) -> None:
        """Refuse the file of another program, or of another form.

        Raises
        ------
        FileError
            DS681, DS687.
        """
        _check(self.path, self._pragma("application_id"), self._pragma("user_version"))
        self._connection.execute("SELECT key, version, outcome FROM outcomes LIMIT 1")

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _drop_if_large(self) -> None:
        if self._pragma("page_count") * self._pragma("page_size") > LARGE_BYTES:
            self._connection.execute("DELETE FROM outcomes WHERE version != ?", (self._version,))

    def get(self, key: str) -> Outcome | None:
        """Return the outcome of a key, or None; one that cannot be read counts as none.

        Raises
        ------
        FileError
            DS681 where the file turns out to be corrupt.
        """
        try:
            row = self._connection.execute(
                "SELECT outcome FROM outcomes WHERE key = ?", (key,)
            ).fetchone()
        except sqlite3.Error as error:
            if "malformed" in str(error) or "not a database" in str(error):
                raise _unusable(self.path, error) from None
            self._stop(error)
            return None
        try:
            return Outcome.from_dict(json.loads(row[0])) if row else None
        except (ValueError, TypeError):
            return None

    def put(self, key: str, outcome: Outcome) -> bool:
        """Keep an outcome; returns once it is on disk, False where it cannot be kept.

        The first failure is told to `warn`, and nothing is kept from then on.
        """
        if not self.keeps or outcome.code in _PASSING:
            return False
        row = (key, self._version, json.dumps(outcome.to_dict(), separators=(",", ":")))
        try:
            self._connection.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:
            self._stop(error)
        return self.keeps

    def _stop(self, error: sqlite3.Error) -> None:
        if self.keeps and self._warn is not None:
            self._warn(
                f"results are no longer kept in {self.path}: {error}; the sweep goes on, but "
                "what comes now will be evaluated again next time"
            )
        self.keeps = False

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM outcomes").fetchone()[0])

    def close(self) -> None:
        """Close the file; another writer may go on."""
        self._connection.close()

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(path: str) -> sqlite3.Connection:
    if not path or "\0" in path or (os.path.exists(path) and not os.path.isfile(path)):
        raise _refused("DS680", path, "it is no regular file", "give the name of a file")
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        # Each statement is its own transaction: what was put is there, whoever is killed.
        return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fix = "choose a directory that may be written, or use --no-cache"
        raise _refused("DS680", path, reason.lower(), fix) from None


def _check(path: str, mark: int, form: int) -> None:
    if mark != APPLICATION_ID:
        raise _refused(
            "DS681",
            path,
            "it is a database, but no cache of distsim; it is left as it is",
            "give the name of a cache, or of a file that does not exist yet",
        )
    if form != FORM:
        raise _refused(
            "DS687",
            path,
            f"it has form {form}, and this version of distsim reads form {FORM}; it is left as "
            "it is",
            "use the version that wrote it, or give the name of a file that does not exist yet",
        )


def _is_read_only(error: sqlite3.Error) -> bool:
    return "readonly" in str(error) or "read-only" in str(error)


def _unusable(path: str, error: sqlite3.Error) -> FileError:
    text = str(error)
    if "not a database" in text or "malformed" in text or "no such" in text:
        fix = (
            "name another file, or use --no-cache; a cache that was broken can be deleted, for all "
            "that it held can be evaluated again"
        )
        return _refused("DS681", path, f"it is corrupt ({text}); it is left as it is", fix)
    fix = "choose a file on a local disk with room, or use --no-cache"
    return _refused("DS680", path, text, fix)


def _refused(code: str, path: str, reason: str, fix: str) -> FileError:
    return FileError(
        code,
        f"the cache {path!r} cannot be used: {reason}",
        value=path,
        rule="a cache is a SQLite file that distsim wrote, which may be read and written",
        fix=fix,
    )


@dataclass(slots=True)
class Cached:
    """A runner that looks in a cache first, keeps what is new, and evaluates equal ones once.

    Attributes
    ----------
    inner : Runner
        Evaluates what is not known.
    cache : Cache or None
        None keeps nothing on disk.
    evaluated, found : int
        How many scenarios were evaluated, and how many were known or the same as another.
    """

    inner: Runner
    cache: Cache | None = None
    evaluated: int = 0
    found: int = 0
    _key: Keys = field(default_factory=Keys)

    def run(
        self, scenarios: Sequence[Scenario], on_result: OnResult | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield index and outcome of each scenario; see `Runner`.

        A result is on disk before it is yielded or told.
        """
        same: dict[str, list[int]] = {}
        for index, scenario in enumerate(scenarios):
            same.setdefault(self._key(scenario), []).append(index)
        new: list[str] = []
        for key, indices in same.items():
            known = self.cache.get(key) if self.cache is not None else None
            if known is None:
                new.append(key)
                continue
            self.found += len(indices)
            yield from _all(indices, known, on_result)
        for n, outcome in self.inner.run([scenarios[same[key][0]] for key in new]):
            if self.cache is not None:
                self.cache.put(new[n], outcome)
            indices = same[new[n]]
            self.evaluated += 1
            self.found += len(indices) - 1
            yield from _all(indices, outcome, on_result)


def _all(
    indices: Sequence[int], outcome: Outcome, on_result: OnResult | None
) -> Iterator[tuple[int, Outcome]]:
    for index in indices:
        if on_result is not None:
            on_result(index, outcome)
        yield index, outcome


def open_cache(path: str | os.PathLike[str] | None, warn: Warn | None = None) -> Cache | None:
    """Return the cache of a file, or that of the user where none is named.

    A file that is named must be usable. The user's own is a convenience: where it is not usable
    the reason is told to `warn`, and the sweep runs without.

    Raises
    ------
    FileError
        As `Cache`, where `path` is given.
    """
    if path is not None:
        return Cache(path, warn)
    try:
        return Cache(default_path(), warn)
    except FileError as error:
        if warn is not None:
            warn(f"{error.message}; nothing is kept, and nothing is lost but time. {error.fix}")
        return None
