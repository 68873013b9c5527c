"""The only reader of scenario files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from os import PathLike
from typing import Any

from pydantic import BaseModel, ValidationError

from distsim.errors import ValueProblem, show
from distsim.files import find, load_yaml
from distsim.positions import Path, Positions
from distsim.scenario.overrides import apply
from distsim.scenario.plain import merge, plain
from distsim.scenario.problems import first_problem
from distsim.scenario.schema import Scenario
from distsim.store import Same

#: Names of the fields of a scenario by what they are called in a file.
_FIELDS = {field.alias or name: name for name, field in Scenario.model_fields.items()}


def load(
    source: str | PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = ()
) -> Scenario:
    """Return a scenario that is valid by itself.

    Parameters
    ----------
    source : str, path or mapping
        A path of a YAML file, the name of a shipped scenario, or the content as a mapping.
    overrides : sequence of str
        Changes such as ``plan.tp=4``, made before anything is checked.

    Raises
    ------
    FileError, SyntaxProblem
        DS1xx, the file.
    ValueProblem
        DS2xx, what it says: the first problem by its place, and how many others there are.
    UsageError
        DS620, DS621, `overrides`.
    """
    data, positions = read(source)
    if overrides:
        data = apply(data, overrides, positions)
    return build(data, positions)


def read(source: str | PathLike[str] | Mapping[str, Any]) -> tuple[dict[str, Any], Positions]:
    """Return the content of a scenario file, and where everything stands."""
    if isinstance(source, Mapping):
        return plain(source), Positions()
    if isinstance(source, str | PathLike):
        return load_yaml(find("scenarios", source))
    raise ValueProblem(
        "DS202",
        f"{show(source)} is {type(source).__name__}, not a scenario",
        value=source,
        rule="a path, the name of a shipped scenario, or a mapping",
        fix="give one of these",
    )


def build(data: dict[str, Any], positions: Positions) -> Scenario:
    """Return the scenario of a file's content.

    Raises
    ------
    ValueProblem
        For the first problem by its place.
    """
    if "jobs" in data:
        problem = ValueProblem(
            "DS245",
            "the scenario holds several jobs",
            path=("jobs",),
            rule="this takes a scenario of one job",
            fix="use distsim run, or load_jobs and simulate_jobs in Python",
        )
        where = positions.place(("jobs",), key=True)
        raise problem.at(where) if where else problem
    try:
        return Scenario.placed(data, positions)
    except ValidationError as error:
        raise first_problem(error, positions) from None


def changed(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """Return `scenario` with `changes` merged in and checked; see `Scenario.with_`."""
    checked: dict[str, Any] = plain(changes)
    positions = scenario.positions.copy()
    for path, value in _leaves(checked, ()):
        positions.change(path, value)
    # Blocks that stay are valid, and one object for all scenarios made of this one.
    kept = {
        key: value
        for key, name in _FIELDS.items()
        if key not in checked and (value := getattr(scenario, name)) is not None
    }
    before = {key: getattr(scenario, _FIELDS[key]) for key in checked if key in _FIELDS}
    base = {key: _dumped(Same(value)) for key, value in before.items() if value is not None}
    return build(kept | merge(base, checked), positions)


@lru_cache(maxsize=256)
def _dumped(of: Same) -> Any:
    """Return plain values of what a scenario has; those who change them change a copy."""
    block = of.of
    if isinstance(block, BaseModel):
        return block.model_dump(mode="json", by_alias=True, exclude_none=True)
    return block


def _leaves(block: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Path, Any]]:
    for key, value in block.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value
