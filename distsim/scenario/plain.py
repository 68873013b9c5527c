"""Plain copies of data that comes from Python: dicts with text keys, lists, numbers, texts."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from numbers import Integral
from typing import Any

from distsim.errors import ValueProblem, show
from distsim.files import LIMITS
from distsim.positions import Path

#: Types whose values are plain already.
_PLAIN = frozenset((bool, int, str))


def plain(value: object, path: Path = ()) -> Any:
    """Return a deep copy of `value` in plain types; numpy's numbers become Python's.

    Raises
    ------
    ValueProblem
        DS202 a type that has no plain form or a key that is no text; DS213 a number that is not
        finite.
    """
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        if isfinite(value):
            return float(value)
        raise ValueProblem(
            "DS213",
            f"{value} is not a finite number",
            path=path,
            value=value,
            rule="finite",
            fix="write the number",
        )
    if isinstance(value, Mapping | list | tuple):
        if len(path) >= LIMITS.depth:
            raise _refused(value, path[:3], f"nested deeper than {LIMITS.depth}")
        if isinstance(value, Mapping):
            return {_key(k, path): plain(v, (*path, str(k))) for k, v in value.items()}
        return [plain(v, (*path, i)) for i, v in enumerate(value)]
    if isinstance(value, Integral):
        return int(value)
    raise _refused(value, path, f"{show(value)} is {type(value).__name__}")


def _key(key: object, path: Path) -> str:
    if isinstance(key, str):
        return str(key)
    raise _refused(key, path, f"the key {show(key)} is {type(key).__name__}, not a text")


def _refused(value: object, path: Path, message: str) -> ValueProblem:
    return ValueProblem(
        "DS202",
        message,
        path=path,
        value=value,
        rule="mappings with text keys, lists, numbers, texts, true, false and null",
        fix="convert the value",
    )


def merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` merged in: mappings key by key, the rest replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            value = merge(old, value)
        merged[key] = value
    return merged
