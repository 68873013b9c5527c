"""What a stage does, and where its actions stand among the tasks of a class of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

import numpy as np
import numpy.typing as npt

from distsim.parallel.data import DataParallel
from distsim.parallel.stages import Chunk
from distsim.program.segment import Cost
from distsim.record import record
from distsim.schedule import Actions

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Row of `ClassProgram.begin` for each kind of action: forward; backward or input gradient; weight
#: gradient.
ROW = np.asarray([0, 1, 2, 1])


@record
class Hook:
    """Tasks that wait for parameters, or whose gradients are ready, in program order.

    Attributes
    ----------
    task : int64[n]
    amount : float64[n]
        Parameters.
    """

    task: Ints
    amount: Floats


@record
class ClassProgram:
    """Tasks of one class of ranks on its compute stream, in order.

    Attributes
    ----------
    index, rank, stage : int
        Class, an example rank, its pipeline stage.
    stream, first, count : int
        Compute stream; number of its first task; number of tasks.
    begin, end : int64[3, chunks, microbatches]
        First and last task of each action, -1 where there is none: row 0 forward, 1 backward or
        input gradient, 2 weight gradient.
    gathers, reduces : tuple of Hook
        For each domain of the data-parallel ranks.
    parameters : tuple of float
        Parameters of each domain that one rank holds.
    before, after : int64[edges]
        Order of the tasks, counted from `first`.
    """

    index: int
    rank: int
    stage: int
    stream: int
    first: int
    count: int
    begin: Ints
    end: Ints
    gathers: tuple[Hook, ...]
    reduces: tuple[Hook, ...]
    parameters: tuple[float, ...]
    before: Ints
    after: Ints

    @property
    def last(self) -> int:
        """Return the last task of the compute stream."""
        return self.first + self.count - 1


@record
class Work:
    """What a stage does, whatever its class: chunks, order, data parallelism.

    Attributes
    ----------
    stage : int
    variants : sequence of sequence of Chunk
        ``[variant][chunk]``: chunks as micro batches of each shape run them.
    variant_of : int64[microbatches]
    order : Actions
    batches : int
        Optimizer steps that the order spans; their micro batches follow one another.
    data : DataParallel
    between : Cost
        What runs after every batch but the last (an update without a flush).
    restart_s : float
        Time at the start of every action in which the device waits for the host.
    """

    stage: int
    variants: Sequence[Sequence[Chunk]]
    variant_of: Ints
    order: Actions
    batches: int
    data: DataParallel
    between: Cost = field(default_factory=Cost)
    restart_s: float = 0.0

    @property
    def chunks(self) -> int:
        """Model chunks of the stage."""
        return len(self.variants[0])


__all__ = ["ROW", "ClassProgram", "Hook", "Work"]
