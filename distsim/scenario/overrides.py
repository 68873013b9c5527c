"""Changes on the command line: ``--set plan.tp=4``."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Set a value and return the path of what is new: the value, or a block made for it."""
    block, changed = data, tuple(keys)
    for n, key in enumerate(keys[:-1], 1):
        inner = block.get(key)
        if inner is None:
            inner = block[key] = {}
            changed = min(changed, tuple(keys[:n]))
        if not isinstance(inner, dict):
            raise UsageError(
                "DS621",
                f"{'.'.join(keys[:n])} is {show(inner)}, not a mapping",
                path=tuple(keys[:n]),
                value=inner,
                rule="a dotted key descends through mappings",
                fix=f"set all of it: {'.'.join(keys[:n])}='{{{keys[n]}: ...}}'",
                place=place,
            )
        block = inner
    block[keys[-1]] = value
    return changed
