"""Models by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from distsim.errors import WorkloadError, nearest
from distsim.files import load_yaml, shipped, shipped_names
from distsim.workload.model import ModelSpec, Path, from_mapping


@lru_cache(maxsize=1)
def _blocks() -> dict[str, dict[str, Any]]:
    """Return the raw block of every model; one file a family."""
    out: dict[str, dict[str, Any]] = {}
    for file in shipped_names("models"):
        raw, _ = load_yaml(shipped("models", file))
        common = {"family": raw["family"], **raw.get("common", {})}
        out |= {name: {**common, "name": name, **block} for name, block in raw["models"].items()}
    return out


def model_names() -> tuple[str, ...]:
    """Return the names of all models in the catalogue."""
    return tuple(_blocks())


def model(name: str, *, path: Path = ()) -> ModelSpec:
    """Return a model by name.

    Raises
    ------
    WorkloadError
        DS227 with the nearest name.
    """
    block = _blocks().get(name)
    if block is None:
        near = nearest(name, model_names())
        raise WorkloadError(
            "DS227", f"unknown model {name!r}", path=path, value=name,
            rule=f"one of the {len(model_names())} models of the catalogue, or an inline block",
            fix=f"did you mean {near!r}?" if near else "`distsim models` lists them",
        )  # fmt: skip
    return from_mapping(block, path)


def model_from_block(block: Mapping[str, Any], path: Path) -> ModelSpec:
    """Return the model of an inline block, which may change a few keys of ``base: NAME``."""
    rest = {k: v for k, v in block.items() if k != "base"}
    if "base" not in block:
        return from_mapping(rest, path)
    if not isinstance(block["base"], str):
        raise WorkloadError(
            "DS224", f"base is {block['base']!r}", path=(*path, "base"), value=block["base"],
            rule="the name of a model in the catalogue", fix="write for example base: gpt3-175b",
        )  # fmt: skip
    base = model(block["base"], path=(*path, "base"))
    return from_mapping({"name": f"{base.name} (changed)", **rest}, path, base=base)
