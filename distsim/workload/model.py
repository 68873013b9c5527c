"""What a decoder-only transformer is: its dimensions, and how many parameters they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from distsim.errors import WorkloadError, nearest

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder-only transformer.

    Attributes
    ----------
    family : str
        ``gpt`` or ``llama``; sets the defaults of a block.
    layers, hidden, heads, kv_heads, head_dim, ffn, vocab, max_positions : int
    norm : str
        ``layernorm`` (scale and bias) or ``rmsnorm`` (scale).
    activation : str
        ``gelu`` (two feed-forward matrices) or ``swiglu`` (three).
    positions : str
        ``learned`` (a table of max_positions rows) or ``rotary``.
    tied_embeddings : bool
        The LM head uses the embedding's weights.
    bias : bool
        Projections have biases (the LM head never has).
    dropout : bool
        Dropout after attention, projections and embedding.
    published_parameters : int or None
        What the source states, rounded as it does.
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
    source: str = ""
    published_parameters: int | None = None

    def parameters_by_part(self) -> dict[str, int]:
        """Return parameters of each part of the whole model.

        Attention h (2 a + 2 k) d with a query and k key/value heads of dimension d; feed-forward
        2 h f (GELU) or 3 h f (SwiGLU); norms h each, twice that with biases; embeddings V h, and
        again for an untied head.
        """
        width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        up = self.ffn * (2 if self.activation == "swiglu" else 1)
        attention = self.hidden * (2 * width + 2 * kv_width)
        mlp = self.hidden * (up + self.ffn)
        if self.bias:
            attention += width + 2 * kv_width + self.hidden
            mlp += up + self.hidden
        norm = self.hidden * (2 if self.norm == "layernorm" else 1)
        return {
            "embedding": self.vocab * self.hidden,
            "positions": self.max_positions * self.hidden if self.positions == "learned" else 0,
            "attention": self.layers * attention,
            "mlp": self.layers * mlp,
            "norms": (2 * self.layers + 1) * norm,
            "head": 0 if self.tied_embeddings else self.vocab * self.hidden,
        }

    @property
    def parameters(self) -> int:
        """Exact number of parameters."""
        return sum(self.parameters_by_part().values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values with the counts."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "parameters": self.parameters,
            "parameters_by_part": self.parameters_by_part(),
        }


FAMILIES: dict[str, dict[str, Any]] = {
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
_CHOICES = {
    "family": tuple(FAMILIES),
    "norm": ("layernorm", "rmsnorm"),
    "activation": ("gelu", "swiglu"),
    "positions": ("learned", "rotary"),
}
_COUNTS = ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "max_positions")
_SWITCHES = ("tied_embeddings", "bias", "dropout")
_TEXTS = ("name", "source")
_KEYS = (*_CHOICES, *_COUNTS, *_SWITCHES, *_TEXTS, "published_parameters")
#: Larger than any model anyone has described; keeps arithmetic in range.
MAX_COUNT = 10**9


def _check(key: str, value: Any, path: Path) -> None:
    if key in _CHOICES and value not in _CHOICES[key]:
        near = nearest(str(value), _CHOICES[key])
        raise WorkloadError(
            "DS223", f"{key} is {value!r}", path=(*path, key), value=value,
            rule=f"one of {', '.join(_CHOICES[key])}",
            fix=f"did you mean {near!r}?" if near else f"write {key}: {_CHOICES[key][0]}",
        )  # fmt: skip
    if key in _COUNTS or (key == "published_parameters" and value is not None):
        limit = MAX_COUNT if key in _COUNTS else MAX_COUNT**2
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
            raise WorkloadError(
                "DS224", f"{key} is {value!r}", path=(*path, key), value=value,
                rule=f"a whole number from 1 to {limit:,}", fix=f"write for example {key}: 32",
            )  # fmt: skip
    if key in _SWITCHES and not isinstance(value, bool):
        raise WorkloadError(
            "DS224", f"{key} is {value!r}", path=(*path, key), value=value,
            rule="true or false", fix=f"write {key}: true or {key}: false",
        )  # fmt: skip
    if key in _TEXTS and not isinstance(value, str):
        raise WorkloadError(
            "DS224", f"{key} is {value!r}", path=(*path, key), value=value,
            rule="text", fix="quote it",
        )  # fmt: skip


def from_mapping(
    block: Mapping[str, Any], path: Path = (), *, base: ModelSpec | None = None
) -> ModelSpec:
    """Build a model from an inline block.

    Parameters
    ----------
    block : mapping
        ``family`` (default ``gpt``), ``layers``, ``hidden``, ``heads``, ``vocab``,
        ``max_positions``; optionally ``kv_heads`` (heads), ``head_dim`` (hidden / heads), ``ffn``
        (4 hidden), and what the family sets.
    base : ModelSpec, optional
        Model whose values stand where the block is silent.

    Raises
    ------
    WorkloadError
        DS222 an unknown key, DS223 not one of the choices, DS224 a value of the wrong kind or
        out of range, DS225 a missing key, DS226 heads that do not divide.
    """
    for key, value in block.items():
        if key not in _KEYS:
            near = nearest(str(key), _KEYS)
            raise WorkloadError(
                "DS222", f"unknown key {key!r}", path=(*path, key), value=key,
                rule=f"one of {', '.join(_KEYS)}",
                fix=f"did you mean {near!r}?" if near else "remove the key",
            )  # fmt: skip
        _check(key, value, path)
    start = {f.name: getattr(base, f.name) for f in fields(ModelSpec)} if base else {}
    derived = ("kv_heads", "head_dim", "ffn") if {"hidden", "heads"} & set(block) else ()
    values = {k: v for k, v in start.items() if k not in derived} | dict(block)
    if base is not None:
        values["published_parameters"] = block.get("published_parameters")
    family = values.setdefault("family", "gpt")
    values = FAMILIES[family] | values
    for key in ("layers", "hidden", "heads", "vocab", "max_positions"):
        if key not in values:
            raise WorkloadError(
                "DS225", f"the model has no {key}", path=path, value=None,
                rule="a model states layers, hidden, heads, vocab and max_positions",
                fix=f"add {key}, or base: NAME",
            )  # fmt: skip
    return _complete(values, path)


def _complete(values: dict[str, Any], path: Path) -> ModelSpec:
    hidden, heads = values["hidden"], values["heads"]
    if "head_dim" not in values:
        if hidden % heads:
            raise WorkloadError(
                "DS226", f"heads({heads}) does not divide hidden({hidden})",
                path=(*path, "heads"), value=heads,
                rule="hidden % heads == 0, unless head_dim is given",
                fix="change heads or hidden, or give head_dim",
            )  # fmt: skip
        values["head_dim"] = hidden // heads
    values.setdefault("kv_heads", heads)
    values.setdefault("ffn", 4 * hidden)
    values.setdefault("name", "inline")
    if heads % values["kv_heads"]:
        raise WorkloadError(
            "DS226", f"kv_heads({values['kv_heads']}) does not divide heads({heads})",
            path=(*path, "kv_heads"), value=values["kv_heads"],
            rule="heads % kv_heads == 0: each key/value head serves a group of query heads",
            fix=f"use a divisor of {heads}",
        )  # fmt: skip
    return ModelSpec(**values)
