"""A YAML text to plain values and their places, by the parser's events.

PyYAML's constructor follows YAML 1.1 and keeps no places, and its composer expands without bounds;
so only its scanner and parser (libyaml's where it is there) are used. The types are those of the
core schema of YAML 1.2.2, section 10.3.2; what YAML 1.1 reads in another way is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from typing import Any

import yaml

from distsim.errors import Place, SyntaxProblem, ValueProblem, show
from distsim.files import LIMITS, Limits
from distsim.positions import Path, Positions

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_SWITCH = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_.eE+-]*")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_BASE = re.compile(r"[-+]?0[xX][0-9a-fA-F_]+|[-+]?0[oO][0-7_]+|[-+]?0[bB][01_]+")
_SIXTIES = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")
_TAB_INDENT = re.compile(r"^ *\t[ \t]*\S", re.MULTILINE)
#: Digits beyond which a number is no count that anything has.
_LONGEST_NUMBER = 100


def parse_yaml(text: str, file: str, limits: Limits = LIMITS) -> tuple[Any, Positions]:
    """Return the value of a YAML text and where each key of it stands.

    Parameters
    ----------
    file : str
        Name for messages.

    Raises
    ------
    SyntaxProblem
        DS110 to DS118, DS121.
    ValueProblem
        DS120 values that YAML readers disagree on, DS213 numbers that are not finite.
    """
    reader = _Reader(text, file, limits)
    try:
        return reader.document(), reader.positions
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark and "nesting" in (error.problem or ""):  # libyaml's own limit comes first
            raise reader.too_deep((mark.line + 1, mark.column + 1)) from None
        raise _syntax(text, file, error, mark.line if mark else -1, mark) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) if isinstance(error.position, int) else -1
        raise _syntax(text, file, error, line, None) from None
    except UnicodeEncodeError as error:
        raise SyntaxProblem(
            "DS105",
            f"{show(text[error.start : error.start + 1])} cannot be written as UTF-8",
            rule="text in UTF-8",
            fix="remove the character",
            place=Place(file),
        ) from None


def _syntax(text: str, file: str, error: yaml.YAMLError, line: int, mark: Any) -> SyntaxProblem:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    context = getattr(error, "context", None) or ""
    begun = getattr(error, "context_mark", None)
    if context and begun and begun.line != line:
        context += f" begun on line {begun.line + 1}"
    lines = text.rstrip().split("\n")
    line = min(line, len(lines) - 1)  # the end of the text may be given as a line after the last
    return SyntaxProblem(
        "DS110",
        f"not YAML: {problem}{context and ', '}{context}",
        value=lines[line][:200] if line >= 0 else None,
        rule="YAML 1.2: key: value, with brackets and quotes closed",
        fix="look at this line and the one above; quote texts with ': ', '#' or brackets",
        place=Place(file, line + 1, mark.column + 1 if mark else 0),
    )


class _Reader:
    """Builds plain values from parser events, with bounds."""

    def __init__(self, text: str, file: str, limits: Limits) -> None:
        self.positions = Positions(file)
        self._file, self._limits = file, limits
        #: Value, values within it and its height, by name.
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._nodes = self._reached = 0
        tab = _TAB_INDENT.search(text)
        if tab:
            raise self._problem(
                "DS111",
                "a tab in the indentation",
                (text.count("\n", 0, tab.start()) + 1, tab.group().index("\t") + 1),
                value="\t",
                rule="blanks only",
                fix="replace the tab by blanks",
            )
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> Any:
        """Return the value of the only document, None if there is none."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), (), None, 0)
        next(self._events)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._problem(
                "DS115",
                "a second document begins",
                _mark(event),
                rule="one document in a file",
                fix="remove the line of dashes, or split the file",
            )
        return value

    def _value(self, event: Any, path: Path, key: tuple[int, int] | None, depth: int) -> Any:
        at = _mark(event)
        self.positions.add(path, at, key)
        self._count(1, at, path)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", at, path, depth)
        if event.tag is not None:
            raise self._problem(
                "DS116",
                f"a tag, {show(event.tag)}",
                at,
                path,
                value=event.tag,
                rule="no tags: types come from the schema",
                fix="remove the tag",
            )
        if isinstance(event, yaml.ScalarEvent):
            nodes, height = 0, 0
            value = event.value if event.style else self._plain(event.value, at, path)
        else:
            outer, nodes, self._reached = self._reached, self._nodes, depth
            self._reach(depth + 1, at, path)
            build = self._mapping if isinstance(event, yaml.MappingStartEvent) else self._sequence
            value = build(path, depth + 1)
            nodes, height = self._nodes - nodes, self._reached - depth
            self._reached = max(outer, self._reached)
        if event.anchor:
            # Known only from here on: a value cannot contain itself.
            self._anchors[event.anchor] = value, nodes, height
        return value

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items)), None, depth))
        return items

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            at = _mark(event)
            key = self._key(event, at, path)
            if key in items:
                raise self._problem(
                    "DS114",
                    f"{show(key)} stands here and on line {lines[key]}",
                    at,
                    (*path, key),
                    value=key,
                    rule="each key once in a mapping",
                    fix="remove one of the two",
                )
            lines[key] = at[0]
            items[key] = self._value(next(self._events), (*path, key), at, depth)
        return items

    def _key(self, event: Any, at: tuple[int, int], path: Path) -> str:
        if isinstance(event, yaml.ScalarEvent) and event.tag is None:
            key = event.value if event.style else self._plain(event.value, at, path)
            if key == "<<" and not event.style:
                raise self._problem(
                    "DS117",
                    "a merge key, <<",
                    at,
                    path,
                    value=key,
                    rule="each key is written out",
                    fix="write the keys out, or use an alias for the whole mapping",
                )
            if isinstance(key, str):
                return key
        else:
            key = getattr(event, "value", None) or "a collection, a tag or an alias"
        raise self._problem(
            "DS118",
            f"the key is {show(key)}",
            at,
            path,
            value=key,
            rule="a key is a text",
            fix="write the key as a word, in quotes if it looks like a number",
        )

    def _plain(self, text: str, at: tuple[int, int], path: Path) -> Any:
        """Return the value of a scalar without quotes."""
        if text in _NULL:
            return None
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        if text[0] not in "-+.0123456789yYnNoO":
            return text
        fix = _disputed(text)
        if fix:
            raise self._problem(
                "DS120",
                f"{show(text)} means different things to YAML readers",
                at,
                path,
                value=text,
                rule="true or false, a plain decimal number, or a text in quotes",
                fix=fix,
            )
        is_number = _FLOAT.fullmatch(text)
        if _NOT_FINITE.fullmatch(text) or (is_number and not _is_finite(text)):
            raise ValueProblem(
                "DS213",
                f"{show(text)} is not a finite number",
                path=path,
                value=text,
                rule=f"finite, with at most {_LONGEST_NUMBER} digits",
                fix="write the number",
                place=Place(self._file, *at),
            )
        if not is_number:
            return text
        return int(text) if _INT.fullmatch(text) else float(text)

    def _alias(self, name: str, at: tuple[int, int], path: Path, depth: int) -> Any:
        if name not in self._anchors:
            raise self._problem(
                "DS121",
                f"the alias *{name[:60]} has no anchor before it",
                at,
                path,
                value=name,
                rule="an alias stands for a value that was marked and is complete",
                fix=f"mark the value with &{name[:60]} above, or write it out",
            )
        value, nodes, height = self._anchors[name]
        self._count(nodes, at, path)
        self._reach(depth + height, at, path)
        return value

    def _count(self, nodes: int, at: tuple[int, int], path: Path) -> None:
        self._nodes += nodes
        if self._nodes > self._limits.nodes:
            raise self._problem(
                "DS113",
                f"more than {self._limits.nodes} values, aliases expanded",
                at,
                path,
                value=self._nodes,
                rule=f"at most {self._limits.nodes} values",
                fix="use fewer aliases and shorter lists",
            )

    def _reach(self, depth: int, at: tuple[int, int], path: Path) -> None:
        self._reached = max(self._reached, depth)
        if depth > self._limits.depth:
            raise self.too_deep(at, path[:3])

    def too_deep(self, at: tuple[int, int], path: Path = ()) -> SyntaxProblem:
        """Return the error of a text that nests too deep."""
        return self._problem(
            "DS112",
            f"nested deeper than {self._limits.depth}",
            at,
            path,
            rule=f"at most {self._limits.depth} collections within each other",
            fix="close the brackets, or flatten the file",
        )

    def _problem(
        self,
        code: str,
        message: str,
        at: tuple[int, int],
        path: Path = (),
        *,
        value: object = None,
        rule: str,
        fix: str,
    ) -> SyntaxProblem:
        place = Place(self._file, *at)
        return SyntaxProblem(code, message, path=path, value=value, rule=rule, fix=fix, place=place)


def _mark(event: Any) -> tuple[int, int]:
    """Return line and column of an event, from 1."""
    return event.start_mark.line + 1, event.start_mark.column + 1


def _is_finite(number: str) -> bool:
    return len(number) <= _LONGEST_NUMBER and isfinite(float(number))


def _disputed(text: str) -> str:
    """Return what to write instead of a scalar that YAML 1.1 and 1.2 read differently, if so."""
    if _SWITCH.fullmatch(text):
        plain = "true" if text.lower() in ("yes", "on") else "false"
        return f'write {plain} for a switch, or "{text}" in quotes for a text'
    if _UNDERSCORES.fullmatch(text):
        return f"write {text.replace('_', '')[:_LONGEST_NUMBER]}, without underscores"
    if _LEADING_ZERO.fullmatch(text):
        plain = re.sub(r"^\+?(-?)0+(?=[0-9])", r"\1", text)
        return f"write {plain[:_LONGEST_NUMBER]}, without zeros before it"
    if _BASE.fullmatch(text):
        return "write the number in decimal"
    if _SIXTIES.fullmatch(text):
        return f'write "{text[:_LONGEST_NUMBER]}" in quotes for a text'
    return ""
