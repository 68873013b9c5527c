"""The scenario beside a log: what it adds to the log, and where the two disagree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from distsim.errors import DistsimError, Place, ValueProblem, show
from distsim.positions import Positions
from distsim.scenario.load import build, read
from distsim.scenario.plain import merge, plain
from distsim.workload.zoo import network, network_from_block

Keys = tuple[str, ...]

#: Values that may be paths, seen from the scenario's own directory.
_PATHS: tuple[Keys, ...] = (
    *(("cluster", key) for key in ("topology", "device", "library", "host", "profile")),
    ("model",),
    ("stack",),
    ("plan", "schedule"),
)
#: What a block's name is where only a name stands.
_NAMES = ("compute", "mode", "name")
#: What a step time cannot be compared without.
_NEEDED: tuple[Keys, ...] = (
    ("cluster", "topology"),
    ("cluster", "devices"),
    ("model",),
    ("batch", "global_size"),
)
_MOST_MODELS = 10_000


@dataclass(frozen=True, slots=True)
class Base:
    """What a scenario says, complete or not.

    Attributes
    ----------
    data : dict
    positions : Positions
    name : str
        For messages.
    """

    data: dict[str, Any] = field(default_factory=dict)
    positions: Positions = field(default_factory=Positions)
    name: str = ""


def read_base(
    log: Path,
    scenario: str | os.PathLike[str] | Mapping[str, Any] | None,
    defaults: Mapping[str, Any],
) -> Base:
    """Return the scenario of a log: the one given, or that of the same stem beside it.

    Parameters
    ----------
    defaults : mapping
        What counts where that scenario says nothing.

    Raises
    ------
    FileError, SyntaxProblem, ValueProblem
        As `distsim.scenario.load.read`.
    """
    if scenario is None:
        scenario = next(filter(Path.is_file, _beside(log)), None)
    if scenario is None:
        return Base(plain(defaults), name="what was given" if defaults else "")
    data, positions = read(scenario)
    see_from_here(data, positions.directory)
    name = positions.file or "the scenario given"
    return Base(merge(plain(defaults), data), positions, name)


def _beside(log: Path) -> Iterator[Path]:
    """Yield ``a.log.yaml`` and ``a.yaml`` for ``a.log.gz``."""
    stem = log
    while stem.suffix and stem.name != stem.suffix:
        stem = stem.with_suffix("")
        for suffix in (".yaml", ".yml"):
            beside = stem.with_name(stem.name + suffix)
            if beside != log:
                yield beside


def see_from_here(data: dict[str, Any], directory: str) -> None:
    """Turn paths that are seen from a directory into paths that are seen from here."""
    for keys in _PATHS:
        _see_path(data, keys, directory)


def _see_path(data: dict[str, Any], keys: Keys, directory: str) -> None:
    block: Any = data
    for key in keys[:-1]:
        block = block.get(key)
        if not isinstance(block, dict):
            return
    name = block.get(keys[-1])
    is_path = isinstance(name, str) and (
        "/" in name or os.sep in name or name.endswith((".yaml", ".yml", ".json", ".csv"))
    )
    if is_path and "\0" not in name and os.path.exists(near := os.path.join(directory, name)):
        block[keys[-1]] = near


def completed(facts: Mapping[str, Any], base: Base) -> tuple[dict[str, Any], list[str]]:
    """Return what a log says, completed and overruled by the scenario beside it.

    Returns
    -------
    tuple
        The scenario, and a sentence for each value on which the two disagree.
    """
    return merge(dict(facts), base.data), list(_disagreements(facts, base.data, base.name, ()))


def _disagreements(
    facts: Mapping[str, Any], said: Mapping[str, Any], name: str, path: Keys
) -> Iterator[str]:
    for key, value in facts.items():
        if key not in said:
            continue
        other, where = said[key], (*path, key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from _disagreements(value, other, name, where)
        elif where == ("model",):
            yield from _other_model(value, other, name)
        elif _named(value) != _named(other):
            yield (
                f"{'.'.join(where)} is {show(_named(value))} in the log and {show(_named(other))} "
                f"in {name}, which counts"
            )


def _named(value: object) -> object:
    """Return the name in a block that may also be written as a name alone."""
    if isinstance(value, Mapping):
        return next((value[key] for key in _NAMES if key in value), value)
    return value


def _other_model(value: object, other: object, name: str) -> Iterator[str]:
    """Compare the sizes that a log states with those of the model that is named."""
    if not isinstance(value, Mapping) or not isinstance(other, str) or other.endswith(".json"):
        return
    try:
        spec = network(other)
    except DistsimError:
        return  # an unknown name is refused where the scenario is checked
    for key in ("layers", "hidden", "heads", "kv_heads", "ffn", "experts", "vocab"):
        stated = getattr(spec, key, None)
        if key in value and stated is not None and stated != value[key]:
            yield (
                f"model.{key} is {show(value[key])} in the log and {show(stated)} in {other}, the "
                f"model of {name}, which counts"
            )


class Checker:
    """Says whether a scenario is one that can be simulated, as far as it knows by itself."""

    def __init__(self, base: Base, file: str, stem: str) -> None:
        self._base, self._file, self._stem = base, file, stem
        self._models: set[str] = set()

    def check(self, data: dict[str, Any], line: int) -> None:
        """Refuse a scenario that cannot be.

        Raises
        ------
        DistsimError
            DS633 where something is missing; else as `distsim.scenario.load.load`, and for its
            model.
        """
        missing = [".".join(keys) for keys in _NEEDED if _at(data, keys) is None]
        if missing:
            where = self._base.name or "the scenario beside it, which is not there"
            raise ValueProblem(
                "DS633",
                f"nothing says {', '.join(missing)}",
                rule=f"what the file leaves open stands in {where}",
                fix=f"write it to {self._stem}.yaml beside the file, or give --scenario FILE",
                place=Place(self._file, line),
            )
        build(data, self._base.positions)
        model = data["model"]
        key = repr(model)
        if key in self._models:
            return
        if not isinstance(model, str):
            network_from_block(model, ("model",))
        elif not model.endswith(".json"):
            network(model, path=("model",))
        if len(self._models) < _MOST_MODELS:
            self._models.add(key)


def _at(data: object, keys: Keys) -> object:
    for key in keys:
        if not isinstance(data, Mapping):
            return data  # of a wrong type, which is refused with its place
        data = data.get(key)
    return data


def placed(error: DistsimError, base: Base, own: Mapping[str, Any], place: Place) -> DistsimError:
    """Return an error with the place of its value: in the scenario, unless the file states it.

    Parameters
    ----------
    own : mapping
        What the file says and the scenario does not overrule.
    place : Place
        In the file.
    """
    if not error.path or not _has(base.data, error.path) or _has(own, error.path):
        error.place = place
    elif error.place is None:
        error.place = base.positions.place(error.path) or place
    return error


def _has(data: object, path: tuple[str | int, ...]) -> bool:
    for key in path:
        if not isinstance(data, Mapping) or key not in data:
            return False
        data = data[key]
    return True


def reason(error: DistsimError, file: str) -> str:
    """Return an error as the reason why a line of a file is left out, on one line."""
    key = f" [{'.'.join(map(str, error.path))}]" if error.path else ""
    rule = f" ({shorten(error.rule, 160, placeholder=' ...')})" if error.rule else ""
    place = f"{error.place}: " if error.place is not None and error.place.file != file else ""
    return f"{place}{error.code}: {error.message}{key}{rule}"
