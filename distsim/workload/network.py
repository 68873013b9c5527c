"""What every model family answers, whatever it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from distsim.record import record
from distsim.workload.op import Op
from distsim.workload.shape import Shape


@record
class Blocks:
    """The operators of a model for one micro batch on one rank's samples.

    Attributes
    ----------
    layers : tuple of str
        Kind of each layer in forward order, a key of `kinds`: what recomputation, sharding and
        pipelines take as a unit.
    kinds : mapping of str to tuple of Op
    embedding, head : tuple of Op
        What comes before the first and after the last layer, the loss included.
    region_elements : float
        Elements of the array that passes from layer to layer.
    """

    layers: tuple[str, ...]
    kinds: Mapping[str, tuple[Op, ...]]
    embedding: tuple[Op, ...]
    head: tuple[Op, ...]
    region_elements: float


class Model(Protocol):
    """A model of some family.

    A sample is a sequence of tokens, an image, or a row of features; `length` is its tokens or time
    steps, and 1 where there is no such thing.
    """

    def __hash__(self) -> int:
        """Return a hash: models are values, and what is made of one is kept for its like."""
        ...

    @property
    def name(self) -> str:
        """Name for reports."""
        ...

    @property
    def family(self) -> str:
        """Key of the registry of families."""
        ...

    @property
    def layers(self) -> int:
        """Layers, as many as `Blocks.layers` has."""
        ...

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters."""
        ...

    @property
    def default_length(self) -> int:
        """Tokens or time steps of a sample where nothing else is said."""
        ...

    @property
    def divisions(self) -> Mapping[str, int]:
        """What a tensor-parallel degree must divide; empty: the family is not divided so."""
        ...

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of each part."""
        ...

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch."""
        ...

    def forward_flop(self, length: int) -> float:
        """FLOP of the forward pass of one sample: every product counts, in full."""
        ...

    def model_flop(self, length: int) -> float:
        """FLOP of forward and backward for one sample, without recomputation."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, counts of parameters included."""
        ...
