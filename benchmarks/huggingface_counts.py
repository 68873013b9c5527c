"""Count parameters and windows of what transformers builds for the importer's test configurations.

    python benchmarks/huggingface_counts.py [TYPE ...]

needs PyPI's torch and transformers, beside distsim. `tests/data/huggingface/TYPE.json` has named
configurations of a type; this builds each on the meta device, where weights take no memory, and
writes numbers, with the version of transformers, to `tests/data/huggingface/counts.json`, which the
tests compare with the importer: parameters, and where layers have windows of attention, how many
have and how long one is. With types, only theirs are counted again. Written are also the defaults
of the classes for the keys whose defaults the importer knows.

The class is the one that ``architectures`` names, else the one that `Auto` classes take. Counted
are all parameters, each once, but for tables of sinusoids: they are looked up without gradients.
Types without a class of their own are counted as the one whose code they share (`SAME`); of models
for images and text the part for text is counted (`PARTS`).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from distsim.scenario.importers.huggingface_registry import REGISTRY

DATA = Path(__file__).parent.parent / "tests" / "data" / "huggingface"
COUNTS = DATA / "counts.json"
#: Type without a class -> the one with the same architecture.
SAME = {"kimi_k2": "deepseek_v3", "qwen2_vl": "qwen2_vl_text", "qwen2_5_vl": "qwen2_5_vl_text"}
MASKED = ("bert", "big_bird", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
BOTH = ("bart", "marian", "mbart", "mt5", "pegasus", "t5")
IMAGES = ("resnet", "vit")
#: Types all of whose layers have the window, if there is one.
ALL_LAYERS = (
    "ministral3", "mistral", "mixtral", "phi3", "phimoe", "qwen3_moe", "starcoder2",
)  # fmt: skip
#: Text models without an own class for words: their module, and the class with a head around it.
PARTS = {
    "qwen2_vl_text": ("qwen2_vl", "Qwen2VLForConditionalGeneration"),
    "qwen2_5_vl_text": ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"),
    "qwen3_vl_text": ("qwen3_vl", "Qwen3VLForConditionalGeneration"),
    "qwen3_vl_moe_text": ("qwen3_vl_moe", "Qwen3VLMoeForConditionalGeneration"),
}


def build(given: dict[str, Any]) -> torch.nn.Module:
    """Return the model of a configuration, without weights."""
    kind = SAME.get(given["model_type"], given["model_type"])
    left_out = ("model_type", "vision_config")
    values = {key: value for key, value in given.items() if key not in left_out}
    values.setdefault("pad_token_id", 1)  # The class's own may be beyond a small vocabulary.
    with torch.device("meta"):
        if kind in PARTS:
            outer, name = PARTS[kind]
            tied = values.get("tie_word_embeddings", False)
            config = transformers.CONFIG_MAPPING[outer](
                text_config={**values, "model_type": kind}, tie_word_embeddings=tied
            )
            model = getattr(transformers, name)(config)
            del model.model.visual
            return model
        config = transformers.CONFIG_MAPPING[kind](**values)
        names = given.get("architectures")
        if names:
            return getattr(transformers, names[0])(config)
        auto = "AutoModelForCausalLM"
        for types, other in (
            (MASKED, "AutoModelForMaskedLM"),
            (BOTH, "AutoModelForSeq2SeqLM"),
            (IMAGES, "AutoModelForImageClassification"),
        ):
            auto = other if kind in types else auto
        return getattr(transformers, auto).from_config(config)


def parameters(model: torch.nn.Module) -> int:
    """Return the number of elements of all parameters that can be trained."""
    found: dict[int, int] = {}
    for module in model.modules():
        if "Sinusoidal" not in type(module).__name__:
            own = module.parameters(recurse=False)
            found |= {id(p): p.numel() for p in own if p.requires_grad}
    return sum(found.values())


def windows(kind: str, config: Any) -> list[int]:
    """Return how many layers attend to a window of how many tokens; nothing where none does."""
    config = getattr(config, "text_config", config)
    size = config.window_size if kind == "gpt_neo" else getattr(config, "sliding_window", None)
    if kind == "gpt_neo":
        layers = config.attention_layers.count("local")
    elif kind in ALL_LAYERS:
        layers = config.num_hidden_layers
    else:
        layers = (getattr(config, "layer_types", None) or []).count("sliding_attention")
    return [layers, size] if layers and size else []


def defaults(kind: str) -> dict[str, Any]:
    """Return the defaults of a configuration class, before it derives others from them."""
    config = transformers.CONFIG_MAPPING[SAME.get(kind, kind)]
    known = {
        field.name: field.default if field.default is not dataclasses.MISSING
        else field.default_factory()
        for field in dataclasses.fields(config)
        if not (field.default is field.default_factory is dataclasses.MISSING)
    }  # fmt: skip
    return {key: known[key] for key in REGISTRY[kind].defaults if key in known}


def main(types: list[str]) -> None:
    """Count, write, and print what cannot be built."""
    old = json.loads(COUNTS.read_text()) if COUNTS.exists() and types else {}
    found: dict[str, dict[str, Any]] = old.get("counts", {})
    files = sorted(path for path in DATA.glob("*.json") if path != COUNTS)
    for file in files:
        if types and file.stem not in types:
            continue
        found[file.stem] = {}
        for name, given in json.loads(file.read_text()).items():
            try:
                model = build(given)
            except Exception as error:  # whatever transformers says: the configuration is wrong
                print(f"{file.stem}, {name}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            counted: dict[str, Any] = {"parameters": parameters(model)}
            local = windows(file.stem, model.config)
            found[file.stem][name] = counted | ({"windows": local} if local else {})
    result = {
        "transformers": transformers.__version__,
        "defaults": {kind: defaults(kind) for kind in sorted(found)},
        "counts": dict(sorted(found.items())),
    }
    COUNTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
