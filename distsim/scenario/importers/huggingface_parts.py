"""Parts of the blocks of decoders that several Hugging Face types share."""

from __future__ import annotations

from collections.abc import Mapping

from distsim.scenario.importers.huggingface_keys import Keys
from distsim.scenario.importers.huggingface_type import Model

#: More layers than that are refused with the model; kinds of layers are listed one by one before.
MOST_LAYERS = 10_000
#: Keys of sizes where a type calls them as most do.
_NAMES = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "ffn": "intermediate_size",
    "positions": "max_position_embeddings",
}


def sizes(keys: Keys, **names: str) -> Model:
    """Return the sizes that every decoder states.

    Parameters
    ----------
    names : str, optional
        Keys that differ from those of most types: layers, hidden, heads, ffn, positions. An empty
        ffn is left out.
    """
    named: Mapping[str, str] = _NAMES | names
    model = {
        "layers": keys.count(named["layers"], 1, MOST_LAYERS),
        "hidden": keys.count(named["hidden"]),
        "heads": keys.count(named["heads"]),
        "vocab": keys.count("vocab_size"),
        "max_positions": keys.count(named["positions"]),
        "tied_embeddings": keys.flag("tie_word_embeddings"),
    }
    return model | ({"ffn": keys.count(named["ffn"])} if named["ffn"] else {})


def gated(
    keys: Keys,
    *,
    dropout: bool | None = None,
    own_width: bool = True,
    activation: str = "hidden_act",
) -> Model:
    """Return a LLaMA: RMSNorm, SwiGLU, rotary positions, no biases.

    Parameters
    ----------
    dropout : bool, optional
        As `Keys.dropout`; that of ``attention_dropout`` if left out.
    own_width : bool, optional
        The type has ``head_dim``; otherwise heads share the hidden size.
    activation : str, optional
        Key of the function of the gate.
    """
    return {
        "family": "llama",
        "norm": "rmsnorm",
        "positions": "rotary",
        **sizes(keys),
        **key_heads(keys, own_width=own_width),
        "activation": keys.activation(activation, gated=True),
        "bias": False,
        "dropout": keys.dropout("attention_dropout") if dropout is None else dropout,
    }


def gpt(positions: str) -> Model:
    """Return the conventions of a GPT."""
    return {"family": "gpt", "norm": "layernorm", "positions": positions, "bias": True}


def key_heads(keys: Keys, *, own_width: bool = True) -> Model:
    """Heads of keys and values, and features of a head; what is left out is derived, and said."""
    model, heads = {}, keys.count("num_attention_heads")
    if keys.look("num_key_value_heads") is None:
        keys.notes.add(f"num_key_value_heads not given: {heads}, as many as heads")
    else:
        model["kv_heads"] = keys.count("num_key_value_heads")
    if own_width and keys.look("head_dim") is not None:
        model["head_dim"] = keys.count("head_dim")
    elif keys.count("hidden_size") % heads == 0:
        width = keys.count("hidden_size") // heads
        if own_width:
            keys.notes.add(f"head_dim not given: {width}, hidden_size / num_attention_heads")
        elif keys.given.get("head_dim") == width:
            keys.used.add("head_dim")
    return model


def four_times(keys: Keys, key: str, hidden: int) -> int:
    """Return the width of a feed-forward block, four times the hidden size where it is null."""
    width = keys.count_or_none(key)
    if width is None:
        keys.notes.add(f"{key} not given: {4 * hidden}, four times the hidden size")
    return width or 4 * hidden


def biases(*, qkv: bool, out: bool, mlp: bool) -> Model:
    """Say which projections add a bias, in as few words as a block can."""
    model: Model = {"bias": mlp}
    if qkv != mlp:
        model["qkv_bias"] = qkv
    return model | ({"out_bias": out} if out != mlp else {})


def attention_bias(keys: Keys, key: str = "attention_bias") -> Model:
    """Return the biases of a type that has them in attention alone, if its flag is set."""
    attention = keys.flag(key)
    return biases(qkv=attention, out=attention, mlp=False)


def capped(keys: Keys, *names: str) -> None:
    """Note limits of values, which are part of the kernels beside them."""
    for key in names:
        if keys.look(key) is not None:
            keys.notes.add("limits of values are not counted as operators", key)
