"""The shape of a decoder-only transformer, and its exact number of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from distsim.errors import WorkloadError, nearest, show

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder-only transformer.

    Attributes
    ----------
    family : {"gpt", "llama"}
        Whose conventions fill in what a block does not say (`FAMILIES`); nothing else depends
        on it.
    layers, hidden, heads, vocab : int
    kv_heads : int
        Heads of keys and values: `heads` = multi-head, fewer = grouped-query attention
        (Ainslie 2023, arXiv 2305.13245).
    head_dim : int
        Features of one head; ``heads * head_dim`` need not be `hidden`.
    ffn : int
        Features between the two projections of the feed-forward block.
    max_positions : int
        Tokens of the longest sequence. With learned positions there is one vector for each.
    norm : {"layernorm", "rmsnorm"}
    activation : {"gelu", "swiglu"}
        SwiGLU has two projections up, one of which gates the other (Shazeer 2020,
        arXiv 2002.05202).
    positions : {"learned", "rotary"}
    tied_embeddings : bool
        The LM head uses the token embedding.
    bias : bool
        Projections add a bias. The LM head never does.
    dropout : bool
        Trained with dropout on attention, residual branches and embedding.
    source : str
        Where the shape was published.
    published_parameters : int or None
        What the source prints; a rounded figure ends in zeros.
    """

    name: str
    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_positions: int
    norm: str
    activation: str
    positions: str
    tied_embeddings: bool
    bias: bool
    dropout: bool
    source: str
    published_parameters: int | None = None

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters, the sum of `parameters_by_part`."""
        return sum(self.parameters_by_part().values())

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of each part, over all layers.

        Returns
        -------
        dict of str to int
            ``token_embedding, position_embedding, attention, mlp, norms, lm_head``.

        Notes
        -----
        With h = hidden, f = ffn, V = vocab, q = heads * head_dim, k = kv_heads * head_dim:

        ==================  ====================================  =================
        part                weights                               biases, if any
        ==================  ====================================  =================
        token_embedding     V h                                   none
        position_embedding  max_positions * h, if learned         none
        attention           h (q + 2k) + q h a layer              q + 2k + h
        mlp, gelu           h f + f h a layer                     f + h
        mlp, swiglu         h 2f + f h a layer                    2f + h
        norms               h each: two a layer and a final one   h for LayerNorm
        lm_head             V h, none if tied                     none
        ==================  ====================================  =================

        For a GPT this is 12 l h^2 (1 + 13/12h + (V + s)/12lh), equation 2 of Narayanan 2021
        (arXiv 2104.04473), and 2h for the final norm, which that equation leaves out.
        """
        h, layers = self.hidden, self.layers
        query, pair = self.heads * self.head_dim, 2 * self.kv_heads * self.head_dim
        up = self.ffn * (2 if self.activation == "swiglu" else 1)
        attention = h * (query + pair) + query * h
        mlp = h * up + self.ffn * h
        if self.bias:
            attention += query + pair + h
            mlp += up + h
        return {
            "token_embedding": self.vocab * h,
            "position_embedding": self.max_positions * h if self.positions == "learned" else 0,
            "attention": layers * attention,
            "mlp": layers * mlp,
            "norms": (2 * layers + 1) * h * (2 if self.norm == "layernorm" else 1),
            "lm_head": 0 if self.tied_embeddings else self.vocab * h,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the counts of parameters included."""
        return {key: getattr(self, key) for key in KEYS} | {
            "parameters": self.parameters,
            "parameters_by_part": self.parameters_by_part(),
        }


#: What a family says where a block is silent (Radford 2019; Touvron 2023, arXiv 2302.13971).
FAMILIES: Mapping[str, Mapping[str, str | bool]] = {
    "gpt": {
        "norm": "layernorm",
        "activation": "gelu",
        "positions": "learned",
        "tied_embeddings": True,
        "bias": True,
        "dropout": True,
    },
    "llama": {
        "norm": "rmsnorm",
        "activation": "swiglu",
        "positions": "rotary",
        "tied_embeddings": False,
        "bias": False,
        "dropout": False,
    },
}

#: Keys of a model block, in the order of `ModelSpec`.
KEYS = tuple(field.name for field in fields(ModelSpec))

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
    "published_parameters": 10**18,
}
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
_LONGEST_TEXT = 1000


def from_mapping(block: object, path: Path = (), *, name: str = "inline") -> ModelSpec:
    """Return the model that a block describes.

    Parameters
    ----------
    block : mapping
        Keys of `ModelSpec`. ``family, layers, hidden, heads, vocab, max_positions`` are required;
        ``kv_heads`` is `heads`, ``head_dim`` is hidden / heads, ``ffn`` is 4 hidden in a GPT
        (required in a LLaMA) and the rest is as `FAMILIES` says. ``base`` is not known here:
        see `distsim.workload.catalogue.model_from_block`.
    path : tuple of str or int, optional
        Where the block stands, for errors.
    name : str, optional
        Name of the model if the block gives none.

    Raises
    ------
    WorkloadError
        DS201 unknown key, DS202 wrong type, DS203 out of range, DS204 no such choice, DS205 keys
        missing, DS223 to DS225 counts that do not divide.
    """
    given = checked(block, path)
    _require(given, tuple(_REQUIRED), path)
    values = {**FAMILIES[given["family"]], "name": name, "source": "stated inline", **given}
    hidden, heads = values["hidden"], values["heads"]
    if values["family"] == "gpt":
        values.setdefault("ffn", 4 * hidden)
    _require(values, ("ffn",), path)
    values.setdefault("kv_heads", heads)
    if "head_dim" not in values:
        values["head_dim"] = _head_dim(hidden, heads, path)
    spec = ModelSpec(**values)
    _check_heads(spec, path)
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
    return _check_switch if key in FAMILIES["gpt"] else _check_text


def _check_count(key: str, value: object, path: Path) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(key, value, path, "a whole number")
    if not 1 <= value <= _COUNTS[key]:
        raise WorkloadError(
            "DS203",
            f"{key} is {show(value)}",
            path=path,
            value=value,
            rule=f"1 <= {key} <= {_COUNTS[key]}",
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
        example = {**_REQUIRED, "ffn": 11008}
        raise WorkloadError(
            "DS205",
            f"the model has no {', '.join(missing)}",
            path=path,
            rule=f"a model states {', '.join(_REQUIRED)}; a llama also ffn",
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


def _nearest_divisor(whole: int, part: int) -> int:
    divisors = [d for d in range(1, whole + 1) if whole % d == 0]
    return min(divisors, key=lambda d: abs(d - part))
