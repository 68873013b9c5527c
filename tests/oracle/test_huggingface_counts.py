"""Models from config.json against what transformers builds for the same configurations.

`benchmarks/huggingface_counts.py` made the numbers; it says how.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distsim.scenario.importers.huggingface import model_from_config
from distsim.scenario.importers.huggingface_registry import REGISTRY
from distsim.workload.model import ModelSpec
from distsim.workload.network import Model

DATA = Path(__file__).parent.parent / "data" / "huggingface"
COUNTS: dict[str, dict[str, dict[str, Any]]] = json.loads((DATA / "counts.json").read_text())[
    "counts"
]
CONFIGS: dict[str, dict[str, Any]] = {
    kind: json.loads((DATA / f"{kind}.json").read_text()) for kind in COUNTS
}
CASES = [(kind, name) for kind, configs in CONFIGS.items() for name in configs]
#: transformers has no class for it.
NO_CLASS = {"deepseek"}


def _read(directory: Path, kind: str, name: str) -> tuple[Model, tuple[str, ...]]:
    file = directory / "config.json"
    file.write_text(json.dumps(CONFIGS[kind][name]))
    return model_from_config(file)


def test_every_type_is_counted_in_two_configurations_or_more() -> None:
    assert set(COUNTS) == set(REGISTRY) - NO_CLASS
    assert {path.stem for path in DATA.glob("*.json")} == {*COUNTS, "counts"}
    for kind, configs in CONFIGS.items():
        assert set(configs) == set(COUNTS[kind])
        assert len(configs) > 1 or kind == "kimi_k2"


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_parameters_are_those_of_transformers(kind: str, name: str, tmp_path: Path) -> None:
    model, _ = _read(tmp_path, kind, name)
    assert model.parameters == COUNTS[kind][name]["parameters"]


DECODERS = [case for case in CASES if "windows" in COUNTS[case[0]][case[1]]]


@pytest.mark.parametrize(("kind", "name"), DECODERS)
def test_windows_are_those_of_transformers(kind: str, name: str, tmp_path: Path) -> None:
    model, notes = _read(tmp_path, kind, name)
    assert isinstance(model, ModelSpec)
    layers, size = COUNTS[kind][name]["windows"]
    found = [model.variant_of(i) for i in range(model.layers)]
    sizes = [variant.size for variant in found if variant.kind == "window"]
    if any("do not alternate evenly" in note for note in notes) or size >= model.max_positions:
        assert sizes == []
    else:
        assert sizes == [size] * layers


def test_there_are_no_other_windows(tmp_path: Path) -> None:
    for kind, name in set(CASES) - set(DECODERS):
        model, _ = _read(tmp_path, kind, name)
        assert not isinstance(model, ModelSpec) or model.attention == "full", (kind, name)


#: Defaults that a class derives where its field says None, or that are not fields of the class:
#: of its base class, of another part of the model, or of code of its own.
DERIVED = {
    ("gpt_neo", "attention_types"), ("deepseek_v3", "num_nextn_predict_layers"),
    ("glm4_moe", "num_nextn_predict_layers"), ("ernie4_5", "attention_dropout"),
    ("kimi_k2", "moe_layer_freq"), ("resnet", "num_labels"), ("vit", "num_labels"),
    ("t5", "tie_word_embeddings"),
    *((kind, "tie_word_embeddings") for kind in REGISTRY if "_vl" in kind),
}  # fmt: skip


def test_defaults_are_those_of_the_configuration_classes() -> None:
    known = json.loads((DATA / "counts.json").read_text())["defaults"]
    differ = {
        (kind, key)
        for kind in COUNTS
        for key, value in REGISTRY[kind].defaults.items()
        if key not in known[kind] or known[kind][key] != value
    }
    assert differ == DERIVED
