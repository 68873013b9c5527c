"""What would make a plan fit that does not."""

from __future__ import annotations

from collections.abc import Sequence

from distsim.parallel.memory import StageMemory
from distsim.parallel.plan import Plan
from distsim.units import fmt_bytes


def memory_advice(
    plan: Plan, stages: Sequence[StageMemory], capacity_bytes: float
) -> tuple[str, ...]:
    """Return what is over by how much, then changes that bring the fullest stage down.

    Only changes whose own saving is known are named, each with the bytes that it frees there.
    """
    worst = max(range(len(stages)), key=lambda s: stages[s].peak_bytes)
    stage = stages[worst]
    over = stage.peak_bytes - capacity_bytes
    out = [
        f"stage {worst} needs {fmt_bytes(stage.peak_bytes)} of {fmt_bytes(capacity_bytes)}: "
        f"over by {fmt_bytes(over)}"
    ]

    def offer(change: str, freed: float) -> None:
        if freed > 0.01 * stage.peak_bytes:
            enough = "enough" if freed >= over else "not enough alone"
            out.append(f"{change} frees {fmt_bytes(freed)} ({enough})")

    ranks = plan.dp * plan.cp
    if ranks > 1:
        saved = 1 - 1 / ranks
        if plan.zero_stage < 1:
            offer("zero_stage 1", stage.optimizer_bytes * saved)
        if plan.zero_stage == 1:
            offer("zero_stage 2", stage.gradients_bytes * saved)
        if plan.zero_stage == 2:
            offer("zero_stage 3", stage.weights_bytes * saved)
    if plan.recompute.mode != "full":
        offer("recompute full", stage.activations_bytes * 0.8)
    if plan.micro_size > 1:
        offer("half the micro_size", stage.activations_bytes / 2)
    states = stage.weights_bytes + stage.gradients_bytes + stage.optimizer_bytes
    offer("twice the tp (or pp)", states / 2 if plan.zero_stage < 3 else 0.0)
    return tuple(out)
