"""What is known of a type of Hugging Face configurations: its class, defaults, names and reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from distsim.record import record
from distsim.scenario.importers.huggingface_keys import Keys

#: The block of a model, as `distsim.workload.model_block` or a family's ``from_mapping`` reads it.
Model = dict[str, Any]


@record
class Family:
    """A type of models.

    Attributes
    ----------
    config : str
        Name of the configuration class.
    defaults : mapping
        Of the class. Without one for a key, the key is required.
    read : callable
        Takes the keys, returns the block of the model.
    other_names : mapping of str to str
        Second names of keys.
    allows : tuple of str
        Keys that say what the type has anyway, and models of other types may not have.
    """

    config: str
    defaults: Mapping[str, Any]
    read: Callable[[Keys], Model]
    other_names: Mapping[str, str] = field(default_factory=dict)
    allows: tuple[str, ...] = ()


def defaults(sizes: str, **others: Any) -> Mapping[str, Any]:
    """Return defaults: vocabulary, hidden size, width, layers, heads, positions, and others."""
    keys = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "max_position_embeddings"
    )
    numbers = dict(zip(keys.split(), map(int, sizes.split()), strict=True))
    return {"tie_word_embeddings": False, "attention_dropout": 0.0} | numbers | others


#: Defaults of most classes after LLaMA.
SILU = {"hidden_act": "silu"}
LLAMA = SILU | {"attention_bias": False, "mlp_bias": False}
SIZES_7B = "32000 4096 11008 32 32 2048"
#: Second names of GPT-2 and its kin.
GPT2_NAMES = {
    "n_embd": "hidden_size", "n_positions": "max_position_embeddings",
    "n_head": "num_attention_heads", "n_layer": "num_hidden_layers",
}  # fmt: skip
