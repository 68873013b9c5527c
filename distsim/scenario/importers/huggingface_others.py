"""Which encoder, or encoder with a decoder, a Hugging Face configuration describes.

As `huggingface_families`: what is built is what the model classes of ``transformers`` 5.24.0 build.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distsim.errors import show
from distsim.scenario.importers.huggingface_keys import Keys
from distsim.scenario.importers.huggingface_type import Family, Model

#: Architectures of an encoder -> its pooler, masked-LM head and next-sentence head.
_HEADS = {
    "ForPreTraining": (True, True, True),
    "ForMaskedLM": (False, True, False),
    "ForNextSentencePrediction": (True, False, True),
}
#: Blocks of keys that a block of queries meets in BigBird, random ones aside: its own, those beside
#: it, and the first and the last of the sequence (Zaheer 2020, arXiv 2007.14062, section 2).
_BIG_BIRD_BLOCKS = 5


def bert(keys: Keys) -> Model:
    """BERT (Devlin 2019, arXiv 1810.04805), with the heads that ``architectures`` names."""
    return _encoder(keys) | {"default_length": keys.count("max_position_embeddings")}


def roberta(keys: Keys) -> Model:
    """RoBERTa (Liu 2019, arXiv 1907.11692): the first two positions are for padding."""
    return _encoder(keys) | {"default_length": keys.count("max_position_embeddings", 3) - 2}


def electra(keys: Keys) -> Model:
    """ELECTRA's generator (Clark 2020, arXiv 2003.10555): a BERT with a masked-LM head."""
    if keys.count("embedding_size") != keys.count("hidden_size"):
        raise keys.refused("embedding_size", "an embedding of another width than the layers")
    if _architecture(keys).endswith("ForPreTraining"):
        raise keys.refused("architectures", "ELECTRA's discriminator, with a head of one output,")
    model = bert(keys)
    if model["pooler"]:
        raise keys.refused("architectures", "an ELECTRA with a pooler")
    return model


def big_bird(keys: Keys) -> Model:
    """BigBird (Zaheer 2020, arXiv 2007.14062): a BERT with blocks of keys, and always a pooler."""
    if not keys.flag("use_bias"):
        raise keys.refused("use_bias", "an encoder without biases of queries, keys and values")
    model = bert(keys) | {"pooler": True}
    kind = keys.look("attention_type")
    if kind == "original_full":
        return model
    if kind != "block_sparse":
        raise keys.refused("attention_type", "this kind of attention")
    blocks = keys.count("num_random_blocks", 0) + _BIG_BIRD_BLOCKS
    keys.notes.add(
        "block-sparse attention: the first and the last block of queries, which meet all keys, are "
        "counted as the others"
    )
    size = blocks * keys.count("block_size")
    if size >= model["max_positions"]:
        return model
    return model | {"attention": "block_sparse", "attention_size": size}


def distilbert(keys: Keys) -> Model:
    """DistilBERT (Sanh 2019, arXiv 1910.01108): a BERT without segments, and its masked-LM head."""
    if keys.flag("sinusoidal_pos_embds"):
        raise keys.refused("sinusoidal_pos_embds", "an encoder with sinusoids for positions")
    _masked_lm_alone(keys)
    keys.activation("activation", gated=False)
    return {
        "family": "encoder",
        "layers": keys.count("n_layers"),
        "hidden": keys.count("dim"),
        "heads": keys.count("n_heads"),
        "ffn": keys.count("hidden_dim"),
        "vocab": keys.count("vocab_size"),
        "max_positions": keys.count("max_position_embeddings"),
        "segments": 0,
        "dropout": keys.dropout("dropout", "attention_dropout"),
        "pooler": False,
        "mlm_head": True,
        "nsp_head": False,
    }


def _encoder(keys: Keys) -> Model:
    keys.activation("hidden_act", gated=False)
    pooler, masked, following = _heads(keys)
    if masked and not keys.flag("tie_word_embeddings"):
        raise keys.refused("tie_word_embeddings", "a masked-LM head with a table of its own")
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


def _architecture(keys: Keys) -> str:
    names = keys.look("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _heads(keys: Keys) -> tuple[bool, bool, bool]:
    first = _architecture(keys)
    for ending, heads in _HEADS.items():
        if first.endswith(ending):
            return heads
    return _masked_lm_alone(keys)


def _masked_lm_alone(keys: Keys) -> tuple[bool, bool, bool]:
    first = _architecture(keys)
    if not first.endswith("ForMaskedLM"):
        what = f"architectures {show(first)}" if first else "architectures not given"
        keys.notes.add(f"{what}: the masked-LM head is taken, without a pooler")
    return _HEADS["ForMaskedLM"]


def t5(keys: Keys) -> Model:
    """T5 (Raffel 2020, arXiv 1910.10683), T5 1.1 and mT5 (Xue 2020, arXiv 2010.11934), gated."""
    kind = keys.look("feed_forward_proj")
    activation = {"relu": "relu", "gated-gelu": "geglu", "gated-silu": "swiglu"}.get(str(kind))
    if activation is None:
        raise keys.refused("feed_forward_proj", "this feed-forward block")
    decoder, tied = keys.count_or_none("num_decoder_layers"), keys.flag("tie_word_embeddings")
    if not tied:
        keys.notes.add(
            "tie_word_embeddings false: the head has a table of its own, as in checkpoints of T5 "
            "1.1 and mT5; transformers 5.24.0 ties it all the same"
        )
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
        "tied_embeddings": tied,
        "dropout": keys.dropout("dropout_rate"),
    }


def bart(keys: Keys) -> Model:
    """BART (Lewis 2019, arXiv 1910.13461): learned positions, norms of sums and embeddings."""
    length = keys.count("max_position_embeddings")
    # The class adds two rows, as those of RoBERTa for padding.
    learned = {"positions": "learned", "max_positions": length + 2}
    return _stacks(keys) | learned | {"embedding_norm": True, "default_length": length}


def mbart(keys: Keys) -> Model:
    """Read an mBART (Liu 2020, arXiv 2001.08210): a BART with norms before the blocks."""
    return bart(keys) | {"norm_first": True}


def marian(keys: Keys) -> Model:
    """Marian (Junczys-Dowmunt 2018): the original encoder-decoder, one table of words."""
    if not keys.flag("share_encoder_decoder_embeddings"):
        raise keys.refused(
            "share_encoder_decoder_embeddings", "a table of words of its own for the decoder"
        )
    if keys.count_or_none("decoder_vocab_size") not in (None, keys.count("vocab_size")):
        raise keys.refused("decoder_vocab_size", "a vocabulary of its own for the decoder")
    return _stacks(keys) | {"positions": "sinusoidal"} | _length(keys)


def pegasus(keys: Keys) -> Model:
    """PEGASUS (Zhang 2019, arXiv 1912.08777): sinusoids, norms before the blocks."""
    return _stacks(keys) | {"positions": "sinusoidal", "norm_first": True} | _length(keys)


def _length(keys: Keys) -> Model:
    return {"default_length": keys.count("max_position_embeddings")}


def _stacks(keys: Keys) -> Model:
    """Return the two stacks of a model after BART, whose layers have equal sizes."""
    if not keys.flag("tie_word_embeddings"):
        raise keys.refused("tie_word_embeddings", "a table of words for each stack and the head")
    for part in ("attention_heads", "ffn_dim"):
        if keys.count(f"decoder_{part}") != keys.count(f"encoder_{part}"):
            raise keys.refused(f"decoder_{part}", "a decoder of other sizes than the encoder")
    for key in ("encoder_layerdrop", "decoder_layerdrop"):
        if keys.look(key):
            keys.notes.add("layers that are left out at random in training are counted", key)
    return {
        "family": "encoder_decoder",
        "encoder_layers": keys.count("encoder_layers"),
        "decoder_layers": keys.count("decoder_layers"),
        "hidden": keys.count("d_model"),
        "heads": keys.count("encoder_attention_heads"),
        "ffn": keys.count("encoder_ffn_dim"),
        "vocab": keys.count("vocab_size"),
        "activation": _function(keys, "activation_function"),
        "attention_bias": True,
        "dropout": keys.dropout("dropout", "attention_dropout", "activation_dropout"),
    }


def _function(keys: Keys, key: str) -> str:
    if keys.look(key) == "relu":
        return "relu"
    return keys.activation(key, gated=False)


_ENCODER_SIZES = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu",
}  # fmt: skip
_BERT = _ENCODER_SIZES | {
    "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "tie_word_embeddings": True,
}  # fmt: skip
_T5 = {
    "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8,
    "relative_attention_num_buckets": 32, "dropout_rate": 0.1, "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
}  # fmt: skip
_BART = {
    "vocab_size": 50265, "max_position_embeddings": 1024, "d_model": 1024, "encoder_layers": 12,
    "decoder_layers": 12, "encoder_attention_heads": 16, "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096, "activation_function": "gelu",
    "dropout": 0.1, "attention_dropout": 0.0, "activation_dropout": 0.0,
    "tie_word_embeddings": True,
}  # fmt: skip
_BOTH = ("is_encoder_decoder",)


def _after_bart(config: str, read: Any, **others: Any) -> Family:
    return Family(config, _BART | others, read, allows=_BOTH)


#: The types of this module.
TYPES: Mapping[str, Family] = {
    "bart": _after_bart("BartConfig", bart),
    "bert": Family("BertConfig", _BERT, bert),
    "big_bird": Family(
        "BigBirdConfig",
        _BERT | {"vocab_size": 50358, "max_position_embeddings": 4096, "hidden_act": "gelu_new",
                 "use_bias": True, "attention_type": "block_sparse", "block_size": 64,
                 "num_random_blocks": 3},
        big_bird,
    ),
    "camembert": Family("CamembertConfig", _BERT, roberta),
    "distilbert": Family(
        "DistilBertConfig",
        {"vocab_size": 30522, "max_position_embeddings": 512, "n_layers": 6, "n_heads": 12,
         "dim": 768, "hidden_dim": 3072, "activation": "gelu", "dropout": 0.1,
         "attention_dropout": 0.1, "sinusoidal_pos_embds": False},
        distilbert,
        {"dim": "hidden_size", "n_heads": "num_attention_heads", "n_layers": "num_hidden_layers"},
    ),
    "electra": Family(
        "ElectraConfig",
        _BERT | {"embedding_size": 128, "hidden_size": 256, "intermediate_size": 1024,
                 "num_attention_heads": 4},
        electra,
    ),
    "marian": _after_bart(
        "MarianConfig", marian, vocab_size=58101, decoder_vocab_size=None,
        share_encoder_decoder_embeddings=True,
    ),
    "mbart": _after_bart("MBartConfig", mbart),
    "mt5": Family(
        "MT5Config",
        _T5 | {"vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6,
               "feed_forward_proj": "gated-gelu"},
        t5,
        {"d_model": "hidden_size", "num_heads": "num_attention_heads",
         "num_layers": "num_hidden_layers", "d_kv": "head_dim"},
        allows=_BOTH,
    ),
    "pegasus": _after_bart("PegasusConfig", pegasus),
    "roberta": Family("RobertaConfig", _BERT | {"vocab_size": 50265}, roberta),
    "t5": Family(
        "T5Config",
        _T5,
        t5,
        {"d_model": "hidden_size", "num_heads": "num_attention_heads",
         "num_layers": "num_hidden_layers", "d_kv": "head_dim"},
        allows=_BOTH,
    ),
    "xlm-roberta": Family("XLMRobertaConfig", _BERT, roberta),
}  # fmt: skip
