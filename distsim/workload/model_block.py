"""Reading and checking the block that describes a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from distsim.errors import WorkloadError, nearest, show
from distsim.workload.attention_pattern import VARIANTS
from distsim.workload.families.checking import choice, out_of_range, wrong_type
from distsim.workload.model import FAMILIES, KEYS, NORM_PLACES, NORMS, ModelSpec
from distsim.workload.model_checks import check_model, nearest_divisor
from distsim.workload.vocabulary import SOFTMAXES

Path = tuple[str | int, ...]

#: Counts and the most that each may be: beyond any network, and products stay exact as floats.
_COUNTS = {
    "layers": 10_000,
    "hidden": 1_000_000,
    "heads": 100_000,
    "kv_heads": 100_000,
    "head_dim": 100_000,
    "ffn": 10_000_000,
    "vocab": 10_000_000,
    "max_positions": 100_000_000,
    "experts": 100_000,
    "experts_per_token": 100_000,
    "expert_ffn": 10_000_000,
    "shared_experts": 100_000,
    "shared_ffn": 10_000_000,
    "dense_layers": 10_000,
    "moe_every": 10_000,
    "extra_positions": 100_000,
    "attention_size": 100_000_000,
    "attention_stride": 100_000_000,
    "attention_global": 100_000_000,
    "full_attention_every": 10_000,
    "kv_lora_rank": 1_000_000,
    "q_lora_rank": 1_000_000,
    "rope_head_dim": 100_000,
    "v_head_dim": 100_000,
    "softmax_samples": 10_000_000,
    "routing_groups": 100_000,
    "routing_groups_per_token": 100_000,
    "published_parameters": 10**18,
}
#: Counts that may be none at all.
_MAY_BE_ZERO = (
    *("experts", "shared_experts", "shared_ffn", "dense_layers", "extra_positions"),
    *("attention_size", "attention_stride", "attention_global", "full_attention_every"),
    *("kv_lora_rank", "q_lora_rank", "rope_head_dim", "v_head_dim", "softmax_samples"),
    *("routing_groups", "routing_groups_per_token"),
)
_CHOICES = {
    "family": tuple(FAMILIES),
    "norm": tuple(NORMS),
    "norm_place": tuple(NORM_PLACES),
    "activation": ("gelu", "swiglu"),
    "positions": ("learned", "rotary", "alibi", "none"),
    "qk_norm_scales": ("shared", "each"),
    "attention": VARIANTS,
    "softmax": SOFTMAXES,
}
_REQUIRED = {
    "family": "gpt",
    "layers": 32,
    "hidden": 4096,
    "heads": 32,
    "vocab": 51200,
    "max_positions": 2048,
}
_SWITCHES = (
    *("tied_embeddings", "bias", "dropout", "head_bias", "router_bias", "qk_norm", "shared_gate"),
    *("embedding_norm", "parallel_block", "attention_sinks"),
)
#: Switches that may also be null: as `bias`.
_OVERRIDES = ("qkv_bias", "out_bias", "mlp_bias")
#: Lists of numbers, whole ones or shares of 1.
_LISTS = {"softmax_cutoffs": int, "softmax_shares": float}
_LONGEST_LIST = 100
_LONGEST_TEXT = 1000


def from_mapping(block: object, path: Path = (), *, name: str = "inline") -> ModelSpec:
    """Return the model that a block describes.

    Parameters
    ----------
    block : mapping
        Keys of `ModelSpec`. ``family, layers, hidden, heads, vocab, max_positions`` are required;
        ``kv_heads`` is `heads`, ``head_dim`` is hidden / heads, ``ffn`` is 4 hidden in a GPT
        (required in a LLaMA) and the rest is as `FAMILIES` says. With ``experts`` there is
        ``experts_per_token``, too; ``expert_ffn`` is `ffn`, or the other way round where no layer
        is dense, and ``shared_ffn`` is shared_experts * expert_ffn. ``base`` is not known here: see
        `distsim.workload.catalogue.model_from_block`.
    path : tuple of str or int, optional
        Where the block stands, for errors.
    name : str, optional
        Name of the model if the block gives none.

    Raises
    ------
    WorkloadError
        DS201 unknown key, DS202 wrong type, DS203 out of range, DS204 no such choice, DS205 keys
        missing, DS223 to DS225 counts that do not divide, DS226 to DS229 experts that cannot be,
        DS239 attention and DS220 a softmax that cannot be.
    """
    given = checked(block, path)
    _require(given, tuple(_REQUIRED), path)
    values = {**FAMILIES[given["family"]], "name": name, "source": "stated inline", **given}
    hidden, heads = values["hidden"], values["heads"]
    if values["family"] == "gpt":
        values.setdefault("ffn", 4 * hidden)
    if values.get("experts"):
        _fill_experts(values, path)
    _require(values, ("ffn",), path)
    values.setdefault("kv_heads", heads)
    if "head_dim" not in values:
        values["head_dim"] = _head_dim(hidden, heads, path)
    for key in _LISTS:
        values[key] = tuple(values.get(key, ()))
    spec = ModelSpec(**values)
    check_model(spec, path)
    return spec


def checked(block: object, path: Path = (), extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a block whose keys are known and whose values each have their type and range.

    Parameters
    ----------
    extra : tuple of str, optional
        Keys that are known beside those of `ModelSpec`; they are texts.

    Raises
    ------
    WorkloadError
        DS201 to DS204.
    """
    if not isinstance(block, Mapping):
        raise WorkloadError(
            "DS202",
            f"a model is {show(block)}, not a mapping",
            path=path,
            value=block,
            rule=f"a mapping with the keys {', '.join(_REQUIRED)}",
            fix="write key: value lines",
        )
    known = (*extra, *KEYS)
    for key, value in block.items():
        if key not in known:
            near = nearest(str(key), known)
            raise WorkloadError(
                "DS201",
                f"{show(key)} is not a key of a model",
                path=(*path, str(key)),
                value=key,
                rule=f"one of {', '.join(known)}",
                fix=f"did you mean {near}?" if near else "remove the key",
            )
        _checker(key)(key, value, (*path, key))
    return dict(block)


def _checker(key: str) -> Callable[[str, object, Path], None]:
    if key in _COUNTS:
        return _check_count
    if key in _CHOICES:
        return _check_choice
    if key == "capacity_factor":
        return _check_factor
    if key in _LISTS:
        return _check_list
    if key in _OVERRIDES:
        return _check_override
    return _check_switch if key in _SWITCHES else _check_text


def _check_count(key: str, value: object, path: Path) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(key, value, path, "a whole number")
    least = 0 if key in _MAY_BE_ZERO else 1
    if not least <= value <= _COUNTS[key]:
        raise out_of_range(key, value, path, f"{least} <= {key} <= {_COUNTS[key]}")


def _check_factor(key: str, value: object, path: Path) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong_type(key, value, path, "a number, or null to drop nothing")
    if not (value > 0 and isfinite(value)):
        raise out_of_range(key, value, path, f"{key} > 0")


def _check_choice(key: str, value: object, path: Path) -> None:
    choice(*_CHOICES[key])(key, value, path)


def _check_switch(key: str, value: object, path: Path) -> None:
    if not isinstance(value, bool):
        raise wrong_type(key, value, path, "true or false")


def _check_override(key: str, value: object, path: Path) -> None:
    if value is not None and not isinstance(value, bool):
        raise wrong_type(key, value, path, "true, false, or null to be as bias")


def _check_list(key: str, value: object, path: Path) -> None:
    kind = _LISTS[key]
    wanted = "a list of " + ("whole numbers" if kind is int else "shares from 0 to 1")
    if not isinstance(value, list | tuple) or len(value) > _LONGEST_LIST:
        raise wrong_type(key, value, path, wanted)
    for index, one in enumerate(value):
        right = isinstance(one, int if kind is int else int | float) and not isinstance(one, bool)
        if not right:
            raise wrong_type(key, one, (*path, index), wanted)
        most = _COUNTS["vocab"] if kind is int else 1
        if not 0 <= one <= most:
            raise out_of_range(key, one, (*path, index), f"0 <= {key} <= {most}")


def _check_text(key: str, value: object, path: Path) -> None:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= _LONGEST_TEXT:
        raise wrong_type(key, value, path, f"a text of 1 to {_LONGEST_TEXT} characters")


def _require(values: Mapping[str, object], keys: tuple[str, ...], path: Path) -> None:
    missing = [key for key in keys if key not in values]
    if missing:
        example = {**_REQUIRED, "ffn": 11008, "experts_per_token": 2}
        raise WorkloadError(
            "DS205",
            f"the model has no {', '.join(missing)}",
            path=path,
            rule=f"a model states {', '.join(_REQUIRED)}; a llama also ffn; one with experts also "
            "experts_per_token",
            fix=f"add {', '.join(f'{key}: {example[key]}' for key in missing)}, "
            "or start from a catalogue model with base: NAME",
        )


def _head_dim(hidden: int, heads: int, path: Path) -> int:
    quotient, rest = divmod(hidden, heads)
    if rest or quotient == 0:
        raise WorkloadError(
            "DS223",
            f"heads({heads}) does not divide hidden({hidden})",
            path=(*path, "heads"),
            value=heads,
            rule="hidden % heads == 0, unless head_dim is given",
            fix=f"use {nearest_divisor(hidden, heads)} heads, or give head_dim",
        )
    return quotient


def _fill_experts(values: dict[str, Any], path: Path) -> None:
    """Fill in what a block with experts leaves out."""
    _require(values, ("experts_per_token",), path)
    if "ffn" in values:
        values.setdefault("expert_ffn", values["ffn"])
    elif "expert_ffn" in values and _all_mixtures(values):
        values["ffn"] = values["expert_ffn"]
    _require(values, ("ffn",), path)
    if "shared_ffn" in values:
        values.setdefault("shared_experts", 1 if values["shared_ffn"] else 0)
    else:
        values["shared_ffn"] = values.get("shared_experts", 0) * values["expert_ffn"]


def _all_mixtures(values: Mapping[str, Any]) -> bool:
    return not values.get("dense_layers") and values.get("moe_every", 1) == 1
