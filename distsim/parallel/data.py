"""Data parallelism and ZeRO: when gradients are reduced and parameters gathered, and how much.

Plain data parallelism all-reduces gradients once a step (2P elements sent a rank); ZeRO-1 and 2
reduce-scatter gradients and all-gather parameters (2P); ZeRO-3 gathers parameters before each use
(forward and backward) and reduce-scatters gradients (3P): Rajbhandari 2020, section 7. With hybrid
sharding (PyTorch FSDP, Zhao 2023, arXiv 2304.11277, section 3.2.2) states are sharded over a group
of neighbours and replicated over the others: what was reduce-scattered inside is all-reduced
across, a share of each.
"""

from __future__ import annotations

from dataclasses import field

from distsim.collectives.handover import PLAIN, Handover
from distsim.parallel.compression import Compression
from distsim.parallel.plan import Plan
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Unit
from distsim.record import record
from distsim.workload.op import Numerics
from distsim.workload.optimizers.spec import Matrix

#: Megatron-LM's default bucket: the larger of 40 million elements and one million a replica.
BUCKET_ELEMENTS = 40_000_000
BUCKET_ELEMENTS_PER_REPLICA = 1_000_000


@record
class Domain:
    """Ranks that hold the same parameters: all but experts, or experts.

    Attributes
    ----------
    name : str
        ``data`` or ``expert_data``: the axis over which states are sharded, or gradients
        all-reduced where nothing is sharded.
    shard : int
        Ranks among which states are sharded, if they are.
    replicas : int
        Groups of such ranks.
    """

    name: str
    shard: int
    replicas: int = 1

    @property
    def size(self) -> int:
        """Ranks that hold the same parameters."""
        return self.shard * self.replicas

    @property
    def across(self) -> str:
        """Axis over which shares are all-reduced between replicas."""
        return {"data": "replica", "expert_data": "expert_replica"}[self.name]

    def parameters(self, of: Unit | Chunk) -> float:
        """Return the parameters of this domain in a unit or chunk."""
        return of.parameters if self.name == "data" else of.expert_parameters

    def matrices(self, of: Unit) -> tuple[Matrix, ...]:
        """Return the two-dimensional weights of this domain in a unit."""
        return of.matrices if self.name == "data" else of.expert_matrices


@record
class DataParallel:
    """What the data-parallel groups do in one step.

    Attributes
    ----------
    domains : tuple of Domain
        The first is that of everything but experts (dp * cp ranks).
    reduce : str
        ``none``, ``end`` (after the last backward), ``last`` (beside the last micro batch's
        backward) or ``each`` (after every micro batch: sharded gradients).
    gather : str
        ``none``, ``end`` (after the update), ``first`` (beside the first micro batch's forward),
        ``forward`` (before every forward) or ``each`` (before every use, ZeRO-3).
    collective : str
        ``all_reduce`` or ``reduce_scatter``.
    blocking : bool
        Compute waits for each collective.
    per_unit : bool
        Gradients leave layer by layer; otherwise in buckets of `bucket_bytes`, operator by
        operator, in the order in which the backward pass completes them.
    limit_bytes : float
        Gathered parameters that may be there at once (inf: no limit but `prefetch`).
    compression : Compression or None
        How gradients are made smaller for the wire.
    numerics : Numerics
    handover : Handover
        How the collectives of ZeRO-3 get parameters and gradients.
    """

    domains: tuple[Domain, ...]
    reduce: str
    gather: str
    collective: str
    blocking: bool
    reduce_bytes: float
    gather_bytes: float
    bucket_bytes: float
    prefetch: int
    per_unit: bool = False
    limit_bytes: float = float("inf")
    compression: Compression | None = None
    numerics: Numerics = field(default_factory=Numerics)
    handover: Handover = PLAIN

    @property
    def size(self) -> int:
        """Ranks over which gradients of everything but experts are reduced (dp * cp)."""
        return self.domains[0].size

    @property
    def active(self) -> bool:
        """Whether any gradient is reduced."""
        return any(domain.size > 1 for domain in self.domains)


def _domains(plan: Plan) -> tuple[Domain, ...]:
    size = plan.dp * plan.cp
    domains = [Domain("data", size // plan.dp_replicas, plan.dp_replicas)]
    if plan.experts:
        edp = plan.tp * size // (plan.ep * plan.etp)
        domains.append(Domain("expert_data", edp // plan.dp_replicas, plan.dp_replicas))
    return tuple(domains)


def data_parallel(
    plan: Plan,
    numerics: Numerics,
    compression: Compression | None = None,
    *,
    offloaded: bool = False,
    handover: Handover = PLAIN,
) -> DataParallel:
    """Say what the data-parallel groups of `plan` do.

    Parameters
    ----------
    offloaded : bool
        States are on the host: a single rank, too, gets them layer by layer.
    handover : Handover
        Of the stack; it counts where parameters are sharded.
    """
    domains, stage = _domains(plan), plan.zero_stage
    size = domains[0].size
    # Without a flush there is no end of a batch: a stage reduces after its own last pass.
    overlapped = "last" if plan.overlap_grad_reduce or not plan.pipeline.flush else "end"
    each = "each" if plan.reduces_each_microbatch else overlapped
    if all(domain.size == 1 for domain in domains) and not offloaded:
        reduce, gather = "none", "none"
    elif stage == 3:
        reduce = each
        kept = "first" if plan.pp > 1 else "forward"
        gather = "each" if plan.reshards_after_forward else kept
    else:
        reduce = each if stage == 2 else overlapped
        gather = "none" if stage == 0 else ("first" if plan.overlap_param_gather else "end")
    bucket = plan.bucket_bytes or numerics.reduce_bytes * max(
        BUCKET_ELEMENTS, BUCKET_ELEMENTS_PER_REPLICA * size
    )
    return DataParallel(
        domains=domains,
        reduce=reduce,
        gather=gather,
        collective="reduce_scatter" if stage else "all_reduce",
        blocking=not plan.overlap_grad_reduce,
        reduce_bytes=numerics.reduce_bytes,
        gather_bytes=numerics.gather_bytes,
        bucket_bytes=bucket,
        prefetch=plan.prefetch_layers if plan.overlap_param_gather else 0,
        per_unit=stage == 3,
        limit_bytes=plan.max_gathered_bytes,
        compression=compression,
        numerics=numerics,
        handover=handover if stage == 3 else PLAIN,
    )


def shards(plan: Plan, domain: Domain) -> tuple[int, int, int]:
    """Return into how many parts weights, gradients and optimizer states are divided.

    Gradients that are reduced only on the last micro batch are whole until then; weights that are
    gathered once a step are whole, too.
    """
    size = domain.shard
    whole_gradients = plan.microbatches > 1 and not plan.reduces_each_microbatch
    whole_weights = not plan.reshards_after_forward and plan.pp > 1
    return (
        size if plan.zero_stage >= 3 and not whole_weights else 1,
        size if plan.zero_stage >= 2 and not whole_gradients else 1,
        size if plan.zero_stage >= 1 else 1,
    )
