"""Reading and checking the block that describes a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from distsim.errors import WorkloadError, nearest, show
from distsim.workload.model import EXPERT_KEYS, FAMILIES, KEYS, MOE, ModelSpec

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
    "published_parameters": 10**18,
}
#: Counts that may be none at all.
_MAY_BE_ZERO = ("experts", "shared_experts", "shared_ffn", "dense_layers")
_CHOICES = {
    "family": tuple(FAMILIES),
    "norm": ("layernorm", "rmsnorm"),
    "activation": ("gelu", "swiglu"),
    "positions": ("learned", "rotary"),
}
_REQUIRED = {
    "family": "gpt",
    "layers": 32,
    "hidden": 4096,
    "heads": 32,
    "vocab": 51200,
    "max_positions": 2048,
}
_SWITCHES = ("tied_embeddings", "bias", "dropout", "qkv_bias", "qk_norm", "shared_gate")
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
        missing, DS223 to DS225 counts that do not divide, DS226 to DS229 experts that cannot be.
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
    spec = ModelSpec(**values)
    _check_heads(spec, path)
    _check_experts(spec, path)
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
    return _check_switch if key in _SWITCHES else _check_text


def _check_count(key: str, value: object, path: Path) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(key, value, path, "a whole number")
    least = 0 if key in _MAY_BE_ZERO else 1
    if not least <= value <= _COUNTS[key]:
        raise _out_of_range(key, value, path, f"{least} <= {key} <= {_COUNTS[key]}")


def _check_factor(key: str, value: object, path: Path) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong_type(key, value, path, "a number, or null to drop nothing")
    if not (value > 0 and isfinite(value)):
        raise _out_of_range(key, value, path, f"{key} > 0")


def _out_of_range(key: str, value: object, path: Path, rule: str) -> WorkloadError:
    return WorkloadError(
        "DS203",
        f"{key} is {show(value)}",
        path=path,
        value=value,
        rule=rule,
        fix="write a value in that range",
    )


def _check_choice(key: str, value: object, path: Path) -> None:
    choices = _CHOICES[key]
    if not isinstance(value, str):
        raise _wrong_type(key, value, path, f"one of {', '.join(choices)}")
    if value not in choices:
        near = nearest(value, choices)
        raise WorkloadError(
            "DS204",
            f"{key} {show(value)} is unknown",
            path=path,
            value=value,
            rule=f"{key} is one of {', '.join(choices)}",
            fix=f"did you mean {near}?" if near else f"use {' or '.join(choices)}",
        )


def _check_switch(key: str, value: object, path: Path) -> None:
    if not isinstance(value, bool):
        raise _wrong_type(key, value, path, "true or false")


def _check_text(key: str, value: object, path: Path) -> None:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= _LONGEST_TEXT:
        raise _wrong_type(key, value, path, f"a text of 1 to {_LONGEST_TEXT} characters")


def _wrong_type(key: str, value: object, path: Path, wanted: str) -> WorkloadError:
    return WorkloadError(
        "DS202",
        f"{key} is {show(value)}, not {wanted}",
        path=path,
        value=value,
        rule=f"{key} is {wanted}",
        fix=f"write {wanted}",
    )


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
            fix=f"use {_nearest_divisor(hidden, heads)} heads, or give head_dim",
        )
    return quotient


def _check_heads(spec: ModelSpec, path: Path) -> None:
    if spec.heads % spec.kv_heads:
        raise WorkloadError(
            "DS224",
            f"kv_heads({spec.kv_heads}) does not divide heads({spec.heads})",
            path=(*path, "kv_heads"),
            value=spec.kv_heads,
            rule="heads % kv_heads == 0: each head of keys and values serves as many queries",
            fix=f"use kv_heads: {_nearest_divisor(spec.heads, spec.kv_heads)}",
        )
    if spec.positions == "rotary" and spec.head_dim % 2:
        raise WorkloadError(
            "DS225",
            f"head_dim({spec.head_dim}) is odd",
            path=(*path, "head_dim"),
            value=spec.head_dim,
            rule="head_dim % 2 == 0 with rotary positions, which turn features in pairs",
            fix=f"use head_dim: {spec.head_dim + 1}, or positions: learned",
        )


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


def _check_experts(spec: ModelSpec, path: Path) -> None:
    if not spec.experts:
        _check_nothing_of_experts(spec, path)
        return
    most = spec.experts
    if spec.experts_per_token > most:
        raise WorkloadError(
            "DS227",
            f"experts_per_token({spec.experts_per_token}) is more than experts({most})",
            path=(*path, "experts_per_token"),
            value=spec.experts_per_token,
            rule="experts_per_token <= experts: a token goes to different experts",
            fix=f"use experts_per_token <= {most}, or more experts",
        )
    if MOE not in spec.layer_kinds:
        raise WorkloadError(
            "DS228",
            f"no layer has experts: dense_layers({spec.dense_layers}) and "
            f"moe_every({spec.moe_every}) leave none of {spec.layers}",
            path=(*path, "dense_layers" if spec.dense_layers else "moe_every"),
            value=spec.dense_layers or spec.moe_every,
            rule="some i in dense_layers + 1 .. layers has i % moe_every == 0",
            fix="lower dense_layers or moe_every, or set experts: 0",
        )
    _check_shared(spec, path)
    bound = spec.experts / spec.experts_per_token
    if spec.capacity_factor is not None and spec.capacity_factor > bound:
        rule = f"capacity_factor <= experts / experts_per_token = {bound:g}: an expert then has "
        rule += "room for every token"
        raise _out_of_range(
            "capacity_factor", spec.capacity_factor, (*path, "capacity_factor"), rule
        )


def _check_nothing_of_experts(spec: ModelSpec, path: Path) -> None:
    for key, silent in EXPERT_KEYS.items():
        value = getattr(spec, key)
        if value != silent:
            raise WorkloadError(
                "DS226",
                f"{key} is {show(value)}, but the model has no experts",
                path=(*path, key),
                value=value,
                rule=f"with experts: 0 there is no {key}",
                fix=f"remove {key}, or state experts and experts_per_token",
            )


def _check_shared(spec: ModelSpec, path: Path) -> None:
    count, width = spec.shared_experts, spec.shared_ffn
    if count and width and width % count == 0:
        return
    if not count and not width and not spec.shared_gate:
        return
    key = "shared_gate" if not count and not width else "shared_ffn"
    raise WorkloadError(
        "DS229",
        f"shared_experts({count}) and shared_ffn({width}) do not fit"
        + (" with a shared_gate" if key == "shared_gate" else ""),
        path=(*path, key),
        value=getattr(spec, key),
        rule="shared_ffn is the features of all shared experts, a whole number for each; without "
        "shared experts there are none, and nothing to gate",
        fix="state shared_experts and leave shared_ffn out where they are as wide as the others",
    )


def _nearest_divisor(whole: int, part: int) -> int:
    divisors = [d for d in range(1, whole + 1) if whole % d == 0]
    return min(divisors, key=lambda d: abs(d - part))
