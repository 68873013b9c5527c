"""Changing one value of a YAML text and nothing else: comments, order and spelling stay.

What comes out is a proposal: whoever asks reads it again, and writes the scenario anew where it is
not what was meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

#: Line breaks of YAML 1.1, by which the parser counts.
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class _Node:
    """A value of the text: where it begins and ends, and what is in it.

    Attributes
    ----------
    kind : str
        ``scalar``, ``mapping``, ``sequence`` or ``alias``.
    begin, end : int
        Characters of the text.
    flow : bool
        In brackets.
    column : int
        Of the first key.
    last : int
        End of the last value that is no collection in blocks.
    """

    kind: str
    begin: int
    end: int = 0
    flow: bool = False
    column: int = 0
    last: int = 0
    items: dict[str, _Node] = field(default_factory=dict)


def edited(text: str, change: str) -> str | None:
    r"""Return a text with one value changed in its place, or None where it has no such place.

    Parameters
    ----------
    change : str
        ``plan.tp=4``: a dotted key and a value in YAML.

    Examples
    --------
    >>> edited("plan: {tp: 8, pp: 2}  # as measured\n", "plan.tp=4")
    'plan: {tp: 4, pp: 2}  # as measured\n'
    """
    key, _, value = change.partition("=")
    keys, value = key.strip().split("."), value.strip()
    if "\n" in value or not value:
        return None
    try:
        root = _Reader(text).root()
    except (yaml.YAMLError, StopIteration, UnicodeEncodeError, IndexError):
        return None
    node = root
    for at, name in enumerate(keys):
        if node.kind != "mapping":
            return None
        inner = node.items.get(name)
        if inner is None:
            return _inserted(text, node, keys[at:], value)
        node = inner
    if node.kind == "alias":
        return None
    end = node.end if node.flow or node.kind == "scalar" else node.last
    lead = "" if node.kind == "scalar" or node.flow else " "
    begin = node.begin if not lead else _after_colon(text, node.begin)
    lead = " " if begin == node.begin == end and text[begin - 1 : begin] == ":" else lead
    return f"{text[:begin]}{lead}{value}{text[end:]}"


def _after_colon(text: str, begin: int) -> int:
    """Return where the line of the key of a block ends: its value begins on a later one."""
    return len(text[:begin].rstrip())


def _inserted(text: str, node: _Node, keys: list[str], value: str) -> str | None:
    """Return the text with a new key at the end of a mapping, and mappings for those below it."""
    for key in reversed(keys[1:]):
        value = f"{{{key}: {value}}}"
    entry = f"{keys[0]}: {value}"
    if node.flow:
        at = node.end - 1
        while at > node.begin and text[at - 1] in " \n":
            at -= 1
        comma = ", " if node.items else ""
        return f"{text[:at]}{comma}{entry}{text[at:]}"
    if not node.items:
        return None
    line = text.find("\n", node.last)
    at = len(text) if line < 0 else line
    return f"{text[:at]}\n{' ' * node.column}{entry}{text[at:]}"


class _Reader:
    """Builds nodes from the parser's events."""

    def __init__(self, text: str) -> None:
        self._lines = [0]
        self._lines += [found.end() for found in _BREAK.finditer(text)]
        self._lines.append(len(text))  # where the parser ends a text whose last line does not
        self._events = iter(yaml.parse(text, Loader=_LOADER))

    def root(self) -> _Node:
        """Return the value of the first document."""
        next(self._events)
        next(self._events)
        return self._node(next(self._events))

    def _at(self, mark: Any) -> int:
        return int(self._lines[mark.line] + mark.column)

    def _node(self, event: Any) -> _Node:
        begin, end = self._at(event.start_mark), self._at(event.end_mark)
        if isinstance(event, yaml.ScalarEvent):
            return _Node("scalar", begin, end, last=end)
        if isinstance(event, yaml.AliasEvent):
            return _Node("alias", begin, end, last=end)
        sequence = isinstance(event, yaml.SequenceStartEvent)
        node = _Node("sequence" if sequence else "mapping", begin, flow=bool(event.flow_style))
        closing = yaml.SequenceEndEvent if sequence else yaml.MappingEndEvent
        while True:
            inner: Any = next(self._events)
            if isinstance(inner, closing):
                break
            if not sequence and not node.items:
                node.column = inner.start_mark.column
            if sequence:
                child = self._node(inner)
            else:
                child = self._node(next(self._events))
                node.items[getattr(inner, "value", None) or ""] = child
            node.last = child.last
        node.end = self._at(inner.end_mark)
        node.last = node.end if node.flow else node.last
        return node
