"""What a pipeline schedule is: the order of work of every stage, and where the model's parts lie.

A model is cut into model chunks, numbered in the order in which activations pass through them. A
stage (a pipeline rank) holds one or more of them; the schedule says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from distsim.record import record
from distsim.schedule.actions import Actions

#: ``[stage][chunk]`` -> number of the model chunk.
Placement = tuple[tuple[int, ...], ...]


class Order(Protocol):
    """Order of work: one `Actions` for each stage."""

    def __call__(self, stages: int, microbatches: int, virtual_stages: int) -> Sequence[Actions]:
        """Return the actions of each stage."""
        ...


class Bubble(Protocol):
    """Closed form of bubble over ideal time.

    The times are those of one micro batch through all chunks of one stage: forward pass, input
    gradient, weight gradient.
    """

    def __call__(
        self,
        stages: int,
        microbatches: int,
        virtual_stages: int,
        forward_s: float = 1.0,
        input_s: float = 1.0,
        weight_s: float = 1.0,
    ) -> float:
        """Return bubble over ideal time."""
        ...


@lru_cache(maxsize=1024)
def looped(stages: int, chunks: int) -> Placement:
    """Chunk c of stage s is model chunk c p + s (Narayanan 2021, section 2.2.2)."""
    return tuple(tuple(c * stages + s for c in range(chunks)) for s in range(stages))


@lru_cache(maxsize=1024)
def v_shaped(stages: int, chunks: int) -> Placement:
    """Down and up again: even chunks go from first to last stage, odd ones back.

    The first and the last model chunk then lie on the first stage (Qi 2023, section 6).
    """
    return tuple(
        tuple(c * stages + (s if c % 2 == 0 else stages - 1 - s) for c in range(chunks))
        for s in range(stages)
    )


@record
class Schedule:
    """One pipeline schedule.

    Attributes
    ----------
    name : str
    order : Order
    bubble : Bubble
        Bubble over ideal time; a lower bound where sends take time.
    chunks : int or None
        Chunks that a stage always holds under this schedule; None = as many as
        ``virtual_stages`` says.
    placement : callable
        ``(stages, chunks) -> Placement``.
    replicas : int
        Copies of the model among the stages. With 2 (DualPipe), chunks are numbered through all
        copies: those of copy r are ``r * n .. (r + 1) * n - 1``, and each has micro batches of its
        own.
    flush : bool
        The pipeline drains before the optimizer step. False: batches follow each other without a
        bubble, on weights that are one step old.
    weight_versions : int
        Copies of the weights that a stage keeps (PipeDream-2BW: 2).
    summary : str
        One line for lists.
    source : str
        Paper and section.
    """

    name: str
    order: Order
    bubble: Bubble
    summary: str
    source: str
    chunks: int | None = 1
    placement: Callable[[int, int], Placement] = looped
    replicas: int = 1
    flush: bool = True
    weight_versions: int = 1

    def __hash__(self) -> int:
        # Of all that is equal in equal ones, what is quick to hash.
        return hash((self.name, self.order))
