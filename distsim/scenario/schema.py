"""What a scenario may say: its blocks, their keys, types, limits and defaults.

What one block alone cannot know (a plan that multiplies out, a name that exists) is checked where
it is resolved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PrivateAttr, Tag

from distsim.errors import Place
from distsim.files import is_there
from distsim.positions import Path, Positions
from distsim.scenario.block import (
    BLOCK,
    NAME,
    Block,
    Bytes,
    Degree,
    Layers,
    Name,
    NameOrBlock,
    Time,
    form,
)
from distsim.scenario.host_blocks import (
    CheckpointBlock,
    EvaluationBlock,
    LoadingBlock,
    OffloadBlock,
)
from distsim.scenario.job_blocks import (
    Batch,
    Cluster,
    OptimizerBlock,
    OptimizerName,
    PlacementKind,
    Precision,
    PrecisionBlock,
)
from distsim.scenario.plan_block import CompressionBlock, ExpertLoadBlock, Plan, RecomputeBlock
from distsim.scenario.unequal_blocks import NoiseBlock, SlowLinks, UnequalDevices


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
        Discriminator(form),
    ] = Field(default="bf16", description="Compute type, or a block of types.")
    optimizer: Annotated[
        Annotated[OptimizerName, Tag(NAME)] | Annotated[OptimizerBlock, Tag(BLOCK)],
        Discriminator(form),
    ] = Field(default="adam", description="Optimizer, by name or as a block.")
    stack: NameOrBlock | None = Field(
        default=None, description="Software stack, by name or as a block of changes; megatron-core."
    )
    loading: LoadingBlock | None = Field(default=None, description="How batches are loaded.")
    checkpoint: CheckpointBlock | None = Field(
        default=None, description="How checkpoints are written."
    )
    evaluation: EvaluationBlock | None = Field(
        default=None, description="How often the model is evaluated."
    )
    noise: NoiseBlock | None = Field(
        default=None, description="Random variation of kernels and transfers; none by default."
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

        A word without a separator or a YAML, JSON or CSV suffix is a name, no path, and stays.
        """
        is_path = "/" in name or os.sep in name or name.endswith((".yaml", ".yml", ".json", ".csv"))
        return os.path.join(self._positions.directory, name) if is_path else name

    def located(self, name: str) -> str:
        """Return the path of a file beside the scenario if one is there, else the name itself."""
        near = self.beside(name)
        return near if near != name and is_there(near) else name

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

    @classmethod
    def placed(cls, data: Mapping[str, Any], positions: Positions) -> Self:
        """Return the scenario of plain values that stand at these places.

        Raises
        ------
        pydantic.ValidationError
        """
        made = cls.model_validate(data)
        made._positions = positions
        return made

    def at(self, positions: Positions) -> Self:
        """Return a copy of this scenario that knows the places of its values."""
        copy = self.model_copy()
        copy._positions = positions
        return copy


__all__ = [
    "BLOCK",
    "NAME",
    "Batch",
    "Block",
    "Bytes",
    "CheckpointBlock",
    "Cluster",
    "CompressionBlock",
    "Degree",
    "EvaluationBlock",
    "ExpertLoadBlock",
    "Layers",
    "LoadingBlock",
    "Name",
    "NameOrBlock",
    "NoiseBlock",
    "OffloadBlock",
    "OptimizerBlock",
    "PlacementKind",
    "Plan",
    "PrecisionBlock",
    "RecomputeBlock",
    "Scenario",
    "SlowLinks",
    "Time",
    "UnequalDevices",
]
