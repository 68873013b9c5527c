"""Interleaved 1F1B: each stage holds v model chunks (Narayanan 2021, section 2.2.2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.errors import PlanError
from distsim.schedule.actions import FORWARD, Actions, make, one_forward_one_backward
from distsim.schedule.schedule import Schedule


def _order(
    stages: int, microbatches: int, virtual_stages: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return (chunk, micro batch) of each forward: p micro batches a chunk, chunk after chunk."""
    index = np.arange(microbatches * virtual_stages, dtype=np.int32)
    group, within = np.divmod(index, stages * virtual_stages)
    chunk, lane = np.divmod(within, stages)
    return chunk.astype(np.int32), (group * stages + lane).astype(np.int32)


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Megatron-LM's order; stage r warms up with 2 (p - 1 - r) + (v - 1) p forwards.

    Raises
    ------
    PlanError
        DS311 where p does not divide m; DS312 for a single stage.
    """
    if stages == 1:
        raise PlanError(
            "DS312",
            f"the interleaved schedule with virtual_stages({virtual_stages}) needs pp > 1",
            path=("plan", "virtual_stages"),
            value=virtual_stages,
            rule="model chunks are interleaved over at least two stages",
            fix="set virtual_stages: 1, or pp > 1",
        )
    if microbatches % stages:
        raise PlanError(
            "DS311",
            f"pp({stages}) does not divide the {microbatches} micro batches of a replica",
            path=("plan", "virtual_stages"),
            value=microbatches,
            rule="microbatches % pp == 0 for the interleaved schedule; "
            "microbatches = global_size / (micro_size * dp)",
            fix=f"change the batch so that micro batches are a multiple of {stages}, or use 1f1b",
        )
    chunk, microbatch = _order(stages, microbatches, virtual_stages)
    total = microbatches * virtual_stages
    out = []
    for stage in range(stages):
        # Where m = p, Megatron-LM of 2021 ran every forward first. Peaks of Megatron-Core with such
        # plans are 0.5 to 0.8 of what that would hold.
        warmup = (stages - 1 - stage) * 2 + (virtual_stages - 1) * stages
        kind = one_forward_one_backward(total, warmup)
        all_chunks = np.zeros(2 * total, dtype=np.int32)
        all_microbatches = np.zeros(2 * total, dtype=np.int32)
        forward = kind == FORWARD
        all_chunks[forward], all_microbatches[forward] = chunk, microbatch
        all_chunks[~forward] = virtual_stages - 1 - chunk
        all_microbatches[~forward] = microbatch
        out.append(make(kind, all_microbatches, all_chunks))
    return out


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time, (p - 1) / (v m) (Narayanan 2021, section 2.2.2)."""
    return (stages - 1) / (virtual_stages * microbatches)


SCHEDULE = Schedule(
    name="interleaved",
    order=actions,
    bubble=bubble_fraction,
    summary="1F1B over v model chunks a stage",
    source="Narayanan 2021 (arXiv 2104.04473), section 2.2.2",
    chunks=None,
)
