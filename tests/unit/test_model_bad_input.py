"""Bad models: a code, the key, and the numbers."""

from __future__ import annotations

from typing import Any

import pytest

from distsim.errors import CODES, DistsimError, WorkloadError
from distsim.workload.catalogue import model, model_from_block, model_names
from distsim.workload.model_block import from_mapping

GPT: dict[str, Any] = {
    "family": "gpt",
    "layers": 2,
    "hidden": 64,
    "heads": 4,
    "vocab": 100,
    "max_positions": 32,
}
AT = ("model",)


def problem(block: object) -> DistsimError:
    with pytest.raises(WorkloadError) as caught:
        model_from_block(block, AT)
    assert caught.value.code in CODES and caught.value.rule and caught.value.fix
    return caught.value


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"hiden": 64}, "DS201", "did you mean hidden?"),
        ({"n_layer": 64}, "DS201", "layers"),
        ({7: 64}, "DS201", "7"),
        ({"layers": "2"}, "DS202", "'2'"),
        ({"layers": 2.0}, "DS202", "2.0"),
        ({"layers": True}, "DS202", "True"),
        ({"hidden": None}, "DS202", "None"),
        ({"bias": 1}, "DS202", "true or false"),
        ({"norm": ["layernorm"]}, "DS202", "layernorm, rmsnorm"),
        ({"name": ""}, "DS202", "text"),
        ({"source": 2021}, "DS202", "text"),
        ({"layers": 0}, "DS203", "1 <= layers"),
        ({"vocab": -1}, "DS203", "-1"),
        ({"hidden": 10**4400}, "DS203", "thousands of digits"),
        ({"published_parameters": 0}, "DS203", "published_parameters"),
        ({"activation": "swigl"}, "DS204", "did you mean swiglu?"),
        ({"family": "t5"}, "DS204", "gpt, llama"),
        ({"heads": 5}, "DS223", "use 4 heads"),
        ({"heads": 128}, "DS223", "heads(128)"),
        ({"kv_heads": 3}, "DS224", "kv_heads(3) does not divide heads(4)"),
        ({"kv_heads": 8}, "DS224", "use kv_heads: 4"),
        ({"positions": "rotary", "head_dim": 15}, "DS225", "head_dim(15)"),
        ({"base": "gpt9"}, "DS222", "did you mean gpt2?"),
        ({"base": 9}, "DS202", "9"),
        ({"family": "llama"}, "DS205", "no ffn"),
    ],
)
def test_bad_value_is_refused_at_its_key(change: dict[Any, Any], code: str, says: str) -> None:
    error = problem({**GPT, **change})
    assert error.code == code
    assert says in str(error)
    at_key = () if code == "DS205" else (str(list(change)[-1]),)
    assert error.path == ("model", *at_key)


def test_all_missing_keys_are_named_at_once() -> None:
    error = problem({"family": "llama", "heads": 4, "hidden": 64})
    assert (error.code, error.path) == ("DS205", AT)
    assert "layers, vocab, max_positions" in error.message and "layers: 32" in error.fix


@pytest.mark.parametrize("block", ["gpt2", None, [GPT], 3])
def test_a_model_that_is_no_mapping(block: object) -> None:
    assert problem(block).code == "DS202"


@pytest.mark.parametrize("name", ["gpt3-157b", "GPT2-XL", "llama-3-8b", "", "a" * 5000, "../x"])
def test_unknown_model_lists_the_names(name: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        model(name, path=AT)
    assert caught.value.code == "DS222" and caught.value.path == AT
    assert model_names()[0] in caught.value.rule and len(str(caught.value)) < 1500


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(WorkloadError, match=r"did you mean llama3-8b\?"):
        model("llama-3-8b")


def test_what_a_block_leaves_out_is_derived() -> None:
    spec = model_from_block(GPT)
    assert (spec.name, spec.kv_heads, spec.head_dim, spec.ffn) == ("inline", 4, 16, 256)
    assert (spec.norm, spec.tied_embeddings) == ("layernorm", True)
    wide = model_from_block({**GPT, "heads": 5, "head_dim": 32, "norm": "rmsnorm"})
    assert (wide.heads * wide.head_dim, wide.norm) == (160, "rmsnorm")


def test_a_base_is_changed_and_derives_anew() -> None:
    spec = model_from_block({"base": "gpt3-175b", "hidden": 6144, "heads": 48, "layers": 2})
    assert (spec.ffn, spec.head_dim, spec.kv_heads, spec.vocab) == (24576, 128, 48, 50257)
    assert spec.name == "gpt3-175b (changed)" and spec.published_parameters is None
    assert spec.source == "gpt3-175b with hidden=6144, heads=48, layers=2"


def test_a_base_keeps_what_it_states() -> None:
    spec = model_from_block({"base": "llama3-8b", "layers": 16, "name": "half"})
    whole = model("llama3-8b")
    assert (spec.name, spec.kv_heads, spec.ffn) == ("half", whole.kv_heads, whole.ffn)
    assert model_from_block({"base": "llama3-8b"}) == whole


def test_a_block_says_all_of_a_catalogue_model() -> None:
    whole = model("llama2-70b")
    block = {key: value for key, value in whole.to_dict().items() if "parameters" not in key}
    again = from_mapping({**block, "published_parameters": whole.published_parameters})
    assert again == whole
