"""What shells complete: names that ship, keys of a scenario and their values, files.

Nothing here imports what evaluates: words whose list is long to make are in ``choices.txt``, which
``pytest --update-goldens`` writes (tests/golden/test_completion.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
CHOICES = Path(__file__).with_name("choices.txt")


@cache
def choices() -> dict[str, list[str]]:
    """Return the words of each list: ``model``, ``schedule``, and ``plan.tp`` for keys."""
    lines = CHOICES.read_text(encoding="utf-8").splitlines()
    return {key: words for key, *words in map(str.split, lines)}


def _items(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def files(*endings: str, names: Callable[[], Iterable[str]] = tuple) -> Completer:
    """Return a completer of names, and of files with one of some endings."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _items([*names(), *_paths(incomplete, endings)], incomplete)

    return complete


def _paths(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    """Return files and directories that begin so; hidden ones only where a dot is written."""
    directory, begin = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(os.path.expanduser(directory) or "."), key=lambda e: e.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        if entry.name.startswith(".") and not begin.startswith("."):
            continue
        if entry.is_dir():
            found.append(os.path.join(directory, entry.name, ""))
        elif entry.name.endswith(endings):
            found.append(os.path.join(directory, entry.name))
    return found


def shipped(kind: str, *endings: str) -> Completer:
    """Return a completer of the shipped files of a kind, and of files of a person's own."""

    def names() -> Iterable[str]:
        from distsim.files import shipped_names

        return shipped_names(kind)

    return files(*endings, names=names) if endings else words(names)


def words(names: str | Callable[[], Iterable[str]]) -> Completer:
    """Return a completer of words: those of a list in ``choices.txt``, or of a function."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = choices().get(names, []) if isinstance(names, str) else names()
        return _items(found, incomplete)

    return complete


def listed(names: str, *endings: str) -> Completer:
    """Return a completer of the words of a list in ``choices.txt``, and of files."""
    return files(*endings, names=lambda: choices().get(names, []))


def keys(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete ``KEY=VALUE``: the key with its dots, then what it may be."""
    key, equals, value = incomplete.partition("=")
    if not equals:
        return _items((f"{name}=" for name in choices() if not name.startswith("@")), key)
    before, comma, _ = value.rpartition(",")
    begin = f"{key}={before}{comma}"
    return _items((begin + word for word in choices().get(key, [])), incomplete)


def codes(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete an error code."""
    from click.shell_completion import CompletionItem

    from distsim.codes import CODES

    found = [(code, info.title) for code, info in CODES.items()]
    return [CompletionItem(c, help=t) for c, t in found if c.startswith(incomplete.upper())]
