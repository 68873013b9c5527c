"""ZB-H1: 1F1B with the weight gradients put off into the bubble (Qi 2023, section 2.1)."""

from __future__ import annotations

import numpy as np

from distsim.schedule.actions import FORWARD, INPUT, WEIGHT, Actions, make
from distsim.schedule.phases import count, run
from distsim.schedule.schedule import Schedule

_F, _I, _W = (FORWARD, 0), (INPUT, 0), (WEIGHT, 0)


def put_off(microbatches: int, warmup: int, lag: int) -> Actions:
    """Return the order of a stage that puts weight gradients off by some micro batches.

    Parameters
    ----------
    microbatches : int
    warmup : int
        Forward passes before the first pair of forward pass and input gradient.
    lag : int
        Input gradients that wait for their weight gradient in the steady state.
    """
    warmup, lag = min(warmup, microbatches), min(lag, microbatches)
    pairs = microbatches - warmup
    steps = np.concatenate(
        [
            run(warmup, _F),
            run(min(pairs, lag), _F, _I),
            run(pairs - lag, _F, _I, _W),
            run(lag - pairs, _I),
            run(microbatches - max(pairs, lag), _I, _W),
            run(lag, _W),
        ]
    )
    return make(steps[:, 0], count(steps), steps[:, 1])


def actions(stages: int, microbatches: int, virtual_stages: int) -> list[Actions]:
    """Stage s warms up as in 1F1B, and its weight gradients are s micro batches late.

    p - s micro batches are between forward pass and input gradient and s more wait for their
    weight gradient, so that every stage holds p at most, as the first one does under 1F1B.
    """
    return [put_off(microbatches, stages - 1 - s, s) for s in range(stages)]


def bubble_fraction(
    stages: int,
    microbatches: int,
    virtual_stages: int,
    forward_s: float = 1.0,
    input_s: float = 1.0,
    weight_s: float = 1.0,
) -> float:
    """Bubble over ideal time.

    (p - 1)(F + I - W) (Qi 2023, table 2, where I is called B), if W is not longer than F and I. In
    general it is the longest of three waits: of the last stage for its first forward pass,
    (p - 1) F; of the first stage for its first input gradient, (p - 1) I; and of the first stage
    for its last one, (p - 1)(F + I) less the weight gradients that the last stage has put off.
    Exact from p micro batches on, a lower bound with fewer.
    """
    held = min(microbatches, stages)
    ends = (stages - 1) * (forward_s + input_s) - (held - 1) * weight_s
    bubble = max((stages - 1) * forward_s, (stages - 1) * input_s, ends)
    return bubble / (microbatches * (forward_s + input_s + weight_s))


SCHEDULE = Schedule(
    name="zb-h1",
    order=actions,
    bubble=bubble_fraction,
    summary="1F1B with weight gradients in the bubble, memory of 1F1B",
    source="Qi 2023 (arXiv 2401.10241), section 2.1 and table 2",
)
