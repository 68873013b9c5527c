"""The types of Hugging Face configurations: which are modelled, their defaults, and which are not.

Defaults are those of the configuration classes in PyPI's ``transformers`` 5.24.0
(``models/*/configuration_*.py``). DeepSeekMoE has no class there: its sizes have to be given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distsim.scenario.importers import huggingface_families as read
from distsim.scenario.importers import huggingface_others as others
from distsim.scenario.importers.huggingface_families import SIDE_BY_SIDE, Model
from distsim.scenario.importers.huggingface_keys import Keys

_LATENT = "latent attention (MLA), in which a low-rank product makes keys and values,"
_BEHIND = "a norm behind the attention and feed-forward blocks"
_ENCODER, _BOTH = "an encoder, whose tokens attend to both sides,", "an encoder beside the decoder"
_IMAGES, _STATES = "a network for images", "a layer with a recurrent state instead of attention"
_ALL_HEADS = "a norm over all heads of the queries and keys together"
_ALIBI = "a position bias on attention (ALiBi)"

#: Types that are known and why they are refused.
NOT_MODELLED: Mapping[str, str] = {
    name: part
    for part, names in {
        _LATENT: "deepseek_v2 deepseek_v3 deepseek_v32 minicpm3",
        _BEHIND: "gemma2 gemma3 gemma3_text gemma3n gemma3n_text olmo2 olmo3 glm4",
        SIDE_BY_SIDE: "phi gptj codegen cohere cohere2 falcon",
        "a LayerNorm without scale and bias": "olmo",
        _ALL_HEADS: "olmoe flex_olmo",
        _ALIBI: "bloom mpt",
        _ENCODER: "xlm-roberta distilbert albert electra deberta deberta-v2 camembert "
        "modernbert longformer big_bird mpnet",
        _BOTH: "mt5 umt5 bart mbart pegasus marian whisper longt5 switch_transformers m2m_100",
        _IMAGES: "deit beit swin swinv2 resnet convnext convnextv2 clip siglip dinov2",
        _STATES: "mamba mamba2 rwkv jamba falcon_mamba zamba bamba qwen3_next recurrent_gemma",
        "a bias of all projections but those to queries, keys and values": "gpt_neo",
        "a table of positions with two more rows": "opt",
        "a bias of the router and the experts": "gpt_oss",
        "a norm with a scale and no bias": "dbrx",
    }.items()
    for name in names.split()
}


@dataclass(frozen=True, slots=True)
class Family:
    """A type of models.

    Attributes
    ----------
    config : str
        Name of the configuration class.
    defaults : mapping
        Of the class. Without one for a key, the key is required.
    read : callable
        Takes the keys, returns the block of the model (`distsim.workload.model_block`).
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


def _defaults(sizes: str, **others: Any) -> Mapping[str, Any]:
    """Return defaults: vocabulary, hidden size, width, layers, heads, and others."""
    keys = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "max_position_embeddings"
    )
    numbers = dict(zip(keys.split(), map(int, sizes.split()), strict=True))
    return {"tie_word_embeddings": False, "attention_dropout": 0.0} | numbers | others


_SILU = {"hidden_act": "silu"}
_LLAMA = _SILU | {"attention_bias": False, "mlp_bias": False}
_QWEN_WINDOW = {"use_sliding_window": False, "sliding_window": 4096}
_QWEN = _SILU | _QWEN_WINDOW | {"num_key_value_heads": 32}
_QWEN_VL = _defaults(
    "152064 8192 29568 80 64 32768", **_SILU, **_QWEN_WINDOW, num_key_value_heads=8
)
_SIZES_7B = "32000 4096 11008 32 32 2048"
_MISTRAL = "32000 4096 14336 32 32 131072"
_GPT2 = {
    "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
    "n_inner": None, "activation_function": "gelu_new", "resid_pdrop": 0.1, "embd_pdrop": 0.1,
    "attn_pdrop": 0.1, "tie_word_embeddings": True,
}  # fmt: skip
_GPT2_NAMES = {
    "n_embd": "hidden_size", "n_positions": "max_position_embeddings",
    "n_head": "num_attention_heads", "n_layer": "num_hidden_layers",
}  # fmt: skip
_QWEN_MOE = _QWEN_WINDOW | {"decoder_sparse_step": 1, "mlp_only_layers": None}

_ENCODER_SIZES = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu",
}  # fmt: skip
_BERT = _ENCODER_SIZES | {
    "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
}  # fmt: skip

#: The types that are modelled.
REGISTRY: Mapping[str, Family] = {
    "bert": Family("BertConfig", _BERT, others.bert),
    "roberta": Family("RobertaConfig", _BERT | {"vocab_size": 50265}, others.roberta),
    "t5": Family(
        "T5Config",
        {"vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6,
         "num_heads": 8, "relative_attention_num_buckets": 32, "dropout_rate": 0.1,
         "feed_forward_proj": "relu", "tie_word_embeddings": True},
        others.t5,
        allows=("is_encoder_decoder",),
    ),
    "vit": Family(
        "ViTConfig",
        _ENCODER_SIZES | {"image_size": 224, "patch_size": 16, "num_channels": 3,
                          "qkv_bias": True, "num_labels": 2, "hidden_dropout_prob": 0.0,
                          "attention_probs_dropout_prob": 0.0},
        others.vit,
    ),
    "deepseek": Family(
        "DeepseekConfig",
        {"attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu",
         "tie_word_embeddings": False, "moe_layer_freq": 1, "first_k_dense_replace": 0},
        read.deepseek,
    ),
    "gemma": Family(
        "GemmaConfig",
        _defaults("256000 3072 24576 28 16 8192", num_key_value_heads=16, head_dim=256,
                  hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True, attention_bias=False),
        read.gemma,
    ),
    "gpt2": Family("GPT2Config", _GPT2, read.gpt2, _GPT2_NAMES),
    "gpt_bigcode": Family(
        "GPTBigCodeConfig",
        _GPT2 | {"activation_function": "gelu_pytorch_tanh", "multi_query": True},
        read.gpt_bigcode,
        _GPT2_NAMES,
    ),
    "gpt_neox": Family(
        "GPTNeoXConfig",
        _defaults("50432 6144 24576 44 64 2048", hidden_act="gelu", hidden_dropout=0.0,
                  use_parallel_residual=True, attention_bias=True),
        read.gpt_neox,
    ),
    "granite": Family("GraniteConfig", _defaults(_SIZES_7B, **_LLAMA), read.llama),
    "llama": Family("LlamaConfig", _defaults(_SIZES_7B, **_LLAMA), read.llama),
    "mistral": Family(
        "MistralConfig",
        _defaults(_MISTRAL, **_SILU, num_key_value_heads=8, sliding_window=4096),
        read.mistral,
    ),
    "mixtral": Family(
        "MixtralConfig",
        _defaults(_MISTRAL, **_SILU, num_key_value_heads=8, num_experts_per_tok=2,
                  num_local_experts=8),
        read.mixtral,
        {"num_local_experts": "num_experts"},
    ),
    "phi3": Family(
        "Phi3Config",
        _defaults("32064 3072 8192 32 32 4096", **_SILU, resid_pdrop=0.0, embd_pdrop=0.0),
        read.phi3,
    ),
    "qwen2": Family("Qwen2Config", _defaults("151936 4096 22016 32 32 32768", **_QWEN), read.qwen2),
    "qwen2_moe": Family(
        "Qwen2MoeConfig",
        _defaults("151936 2048 5632 24 16 32768", **_SILU, **_QWEN_MOE, num_key_value_heads=16,
                  moe_intermediate_size=1408, shared_expert_intermediate_size=5632,
                  num_experts_per_tok=4, num_experts=60, qkv_bias=True),
        read.qwen2_moe,
    ),
    "qwen2_vl": Family("Qwen2VLTextConfig", _QWEN_VL, read.qwen2),
    "qwen2_vl_text": Family("Qwen2VLTextConfig", _QWEN_VL, read.qwen2),
    "qwen2_5_vl": Family("Qwen2_5_VLTextConfig", _QWEN_VL, read.qwen2),
    "qwen2_5_vl_text": Family("Qwen2_5_VLTextConfig", _QWEN_VL, read.qwen2),
    "qwen3": Family(
        "Qwen3Config",
        _defaults("151936 4096 22016 32 32 32768", **_QWEN, head_dim=128, attention_bias=False),
        read.qwen3,
    ),
    "qwen3_moe": Family(
        "Qwen3MoeConfig",
        _defaults("151936 2048 6144 24 32 32768", **_SILU, **_QWEN_MOE, num_key_value_heads=4,
                  attention_bias=False, moe_intermediate_size=768, num_experts_per_tok=8,
                  num_experts=128),
        read.qwen3_moe,
        {"num_experts": "num_local_experts"},
    ),
    "qwen3_vl_text": Family(
        "Qwen3VLTextConfig",
        _defaults("151936 4096 22016 32 32 128000", **_QWEN, head_dim=128, attention_bias=False),
        read.qwen3,
    ),
    "stablelm": Family(
        "StableLmConfig",
        _defaults("50304 2560 6912 32 32 4096", **_SILU, num_key_value_heads=32,
                  use_qkv_bias=False, qk_layernorm=False, use_parallel_residual=False,
                  hidden_dropout=0.0),
        read.stablelm,
    ),
    "starcoder2": Family(
        "Starcoder2Config",
        _defaults("49152 3072 12288 30 24 4096", num_key_value_heads=2, use_bias=True,
                  hidden_act="gelu_pytorch_tanh", residual_dropout=0.0, embedding_dropout=0.0,
                  tie_word_embeddings=True),
        read.starcoder2,
    ),
}  # fmt: skip
