"""Whatever a config.json holds, the answer is a model, and a prediction of it, or one error."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distsim.api import load, simulate
from distsim.errors import CODES, DistsimError
from distsim.scenario.importers.huggingface import model_from_config
from distsim.scenario.importers.huggingface_registry import NOT_MODELLED, REGISTRY
from distsim.workload.model import ModelSpec

FUZZ = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
DATA = Path(__file__).parent.parent / "data" / "huggingface"
#: Configurations of every type that transformers builds.
CASES: list[dict[str, Any]] = [
    config
    for file in sorted(DATA.glob("*.json"))
    if file.stem != "counts"
    for config in json.loads(file.read_text()).values()
]
KEYS = sorted(
    {key for family in REGISTRY.values() for key in family.defaults}
    | {key for family in REGISTRY.values() for key in family.other_names.values()}
    | {
        "model_type", "text_config", "vision_config", "sliding_window", "use_sliding_window",
        "layer_types", "kv_lora_rank", "is_encoder_decoder", "n_routed_experts", "auto_map",
        "n_shared_experts", "num_experts_per_tok", "first_k_dense_replace", "_name_or_path",
        "num_key_value_heads", "head_dim", "rotary_pct", "quantization_config", "other",
        "per_layer_config", "tie_word_embeddings", "partial_rotary_factor", "rope_parameters",
        "sliding_window_pattern", "architectures", "topk_method", "position_embedding_type",
    }
    | {key for config in CASES for key in config}
)  # fmt: skip
TYPES = st.sampled_from([*REGISTRY, *REGISTRY, *NOT_MODELLED, "other", "", "LLAMA"])
VALUES = (
    st.sampled_from(
        [None, True, False, 0, 1, 2, 3, 7, 8, 64, 128, 4096, -1, 10**6, 10**9, 10**17, 10**30,
         0.0, 0.5, 1.5, 1e300, "", "8", "silu", "gelu", "relu", "llama", "\ud800", "\x00\x1b[2J",
         [], [0], [0, 1], [3], ["full_attention"], ["linear_attention"], [[]], {}, {"a": {}},
         ["sliding_attention", "full_attention"] * 3, ["sliding_attention"] * 6, [16, 64], 32,
         [[["global", "local"], 3]], [["local"], 2], [[[], -1]], {"kv_n_heads": 3}, "basic",
         {"name": "gelu"}, {"ffn_act_fn": {"name": 1}}, {"alibi": 0}, ["XForPreTraining"],
         {"model_type": "llama"}, {"model_type": "gpt2", "n_layer": "x"}]
    )
    | TYPES
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)  # fmt: skip
#: Sizes that all types are required or allowed to have.
SIZES = {
    "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 128,
    "moe_intermediate_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip


def check(raw: bytes) -> bool:
    """Read a file: a model that counts, or one error with all that a person needs."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(raw)
        file.flush()
        try:
            spec, notes = model_from_config(file.name, path=("model",))
        except DistsimError as error:
            assert error.code in CODES
            assert error.message and error.rule and error.fix and error.place is not None
            of_the_text = error.code.startswith("DS1") or error.code == "DS250"
            assert of_the_text or error.path[:1] == ("model",)
            str(error).encode()
            assert len(str(error)) < 2000
            return False
    if isinstance(spec, ModelSpec):
        assert spec.parameters >= spec.active_parameters > 0
        assert len(spec.layer_kinds) == spec.layers
    assert spec.parameters == sum(spec.parameters_by_part().values()) > 0
    assert spec.name.isprintable() and spec.source.isprintable()
    assert len(notes) < 60 and all(note.isprintable() and len(note) < 1000 for note in notes)
    json.dumps(spec.to_dict())
    return True


@st.composite
def configs(draw: st.DrawFn, nested: bool = True) -> dict[str, Any]:
    """Draw a configuration that is right but for a few keys."""
    config = {"model_type": draw(TYPES)} | SIZES
    for key in draw(st.lists(st.sampled_from([*SIZES, *KEYS]), max_size=4)):
        if draw(st.booleans()):
            config[key] = draw(VALUES)
        else:
            config.pop(key, None)
    if nested and draw(st.integers(0, 4)) == 0:
        return {"model_type": draw(TYPES), "text_config": draw(configs(nested=False))}
    return config


@FUZZ
@given(configs())
def test_a_mutated_configuration(config: dict[str, Any]) -> None:
    check(json.dumps(config).encode())


@FUZZ
@given(
    st.sampled_from(sorted(REGISTRY)), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=9)
)
def test_any_values_of_known_keys(kind: str, values: dict[str, Any]) -> None:
    check(json.dumps({"model_type": kind} | values, ensure_ascii=False).encode("utf-8", "replace"))


PIECES = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\u", b"NaN", b"-", b"1e999", b"\xff"]


@FUZZ
@given(st.data())
def test_mutated_bytes(data: st.DataObject) -> None:
    raw = json.dumps({"model_type": "llama"} | SIZES, indent=1).encode()
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(raw)))
        end = min(len(raw), begin + data.draw(st.integers(0, 30)))
        piece = data.draw(st.sampled_from(PIECES) | st.binary(max_size=6))
        raw = raw[:begin] + piece + raw[end:]
    check(raw)


@FUZZ
@given(st.sampled_from(CASES), st.data())
def test_a_mutated_configuration_of_transformers(case: dict[str, Any], data: st.DataObject) -> None:
    config = dict(case)
    keys = st.sampled_from(sorted(config)) | st.sampled_from(KEYS)
    for key in data.draw(st.lists(keys, max_size=3)):
        if data.draw(st.integers(0, 3)):
            config[key] = data.draw(VALUES)
        else:
            config.pop(key, None)
    check(json.dumps(config).encode())


SCENARIO = """\
schema: 1
name: fuzz
cluster: {topology: dgx-a100, devices: 8}
model: config.json
batch: {global_size: 16, micro_size: 2}
precision: bf16
"""
#: Sizes of small models, which are quick to predict.
SMALL = st.sampled_from([1, 2, 3, 4, 6, 8, 16, 32, 64, 96, 128, None, True, False])


def predicted(config: dict[str, Any]) -> bool:
    """Predict a step of a model: a time and parameters, or one error."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.json").write_text(json.dumps(config))
        scenario = Path(directory) / "s.yaml"
        scenario.write_text(SCENARIO)
        try:
            prediction = simulate(load(scenario))
        except DistsimError as error:
            assert error.code in CODES and error.rule and error.fix
            return False
    assert prediction.step_s > 0 and prediction.parameters > 0
    return True


@settings(FUZZ, max_examples=100)
@given(st.sampled_from([case for case in CASES if len(case) > 5]), st.data())
def test_a_prediction_of_a_mutated_configuration(case: dict[str, Any], data: st.DataObject) -> None:
    config = dict(case)
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), max_size=2)):
        if key != "model_type" and isinstance(config[key], int | None):
            config[key] = data.draw(SMALL)
    predicted(config)


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_a_prediction_of_every_type(kind: str) -> None:
    small = [case for case in CASES if case["model_type"] == kind and len(case) > 5]
    plain = {"model_type": kind} | SIZES
    assert predicted(small[0] if small else plain)
