"""What a scenario may say: its blocks, their keys, types, limits and defaults.

Every block refuses unknown keys and converts nothing: ``true`` is not 1 and ``"8"`` is not 8.
What one block alone cannot know (a plan that multiplies out, a name that exists) is checked where
it is resolved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PrivateAttr,
    Strict,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from distsim.errors import DistsimError, Place
from distsim.positions import Path, Positions
from distsim.units import parse

#: Devices beyond any cluster; keeps a slip of the hand from filling memory.
MOST_DEVICES = 1_000_000
#: Sequences of a global batch, tokens of a sequence: above the largest published by far.
MOST_SEQUENCES = 10_000_000
MOST_TOKENS = 100_000_000

#: Tags of the two forms of a value that is a name or a block; they appear in pydantic's paths.
NAME, BLOCK = "<name>", "<block>"

Precision = Literal["bf16", "fp16", "fp32", "tf32"]
StoredType = Literal["bf16", "fp16", "fp32"]
OptimizerName = Literal["adam", "adamw"]
PlacementKind = Literal["packed", "strided", "random"]


def _form(value: object) -> str:
    return BLOCK if isinstance(value, Mapping | BaseModel) else NAME


def _bytes(value: object) -> float:
    try:
        return parse(value, "bytes")
    except DistsimError as error:
        # pydantic collects ValueErrors only; `problems` takes this one out again.
        raise PydanticCustomError("distsim", "bad quantity", {"error": error}) from None


def _seconds(value: object) -> float:
    try:
        return parse(value, "s")
    except DistsimError as error:
        raise PydanticCustomError("distsim", "bad quantity", {"error": error}) from None


def _text_of_seconds(value: float) -> str:
    return f"{value:.17g} s"


def _text_of_bytes(value: float | None) -> str | None:
    return None if value is None else f"{value:.17g} B"


Name = Annotated[str, Field(min_length=1, max_length=1000)]
NameOrBlock = Annotated[
    Annotated[Name, Tag(NAME)] | Annotated[dict[str, Any], Tag(BLOCK)], Discriminator(_form)
]
Degree = Annotated[int, Field(ge=1, le=MOST_DEVICES)]
Layers = Annotated[int, Field(ge=0, le=1_000_000)]
Bytes = Annotated[
    float,
    BeforeValidator(_bytes),
    PlainSerializer(_text_of_bytes),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\s*\+?[0-9.]+([eE][-+]?[0-9]+)?\s*[kMGTPE]?i?(B|bit)\s*$"}
    ),
]

Time = Annotated[
    float,
    BeforeValidator(_seconds),
    PlainSerializer(_text_of_seconds),
    WithJsonSchema({"type": "string", "pattern": r"^\s*\+?[0-9.]+([eE][-+]?[0-9]+)?\s*\w+\s*$"}),
]


class Block(BaseModel):
    """A block of a scenario: frozen, without conversions or unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


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
    of: Degree | None = Field(
        default=None,
        description="Devices of the whole cluster, of which the job uses some; as many by default.",
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


class Plan(Block):
    """How ranks divide the work."""

    tp: Degree = Field(default=1, description="Tensor-parallel degree.")
    pp: Degree = Field(default=1, description="Pipeline-parallel degree (stages).")
    cp: Degree = Field(default=1, description="Context-parallel degree.")
    ep: Degree = Field(default=1, description="Expert-parallel degree.")
    dp: Degree | None = Field(
        default=None,
        description="Data-parallel degree; derived as devices / (tp * pp * cp), then checked.",
    )
    schedule: Literal["gpipe", "1f1b", "interleaved"] | None = Field(
        default=None,
        description="Pipeline schedule; interleaved where virtual_stages > 1, otherwise 1f1b.",
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
    recompute: Literal["none", "selective", "full"] = Field(
        default="none",
        description="Activations recomputed in the backward pass: none, attention, layers.",
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
    scatter_gather_p2p: bool = Field(
        default=True,
        description="Each tensor-parallel rank sends 1/tp of a stage's boundary tensor.",
    )
    bucket_size: Bytes | None = Field(
        default=None,
        description="Gradients reduced at once, with unit (25 MB); one bucket by default.",
    )
    prefetch_layers: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1, description="Layers whose parameters ZeRO-3 gathers ahead of their use."
    )
    layers_per_stage: (
        Annotated[tuple[Layers, ...], Strict(False), Field(min_length=1, max_length=100_000)] | None
    ) = Field(
        default=None, description="Layers of each stage, or of each model chunk in model order."
    )
    first_stage_layers: Layers | None = Field(
        default=None, description="Layers of the first stage; the others share the rest evenly."
    )
    last_stage_layers: Layers | None = Field(
        default=None, description="Layers of the last stage; the others share the rest evenly."
    )


class PrecisionBlock(Block):
    """Types of numbers."""

    compute: Precision = Field(description="Type of matrix products.")
    gradients: StoredType | None = Field(
        default=None, description="Type of the gradient buffer; the stack's default."
    )
    master_weights: bool | None = Field(
        default=None, description="Keep an fp32 copy of the weights; the stack's default."
    )
    grad_communication: StoredType | None = Field(
        default=None, description="Type of gradients on the wire; the stack's default."
    )


class OptimizerBlock(Block):
    """The optimizer."""

    name: OptimizerName = Field(description="Which optimizer.")
    clip_grad_norm: bool = Field(
        default=True, description="Clip by the global norm, which waits for all gradients."
    )


class Scenario(Block):
    """One training job on one cluster: what `distsim.scenario.load.load` returns.

    Scenarios are values: frozen, equal and of one hash where their contents are.
    """

    schema_version: Annotated[int, Field(ge=1, le=1)] = Field(
        default=1, alias="schema", description="Version of this format."
    )
    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        description="Name for reports."
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(
        default=0, description="Seed of everything random."
    )
    cluster: Cluster = Field(description="The hardware.")
    model: NameOrBlock = Field(
        description="Catalogue name, path to a Hugging Face config.json, or an inline block."
    )
    batch: Batch = Field(description="What one optimizer step trains on.")
    plan: Plan = Field(default_factory=Plan, description="How ranks divide the work.")
    precision: Annotated[
        Annotated[Precision, Tag(NAME)] | Annotated[PrecisionBlock, Tag(BLOCK)],
        Discriminator(_form),
    ] = Field(default="bf16", description="Compute type, or a block of types.")
    optimizer: Annotated[
        Annotated[OptimizerName, Tag(NAME)] | Annotated[OptimizerBlock, Tag(BLOCK)],
        Discriminator(_form),
    ] = Field(default="adam", description="Optimizer, by name or as a block.")
    stack: NameOrBlock | None = Field(
        default=None, description="Software stack, by name or as a block of changes; megatron-core."
    )
    evaluator: Literal["auto", "graph", "event"] = Field(
        default="auto", description="Evaluator: auto takes the cheapest valid one."
    )

    _positions: Positions = PrivateAttr(default_factory=Positions)

    @property
    def source(self) -> str:
        """File that the scenario was read from; empty for one that was built in Python."""
        return self._positions.file

    @property
    def positions(self) -> Positions:
        """Where the values stand in the file."""
        return self._positions

    def place(self, path: Path) -> Place | None:
        """Return where the value at `path` stands, or its nearest ancestor; None if nowhere."""
        return self._positions.place(path)

    def beside(self, name: str) -> str:
        """Return a path that stands in the scenario, seen from the scenario's own directory.

        A word without a separator or a YAML or JSON suffix is a name, no path, and stays.
        """
        is_path = "/" in name or os.sep in name or name.endswith((".yaml", ".yml", ".json"))
        return os.path.join(self._positions.directory, name) if is_path else name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, defaults included, that load back to an equal scenario."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def with_(self, **changes: Any) -> Scenario:
        """Return a scenario with some values changed, checked anew.

        Mappings are merged into what is there, anything else replaces it:
        ``s.with_(plan={"tp": 4}, cluster={"devices": 64})``.

        Raises
        ------
        ValueProblem
            As `distsim.scenario.load.load`.
        """
        from distsim.scenario.load import changed

        return changed(self, changes)

    def _key(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Scenario) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def at(self, positions: Positions) -> Self:
        """Return a copy of this scenario that knows the places of its values."""
        copy = self.model_copy()
        copy._positions = positions
        return copy
