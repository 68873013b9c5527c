"""The breadth-first schedule against its closed form, and what it is for."""

from __future__ import annotations

import pytest

from distsim.api import load, simulate
from distsim.schedule import REGISTRY, actions, bubble_fraction, peak_in_flight
from distsim.schedule.timing import unit_times

SCHEDULE = REGISTRY["breadth-first"]


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("microbatches", [1, 2, 4, 16])
@pytest.mark.parametrize("chunks", [1, 2, 3])
@pytest.mark.parametrize("times", [(1.0, 1.0, 1.0), (2.0, 3.0, 1.0)])
def test_bubble_is_the_closed_form(stages, microbatches, chunks, times) -> None:
    """(p - 1) / (v m) whatever the times, and p - m more passes a chunk where m < p."""
    orders = actions(SCHEDULE, stages, microbatches, chunks)
    forward_s, input_s, weight_s = times
    found = unit_times(
        orders,
        SCHEDULE.placement(stages, chunks),
        forward_s=forward_s,
        input_s=input_s,
        weight_s=weight_s,
    )
    closed = bubble_fraction("breadth-first", stages, microbatches, chunks)
    assert found.bubble == pytest.approx(closed, abs=1e-12)
    # All chunks keep all micro batches, as under GPipe.
    assert {peak_in_flight(order) for order in orders} == {microbatches * chunks}


def test_gradients_leave_earlier_than_under_the_interleaved_schedule() -> None:
    """The last chunk of a stage is done with after m of v m backward passes, not near the end."""
    scenario = load("llama3-70b-512xh100").with_(plan={"overlap_grad_reduce": True})
    scenario = scenario.with_(cluster={"devices": 64}, batch={"global_size": 32})

    def leaves_at(schedule: str) -> float:
        run = simulate(scenario.with_(plan={"schedule": schedule}))
        spans = [s for s in run.timeline.spans() if s.name == "reduce gradients stage 0"]
        return min(s.start_s for s in spans) / run.step_s

    # Forward passes are a third of the work; of the rest, one of five chunks comes first.
    assert leaves_at("breadth-first") == pytest.approx(1 / 3 + 2 / 3 / 5, abs=0.08)
    assert leaves_at("interleaved") > 0.85
