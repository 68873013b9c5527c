"""Which dense decoder like LLaMA a Hugging Face configuration describes, type by type.

What is biased, normalized or gated is what the model classes of PyPI's ``transformers`` 5.24.0
build (``models/*/modeling_*.py``); names and defaults of keys are those of the configuration
classes (``models/*/configuration_*.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

from distsim.scenario.importers.huggingface_keys import Keys
from distsim.scenario.importers.huggingface_parts import attention_bias, biases, capped, gated
from distsim.scenario.importers.huggingface_type import (
    LLAMA,
    SILU,
    SIZES_7B,
    Family,
    Model,
    defaults,
)
from distsim.scenario.importers.huggingface_windows import after, every_nth, windowed


def llama(keys: Keys) -> Model:
    """LLaMA and those like it: RMSNorm, SwiGLU, rotary positions, no dropout but in attention."""
    attention = keys.flag("attention_bias")
    return gated(keys) | biases(qkv=attention, out=attention, mlp=keys.flag("mlp_bias"))


def mistral(keys: Keys) -> Model:
    """Mistral 7B (Jiang 2023, arXiv 2310.06825): a LLaMA with windows, and no biases."""
    return windowed(keys, gated(keys), listed=False)


def qwen2(keys: Keys) -> Model:
    """Qwen 2: biases for queries, keys and values alone."""
    return after(keys, gated(keys) | {"qkv_bias": True})


def qwen3(keys: Keys) -> Model:
    """Qwen 3: queries and keys normalized head by head."""
    return after(keys, qwen3_block(keys))


def qwen3_block(keys: Keys) -> Model:
    """Qwen 3 without windows, as beside images and in mixtures."""
    return gated(keys) | attention_bias(keys) | {"qk_norm": True}


def gemma(keys: Keys) -> Model:
    """Gemma (Gemma Team 2024, arXiv 2403.08295, section 2): GeGLU, wide heads, tied embeddings."""
    _refuse_both_sides(keys)
    return gated(keys) | attention_bias(keys)


def gemma2(keys: Keys) -> Model:
    """Gemma 2 (Gemma Team 2024, arXiv 2408.00118, section 2): four norms, and windows."""
    _refuse_both_sides(keys)
    model = _capped_gemma(keys) | attention_bias(keys) | {"norm_place": "both"}
    return windowed(keys, model, lambda number: number % 2 == 0)


def gemma3(keys: Keys) -> Model:
    """Gemma 3 (Gemma Team 2025, arXiv 2503.19786, section 2): norms of queries and keys, too."""
    _refuse_both_sides(keys)
    model = _capped_gemma(keys) | attention_bias(keys) | {"norm_place": "both", "qk_norm": True}
    return windowed(keys, model, every_nth(keys, 6))


def _capped_gemma(keys: Keys) -> Model:
    capped(keys, "attn_logit_softcapping", "final_logit_softcapping")
    keys.look("hidden_act")  # Older files state both names.
    return gated(keys, activation="hidden_activation")


def _refuse_both_sides(keys: Keys) -> None:
    if keys.look("use_bidirectional_attention"):
        raise keys.refused("use_bidirectional_attention", "attention to both sides in a decoder")


def phi3(keys: Keys) -> Model:
    """Phi-3 (Abdin 2024, arXiv 2404.14219, section 2): a LLaMA with dropout and windows."""
    dropout = keys.dropout("resid_pdrop", "embd_pdrop", "attention_dropout")
    return windowed(keys, gated(keys, dropout=dropout), listed=False)


def stablelm(keys: Keys) -> Model:
    """StableLM: a LLaMA with LayerNorm; both branches may stand behind one of them."""
    if keys.flag("qk_layernorm"):
        raise keys.refused("qk_layernorm", "a norm of queries and keys without the others' bias")
    dropout = keys.dropout("attention_dropout", "hidden_dropout")
    return gated(keys, dropout=dropout, own_width=False) | {
        "norm": "layernorm",
        "parallel_block": keys.flag("use_parallel_residual"),
        "qkv_bias": keys.flag("use_qkv_bias"),
    }


def cohere(keys: Keys) -> Model:
    """Command R (Cohere 2024): both branches behind one LayerNorm without a bias."""
    norm = {"qk_norm": True, "qk_norm_scales": "each"} if keys.flag("use_qk_norm") else {}
    return _cohere(keys, own_width=True) | norm


def cohere2(keys: Keys) -> Model:
    """Command R7B (Cohere 2024): windows, and every fourth layer in full."""
    keys.notes.add(
        "layers that attend in full have no positions: they are counted with rotary ones"
    )
    return windowed(keys, _cohere(keys, own_width=False), every_nth(keys, 4))


def _cohere(keys: Keys, *, own_width: bool) -> Model:
    alike = {"norm": "layernorm_no_bias", "parallel_block": True}
    return gated(keys, own_width=own_width) | attention_bias(keys) | alike


def olmo(keys: Keys) -> Model:
    """OLMo (Groeneveld 2024, arXiv 2402.00838, section 2.1): a LayerNorm without parameters."""
    capped(keys, "clip_qkv")
    return gated(keys) | attention_bias(keys) | {"norm": "layernorm_plain"}


def olmo2(keys: Keys) -> Model:
    """OLMo 2 (OLMo 2025, arXiv 2501.00656, section 2): norms behind the branches."""
    behind = {"norm_place": "after", "qk_norm": True, "qk_norm_scales": "each"}
    return gated(keys) | attention_bias(keys) | behind


def olmo3(keys: Keys) -> Model:
    """OLMo 3: an OLMo 2 with windows, and every fourth layer in full."""
    return windowed(keys, olmo2(keys), lambda number: number % 4 == 0)


def exaone4(keys: Keys) -> Model:
    """EXAONE 4 (LG AI Research 2025, arXiv 2507.11407): norms behind the branches, and windows."""
    model = gated(keys) | {"norm_place": "after", "qk_norm": True}
    return windowed(keys, model, every_nth(keys, 4))


def glm(keys: Keys) -> Model:
    """GLM 4 9B (GLM Team 2024, arXiv 2406.12793): biases of queries, keys and values."""
    return gated(keys) | biases(qkv=keys.flag("attention_bias"), out=False, mlp=False)


def glm4(keys: Keys) -> Model:
    """GLM 4 0414: norms before and behind the branches."""
    return glm(keys) | {"norm_place": "both"}


def smollm3(keys: Keys) -> Model:
    """SmolLM 3: a LLaMA some of whose layers have no positions; those may have windows."""
    model, interval = llama(keys), keys.count("no_rope_layer_interval")
    turned = keys.numbers("no_rope_layers") if keys.look("no_rope_layers") is not None else ()
    keys.notes.add("layers without positions are counted with rotary ones")
    keys.look("sliding_window")
    if not keys.flag("use_sliding_window"):
        keys.used.add("layer_types")
        return model

    def full(number: int) -> bool:
        if number <= len(turned):
            return turned[number - 1] != 0
        return number % interval != 0

    return windowed(keys, model, full)


def seed_oss(keys: Keys) -> Model:
    """Seed-OSS: a LLaMA whose biases are chosen part by part."""
    dropout = keys.dropout("attention_dropout", "residual_dropout")
    return gated(keys, dropout=dropout) | biases(
        qkv=keys.flag("attention_bias"),
        out=keys.flag("attention_out_bias"),
        mlp=keys.flag("mlp_bias"),
    )


def ernie4_5(keys: Keys) -> Model:
    """ERNIE 4.5, dense: a LLaMA with all biases or none."""
    return gated(keys, dropout=False) | {"bias": keys.flag("use_bias")}


def arcee(keys: Keys) -> Model:
    """Arcee: a LLaMA whose feed-forward blocks have one projection up."""
    return llama(keys) | {"activation": keys.activation("hidden_act", gated=False)}


_QWEN_WINDOW = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
_QWEN = SILU | _QWEN_WINDOW | {"num_key_value_heads": 32}
_QWEN_VL = defaults(
    "152064 8192 29568 80 64 32768",
    **SILU,
    **(_QWEN_WINDOW | {"max_window_layers": 80}),
    num_key_value_heads=8,
)
_GEMMA = {"attention_bias": False, "tie_word_embeddings": True}
_GEMMA_CAPPED = _GEMMA | {
    "hidden_activation": "gelu_pytorch_tanh", "num_key_value_heads": 4, "head_dim": 256,
    "sliding_window": 4096,
}  # fmt: skip
_COHERE = SILU | {"attention_bias": False, "tie_word_embeddings": True}
_OLMO = SILU | {"attention_bias": False}
_OLMO_SIZES = "50304 4096 11008 32 32 2048"
_GLM = SILU | {"num_key_value_heads": 2, "head_dim": 128, "attention_bias": True}
_GLM_SIZES = "151552 4096 13696 40 32 131072"
_QWEN2_SIZES = "151936 4096 22016 32 32 32768"

#: The types of this module.
TYPES: Mapping[str, Family] = {
    "arcee": Family(
        "ArceeConfig",
        defaults("32000 2560 18432 32 32 4096", **(LLAMA | {"hidden_act": "relu2"})),
        arcee,
    ),
    "cohere": Family(
        "CohereConfig", defaults("256000 8192 22528 40 64 8192", **_COHERE, use_qk_norm=False),
        cohere,
    ),
    "cohere2": Family(
        "Cohere2Config",
        defaults("256000 8192 22528 40 64 8192", **_COHERE, sliding_window=4096),
        cohere2,
        allows=("position_embedding_type",),
    ),
    "ernie4_5": Family(
        "Ernie4_5Config",
        defaults("103424 1024 3072 18 16 131072", **SILU, num_key_value_heads=2, head_dim=128,
                 tie_word_embeddings=True, use_bias=False),
        ernie4_5,
    ),
    "exaone4": Family(
        "Exaone4Config",
        defaults("102400 4096 16384 32 32 2048", **SILU, num_key_value_heads=32,
                 sliding_window=4096),
        exaone4,
    ),
    "gemma": Family(
        "GemmaConfig",
        defaults("256000 3072 24576 28 16 8192", **_GEMMA, num_key_value_heads=16, head_dim=256,
                 hidden_act="gelu_pytorch_tanh"),
        gemma,
    ),
    "gemma2": Family(
        "Gemma2Config",
        defaults("256000 2304 9216 26 8 8192", **_GEMMA_CAPPED, attn_logit_softcapping=50.0,
                 final_logit_softcapping=30.0),
        gemma2,
    ),
    "gemma3_text": Family(
        "Gemma3TextConfig", defaults("262208 2304 9216 26 8 131072", **_GEMMA_CAPPED), gemma3
    ),
    "glm": Family("GlmConfig", defaults(_GLM_SIZES, **_GLM), glm),
    "glm4": Family("Glm4Config", defaults(_GLM_SIZES, **_GLM), glm4),
    "granite": Family("GraniteConfig", defaults(SIZES_7B, **LLAMA), llama),
    "llama": Family("LlamaConfig", defaults(SIZES_7B, **LLAMA), llama),
    "ministral3": Family(
        "Ministral3Config",
        defaults("131072 4096 14336 34 32 262144", **SILU, num_key_value_heads=8, head_dim=128,
                 sliding_window=None),
        mistral,
    ),
    "mistral": Family(
        "MistralConfig",
        defaults("32000 4096 14336 32 32 131072", **SILU, num_key_value_heads=8,
                 sliding_window=4096),
        mistral,
    ),
    "olmo": Family("OlmoConfig", defaults(_OLMO_SIZES, **_OLMO), olmo),
    "olmo2": Family("Olmo2Config", defaults(_OLMO_SIZES, **_OLMO), olmo2),
    "olmo3": Family("Olmo3Config", defaults(_OLMO_SIZES, **_OLMO, sliding_window=4096), olmo3),
    "phi3": Family(
        "Phi3Config",
        defaults("32064 3072 8192 32 32 4096", **SILU, resid_pdrop=0.0, embd_pdrop=0.0),
        phi3,
    ),
    "qwen2": Family("Qwen2Config", defaults(_QWEN2_SIZES, **_QWEN), qwen2),
    "qwen2_vl": Family("Qwen2VLTextConfig", _QWEN_VL, qwen2),
    "qwen2_vl_text": Family("Qwen2VLTextConfig", _QWEN_VL, qwen2),
    "qwen2_5_vl": Family("Qwen2_5_VLTextConfig", _QWEN_VL, qwen2),
    "qwen2_5_vl_text": Family("Qwen2_5_VLTextConfig", _QWEN_VL, qwen2),
    "qwen3": Family(
        "Qwen3Config", defaults(_QWEN2_SIZES, **_QWEN, head_dim=128, attention_bias=False), qwen3
    ),
    "qwen3_vl_text": Family(
        "Qwen3VLTextConfig",
        defaults("151936 4096 22016 32 32 128000", **SILU, num_key_value_heads=32, head_dim=128,
                 attention_bias=False),
        qwen3_block,
    ),
    "seed_oss": Family(
        "SeedOssConfig",
        defaults("155136 4096 27648 64 80 524288",
                 **(LLAMA | {"attention_bias": True, "attention_dropout": 0.1}),
                 attention_out_bias=False, residual_dropout=0.1, num_key_value_heads=8,
                 head_dim=128),
        seed_oss,
    ),
    "smollm3": Family(
        "SmolLM3Config",
        defaults("128256 2048 11008 36 16 32768", **LLAMA, num_key_value_heads=4,
                 tie_word_embeddings=True, use_sliding_window=False, no_rope_layer_interval=4),
        smollm3,
    ),
    "stablelm": Family(
        "StableLmConfig",
        defaults("50304 2560 6912 32 32 4096", **SILU, num_key_value_heads=32, use_qkv_bias=False,
                 qk_layernorm=False, use_parallel_residual=False, hidden_dropout=0.0),
        stablelm,
        allows=("qk_layernorm",),
    ),
}  # fmt: skip
