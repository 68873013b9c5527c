"""Everything that a step is made of, before it becomes an op graph."""

from __future__ import annotations

from dataclasses import field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from distsim.hardware.device import Device
from distsim.hardware.topology import Topology
from distsim.parallel.data import DataParallel
from distsim.parallel.plan import Plan
from distsim.parallel.stages import Chunk
from distsim.program.offload import Offloading
from distsim.program.tail import Update
from distsim.record import record
from distsim.schedule import Actions, actions

Ints = npt.NDArray[np.int64]


@record
class Variant:
    """What micro batches of one shape do.

    Attributes
    ----------
    chunks : list of list of Chunk
        ``[stage][chunk]``.
    boundary_bytes : float
        Bytes one rank sends to the next stage for one micro batch.
    """

    chunks: list[list[Chunk]]
    boundary_bytes: float


@record
class Inputs:
    """Everything that a step is made of.

    Attributes
    ----------
    variants : tuple of Variant
        Shapes of micro batches; all have the same parameters.
    update : Update
        The optimizer step.
    devices : tuple of Device
        Kinds of devices; the first is the ordinary one.
    dtype : str
        Type of the matrix products.
    device_of : int64[ranks]
        Device of each rank.
    kind_of : int64[ranks]
        Kind of each rank's device, an index into `devices`; empty: all are ordinary.
    variant_of : int64[microbatches]
        Variant of each micro batch; empty: all are of the first.
    batches : int
        Optimizer steps that are simulated in a row (more than one where a schedule does not
        flush).
    offloading : Offloading or None
        What is on the hosts.
    restart_s : float
        Time at the start of every pass through a model chunk in which the device waits for the
        host, because the exchange before it blocked.
    """

    plan: Plan
    data: DataParallel
    variants: tuple[Variant, ...]
    update: Update
    devices: tuple[Device, ...]
    topology: Topology
    dtype: str
    device_of: Ints
    kind_of: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    variant_of: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    batches: int = 1
    offloading: Offloading | None = None
    restart_s: float = 0.0

    @property
    def device(self) -> Device:
        """The ordinary device."""
        return self.devices[0]

    @property
    def chunks(self) -> list[list[Chunk]]:
        """Chunks of the first variant, ``[stage][chunk]``."""
        return self.variants[0].chunks

    @property
    def boundary_bytes(self) -> float:
        """The most bytes that one rank sends to the next stage for one micro batch."""
        return max(v.boundary_bytes for v in self.variants)

    def kinds(self) -> Ints:
        """Return the kind of each rank's device, shape (ranks,)."""
        given = self.kind_of
        return given if len(given) else np.zeros(len(self.device_of), dtype=np.int64)

    def variants_of(self) -> Ints:
        """Return the variant of each micro batch of all batches, shape (microbatches,)."""
        each = self.variant_of
        if not len(each):
            each = np.zeros(self.plan.microbatches, dtype=np.int64)
        return each if self.batches == 1 else np.tile(each, self.batches)

    def orders(self) -> tuple[Actions, ...]:
        """Return the schedule's actions of each stage, through all batches."""
        plan = self.plan
        count = plan.microbatches * self.batches
        return actions(plan.pipeline, plan.pp, count, plan.virtual_stages)

    def roles(self) -> Ints:
        """Return a number for what each rank does: its stage and the kind of its device."""
        if not len(self.kind_of) or len(self.devices) == 1:
            return _stages(self.plan.devices, self.plan.pp)
        return self.plan.mesh().stage_of() + self.plan.pp * self.kinds()


@lru_cache(maxsize=256)
def _stages(ranks: int, stages: int) -> Ints:
    """Return the pipeline stage of each rank, the same array for the same mesh."""
    out = np.arange(ranks) // (ranks // stages)
    out.flags.writeable = False
    return out
