"""The parallel plan: how ranks divide the work, checked as a whole."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any

from distsim.errors import PlanError
from distsim.parallel.mesh import Mesh
from distsim.parallel.recompute import Recompute
from distsim.record import record
from distsim.schedule import REGISTRY, Placement, Schedule, chunks_of


@record
class Plan:
    """A plan that multiplies out; names as engineers say them.

    Attributes
    ----------
    devices : int
        dp * tp * pp * cp.
    ep, etp : int
        Expert-parallel degree and tensor-parallel degree of each expert: on the same ranks as
        tp * cp * dp.
    experts : bool
        The model has experts.
    micro_size : int
        Sequences in a micro batch.
    microbatches : int
        Micro batches a replica runs in one step.
    pipeline : Schedule
    virtual_stages : int
        Model chunks a pipeline rank holds.
    zero_stage : int
        What is sharded over dp: 1 optimizer, 2 + gradients, 3 + parameters (Rajbhandari 2020).
    dp_replicas : int
        Groups of ranks between which states are replicated instead of sharded (hybrid sharding).
    layers : tuple of int
        Transformer layers of each model chunk, in model order.
    overlap_tensor : bool
        Tensor-parallel collectives of the backward pass run beside the weight gradient.
    overlap_experts : bool
        Rows of experts are exchanged beside the kernels of another micro batch.
    async_tensor : bool
        Products and their tensor-parallel collectives run part by part beside each other.
    bucket_bytes : float
        Gradients are reduced when this much is ready; 0 = the default bucket.
    reduce_each_microbatch : bool or None
        Sharded gradients leave after every micro batch; by default where there is no pipeline.
    reshard_after_forward : bool or None
        Parameters of ZeRO-3 are dropped after the forward pass and gathered again; by default
        where there is no pipeline, as PyTorch's FSDP does.
    max_gathered_bytes : float
        Most gathered parameters at once (inf: no limit).
    context_mode, context_balanced : str, bool
        How core attention gets at all tokens, and whether the causal mask is balanced.
    grad_compression : str
        How gradients are made smaller for the wire.
    offload : str
        What is on the host, for reports.
    """

    devices: int
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    etp: int = 1
    dp: int = 1
    experts: bool = False
    micro_size: int = 1
    microbatches: int = 1
    pipeline: Schedule = field(default=REGISTRY["1f1b"])
    virtual_stages: int = 1
    zero_stage: int = 0
    dp_replicas: int = 1
    sequence_parallel: bool = False
    recompute: Recompute = field(default=Recompute())
    overlap_grad_reduce: bool = False
    overlap_param_gather: bool = False
    overlap_p2p: bool = False
    overlap_tensor: bool = False
    overlap_experts: bool = False
    async_tensor: bool = False
    scatter_gather_p2p: bool = True
    bucket_bytes: float = 0.0
    prefetch_layers: int = 1
    reduce_each_microbatch: bool | None = None
    reshard_after_forward: bool | None = None
    max_gathered_bytes: float = float("inf")
    context_mode: str = "ring"
    context_balanced: bool = True
    grad_compression: str = "none"
    offload: str = "none"
    layers: tuple[int, ...] = (1,)

    @property
    def schedule(self) -> str:
        """Name of the pipeline schedule."""
        return self.pipeline.name

    @property
    def chunks(self) -> int:
        """Model chunks that a stage holds."""
        return chunks_of(self.pipeline, self.virtual_stages)

    @property
    def placement(self) -> Placement:
        """Number of each model chunk, ``[stage][chunk]``, through all copies of the model."""
        return self.pipeline.placement(self.pp, self.chunks)

    @property
    def layers_per_chunk(self) -> tuple[tuple[int, ...], ...]:
        """Transformer layers of each chunk, ``[stage][chunk]``."""
        return tuple(
            tuple(self.layers[k % len(self.layers)] for k in held) for held in self.placement
        )

    @property
    def reduces_each_microbatch(self) -> bool:
        """Whether sharded gradients leave after every micro batch."""
        given = self.reduce_each_microbatch
        return self.pp == 1 if given is None else given

    @property
    def reshards_after_forward(self) -> bool:
        """Whether parameters of ZeRO-3 are gathered again for the backward pass."""
        given = self.reshard_after_forward
        return self.pp == 1 if given is None else given

    def chunk_layers(self) -> tuple[int, ...]:
        """Return the layers of each model chunk of one copy of the model, in model order."""
        return self.layers

    def mesh(self) -> Mesh:
        """Return the grid of ranks."""
        return Mesh(self.tp, self.cp, self.dp, self.pp, self.ep, self.etp, self.dp_replicas)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, derived ones included."""
        shown = [f.name for f in fields(self) if f.name not in _HIDDEN]
        values = {name: getattr(self, name) for name in shown}
        limit = self.max_gathered_bytes
        return values | {
            "schedule": self.schedule,
            "virtual_stages": self.chunks if self.pipeline.replicas == 1 else 1,
            "recompute": str(self.recompute),
            "reduce_each_microbatch": self.reduces_each_microbatch,
            "reshard_after_forward": self.reshards_after_forward,
            "max_gathered_bytes": None if limit == float("inf") else limit,
            "layers_per_chunk": [list(stage) for stage in self.layers_per_chunk],
        }


_HIDDEN = ("pipeline", "layers", "experts", "recompute", "max_gathered_bytes")


def resolve_mesh(devices: int, tp: int, pp: int, cp: int, dp: int | None) -> int:
    """Return dp, or say why the plan does not multiply out.

    Raises
    ------
    PlanError
        DS301, with the whole equation and its values.
    """
    model = tp * pp * cp
    derived, rest = divmod(devices, model)
    if rest or derived == 0:
        raise PlanError(
            "DS301",
            f"tp({tp}) * pp({pp}) * cp({cp}) = {model} does not divide devices({devices})",
            path=("plan",),
            value=model,
            rule="devices = dp * tp * pp * cp with whole numbers",
            fix=f"use a multiple of {model} devices, for example "
            f"{model * max(1, round(devices / model))}, or a smaller tp, pp or cp",
        )
    if dp is not None and dp != derived:
        raise PlanError(
            "DS302",
            f"dp({dp}) * tp({tp}) * pp({pp}) * cp({cp}) = {dp * model}, but devices = {devices}",
            path=("plan", "dp"),
            value=dp,
            rule="devices = dp * tp * pp * cp",
            fix=f"leave dp out (it is derived: {derived}) or set devices to {dp * model}",
        )
    return derived


def resolve_microbatches(global_size: int, micro_size: int, dp: int) -> int:
    """Return micro batches a replica, or say why the batch does not divide.

    Raises
    ------
    PlanError
        DS303.
    """
    each = micro_size * dp
    count, rest = divmod(global_size, each)
    if rest or count == 0:
        near = max(1, round(global_size / each)) * each
        raise PlanError(
            "DS303",
            f"global_size({global_size}) is not a multiple of "
            f"micro_size({micro_size}) * dp({dp}) = {each}",
            path=("batch", "global_size"),
            value=global_size,
            rule="global_size = microbatches * micro_size * dp with a whole number >= 1",
            fix=f"use global_size {near}, or another micro_size",
        )
    return count
