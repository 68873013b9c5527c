"""Decoders beside GPT-2 and LLaMA in config.json: released checkpoints, windows, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from distsim.api import load, simulate
from distsim.errors import DistsimError
from distsim.scenario.importers.huggingface import model_from_config
from distsim.workload.catalogue import model
from distsim.workload.model import KEYS, ModelSpec

Read = Callable[[Mapping[str, Any]], tuple[ModelSpec, tuple[str, ...]]]


def _named(kind: str, sizes: str, **others: Any) -> dict[str, Any]:
    """Return a configuration: vocabulary, hidden size, width, layers, heads, heads of keys."""
    keys = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "num_key_value_heads"
    )
    return {
        "model_type": kind,
        **dict(zip(keys.split(), map(int, sizes.split()), strict=True)),
        **others,
    }


GEMMA_2 = {"head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 8192,
           "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096}  # fmt: skip
GPT_OSS = {"num_experts_per_tok": 4, "head_dim": 64, "sliding_window": 128,
           "attention_bias": True, "max_position_embeddings": 131072}  # fmt: skip
LATENT = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
          "max_position_embeddings": 163840, "moe_layer_freq": 1,
          "tie_word_embeddings": False}  # fmt: skip
#: What the released files say of models that the catalogue has from their papers.
IN_CATALOGUE: dict[str, dict[str, Any]] = {
    "gpt-j-6b": {"model_type": "gptj", "n_embd": 4096, "n_head": 16, "n_layer": 28,
                 "n_positions": 2048, "rotary_dim": 64, "vocab_size": 50400},
    "gpt-neox-20b": _named("gpt_neox", "50432 6144 24576 44 64 64", rotary_pct=0.25,
                           max_position_embeddings=2048),
    "phi-2": _named("phi", "51200 2560 10240 32 32 32", resid_pdrop=0.1,
                    max_position_embeddings=2048, partial_rotary_factor=0.4),
    "bloom-176b": {"model_type": "bloom", "n_embed": 14336, "n_layer": 70,
                   "num_attention_heads": 112, "vocab_size": 250880},
    "mpt-7b": {"model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32,
               "vocab_size": 50432, "max_seq_len": 2048, "attn_config": {"alibi": True}},
    "olmo-7b": _named("olmo", "50304 4096 11008 32 32 32", max_position_embeddings=2048),
    "olmo-2-7b": _named("olmo2", "100352 4096 11008 32 32 32", max_position_embeddings=4096),
    "command-r-35b": _named("cohere", "256000 8192 22528 40 64 64",
                            max_position_embeddings=131072),
    "gemma-2-2b": _named("gemma2", "256000 2304 9216 26 8 4", **GEMMA_2),
    "gemma-2-9b": _named("gemma2", "256000 3584 14336 42 16 8", **GEMMA_2),
    "gemma-2-27b": _named("gemma2", "256000 4608 36864 46 32 16", **(GEMMA_2 | {"head_dim": 128})),
    "gemma-3-1b": _named("gemma3_text", "262144 1152 6912 26 4 1", head_dim=256,
                         sliding_window=512, sliding_window_pattern=6,
                         max_position_embeddings=32768),
    "gpt-oss-20b": _named("gpt_oss", "201088 2880 2880 24 64 8", **GPT_OSS, num_local_experts=32),
    "gpt-oss-120b": _named("gpt_oss", "201088 2880 2880 36 64 8", **GPT_OSS,
                           num_local_experts=128),
    "deepseek-v2-lite": _named("deepseek_v2", "102400 2048 10944 27 16 16", **LATENT,
                               q_lora_rank=None, first_k_dense_replace=1, n_routed_experts=64,
                               topk_method="greedy", n_group=1, topk_group=1,
                               n_shared_experts=2, num_experts_per_tok=6,
                               moe_intermediate_size=1408),
    "deepseek-v2": _named("deepseek_v2", "102400 5120 12288 60 128 128", **LATENT,
                          q_lora_rank=1536, first_k_dense_replace=1, n_routed_experts=160,
                          n_shared_experts=2, num_experts_per_tok=6, moe_intermediate_size=1536,
 topk_method="group_limited_greedy", n_group=8, topk_group=3),
    "deepseek-v3": _named("deepseek_v3", "129280 7168 18432 61 128 128", **LATENT,
                          q_lora_rank=1536, first_k_dense_replace=3, n_routed_experts=256,
                          n_shared_experts=1, num_experts_per_tok=8, moe_intermediate_size=2048,
                          num_nextn_predict_layers=1, n_group=8, topk_group=4),
}  # fmt: skip
KIMI_K2 = _named(
    "kimi_k2", "163840 7168 18432 61 64 64", **(LATENT | {"max_position_embeddings": 131072}),
    q_lora_rank=1536, first_k_dense_replace=1, n_routed_experts=384, n_shared_experts=1,
    num_experts_per_tok=8, moe_intermediate_size=2048, num_nextn_predict_layers=0, n_group=1,
    topk_group=1,
)  # fmt: skip
#: Elements of released checkpoints, without tables that are looked up without a gradient.
RELEASED: dict[str, tuple[dict[str, Any], int]] = {
    "falcon-7b": (
        {"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "bias": False,
         "num_attention_heads": 71, "multi_query": True, "parallel_attn": True, "alibi": False,
         "new_decoder_architecture": False, "vocab_size": 65024},
        6_921_720_704,
    ),
    "gpt-neo-1.3b": (
        {"model_type": "gpt_neo", "hidden_size": 2048, "num_layers": 24, "num_heads": 16,
         "attention_types": [[["global", "local"], 12]], "window_size": 256},
        1_315_575_808,
    ),
    "opt-125m": ({"model_type": "opt", "hidden_size": 768, "num_hidden_layers": 12,
                  "ffn_dim": 3072, "word_embed_proj_dim": 768}, 125_239_296),
    "opt-6.7b": ({"model_type": "opt", "hidden_size": 4096, "num_hidden_layers": 32,
                  "num_attention_heads": 32, "ffn_dim": 16384, "word_embed_proj_dim": 4096},
                 6_658_473_984),
    "olmoe-1b-7b": (
        _named("olmoe", "50304 2048 1024 16 16 16", num_experts=64, num_experts_per_tok=8),
        6_919_161_856,
    ),
    "phi-3.5-moe": (
        _named("phimoe", "32064 4096 6400 32 32 8", attention_bias=True, lm_head_bias=True,
               num_local_experts=16, num_experts_per_tok=2),
        41_873_153_344,
    ),
    "dbrx": (
        {"model_type": "dbrx", "d_model": 6144, "n_layers": 40, "n_heads": 48,
         "max_seq_len": 32768, "vocab_size": 100352,
         "attn_config": {"clip_qkv": 8, "kv_n_heads": 8, "rope_theta": 500000},
         "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4}},
        131_596_523_520,
    ),
}  # fmt: skip
SMALL = _named("x", "1000 64 176 6 8 4", max_position_embeddings=128)


def _small(kind: str, **others: Any) -> dict[str, Any]:
    return {**SMALL, "model_type": kind, **others}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a reader of configurations."""

    def reader(config: Mapping[str, Any]) -> tuple[ModelSpec, tuple[str, ...]]:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config))
        spec, notes = model_from_config(file)
        assert isinstance(spec, ModelSpec)
        return spec, notes

    return reader


@pytest.mark.parametrize("name", RELEASED)
def test_parameters_of_released_checkpoints(name: str, read: Read) -> None:
    config, parameters = RELEASED[name]
    assert read(config)[0].parameters == parameters


@pytest.mark.parametrize("name", IN_CATALOGUE)
def test_a_configuration_is_the_model_of_the_catalogue(name: str, read: Read) -> None:
    spec, known = read(IN_CATALOGUE[name])[0], model(name)
    assert isinstance(known, ModelSpec)
    assert spec.parameters == known.parameters == known.published_parameters
    # The width of dense layers says nothing where there are none; nor does whose convention it is.
    other = {"name", "source", "published_parameters", "family"}
    other |= {"ffn"} if "dense" not in known.layer_kinds else set()
    for key in set(KEYS) - other - {"dropout", "tied_embeddings", "kv_heads"}:
        assert getattr(spec, key) == getattr(known, key), key


def test_kimi_k2_is_a_deepseek_v3_of_its_own_sizes(read: Read) -> None:
    spec, notes = read(KIMI_K2)
    # Kimi Team 2025, arXiv 2507.20534, table 2: 1.04 T in all, 32.6 B for a token.
    assert spec.parameters == pytest.approx(1.04e12, rel=0.02)
    assert spec.active_parameters == pytest.approx(32.6e9, rel=0.02)
    assert any("balance the router" in note for note in notes)
    assert not any("(MTP)" in note for note in notes)
    _, notes = read(IN_CATALOGUE["deepseek-v3"])
    assert any("(MTP) are not counted" in note for note in notes)
    with pytest.raises(DistsimError, match="DS255"):
        read({key: value for key, value in KIMI_K2.items() if key != "vocab_size"})


LOCAL = {"sliding_window": 32}
S, F = "sliding_attention", "full_attention"


@pytest.mark.parametrize(
    ("config", "window", "words"),
    [
        (_small("mistral", **LOCAL), (32, 0), ""),
        (_small("mistral", sliding_window=None), (0, 0), ""),
        (_small("mistral", sliding_window=0), (0, 0), ""),
        (_small("mistral", sliding_window=128), (0, 0), ""),
        (_small("starcoder2", **LOCAL), (32, 0), ""),
        (_small("phi3", **LOCAL), (32, 0), ""),
        (_small("qwen2", **LOCAL), (0, 0), ""),
        (_small("qwen2", **LOCAL, use_sliding_window=False, layer_types=[S] * 6), (0, 0), ""),
        (_small("qwen2", **LOCAL, use_sliding_window=True), (0, 0), ""),
        (_small("qwen2", **LOCAL, use_sliding_window=True, max_window_layers=0), (32, 0), ""),
        (_small("qwen2", **LOCAL, use_sliding_window=True, max_window_layers=2), (0, 0),
         "do not alternate evenly"),
        (_small("qwen2", **LOCAL, use_sliding_window=True, layer_types=[S, S, F] * 2), (32, 3), ""),
        (_small("gemma2", **LOCAL), (32, 2), ""),
        (_small("gemma2", **LOCAL, layer_types=[S] * 6), (32, 0), ""),
        (_small("gemma2", **LOCAL, layer_types=[F] * 6), (0, 0), ""),
        (_small("gemma2", **LOCAL, layer_types=[F, S] * 3), (32, 2), "from layer 1 on"),
        (_small("gemma2", **LOCAL, layer_types=[F, S, F, S, F, F]), (0, 0), "alternate evenly"),
        (_small("gemma3_text", **LOCAL), (32, 6), ""),
        (_small("gemma3_text", **LOCAL, num_hidden_layers=5), (32, 0), ""),
        (_small("gemma3_text", **LOCAL, sliding_window_pattern=2), (32, 2), ""),
        (_small("cohere2", **LOCAL), (32, 4), ""),
        (_small("llama", **LOCAL), (0, 0), "unknown keys are ignored (sliding_window)"),
    ],
)  # fmt: skip
def test_windows(config: dict[str, Any], window: tuple[int, int], words: str, read: Read) -> None:
    spec, notes = read(config)
    assert (spec.attention_size, spec.full_attention_every) == window
    assert spec.attention == ("window" if window[0] else "full")
    assert any(words in note for note in notes)
    assert words or not any("window" in note and "not given" not in note for note in notes)


def test_a_window_makes_attention_cheaper_and_nothing_else(read: Read) -> None:
    local, full = (read(_small("mistral", sliding_window=w))[0] for w in (32, None))
    assert local.parameters == full.parameters
    # 4 s w of 8 heads of 8 features, in 6 layers, forward and twice that backward.
    assert full.model_flop(128) - local.model_flop(128) == 3 * 4 * 6 * 8 * 8 * 128 * (128 - 32)


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        (_small("gemma2", layer_types=[S]), "DS254", "not a kind for each of 6 layers"),
        (_small("gemma2", layer_types="S"), "DS254", "no list"),
        (_small("gemma2", sliding_window="32"), "DS254", "not a whole number"),
        (_small("gemma3_text", use_bidirectional_attention=True), "DS253", "both sides"),
        (_small("stablelm", qk_layernorm=True), "DS253", "without the others' bias"),
        (_small("deepseek_v3"), "DS253", "latent attention whose heads share keys"),
        (_small("deepseek_v2", num_key_value_heads=8, mlp_bias=True, num_experts_per_tok=2),
         "DS253", "not of experts"),
        (_small("deepseek_v2", num_key_value_heads=8), "DS255", "num_experts_per_tok"),
        (_small("gpt_neo", num_layers=6, num_heads=8), "DS254", "attention_types"),
        (_small("gpt_neo", num_layers=1, num_heads=8, attention_types=[[["far"], 1]]), "DS254",
         "attention_types"),
        (_small("opt", word_embed_proj_dim=32), "DS253", "another width"),
        (_small("opt", do_layer_norm_before=False), "DS253", "norms of sums"),
        (_small("mpt", d_model=64, n_heads=8, expansion_ratio=2), "DS253", "four times"),
        (_small("mpt", d_model=64, n_heads=8, no_bias=False), "DS253", "with biases"),
        (_small("mpt", d_model=64, n_heads=8, attn_config={"alibi": False}), "DS253", "table"),
        (_small("mpt", d_model=64, n_heads=8, attn_config={"qk_ln": True}), "DS253", "norms"),
        (_small("mpt", d_model=64, n_heads=8, attn_config=[]), "DS254", "an object"),
        (_small("dbrx", d_model=64, n_heads=8, ffn_config={"moe_top_k": "x"}), "DS254",
         "moe_top_k is 'x'"),
        (_small("dbrx", d_model=64, n_heads=8, ffn_config={"ffn_act_fn": {"name": "xielu"}}),
         "DS253", "xielu"),
        (_small("dbrx", d_model=64, n_heads=8, attn_config={"kv_n_heads": 3}), "DS224", "divide"),
    ],
)  # fmt: skip
def test_what_is_refused(config: dict[str, Any], code: str, words: str, read: Read) -> None:
    config = {k: v for k, v in config.items() if k != "hidden_size" or "d_model" not in config}
    config = {
        k: v for k, v in config.items()
        if k != "num_attention_heads" or not {"n_heads", "num_heads"} & set(config)
    }  # fmt: skip
    if "num_layers" in config:
        del config["num_hidden_layers"]
    with pytest.raises(DistsimError) as caught:
        read(config)
    assert caught.value.code == code
    assert words in str(caught.value)


def test_errors_in_an_object_stand_at_its_key(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "dbrx",\n "ffn_config": {\n  "moe_top_k": 0}}')
    with pytest.raises(DistsimError) as caught:
        model_from_config(file, path=("model",))
    error = caught.value
    assert (error.code, error.path) == ("DS254", ("model", "ffn_config", "moe_top_k"))
    assert error.place is not None and error.place.line == 3


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "falcon", "new_decoder_architecture": True}, "two all-reduces a layer"),
        ({"model_type": "gptj"}, "all features of a head (rotary_dim)"),
        ({"model_type": "phi", "rope_parameters": {"partial_rotary_factor": 0.4}},
         "all features of a head (partial_rotary_factor)"),
        ({"model_type": "bloom"}, "2048 tokens, as in training"),
        ({"model_type": "olmo", "clip_qkv": 8.0}, "not counted as operators (clip_qkv)"),
        ({"model_type": "gemma2"}, "attn_logit_softcapping, final_logit_softcapping"),
        ({"model_type": "dbrx", "ffn_config": {}}, "as DbrxFFNConfig has it: ffn_hidden_size 3584"),
        ({"model_type": "dbrx", "attn_config": {"what": 1}}, "unknown keys are ignored (what)"),
        ({"model_type": "cohere2"}, "have no positions"),
    ],
)  # fmt: skip
def test_what_is_noted(config: dict[str, Any], words: str, read: Read) -> None:
    notes = read(config)[1]
    assert any(words in note for note in notes), notes
    assert not any("only the text model" in note for note in notes)


@pytest.mark.parametrize(
    "config",
    [
        _small("gpt_oss", **LOCAL, num_local_experts=8, num_experts_per_tok=2, head_dim=8),
        _small("gemma2", **LOCAL, head_dim=8),
        _small("cohere2", **LOCAL),
        _small("deepseek_v3", num_key_value_heads=8, kv_lora_rank=24, q_lora_rank=40,
               qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, n_routed_experts=8,
               num_experts_per_tok=2, moe_intermediate_size=64, first_k_dense_replace=1),
        {"model_type": "bloom", "n_embed": 64, "n_layer": 6, "num_attention_heads": 8},
    ],
)  # fmt: skip
def test_a_scenario_runs_one(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        "schema: 1\nname: small\ncluster: {topology: dgx-a100, devices: 8}\nmodel: config.json\n"
        "batch: {global_size: 64, micro_size: 8, sequence_length: 128}\nprecision: bf16\n"
        "plan: {tp: 2, sequence_parallel: true}\n"
    )
    prediction = simulate(load(scenario))
    spec, _ = model_from_config(tmp_path / "config.json")
    assert prediction.parameters == spec.parameters
