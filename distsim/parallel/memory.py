"""Memory of one rank: model states, activations in flight, buffers.

Model states a parameter (Rajbhandari 2020, section 3.1): weights, gradients and optimizer, each
divided over the data-parallel group by the ZeRO stage. Activations: what each model chunk keeps
for a micro batch times the micro batches in flight there, which the schedule decides.

Everything here is a closed form: each part at its own peak, whenever that is, so that their sum is
an upper bound. `distsim.prediction.memory_timeline` says what is there at one time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distsim.parallel.data import DataParallel, Domain, shards
from distsim.parallel.offload import Offload
from distsim.parallel.plan import Plan
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Unit
from distsim.workload.footprint import Footprint
from distsim.workload.op import Numerics

#: Buffers of one boundary between stages: sent and received, forward and backward.
SEND_BUFFERS = 4
NOTHING = Offload()
PLAIN = Footprint()
#: Gaps between blocks of PyTorch's caching allocator over what it has handed out: mean of 39
#: training steps on one H100 with PyTorch 2.11, from 0.01 to 0.16 (benchmarks/gpu/measured,
#: benchmarks/fit_fragmentation.py). Stacks of older releases state their own.
FRAGMENTATION = 0.04


@dataclass(frozen=True, slots=True)
class Buffers:
    """Bytes that one rank of a stage needs for a while, each at its own peak.

    Attributes
    ----------
    working_bytes : float
        Activations that recomputation brings back for one unit.
    gathered_bytes : tuple of float
        Parameters of sharded units that are whole for a while, of each domain.
    bucket_bytes : tuple of float
        Gradients on their way to be reduced and scattered, of each domain.
    boundary_bytes : float
        What one of `SEND_BUFFERS` holds; 0 without a pipeline.
    compression_bytes : float
        What compression keeps of gradients from step to step.
    reserved_bytes : float
        What the runtime takes before the first tensor: context and communication library.
    """

    working_bytes: float = 0.0
    gathered_bytes: tuple[float, ...] = ()
    bucket_bytes: tuple[float, ...] = ()
    boundary_bytes: float = 0.0
    compression_bytes: float = 0.0
    reserved_bytes: float = 0.0

    @property
    def passing_bytes(self) -> float:
        """What passes need and nothing else does."""
        return (
            self.working_bytes
            + sum(self.gathered_bytes)
            + sum(self.bucket_bytes)
            + SEND_BUFFERS * self.boundary_bytes
        )

    @property
    def total_bytes(self) -> float:
        """Sum of all."""
        return self.passing_bytes + self.compression_bytes + self.reserved_bytes


@dataclass(frozen=True, slots=True)
class Update:
    """Bytes that one rank of a stage needs while the optimizer updates its share.

    Attributes
    ----------
    arrays_bytes : float
        What is there at once.
    flat_bytes : float
        What of it is in arrays as large as the share.
    norm_bytes : float
        The largest gradient in the type of its norm, before the others.
    beside : bool
        Passes run at the same time (a schedule without a flush).
    """

    arrays_bytes: float = 0.0
    flat_bytes: float = 0.0
    norm_bytes: float = 0.0
    beside: bool = False

    @property
    def peak_bytes(self) -> float:
        """The most that is there at once."""
        return max(self.arrays_bytes, self.norm_bytes)


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Bytes on one rank of a stage at its peak.

    Passes and the update follow each other, so that the larger of both counts.
    """

    weights_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    buffers: Buffers = Buffers()
    update: Update = Update()

    def with_activations(self, activations_bytes: float) -> StageMemory:
        """Return the memory of a stage that differs only in what is in flight."""
        return StageMemory(
            self.weights_bytes,
            self.gradients_bytes,
            self.optimizer_bytes,
            activations_bytes,
            self.buffers,
            self.update,
        )

    @property
    def buffers_bytes(self) -> float:
        """All buffers together."""
        return self.buffers.total_bytes

    @property
    def states_bytes(self) -> float:
        """Weights, gradients and optimizer states."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes

    @property
    def lasting_bytes(self) -> float:
        """What is there all step long."""
        return self.states_bytes + self.buffers.compression_bytes + self.buffers.reserved_bytes

    @property
    def passes_bytes(self) -> float:
        """What forward and backward passes need beside."""
        return self.activations_bytes + self.buffers.passing_bytes

    @property
    def peak_bytes(self) -> float:
        """All that is there at once, each part at its own peak."""
        passes, update = self.passes_bytes, self.update.peak_bytes
        together = passes + update if self.update.beside else max(passes, update)
        return self.lasting_bytes + together

    def reserve_bytes(self, fragmentation: float) -> float:
        """Return what the allocator holds beyond the peak.

        Blocks that passes leave are not joined, so large arrays of the update find no room in them;
        and there are gaps, this share of what the allocator manages (all but what the runtime
        takes).
        """
        passes, update = self.passes_bytes, self.update
        large = max(update.flat_bytes, update.norm_bytes)
        small = max(update.arrays_bytes - update.flat_bytes, 0.0)
        apart = max(passes, small) + large - (self.peak_bytes - self.lasting_bytes)
        managed = self.peak_bytes + max(apart, 0.0) - self.buffers.reserved_bytes
        return max(apart, 0.0) + fragmentation * managed

    def to_dict(self) -> dict[str, Any]:
        """Return all parts and the peak."""
        parts = ("weights", "gradients", "optimizer", "activations", "buffers", "peak")
        return {f"{part}_bytes": getattr(self, f"{part}_bytes") for part in parts}


def stage_memory(
    plan: Plan,
    data: DataParallel,
    numerics: Numerics,
    chunks: Sequence[Chunk],
    activations_bytes: float,
    *,
    optimizer_bytes: Sequence[float],
    boundary_bytes: float,
    reserved_bytes: float,
    offload: Offload = NOTHING,
    working_bytes: float | None = None,
    footprint: Footprint = PLAIN,
) -> StageMemory:
    """Add up one rank of a stage.

    Parameters
    ----------
    activations_bytes : float
        Activations in flight at the peak (`distsim.parallel.activations`).
    optimizer_bytes : sequence of float
        Bytes of optimizer state of each domain before sharding.
    boundary_bytes : float
        Bytes sent to the next stage for one micro batch.
    reserved_bytes : float
        What the runtime takes before the first tensor: context and communication buffers.
    offload : Offload
        What is on the host instead.
    working_bytes : float, optional
        Most that recomputation brings back at once; by default of `chunks`.
    footprint : Footprint, optional
        What the software stack allocates beside.
    """
    weights = gradients = optimizer = compression = 0.0
    raw = footprint.raw_gradients.get(numerics.compute, 0.0)
    for domain, state_bytes in zip(data.domains, optimizer_bytes, strict=True):
        parts = shards(plan, domain)
        held = sum([domain.parameters(c) for c in chunks])
        if offload.parameters == "none":
            weights += held * numerics.weight_bytes / parts[0] * plan.pipeline.weight_versions
        weights += _fp8_copies_bytes(numerics, chunks, domain, parts[0])
        if offload.optimizer == "none" or not gradients_leave(plan):
            gradients += held * (numerics.gradient_bytes / parts[1] + raw)
        if offload.optimizer == "none":
            optimizer += state_bytes / parts[2]
        if data.compression is not None and domain.size > 1:
            compression += data.compression.state_bytes(held)
    buffers = Buffers(
        max(recomputed_bytes(chunks), default=0.0) if working_bytes is None else working_bytes,
        tuple([_gathered_bytes(plan, data, chunks, d, offload) for d in data.domains]),
        tuple([_bucket_bytes(plan, data, chunks, d, offload) for d in data.domains]),
        boundary_bytes if plan.pp > 1 else 0.0,
        compression,
        reserved_bytes,
    )
    update = update_of(plan, data, chunks, numerics.compute, footprint)
    if offload.optimizer != "none":
        update = Update()
    return StageMemory(weights, gradients, optimizer, activations_bytes, buffers, update)


def update_of(
    plan: Plan, data: DataParallel, chunks: Sequence[Chunk], compute: str, footprint: Footprint
) -> Update:
    """Return what the update of a rank's share takes."""
    arrays = flat = norm = 0.0
    whole = plan.zero_stage in (1, 2)
    for domain in data.domains:
        share = sum([domain.parameters(c) for c in chunks]) / shards(plan, domain)[2]
        one = share * footprint.update.get(compute, 0.0)
        copied = share * footprint.flat_update.get(compute, 0.0) if whole else 0.0
        arrays += one + copied
        flat += one + copied if whole else 0.0
        an_element = footprint.norm.get(compute, 0.0)
        if an_element:
            different = {id(c): c for c in chunks}.values()
            largest = max([largest_elements(c, domain) for c in different], default=0.0)
            norm = max(norm, min(largest, share) * an_element)
    return Update(arrays, flat, norm, beside=not plan.pipeline.flush)


def recomputed_bytes(chunks: Sequence[Chunk]) -> list[float]:
    """Return what recomputation brings back in the backward pass of each chunk, bytes.

    Its units run one after another, so the largest counts.
    """
    return [max([u.working_bytes for u, _ in c.counted], default=0.0) for c in chunks]


def largest_elements(chunk: Chunk, domain: Domain) -> float:
    """Return the elements of the largest of a domain's matrices in a chunk."""
    found = [m.elements for u, _ in chunk.counted for m in domain.matrices(u)]
    return max(found, default=0.0)


def gradients_leave(plan: Plan) -> bool:
    """Say whether the device keeps no gradients from one micro batch to the next."""
    sharded = plan.zero_stage >= 2 and plan.reduces_each_microbatch
    return sharded or plan.microbatches == 1


def fp8_elements(domain: Domain, unit: Unit) -> float:
    """Return elements of the weights of a unit that are copied to fp8: of its linear layers.

    Tables and the head stay in 16 bits (Micikevicius 2022, arXiv 2209.05433, section 2).
    """
    if unit.name == "head":
        return 0.0
    return sum(m.elements for m in domain.matrices(unit) if not m.table)


def _fp8_copies_bytes(
    numerics: Numerics, chunks: Sequence[Chunk], domain: Domain, parts: float
) -> float:
    """Weights of linear layers in fp8, beside the weights themselves.

    Where these are sharded, of one unit at a time: copies are made of what was gathered.
    """
    if numerics.fp8 is None:
        return 0.0
    units = [fp8_elements(domain, u) for c in chunks for u in c.units]
    return numerics.fp8.copy_bytes * (sum(units) if parts == 1 else max(units, default=0.0))


def _gathered_bytes(
    plan: Plan, data: DataParallel, chunks: Sequence[Chunk], domain: Domain, offload: Offload
) -> float:
    """Return the most bytes of sharded parameters that are whole at once.

    A unit, and those that are gathered ahead of it; or all of them, where they stay from the
    forward pass to the backward pass (SHARD_GRAD_OP of PyTorch's FSDP).
    """
    if plan.zero_stage < 3 or (domain.shard == 1 and not offload.active):
        return 0.0
    units = [u for c in chunks for u in c.units]
    if plan.reshards_after_forward:
        moved = max((_at_once(u, data, domain) for u in units), default=0.0)
        largest = moved * data.gather_bytes
        return min((1 + data.prefetch) * largest, max(data.limit_bytes, largest))
    # With a pipeline, weights that are whole all step long count as weights.
    whole = sum(domain.parameters(u) for u in units) * data.gather_bytes
    return whole if data.gather == "forward" else 0.0


def _at_once(unit: Unit, data: DataParallel, domain: Domain) -> float:
    """Return what a collective holds of a unit, in parameters.

    All of it or its largest weight, and as much again where a list of arrays is copied.
    """
    moved = domain.parameters(unit)
    if data.handover.by_weight:
        moved = max((m.elements for m in domain.matrices(unit)), default=0.0)
    return 2.0 * moved if data.handover.lists else moved


def _bucket_bytes(
    plan: Plan, data: DataParallel, chunks: Sequence[Chunk], domain: Domain, offload: Offload
) -> float:
    """Return the most bytes of gradients that wait to be reduced and scattered."""
    if plan.zero_stage < 2 or (domain.shard == 1 and not offload.active):
        return 0.0
    largest = max((_at_once(u, data, domain) for c in chunks for u in c.units), default=0.0)
    bucket = largest * data.reduce_bytes
    if not data.per_unit:
        bucket = max(data.bucket_bytes, bucket)
    return min(bucket, sum(domain.parameters(c) for c in chunks) * data.reduce_bytes)
