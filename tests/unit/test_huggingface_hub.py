"""Whole config.json files, as checkpoints on the Hub have them, against their published sizes.

Each size is the number of elements of the checkpoint's tensors, as the Hub shows it. What a file
holds beside the trained parameters of the language model is taken off: the tower for images
(`_siglip`, `_llama4_tower`), corrections that balance a router, a second copy of a tied table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distsim.cli import main
from distsim.errors import DistsimError
from distsim.scenario.importers.huggingface import model_from_config
from distsim.workload.model import ModelSpec

#: Keys that nearly all files have and that say nothing of the shape.
USUAL = {
    "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": None, "initializer_range": 0.02,
    "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": True,
}  # fmt: skip
#: And those of models after LLaMA.
ROTARY = USUAL | {
    "hidden_act": "silu", "attention_dropout": 0.0, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
    "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 8192, "rope_type": "yarn"},
}  # fmt: skip


def _file(kind: str, name: str, sizes: str, common: Mapping[str, Any], **keys: Any) -> Any:
    """Return a file: vocabulary, hidden size, width, layers, heads, heads of keys, positions."""
    names = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "num_key_value_heads max_position_embeddings"
    )
    numbers = dict(zip(names.split(), map(int, sizes.split()), strict=True))
    return {"architectures": [name], "model_type": kind, **common, **numbers, **keys}


def _llama(sizes: str, **keys: Any) -> Any:
    common = ROTARY | {"attention_bias": False, "mlp_bias": False, "pretraining_tp": 1}
    return _file(
        "llama", "LlamaForCausalLM", sizes, common, **{"tie_word_embeddings": False} | keys
    )


def _mistral(sizes: str, **keys: Any) -> Any:
    return _file("mistral", "MistralForCausalLM", sizes, ROTARY, **keys)


def _mixtral(sizes: str) -> Any:
    common = ROTARY | {"output_router_logits": False, "router_aux_loss_coef": 0.02}
    return _file(
        "mixtral", "MixtralForCausalLM", sizes, common, num_experts_per_tok=2,
        num_local_experts=8, sliding_window=None, tie_word_embeddings=False,
    )  # fmt: skip


def _qwen(kind: str, sizes: str, **keys: Any) -> Any:
    common = ROTARY | {"max_window_layers": 28, "sliding_window": 32768, "rope_scaling": None}
    others = {"use_sliding_window": False, "tie_word_embeddings": False} | keys
    return _file(kind, "QwenForCausalLM", sizes, common, **others)


def _phi3(sizes: str, **keys: Any) -> Any:
    common = ROTARY | {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attention_bias": False}
    others = {"original_max_position_embeddings": 4096, "tie_word_embeddings": False} | keys
    return _file("phi3", "Phi3ForCausalLM", sizes, common, **others)


def _parts(kind: str, text: Mapping[str, Any], **keys: Any) -> Any:
    """Return a file of a model for images, too."""
    vision = {"model_type": "tower", "hidden_size": 1152, "num_hidden_layers": 27}
    outer = {"architectures": ["ForConditionalGeneration"], "image_token_index": 262144}
    return {**outer, "model_type": kind, "text_config": dict(text), "vision_config": vision, **keys}


def _siglip(hidden: int) -> int:
    """Return the parameters of Gemma 3's tower and projection (SigLIP So400m, 896 pixels)."""
    width, inner, patches = 1152, 4304, (896 // 14) ** 2
    embedding = 14 * 14 * 3 * width + width + patches * width
    block = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    return embedding + 27 * block + 2 * width + width * hidden + width


def _llama4_tower() -> int:
    """Return the parameters of Llama 4's tower and projection (336 pixels, patches of 14)."""
    width, inner, between, hidden = 1408, 5632, 4096, 5120
    embedding = 14 * 14 * 3 * width + width + (24 * 24 + 1) * width + 4 * width
    block = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    return embedding + 34 * block + inner * between + between**2 + between * hidden


GEMMA_2 = USUAL | {
    "attn_logit_softcapping": 50.0, "cache_implementation": "hybrid", "head_dim": 256,
    "final_logit_softcapping": 30.0, "hidden_act": "gelu_pytorch_tanh", "attention_bias": False,
    "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256,
    "sliding_window": 4096, "sliding_window_size": 4096, "attention_dropout": 0.0,
}  # fmt: skip
LATENT = ROTARY | {
    "attention_bias": False, "aux_loss_alpha": 0.001, "kv_lora_rank": 512, "moe_layer_freq": 1,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "seq_aux": True,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekConfig"}, "norm_topk_prob": True,
    "routed_scaling_factor": 2.5, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_4 = ROTARY | {
    "attention_bias": False, "attention_chunk_size": 8192, "for_llm_compressor": False,
    "head_dim": 128, "intermediate_size_mlp": 16384, "no_rope_layers": [],
    "num_experts_per_tok": 1, "output_router_logits": False, "router_jitter_noise": 0.0,
}  # fmt: skip
FALCON = USUAL | {
    "alibi": False, "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0,
    "bias": False, "hidden_dropout": 0.0, "layer_norm_epsilon": 1e-05, "multi_query": True,
    "parallel_attn": True, "model_type": "falcon", "vocab_size": 65024,
    "architectures": ["FalconForCausalLM"],
}  # fmt: skip
COHERE = USUAL | {
    "attention_bias": False, "attention_dropout": 0.0, "head_dim": 128, "hidden_act": "silu",
    "layer_switch": 4, "logit_scale": 0.25, "order_of_interleaved_layers": "local_attn_first",
    "position_embedding_type": "rope_gptj", "rotary_pct": 1.0, "sliding_window": 4096,
    "sliding_window_pattern": 4, "use_embedding_sharing": True, "use_gated_activation": True,
    "use_parallel_block": True, "use_parallel_embedding": True, "use_qk_norm": False,
}  # fmt: skip
GPT_OSS = ROTARY | {
    "attention_bias": True, "experts_per_token": 4, "head_dim": 64, "initial_context_length": 4096,
    "layer_types": ["sliding_attention", "full_attention"] * 18, "num_experts_per_tok": 4,
    "num_local_experts": 128, "quantization_config": {"quant_method": "mxfp4"},
    "router_aux_loss_coef": 0.9, "sliding_window": 128, "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
}  # fmt: skip
LABELS = {str(n): f"label {n}" for n in range(1000)}
RESNET = {
    "architectures": ["ResNetForImageClassification"], "model_type": "resnet", "id2label": LABELS,
    "downsample_in_first_stage": False, "embedding_size": 64, "hidden_act": "relu",
    "label2id": {}, "num_channels": 3, "torch_dtype": "float32", "transformers_version": "4.18.0",
}  # fmt: skip
QWEN_VL = _qwen("", "152064 3584 18944 28 28 4 128000")
OUTER_VL = {"tie_word_embeddings": False, "vision_start_token_id": 5, "video_token_id": 6}

PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "pythia-6.9b": (
        _file("gpt_neox", "GPTNeoXForCausalLM", "50432 4096 16384 32 32 32 2048", USUAL,
              hidden_act="gelu", rotary_emb_base=10000, rotary_pct=0.25, layer_norm_eps=1e-05,
              tie_word_embeddings=False, use_parallel_residual=True),
        6_857_302_016,
    ),
    "Llama-3.1-8B": (_llama("128256 4096 14336 32 32 8 131072"), 8_030_261_248),
    "Llama-3.1-405B": (_llama("128256 16384 53248 126 128 8 131072"), 405_853_388_800),
    "TinyLlama-1.1B": (_llama("32000 2048 5632 22 32 4 2048"), 1_100_048_384),
    "Mistral-7B-v0.1": (_mistral("32000 4096 14336 32 32 8 32768", sliding_window=4096),
                        7_241_732_096),
    "Mistral-Nemo-12B": (
        _mistral("131072 5120 14336 40 32 8 131072", sliding_window=None, head_dim=128),
        12_247_782_400,
    ),
    "Mistral-Small-24B": (
        _parts("mistral3", _mistral("131072 5120 32768 40 32 8 131072", head_dim=128,
                                    sliding_window=None), projector_hidden_act="gelu"),
        23_572_403_200,
    ),
    "Mixtral-8x7B": (_mixtral("32000 4096 14336 32 32 8 32768"), 46_702_792_704),
    "Mixtral-8x22B": (_mixtral("32000 6144 16384 56 48 8 65536"), 140_620_634_112),
    "Qwen2.5-0.5B": (
        _qwen("qwen2", "151936 896 4864 24 14 2 32768", tie_word_embeddings=True,
              use_mrope=False),
        494_032_768,
    ),
    "Qwen2.5-7B": (_qwen("qwen2", "152064 3584 18944 28 28 4 131072"), 7_615_616_512),
    "Qwen2.5-VL-7B, flat": (
        QWEN_VL | OUTER_VL | {"model_type": "qwen2_5_vl", "vision_config": {"depth": 32}},
        7_615_616_512,
    ),
    "Qwen2.5-VL-7B, nested": (
        _parts("qwen2_5_vl", QWEN_VL | {"model_type": "qwen2_5_vl_text",
                                        "layer_types": ["full_attention"] * 28}, **OUTER_VL),
        7_615_616_512,
    ),
    # The file of this one holds the tied table twice: 151936 x 1024 elements more.
    "Qwen3-0.6B": (
        _qwen("qwen3", "151936 1024 3072 28 16 8 40960", tie_word_embeddings=True, head_dim=128,
              attention_bias=False),
        751_632_384 - 151_936 * 1024,
    ),
    "Qwen3-235B-A22B": (
        _qwen("qwen3_moe", "151936 4096 12288 94 64 4 40960", head_dim=128, attention_bias=False,
              decoder_sparse_step=1, mlp_only_layers=[], moe_intermediate_size=1536,
              norm_topk_prob=True, num_experts=128, num_experts_per_tok=8,
              output_router_logits=False, router_aux_loss_coef=0.001),
        235_093_634_560,
    ),
    "gemma-2-9b": (_file("gemma2", "Gemma2ForCausalLM", "256000 3584 14336 42 16 8 8192", GEMMA_2),
                   9_241_705_984),
    "gemma-3-4b-it": (
        _parts("gemma3", {"hidden_size": 2560, "intermediate_size": 10240,
                          "model_type": "gemma3_text", "num_hidden_layers": 34,
                          "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                          "sliding_window": 1024}),
        4_300_079_472 - _siglip(2560),
    ),
    "gemma-3-27b-it": (
        _parts("gemma3", {"head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504,
                          "model_type": "gemma3_text", "num_attention_heads": 32,
                          "num_hidden_layers": 62, "num_key_value_heads": 16,
                          "query_pre_attn_scalar": 168, "sliding_window": 1024}),
        27_432_406_640 - _siglip(5376),
    ),
    "Llama-4-Scout": (
        _parts("llama4", _file("llama4_text", "ForCausalLM", "202048 5120 8192 48 40 8 10485760",
                               LLAMA_4, num_local_experts=16, interleave_moe_layer_step=1,
                               use_qk_norm=True)),
        108_641_793_536 - _llama4_tower(),
    ),
    "Llama-4-Maverick": (
        _parts("llama4", _file("llama4_text", "ForCausalLM", "202048 5120 8192 48 40 8 1048576",
                               LLAMA_4, num_local_experts=128, interleave_moe_layer_step=2,
                               use_qk_norm=False)),
        401_583_781_376 - _llama4_tower(),
    ),
    "DeepSeek-V2-Lite": (
        _file("deepseek_v2", "DeepseekV2ForCausalLM", "102400 2048 10944 27 16 16 163840", LATENT,
              first_k_dense_replace=1, moe_intermediate_size=1408, n_group=1, n_routed_experts=64,
              n_shared_experts=2, num_experts_per_tok=6, q_lora_rank=None, topk_group=1,
              topk_method="greedy", scoring_func="softmax"),
        15_706_484_224,
    ),
    "dots.llm1": (
        _file("dots1", "Dots1ForCausalLM", "152064 4096 10944 62 32 32 32768", ROTARY,
              attention_bias=False, first_k_dense_replace=1, max_window_layers=62,
              moe_intermediate_size=1408, moe_layer_freq=1, n_group=1, n_routed_experts=128,
              n_shared_experts=2, num_experts_per_tok=6, routed_scaling_factor=2.5,
              scoring_func="noaux_tc", sliding_window=None, tie_word_embeddings=False,
              topk_group=1, use_sliding_window=False),
        142_774_381_696 - 61 * 128,
    ),
    "gpt-oss-120b": (
        _file("gpt_oss", "GptOssForCausalLM", "201088 2880 2880 36 64 8 131072", GPT_OSS),
        116_829_156_672,
    ),
    "phi-4": (_phi3("100352 5120 17920 40 40 10 16384", sliding_window=None), 14_659_507_200),
    "Phi-4-mini": (
        _phi3("200064 3072 8192 32 24 8 131072", sliding_window=262144, tie_word_embeddings=True,
              partial_rotary_factor=0.75, full_attn_mod=1, lm_head_bias=False, mlp_bias=False),
        3_836_021_760,
    ),
    "phi-1_5": (
        _file("phi", "PhiForCausalLM", "51200 2048 8192 24 32 32 2048", USUAL, embd_pdrop=0.0,
              hidden_act="gelu_new", partial_rotary_factor=0.5, qk_layernorm=False,
              resid_pdrop=0.0, tie_word_embeddings=False, layer_norm_eps=1e-05),
        1_418_270_720,
    ),
    "falcon-7b": (
        FALCON | {"hidden_size": 4544, "new_decoder_architecture": False,
                  "num_attention_heads": 71, "num_hidden_layers": 32},
        7_217_189_760 - 65_024 * 4544,  # The file holds the tied table twice.
    ),
    "falcon-40b": (
        FALCON | {"hidden_size": 8192, "new_decoder_architecture": True, "num_kv_heads": 8,
                  "num_attention_heads": 128, "num_hidden_layers": 60},
        41_835_970_560 - 65_024 * 8192,  # Again.
    ),
    "bloom-560m": (
        USUAL | {"architectures": ["BloomForCausalLM"], "model_type": "bloom", "n_embed": 1024,
                 "n_inner": None, "n_layer": 24, "num_attention_heads": 16, "offset_alibi": 100,
                 "attention_dropout": 0.0, "hidden_dropout": 0.0, "skip_bias_add": True,
                 "vocab_size": 250880, "apply_residual_connection_post_layernorm": False},
        559_214_592,
    ),
    "SmolLM3-3B": (
        _file("smollm3", "SmolLM3ForCausalLM", "128256 2048 11008 36 16 4 65536", ROTARY,
              attention_bias=False, layer_types=["full_attention"] * 36, mlp_bias=False,
              max_window_layers=28, no_rope_layer_interval=4, no_rope_layers=[1, 1, 1, 0] * 9,
              sliding_window=None, use_sliding_window=False),
        3_075_098_624,
    ),
    "Seed-OSS-36B": (
        _file("seed_oss", "SeedOssForCausalLM", "155136 5120 27648 64 80 8 524288", ROTARY,
              attention_bias=True, attention_out_bias=False, head_dim=128, mlp_bias=False,
              residual_dropout=0.1, tie_word_embeddings=False),
        36_151_104_512,
    ),
    "GLM-4-9B-0414": (
        _file("glm4", "Glm4ForCausalLM", "151552 4096 13696 40 32 2 32768", ROTARY,
              attention_bias=True, head_dim=128, partial_rotary_factor=0.5,
              tie_word_embeddings=False),
        9_400_279_040,
    ),
    "command-r7b": (
        _file("cohere2", "Cohere2ForCausalLM", "256000 4096 14336 32 32 8 8192", COHERE),
        8_028_033_024,
    ),
    "stablelm-2-1_6b": (
        _file("stablelm", "StableLmForCausalLM", "100352 2048 5632 24 32 32 4096", ROTARY,
              hidden_dropout=0.0, partial_rotary_factor=0.25, qk_layernorm=False,
              tie_word_embeddings=False, use_parallel_residual=False, use_qkv_bias=True),
        1_644_515_328,
    ),
    "starcoder2-15b": (
        _file("starcoder2", "Starcoder2ForCausalLM", "49152 6144 24576 40 48 4 16384", USUAL,
              attention_dropout=0.1, residual_dropout=0.1, embedding_dropout=0.1, use_bias=True,
              hidden_act="gelu_pytorch_tanh", mlp_type="default", norm_type="layer_norm",
              sliding_window=4096, tie_word_embeddings=False),
        15_957_889_024,
    ),
    "granite-3.1-8b": (
        _file("granite", "GraniteForCausalLM", "49155 4096 12800 40 32 8 131072", ROTARY,
              attention_bias=False, attention_multiplier=0.0078125, embedding_multiplier=12.0,
              logits_scaling=16.0, mlp_bias=False, residual_multiplier=0.22,
              tie_word_embeddings=True),
        8_170_848_256,
    ),
    "gpt-neo-125m": (
        USUAL | {"architectures": ["GPTNeoForCausalLM"], "model_type": "gpt_neo",
                 "activation_function": "gelu_new", "attention_layers": ["global", "local"] * 6,
                 "attention_types": [[["global", "local"], 6]], "hidden_size": 768,
                 "intermediate_size": None, "max_position_embeddings": 2048, "num_heads": 12,
                 "num_layers": 12, "summary_type": "cls_index", "vocab_size": 50257,
                 "window_size": 256},
        125_198_592,
    ),
    "opt-1.3b": (
        USUAL | {"architectures": ["OPTForCausalLM"], "model_type": "opt", "dropout": 0.1,
                 "activation_function": "relu", "do_layer_norm_before": True, "ffn_dim": 8192,
                 "hidden_size": 2048, "layerdrop": 0.0, "max_position_embeddings": 2048,
                 "num_attention_heads": 32, "num_hidden_layers": 24, "prefix": "</s>",
                 "vocab_size": 50272, "word_embed_proj_dim": 2048},
        1_315_758_080,
    ),
    # Two tables of sinusoids, of 512 x 512, have no gradient.
    "opus-mt-en-de": (
        {"architectures": ["MarianMTModel"], "model_type": "marian", "d_model": 512,
         "activation_function": "swish", "decoder_attention_heads": 8, "decoder_ffn_dim": 2048,
         "decoder_layers": 6, "decoder_vocab_size": 58101, "encoder_attention_heads": 8,
         "encoder_ffn_dim": 2048, "encoder_layers": 6, "is_encoder_decoder": True,
         "max_position_embeddings": 512, "num_beams": 6, "num_hidden_layers": 6,
         "scale_embedding": True, "share_encoder_decoder_embeddings": True,
         "static_position_embeddings": True, "vocab_size": 58101},
        74_410_496 - 2 * 512 * 512,
    ),
    "vit-large-patch16-224": (
        {"architectures": ["ViTForImageClassification"], "model_type": "vit", "id2label": LABELS,
         "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
         "hidden_size": 1024, "image_size": 224, "intermediate_size": 4096, "num_channels": 3,
         "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 16, "qkv_bias": True,
         "layer_norm_eps": 1e-12},
        304_326_632,
    ),
    # torchvision's counts, which leave out the statistics of the norms.
    "resnet-34": (
        RESNET | {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 256, 512],
                  "layer_type": "basic"},
        21_797_672,
    ),
    "resnet-152": (
        RESNET | {"depths": [3, 8, 36, 3], "hidden_sizes": [256, 512, 1024, 2048],
                  "layer_type": "bottleneck"},
        60_192_808,
    ),
}  # fmt: skip
#: Layers with a window, and its tokens, in models that have them (from their papers and cards).
WINDOWS = {
    "Mistral-7B-v0.1": (32, 4096), "gemma-2-9b": (21, 4096), "gemma-3-4b-it": (29, 1024),
    "gemma-3-27b-it": (52, 1024), "gpt-oss-120b": (18, 128), "command-r7b": (24, 4096),
    "starcoder2-15b": (40, 4096), "gpt-neo-125m": (6, 256),
}  # fmt: skip


def _read(directory: Path, config: Mapping[str, Any]) -> tuple[Any, str]:
    file = directory / "config.json"
    file.write_text(json.dumps(config))
    spec, notes = model_from_config(file)
    return spec, "\n".join(notes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str, tmp_path: Path) -> None:
    config, parameters = PUBLISHED[name]
    assert _read(tmp_path, config)[0].parameters == parameters


@pytest.mark.parametrize("name", PUBLISHED)
def test_windows_are_the_published_ones(name: str, tmp_path: Path) -> None:
    spec, _ = _read(tmp_path, PUBLISHED[name][0])
    if isinstance(spec, ModelSpec):
        found = [spec.variant_of(layer) for layer in range(spec.layers)]
        sizes = [variant.size for variant in found if variant.kind == "window"]
        layers, size = WINDOWS.get(name, (0, 0))
        assert sizes == [size] * layers


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("Llama-4-Scout", {}, "chunks of 8192 tokens is counted over the whole sequence"),
        ("Llama-4-Scout", {}, "norms of queries and keys, which have no parameters"),
        ("Llama-3.1-8B", {"architectures": ["LlamaForSequenceClassification"]},
         "'LlamaForSequenceClassification': counted is a causal language model"),
        ("resnet-34", {"architectures": ["ResNetModel"]}, "the model with a classifier"),
        ("opus-mt-en-de", {"architectures": ["MarianModel"]}, "with its language head"),
        ("SmolLM3-3B", {"layer_types": None, "use_sliding_window": True, "sliding_window": 64},
         "do not alternate evenly"),
    ],
)  # fmt: skip
def test_what_is_noted(name: str, change: Mapping[str, Any], words: str, tmp_path: Path) -> None:
    assert words in _read(tmp_path, {**PUBLISHED[name][0], **change})[1]


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_not_noted(name: str, tmp_path: Path) -> None:
    notes = _read(tmp_path, PUBLISHED[name][0])[1]
    assert "counted is" not in notes
    assert ("text model is" in notes) == ("vision_config" in PUBLISHED[name][0])
    assert "head_dim" not in notes.partition("unknown keys")[2]


def test_a_pattern_of_letters_is_their_number(tmp_path: Path) -> None:
    small = {"num_hidden_layers": 6, "sliding_window": 64, "max_position_embeddings": 128}
    for pattern, every in (("LLG", 3), (2, 2)):
        config = {"model_type": "exaone4", "sliding_window_pattern": pattern, **small}
        spec, _ = _read(tmp_path, config)
        assert (spec.attention_size, spec.full_attention_every) == (64, every)
    with pytest.raises(DistsimError, match="DS254"):
        _read(tmp_path, {"model_type": "exaone4", "sliding_window_pattern": "LGL", **small})


def test_experts_of_a_llama_4_stand_in_layers_that_can_be_stated(tmp_path: Path) -> None:
    config = {"model_type": "llama4_text", "num_hidden_layers": 4, "moe_layers": [1, 3]}
    spec, _ = _read(tmp_path, config | {"interleave_moe_layer_step": 2})
    assert spec.layer_kinds == ("dense", "moe") * 2
    with pytest.raises(DistsimError, match="DS253"):
        _read(tmp_path, config)
    spec, notes = _read(tmp_path, config | {"interleave_moe_layer_step": 5, "moe_layers": []})
    assert (spec.experts, spec.ffn) == (0, 16384)
    assert "the model is dense" in notes


def test_a_t5_with_a_table_for_its_head_is_said_to_differ_from_transformers(
    tmp_path: Path,
) -> None:
    config = {"model_type": "t5", "is_encoder_decoder": True}
    tied, notes = _read(tmp_path, config)
    assert "ties it all the same" not in notes
    own, notes = _read(tmp_path, config | {"tie_word_embeddings": False})
    assert "ties it all the same" in notes
    assert own.parameters - tied.parameters == 32128 * 512


SCENARIO = """\
schema: 1
name: imported
cluster: {topology: dgx-a100, devices: 8}
model: broken.json
batch: {global_size: 8, sequence_length: 1024}
"""


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('{"model_type": "llama",', "DS250", "is not JSON"),
        ('{"model_type": "llama",\n "hidden_size": "x"}', "DS254", "hidden_size is 'x'"),
        ('{"model_type": "deit"}', "DS252", "a second token"),
        ('{"model_type": "lama"}', "DS251", "did you mean llama?"),
        ('{"model_type": "llama",\n "num_key_value_heads": 7}', "DS224",
         "num_key_value_heads(7) does not divide heads(32)"),
        ('{"model_type": "qwen2", "num_attention_heads": 14, "hidden_size": 896}', "DS224",
         "use num_key_value_heads: 14"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", [("models", "show", "broken.json"), ("run", "s.yaml")])
def test_a_command_prints_one_error(
    command: tuple[str, ...],
    text: str,
    code: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.json").write_text(text)
    (tmp_path / "s.yaml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    done = capsys.readouterr()
    assert done.out == ""
    assert done.err.startswith("error: ") and done.err.count("error:") == 1
    assert "broken.json:" in done.err.splitlines()[0]
    assert f"{code}: " in done.err and words in done.err
