"""Changes on the command line: ``--set plan.tp=4``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distsim.errors import DistsimError, Place, UsageError, show
from distsim.positions import Path, Positions
from distsim.scenario.plain import plain
from distsim.yamlparse import parse_yaml


def apply(
    data: dict[str, Any], assignments: Sequence[str], positions: Positions | None = None
) -> dict[str, Any]:
    """Return a copy of `data` with each assignment made, in order.

    Parameters
    ----------
    data : dict
        As read from a file.
    assignments : sequence of str
        ``KEY=VALUE`` with a dotted key; the value is a YAML scalar or ``[...]`` or ``{...}``.
    positions : Positions, optional
        Notes that the changed values come from ``--set``.

    Raises
    ------
    UsageError
        DS620 not KEY=VALUE, DS621 a key that goes through something else than a mapping.
    SyntaxProblem
        As for files, if the value is not YAML.
    """
    copy: dict[str, Any] = plain(data)
    for assignment in assignments:
        place = Place(f"--set {show(assignment)[1:-1]}")
        keys, value = _split(assignment, place)
        changed = _assign(copy, keys, value, place)
        if positions is not None:
            positions.override(changed, place)
    return copy


def assigned(
    data: Mapping[str, Any], keys: Sequence[str], value: Any, place: Place
) -> tuple[dict[str, Any], Path]:
    """Return `data` with one value set, and the path of what is new; `data` stays as it is.

    What is not on the way to the value is shared with `data`.

    Parameters
    ----------
    data : mapping
        Plain values.
    place : Place
        Where the value comes from, for the error.

    Raises
    ------
    UsageError
        DS621, as `apply`.
    """
    copy = dict(data)
    block: Any = copy
    for key in keys[:-1]:
        # What cannot be descended into is left to `_assign`, whose message says so.
        at: Any = int(key) if isinstance(block, list) and key.isdecimal() else key
        inner = block[at] if isinstance(block, list) and _has(block, at) else None
        inner = block.get(at) if isinstance(block, dict) else inner
        if not isinstance(inner, dict | list):
            break
        block[at] = block = inner.copy()
    return copy, _assign(copy, list(keys), value, place)


def _has(block: list[Any], at: object) -> bool:
    return isinstance(at, int) and at < len(block)


def _split(assignment: str, place: Place) -> tuple[list[str], Any]:
    key, equals, text = assignment.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(
            "DS620",
            f"{show(assignment)} is not KEY=VALUE" if not equals else f"{show(key)} is not a key",
            value=assignment,
            rule="KEY=VALUE with a dotted key",
            fix="write it as plan.tp=4",
            place=place,
        )
    try:
        # Errors in the value are placed at the assignment, not at a line of it.
        value, _ = parse_yaml(text, place.file)
    except DistsimError as error:
        error.place, error.path = place, tuple(keys)
        raise
    return keys, value


def _assign(data: dict[str, Any], keys: list[str], value: Any, place: Place) -> Path:
    """Set a value and return the path of what is new: the value, or a block made for it.

    A number descends into a list: ``jobs.0.devices``.
    """
    block: Any = data
    at: Any
    path: list[str | int] = []
    changed: Path | None = None
    for key in keys[:-1]:
        at = _step(block, key, path, keys, place)
        path.append(at)
        inner = block[at] if isinstance(block, list) else block.get(at)
        if inner is None:
            inner = block[at] = {}
            changed = changed or tuple(path)
        block = inner
    last = _step(block, keys[-1], path, keys, place)
    block[last] = value
    return changed or (*path, last)


def _step(block: Any, key: str, path: list[str | int], keys: list[str], place: Place) -> str | int:
    """Return the key, or the index where `block` is a list."""
    if isinstance(block, dict):
        return key
    if isinstance(block, list) and key.isdecimal() and int(key) < len(block):
        return int(key)
    where = ".".join(map(str, path))
    rule = "a dotted key descends through mappings, and through lists by number"
    if isinstance(block, list):
        fix = f"write {where}.0 .. {where}.{len(block) - 1}"
        what = f"{where} has {len(block)} entries, and {show(key)} is none of them"
    else:
        fix = f"set all of it: {where}='{{{'.'.join(keys[len(path) :])}: ...}}'"
        what = f"{where} is {show(block)}, not a mapping"
    raise UsageError("DS621", what, path=tuple(path), value=block, rule=rule, fix=fix, place=place)
