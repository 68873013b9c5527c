"""ZB-V: two chunks a stage, down and up again, no bubble in the memory of 1F1B (Qi 2023)."""

from __future__ import annotations

import numpy as np

from distsim.schedule.actions import FORWARD, INPUT, WEIGHT, Actions, make
from distsim.schedule.phases import Steps, count, run
from distsim.schedule.schedule import Schedule, v_shaped

_F0, _I0, _W0 = (FORWARD, 0), (INPUT, 0), (WEIGHT, 0)
_F1, _I1, _W1 = (FORWARD, 1), (INPUT, 1), (WEIGHT, 1)


def _steps(stage: int, stages: int, microbatches: int) -> Steps:
    """Return the order of one stage with at least 2 p - 1 micro batches.

    At most 2 p chunk passes are held, half of the layers of a stage each: as much as the p passes
    of the first stage under 1F1B. After the warm-up every forward pass is followed by the
    gradients of another micro batch in the same chunk.
    """
    behind = stages - stage
    steady = microbatches - behind - stage
    ahead = microbatches - (2 * behind - 1) - stage
    return np.concatenate(
        [
            run(2 * behind - 1, _F0),
            run(stage, _F1, _F0),
            run(behind, _F1, _I1, _W1),
            run(ahead, _F0, _I0, _W0, _F1, _I1, _W1),
            run(steady - ahead, _I0, _W0, _F1, _I1, _W1),
            run(stage, _I0, _I1),
            run(behind, _I0, _W0),
            run(stage, _W1),
            run(stage, _W0),
        ]
    )


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Return the order at equal times of F, I and W.

    With fewer than 2 p - 1 micro batches it is the order of 2 p - 1 without those that are not
    there.
    """
    out = []
    for stage in range(stages):
        steps = _steps(stage, stages, max(microbatches, 2 * stages - 1))
        microbatch = count(steps)
        there = microbatch < microbatches
        out.append(make(steps[there, 0], microbatch[there], steps[there, 1]))
    return out


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time: 0 at F = I = W from 2 p - 1 micro batches on (Qi 2023, section 6).

    A lower bound elsewhere. Each stage counts from its first to its last action, as in ZB-H2.
    """
    return 0.0


SCHEDULE = Schedule(
    name="zb-v",
    order=actions,
    bubble=bubble_fraction,
    summary="two chunks a stage in a V, no bubble at equal times, memory of 1F1B",
    source="Qi 2023 (arXiv 2401.10241), section 6",
    chunks=2,
    placement=v_shaped,
)
