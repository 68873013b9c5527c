"""Which mixture of experts a Hugging Face configuration describes, those like DeepSeek's aside.

As `huggingface_families`: what is built is what the model classes of ``transformers`` 5.24.0 build.
"""

from __future__ import annotations

from collections.abc import Mapping

from distsim.scenario.importers.huggingface_families import olmo2, qwen3_block
from distsim.scenario.importers.huggingface_keys import Keys
from distsim.scenario.importers.huggingface_parts import (
    attention_bias,
    biases,
    capped,
    gated,
    sizes,
)
from distsim.scenario.importers.huggingface_type import (
    SILU,
    SIZES_7B,
    Family,
    Model,
    defaults,
)
from distsim.scenario.importers.huggingface_windows import windowed


def mixtral(keys: Keys) -> Model:
    """Mixtral (Jiang 2024, arXiv 2401.04088): every layer is a mixture of experts."""
    return windowed(keys, gated(keys) | _all_experts(keys), listed=False)


def granitemoe(keys: Keys) -> Model:
    """Granite 3 mixtures: a Mixtral with biases in attention."""
    return gated(keys) | attention_bias(keys) | _all_experts(keys)


def phimoe(keys: Keys) -> Model:
    """Phi-3.5-MoE (Abdin 2024, arXiv 2404.14219): a Mixtral with LayerNorm, biases and windows."""
    other = {"norm": "layernorm", "head_bias": keys.flag("lm_head_bias")}
    model = gated(keys) | attention_bias(keys) | _all_experts(keys) | other
    return windowed(keys, model, listed=False)


def olmoe(keys: Keys) -> Model:
    """OLMoE (Muennighoff 2024, arXiv 2409.02060): norms over all heads of queries and keys."""
    capped(keys, "clip_qkv")
    norm = {"qk_norm": True, "qk_norm_scales": "each"}
    model = gated(keys, own_width=False) | attention_bias(keys) | norm
    return model | _all_experts(keys, "num_experts")


def flex_olmo(keys: Keys) -> Model:
    """FlexOlmo (Shi 2025, arXiv 2507.07024): an OLMo 2 whose layers are mixtures of experts."""
    return olmo2(keys) | _all_experts(keys, "num_experts")


def gpt_oss(keys: Keys) -> Model:
    """GPT-OSS (OpenAI 2025, arXiv 2508.10925): sinks, biases of router and experts, windows."""
    attention = keys.flag("attention_bias")
    model = gated(keys) | biases(qkv=attention, out=attention, mlp=True)
    model |= _all_experts(keys) | {"router_bias": True, "attention_sinks": True}
    return windowed(keys, model, lambda number: number % 2 == 0)


def _all_experts(keys: Keys, count: str = "num_local_experts") -> Model:
    return {
        "experts": keys.count(count),
        "experts_per_token": keys.count("num_experts_per_tok"),
        "expert_ffn": keys.count("intermediate_size"),
    }


def dbrx(keys: Keys) -> Model:
    """DBRX (Databricks 2024): sizes of attention and experts in objects of their own."""
    attention = keys.part(
        "attn_config", "DbrxAttentionConfig", {"attn_pdrop": 0.0, "clip_qkv": None, "kv_n_heads": 1}
    )
    experts = keys.part(
        "ffn_config",
        "DbrxFFNConfig",
        {"ffn_hidden_size": 3584, "moe_num_experts": 4, "moe_top_k": 1, "ffn_act_fn": None},
    )
    for key in ("moe_jitter_eps", "moe_loss_weight", "moe_normalize_expert_weights"):
        experts.look(key)
    capped(attention, "clip_qkv")
    gate = experts.part("ffn_act_fn", "DbrxFFNConfig", {"name": "silu"})
    width = experts.count("ffn_hidden_size")
    own = keys.dropout("resid_pdrop", "emb_pdrop")
    return {
        "family": "llama",
        **sizes(
            keys, layers="n_layers", hidden="d_model", heads="n_heads", positions="max_seq_len",
            ffn="",
        ),
        "norm": "layernorm_no_bias",
        "kv_heads": attention.count("kv_n_heads"),
        "ffn": width,
        "activation": gate.activation("name", gated=True),
        "dropout": attention.dropout("attn_pdrop") or own,
        "experts": experts.count("moe_num_experts"),
        "experts_per_token": experts.count("moe_top_k"),
        "expert_ffn": width,
    }  # fmt: skip


def llama4(keys: Keys) -> Model:
    """Llama 4 (Meta 2025): one shared expert beside the others, in every few layers."""
    model = gated(keys) | attention_bias(keys)
    width = model["ffn"]
    model["ffn"] = keys.count("intermediate_size_mlp")
    for key in ("attn_scale", "attn_temperature_tuning", "floor_scale", "layer_types",
                "no_rope_layer_interval", "no_rope_layers"):  # fmt: skip
        keys.look(key)
    keys.notes.add("layers without positions are counted with rotary ones")
    if keys.flag("use_qk_norm"):
        keys.notes.add(
            "norms of queries and keys, which have no parameters, are not counted as operators"
        )
    chunk = keys.count_or_none("attention_chunk_size")
    if chunk and chunk < model["max_positions"]:
        keys.notes.add(
            f"attention within chunks of {chunk} tokens is counted over the whole sequence"
        )
    step = keys.count("interleave_moe_layer_step")
    mixed = list(range(step - 1, model["layers"], step))
    if keys.look("moe_layers") not in (None, mixed):
        raise keys.refused("moe_layers", "a mixture of experts in other layers than every few")
    if not mixed:
        keys.notes.add("no layer has experts: the model is dense")
        return model
    shared = {"shared_experts": 1, "shared_ffn": width, "moe_every": step}
    return model | _all_experts(keys) | shared


def qwen2_moe(keys: Keys) -> Model:
    """Qwen 1.5 and 2 mixtures (Yang 2024, arXiv 2407.10671): shared experts behind a gate."""
    model = gated(keys) | {"qkv_bias": keys.flag("qkv_bias")}
    experts = _sparse(keys, model["layers"])
    shared = keys.count("shared_expert_intermediate_size", 0)
    if experts and shared:
        experts |= {"shared_experts": 1, "shared_ffn": shared, "shared_gate": True}
    elif experts:
        raise keys.refused(
            "shared_expert_intermediate_size", "a gate of shared experts without any"
        )
    for key in ("sliding_window", "max_window_layers", "layer_types"):
        keys.look(key)
    if not keys.flag("use_sliding_window"):
        return model | experts
    last = keys.count("max_window_layers", 0)
    return windowed(keys, model | experts, lambda number: number % 2 == 0 or number > last)


def qwen3_moe(keys: Keys) -> Model:
    """Qwen 3 mixtures (Yang 2025, arXiv 2505.09388): no shared experts."""
    model = qwen3_block(keys)
    model |= _sparse(keys, model["layers"])
    for key in ("sliding_window", "max_window_layers"):
        keys.look(key)
    return windowed(keys, model, listed=False) if keys.flag("use_sliding_window") else model


def qwen3_vl_moe(keys: Keys) -> Model:
    """Qwen 3 mixtures beside images: no windows."""
    model = qwen3_block(keys)
    return model | _sparse(keys, model["layers"])


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


_QWEN_MOE = {
    "use_sliding_window": False, "sliding_window": 4096, "decoder_sparse_step": 1,
    "mlp_only_layers": None,
}  # fmt: skip
_EXPERTS = {"num_local_experts": "num_experts"}
_BIAS = SILU | {"attention_bias": False}


#: The types of this module.
TYPES: Mapping[str, Family] = {
    "dbrx": Family(
        "DbrxConfig",
        {"vocab_size": 32000, "d_model": 2048, "n_layers": 24, "n_heads": 16, "max_seq_len": 2048,
         "tie_word_embeddings": False, "resid_pdrop": 0.0, "emb_pdrop": 0.0},
        dbrx,
        {"n_heads": "num_attention_heads", "d_model": "hidden_size",
         "n_layers": "num_hidden_layers", "max_seq_len": "max_position_embeddings"},
    ),
    "flex_olmo": Family(
        "FlexOlmoConfig",
        defaults("100352 4096 11008 32 32 4096", **_BIAS, num_experts=7, num_experts_per_tok=5),
        flex_olmo,
        {"num_experts": "num_local_experts"},
    ),
    "gpt_oss": Family(
        "GptOssConfig",
        defaults("201088 2880 2880 36 64 131072", **SILU, attention_bias=True, head_dim=64,
                 num_key_value_heads=8, num_local_experts=128, num_experts_per_tok=4,
                 sliding_window=128),
        gpt_oss,
        _EXPERTS,
    ),
    "granitemoe": Family(
        "GraniteMoeConfig",
        defaults(SIZES_7B, **_BIAS, num_local_experts=8, num_experts_per_tok=2),
        granitemoe,
    ),
    "llama4_text": Family(
        "Llama4TextConfig",
        defaults("202048 5120 8192 48 40 131072", **_BIAS, intermediate_size_mlp=16384,
                 num_key_value_heads=8, head_dim=128, num_experts_per_tok=1, num_local_experts=16,
                 interleave_moe_layer_step=1, use_qk_norm=True, attention_chunk_size=8192),
        llama4,
    ),
    "mixtral": Family(
        "MixtralConfig",
        defaults("32000 4096 14336 32 32 131072", **SILU, num_key_value_heads=8,
                 num_experts_per_tok=2, num_local_experts=8),
        mixtral,
        _EXPERTS,
    ),
    "olmoe": Family(
        "OlmoeConfig",
        defaults("50304 2048 2048 16 16 4096", **_BIAS, num_experts=64, num_experts_per_tok=8),
        olmoe,
        {"num_experts": "num_local_experts"},
    ),
    "phimoe": Family(
        "PhimoeConfig",
        defaults("32064 4096 6400 32 32 131072", **_BIAS, num_key_value_heads=8,
                 num_local_experts=16, num_experts_per_tok=2, lm_head_bias=False),
        phimoe,
    ),
    "qwen2_moe": Family(
        "Qwen2MoeConfig",
        defaults("151936 2048 5632 24 16 32768", **SILU, **_QWEN_MOE, num_key_value_heads=16,
                 moe_intermediate_size=1408, shared_expert_intermediate_size=5632,
                 num_experts_per_tok=4, num_experts=60, qkv_bias=True, max_window_layers=28),
        qwen2_moe,
    ),
    "qwen3_moe": Family(
        "Qwen3MoeConfig",
        defaults("151936 2048 6144 24 32 32768", **_BIAS, **_QWEN_MOE, num_key_value_heads=4,
                 moe_intermediate_size=768, num_experts_per_tok=8, num_experts=128),
        qwen3_moe,
        {"num_experts": "num_local_experts"},
    ),
    "qwen3_vl_moe_text": Family(
        "Qwen3VLMoeTextConfig",
        defaults("151936 2048 5632 24 16 128000", **_BIAS, num_key_value_heads=16,
                 decoder_sparse_step=1, mlp_only_layers=None, moe_intermediate_size=1408,
                 num_experts_per_tok=4, num_experts=60),
        qwen3_vl_moe,
        {"num_experts": "num_local_experts"},
    ),
}  # fmt: skip
