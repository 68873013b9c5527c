"""What an outcome depends on, as a hash: the scenario, the files it names, and distsim itself."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from distsim.files import LIMITS, shipped_directory
from distsim.scenario.schema import Scenario
from distsim.version import __version__

#: Shipped data beside the package that predictions rest on.
_DATA = ("topologies",)
_WORD = re.compile(r"[^\s\"'\[\]{},:#]+")
_ENDINGS = (".py", ".yaml", ".yml", ".json", ".csv")


@lru_cache(maxsize=1)
def own_digest() -> str:
    """Return a hash of distsim's version, source and data, and of what computes with it.

    A developer's edit of a line or of a number so never meets a stale outcome.
    """
    about = f"{np.__version__} {platform.machine()}"
    return digest_of_source(_DATA, about=about)


def digest_of_source(
    kinds: Sequence[str], *, about: str = "", without: Callable[[str], bool] = lambda name: False
) -> str:
    """Return a hash of distsim's version and of its files.

    Parameters
    ----------
    kinds : sequence of str
        Shipped files beside the package, such as ``topologies``.
    about : str
        What else it is a hash of.
    without : callable
        Says of a file by its name, as ``cli/run.py`` or ``topologies/dgx-a100.yaml``, whether it
        is left out. Shipped files have one name in a checkout and in an installed package.
    """
    package = Path(__file__).resolve().parents[1]
    files = {p.relative_to(package).as_posix(): p for p in package.rglob("*")}
    for kind in kinds:
        root = shipped_directory(kind)
        inside = f"data/{kind}/"
        files = {name: p for name, p in files.items() if not name.startswith(inside)}
        files |= {f"{kind}/{p.relative_to(root).as_posix()}": p for p in root.rglob("*")}
    found = hashlib.sha256(f"{__version__} {about}".encode())
    for name in sorted(n for n, p in files.items() if p.suffix in _ENDINGS and not without(n)):
        found.update(name.encode() + b"\0" + hashlib.sha256(files[name].read_bytes()).digest())
    return found.hexdigest()


class Keys:
    """Keys of scenarios, with the files that they name looked at once.

    A file that is edited while a sweep runs counts as it was when the sweep began.
    """

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], str] = {}

    def __call__(self, scenario: Scenario) -> str:
        """Return the key of a scenario: equal where the outcome must be.

        The name is left out, for it changes no number.
        """
        data = scenario.to_dict()
        data.pop("name", None)
        directory = scenario.positions.directory
        files = [f for text in sorted(set(_texts(data))) if (f := self._file(text, directory))]
        whole = json.dumps([own_digest(), data, files], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(whole.encode()).hexdigest()

    def _file(self, text: str, directory: str) -> str:
        """Return the digest of the file that a text may name, '' where there is none."""
        known = self._files.get((text, directory))
        if known is None:
            known = self._files[text, directory] = _digest_of(text, directory, set())
        return known


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _digest_of(text: str, directory: str, seen: set[str]) -> str:
    """Return the digest of a file and of those that its words name, '' where there is none."""
    out = ""
    for path in dict.fromkeys((os.path.join(directory, text), text)):
        if "\0" in path or not os.path.isfile(path) or (real := os.path.realpath(path)) in seen:
            continue
        seen.add(real)
        try:
            with open(path, "rb") as file:
                content = file.read(LIMITS.size_bytes + 1)
        except OSError:
            continue
        found = hashlib.sha256(content)
        # A topology names devices and libraries, which may be files too.
        for word in _named(content.decode("utf-8", "replace")):
            found.update(_digest_of(word, os.path.dirname(path), seen).encode())
        out += found.hexdigest()
    return out


def _named(text: str) -> Iterator[str]:
    """Yield what may be names of files in a text: values of lines, words with such an ending."""
    ends = (line.partition(":")[2].partition(" #")[0] for line in text.splitlines())
    values = (end.strip().strip("\"'") for end in ends)
    words = (word for word in _WORD.findall(text) if word.endswith(_ENDINGS))
    yield from dict.fromkeys(v for v in (*values, *words) if 0 < len(v) < 256)
