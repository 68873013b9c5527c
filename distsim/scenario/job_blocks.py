"""The blocks of a scenario beside its plan: hardware, batch, types of numbers, optimizer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from distsim.scenario.block import (
    MOST_SEQUENCES,
    MOST_TOKENS,
    Block,
    Degree,
    Name,
    NameOrBlock,
)
from distsim.scenario.unequal_blocks import SlowLinks, UnequalDevices

Precision = Literal["bf16", "fp16", "fp32", "tf32", "fp8"]
StoredType = Literal["bf16", "fp16", "fp32"]
OptimizerName = Literal["adam", "adamw", "sgd", "momentum", "lamb", "adafactor", "muon", "lion"]
PlacementKind = Literal["packed", "strided", "random"]


class Cluster(Block):
    """The hardware."""

    topology: NameOrBlock = Field(
        description="Name of a shipped topology, a path to a topology file, or an inline block."
    )
    devices: Degree = Field(description="Number of devices that the job uses.")
    device: Name | None = Field(
        default=None, description="Device type to put in place of the topology's own."
    )
    library: NameOrBlock | None = Field(
        default=None,
        description="Communication library in place of the topology's own: a name, a path, or "
        "{profile, startup, algorithms, protocols}; ideal adds nothing to the links.",
    )
    host: Name | None = Field(
        default=None,
        description="Host of the devices, by name or file; by default that of the device.",
    )
    profile: Name | None = Field(
        default=None,
        description="File that distsim calibrate wrote: numbers of the device, links, library and "
        "software that replace the shipped ones.",
    )
    of: Degree | None = Field(
        default=None,
        description="Devices of the whole cluster, of which the job uses some; as many by default.",
    )
    unequal: Annotated[tuple[UnequalDevices, ...], Strict(False), Field(max_length=10_000)] = Field(
        default=(), description="Devices that are slower, faster or of another type."
    )
    slow_links: Annotated[tuple[SlowLinks, ...], Strict(False), Field(max_length=10_000)] = Field(
        default=(), description="Links that are slower than their class says."
    )
    placement: PlacementKind = Field(
        default="packed",
        description="How ranks are laid on devices: packed fills nodes one after another, strided "
        "deals consecutive ranks to different nodes, random takes any devices by the seed.",
    )


class Batch(Block):
    """What one optimizer step trains on."""

    global_size: int = Field(
        ge=1, le=MOST_SEQUENCES, description="Sequences in one step, over all replicas."
    )
    micro_size: int = Field(
        default=1,
        ge=1,
        le=MOST_SEQUENCES,
        description="Sequences in one micro batch of one replica.",
    )
    sequence_length: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = Field(
        default=None, description="Tokens of a sequence; by default the model's maximum."
    )
    lengths: Any = Field(
        default=None,
        description="Histogram of sequence lengths: [length, weight] or [low, high, weight] each.",
    )
    batching: Literal["padded", "bucketed", "packed"] = Field(
        default="padded", description="How sequences of different lengths become micro batches."
    )
    pad_to: Literal["longest", "sequence_length"] = Field(
        default="longest", description="How long padded rows are."
    )
    pad_multiple: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=8, description="Padded lengths are multiples of this."
    )
    bucket_edges: (
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=MOST_TOKENS)], ...],
            Strict(False),
            Field(min_length=1, max_length=1000),
        ]
        | None
    ) = Field(default=None, description="Lengths to which buckets are padded, ascending.")
    packing: Literal["first_fit", "ideal"] = Field(
        default="first_fit", description="Whole sequences by first fit, or rows without padding."
    )
    draw_lengths: bool = Field(
        default=False, description="Draw lengths by the seed, not parts of the distribution."
    )


class PrecisionBlock(Block):
    """Types of numbers."""

    compute: Precision = Field(description="Type of matrix products; fp8 beside bf16.")
    fp8: Name | None = Field(
        default=None,
        description="Linear layers in fp8 beside 16 bit: how tensors are scaled (delayed, current, "
        "blockwise, mxfp8); delayed where compute is fp8.",
    )
    gradients: StoredType | None = Field(
        default=None, description="Type of the gradient buffer; the stack's default."
    )
    master_weights: bool | None = Field(
        default=None, description="Keep an fp32 copy of the weights; the stack's default."
    )
    param_communication: Literal["bf16", "fp16", "fp32", "fp8"] | None = Field(
        default=None,
        description="Type of parameters on the wire (ZeRO); by default that of the products.",
    )
    grad_communication: StoredType | None = Field(
        default=None, description="Type of gradients on the wire; the stack's default."
    )


class OptimizerBlock(Block):
    """The optimizer."""

    name: OptimizerName = Field(description="Which optimizer.")
    moments: Name | None = Field(
        default=None, description="Type of the optimizer's moments: fp32, bf16 or int8."
    )
    clip_grad_norm: bool = Field(
        default=True, description="Clip by the global norm, which waits for all gradients."
    )
