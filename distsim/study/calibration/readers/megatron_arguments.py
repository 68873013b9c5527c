"""The arguments that rank 0 of Megatron-LM prints, as keys of a scenario.

Names and meaning are those of megatron/training/arguments.py; older names of the same thing stand
beside them. What is not stated is left to the scenario beside the log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from distsim.parallel.selective import CORE, MODULES
from distsim.study.calibration.readers.findings import Findings

_DOTTED = re.compile(r"(?:^|\s)([A-Za-z_][A-Za-z0-9_]{1,60}) \.+ ?(.*?)\s*$", re.ASCII)
_HEADING = re.compile(r"-{4,} arguments -{4,}")
_PADDED = re.compile(r"padded vocab \(size: [0-9]+\).{0,80}?new size: ([0-9]{1,9})\b")
_COUNT = re.compile(r"[0-9]{1,12}", re.ASCII)

#: Keys of a scenario that are arguments under another name; the first that is stated counts.
_COUNTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("cluster", "devices"): ("world_size",),
    ("batch", "global_size"): ("global_batch_size", "train_batch_size"),
    ("batch", "micro_size"): ("micro_batch_size", "train_micro_batch_size_per_gpu"),
    ("batch", "sequence_length"): ("seq_length", "encoder_seq_length"),
    ("plan", "tp"): ("tensor_model_parallel_size", "model_parallel_size"),
    ("plan", "pp"): ("pipeline_model_parallel_size",),
    ("plan", "cp"): ("context_parallel_size",),
    ("plan", "ep"): ("expert_model_parallel_size",),
    ("plan", "etp"): ("expert_tensor_parallel_size",),
    ("plan", "first_stage_layers"): (
        "decoder_first_pipeline_num_layers",
        "num_layers_in_first_pipeline_stage",
    ),
    ("plan", "last_stage_layers"): (
        "decoder_last_pipeline_num_layers",
        "num_layers_in_last_pipeline_stage",
    ),
    ("model", "layers"): ("num_layers", "encoder_num_layers"),
    ("model", "hidden"): ("hidden_size",),
    ("model", "heads"): ("num_attention_heads",),
    ("model", "ffn"): ("ffn_hidden_size",),
    ("model", "vocab"): ("padded_vocab_size",),
    ("model", "max_positions"): ("max_position_embeddings", "seq_length"),
}
_MOE_COUNTS = {
    "experts": ("num_experts",),
    "experts_per_token": ("moe_router_topk",),
    "expert_ffn": ("moe_ffn_hidden_size",),
    "shared_ffn": ("moe_shared_expert_intermediate_size",),
    "routing_groups": ("moe_router_num_groups",),
    "routing_groups_per_token": ("moe_router_group_topk",),
}
_MLA_COUNTS = {
    "kv_lora_rank": ("kv_lora_rank",),
    "q_lora_rank": ("q_lora_rank",),
    "head_dim": ("qk_head_dim",),
    "rope_head_dim": ("qk_pos_emb_head_dim",),
    "v_head_dim": ("v_head_dim",),
}
_SWITCHES = {
    "sequence_parallel": ("sequence_parallel",),
    "overlap_grad_reduce": ("overlap_grad_reduce",),
    "overlap_param_gather": ("overlap_param_gather",),
    "overlap_shared_experts": ("moe_shared_expert_overlap",),
    "async_tensor": ("tp_comm_overlap",),
}
_POSITIONS = {
    "rope": "rotary",
    "yarn": "rotary",
    "mrope": "rotary",
    "learned_absolute": "learned",
    "none": "none",
    "alibi": "alibi",
}
_EXCHANGES = {"p2p": "ring", "a2a": "all_to_all", "allgather": "all_gather"}
_SHARDED = {"no_shard": 0, "optim": 1, "optim_grads": 2, "optim_grads_params": 3}
_RECIPES = {"delayed": "delayed", "tensorwise": "current", "blockwise": "blockwise"}
_RECIPES["mxfp8"] = "mxfp8"
#: Values that mean nothing was said.
_NOTHING = ("None", "")


class Arguments:
    """The arguments of one run, as texts by name."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def copy(self) -> Arguments:
        """Return arguments of their own for a run that was started again."""
        return Arguments(self._values)

    @staticmethod
    def begins(line: str) -> bool:
        """Say whether a line is the heading above all arguments."""
        return "arguments -" in line and _HEADING.search(line) is not None

    def read(self, line: str, *, started: bool) -> bool:
        """Take the argument of a line, if it states one; what follows the first steps is none."""
        if ".." not in line and " . " not in line:
            padded = _PADDED.search(line) if "padded vocab" in line else None
            if padded is None or started:
                return False
            self._values["padded_vocab_size"] = padded[1]
            return True
        match = _DOTTED.search(line)
        if match is None or started:
            return False
        self._values[match[1]] = match[2]
        return True

    def text(self, *names: str) -> str | None:
        """Return the value of the first of these arguments that is stated."""
        found = (self._values.get(name) for name in names)
        return next((value for value in found if value is not None and value not in _NOTHING), None)

    def names(self, *names: str) -> bool:
        """Say whether one of these arguments is there, whatever its value."""
        return any(name in self._values for name in names)

    def count(self, *names: str) -> int | None:
        """Return a whole number above 0."""
        found = self.text(*names)
        return int(found) or None if found is not None and _COUNT.fullmatch(found) else None

    def switch(self, *names: str) -> bool | None:
        """Return a truth value."""
        return {"True": True, "False": False}.get(self.text(*names) or "")

    def __bool__(self) -> bool:
        return bool(self._values)


def facts(arguments: Arguments, findings: Findings) -> dict[str, Any]:
    """Return what arguments say, as the keys of a scenario; nothing where there are none."""
    if not arguments:
        return {}
    out: dict[str, Any] = {}
    for (block, key), names in _COUNTS.items():
        _put(out, block, key, arguments.count(*names))
    for key, names in _SWITCHES.items():
        _put(out, "plan", key, arguments.switch(*names))
    _put(out, "plan", "virtual_stages", _virtual_stages(arguments))
    _put(out, "plan", "zero_stage", _zero_stage(arguments))
    _put(out, "plan", "recompute", _recompute(arguments, findings))
    _put(out, "plan", "cp_mode", _EXCHANGES.get(arguments.text("cp_comm_type") or ""))
    _put(out, "plan", "expert_dispatch", _dispatch(arguments))
    _put(out, "plan", "bucket_size", _bucket_size(arguments))
    _put(out, "", "precision", _precision(arguments))
    optimizer = arguments.text("optimizer")
    _put(out, "", "optimizer", optimizer if optimizer in ("adam", "sgd", "muon", "lion") else None)
    if out.get("model", {}).keys() >= {"layers", "hidden"}:
        _model(out["model"], arguments, findings)
    else:
        out.pop("model", None)
    return out


def _put(out: dict[str, Any], block: str, key: str, value: object) -> None:
    if value is not None:
        (out.setdefault(block, {}) if block else out)[key] = value


def _model(model: dict[str, Any], arguments: Arguments, findings: Findings) -> None:
    """Complete the block of a model whose sizes are known."""
    gated = bool(arguments.switch("swiglu", "glu_activation"))
    rms = (arguments.text("normalization") or "").lower() == "rmsnorm"
    rotary = arguments.switch("use_rotary_position_embeddings")
    positions = (
        "rotary" if rotary else _POSITIONS.get(arguments.text("position_embedding_type") or "")
    )
    said: dict[str, Any] = {
        "family": "llama" if gated or rms else "gpt",
        "activation": "swiglu" if gated else "gelu",
        "norm": "rmsnorm" if rms else "layernorm",
        "positions": positions,
        "qk_norm": arguments.switch("qk_layernorm"),
        "bias": arguments.switch("add_bias_linear"),
        "qkv_bias": arguments.switch("add_qkv_bias") or None,
        "tied_embeddings": _opposite(arguments.switch("untie_embeddings_and_output_weights")),
        "dropout": _dropout(arguments),
    }
    if arguments.switch("group_query_attention"):
        said["kv_heads"] = arguments.count("num_query_groups")
    if arguments.switch("multi_latent_attention"):
        said |= {key: arguments.count(*names) for key, names in _MLA_COUNTS.items()}
    else:
        said["head_dim"] = arguments.count("kv_channels")
    if arguments.count("num_experts"):
        said |= {key: arguments.count(*names) for key, names in _MOE_COUNTS.items()}
        said |= _mixtures(arguments, findings)
    model |= {key: value for key, value in said.items() if value is not None}
    if "vocab" not in model and (words := arguments.count("vocab_size")):
        model["vocab"] = _padded(words, arguments)


def _opposite(switch: bool | None) -> bool | None:
    return None if switch is None else not switch


def _dropout(arguments: Arguments) -> bool | None:
    stated = [arguments.text(f"{where}_dropout") for where in ("hidden", "attention")]
    known = [text for text in stated if text is not None]
    return any(text.strip("0.") != "" for text in known) if known else None


def _padded(words: int, arguments: Arguments) -> int:
    """Return the vocabulary padded to a multiple of ``make_vocab_size_divisible_by`` x tp."""
    multiple = (arguments.count("make_vocab_size_divisible_by") or 128) * (
        arguments.count("tensor_model_parallel_size") or 1
    )
    return -(-words // multiple) * multiple


def _mixtures(arguments: Arguments, findings: Findings) -> dict[str, int]:
    """Return which layers are mixtures: every n-th, or the list ``[0]*1+[1]*60`` of dense ones."""
    frequency = arguments.text("moe_layer_freq")
    if frequency is None or frequency == "1":
        return {}
    if _COUNT.fullmatch(frequency):
        return {"moe_every": int(frequency)}
    flags = re.findall(r"[01]", frequency) if re.fullmatch(r"\[[01, ]*\]", frequency) else []
    dense = flags.index("1") if "1" in flags else 0
    if flags and "0" not in flags[dense:]:
        return {"dense_layers": dense} if dense else {}
    short = re.fullmatch(
        r"\(?\[0\]\*([0-9]{1,4})\+\[1\]\*[0-9]{1,4}\)?", frequency.replace(" ", "")
    )
    if short:
        return {"dense_layers": int(short[1])}
    findings.note(f"moe_layer_freq {frequency[:40]!r} is not understood: all layers are mixtures")
    return {}


def _virtual_stages(arguments: Arguments) -> int | None:
    stated = arguments.count("virtual_pipeline_model_parallel_size")
    each = arguments.count("num_layers_per_virtual_pipeline_stage")
    layers, stages = arguments.count("num_layers"), arguments.count("pipeline_model_parallel_size")
    if stated is None and each and layers and stages:
        return max(1, layers // (stages * each))
    return stated


def _zero_stage(arguments: Arguments) -> int | None:
    """Return the stage of ZeRO that a way of sharding is (Rajbhandari 2020, arXiv 1910.02054)."""
    deepspeed = arguments.text("zero_stage", "zero_optimization_stage")
    if deepspeed is not None and deepspeed in "0123" and arguments.switch("deepspeed") is not False:
        return int(deepspeed)
    fsdp = arguments.switch("use_megatron_fsdp") or arguments.switch("use_custom_fsdp")
    if fsdp:
        return _SHARDED.get(arguments.text("data_parallel_sharding_strategy") or "", 0)
    if arguments.switch("use_torch_fsdp2"):
        return 3
    distributed = arguments.switch("use_distributed_optimizer")
    return None if distributed is None else int(distributed)


def _recompute(arguments: Arguments, findings: Findings) -> str | dict[str, Any] | None:
    granularity = arguments.text("recompute_granularity", "activations_checkpoint_granularity")
    method = arguments.text("recompute_method", "activations_checkpoint_method")
    layers = arguments.count("recompute_num_layers", "activations_checkpoint_num_layers") or 1
    older = arguments.switch("checkpoint_activations", "deepspeed_activation_checkpointing")
    if granularity == "selective":
        listed = re.findall(r"[a-z_]+", arguments.text("recompute_modules") or CORE)
        modules = [module for module in listed if module in MODULES]
        for module in dict.fromkeys(m for m in listed if m not in MODULES):
            findings.note(f"{module[:60]} of recompute_modules is not known, and not recomputed")
        if not modules:
            return "none"
        if modules == [CORE]:
            return "selective"
        return {"mode": "selective", "modules": modules}
    if granularity == "full" or method is not None or older:
        if method == "block":
            return {"mode": "full", "first": layers}
        return "full" if layers == 1 else {"mode": "full", "every": layers}
    named = arguments.names("recompute_granularity", "activations_checkpoint_method")
    return "none" if older is not None or named else None


def _dispatch(arguments: Arguments) -> str | None:
    deepep = arguments.switch("moe_enable_deepep") or (
        arguments.text("moe_flex_dispatcher_backend") == "deepep"
    )
    return "deepep" if deepep else None


def _bucket_size(arguments: Arguments) -> str | None:
    """Return ``ddp_bucket_size``, which counts gradients, in bytes."""
    elements = arguments.count("ddp_bucket_size")
    if elements is None:
        return None
    return f"{elements * (4 if _fp32_gradients(arguments) else 2)} B"


def _fp32_gradients(arguments: Arguments) -> bool:
    """Say whether gradients are kept in fp32: always beside bf16, unless the reduction is not."""
    if arguments.switch("grad_reduce_in_bf16"):
        return False
    return bool(
        arguments.switch("accumulate_allreduce_grads_in_fp32") or not arguments.switch("fp16")
    )


def _precision(arguments: Arguments) -> str | dict[str, Any] | None:
    kinds: Mapping[str, Callable[[], bool]] = {
        "bf16": lambda: bool(arguments.switch("bf16", "bfloat16_enabled")),
        "fp16": lambda: bool(arguments.switch("fp16", "fp16_enabled")),
    }
    stated = arguments.text("bf16", "bfloat16_enabled") or arguments.text("fp16", "fp16_enabled")
    if stated is None:
        return None
    compute = next((kind for kind, is_it in kinds.items() if is_it()), "fp32")
    if compute == "fp32":
        return "fp32"
    out: dict[str, Any] = {"compute": compute}
    if arguments.switch("accumulate_allreduce_grads_in_fp32", "grad_reduce_in_bf16") is not None:
        out["gradients"] = "fp32" if _fp32_gradients(arguments) else compute
    fp8 = arguments.text("fp8", "fp8_format")
    if fp8 is not None and fp8 != "False":
        out["fp8"] = _RECIPES.get(arguments.text("fp8_recipe") or "delayed", "delayed")
    return out if len(out) > 1 else compute
