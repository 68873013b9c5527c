"""Data parallelism and ZeRO: when gradients are reduced and parameters gathered, and how much.

Plain data parallelism all-reduces gradients once a step (2P elements sent a rank); ZeRO-1 and 2
reduce-scatter gradients and all-gather parameters (2P); ZeRO-3 gathers parameters before each use
(forward and backward) and reduce-scatters gradients (3P): Rajbhandari 2020, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass

from distsim.parallel.plan import Plan
from distsim.parallel.step import Unit
from distsim.workload.op import Numerics

#: Megatron-LM's default bucket: the larger of 40 million elements and one million a replica.
BUCKET_ELEMENTS = 40_000_000
BUCKET_ELEMENTS_PER_REPLICA = 1_000_000


@dataclass(frozen=True, slots=True)
class DataParallel:
    """What the data-parallel group does in one step.

    Attributes
    ----------
    size : int
        Ranks over which gradients are reduced and states are sharded (dp * cp).
    reduce : str
        ``none``, ``end`` (after the last backward), ``last`` (beside the last micro batch's
        backward) or ``each`` (after every micro batch: sharded gradients).
    gather : str
        ``none``, ``end`` (after the update), ``first`` (beside the first micro batch's forward)
        or ``each`` (before every use, ZeRO-3).
    collective : str
        ``all_reduce`` or ``reduce_scatter``.
    blocking : bool
        Compute waits for each collective.
    """

    size: int
    reduce: str
    gather: str
    collective: str
    blocking: bool
    reduce_bytes: float
    gather_bytes: float
    bucket_bytes: float
    prefetch: int

    def buckets(self, units: tuple[Unit, ...]) -> list[list[int]]:
        """Group units, given in backward order, into buckets: lists of positions.

        A bucket closes at the first unit that brings it to `bucket_bytes`; the rest is the last.
        """
        out: list[list[int]] = []
        current: list[int] = []
        filled = 0.0
        for position, unit in enumerate(units):
            current.append(position)
            filled += unit.parameters * self.reduce_bytes
            if filled >= self.bucket_bytes:
                out.append(current)
                current, filled = [], 0.0
        return out + ([current] if current else [])


def data_parallel(plan: Plan, numerics: Numerics) -> DataParallel:
    """Say what the data-parallel group of `plan` does."""
    size, stage = plan.dp * plan.cp, plan.zero_stage
    if size == 1:
        reduce, gather = "none", "none"
    elif stage == 3:
        reduce, gather = "each", "each"
    else:
        overlapped = "last" if plan.overlap_grad_reduce else "end"
        reduce = "each" if stage == 2 else overlapped
        gather = "none" if stage == 0 else ("first" if plan.overlap_param_gather else "end")
    bucket = plan.bucket_bytes or numerics.reduce_bytes * max(
        BUCKET_ELEMENTS, BUCKET_ELEMENTS_PER_REPLICA * size
    )
    return DataParallel(
        size=size,
        reduce=reduce,
        gather=gather,
        collective="reduce_scatter" if stage else "all_reduce",
        blocking=not plan.overlap_grad_reduce,
        reduce_bytes=numerics.reduce_bytes,
        gather_bytes=numerics.gather_bytes,
        bucket_bytes=0.0 if stage == 3 else bucket,
        prefetch=plan.prefetch_layers if plan.overlap_param_gather else 0,
    )


def shards(plan: Plan) -> tuple[int, int, int]:
    """Return into how many parts weights, gradients and optimizer states are divided."""
    size = plan.dp * plan.cp
    return (
        size if plan.zero_stage >= 3 else 1,
        size if plan.zero_stage >= 2 else 1,
        size if plan.zero_stage >= 1 else 1,
    )
