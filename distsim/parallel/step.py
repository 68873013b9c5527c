"""What a rank does inside one pass over a layer: kernels and the communication between them."""

from __future__ import annotations

from dataclasses import dataclass

from distsim.workload.op import Work


@dataclass(frozen=True, slots=True)
class Collective:
    """A collective over the tensor-parallel group.

    Attributes
    ----------
    name : str
        ``all_reduce``, ``all_gather`` or ``reduce_scatter``.
    size_bytes : float
        Size of the whole array, as nccl-tests counts it.
    """

    name: str
    size_bytes: float


@dataclass(frozen=True, slots=True)
class Step:
    """Kernels in order, and at most one collective before them or beside them.

    Attributes
    ----------
    op : str
        Operator that causes the step, for reports.
    works : tuple of Work
        Kernels of one rank, already divided.
    collective : Collective or None
    beside : bool
        The collective runs at the same time as the kernels; otherwise before them.
    """

    op: str
    works: tuple[Work, ...] = ()
    collective: Collective | None = None
    beside: bool = False


@dataclass(frozen=True, slots=True)
class Unit:
    """A layer, the embedding or the head on one rank: the grain of buckets and gathers.

    Attributes
    ----------
    name : str
        ``embedding``, ``layer`` or ``head``.
    forward, backward : tuple of Step
    parameters : float
        Parameters that one rank of the tensor-parallel group holds.
    saved_bytes : float
        Activations of one micro batch kept from forward to backward.
    working_bytes : float
        Activations alive only while the unit runs (what recomputation brings back).
    """

    name: str
    forward: tuple[Step, ...]
    backward: tuple[Step, ...]
    parameters: float
    saved_bytes: float
    working_bytes: float = 0.0
