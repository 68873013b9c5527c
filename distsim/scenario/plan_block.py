"""The ``plan:`` block: how ranks divide the work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Strict, Tag
from pydantic_core import PydanticCustomError

from distsim.errors import ValueProblem, nearest, show
from distsim.scenario.block import (
    BLOCK,
    NAME,
    Block,
    Bytes,
    Degree,
    Layers,
    Name,
    form,
)
from distsim.scenario.host_blocks import OffloadBlock
from distsim.schedule import REGISTRY


def _schedule(name: str) -> str:
    if name in REGISTRY or name.endswith(".csv"):
        return name
    near = nearest(name, REGISTRY)
    error = ValueProblem(
        "DS204",
        f"unknown schedule {show(name)}",
        value=name,
        rule=f"one of {', '.join(REGISTRY)}, or a path to a CSV of actions",
        fix=f"did you mean {near}?" if near else "choose one of them",
    )
    # pydantic collects ValueErrors only; `problems` takes this one out again.
    raise PydanticCustomError("distsim", "unknown schedule", {"error": error})


ScheduleName = Annotated[Name, AfterValidator(_schedule)]
RecomputeMode = Literal["none", "selective", "alternate", "full"]
RecomputeModule = Literal[
    "core_attn", "mlp", "moe", "shared_experts", "layernorm", "moe_act", "mla_up_proj"
]


class RecomputeBlock(Block):
    """Which layers are recomputed."""

    mode: RecomputeMode = Field(
        description="What: parts of layers (selective), all but attention and every second product "
        "(alternate), or whole layers (full)."
    )
    modules: (
        Annotated[tuple[RecomputeModule, ...], Strict(False), Field(min_length=1, max_length=7)]
        | None
    ) = Field(
        default=None,
        description="With selective: which parts, by Megatron-Core's names (recompute_modules); "
        "core_attn by default.",
    )
    every: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1, description="With full: keep one input for so many layers."
    )
    first: Layers | None = Field(
        default=None, description="Only so many layers at the beginning of each model chunk."
    )
    layers: Annotated[tuple[Layers, ...], Strict(False), Field(max_length=10_000)] | None = Field(
        default=None, description="Only these layers of the model, counted from 0."
    )


class CompressionBlock(Block):
    """How gradients are made smaller for the wire."""

    name: Name = Field(description="fp16, bf16, int8, topk or powersgd.")
    density: Annotated[float, Strict(False), Field(gt=0, le=1)] | None = Field(
        default=None, description="topk: share of the gradients that is sent."
    )
    rank: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="powersgd: rank of the two factors."
    )


class ExpertLoadBlock(Block):
    """How unequally experts are chosen: a histogram, or a draw."""

    histogram: (
        Annotated[
            tuple[Annotated[float, Strict(False), Field(ge=0)], ...],
            Strict(False),
            Field(min_length=1, max_length=100_000),
        ]
        | None
    ) = Field(default=None, description="Tokens of each expert, in order; only shares count.")
    alpha: Annotated[float, Strict(False), Field(gt=0)] | None = Field(
        default=None,
        description="Concentration of a symmetric Dirichlet distribution, drawn for each layer by "
        "the seed of the scenario: 1 is uneven, 100 is nearly even.",
    )


class Plan(Block):
    """How ranks divide the work."""

    tp: Degree = Field(default=1, description="Tensor-parallel degree.")
    pp: Degree = Field(default=1, description="Pipeline-parallel degree (stages).")
    cp: Degree = Field(default=1, description="Context-parallel degree.")
    ep: Degree = Field(
        default=1, description="Expert-parallel degree: experts are dealt out over tp * cp * dp."
    )
    etp: Degree | None = Field(
        default=None, description="Tensor-parallel degree of each expert; as tp by default."
    )
    dp: Degree | None = Field(
        default=None,
        description="Data-parallel degree; derived as devices / (tp * pp * cp), then checked.",
    )
    dp_replicas: Degree = Field(
        default=1,
        description="Hybrid sharding: groups of data-parallel ranks that hold all states, sharded "
        "inside each group.",
    )
    schedule: ScheduleName | None = Field(
        default=None,
        description="Pipeline schedule (distsim schedule list), or a path to a CSV of actions as "
        "PyTorch writes them; interleaved where virtual_stages > 1, otherwise 1f1b.",
    )
    virtual_stages: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1, description="Model chunks of each pipeline rank."
    )
    zero_stage: Annotated[int, Field(ge=0, le=3)] = Field(
        default=0,
        description="Sharded over dp: 1 optimizer states, 2 also gradients, 3 also parameters.",
    )
    sequence_parallel: bool = Field(
        default=False, description="Shard activations outside tensor-parallel regions over tp."
    )
    async_tensor: bool = Field(
        default=False,
        description="Cut products into parts that run beside the gathers and scatters of sequence "
        "parallelism.",
    )
    cp_mode: Literal["ring", "all_to_all", "all_gather"] = Field(
        default="ring",
        description="How context-parallel ranks get at all tokens: ring attention, Ulysses, or "
        "gathered keys and values.",
    )
    cp_balanced: bool = Field(
        default=True,
        description="Each context-parallel rank holds an early and a late part (zig-zag).",
    )
    recompute: Annotated[
        Annotated[RecomputeMode, Tag(NAME)] | Annotated[RecomputeBlock, Tag(BLOCK)],
        Discriminator(form),
    ] = Field(
        default="none",
        description="Activations recomputed in the backward pass: none, selective (attention), "
        "alternate (all but attention and every second product), full (layers), or a block that "
        "says which layers, and which parts of them.",
    )
    reshard_after_forward: bool | None = Field(
        default=None,
        description="ZeRO-3 drops parameters after the forward pass and gathers them again; by "
        "default where pp = 1.",
    )
    reduce_each_microbatch: bool | None = Field(
        default=None,
        description="Sharded gradients (ZeRO-2 and 3) leave after every micro batch; by default "
        "where pp = 1. Otherwise whole gradients are kept until the last one.",
    )
    max_gathered: Bytes | None = Field(
        default=None,
        description="Most bytes of gathered parameters at once (ZeRO-3), with unit.",
    )
    grad_compression: Annotated[
        Annotated[Name, Tag(NAME)] | Annotated[CompressionBlock, Tag(BLOCK)], Discriminator(form)
    ] = Field(
        default="none",
        description="Gradients on the wire: none, fp16, bf16, int8, topk or powersgd, by name or "
        "as a block.",
    )
    offload: OffloadBlock | None = Field(
        default=None, description="Model states in the memory or on the drives of the host."
    )
    expert_load: ExpertLoadBlock | None = Field(
        default=None, description="How unequally experts are chosen; equally by default."
    )
    expert_dispatch: Literal["alltoall", "deepep"] = Field(
        default="alltoall",
        description="A token is sent once to each of its experts, or once to each node and rank "
        "that has some of them.",
    )
    overlap_shared_experts: bool = Field(
        default=False, description="Shared experts run beside the all-to-all of the others."
    )
    overlap_grad_reduce: bool | None = Field(
        default=None, description="Reduce gradients during the backward pass; the stack's default."
    )
    overlap_param_gather: bool | None = Field(
        default=None, description="Gather parameters during the forward pass; the stack's default."
    )
    overlap_p2p: bool | None = Field(
        default=None,
        description="Send between pipeline stages during compute; the stack's default.",
    )
    overlap_tensor: bool | None = Field(
        default=None,
        description="Run tensor-parallel collectives beside compute; the stack's default.",
    )
    overlap_experts: bool | None = Field(
        default=None,
        description="Exchange rows of experts beside the kernels of another micro batch; the "
        "stack's default where there is no pipeline or virtual_stages > 1.",
    )
    scatter_gather_p2p: bool = Field(
        default=True,
        description="Each tensor-parallel rank sends 1/tp of a stage's boundary tensor.",
    )
    bucket_size: Bytes | None = Field(
        default=None,
        description="Gradients reduced at once, with unit (25 MB); by default 40 million elements, "
        "or a million a replica if that is more.",
    )
    prefetch_layers: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1, description="Layers whose parameters ZeRO-3 gathers ahead of their use."
    )
    layers_per_stage: (
        Annotated[tuple[Layers, ...], Strict(False), Field(min_length=1, max_length=100_000)] | None
    ) = Field(
        default=None, description="Layers of each stage, or of each model chunk in model order."
    )
    balance: Literal["even", "cost"] = Field(
        default="even",
        description="How layers are divided where nothing else says so: evenly, or so that the "
        "slowest stage, embedding and head included, is as fast as can be.",
    )
    first_stage_layers: Layers | None = Field(
        default=None, description="Layers of the first stage; the others share the rest evenly."
    )
    last_stage_layers: Layers | None = Field(
        default=None, description="Layers of the last stage; the others share the rest evenly."
    )
