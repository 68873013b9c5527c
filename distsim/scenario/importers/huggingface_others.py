"""Configurations of encoders, encoders with decoders, and vision transformers.

As `huggingface_families`: what is built is what the model classes of ``transformers`` 5.24.0 build.
"""

from __future__ import annotations

from typing import Any

from distsim.scenario.importers.huggingface_keys import Keys

Model = dict[str, Any]

#: Architectures of an encoder -> its pooler, masked-LM head and next-sentence head.
_HEADS = {
    "ForPreTraining": (True, True, True),
    "ForMaskedLM": (False, True, False),
    "ForNextSentencePrediction": (True, False, True),
}


def bert(keys: Keys) -> Model:
    """BERT (Devlin 2019, arXiv 1810.04805), with the heads that ``architectures`` names."""
    return _encoder(keys) | {"default_length": keys.count("max_position_embeddings")}


def roberta(keys: Keys) -> Model:
    """RoBERTa (Liu 2019, arXiv 1907.11692): the first two positions are for padding."""
    return _encoder(keys) | {"default_length": keys.count("max_position_embeddings", 3) - 2}


def _encoder(keys: Keys) -> Model:
    keys.activation("hidden_act", gated=False)
    pooler, masked, following = _heads(keys)
    return {
        "family": "encoder",
        "layers": keys.count("num_hidden_layers"),
        "hidden": keys.count("hidden_size"),
        "heads": keys.count("num_attention_heads"),
        "ffn": keys.count("intermediate_size"),
        "vocab": keys.count("vocab_size"),
        "max_positions": keys.count("max_position_embeddings"),
        "segments": keys.count("type_vocab_size", 0),
        "dropout": keys.dropout("hidden_dropout_prob", "attention_probs_dropout_prob"),
        "pooler": pooler,
        "mlm_head": masked,
        "nsp_head": following,
    }


def _heads(keys: Keys) -> tuple[bool, bool, bool]:
    names = keys.look("architectures")
    first = str(names[0]) if isinstance(names, list) and names else ""
    for ending, heads in _HEADS.items():
        if first.endswith(ending):
            return heads
    what = f"architectures {first}" if first else "architectures not given"
    keys.notes.add(f"{what}: the masked-LM head is taken, without a pooler")
    return _HEADS["ForMaskedLM"]


def t5(keys: Keys) -> Model:
    """T5 (Raffel 2020, arXiv 1910.10683) and T5 1.1, whose feed-forward blocks are gated."""
    kind = keys.look("feed_forward_proj")
    activation = {"relu": "relu", "gated-gelu": "geglu", "gated-silu": "swiglu"}.get(str(kind))
    if activation is None:
        raise keys.refused("feed_forward_proj", "this feed-forward block")
    decoder = keys.count_or_none("num_decoder_layers")
    return {
        "family": "encoder_decoder",
        "encoder_layers": keys.count("num_layers"),
        "decoder_layers": keys.count("num_layers") if decoder is None else decoder,
        "hidden": keys.count("d_model"),
        "heads": keys.count("num_heads"),
        "head_dim": keys.count("d_kv"),
        "ffn": keys.count("d_ff"),
        "vocab": keys.count("vocab_size"),
        "norm": "rmsnorm",
        "norm_first": True,
        "activation": activation,
        "positions": "relative",
        "relative_buckets": keys.count("relative_attention_num_buckets"),
        "ffn_bias": False,
        "tied_embeddings": keys.flag("tie_word_embeddings"),
        "dropout": keys.dropout("dropout_rate"),
    }


def vit(keys: Keys) -> Model:
    """ViT (Dosovitskiy 2021, arXiv 2010.11929) with a linear classifier."""
    keys.activation("hidden_act", gated=False)
    if not keys.flag("qkv_bias"):
        raise keys.refused("qkv_bias", "a ViT without biases of queries, keys and values")
    labels = keys.look("id2label")
    classes = len(labels) if isinstance(labels, dict) and labels else keys.count("num_labels")
    return {
        "family": "vit",
        "layers": keys.count("num_hidden_layers"),
        "hidden": keys.count("hidden_size"),
        "heads": keys.count("num_attention_heads"),
        "ffn": keys.count("intermediate_size"),
        "image": keys.count("image_size"),
        "patch": keys.count("patch_size"),
        "channels": keys.count("num_channels"),
        "classes": classes,
        "dropout": keys.dropout("hidden_dropout_prob", "attention_probs_dropout_prob"),
    }
