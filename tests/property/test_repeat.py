"""Steps of which periods were left out, against the same steps in whole.

The oracles are the walk through all passes, the op graph, and what a period of a pipeline that is
filled takes at least: the work of its slowest stage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.api import load
from distsim.engine import graph, passes
from distsim.prediction.case import Case
from distsim.program.build import build
from distsim.program.outline import Outline, outline
from distsim.program.repeat import KEPT, cut
from distsim.scenario.resolve import resolve
from distsim.schedule import Actions, actions
from tests.property.test_matrix import DENSE
from tests.property.test_outline import WIDE

#: Schedules whose middle repeats itself, with the virtual stages that they have.
REPEATING = {"1f1b": 1, "interleaved": 2, "zb-h1": 1, "zb-h2": 1}


def case_of(
    microbatches: int, plan: dict[str, Any], layers: int = 8, stack: str = "megatron-core"
) -> Case:
    whole = {"tp": 1, "pp": 4} | plan
    dp = 8 // (whole["tp"] * whole["pp"])
    return resolve(
        load(
            {
                "schema": 1,
                "name": "many micro batches",
                "cluster": {"topology": WIDE, "devices": 8, "library": "nccl"},
                "model": DENSE | {"layers": layers},
                "batch": {
                    "global_size": dp * microbatches,
                    "micro_size": 1,
                    "sequence_length": 512,
                },
                "precision": "bf16",
                "stack": stack,
                "plan": whole,
            }
        )
    )


def outlined(case: Case) -> Outline:
    found = outline(case.inputs)
    assert found is not None
    return found


@pytest.mark.parametrize("schedule", REPEATING)
def test_a_step_with_periods_left_out_takes_what_its_graph_takes(schedule):
    plan = {"schedule": schedule, "virtual_stages": REPEATING[schedule]}
    case = case_of(48, plan)
    found = outlined(case)
    assert found.times > 0
    step_s = graph.evaluate(build(case.inputs).graph).makespan
    assert passes.step_s(found) == pytest.approx(step_s, rel=1e-9)


@pytest.mark.parametrize("schedule", REPEATING)
def test_what_is_walked_does_not_grow_with_micro_batches(schedule):
    plan = {"schedule": schedule, "virtual_stages": REPEATING[schedule]}
    few, many = (outlined(case_of(n, plan)) for n in (48, 480))
    assert len(few.route) == len(many.route)
    assert many.times - few.times == (480 - 48) // 4


def test_each_further_micro_batch_costs_the_work_of_the_slowest_stage():
    plan = {"schedule": "1f1b", "layers_per_stage": [1, 4, 1, 2], "overlap_p2p": True}
    times = [passes.step_s(outlined(case_of(n, plan))) for n in (100, 104, 400)]
    each_s = (times[1] - times[0]) / 4
    assert (times[2] - times[0]) / 300 == pytest.approx(each_s, rel=1e-9)
    found = outlined(case_of(100, plan))
    durations = [c for c in found.cells if isinstance(c, float)]
    forward_s, backward_s = sorted(set(durations))[-2:]
    assert each_s == pytest.approx(forward_s + backward_s, rel=1e-9)


@st.composite
def steps(draw: st.DrawFn) -> Case:
    schedule = draw(st.sampled_from(["1f1b", "interleaved", "zb-h1"]))
    pp = draw(st.sampled_from([1, 2, 4] if schedule == "1f1b" else [2, 4]))
    chunks = 2 if schedule == "interleaved" else 1
    parts = draw(st.lists(st.integers(1, 5), min_size=pp * chunks, max_size=pp * chunks))
    periods = draw(st.integers(KEPT + 1, KEPT + 6))
    rest = 0 if schedule == "interleaved" else draw(st.integers(0, pp - 1))
    plan = {
        "pp": pp,
        "schedule": schedule,
        "virtual_stages": chunks,
        "layers_per_stage": parts,
        "overlap_p2p": draw(st.booleans()),
        "overlap_grad_reduce": draw(st.booleans()),
        "zero_stage": draw(st.sampled_from([0, 1])),
        "recompute": draw(st.sampled_from(["none", "full"])),
    }
    return case_of(pp * (periods + 2) + rest, plan, sum(parts))


@given(steps())
@settings(max_examples=60, deadline=None)
def test_uneven_stages_take_what_they_take_in_whole(case):
    found = outlined(case)
    if found.times:
        assert found.whole is not None
        whole = found.whole()
        assert whole is not None
        assert passes.step_s(found) == pytest.approx(passes.step_s(whole), rel=1e-9)


def test_where_times_have_not_settled_the_whole_is_walked():
    found = outlined(case_of(48, {"schedule": "1f1b", "layers_per_stage": [1, 4, 1, 2]}))
    whole = found.whole() if found.whole else None
    assert whole is not None
    early = np.arange(8).reshape(2, 4)
    unsettled = replace(found, route=replace(found.route, periods=early))
    assert passes.step_s(unsettled) == passes.step_s(whole)


def test_orders_without_a_period_are_left_whole():
    def gpipe(n: int) -> list[Actions]:
        return actions("gpipe", 4, n)

    assert cut(gpipe(64), gpipe) is None
    few = 4 * KEPT
    assert cut(actions("1f1b", 4, few), lambda n: actions("1f1b", 4, n)) is None


def test_a_schedule_that_orders_fewer_micro_batches_otherwise_is_left_whole():
    def other(n: int) -> list[Actions]:
        return actions("gpipe", 4, n)

    assert cut(actions("1f1b", 4, 64), lambda n: actions("1f1b", 4, n)) is not None
    assert cut(actions("1f1b", 4, 68), other) is None


def test_gathers_before_every_pass_are_walked_in_whole():
    case = case_of(96, {"pp": 1, "zero_stage": 3})
    assert outlined(case).times == 0
