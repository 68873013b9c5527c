"""Which DeepSeek, or model with latent attention or experts like it, a configuration describes.

As `huggingface_families`: what is built is what the model classes of ``transformers`` 5.24.0 build.
DeepSeekMoE and Kimi K2 have no class there: their sizes have to be given.
"""

from __future__ import annotations

from collections.abc import Mapping

from distsim.scenario.importers.huggingface_families import qwen3_block
from distsim.scenario.importers.huggingface_keys import Keys
from distsim.scenario.importers.huggingface_parts import attention_bias, biases, gated, sizes
from distsim.scenario.importers.huggingface_type import SILU, Family, Model, defaults
from distsim.scenario.importers.huggingface_windows import windowed

_MTP = "num_nextn_predict_layers"


def deepseek(keys: Keys) -> Model:
    """DeepSeekMoE (Dai 2024, arXiv 2401.06066): shared experts, and multi-head attention."""
    return gated(keys) | attention_bias(keys) | _after_dense(keys)


def deepseek_v2(keys: Keys) -> Model:
    """DeepSeek-V2 (arXiv 2405.04434, section 2.1): latent attention, shared experts."""
    experts = _after_dense(keys)
    if keys.flag("mlp_bias") and experts:
        raise keys.refused("mlp_bias", "a bias of dense and shared blocks but not of experts")
    if experts and keys.look("topk_method") != "greedy":
        experts |= _groups(keys)
    return _latent(keys, mlp=keys.flag("mlp_bias")) | experts


def deepseek_v3(keys: Keys) -> Model:
    """DeepSeek-V3 (arXiv 2412.19437, section 2) and Kimi K2 (arXiv 2507.20534, section 2.3)."""
    return _latent(keys) | _balanced(keys)


def minicpm3(keys: Keys) -> Model:
    """MiniCPM 3: latent attention in a dense model."""
    keys.look("head_dim")
    width = keys.count_or_none("v_head_dim")
    if width is None:  # The class rounds down.
        width = max(keys.count("hidden_size") // keys.count("num_attention_heads"), 1)
        keys.notes.add(f"v_head_dim not given: {width}, hidden_size / num_attention_heads")
    return _latent(keys, mlp=keys.flag("mlp_bias"), value_width=width)


def glm4_moe(keys: Keys) -> Model:
    """GLM 4.5 (GLM Team 2025, arXiv 2508.06471): DeepSeek-V3's experts, grouped-query attention."""
    model = gated(keys) | biases(qkv=keys.flag("attention_bias"), out=False, mlp=False)
    if keys.look("head_dim") is None:  # The class rounds down.
        model["head_dim"] = max(model["hidden"] // model["heads"], 1)
    return model | {"qk_norm": keys.flag("use_qk_norm")} | _balanced(keys)


def dots1(keys: Keys) -> Model:
    """dots.llm1 (Huo 2025, arXiv 2506.05767): DeepSeek-V3's experts behind a Qwen 3's attention."""
    keys.look("max_window_layers")
    model = qwen3_block(keys) | _balanced(keys)
    return windowed(keys, model, lambda number: True)


def _balanced(keys: Keys) -> Model:
    """Return experts whose router is corrected to balance them (arXiv 2412.19437, 2.1.2)."""
    keys.notes.add(
        "corrections that balance the router get no gradient: they are not counted as parameters"
    )
    if keys.count_or_none(_MTP, 0):
        keys.notes.add("layers that predict further tokens (MTP) are not counted", _MTP)
    experts = _after_dense(keys)
    return experts | _groups(keys) if experts else {}


def _groups(keys: Keys) -> Model:
    """Return how many groups of experts a token may use (arXiv 2405.04434, section 2.2.2)."""
    groups, chosen = keys.count_or_none("n_group"), keys.count_or_none("topk_group")
    if groups in (None, 1) or chosen in (None, groups):
        return {}
    return {"routing_groups": groups, "routing_groups_per_token": chosen}


def _latent(keys: Keys, *, mlp: bool = False, value_width: int = 0) -> Model:
    """Return a LLaMA with multi-head latent attention (arXiv 2405.04434, section 2.1)."""
    heads, attention = keys.count("num_attention_heads"), keys.flag("attention_bias")
    groups = keys.count_or_none("num_key_value_heads")
    if groups not in (None, heads):
        raise keys.refused("num_key_value_heads", "latent attention whose heads share keys")
    return {
        "family": "llama",
        **sizes(keys),
        "head_dim": keys.count("qk_nope_head_dim"),
        "kv_lora_rank": keys.count("kv_lora_rank"),
        "q_lora_rank": keys.count_or_none("q_lora_rank") or 0,
        "rope_head_dim": keys.count("qk_rope_head_dim"),
        "v_head_dim": value_width or keys.count("v_head_dim"),
        "activation": keys.activation("hidden_act", gated=True),
        "dropout": keys.dropout("attention_dropout"),
        **biases(qkv=attention, out=attention, mlp=mlp),
    }


def _after_dense(keys: Keys) -> Model:
    """Return DeepSeek's experts: in all layers but the first few."""
    experts, dense = keys.count_or_none("n_routed_experts"), keys.count("first_k_dense_replace", 0)
    if not experts:
        return {}
    if keys.look("moe_layer_freq") is not None and keys.count("moe_layer_freq") != 1:
        raise keys.refused("moe_layer_freq", "a mixture of experts in every few layers from 0 on")
    if dense >= keys.count("num_hidden_layers"):
        keys.notes.add("no layer has experts: the model is dense")
        return {}
    width, shared = keys.count("moe_intermediate_size"), keys.count_or_none("n_shared_experts", 0)
    return {
        "experts": experts,
        "experts_per_token": keys.count("num_experts_per_tok"),
        "expert_ffn": width,
        "shared_experts": shared or 0,
        "shared_ffn": (shared or 0) * width,
        "dense_layers": dense,
    }


_BIAS = SILU | {"attention_bias": False}
_ROUTED = {"n_routed_experts": "num_local_experts", _MTP: "num_mtp_layers"}
_V2 = {
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}  # fmt: skip
_LATENT = ("kv_lora_rank", "q_lora_rank")
_NO_CLASS = _BIAS | {"attention_dropout": 0.0, "tie_word_embeddings": False, "moe_layer_freq": 1}

#: The types of this module.
TYPES: Mapping[str, Family] = {
    "deepseek": Family("DeepseekConfig", _NO_CLASS | {"first_k_dense_replace": 0}, deepseek),
    "deepseek_v2": Family(
        "DeepseekV2Config",
        defaults("102400 4096 11008 32 32 2048", **_BIAS, **_V2, mlp_bias=False,
                 num_key_value_heads=None, first_k_dense_replace=0, moe_intermediate_size=1407,
                 n_routed_experts=64, n_shared_experts=2, topk_method="greedy"),
        deepseek_v2,
        {"n_routed_experts": "num_experts"},
        allows=_LATENT,
    ),
    "deepseek_v3": Family(
        "DeepseekV3Config",
        defaults("129280 7168 18432 61 128 4096", **_BIAS, **_V2, num_key_value_heads=128,
                 first_k_dense_replace=3, moe_intermediate_size=2048, n_routed_experts=256,
                 n_shared_experts=1, num_experts_per_tok=8, num_nextn_predict_layers=1,
                 n_group=8, topk_group=4),
        deepseek_v3,
        _ROUTED,
        allows=(*_LATENT, _MTP),
    ),
    "dots1": Family(
        "Dots1Config",
        defaults("152064 4608 10944 62 32 2048", **_BIAS, num_key_value_heads=32,
                 first_k_dense_replace=0, moe_intermediate_size=1408, sliding_window=4096),
        dots1,
        {"n_routed_experts": "num_local_experts"},
    ),
    "glm4_moe": Family(
        "Glm4MoeConfig",
        defaults("151552 4096 10944 46 96 131072", **_BIAS, num_key_value_heads=8,
                 first_k_dense_replace=1, moe_intermediate_size=1408, n_routed_experts=128,
                 n_shared_experts=1, num_experts_per_tok=8, use_qk_norm=False,
                 num_nextn_predict_layers=1),
        glm4_moe,
        _ROUTED,
        allows=(_MTP,),
    ),
    "kimi_k2": Family(
        "DeepseekV3Config", _NO_CLASS, deepseek_v3, _ROUTED, allows=(*_LATENT, _MTP)
    ),
    "minicpm3": Family(
        "MiniCPM3Config",
        defaults("73448 2560 6400 62 40 32768", **_BIAS, kv_lora_rank=256, q_lora_rank=768,
                 qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=None, mlp_bias=False,
                 num_key_value_heads=40, tie_word_embeddings=True),
        minicpm3,
        allows=_LATENT,
    ),
}  # fmt: skip
