"""Blocks of encoders, encoder-decoders and vision transformers: what is said, what is wrong."""

from __future__ import annotations

import json

import pytest

from distsim.errors import WorkloadError
from distsim.files import load_yaml, shipped
from distsim.workload.families import encoder, encoder_decoder, vit

MODULES = (encoder, encoder_decoder, vit)

SMALL = {
    encoder: {"layers": 3, "hidden": 24, "heads": 3, "ffn": 40, "vocab": 67, "max_positions": 20},
    encoder_decoder: {
        "encoder_layers": 3,
        "decoder_layers": 2,
        "hidden": 24,
        "heads": 3,
        "head_dim": 10,
        "ffn": 40,
        "vocab": 67,
        "target_length": 7,
    },
    vit: {
        "layers": 3,
        "hidden": 24,
        "heads": 3,
        "ffn": 40,
        "image": 12,
        "patch": 4,
        "classes": 11,
        "channels": 2,
    },
}


@pytest.mark.parametrize("module", MODULES)
def test_plain_values_describe_the_model(module):
    data, _ = load_yaml(shipped("families", module.FAMILY))
    for name, block in data["models"].items():
        spec = module.from_mapping({**data["defaults"], **block}, name=name)
        values = json.loads(json.dumps(spec.to_dict()))
        assert values["family"] == spec.family == module.FAMILY
        counts = values.pop("parameters_by_part")
        assert values.pop("parameters") == sum(counts.values())
        assert module.from_mapping(values) == spec


@pytest.mark.parametrize(
    ("module", "changes", "code", "key"),
    [
        (encoder, {"layerz": 3}, "DS201", "layerz"),
        (encoder, {"pooler": 1}, "DS202", "pooler"),
        (encoder, {"layers": 0}, "DS203", "layers"),
        (encoder, {"default_length": 21}, "DS203", "default_length"),
        (encoder, {"pooler": False}, "DS203", "nsp_head"),
        (encoder, {"attention": "window"}, "DS239", "attention_size"),
        (encoder, {"attention": "strided"}, "DS239", "attention_size"),
        (encoder, {"attention_stride": 4}, "DS239", "attention_stride"),
        (encoder, {"attention_global": 4}, "DS239", "attention_global"),
        (encoder, {"attention_size": 4}, "DS239", "attention_size"),
        (encoder, {"attention": "flash"}, "DS204", "attention"),
        (encoder, {"heads": 5}, "DS223", "heads"),
        (encoder_decoder, {"positions": "rotary"}, "DS204", "positions"),
        (encoder_decoder, {"target_length": -1}, "DS203", "target_length"),
        (encoder_decoder, {"positions": "learned"}, "DS205", None),
        (vit, {"patch": 5}, "DS203", "patch"),
        (vit, {"heads": 5}, "DS223", "heads"),
        (vit, {"family": "cnn"}, "DS204", "family"),
    ],
)
def test_a_wrong_block_says_what_and_where(module, changes, code, key):
    with pytest.raises(WorkloadError) as caught:
        module.from_mapping({**SMALL[module], **changes}, ("model",))
    assert (caught.value.code, caught.value.path) == (code, ("model", key) if key else ("model",))
    assert caught.value.rule and caught.value.fix


@pytest.mark.parametrize("module", MODULES)
def test_a_block_that_is_empty_or_no_mapping_is_refused(module):
    for block, code in (({}, "DS205"), ([1], "DS202")):
        with pytest.raises(WorkloadError) as caught:
            module.from_mapping(block)
        assert caught.value.code == code
