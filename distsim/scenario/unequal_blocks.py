"""Blocks for what is not alike: devices, links, and steps that vary at random."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Strict, Tag

from distsim.scenario.block import Block, Name, Time

NoiseKind = Literal["lognormal", "normal", "gamma", "none"]

Node = Annotated[int, Field(ge=0)]

#: A device number, or a text such as ``devices 8:16`` or ``node 3``.
Chosen = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1, max_length=1000)]


def _list(value: object) -> str:
    return "<list>" if isinstance(value, list | tuple) else "<one>"


#: One of them, or a list.
ChosenDevices = Annotated[
    Annotated[Chosen, Tag("<one>")]
    | Annotated[
        tuple[Chosen, ...], Strict(False), Field(min_length=1, max_length=100_000), Tag("<list>")
    ],
    Discriminator(_list),
]


class UnequalDevices(Block):
    """Some devices that are not like the others."""

    devices: ChosenDevices = Field(
        description="Which: numbers, devices 8:16 (8 to 15), devices ::8 (every eighth), node 3, "
        "nodes 2:4; one, several with commas, or a list. A bare range needs quotes in YAML."
    )
    speed: Annotated[float, Field(gt=0, le=10)] = Field(
        default=1.0, description="Rate of their kernels over that of an ordinary device (0.8)."
    )
    device: Name | None = Field(
        default=None, description="Their type; by default that of the cluster."
    )


class SlowLinks(Block):
    """Some links that are slow; exactly one of link_class, pattern and between says which."""

    link_class: Name | None = Field(default=None, description="All links of a class (rail).")
    pattern: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description='Links by their names, with * and ?: "n3.nic0->*". Each direction is one link.',
    )
    between: (
        Annotated[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], Strict(False)]
        | None
    ) = Field(
        default=None,
        description="Two nodes: the links outside of both on the routes between their devices.",
    )
    bandwidth: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="What is left of the bandwidth (0.5)."
    )
    latency: Time = Field(default=0.0, description="Latency that is added, with unit (2 us).")


class NoiseBlock(Block):
    """What varies at random from step to step; the answer is then a distribution of step times."""

    kind: NoiseKind = Field(
        default="lognormal", description="Distribution of the factors on kernel times (mean 1)."
    )
    sigma: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="Standard deviation of the factor on the kernels of one task."
    )
    device_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Part of the variance that a device has for the whole step; the rest is drawn "
        "for each task.",
    )
    slow_probability: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="Probability that a device is slow for a whole step."
    )
    slow_factor: Annotated[float, Field(ge=1, le=1000)] = Field(
        default=1.0, description="How many times as long its kernels take then (1.5)."
    )
    transfer_sigma: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="Standard deviation of the factor on the time of a transfer."
    )
    samples: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=200, description="Steps that are drawn; the scenario's seed is that of the draws."
    )
