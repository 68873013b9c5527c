"""A resolved scenario: what `predict` needs beside the program's inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from distsim.engine.noise import Noise
from distsim.prediction.overheads import Checkpoint, Evaluation, Loading
from distsim.program.build import Inputs
from distsim.workload.footprint import Footprint
from distsim.workload.network import Model
from distsim.workload.op import Numerics
from distsim.workload.shape import Shape


@dataclass(frozen=True, slots=True)
class Jitter:
    """Steps to draw.

    Attributes
    ----------
    noise : Noise
    samples, seed : int
    """

    noise: Noise
    samples: int
    seed: int


@dataclass(frozen=True, slots=True)
class Rest:
    """What comes beside the optimizer step.

    Attributes
    ----------
    loading, checkpoint, evaluation : Loading, Checkpoint, Evaluation or None
    """

    loading: Loading | None = None
    checkpoint: Checkpoint | None = None
    evaluation: Evaluation | None = None

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return any(p is not None for p in (self.loading, self.checkpoint, self.evaluation))


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario with every name looked up and every default filled in.

    Attributes
    ----------
    tokens : float
        Tokens in one step, over all devices.
    model_flop, hardware_flop : float
        FLOP of one step without and with recomputation, over all devices.
    optimizer_bytes : tuple of tuple of float
        Bytes of optimizer state of one rank of each stage, before sharding, for each domain of
        data-parallel ranks.
    parameters : int
        Parameters of the whole model.
    peak_flop_per_s : float
        Dense peak of all devices together.
    noise : Jitter or None
        What varies at random from step to step.
    rest : Rest
        Loading, checkpoints, evaluation.
    network : Model
        The model, as written: without padding of its vocabulary.
    shapes : tuple of Shape
        Kinds of micro batches.
    resolved : dict
        The plan and names as plain values, for output.
    footprint : Footprint
        What the stack allocates beside model states and kept activations.
    """

    name: str
    model: str
    inputs: Inputs
    numerics: Numerics
    tokens: float
    model_flop: float
    hardware_flop: float
    optimizer_bytes: tuple[tuple[float, ...], ...]
    parameters: int
    evaluator: str
    network: Model
    shapes: tuple[Shape, ...]
    resolved: dict[str, Any]
    warnings: tuple[str, ...] = field(default=())
    peak_flop_per_s: float = 0.0
    noise: Jitter | None = None
    rest: Rest = field(default_factory=Rest)
    footprint: Footprint = field(default_factory=Footprint)
