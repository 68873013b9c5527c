"""A topology block as a file that people read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Any

import yaml

_WIDTH = 100
#: Keys whose mappings and lists are written one entry a line.
_OPEN = ("node", "link_classes", "links", "devices")


def topology_yaml(block: Mapping[str, Any], title: str, notes: Iterable[str]) -> str:
    """Return a topology file.

    Parameters
    ----------
    block : mapping
        Of texts, numbers, truth values, lists and mappings.
    title : str
        First line of the comment above it.
    notes : iterable of str
        Further down in the comment, one a paragraph.
    """
    return "\n".join([*_comment(title, notes), *_lines(block, "")]) + "\n"


def _comment(title: str, notes: Iterable[str]) -> Iterator[str]:
    yield from wrap(_plain(title), _WIDTH, initial_indent="# ", subsequent_indent="# ")
    found = [_plain(note) for note in notes]
    if found:
        yield "#"
        yield "# What the file leaves out, and what was taken instead:"
    for note in found:
        yield from wrap(note, _WIDTH, initial_indent="# - ", subsequent_indent="#   ")


def _plain(text: str) -> str:
    """Return a text that stays on its line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _lines(block: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in block.items():
        name = f"{indent}{_inline(key)}:"
        inner = f"{indent}  "
        if isinstance(value, Mapping) and value and (key in _OPEN or _is_long(value, name)):
            yield name
            yield from _lines(value, inner)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield name
            yield from (f"{inner}- {_inline(item)}" for item in value)
        elif isinstance(value, list):
            yield from _list(name, value)
        else:
            yield f"{name} {_inline(value)}"


def _list(name: str, items: list[Any]) -> Iterator[str]:
    """Return a list on as many lines as it needs, broken between its items."""
    indent = " " * (len(name) - len(name.lstrip()) + 2)
    line = f"{name} ["
    for word in map(_inline, items):
        if len(line) + len(word) >= _WIDTH:
            yield line.rstrip()
            line = indent
        line += f"{word}, "
    yield f"{line.removesuffix(', ')}]"


def _is_long(value: Mapping[str, Any], name: str) -> bool:
    deep = any(isinstance(inner, Mapping) for inner in value.values())
    return deep or len(name) + 1 + len(_inline(value)) > _WIDTH


def _inline(value: object) -> str:
    """Return a value on one line; texts have quotes where they need them."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_inline(k)}: {_inline(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if not isinstance(value, str):
        return _dump(value, None)
    # As an entry of a list, where commas and brackets need quotes too.
    plain = _dump([value], None)[1:-1]
    return plain if plain == value else _dump(value, '"')


def _dump(value: object, style: str | None) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, default_style=style, width=float("inf"), allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
