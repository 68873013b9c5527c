"""Encoders, encoders with decoders and networks for images in config.json, as released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distsim.api import load, simulate
from distsim.errors import DistsimError
from distsim.scenario.importers.huggingface import model_from_config

#: Sizes as the checkpoints' files state them, and the parameters that they hold.
RELEASED: list[tuple[str, dict[str, Any], int]] = [
    (
        "bert-base-uncased",
        {"model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 30522},
        109_514_298,
    ),
    (
        "bert-base-uncased with both heads",
        {"model_type": "bert", "architectures": ["BertForPreTraining"]},
        110_106_428,
    ),
    (
        "roberta-base",
        {
            "model_type": "roberta",
            "architectures": ["RobertaForMaskedLM"],
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
        124_697_433,
    ),
    (
        "t5-base",
        {
            "model_type": "t5",
            "is_encoder_decoder": True,
            "d_model": 768,
            "d_ff": 3072,
            "num_layers": 12,
            "num_heads": 12,
        },
        222_903_552,
    ),
    (
        "t5-v1_1-base",
        {
            "model_type": "t5",
            "is_encoder_decoder": True,
            "d_model": 768,
            "d_ff": 2048,
            "num_layers": 12,
            "num_decoder_layers": 12,
            "num_heads": 12,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        },
        247_577_856,
    ),
    (
        "mt5-small",
        {"model_type": "mt5", "is_encoder_decoder": True, "tie_word_embeddings": False},
        300_176_768,
    ),
    (
        "bart-base",
        {
            "model_type": "bart",
            "is_encoder_decoder": True,
            "d_model": 768,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
        },
        139_420_416,
    ),
    ("bart-large", {"model_type": "bart", "is_encoder_decoder": True}, 406_291_456),
    (
        "mbart-large-cc25",
        {"model_type": "mbart", "is_encoder_decoder": True, "vocab_size": 250027},
        610_851_840,
    ),
    (
        "pegasus-large, without its two tables of 1024 x 1024 sinusoids",
        {
            "model_type": "pegasus",
            "is_encoder_decoder": True,
            "vocab_size": 96103,
            "encoder_layers": 16,
            "decoder_layers": 16,
        },
        570_797_056 - 2 * 1024 * 1024,
    ),
    ("distilbert-base-uncased", {"model_type": "distilbert"}, 66_985_530),
    (
        "xlm-roberta-base",
        {
            "model_type": "xlm-roberta",
            "vocab_size": 250002,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
        278_295_186,
    ),
    (
        "resnet-50",
        {"model_type": "resnet", "id2label": {str(n): "name" for n in range(1000)}},
        25_557_032,
    ),
    (
        "resnet-18",
        {
            "model_type": "resnet",
            "depths": [2, 2, 2, 2],
            "hidden_sizes": [64, 128, 256, 512],
            "layer_type": "basic",
            "id2label": {str(n): "name" for n in range(1000)},
        },
        11_689_512,
    ),
    (
        "vit-base-patch16-224",
        {"model_type": "vit", "id2label": {str(n): "name" for n in range(1000)}},
        86_567_656,
    ),
]


def _file(directory: Path, config: dict[str, Any]) -> Path:
    file = directory / "config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


@pytest.mark.parametrize(("name", "config", "parameters"), RELEASED, ids=[r[0] for r in RELEASED])
def test_parameters_of_released_checkpoints(
    tmp_path: Path, name: str, config: dict[str, Any], parameters: int
) -> None:
    model, notes = model_from_config(_file(tmp_path, config))
    assert model.parameters == parameters
    assert any("not given" in note for note in notes)


def test_a_scenario_runs_one(tmp_path: Path) -> None:
    _file(tmp_path, RELEASED[3][1])
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        "schema: 1\nname: t5\ncluster: {topology: dgx-a100, devices: 8}\nmodel: config.json\n"
        "batch: {global_size: 64, micro_size: 8}\nprecision: bf16\n",
        encoding="utf-8",
    )
    prediction = simulate(load(scenario))
    assert prediction.parameters == 222_903_552
    assert any("T5Config" in warning for warning in prediction.warnings)


def test_heads_that_are_not_named_are_said(tmp_path: Path) -> None:
    _, notes = model_from_config(_file(tmp_path, {"model_type": "bert"}))
    assert any("architectures not given" in note for note in notes)


BART = {"model_type": "bart", "d_model": 64, "encoder_layers": 2, "decoder_layers": 2}


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        ({"model_type": "t5", "feed_forward_proj": "gated-tanh"}, "DS253", "feed-forward"),
        ({"model_type": "vit", "qkv_bias": False}, "DS253", "without biases"),
        ({"model_type": "bert", "tie_word_embeddings": False}, "DS253", "table of its own"),
        ({"model_type": "electra"}, "DS253", "another width"),
        ({"model_type": "electra", "embedding_size": 256, "architectures": ["XForPreTraining"]},
         "DS253", "discriminator"),
        ({"model_type": "electra", "embedding_size": 256,
          "architectures": ["ElectraForNextSentencePrediction"]}, "DS253", "pooler"),
        ({"model_type": "big_bird", "use_bias": False}, "DS253", "without biases"),
        ({"model_type": "big_bird", "attention_type": "random"}, "DS253", "kind of attention"),
        ({"model_type": "distilbert", "sinusoidal_pos_embds": True}, "DS253", "sinusoids"),
        ({**BART, "decoder_ffn_dim": 64}, "DS253", "other sizes"),
        ({**BART, "decoder_attention_heads": 8}, "DS253", "other sizes"),
        ({**BART, "tie_word_embeddings": False}, "DS253", "a table of words for each stack"),
        ({"model_type": "marian", "share_encoder_decoder_embeddings": False}, "DS253", "its own"),
        ({"model_type": "marian", "decoder_vocab_size": 7}, "DS253", "vocabulary of its own"),
        ({"model_type": "resnet", "layer_type": "wide"}, "DS253", "type 'wide'"),
        ({"model_type": "resnet", "hidden_sizes": [6], "depths": [1]}, "DS253", "multiple of 4"),
        ({"model_type": "resnet", "depths": [1, 2]}, "DS254", "no stages"),
        ({"model_type": "resnet", "depths": [1, 2, 3, 0]}, "DS254", "no stages"),
        ({"model_type": "resnet", "depths": [1, 2, 3, 4000]}, "DS203", "repeat"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, config: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(DistsimError) as caught:
        model_from_config(_file(tmp_path, config))
    assert caught.value.code == code
    assert words in str(caught.value)


def test_blocks_of_big_bird(tmp_path: Path) -> None:
    model, notes = model_from_config(_file(tmp_path, {"model_type": "big_bird"}))
    # Zaheer 2020, section 2: three random blocks, three around the query, the first and the last.
    assert (model.attention, model.attention_size) == ("block_sparse", 8 * 64)
    assert any("counted as the others" in note for note in notes)
    full = {"model_type": "big_bird", "attention_type": "original_full"}
    assert model_from_config(_file(tmp_path, full))[0].attention == "full"


def test_a_resnet_strides_where_it_says(tmp_path: Path) -> None:
    # He 2015, table 1: 3.8 G multiply-adds with the stride in the first convolution; 4.1 G after.
    config = {"model_type": "resnet", "num_labels": 1000}
    late, notes = model_from_config(_file(tmp_path, config))
    early, _ = model_from_config(_file(tmp_path, config | {"downsample_in_bottleneck": True}))
    assert late.forward_flop(1) / 2 == pytest.approx(4.09e9, rel=0.002)
    assert early.forward_flop(1) / 2 == pytest.approx(3.8e9, rel=0.02)
    assert any("224 x 224 pixels" in note for note in notes)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "resnet"},
        {"model_type": "big_bird"},
        {**BART, "encoder_attention_heads": 8, "decoder_attention_heads": 8},
        {"model_type": "distilbert"},
    ],
)
def test_predictions(tmp_path: Path, config: dict[str, Any]) -> None:
    _file(tmp_path, config)
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        "schema: 1\nname: small\ncluster: {topology: dgx-a100, devices: 8}\nmodel: config.json\n"
        "batch: {global_size: 64, micro_size: 8}\nprecision: bf16\n",
        encoding="utf-8",
    )
    prediction = simulate(load(scenario))
    assert prediction.parameters == model_from_config(tmp_path / "config.json")[0].parameters
