"""All models by name or block: decoder-only transformers and every other family."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from distsim.workload import catalogue
from distsim.workload.families import FAMILIES
from distsim.workload.families.checking import choice
from distsim.workload.model import FAMILIES as DECODERS
from distsim.workload.model import ModelSpec
from distsim.workload.network import Model

Path = tuple[str | int, ...]

_check_family = choice(*DECODERS, *FAMILIES)


def _blocks() -> Mapping[str, Mapping[str, Any]]:
    """Return the block of every published model of another family than decoder-only ones."""
    return catalogue.blocks("families")


def names() -> tuple[str, ...]:
    """Return the names of all published models, decoder-only transformers first."""
    return (*catalogue.model_names(), *_blocks())


def network(name: str, *, path: Path = ()) -> Model:
    """Return a published model.

    Parameters
    ----------
    path : tuple of str or int, optional
        Where the name stands in the scenario, for errors.

    Raises
    ------
    WorkloadError
        DS222, with the nearest name.
    """
    if name in catalogue.model_names():
        return catalogue.model(name)
    if name not in _blocks():
        raise catalogue.unknown_model(name, names(), path)
    return _published(name)


@lru_cache(maxsize=64)
def _published(name: str) -> Model:
    block = {k: v for k, v in _blocks()[name].items() if k != "published_macs"}
    return FAMILIES[block["family"]](block, (), name)


def network_from_block(block: object, path: Path = ()) -> Model:
    """Return the model that a block of a scenario describes, of whatever family.

    Parameters
    ----------
    block : mapping
        Of a decoder-only transformer as `catalogue.model_from_block` takes it; of another family
        as its ``from_mapping`` does, or with ``base: NAME`` what differs from that model.

    Raises
    ------
    WorkloadError
        DS201 to DS205 and DS222 to DS229 for what a block may not say.
    """
    if isinstance(block, Mapping):
        base = block.get("base")
        if isinstance(base, str) and base in _blocks():
            lost = ("published_parameters", "published_macs", "source")
            kept = {k: v for k, v in _blocks()[base].items() if k not in lost}
            given = {k: v for k, v in block.items() if k != "base"}
            merged = {**kept, "source": f"{base}, changed", **given}
            return _of_family(merged, path, f"{base} (changed)")
        if block.get("family") is not None:
            return _of_family(block, path, str(block.get("name", "inline")))
    return catalogue.model_from_block(block, path)


def _of_family(block: Mapping[str, Any], path: Path, name: str) -> Model:
    family = _check_family("family", block["family"], (*path, "family"))
    if family in FAMILIES:
        return FAMILIES[family](block, path, name)
    return catalogue.model_from_block(block, path)


def decoder(model: Model) -> ModelSpec | None:
    """Return a model as a decoder-only transformer, or None."""
    return model if isinstance(model, ModelSpec) else None


def tied_elements(model: Model) -> int:
    """Return the elements of a table that both ends of a model share, 0 where none is."""
    if isinstance(model, ModelSpec):
        return model.vocab * model.hidden if model.tied_embeddings else 0
    if model.family == "encoder":
        from distsim.workload.families.encoder import EncoderSpec  # only where there is one

        if isinstance(model, EncoderSpec) and model.mlm_head:
            return model.vocab * model.hidden
    return 0


def vocabulary(model: Model) -> int:
    """Return the rows of a model's table of embeddings, 0 where it has none."""
    return int(getattr(model, "vocab", 0) or 0)
