"""Published models by name, and models that change a few things of a published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from distsim.errors import WorkloadError, nearest, show
from distsim.files import load_yaml, shipped, shipped_names
from distsim.workload.model import EXPERT_KEYS, ModelSpec
from distsim.workload.model_block import Path, checked, from_mapping


@lru_cache(maxsize=2)
def blocks(kind: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the block of every model of a kind: what its file says of all, then of it alone.

    Parameters
    ----------
    kind : {"models", "families"}
        Decoder-only transformers, or models of another family.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for file in shipped_names(kind):
        data, _ = load_yaml(shipped(kind, file))
        for name, block in data["models"].items():
            found[name] = MappingProxyType({**data["defaults"], **block})
    return MappingProxyType(found)


def unknown_model(name: str, known: Sequence[str], path: Path) -> WorkloadError:
    """Return the error for a model that is not one of `known` (DS222), with the nearest name."""
    near = nearest(name, known)
    return WorkloadError(
        "DS222",
        f"there is no model {show(name)}",
        path=path,
        value=name,
        rule=f"one of {', '.join(known)}; or a block with the model's shape",
        fix=f"did you mean {near}?" if near else "use one of these names",
    )


def _blocks() -> Mapping[str, Mapping[str, Any]]:
    return blocks("models")


def model_names() -> tuple[str, ...]:
    """Return the names of the catalogue's models, by family and then by size."""
    return tuple(_blocks())


def model(name: str, *, path: Path = ()) -> ModelSpec:
    """Return a model of the catalogue.

    Parameters
    ----------
    name : str
    path : tuple of str or int, optional
        Where the name stands in the scenario, for errors.

    Raises
    ------
    WorkloadError
        DS222, with the nearest name.
    """
    if name not in _blocks():
        raise unknown_model(name, model_names(), path)
    return _model(name)


@lru_cache(maxsize=64)
def _model(name: str) -> ModelSpec:
    return from_mapping(_blocks()[name], name=name)


def model_from_block(block: object, path: Path = ()) -> ModelSpec:
    """Return the model that a block of a scenario describes, with or without a base.

    Parameters
    ----------
    block : mapping
        As `from_mapping` takes it; with ``base: NAME`` only what differs from that model. What
        the base leaves to be derived is derived anew: half the ``hidden`` of a GPT halves its
        ``ffn`` too. With ``experts: 0`` nothing is left of the experts of the base.
    path : tuple of str or int, optional
        Where the block stands, for errors.

    Raises
    ------
    WorkloadError
        DS222 for an unknown base, otherwise as `from_mapping`.
    """
    given = checked(block, path, extra=("base",))
    base = given.pop("base", None)
    if base is None:
        return from_mapping(given, path)
    original = model(base, path=(*path, "base"))
    changes = {key: value for key, value in given.items() if value != getattr(original, key)}
    if not changes:
        return original
    lost = {"source", "published_parameters"}
    if given.get("experts") == 0:
        lost |= {*EXPERT_KEYS}
    kept = {k: v for k, v in _blocks()[base].items() if k not in lost}
    said = ", ".join(f"{k}={v}" for k, v in changes.items() if k not in ("name", "source"))
    source = f"{base} with {said}" if said else original.source
    return from_mapping({**kept, "source": source, **given}, path, name=f"{base} (changed)")
