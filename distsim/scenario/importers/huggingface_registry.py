"""The types of Hugging Face configurations: which are modelled, and which are not."""

from __future__ import annotations

from collections.abc import Mapping

from distsim.scenario.importers import (
    huggingface_deepseek,
    huggingface_families,
    huggingface_gpt,
    huggingface_images,
    huggingface_mixtures,
    huggingface_others,
)
from distsim.scenario.importers.huggingface_type import Family

_MODULES = (
    huggingface_families,
    huggingface_mixtures,
    huggingface_deepseek,
    huggingface_gpt,
    huggingface_others,
    huggingface_images,
)
#: The types that are modelled.
REGISTRY: Mapping[str, Family] = dict(
    sorted(pair for module in _MODULES for pair in module.TYPES.items())
)

_STATES = "layers with a recurrent state or a convolution instead of attention"
_BOTH, _ENCODER = "an encoder beside the decoder", "an encoder with parts of its own"

#: Types that are known and why they are refused.
NOT_MODELLED: Mapping[str, str] = {
    name: part
    for part, names in {
        "a search for the keys of each query (sparse latent attention)": "deepseek_v32",
        "embeddings in every layer": "gemma3n gemma3n_text",
        "layers of attention to an image": "mllama mllama_text_model",
        "norms of sums in a decoder": "openai-gpt",
        "sinusoids for positions in a decoder": "ctrl xglm",
        f"{_ENCODER} (shared layers, distances, rotary positions or a convolution)": "albert "
        "deberta deberta-v2 modernbert mpnet roformer mobilebert xlnet",
        "projections of its own for global tokens": "longformer led",
        "a second token, for distillation, in front of the image": "deit",
        "a table of position biases in each layer": "umt5",
        _BOTH: "whisper longt5 switch_transformers m2m_100 nllb-moe bigbird_pegasus blenderbot",
        "a network for images": "beit swin swinv2 convnext convnextv2 clip siglip dinov2 "
        "efficientnet mobilenet_v2 regnet segformer detr",
        "a network for sound": "wav2vec2 hubert wavlm",
        _STATES: "mamba mamba2 rwkv jamba falcon_mamba falcon_h1 zamba zamba2 bamba qwen3_next "
        "recurrent_gemma granitemoehybrid nemotron_h lfm2",
    }.items()
    for name in names.split()
}
