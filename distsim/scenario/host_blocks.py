"""Blocks about the host: offload, loading of batches, checkpoints, evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distsim.scenario.block import Block, Bytes, BytesPerS, Number, Steps


class OffloadBlock(Block):
    """Model states in the memory or on the drives of the host."""

    optimizer: Literal["none", "cpu", "nvme"] = Field(
        default="cpu", description="Optimizer states and gradients; needs zero_stage >= 1."
    )
    parameters: Literal["none", "cpu", "nvme"] = Field(
        default="none", description="Parameters; needs zero_stage: 3 and the optimizer offloaded."
    )
    buffer: Bytes = Field(default=1e9, description="Pinned host memory of a rank, with unit.")
    delayed_update: bool = Field(
        default=False, description="The update runs beside the next step, one step late."
    )


class LoadingBlock(Block):
    """How batches are loaded: exactly one rate, of one node."""

    samples_per_s: Number | None = Field(default=None, description="Sequences a node loads.")
    tokens_per_s: Number | None = Field(default=None, description="Tokens a node loads.")
    bandwidth: BytesPerS | None = Field(default=None, description="Bytes a node loads, with unit.")
    sample_size: Bytes | None = Field(
        default=None, description="Size of a sequence as stored, with bandwidth."
    )
    prefetch: bool = Field(default=True, description="Load the next batch during the step.")


class CheckpointBlock(Block):
    """How checkpoints are written."""

    every_steps: Steps = Field(description="Steps from one checkpoint to the next.")
    mode: Literal["sync", "async", "overlapped"] = Field(
        default="async",
        description="Wait for the storage, for the copy to the host, or for what of it is left "
        "after the next step.",
    )
    writers: Literal["all", "first_replica"] = Field(
        default="all", description="Every device its shard, or those of one replica."
    )
    bandwidth: BytesPerS = Field(description="What one writing node reaches, with unit.")
    total_bandwidth: BytesPerS | None = Field(
        default=None, description="What the storage takes from all nodes together."
    )


class EvaluationBlock(Block):
    """How often the model is evaluated."""

    every_steps: Steps = Field(description="Training steps from one evaluation to the next.")
    batches: Number = Field(description="Global batches in one evaluation.")
