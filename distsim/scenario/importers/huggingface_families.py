"""Which model a Hugging Face configuration describes, family by family.

What is biased, normalized or gated is what the model classes of PyPI's ``transformers`` 5.24.0
build (``models/*/modeling_*.py``); names of keys are those of the configuration classes.
"""

from __future__ import annotations

from typing import Any

from distsim.scenario.importers.huggingface_keys import Keys

Model = dict[str, Any]

#: More layers than that are refused with the model; kinds of layers are listed one by one before.
_MOST_LAYERS = 10_000
SIDE_BY_SIDE = "attention and a feed-forward block side by side behind one norm"


def llama(keys: Keys) -> Model:
    """LLaMA and those like it: RMSNorm, SwiGLU, rotary positions, no dropout but in attention."""
    attention, mlp = keys.flag("attention_bias"), keys.flag("mlp_bias")
    if attention != mlp:
        which = "attention_bias" if attention else "mlp_bias"
        other = "the feed-forward block" if attention else "the attention"
        raise keys.refused(which, f"a bias of all projections but those of {other}")
    return _gated(keys) | {"bias": attention}


def mistral(keys: Keys) -> Model:
    """Mistral 7B (Jiang 2023, arXiv 2310.06825): a LLaMA without options for biases."""
    return _gated(keys)


def qwen2(keys: Keys) -> Model:
    """Qwen 2: biases for queries, keys and values alone."""
    return _gated(keys) | {"qkv_bias": True}


def qwen3(keys: Keys) -> Model:
    """Qwen 3: queries and keys normalized head by head."""
    _refuse_attention_bias(keys)
    return _gated(keys) | {"qk_norm": True}


def gemma(keys: Keys) -> Model:
    """Gemma (Gemma Team 2024, arXiv 2403.08295, section 2): GeGLU, wide heads, tied embeddings."""
    _refuse_attention_bias(keys)
    return _gated(keys)


def stablelm(keys: Keys) -> Model:
    """StableLM: a LLaMA with LayerNorm."""
    if keys.flag("qk_layernorm"):
        raise keys.refused("qk_layernorm", "a LayerNorm of queries and keys with scales a head")
    if keys.flag("use_parallel_residual"):
        raise keys.refused("use_parallel_residual", SIDE_BY_SIDE)
    dropout = keys.dropout("attention_dropout", "hidden_dropout")
    return _gated(keys, dropout=dropout) | {
        "norm": "layernorm",
        "qkv_bias": keys.flag("use_qkv_bias"),
    }


def phi3(keys: Keys) -> Model:
    """Phi-3 (Abdin 2024, arXiv 2404.14219, section 2): a LLaMA with dropout."""
    return _gated(keys, dropout=keys.dropout("resid_pdrop", "embd_pdrop", "attention_dropout"))


def mixtral(keys: Keys) -> Model:
    """Mixtral (Jiang 2024, arXiv 2401.04088): every layer is a mixture of experts."""
    model = _gated(keys)
    return model | {
        "expert_ffn": model["ffn"],
        "experts": keys.count("num_local_experts"),
        "experts_per_token": keys.count("num_experts_per_tok"),
    }


def qwen2_moe(keys: Keys) -> Model:
    """Qwen 1.5 and 2 mixtures (Yang 2024, arXiv 2407.10671): shared experts behind a gate."""
    model = _gated(keys) | {"qkv_bias": keys.flag("qkv_bias")}
    experts = _sparse(keys, model["layers"])
    shared = keys.count("shared_expert_intermediate_size", 0)
    if experts and shared:
        experts |= {"shared_experts": 1, "shared_ffn": shared, "shared_gate": True}
    elif experts:
        raise keys.refused(
            "shared_expert_intermediate_size", "a gate of shared experts without any"
        )
    return model | experts


def qwen3_moe(keys: Keys) -> Model:
    """Qwen 3 mixtures (Yang 2025, arXiv 2505.09388): no shared experts."""
    model = qwen3(keys)
    return model | _sparse(keys, model["layers"])


def deepseek(keys: Keys) -> Model:
    """DeepSeekMoE (Dai 2024, arXiv 2401.06066): shared experts, and multi-head attention."""
    _refuse_attention_bias(keys)
    model = _gated(keys)
    experts = keys.count_or_none("n_routed_experts")
    if experts is None:
        return model
    if keys.count("moe_layer_freq") != 1:
        raise keys.refused("moe_layer_freq", "a mixture of experts in every few layers from 0 on")
    width, shared = keys.count("moe_intermediate_size"), keys.count_or_none("n_shared_experts", 0)
    return model | {
        "experts": experts,
        "experts_per_token": keys.count("num_experts_per_tok"),
        "expert_ffn": width,
        "shared_experts": shared or 0,
        "shared_ffn": (shared or 0) * width,
        "dense_layers": keys.count("first_k_dense_replace", 0),
    }


def gpt2(keys: Keys) -> Model:
    """GPT-2 (Radford 2019): learned positions, biases, dropout."""
    hidden = keys.count("n_embd")
    return {
        **_gpt("learned"),
        "layers": keys.count("n_layer", 1, _MOST_LAYERS),
        "hidden": hidden,
        "heads": keys.count("n_head"),
        "ffn": _four_times(keys, "n_inner", hidden),
        "vocab": keys.count("vocab_size"),
        "max_positions": keys.count("n_positions"),
        "activation": keys.activation("activation_function", gated=False),
        "tied_embeddings": keys.flag("tie_word_embeddings"),
        "dropout": keys.dropout("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    }


def gpt_bigcode(keys: Keys) -> Model:
    """StarCoder (Li 2023, arXiv 2305.06161): a GPT-2 with one head of keys and values."""
    return gpt2(keys) | ({"kv_heads": 1} if keys.flag("multi_query") else {})


def gpt_neox(keys: Keys) -> Model:
    """GPT-NeoX (Black 2022, arXiv 2204.06745, section 2)."""
    if not keys.flag("attention_bias"):
        raise keys.refused("attention_bias", "a bias of the feed-forward block alone")
    if keys.flag("use_parallel_residual"):
        keys.notes.add(
            "use_parallel_residual: attention and feed-forward block are counted one after the "
            "other, with two all-reduces a layer under tensor parallelism where one is enough"
        )
    dropout = keys.dropout("attention_dropout", "hidden_dropout")
    return {
        **_gpt("rotary"),
        **_sizes(keys),
        "activation": keys.activation("hidden_act", gated=False),
        "dropout": dropout,
    }


def starcoder2(keys: Keys) -> Model:
    """StarCoder 2 (Lozhkov 2024, arXiv 2402.19173): a GPT with rotary positions, grouped heads."""
    dropout = keys.dropout("attention_dropout", "residual_dropout", "embedding_dropout")
    return {
        **_gpt("rotary"),
        **_sizes(keys),
        **_key_heads(keys),
        "activation": keys.activation("hidden_act", gated=False),
        "bias": keys.flag("use_bias"),
        "dropout": dropout,
    }


def _gpt(positions: str) -> Model:
    return {"family": "gpt", "norm": "layernorm", "positions": positions, "bias": True}


def _gated(keys: Keys, *, dropout: bool | None = None) -> Model:
    return {
        "family": "llama",
        "norm": "rmsnorm",
        "positions": "rotary",
        **_sizes(keys),
        **_key_heads(keys),
        "activation": keys.activation("hidden_act", gated=True),
        "bias": False,
        "dropout": keys.dropout("attention_dropout") if dropout is None else dropout,
    }


def _sizes(keys: Keys) -> Model:
    return {
        "layers": keys.count("num_hidden_layers", 1, _MOST_LAYERS),
        "hidden": keys.count("hidden_size"),
        "heads": keys.count("num_attention_heads"),
        "ffn": keys.count("intermediate_size"),
        "vocab": keys.count("vocab_size"),
        "max_positions": keys.count("max_position_embeddings"),
        "tied_embeddings": keys.flag("tie_word_embeddings"),
    }


def _key_heads(keys: Keys) -> Model:
    """Heads of keys and values, and features of a head; what is left out is derived, and said."""
    model, heads = {}, keys.count("num_attention_heads")
    if keys.look("num_key_value_heads") is None:
        keys.notes.add(f"num_key_value_heads not given: {heads}, as many as heads")
    else:
        model["kv_heads"] = keys.count("num_key_value_heads")
    if keys.look("head_dim") is not None:
        model["head_dim"] = keys.count("head_dim")
    elif keys.count("hidden_size") % heads == 0:
        width = keys.count("hidden_size") // heads
        keys.notes.add(f"head_dim not given: {width}, hidden_size / num_attention_heads")
    return model


def _four_times(keys: Keys, key: str, hidden: int) -> int:
    width = keys.count_or_none(key)
    if width is None:
        keys.notes.add(f"{key} not given: {4 * hidden}, four times the hidden size")
    return width or 4 * hidden


def _refuse_attention_bias(keys: Keys) -> None:
    if keys.flag("attention_bias"):
        raise keys.refused("attention_bias", "a bias of the projections of attention alone")


def _sparse(keys: Keys, layers: int) -> Model:
    """Return the experts of Qwen's mixtures.

    A layer has them if its number, counted from 1, is a multiple of decoder_sparse_step and it is
    not among mlp_only_layers, which count from 0.
    """
    for key in ("num_experts_per_tok", "moe_intermediate_size"):
        keys.look(key)  # Known even where no layer has experts.
    experts, step = keys.count("num_experts", 0), keys.count("decoder_sparse_step")
    dense = set(keys.numbers("mlp_only_layers"))
    mixed = [i for i in range(layers) if i not in dense and (i + 1) % step == 0]
    if not experts or not mixed:
        keys.notes.add("no layer has experts: the model is dense")
        return {}
    first = next(i for i in range(layers) if i not in dense)
    if any(i in dense and (i + 1) % step == 0 for i in range(first, layers)):
        raise keys.refused("mlp_only_layers", "a dense layer among mixtures of experts")
    return {
        "experts": experts,
        "experts_per_token": keys.count("num_experts_per_tok"),
        "expert_ffn": keys.count("moe_intermediate_size"),
        "dense_layers": first,
        "moe_every": step,
    }
