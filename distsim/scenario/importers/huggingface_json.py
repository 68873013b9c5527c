"""Reading the JSON of a Hugging Face ``config.json``: bounded, and every key with its line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from typing import Any, NoReturn

from distsim.errors import FileError, Place, SyntaxProblem, show
from distsim.files import LIMITS, read_text

Path = tuple[str | int, ...]

#: Errors of files whose message names the file: they are the problem of whoever names it.
_OF_THE_NAME = ("DS101", "DS102", "DS103")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?|[{}\[\]\n]', re.DOTALL)


def read_json(
    source: str | PathLike[str], path: Path = ()
) -> tuple[dict[str, Any], Mapping[Path, int]]:
    """Return the object of a JSON file, and the line of each key of it and of the objects in it.

    Parameters
    ----------
    source : str or path
    path : tuple, optional
        Where the file is named, for errors about its name.

    Raises
    ------
    FileError
        DS101 to DS106.
    SyntaxProblem
        DS250 for what is not JSON, DS112 to DS114, DS119.
    """
    name = plain(fspath(source), 200)
    try:
        text = read_text(source)
    except FileError as error:
        error.path = path
        if path and error.code in _OF_THE_NAME:
            error.place = None
        raise
    data = _parsed(text, name)
    if not isinstance(data, dict):
        raise SyntaxProblem(
            "DS119",
            f"the file holds {show(data)} at the top",
            value=data,
            rule="a JSON object of keys and values",
            fix="give the config.json of a model",
            place=Place(name, 1),
        )
    _check_size(data, name)
    return data, dict(_lines(text))


def plain(text: str, longest: int = 60) -> str:
    """Return a text that can be printed on one line, cut where it is long."""
    return "".join(c if c.isprintable() else "?" for c in text[:longest])


def _parsed(text: str, name: str) -> object:
    try:
        return json.loads(
            text, object_pairs_hook=lambda pairs: _object(pairs, name), parse_constant=_refused
        )
    except RecursionError:
        raise _too_deep(name) from None
    except json.JSONDecodeError as error:
        raise _not_json(error.msg, Place(name, error.lineno, error.colno)) from None
    except ValueError as error:  # a constant such as NaN, or a number of thousands of digits
        raise _not_json(str(error), Place(name)) from None


def _object(pairs: list[tuple[str, Any]], name: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise SyntaxProblem(
            "DS114",
            f"the key {show(twice)} is given twice",
            value=twice,
            rule="each key once in an object",
            fix="remove one of the two",
            place=Place(name),
        )
    return found


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _not_json(reason: str, place: Place) -> SyntaxProblem:
    return SyntaxProblem(
        "DS250",
        f"the file is not JSON: {plain(reason, 200)}",
        rule="one JSON object (RFC 8259), as transformers writes it",
        fix="mend that place, or download the config.json again",
        place=place,
    )


def _too_deep(name: str) -> SyntaxProblem:
    return SyntaxProblem(
        "DS112",
        "the file is nested too deep",
        rule=f"at most {LIMITS.depth} objects and lists within one another",
        fix="check that the path is the right file",
        place=Place(name),
    )


def _check_size(data: object, name: str) -> None:
    level: list[Any] = [data]
    total = 0
    for _ in range(LIMITS.depth + 1):
        level = [
            value
            for inner in level
            for value in (inner.values() if isinstance(inner, dict) else inner)
        ]
        total += len(level)
        if total > LIMITS.nodes:
            raise SyntaxProblem(
                "DS113",
                f"the file has more than {LIMITS.nodes} values",
                value=total,
                rule=f"at most {LIMITS.nodes} values",
                fix="check that the path is the right file",
                place=Place(name),
            )
        level = [value for value in level if isinstance(value, dict | list)]
        if not level:
            return
    raise _too_deep(name)


def _lines(text: str) -> Iterator[tuple[Path, int]]:
    """Yield the keys of valid JSON with their lines; those of lists are left out."""
    line, names = 1, [""]
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token in ("{", "["):
            names.append("")
        elif token in ("}", "]"):
            names.pop()
        elif match[1] is not None and len(names) <= 3:
            key = json.loads(token[: -len(match[1])])
            names[-1] = key
            yield tuple(names[1:]), line
            line += token.count("\n")
