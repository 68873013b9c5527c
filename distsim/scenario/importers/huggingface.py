"""Models from the ``config.json`` that Hugging Face's transformers writes beside a checkpoint.

JSON alone is read: no code of a repository runs, and no weights are opened. What decides the
operators and the number of parameters is either modelled or refused; what the file leaves out has
the default of its configuration class, and every such default is noted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

from distsim.errors import Place, WorkloadError, nearest, show
from distsim.scenario.importers.huggingface_json import Path, plain, read_json
from distsim.scenario.importers.huggingface_keys import Keys
from distsim.scenario.importers.huggingface_registry import NOT_MODELLED, REGISTRY
from distsim.scenario.importers.huggingface_windows import FULL, WINDOWED
from distsim.workload.families import FAMILIES
from distsim.workload.model_block import from_mapping
from distsim.workload.network import Model

#: Where a model of several parts keeps that of the text.
_TEXT = ("text_config", "llm_config", "language_config")
_TIED = "tie_word_embeddings"
#: Family of a block -> how architectures with the head that is counted end, and what is counted.
_LANGUAGE = (("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"), "a causal language model")
_COUNTED = {
    "gpt": _LANGUAGE,
    "llama": _LANGUAGE,
    "encoder_decoder": (
        ("ForConditionalGeneration", "LMHeadModel", "MTModel"), "the model with its language head"
    ),
    "vit": (("ForImageClassification",), "the model with a classifier"),
    "cnn": (("ForImageClassification",), "the model with a classifier"),
}  # fmt: skip
#: Keys of the model block whose errors stand at a key of the configuration.
_NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "encoder_layers": ("num_layers", "encoder_layers"),
    "decoder_layers": ("num_decoder_layers", "decoder_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim", "qk_nope_head_dim", "d_kv"),
    "rope_head_dim": ("qk_rope_head_dim",),
    "v_head_dim": ("v_head_dim",),
    "kv_lora_rank": ("kv_lora_rank",),
    "q_lora_rank": ("q_lora_rank",),
    "ffn": ("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim", "hidden_dim", "d_ff",
            "encoder_ffn_dim"),
    "vocab": ("vocab_size",),
    "max_positions": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
    "relative_buckets": ("relative_attention_num_buckets",),
    "attention_size": ("sliding_window", "window_size", "block_size"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "experts_per_token": ("num_experts_per_tok",),
    "expert_ffn": ("moe_intermediate_size", "intermediate_size"),
    "shared_experts": ("n_shared_experts",),
    "shared_ffn": ("shared_expert_intermediate_size", "n_shared_experts"),
    "dense_layers": ("first_k_dense_replace", "mlp_only_layers"),
    "moe_every": ("decoder_sparse_step", "moe_layer_freq"),
    "routing_groups": ("n_group",),
    "routing_groups_per_token": ("topk_group",),
    "image": ("image_size", "num_channels"),
    "patch": ("patch_size",),
    "channels": ("num_channels", "hidden_sizes"),
}  # fmt: skip
#: Keys that change neither operators nor parameters: training, generation, names, constants.
_WORDS = """
architectures attn_implementation aux_loss_alpha attention_multiplier bos_token_id
chunk_size_feed_forward classifier_dropout decoder_start_token_id do_sample dtype
embedding_multiplier eos_token_id finetuning_task gradient_checkpointing hidden_activation id2label
image_token_id image_token_index init_config initializer_range is_decoder label2id layer_norm_eps
layer_norm_epsilon length_penalty logits_scaling max_length max_window_layers model_type n_ctx
n_group norm_epsilon norm_topk_prob num_labels original_max_position_embeddings output_attentions
output_hidden_states output_router_logits pad_token_id pretraining_tp problem_type
quantization_config residual_multiplier return_dict rms_norm_eps rope_parameters rope_scaling
rope_theta rotary_emb_base router_aux_loss_coef router_jitter_noise routed_scaling_factor
scale_attn_by_inverse_layer_idx reorder_and_upcast_attn scale_attention_softmax_in_fp32
attention_softmax_in_fp32 scale_attn_weights scoring_func seq_aux sep_token_id task_specific_params
temperature tokenizer_class top_k top_p topk_group topk_method torch_dtype torchscript
transformers_version use_bidirectional_attention use_cache video_token_id vision_end_token_id
vision_start_token_id vision_token_id init_std layer_types auto_map
"""
_HARMLESS = frozenset(_WORDS.split())
_SILENT = ("_", "summary_", "rope_", "rotary_")
#: Keys that change a model of any type, unless they have one of these values, and what they add.
_PARTS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "is_encoder_decoder": ((None, False), "an encoder beside the decoder"),
    "add_cross_attention": ((None, False), "attention to an encoder"),
    "kv_lora_rank": ((None,), "latent attention (MLA) of low-rank keys and values"),
    "q_lora_rank": ((None,), "latent attention (MLA) of low-rank queries"),
    "alibi": ((None, False), "a position bias on attention (ALiBi)"),
    "position_embedding_type": ((None, "absolute"), "a bias by the distance of tokens"),
    "qk_layernorm": ((None, False), "a LayerNorm of queries and keys"),
    "num_nextn_predict_layers": ((None, 0), "prediction of several tokens (MTP)"),
    "per_layer_config": ((None, {}), "a model whose layers differ in size"),
}


def model_from_config(
    source: str | PathLike[str], *, path: Path = ()
) -> tuple[Model, tuple[str, ...]]:
    """Return the model that a ``config.json`` describes, and what to know about it.

    Parameters
    ----------
    source : str or path
    path : tuple, optional
        Where the file is named, for errors.

    Returns
    -------
    spec : Model
        Parameters as transformers builds the causal language model.
    notes : tuple of str
        Defaults that were filled in, what is counted in a simpler way, and keys that are ignored.

    Raises
    ------
    FileError
        DS101 to DS106.
    SyntaxProblem
        DS250 for what is not JSON, DS112 to DS114 and DS119.
    WorkloadError
        With the line in the file: DS251 for an unknown type, DS252 for one that is not modelled,
        DS253 for a part that is not, DS254 to DS256 for values that cannot be; DS203 and DS223 to
        DS229 for a model that cannot be.
    """
    data, lines = read_json(source, path)
    outer, prefix = data, _text_of(data)
    given = data[str(prefix[0])] if prefix else data
    file = plain(fspath(source), 200)
    context: dict[str, Any] = {"file": file, "path": path, "lines": lines}
    if prefix and isinstance(outer.get("model_type"), str) and outer["model_type"] in NOT_MODELLED:
        prefix, given = (), outer
    kind = _kind(given, prefix, context)
    family = REGISTRY[kind]
    if prefix and _TIED in outer and not given.get(_TIED):
        given = given | {_TIED: outer[_TIED]}  # True in either place ties them.
    keys = Keys(
        given,
        config=family.config,
        defaults=family.defaults,
        other_names=family.other_names,
        prefix=prefix,
        **context,
    )
    _refuse_parts(keys, family.allows)
    block = family.read(keys)
    source_note = f"Hugging Face {file.replace(chr(92), '/').rsplit('/', 1)[-1]} of type {kind}"
    spec = _spec(block | {"source": source_note}, keys, _name(outer, kind))
    _note_parts(keys)
    _note_head(keys, str(block["family"]))
    _note_outer(keys, outer, prefix, kind)
    _note_unknown(keys)
    return spec, keys.sentences()


def _text_of(data: Mapping[str, Any]) -> Path:
    """Return the key of the part for text, if the configuration has several."""
    found = [key for key in _TEXT if isinstance(data.get(key), dict)]
    return (found[0],) if found else ()


def _kind(given: Mapping[str, Any], prefix: Path, context: Mapping[str, Any]) -> str:
    """Return the type of the model, one of `REGISTRY`."""
    kind = given.get("model_type")
    if isinstance(kind, str) and kind in REGISTRY:
        return kind
    known = ", ".join(REGISTRY)
    where = (*prefix, "model_type") if "model_type" in given else prefix
    place = Place(context["file"], context["lines"].get(where, 0))
    at: Path = (*context["path"], *prefix, "model_type")
    if isinstance(kind, str) and kind in NOT_MODELLED:
        raise WorkloadError(
            "DS252",
            f"a model of type {kind} has {NOT_MODELLED[kind]}: not modelled",
            path=at,
            value=kind,
            rule=f"one of the types {known}",
            fix="describe a model close to it as a block, or choose another one",
            place=place,
        )
    near = nearest(kind, REGISTRY) if isinstance(kind, str) else None
    raise WorkloadError(
        "DS251",
        "the configuration has no model_type" if kind is None else f"model_type is {show(kind)}",
        path=at,
        value=kind,
        rule=f"one of the types {known}",
        fix=f"did you mean {near}?" if near else "describe the model as a block in the scenario",
        place=place,
    )


def _refuse_parts(keys: Keys, allowed: tuple[str, ...]) -> None:
    """Refuse what none of the families has (DS253)."""
    for key in allowed:
        keys.look(key)
    for key, (silent, part) in _PARTS.items():
        if key in allowed:
            continue
        # Not `in silent`: there, 0 is False.
        if not any(keys.look(key) == one for one in silent):
            raise keys.refused(key, part)
    kinds = keys.given.get("layer_types")
    for kind in dict.fromkeys(map(str, kinds)) if isinstance(kinds, list) else ():
        if kind not in (*FULL, *WINDOWED):
            raise keys.refused("layer_types", f"a layer of type {show(kind)}")


def _spec(block: Mapping[str, Any], keys: Keys, name: str) -> Model:
    """Return the model of a block; errors stand at the keys of the configuration."""
    try:
        read = FAMILIES.get(str(block["family"]))
        return read(block, (), name) if read else from_mapping(block, name=name)
    except WorkloadError as error:
        names = _NAMES.get(str(error.path[-1]), ()) if error.path else ()
        key = next((n for n in names if keys.name_of(n) in keys.given), "")
        shown = key or next((n for n in names if n in keys.used), "")
        message, fix = (_renamed(text, error, keys, shown) for text in (error.message, error.fix))
        placed = keys.error(error.code, message, key, rule=error.rule, fix=fix)
        placed.value = error.value
        raise placed from None


def _renamed(text: str, error: WorkloadError, keys: Keys, key: str) -> str:
    """Return a text in which a key of the block, before its value, has its name in the file."""
    ours = re.escape(str(error.path[-1])) if error.path else ""
    return re.sub(rf"\b{ours}(?=\(|: )", keys.name_of(key), text) if key else text


def _name(outer: Mapping[str, Any], kind: str) -> str:
    """Return the name of the checkpoint, without its owner or directory, else that of the type."""
    given = outer.get("_name_or_path")
    text = given.replace("\\", "/").rstrip("/") if isinstance(given, str) else ""
    return plain(text.rsplit("/", 1)[-1]).strip() or f"{kind} from config.json"


def _note_parts(keys: Keys) -> None:
    """Note what is counted in a simpler way than the model has it."""
    kinds = keys.given.get("layer_types")
    read = "layer_types" in keys.used
    if not read and isinstance(kinds, list) and any(kind in WINDOWED for kind in kinds):
        keys.notes.add("layer_types with windows: attention is counted over the whole sequence")
    turned = keys.given.get("rope_parameters")
    for part in (keys.given, turned if isinstance(turned, dict) else {}):
        for key in ("rotary_pct", "partial_rotary_factor"):
            if isinstance(part.get(key), float) and part[key] < 1:
                keys.used.add(key)
                keys.notes.add("rotary positions are counted on all features of a head", key)


def _note_head(keys: Keys, family: str) -> None:
    """Note what is counted where ``architectures`` names a class with another head."""
    names = keys.given.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    endings, counted = _COUNTED.get(family, ((), ""))
    if isinstance(name, str) and name and endings and not name.endswith(endings):
        keys.notes.add(f"architectures {show(name)}: counted is {counted}")


def _note_outer(keys: Keys, outer: Mapping[str, Any], prefix: Path, kind: str) -> None:
    """Note the parts of a model for more than text."""
    if prefix:
        keys.notes.add(f"the model is that of {prefix[0]}, of type {kind}, alone")
    for key in outer:
        known = (*prefix, "quantization_config", "init_config", *(() if prefix else keys.used))
        if key.endswith("_config") and key not in known:
            keys.used.add(key)
            keys.notes.add("not modelled, only the text model is", plain(key))
    for part in (outer, keys.given):
        if part.get("quantization_config") is not None:
            keys.notes.add("quantization_config is not read: types are those of the scenario")
        if part.get("auto_map") is not None:
            keys.notes.add(f"auto_map names code that is not run: the model is read as a {kind}")


def _note_unknown(keys: Keys) -> None:
    for part in (keys, *keys.parts):
        for key in part.given:
            if key not in part.used and key not in _HARMLESS and not key.startswith(_SILENT):
                keys.notes.add("unknown keys are ignored", plain(key))
