"""Exchanges of experts beside the kernels of another micro batch (`overlap_experts`)."""

from __future__ import annotations

from typing import Any

import pytest

from distsim.cost.kernel import kernel_s
from distsim.errors import DistsimError
from distsim.parallel.step import Unit
from distsim.prediction.case import Case
from tests.strategies import (
    INSTANT,
    MIXTURE,
    case_of,
    flop,
    on,
    run,
    sent,
    star,
    step,
    without_compute,
)

LAYERS, MICRO, EP = 4, 3, 4
PLAN = {"ep": EP}


def case(overlapped: bool, topology: Any = None, **plan: object) -> Case:
    return case_of(
        {**PLAN, **plan, "overlap_experts": overlapped},
        EP,
        model=MIXTURE,
        global_size=EP * MICRO,
        topology=topology or star(),
    )


def test_hides_what_kernels_outlast():
    """Each pass over a layer: rows go beside the experts, and come back beside all the rest.

    Without contention what is hidden is the shorter one of each pair.
    """
    apart, both = (on(case(o, star("40 GB/s"))) for o in (False, True))
    plain, crossed = run(apart), run(both)
    layer = next(u for u in _units(apart) if u.name == "layer")
    exchange_s = plain.breakdown.expert_s / (4 * LAYERS * MICRO)
    hidden_s = 0.0
    for steps in (layer.forward, layer.backward):
        names = [s.op for s in steps]
        places = [i for i, s in enumerate(steps) if s.collective is not None]
        assert [names[i] for i in places] in (["dispatch", "combine"], ["combine", "dispatch"])
        times = [sum(kernel_s(w, apart.inputs.device, "bf16") for w in s.works) for s in steps]
        between = sum(times[places[0] : places[1]])
        rest = sum(times) - between
        hidden_s += min(between, exchange_s) + min(rest, exchange_s)
    saved_s = plain.step_s - crossed.step_s
    assert saved_s > 0.0
    assert saved_s == pytest.approx(LAYERS * MICRO * hidden_s, rel=1e-6)


def _units(found: Case) -> list[Unit]:
    return [u for c in found.inputs.chunks[0] for u in c.units]


def test_nothing_to_hide_nothing_saved():
    free = [run(on(case(o, INSTANT))).step_s for o in (False, True)]
    assert free[0] == pytest.approx(free[1], rel=1e-9)
    bare = [run(without_compute(case(o))).step_s for o in (False, True)]
    assert bare[0] == pytest.approx(bare[1], rel=1e-9)


def test_the_same_work_is_done_and_the_same_bytes_go():
    plain, crossed = run(case(False)), run(case(True))
    assert flop(crossed) == pytest.approx(flop(plain), rel=1e-12)
    assert sent(crossed) == pytest.approx(sent(plain), rel=1e-12)
    for name in ("parameters", "expert_parameters"):
        ready = [
            sum(getattr(s, name) for u in _units(c) for s in u.backward)
            for c in (case(False), case(True))
        ]
        assert ready[0] == pytest.approx(ready[1], rel=1e-12)


def test_contention_slows_the_kernels_beside():
    quiet, loud = (
        run(on(case(True, star("40 GB/s")), contention_factor=f)).step_s for f in (0.0, 0.5)
    )
    assert loud > quiet


@pytest.mark.parametrize(
    ("plan", "overlapped"),
    [
        ({}, True),
        ({"pp": 2}, False),
        ({"pp": 2, "virtual_stages": 2}, True),
        ({"recompute": "full"}, False),
        ({"recompute": {"mode": "selective", "modules": ["moe_act"]}}, True),
        ({"ep": 1}, False),
        ({"overlap_experts": False}, False),
    ],
)
def test_the_stack_of_2026_does_where_it_can(plan, overlapped):
    """Megatron-Core asks for virtual stages with a pipeline, and for no full recomputation."""
    devices = EP * int(plan.get("pp", 1))
    found = case_of(
        {**PLAN, **plan}, devices, model=MIXTURE, stack="megatron-core-2026", global_size=2 * EP
    )
    assert found.inputs.plan.overlap_experts is overlapped


@pytest.mark.parametrize("plan", [{"pp": 2}, {"recompute": "full"}])
def test_a_plan_that_asks_for_it_where_it_cannot_be_is_refused(plan):
    with pytest.raises(DistsimError, match="overlap_experts") as caught:
        step({**PLAN, **plan, "overlap_experts": True}, 8, model=MIXTURE, global_size=2 * EP)
    assert caught.value.code == "DS206"
