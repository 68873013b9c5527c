"""Which network for images a Hugging Face configuration describes.

As `huggingface_families`: what is built is what the model classes of ``transformers`` 5.24.0 build.
"""

from __future__ import annotations

from collections.abc import Mapping

from distsim.errors import show
from distsim.scenario.importers.huggingface_keys import Keys
from distsim.scenario.importers.huggingface_type import Family, Model

_SIDE = 224  # He 2015, arXiv 1512.03385, section 3.4
_EXPANSION = 4  # of a bottleneck (He 2015, section 4.1)


def vit(keys: Keys) -> Model:
    """ViT (Dosovitskiy 2021, arXiv 2010.11929) with a linear classifier."""
    keys.activation("hidden_act", gated=False)
    if not keys.flag("qkv_bias"):
        raise keys.refused("qkv_bias", "a ViT without biases of queries, keys and values")
    return {
        "family": "vit",
        "layers": keys.count("num_hidden_layers"),
        "hidden": keys.count("hidden_size"),
        "heads": keys.count("num_attention_heads"),
        "ffn": keys.count("intermediate_size"),
        "image": keys.count("image_size"),
        "patch": keys.count("patch_size"),
        "channels": keys.count("num_channels"),
        "classes": _classes(keys),
        "dropout": keys.dropout("hidden_dropout_prob", "attention_probs_dropout_prob"),
    }


def resnet(keys: Keys) -> Model:
    """ResNet (He 2015, arXiv 1512.03385) with a linear classifier, for images of 224 x 224."""
    kind = keys.look("layer_type")
    if kind not in ("basic", "bottleneck"):
        raise keys.refused("layer_type", f"a residual block of type {show(kind)}")
    if keys.look("hidden_act") != "relu":
        keys.activation("hidden_act", gated=False)
        keys.notes.add("the activation is counted as ReLU", "hidden_act")
    depths, widths = keys.numbers("depths"), keys.numbers("hidden_sizes")
    _check_stages(keys, kind, depths, widths)
    keys.notes.add(f"images are counted with {_SIDE} x {_SIDE} pixels: a ResNet states no size")
    early = kind == "bottleneck" and keys.flag("downsample_in_bottleneck")
    stages = [
        {
            "residual": kind,
            "channels": width // (_EXPANSION if kind == "bottleneck" else 1),
            "repeat": depth,
            "stride": 2 if index or keys.flag("downsample_in_first_stage") else 1,
            **({"stride_first": True} if early else {}),
        }
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True))
    ]
    return {
        "family": "cnn",
        "image": [keys.count("num_channels"), _SIDE, _SIDE],
        "classes": _classes(keys),
        "layers": [
            {"conv": keys.count("embedding_size"), "kernel": 7, "stride": 2, "norm": True},
            {"pool": "max", "kernel": 3, "stride": 2, "padding": 1},
            *stages,
            {"pool": "global"},
        ],
    }


def _check_stages(keys: Keys, kind: str, depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
    """Refuse stages whose depths and widths do not make a network (DS253, DS254)."""
    right = len(depths) == len(widths) > 0 and min(*depths, *widths, 1) > 0
    if not right:
        raise keys.error(
            "DS254",
            f"depths {show(list(depths))} and hidden_sizes {show(list(widths))} make no stages",
            "depths",
            value=list(depths),
            rule="depths and hidden_sizes have a number, 1 or more, for each stage",
            fix="write for example depths [3, 4, 6, 3] and hidden_sizes [256, 512, 1024, 2048]",
        )
    if kind == "bottleneck" and any(width % _EXPANSION for width in widths):
        raise keys.refused(
            "hidden_sizes", f"a bottleneck whose width is no multiple of {_EXPANSION}"
        )


def _classes(keys: Keys) -> int:
    labels = keys.look("id2label")
    return len(labels) if isinstance(labels, dict) and labels else keys.count("num_labels")


#: The types of this module.
TYPES: Mapping[str, Family] = {
    "resnet": Family(
        "ResNetConfig",
        {"num_channels": 3, "embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048],
         "depths": [3, 4, 6, 3], "layer_type": "bottleneck", "hidden_act": "relu",
         "downsample_in_first_stage": False, "downsample_in_bottleneck": False, "num_labels": 2},
        resnet,
    ),
    "vit": Family(
        "ViTConfig",
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
         "intermediate_size": 3072, "hidden_act": "gelu", "image_size": 224, "patch_size": 16,
         "num_channels": 3, "qkv_bias": True, "num_labels": 2, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0},
        vit,
    ),
}  # fmt: skip
