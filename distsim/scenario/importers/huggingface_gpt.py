"""Which decoder like GPT-2 a Hugging Face configuration describes: LayerNorm, blocks without gates.

As `huggingface_families`: what is built is what the model classes of ``transformers`` 5.24.0 build.
"""

from __future__ import annotations

from collections.abc import Mapping

from distsim.errors import show
from distsim.scenario.importers.huggingface_keys import Keys
from distsim.scenario.importers.huggingface_parts import (
    MOST_LAYERS,
    biases,
    capped,
    four_times,
    gpt,
    key_heads,
    sizes,
)
from distsim.scenario.importers.huggingface_type import GPT2_NAMES, Family, Model, defaults
from distsim.scenario.importers.huggingface_windows import windowed

_TRAINED_LENGTH = 2048  # BLOOM (Workshop 2022, arXiv 2211.05100, table 3)


def gpt2(keys: Keys) -> Model:
    """GPT-2 (Radford 2019): learned positions, biases, dropout."""
    return gpt("learned") | _named_as_gpt2(keys)


def gpt_bigcode(keys: Keys) -> Model:
    """StarCoder (Li 2023, arXiv 2305.06161): a GPT-2 with one head of keys and values."""
    return gpt2(keys) | ({"kv_heads": 1} if keys.flag("multi_query") else {})


def gptj(keys: Keys) -> Model:
    """GPT-J (Wang 2021) and CodeGen (Nijkamp 2022, arXiv 2203.13474): branches side by side."""
    _note_rotary_part(keys, "rotary_dim")
    return {
        **gpt("rotary"),
        **_named_as_gpt2(keys),
        **biases(qkv=False, out=False, mlp=True),
        "parallel_block": True,
        "head_bias": True,
    }


def _named_as_gpt2(keys: Keys) -> Model:
    named = {"layers": "n_layer", "hidden": "n_embd", "heads": "n_head", "positions": "n_positions"}
    model = sizes(keys, **named, ffn="")
    return model | {
        "ffn": four_times(keys, "n_inner", model["hidden"]),
        "activation": keys.activation("activation_function", gated=False),
        "dropout": keys.dropout("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    }


def gpt_neo(keys: Keys) -> Model:
    """GPT-Neo (Black 2021): a GPT-2 with a window in every other layer."""
    model = {
        **gpt("learned"),
        **sizes(keys, layers="num_layers", heads="num_heads", ffn=""),
        **biases(qkv=False, out=True, mlp=True),
        "activation": keys.activation("activation_function", gated=False),
        "dropout": keys.dropout("attention_dropout", "resid_dropout", "embed_dropout"),
    }
    model["ffn"] = four_times(keys, "intermediate_size", model["hidden"])
    whole = _global_layers(keys, model["layers"])
    return windowed(
        keys, model, lambda number: whole[number - 1], listed=False, size_key="window_size"
    )


def _global_layers(keys: Keys, layers: int) -> list[bool]:
    """Return which layers attend in full: ``attention_types`` lists kinds and their repetitions."""
    listed = keys.look("attention_types")
    whole: list[bool] = []
    for item in listed if isinstance(listed, list) else ():
        kinds, times = item if isinstance(item, list) and len(item) == 2 else (None, None)
        if not isinstance(kinds, list) or not all(kind in ("global", "local") for kind in kinds):
            kinds = []
        if not kinds or type(times) is not int or not 0 <= times <= MOST_LAYERS:
            whole = []
            break
        whole += [kind == "global" for kind in kinds] * times
        if len(whole) > layers:
            break
    if len(whole) != layers:
        raise keys.error(
            "DS254",
            f"attention_types is {show(listed)}, not a kind for each of {layers} layers",
            "attention_types",
            value=listed,
            rule="attention_types is a list of [kinds, times], the kinds global and local, for as "
            "many layers as there are",
            fix=f'write for example [[["global", "local"], {layers // 2}]]',
        )
    return whole


def gpt_neox(keys: Keys) -> Model:
    """GPT-NeoX (Black 2022, arXiv 2204.06745, section 2)."""
    if keys.flag("use_parallel_residual"):
        _note_two_norms(keys, "use_parallel_residual")
    attention = keys.flag("attention_bias")
    return {
        **gpt("rotary"),
        **sizes(keys),
        **biases(qkv=attention, out=attention, mlp=True),
        "activation": keys.activation("hidden_act", gated=False),
        "dropout": keys.dropout("attention_dropout", "hidden_dropout"),
    }


def starcoder2(keys: Keys) -> Model:
    """StarCoder 2 (Lozhkov 2024, arXiv 2402.19173): rotary positions, grouped heads, windows."""
    dropout = keys.dropout("attention_dropout", "residual_dropout", "embedding_dropout")
    model = {
        **gpt("rotary"),
        **sizes(keys),
        **key_heads(keys),
        "activation": keys.activation("hidden_act", gated=False),
        "bias": keys.flag("use_bias"),
        "dropout": dropout,
    }
    return windowed(keys, model, listed=False)


def phi(keys: Keys) -> Model:
    """Phi 1 to 2 (Li 2023, arXiv 2309.05463): branches side by side, a bias of the head."""
    return {
        **gpt("rotary"),
        **sizes(keys),
        **key_heads(keys),
        "parallel_block": True,
        "head_bias": True,
        "qk_norm": keys.flag("qk_layernorm"),
        "activation": keys.activation("hidden_act", gated=False),
        "dropout": keys.dropout("attention_dropout", "resid_pdrop", "embd_pdrop"),
    }


def nemotron(keys: Keys) -> Model:
    """Nemotron 4 (Parmar 2024, arXiv 2402.16819, section 2): squared ReLU, LayerNorm."""
    attention = keys.flag("attention_bias")
    return {
        **gpt("rotary"),
        **sizes(keys),
        **key_heads(keys),
        **biases(qkv=attention, out=attention, mlp=keys.flag("mlp_bias")),
        "activation": keys.activation("hidden_act", gated=False),
        "dropout": keys.dropout("attention_dropout"),
    }


def falcon(keys: Keys) -> Model:
    """Falcon (Almazrouei 2023, arXiv 2311.16867, section 4): branches behind one norm, or two."""
    hidden, parallel = keys.count("hidden_size"), keys.flag("parallel_attn")
    grouped = keys.flag("new_decoder_architecture")
    norms = keys.count_or_none("num_ln_in_parallel_attn") or (2 if grouped else 1)
    if parallel and norms == 2:
        _note_two_norms(keys, "parallel_attn")
    heads = keys.count_or_none("num_kv_heads")
    groups: Model = {"kv_heads": 1} if keys.flag("multi_query") else {}
    if grouped:
        groups = {"kv_heads": heads or keys.count("num_attention_heads")}
    return {
        **gpt("alibi" if keys.flag("alibi") else "rotary"),
        **sizes(keys, ffn=""),
        **groups,
        "ffn": four_times(keys, "ffn_hidden_size", hidden),
        "bias": keys.flag("bias"),
        "parallel_block": parallel and norms != 2,
        "activation": keys.activation("activation", gated=False),
        "dropout": keys.dropout("attention_dropout", "hidden_dropout"),
    }


def bloom(keys: Keys) -> Model:
    """BLOOM (Workshop 2022, arXiv 2211.05100, section 3.2): ALiBi, a norm of the embedding."""
    length = keys.count_or_none("seq_length")
    if length is None:
        keys.notes.add(
            f"seq_length not given: sequences have {_TRAINED_LENGTH} tokens, as in training"
        )
    return {
        **gpt("alibi"),
        "layers": keys.count("n_layer", 1, MOST_LAYERS),
        "hidden": keys.count("hidden_size"),
        "heads": keys.count("n_head"),
        "vocab": keys.count("vocab_size"),
        "max_positions": length or _TRAINED_LENGTH,
        "tied_embeddings": keys.flag("tie_word_embeddings"),
        "embedding_norm": True,
        "dropout": keys.dropout("attention_dropout", "hidden_dropout"),
    }


def mpt(keys: Keys) -> Model:
    """MPT (MosaicML 2023): ALiBi, and no biases, in LayerNorm neither."""
    attention = keys.part(
        "attn_config",
        "MptAttentionConfig",
        {"attn_pdrop": 0.0, "alibi": True, "attn_type": "multihead_attention", "qk_ln": False,
         "clip_qkv": None},
    )  # fmt: skip
    for key in ("attn_impl", "prefix_lm", "attn_uses_sequence_id", "alibi_bias_max"):
        attention.look(key)
    for key in ("learned_pos_emb", "embedding_fraction", "init_device", "logit_scale", "norm_type"):
        keys.look(key)
    # transformers builds none of these, whatever the configuration says.
    if not attention.flag("alibi"):
        raise attention.refused("alibi", "an MPT with a table of positions")
    if attention.flag("qk_ln"):
        raise attention.refused("qk_ln", "an MPT with norms of queries and keys")
    if attention.look("attn_type") != "multihead_attention":
        raise attention.refused("attn_type", "an MPT with one head of keys and values")
    if keys.count("expansion_ratio") != 4:
        raise keys.refused("expansion_ratio", "a feed-forward block that is not four times as wide")
    if not keys.flag("no_bias"):
        raise keys.refused("no_bias", "an MPT with biases")
    capped(attention, "clip_qkv")
    own = keys.dropout("resid_pdrop", "emb_pdrop")
    return {
        **gpt("alibi"),
        **sizes(
            keys, layers="n_layers", hidden="d_model", heads="n_heads", positions="max_seq_len",
            ffn="",
        ),
        "norm": "layernorm_no_bias",
        "bias": False,
        "dropout": attention.dropout("attn_pdrop") or own,
    }  # fmt: skip


def opt(keys: Keys) -> Model:
    """OPT (Zhang 2022, arXiv 2205.01068): a GPT whose table of positions has two more rows."""
    if keys.count_or_none("word_embed_proj_dim") not in (None, keys.count("hidden_size")):
        raise keys.refused("word_embed_proj_dim", "an embedding of another width than the layers")
    if not keys.flag("do_layer_norm_before"):
        raise keys.refused(
            "do_layer_norm_before", "a decoder with norms of sums, and none at its end"
        )
    if keys.look("_remove_final_layer_norm"):
        raise keys.refused("_remove_final_layer_norm", "a decoder without a norm at its end")
    plain = not keys.flag("layer_norm_elementwise_affine")
    return {
        **gpt("learned"),
        **sizes(keys, ffn="ffn_dim"),
        "extra_positions": 2,
        "norm": "layernorm_plain" if plain else "layernorm",
        "bias": keys.flag("enable_bias"),
        "activation": keys.activation("activation_function", gated=False),
        "dropout": keys.dropout("dropout", "attention_dropout"),
    }


def _note_two_norms(keys: Keys, key: str) -> None:
    keys.notes.add(
        f"{key}: both branches, each behind a norm of its own, are counted one after the other, "
        "with two all-reduces a layer under tensor parallelism where one is enough"
    )


def _note_rotary_part(keys: Keys, key: str) -> None:
    width, heads = keys.look(key), keys.count("n_head")
    if type(width) is int and width * heads < keys.count("n_embd"):
        keys.notes.add("rotary positions are counted on all features of a head", key)


_GPT2 = {
    "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
    "n_inner": None, "activation_function": "gelu_new", "resid_pdrop": 0.1, "embd_pdrop": 0.1,
    "attn_pdrop": 0.1, "tie_word_embeddings": True,
}  # fmt: skip
_GPTJ = _GPT2 | {
    "vocab_size": 50400, "n_positions": 2048, "n_embd": 4096, "n_layer": 28, "n_head": 16,
    "rotary_dim": 64, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    "tie_word_embeddings": False,
}  # fmt: skip

#: The types of this module.
TYPES: Mapping[str, Family] = {
    "bloom": Family(
        "BloomConfig",
        {"vocab_size": 250880, "hidden_size": 64, "n_layer": 2, "n_head": 8,
         "tie_word_embeddings": True, "attention_dropout": 0.0, "hidden_dropout": 0.0},
        bloom,
        {"hidden_size": "n_embed", "n_layer": "num_hidden_layers",
         "n_head": "num_attention_heads"},
    ),
    "codegen": Family("CodeGenConfig", _GPTJ, gptj, GPT2_NAMES),
    "falcon": Family(
        "FalconConfig",
        {"vocab_size": 65024, "hidden_size": 4544, "num_hidden_layers": 32,
         "num_attention_heads": 71, "max_position_embeddings": 2048, "num_kv_heads": None,
         "ffn_hidden_size": None, "activation": "gelu", "alibi": False, "bias": False,
         "multi_query": True, "new_decoder_architecture": False, "parallel_attn": True,
         "num_ln_in_parallel_attn": None, "attention_dropout": 0.0, "hidden_dropout": 0.0,
         "tie_word_embeddings": True},
        falcon,
        {"hidden_size": "n_embed"},
        allows=("alibi",),
    ),
    "gpt2": Family("GPT2Config", _GPT2, gpt2, GPT2_NAMES),
    "gpt_bigcode": Family(
        "GPTBigCodeConfig",
        _GPT2 | {"activation_function": "gelu_pytorch_tanh", "multi_query": True},
        gpt_bigcode,
        GPT2_NAMES,
    ),
    "gpt_neo": Family(
        "GPTNeoConfig",
        {"vocab_size": 50257, "max_position_embeddings": 2048, "hidden_size": 2048,
         "num_layers": 24, "num_heads": 16, "intermediate_size": None, "window_size": 256,
         "attention_types": [[["global", "local"], 12]], "activation_function": "gelu_new",
         "attention_dropout": 0.0, "resid_dropout": 0.0, "embed_dropout": 0.0,
         "tie_word_embeddings": True},
        gpt_neo,
        {"num_layers": "num_hidden_layers", "num_heads": "num_attention_heads"},
    ),
    "gpt_neox": Family(
        "GPTNeoXConfig",
        defaults("50432 6144 24576 44 64 2048", hidden_act="gelu", hidden_dropout=0.0,
                 use_parallel_residual=True, attention_bias=True),
        gpt_neox,
    ),
    "gptj": Family("GPTJConfig", _GPTJ, gptj, GPT2_NAMES),
    "mpt": Family(
        "MptConfig",
        {"vocab_size": 50368, "d_model": 2048, "n_heads": 16, "n_layers": 24, "max_seq_len": 2048,
         "expansion_ratio": 4, "no_bias": True, "resid_pdrop": 0.0, "emb_pdrop": 0.0,
         "tie_word_embeddings": True},
        mpt,
        {"n_heads": "num_attention_heads", "d_model": "hidden_size",
         "n_layers": "num_hidden_layers"},
    ),
    "nemotron": Family(
        "NemotronConfig",
        defaults("256000 6144 24576 32 48 4096", hidden_act="relu2", attention_bias=False,
                 mlp_bias=False),
        nemotron,
    ),
    "opt": Family(
        "OPTConfig",
        {"vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072,
         "num_attention_heads": 12, "max_position_embeddings": 2048, "word_embed_proj_dim": None,
         "do_layer_norm_before": True, "enable_bias": True, "layer_norm_elementwise_affine": True,
         "activation_function": "relu", "dropout": 0.1, "attention_dropout": 0.0,
         "tie_word_embeddings": True},
        opt,
    ),
    "phi": Family(
        "PhiConfig",
        defaults("51200 2048 8192 24 32 2048", hidden_act="gelu_new", resid_pdrop=0.0,
                 embd_pdrop=0.0, qk_layernorm=False),
        phi,
        allows=("qk_layernorm",),
    ),
    "starcoder2": Family(
        "Starcoder2Config",
        defaults("49152 3072 12288 30 24 4096", num_key_value_heads=2, use_bias=True,
                 hidden_act="gelu_pytorch_tanh", residual_dropout=0.0, embedding_dropout=0.0,
                 tie_word_embeddings=True),
        starcoder2,
    ),
}  # fmt: skip
