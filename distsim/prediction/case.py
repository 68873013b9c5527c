"""A resolved scenario: what `predict` needs beside the program's inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from distsim.engine.noise import Noise
from distsim.program.build import Inputs
from distsim.workload.op import Numerics


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
    resolved : dict
        The plan and names as plain values, for output.
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
    resolved: dict[str, Any]
    warnings: tuple[str, ...] = field(default=())
    peak_flop_per_s: float = 0.0
    noise: Jitter | None = None
