"""What a model that a block describes may not be."""

from __future__ import annotations

from typing import Any, Protocol

from distsim.errors import WorkloadError, show
from distsim.workload.attention_pattern import SPARSE
from distsim.workload.families.checking import check_softmax, out_of_range
from distsim.workload.model import EXPERT_KEYS, MOE, ModelSpec

Path = tuple[str | int, ...]


class Variation(Protocol):
    """What has a kind of attention."""

    @property
    def attention(self) -> str:
        """Kind."""

    @property
    def attention_size(self) -> int:
        """Keys, features or rows."""

    @property
    def attention_stride(self) -> int:
        """Stride of ``strided``."""

    @property
    def attention_global(self) -> int:
        """Global tokens."""


def check_model(spec: ModelSpec, path: Path) -> None:
    """Refuse a model that cannot be.

    Raises
    ------
    WorkloadError
        DS203, DS220, DS223 to DS229 and DS239.
    """
    _check_heads(spec, path)
    _check_latent(spec, path)
    _check_attention(spec, path)
    _check_block(spec, path)
    _check_experts(spec, path)
    check_softmax(spec.output_softmax, spec.vocab, path, tied=spec.tied_embeddings)


def _attention_problem(key: str, spec: Any, path: Path, rule: str, fix: str) -> WorkloadError:
    value = getattr(spec, key)
    return WorkloadError(
        "DS239", f"{key} is {show(value)}", path=(*path, key), value=value, rule=rule, fix=fix
    )


def _check_latent(spec: ModelSpec, path: Path) -> None:
    if not spec.latent:
        for key in ("q_lora_rank", "rope_head_dim", "v_head_dim"):
            if getattr(spec, key):
                raise _attention_problem(
                    key,
                    spec,
                    path,
                    f"{key} belongs to latent attention, which has a kv_lora_rank",
                    "state kv_lora_rank, or remove it",
                )
        return
    if spec.rope_head_dim % 2:
        rule = "rope_head_dim % 2 == 0: rotary positions turn features in pairs"
        raise _attention_problem("rope_head_dim", spec, path, rule, "use an even number")
    if not spec.v_head_dim:
        rule = "with latent attention the features of a value are stated"
        raise _attention_problem("v_head_dim", spec, path, rule, f"use {spec.head_dim}")
    not_with: dict[str, tuple[bool, str]] = {
        "kv_heads": (spec.kv_heads != spec.heads, "every head has its own keys and values"),
        "qk_norm": (spec.qk_norm, "the norms are those of the latent vectors"),
        "positions": (spec.positions != "rotary", "positions are those of rope_head_dim"),
        "attention": (spec.attention == "linear", "the kernel's features are those of one width"),
    }
    for key, (wrong, why) in not_with.items():
        if wrong:
            rule = f"with latent attention {why}"
            raise _attention_problem(key, spec, path, rule, f"remove {key}, or kv_lora_rank")


def _check_attention(spec: ModelSpec, path: Path) -> None:
    if spec.attention == "low_rank":
        rule = "a causal mask does not go with rows that mix all tokens: encoders can have low_rank"
        raise _attention_problem("attention", spec, path, rule, "use window, linear or full")
    check_variant(spec, path)
    if spec.full_attention_every and spec.attention == "full":
        rule = "full_attention_every says where another kind than full is left out"
        fix = "change attention, or remove it"
        raise _attention_problem("full_attention_every", spec, path, rule, fix)


def check_variant(spec: Variation, path: Path) -> None:
    """Refuse numbers that do not go with a kind of attention.

    Raises
    ------
    WorkloadError
        DS239.
    """
    kind, size = spec.attention, spec.attention_size
    needs = kind in SPARSE or kind == "low_rank"
    problems = (
        (
            "attention_size",
            size == 0 if needs else size > 0 and kind != "linear",
            "window, strided, block_sparse: the keys of a query, >= 1; low_rank: rows of projected "
            "keys, >= 1; linear: features of the kernel, 0 = head_dim; full: 0",
        ),
        (
            "attention_stride",
            spec.attention_stride > 0 and kind != "strided",
            "attention_stride belongs to attention: strided",
        ),
        (
            "attention_global",
            spec.attention_global > 0 and kind not in SPARSE,
            f"attention_global belongs to {', '.join(SPARSE)}",
        ),
    )
    for key, wrong, rule in problems:
        if wrong:
            raise _attention_problem(key, spec, path, rule, "change attention or this number")


def _check_block(spec: ModelSpec, path: Path) -> None:
    if spec.parallel_block and spec.experts:
        rule = "attention stands beside a dense feed-forward block, not beside experts"
        raise _attention_problem(
            "parallel_block", spec, path, rule, "set parallel_block: false, or experts: 0"
        )
    if spec.extra_positions and spec.positions != "learned":
        rule = "extra_positions are rows of a table of learned positions"
        raise _attention_problem(
            "extra_positions", spec, path, rule, "remove it, or use positions: learned"
        )


def _check_heads(spec: ModelSpec, path: Path) -> None:
    if spec.heads % spec.kv_heads:
        raise WorkloadError(
            "DS224",
            f"kv_heads({spec.kv_heads}) does not divide heads({spec.heads})",
            path=(*path, "kv_heads"),
            value=spec.kv_heads,
            rule="heads % kv_heads == 0: each head of keys and values serves as many queries",
            fix=f"use kv_heads: {nearest_divisor(spec.heads, spec.kv_heads)}",
        )
    if spec.positions == "rotary" and spec.head_dim % 2:
        raise WorkloadError(
            "DS225",
            f"head_dim({spec.head_dim}) is odd",
            path=(*path, "head_dim"),
            value=spec.head_dim,
            rule="head_dim % 2 == 0 with rotary positions, which turn features in pairs",
            fix=f"use head_dim: {spec.head_dim + 1}, or positions: learned",
        )


def _check_experts(spec: ModelSpec, path: Path) -> None:
    if not spec.experts:
        _check_nothing_of_experts(spec, path)
        return
    most = spec.experts
    if spec.experts_per_token > most:
        raise WorkloadError(
            "DS227",
            f"experts_per_token({spec.experts_per_token}) is more than experts({most})",
            path=(*path, "experts_per_token"),
            value=spec.experts_per_token,
            rule="experts_per_token <= experts: a token goes to different experts",
            fix=f"use experts_per_token <= {most}, or more experts",
        )
    if MOE not in spec.layer_kinds:
        raise WorkloadError(
            "DS228",
            f"no layer has experts: dense_layers({spec.dense_layers}) and "
            f"moe_every({spec.moe_every}) leave none of {spec.layers}",
            path=(*path, "dense_layers" if spec.dense_layers else "moe_every"),
            value=spec.dense_layers or spec.moe_every,
            rule="some i in dense_layers + 1 .. layers has i % moe_every == 0",
            fix="lower dense_layers or moe_every, or set experts: 0",
        )
    _check_shared(spec, path)
    _check_groups(spec, path)
    bound = spec.experts / spec.experts_per_token
    if spec.capacity_factor is not None and spec.capacity_factor > bound:
        rule = f"capacity_factor <= experts / experts_per_token = {bound:g}: an expert then has "
        rule += "room for every token"
        raise out_of_range(
            "capacity_factor", spec.capacity_factor, (*path, "capacity_factor"), rule
        )


def _check_nothing_of_experts(spec: ModelSpec, path: Path) -> None:
    for key, silent in EXPERT_KEYS.items():
        value = getattr(spec, key)
        if value != silent:
            raise WorkloadError(
                "DS226",
                f"{key} is {show(value)}, but the model has no experts",
                path=(*path, key),
                value=value,
                rule=f"with experts: 0 there is no {key}",
                fix=f"remove {key}, or state experts and experts_per_token",
            )


def _check_groups(spec: ModelSpec, path: Path) -> None:
    groups, chosen = spec.routing_groups, spec.routing_groups_per_token
    if not groups and not chosen:
        return
    fits = groups and spec.experts % groups == 0 and 1 <= chosen <= groups
    if fits and spec.experts // groups * chosen >= spec.experts_per_token:
        return
    key = "routing_groups" if not groups or spec.experts % groups else "routing_groups_per_token"
    raise WorkloadError(
        "DS226",
        f"routing_groups({groups}) and routing_groups_per_token({chosen}) do not fit "
        f"{spec.experts} experts, {spec.experts_per_token} a token",
        path=(*path, key),
        value=getattr(spec, key),
        rule="routing_groups divides experts, and the groups that a token may use have at least "
        "experts_per_token experts",
        fix="state both, or neither",
    )


def _check_shared(spec: ModelSpec, path: Path) -> None:
    count, width = spec.shared_experts, spec.shared_ffn
    if count and width and width % count == 0:
        return
    if not count and not width and not spec.shared_gate:
        return
    key = "shared_gate" if not count and not width else "shared_ffn"
    raise WorkloadError(
        "DS229",
        f"shared_experts({count}) and shared_ffn({width}) do not fit"
        + (" with a shared_gate" if key == "shared_gate" else ""),
        path=(*path, key),
        value=getattr(spec, key),
        rule="shared_ffn is the features of all shared experts, a whole number for each; without "
        "shared experts there are none, and nothing to gate",
        fix="state shared_experts and leave shared_ffn out where they are as wide as the others",
    )


def nearest_divisor(whole: int, part: int) -> int:
    """Return the divisor of `whole` that is nearest to `part`."""
    divisors = [d for d in range(1, whole + 1) if whole % d == 0]
    return min(divisors, key=lambda d: abs(d - part))
