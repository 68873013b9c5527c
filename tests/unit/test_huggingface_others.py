"""Hugging Face configurations of BERT, RoBERTa, T5 and ViT, by released checkpoints."""

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


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "t5", "feed_forward_proj": "gated-tanh"},
        {"model_type": "vit", "qkv_bias": False},
    ],
)
def test_parts_that_are_not_modelled_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(DistsimError) as caught:
        model_from_config(_file(tmp_path, config))
    assert caught.value.code == "DS253"
