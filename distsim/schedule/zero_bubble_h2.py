"""ZB-H2: twice the forward passes of ZB-H1 ahead, and no bubble (Qi 2023, section 2.2)."""

from __future__ import annotations

from distsim.schedule.actions import Actions
from distsim.schedule.schedule import Schedule
from distsim.schedule.zero_bubble_h1 import put_off


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Stage s warms up with 2 (p - 1 - s) forward passes; weight gradients are 2 s late.

    2 (p - s) - 1 micro batches are between forward pass and input gradient and 2 s more wait for
    their weight gradient: every stage holds 2 p - 1 at most.
    """
    return [put_off(microbatches, 2 * (stages - 1 - s), 2 * s) for s in range(stages)]


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time.

    (p - 1)(F + I - 2 W) (Qi 2023, table 2, where I is called B), and none where that is negative,
    if I is not longer than F; a first stage whose input gradients are slower than its forward
    passes waits for the first one, (p - 1)(I - F). Each stage counts from its first to its last
    action, for its next step begins when it is done itself: the optimizer step is validated
    afterwards (section 4). Exact from 2 p - 1 micro batches on, a lower bound with fewer.
    """
    held = min(microbatches, 2 * stages - 1)
    ends = (stages - 1) * (forward_s + input_s) - (held - 1) * weight_s
    begins = stages * forward_s + (stages - 1) * input_s - held * forward_s
    return max(0.0, begins, ends) / (microbatches * (forward_s + input_s + weight_s))


SCHEDULE = Schedule(
    name="zb-h2",
    order=actions,
    bubble=bubble_fraction,
    summary="no bubble at equal times, about twice the memory of 1F1B",
    source="Qi 2023 (arXiv 2401.10241), section 2.2 and table 2",
)
