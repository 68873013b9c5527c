"""Models from config.json: counts of released checkpoints, what is noted, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from distsim.cli import cli
from distsim.errors import CODES, DistsimError
from distsim.scenario.importers.huggingface import model_from_config
from distsim.scenario.importers.huggingface_registry import NOT_MODELLED, REGISTRY
from distsim.scenario.load import load
from distsim.scenario.resolve import resolve
from distsim.workload.catalogue import model
from distsim.workload.model import KEYS, ModelSpec

#: What the released config.json files say (keys without a part in this are left out), and the
#: number of elements of the released checkpoints.
RELEASED: dict[str, tuple[dict[str, Any], int]] = {
    "gpt2": (
        {"model_type": "gpt2", "activation_function": "gelu_new", "attn_pdrop": 0.1,
         "embd_pdrop": 0.1, "resid_pdrop": 0.1, "n_ctx": 1024, "n_embd": 768, "n_head": 12,
         "n_layer": 12, "n_positions": 1024, "vocab_size": 50257},
        124_439_808,
    ),
    "llama2-7b": (
        {"model_type": "llama", "hidden_act": "silu", "hidden_size": 4096,
         "intermediate_size": 11008, "max_position_embeddings": 4096, "num_attention_heads": 32,
         "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
         "rms_norm_eps": 1e-05, "tie_word_embeddings": False, "vocab_size": 32000},
        6_738_415_616,
    ),
    "llama3-8b": (
        {"model_type": "llama", "attention_bias": False, "attention_dropout": 0.0,
         "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
         "max_position_embeddings": 8192, "num_attention_heads": 32, "num_hidden_layers": 32,
         "num_key_value_heads": 8, "rope_theta": 500000.0, "tie_word_embeddings": False,
         "vocab_size": 128256},
        8_030_261_248,
    ),
    "llama3.2-1b": (
        {"model_type": "llama", "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
         "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False,
         "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
         "tie_word_embeddings": True, "vocab_size": 128256},
        1_235_814_400,
    ),
    "mistral-7b": (
        {"model_type": "mistral", "hidden_act": "silu", "hidden_size": 4096,
         "intermediate_size": 14336, "max_position_embeddings": 32768, "num_attention_heads": 32,
         "num_hidden_layers": 32, "num_key_value_heads": 8, "sliding_window": 4096,
         "tie_word_embeddings": False, "vocab_size": 32000},
        7_241_732_096,
    ),
    "mixtral-8x7b": (
        {"model_type": "mixtral", "hidden_act": "silu", "hidden_size": 4096,
         "intermediate_size": 14336, "max_position_embeddings": 32768, "num_attention_heads": 32,
         "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8,
         "num_local_experts": 8, "sliding_window": None, "tie_word_embeddings": False,
         "vocab_size": 32000},
        46_702_792_704,
    ),
    "qwen2-7b": (
        {"model_type": "qwen2", "hidden_act": "silu", "hidden_size": 3584,
         "intermediate_size": 18944, "max_position_embeddings": 131072, "max_window_layers": 28,
         "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
         "sliding_window": 131072, "tie_word_embeddings": False, "use_sliding_window": False,
         "vocab_size": 152064},
        7_615_616_512,
    ),
    "qwen1.5-moe-a2.7b": (
        {"model_type": "qwen2_moe", "decoder_sparse_step": 1, "hidden_act": "silu",
         "hidden_size": 2048, "intermediate_size": 5632, "max_position_embeddings": 8192,
         "moe_intermediate_size": 1408, "num_attention_heads": 16, "num_experts": 60,
         "num_experts_per_tok": 4, "num_hidden_layers": 24, "num_key_value_heads": 16,
         "shared_expert_intermediate_size": 5632, "sliding_window": 32768,
         "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 151936},
        14_315_784_192,
    ),
    "qwen3-30b-a3b": (
        {"model_type": "qwen3_moe", "attention_bias": False, "decoder_sparse_step": 1,
         "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144,
         "max_position_embeddings": 40960, "mlp_only_layers": [], "moe_intermediate_size": 768,
         "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
         "num_hidden_layers": 48, "num_key_value_heads": 4, "sliding_window": None,
         "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 151936},
        30_532_122_624,
    ),
    "qwen3-8b": (
        {"model_type": "qwen3", "attention_bias": False, "head_dim": 128, "hidden_act": "silu",
         "hidden_size": 4096, "intermediate_size": 12288, "max_position_embeddings": 40960,
         "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
         "sliding_window": None, "tie_word_embeddings": False, "use_sliding_window": False,
         "vocab_size": 151936},
        8_190_735_360,
    ),
    "gpt-neox-20b": (
        {"model_type": "gpt_neox", "attention_probs_dropout_prob": 0, "hidden_act": "gelu_fast",
         "hidden_dropout_prob": 0, "hidden_size": 6144, "intermediate_size": 24576,
         "max_position_embeddings": 2048, "num_attention_heads": 64, "num_hidden_layers": 44,
         "rotary_pct": 0.25, "tie_word_embeddings": False, "vocab_size": 50432},
        20_554_567_680,
    ),
    "gemma-7b": (
        {"model_type": "gemma", "attention_bias": False, "head_dim": 256, "hidden_act": "gelu",
         "hidden_activation": None, "hidden_size": 3072, "intermediate_size": 24576,
         "max_position_embeddings": 8192, "num_attention_heads": 16, "num_hidden_layers": 28,
         "num_key_value_heads": 16, "vocab_size": 256000},
        8_537_680_896,
    ),
    "deepseek-moe-16b": (
        {"model_type": "deepseek", "auto_map": {"AutoConfig": "configuration_deepseek.X"},
         "attention_bias": False, "aux_loss_alpha": 0.001, "first_k_dense_replace": 1,
         "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 10944,
         "max_position_embeddings": 4096, "moe_intermediate_size": 1408, "moe_layer_freq": 1,
         "n_routed_experts": 64, "n_shared_experts": 2, "num_attention_heads": 16,
         "num_experts_per_tok": 6, "num_hidden_layers": 28, "num_key_value_heads": 16,
         "vocab_size": 102400},
        16_375_728_128,
    ),
    "starcoder": (
        {"model_type": "gpt_bigcode", "multi_query": True, "n_embd": 6144, "n_head": 48,
         "n_inner": 24576, "n_layer": 40, "n_positions": 8192, "vocab_size": 49152,
         "activation_function": "gelu"},
        15_517_456_384,
    ),
    "starcoder2-3b": (
        {"model_type": "starcoder2", "attention_dropout": 0.1, "embedding_dropout": 0.1,
         "hidden_size": 3072, "intermediate_size": 12288, "max_position_embeddings": 16384,
         "num_attention_heads": 24, "num_hidden_layers": 30, "num_key_value_heads": 2,
         "residual_dropout": 0.1, "sliding_window": 4096, "use_bias": True, "vocab_size": 49152},
        3_030_371_328,
    ),
    "phi-3-mini": (
        {"model_type": "phi3", "hidden_act": "silu", "hidden_size": 3072,
         "intermediate_size": 8192, "max_position_embeddings": 4096, "num_attention_heads": 32,
         "num_hidden_layers": 32, "num_key_value_heads": 32, "vocab_size": 32064},
        3_821_079_552,
    ),
    "stablelm-3b-4e1t": (
        {"model_type": "stablelm", "hidden_act": "silu", "hidden_size": 2560,
         "intermediate_size": 6912, "max_position_embeddings": 4096, "num_attention_heads": 32,
         "num_hidden_layers": 32, "num_key_value_heads": 32, "use_qkv_bias": False,
         "tie_word_embeddings": False, "vocab_size": 50304},
        2_795_443_200,
    ),
}  # fmt: skip
#: Configurations of models that the catalogue has, too, from their papers.
IN_CATALOGUE = (
    "gpt2", "llama2-7b", "llama3-8b", "mixtral-8x7b", "qwen1.5-moe-a2.7b", "qwen3-30b-a3b",
    "deepseek-moe-16b",
)  # fmt: skip
LLAMA = RELEASED["llama3-8b"][0]
QWEN_MOE = RELEASED["qwen1.5-moe-a2.7b"][0]
DEEPSEEK = RELEASED["deepseek-moe-16b"][0]


@pytest.fixture
def read(tmp_path: Path):
    """Return a reader of configurations, as mappings or texts."""

    def reader(config: Mapping[str, Any] | str) -> tuple[ModelSpec, tuple[str, ...]]:
        file = tmp_path / "config.json"
        file.write_text(config if isinstance(config, str) else json.dumps(config, indent=2))
        return model_from_config(file)

    return reader


@pytest.fixture
def refused(read):
    """Return a reader of configurations that are refused, which returns the error."""

    def reader(config: Mapping[str, Any] | str) -> DistsimError:
        with pytest.raises(DistsimError) as caught:
            read(config)
        error = caught.value
        assert error.code in CODES and error.rule and error.fix and error.place is not None
        return error

    return reader


@pytest.mark.parametrize("name", RELEASED)
def test_parameters_are_those_of_the_released_checkpoint(name, read):
    config, parameters = RELEASED[name]
    assert read(config)[0].parameters == parameters


@pytest.mark.parametrize("name", IN_CATALOGUE)
def test_a_configuration_is_the_model_of_the_catalogue(name, read):
    spec, known = read(RELEASED[name][0])[0], model(name)
    # The width of dense layers says nothing where there are none.
    other = {"name", "source", "published_parameters", "shared_experts"}
    other |= {"ffn"} if "dense" not in known.layer_kinds else set()
    for key in set(KEYS) - other:
        assert getattr(spec, key) == getattr(known, key), key


#: What transformers' classes say of an empty configuration: layers, hidden size, heads, heads of
#: keys and values, width of the feed-forward block, vocabulary, positions.
OF_CLASSES = {
    "gemma": (28, 3072, 16, 16, 24576, 256000, 8192),
    "gpt2": (12, 768, 12, 12, 3072, 50257, 1024),
    "gpt_neox": (44, 6144, 64, 64, 24576, 50432, 2048),
    "llama": (32, 4096, 32, 32, 11008, 32000, 2048),
    "mistral": (32, 4096, 32, 8, 14336, 32000, 131072),
    "mixtral": (32, 4096, 32, 8, 14336, 32000, 131072),
    "qwen2": (32, 4096, 32, 32, 22016, 151936, 32768),
    "qwen2_moe": (24, 2048, 16, 16, 5632, 151936, 32768),
    "qwen3_moe": (24, 2048, 32, 4, 6144, 151936, 32768),
    "starcoder2": (30, 3072, 24, 2, 12288, 49152, 4096),
}


@pytest.mark.parametrize("kind", OF_CLASSES)
def test_an_empty_configuration_is_all_defaults_and_says_so(kind, read):
    spec, notes = read({"model_type": kind})
    shape = (spec.layers, spec.hidden, spec.heads, spec.kv_heads, spec.ffn, spec.vocab)
    assert (*shape, spec.max_positions) == OF_CLASSES[kind]
    said = next(note for note in notes if note.startswith("not given, so as "))
    for number in OF_CLASSES[kind][:3]:
        assert f" {number}" in said


def test_defaults_of_qwen2_are_those_of_its_class_and_null_is_as_many_as_heads(read):
    # 14 heads and, without a word, the class's 32 heads of keys and values: transformers fails too.
    small = {"model_type": "qwen2", "hidden_size": 896, "num_attention_heads": 14}
    with pytest.raises(DistsimError, match=r"DS224.*num_key_value_heads\(32\)"):
        read(small)
    spec, notes = read({**small, "num_key_value_heads": None})
    assert spec.kv_heads == 14
    assert "num_key_value_heads not given: 14, as many as heads" in notes
    assert "head_dim not given: 64, hidden_size / num_attention_heads" in notes


def test_what_a_complete_configuration_leaves_out_is_all_that_is_said(read):
    complete = {**LLAMA, "head_dim": 128, "mlp_bias": False}
    assert read(complete)[1] == ()
    assert read(LLAMA)[1] == (
        "not given, so as LlamaConfig has it: mlp_bias false",
        "head_dim not given: 128, hidden_size / num_attention_heads",
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**LLAMA, "foo": 1, "bar": [2]}, "unknown keys are ignored (foo, bar)"),
        ({"model_type": "mistral"}, "sliding_window 4096"),
        ({**LLAMA, "sliding_window": 64}, "unknown keys are ignored (sliding_window)"),
        (RELEASED["gpt-neox-20b"][0], "two all-reduces a layer"),
        (RELEASED["gpt-neox-20b"][0], "counted on all features of a head (rotary_pct)"),
        ({**LLAMA, "attention_dropout": 0.1}, "attention_dropout 0.1: dropout is counted on"),
        ({**LLAMA, "hidden_act": "relu"}, "hidden_act relu is counted as swiglu"),
        (DEEPSEEK, "auto_map names code that is not run"),
        ({**LLAMA, "quantization_config": {"bits": 4}}, "quantization_config is not read"),
        ({**QWEN_MOE, "num_experts": 0}, "no layer has experts"),
        ({**LLAMA, "layer_types": ["full_attention", "sliding_attention"]}, "with windows"),
    ],
)  # fmt: skip
def test_what_is_noted(config, words, read):
    assert any(words in note for note in read(config)[1])


def test_a_window_that_is_not_used_or_longer_than_any_sequence_is_none(read):
    for name in ("qwen2-7b", "mixtral-8x7b", "qwen3-30b-a3b"):
        assert read(RELEASED[name][0])[0].attention == "full", name
    whole = {**RELEASED["mistral-7b"][0], "sliding_window": 32768}
    assert read(whole)[0].attention == "full"
    spec, _ = read(RELEASED["mistral-7b"][0])
    assert (spec.attention, spec.attention_size, spec.full_attention_every) == ("window", 4096, 0)


def test_dropout(read):
    gpt2 = RELEASED["gpt2"][0]
    assert read(gpt2)[0].dropout
    none = {"attn_pdrop": 0.0, "embd_pdrop": 0, "resid_pdrop": None}
    assert not read({**gpt2, **none})[0].dropout


def test_mixtures_in_some_layers(read, refused):
    spec, _ = read({**QWEN_MOE, "num_hidden_layers": 6, "decoder_sparse_step": 2})
    assert spec.layer_kinds == ("dense", "moe") * 3
    spec, _ = read({**QWEN_MOE, "num_hidden_layers": 4, "mlp_only_layers": [0, 1]})
    assert spec.layer_kinds == ("dense", "dense", "moe", "moe")
    assert spec.ffn == 5632 and spec.expert_ffn == 1408
    for none in ({"decoder_sparse_step": 5}, {"mlp_only_layers": [0, 1, 2, 3]}):
        spec, notes = read({**QWEN_MOE, "num_hidden_layers": 4, **none})
        assert spec.experts == 0 and "no layer has experts: the model is dense" in notes
    # A dense layer among the others cannot be stated; one that is dense anyway can.
    assert refused({**QWEN_MOE, "mlp_only_layers": [3]}).code == "DS253"
    spec, _ = read(
        {**QWEN_MOE, "num_hidden_layers": 6, "decoder_sparse_step": 2, "mlp_only_layers": [2, 4]}
    )
    assert spec.layer_kinds == ("dense", "moe") * 3


#: The text part of LLaVA 1.5 7B says little: the rest is LlamaConfig's, that is LLaMA 7B.
LLAVA = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "hidden_size": 1,
    "text_config": {"_name_or_path": "lmsys/vicuna-7b-v1.5", "model_type": "llama",
                    "max_position_embeddings": 4096, "vocab_size": 32064},
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024},
}  # fmt: skip


def test_the_text_part_of_a_model_for_images(read, refused):
    spec, notes = read(LLAVA)
    # LLaMA 7B has 6,738,415,616 parameters; 64 more tokens in two tables of 4096 features.
    assert spec.parameters == 6_738_415_616 + 2 * 64 * 4096
    assert "the model is that of text_config, of type llama, alone" in notes
    assert "not modelled, only the text model is (vision_config)" in notes
    wrong = {**LLAVA, "text_config": {"model_type": "llama", "hidden_size": "many"}}
    error = refused(wrong)
    assert (error.code, error.path) == ("DS254", ("text_config", "hidden_size"))
    line = json.dumps(wrong, indent=2).splitlines()[error.place.line - 1]
    assert '"hidden_size": "many"' in line
    assert refused({**LLAVA, "text_config": {}}).code == "DS251"
    assert refused({**LLAVA, "model_type": "clip"}).code == "DS252"


@pytest.mark.parametrize(
    ("outer", "inner", "tied"),
    [(None, None, False), (True, None, True), (True, False, True), (False, True, True)],
)
def test_embeddings_are_tied_where_either_part_says_so(outer, inner, tied, read):
    key = "tie_word_embeddings"
    text = {**LLAVA["text_config"], **({} if inner is None else {key: inner})}
    spec, _ = read({**LLAVA, "text_config": text, **({} if outer is None else {key: outer})})
    assert spec.tied_embeddings is tied


def test_a_flat_configuration_of_a_model_for_images(read):
    # The text model of Qwen2-VL 7B is Qwen2 7B.
    config = {**RELEASED["qwen2-7b"][0], "model_type": "qwen2_vl", "vision_config": {"depth": 32}}
    spec, notes = read(config)
    assert spec.parameters == 7_615_616_512
    assert "not modelled, only the text model is (vision_config)" in notes


def test_second_names_of_keys(read, refused):
    gpt2 = {k: v for k, v in RELEASED["gpt2"][0].items() if k != "n_embd"}
    assert read({**gpt2, "hidden_size": 768})[0].parameters == 124_439_808
    error = refused({**gpt2, "n_embd": 768, "hidden_size": 1024})
    assert error.code == "DS256"
    assert read({**gpt2, "n_embd": 768, "hidden_size": 768})[0].hidden == 768
    for kind in ("mixtral", "qwen3_moe"):
        assert read({"model_type": kind, "num_local_experts": 16})[0].experts == 16
        assert read({"model_type": kind, "num_experts": 32})[0].experts == 32


def test_names_can_be_printed(read):
    named = {**LLAMA, "_name_or_path": "/home/me/\ud800\x1b[2J", "\ud800\n": 1}
    spec, notes = read(named)
    assert spec.name == "??[2J"
    assert "unknown keys are ignored (??)" in notes
    assert read({**LLAMA, "_name_or_path": "meta-llama/Meta-Llama-3-8B/"})[0].name == (
        "Meta-Llama-3-8B"
    )
    for nameless in ("", "/", 7, None):
        assert read({**LLAMA, "_name_or_path": nameless})[0].name == "llama from config.json"


@pytest.mark.parametrize("kind", sorted(NOT_MODELLED))
def test_types_that_are_not_modelled_say_why(kind, refused):
    assert kind not in REGISTRY
    error = refused({"model_type": kind})
    assert error.code == "DS252" and NOT_MODELLED[kind].rstrip(",") in error.message


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"model_type": "lama"}, "DS251", "did you mean llama"),
        ({"model_type": None}, "DS251", "no model_type"),
        ({"model_type": ["llama"]}, "DS251", "model_type is"),
        ({"kv_lora_rank": 512}, "DS253", "latent attention"),
        ({"is_encoder_decoder": True}, "DS253", "encoder"),
        ({"num_nextn_predict_layers": 1}, "DS253", "several tokens"),
        ({"qk_layernorm": True}, "DS253", "LayerNorm of queries and keys"),
        ({"position_embedding_type": "relative_key"}, "DS253", "distance"),
        ({"hidden_act": "xielu"}, "DS253", "xielu"),
        ({"layer_types": ["linear_attention"]}, "DS253", "linear_attention"),
        ({"hidden_size": "4096"}, "DS254", "'4096', not a whole number"),
        ({"hidden_size": 4096.0}, "DS254", "4096.0"),
        ({"hidden_size": None}, "DS254", "null"),
        ({"hidden_size": True}, "DS254", "true"),
        ({"num_attention_heads": 0}, "DS254", "1 or more"),
        ({"num_hidden_layers": 10**9}, "DS254", "1 to 10000"),
        ({"attention_dropout": 2}, "DS254", "from 0 to 1"),
        ({"tie_word_embeddings": "no"}, "DS254", "true or false"),
        ({"hidden_size": 4100}, "DS223", "does not divide"),
        ({"num_key_value_heads": 7}, "DS224", "does not divide"),
        ({"head_dim": 127}, "DS225", "odd"),
        ({"vocab_size": 10**9}, "DS203", "vocab"),
    ],
)  # fmt: skip
def test_what_is_refused(change, code, words, refused):
    error = refused({**LLAMA, **change})
    assert error.code == code and words in str(error)
    key = next(iter(change))
    if code in ("DS253", "DS254"):
        lines = json.dumps({**LLAMA, **change}, indent=2).splitlines()
        assert error.path == (key,) and f'"{key}"' in lines[error.place.line - 1]


def test_biases_of_attention_and_of_the_feed_forward_block(read):
    # A layer: q + 2 k + h of attention, 2 f + h of SwiGLU.
    attention, mlp = 32 * (4096 + 2 * 1024 + 4096), 32 * (2 * 14336 + 4096)
    for on, off in ((True, True), (True, False), (False, True)):
        spec, _ = read({**LLAMA, "attention_bias": on, "mlp_bias": off})
        assert spec.parameters == 8_030_261_248 + on * attention + off * mlp


def test_sizes_without_a_default_are_required(refused):
    error = refused({k: v for k, v in DEEPSEEK.items() if k != "vocab_size"})
    assert error.code == "DS255" and "vocab_size" in error.message
    assert refused({**DEEPSEEK, "moe_layer_freq": 2}).code == "DS253"


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", "DS106", 0),
        ("{", "DS250", 1),
        ('{"model_type": "llama",\n}', "DS250", 2),
        ('{"a": NaN}', "DS250", 0),
        ('{"a": ' + "9" * 5000 + "}", "DS250", 0),
        ("[1]", "DS119", 1),
        ("null", "DS119", 1),
        ('{"a": 1, "a": 2}', "DS114", 0),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "DS112", 0),
        ("[" * 200_000, "DS112", 0),
        ('{"a": [' + "0," * 100_001 + "0]}", "DS113", 0),
        ('{"a": "' + "x" * 1_000_001 + '"}', "DS104", 0),
    ],
)
def test_files_that_cannot_be_read(text, code, line, refused):
    error = refused(text)
    assert (error.code, error.place.line) == (code, line)


SCENARIO = """\
schema: 1
name: imported
cluster: {topology: dgx-a100, devices: 8}
model: %s
batch: {global_size: 8, sequence_length: 1024}
"""


@pytest.mark.parametrize("absolute", [False, True])
def test_a_scenario_names_a_configuration(absolute, tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()
    config = tmp_path / "m" / "config.json"
    config.write_text(json.dumps({**RELEASED["gpt2"][0], "foo": 1, "_name_or_path": "org/gpt-2"}))
    where = str(config) if absolute else "m/config.json"
    (tmp_path / "s.yaml").write_text(SCENARIO % where)
    monkeypatch.chdir("/")
    case = resolve(load(tmp_path / "s.yaml"))
    assert (case.model, case.parameters) == ("gpt-2", 124_439_808)
    assert "unknown keys are ignored (foo)" in case.warnings
    # The same step as that of the catalogue's model.
    (tmp_path / "t.yaml").write_text(SCENARIO % "gpt2")
    assert case.model_flop == resolve(load(tmp_path / "t.yaml")).model_flop


def test_errors_of_a_scenario_stand_where_the_mistake_is(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(SCENARIO % "missing.json")
    with pytest.raises(DistsimError) as caught:
        resolve(load(file))
    error = caught.value
    assert (error.code, error.path, error.place.line) == ("DS101", ("model",), 4)
    (tmp_path / "missing.json").write_text('{"model_type": "llama",\n "vocab_size": -1}')
    with pytest.raises(DistsimError) as caught:
        resolve(load(file))
    error = caught.value
    assert (error.code, error.path) == ("DS254", ("model", "vocab_size"))
    assert error.place.file.endswith("missing.json") and error.place.line == 2


def test_the_command(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA))
    shown = CliRunner().invoke(cli, ["models", "show", str(file), "--json"])
    found = json.loads(shown.output)
    assert (found["parameters"], len(found["notes"])) == (8_030_261_248, 2)
    text = CliRunner().invoke(cli, ["models", "show", str(file)])
    assert text.exit_code == 0
    assert "\n" + " " * 39 + "head_dim not given: 128" in text.output
