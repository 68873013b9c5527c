"""DualPipe: two copies of the model in opposite directions (DeepSeek-AI 2024, section 3.2.1)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from distsim.errors import PlanError
from distsim.schedule.actions import BACKWARD, FORWARD, INPUT, WEIGHT, Actions, make
from distsim.schedule.phases import count, run
from distsim.schedule.schedule import Placement, Schedule

# Direction 0 is that of the copy that enters the pipeline at the nearer end of it.
_F0, _B0, _I0 = (FORWARD, 0), (BACKWARD, 0), (INPUT, 0)
_F1, _B1, _I1 = (FORWARD, 1), (BACKWARD, 1), (INPUT, 1)
_W = (WEIGHT, 0)


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Return the order; the first half of the micro batches goes down copy 0, the rest copy 1.

    Raises
    ------
    PlanError
        DS315 for an odd number of stages; DS314 for micro batches that are odd or fewer than 2 p.
    """
    _check(stages, microbatches)
    return [_stage(s, stages, microbatches) for s in range(stages)]


def _check(stages: int, microbatches: int) -> None:
    if stages % 2:
        raise PlanError(
            "DS315",
            f"dualpipe runs from both ends of the pipeline, but pp is {stages}",
            path=("plan", "pp"),
            value=stages,
            rule="pp is even, so that the two directions meet between two stages",
            fix=f"set pp: {stages + 1}, or schedule: zb-v",
        )
    if microbatches % 2 or microbatches < 2 * stages:
        least = max(2 * stages, microbatches + microbatches % 2)
        raise PlanError(
            "DS314",
            f"dualpipe with pp({stages}) has {microbatches} micro batches",
            path=("plan", "schedule"),
            value=microbatches,
            rule=f"micro batches are even and at least 2 * pp({stages}) = {2 * stages}: half of "
            "them in each direction",
            fix=f"take {least} micro batches, or schedule: zb-v",
        )


def _stage(stage: int, stages: int, microbatches: int) -> Actions:
    """Return the order of one stage: the eight phases of DeepSeek's schedule.

    `depth` counts stages from the nearer end, `inner` those that are between it and the middle.
    """
    depth = min(stage, stages - 1 - stage)
    inner = stages // 2 - 1 - depth
    pairs = microbatches // 2 - stages + depth + 1
    last = run(depth + 1, _B1, _B0)
    # Of the backward passes after the last forward pass, the second half leaves W for later.
    last[depth + 1 :, 0] = INPUT
    parts = [
        run(2 * inner, _F0),
        run(depth + 1, _F0, _F1),
        run(inner, _I1, _W, _F1),
        run(pairs, _F0, _B1, _F1, _B0),
        run(inner, _B1, _F1, _B0),
        last,
        run(inner, _W, _I0),
        run(depth + 1, _W),
    ]
    steps = np.concatenate(parts)
    begin = np.cumsum([0] + [len(part) for part in parts])
    kind, microbatch = steps[:, 0], count(steps)
    paired = np.zeros(len(steps), dtype=np.bool_)
    paired[begin[3] : begin[4] : 2] = True
    paired[begin[4] + 1 : begin[5] : 3] = True
    if inner == 0:
        # In the middle the first two run one after the other, which makes the bubble smaller.
        paired[begin[3]] = False
    # Weight gradients follow in the order of the input gradients that left them.
    left, made = kind == INPUT, kind == WEIGHT
    steps[made, 1], microbatch[made] = steps[left, 1], microbatch[left]
    chunk = steps[:, 1] if stage < stages // 2 else 1 - steps[:, 1]
    return make(kind, microbatch + chunk * (microbatches // 2), chunk, paired)


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time.

    (p/2 - 1)(F&B + B - 3 W) (DeepSeek-AI 2024, table 2) with F&B = F + B for a pair and B = I + W:
    (p/2 - 1)(F + 2 I - W). A micro batch passes one of the two chunks of a stage, so the times are
    those of one chunk. Exact for pairs that run in one piece where F = I >= W; where each half of
    a pair hands on its result as soon as it is done, the bubble is smaller.
    """
    pair = forward_s + input_s + weight_s
    bubble = (stages / 2 - 1) * (pair + (input_s + weight_s) - 3.0 * weight_s)
    return max(0.0, bubble) / (microbatches * pair)


@lru_cache(maxsize=1024)
def opposed(stages: int, chunks: int) -> Placement:
    """Stage s holds model chunk s of copy 0 and p - 1 - s of copy 1, whose numbers begin at p."""
    return tuple((s, 2 * stages - 1 - s) for s in range(stages))


SCHEDULE = Schedule(
    name="dualpipe",
    order=actions,
    bubble=bubble_fraction,
    summary="two copies of the model in opposite directions, forward and backward passes paired",
    source="DeepSeek-AI 2024 (arXiv 2412.19437), section 3.2.1 and table 2",
    chunks=2,
    placement=opposed,
    replicas=2,
)
