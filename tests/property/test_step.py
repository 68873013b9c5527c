"""Whole steps on small clusters: folding, evaluators, bounds and breakdowns agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from distsim.api import load, simulate
from distsim.engine import event, graph
from distsim.errors import PlanError
from distsim.prediction.breakdown import breakdown
from distsim.prediction.predict import Prediction
from distsim.program.build import Program, build
from distsim.program.opgraph import TaskKind
from distsim.scenario.resolve import resolve

REL = 1e-9
SMALL = {
    "family": "gpt",
    "layers": 8,
    "hidden": 512,
    "heads": 8,
    "vocab": 4096,
    "max_positions": 512,
}

scenarios = st.fixed_dictionaries(
    {
        "devices": st.sampled_from([2, 4, 6, 8, 12, 16, 24, 32, 48]),
        "tp": st.sampled_from([1, 2, 4, 8]),
        "pp": st.sampled_from([1, 2, 3, 4]),
        "v": st.sampled_from([1, 2]),
        "zero": st.sampled_from([0, 1, 2, 3]),
        "schedule": st.sampled_from(["gpipe", "1f1b", "interleaved"]),
        "sp": st.booleans(),
        "recompute": st.sampled_from(["none", "selective", "full"]),
        "overlap": st.booleans(),
        "p2p": st.booleans(),
        "micro": st.integers(1, 4),
        "topology": st.sampled_from(["dgx-a100-superpod", "narrow"]),
        "bucket": st.sampled_from(["1 MB", "100 MB"]),
        "prefetch": st.sampled_from([1, 2, 9]),
        "placement": st.sampled_from(["packed", "packed", "strided", "random"]),
        "spare": st.sampled_from([0, 8]),
    }
)

NARROW = {
    "kind": "superpod",
    "device": "a100-80gb-sxm",
    "devices_per_node": 4,
    "nics_per_node": 2,
    "nodes_per_unit": 2,
    "max_units": 64,
    "oversubscription": 4,
    "links": {
        "nvlink": {"bandwidth": "300 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "t"},
        "pcie": {"bandwidth": "30 GB/s", "efficiency": 0.9, "latency": "1 us", "source": "t"},
        "rail": {"bandwidth": "100 Gbit/s", "efficiency": 0.9, "latency": "1 us", "source": "t"},
        "spine": {"efficiency": 0.9, "latency": "1 us", "source": "t"},
    },
}


def _scenario(c: dict):
    layers = 12 if c["pp"] == 3 else 8
    v = c["v"] if c["schedule"] == "interleaved" and c["pp"] > 1 else 1
    schedule = c["schedule"] if c["pp"] > 1 or c["schedule"] != "interleaved" else "1f1b"
    dp, rest = divmod(c["devices"], c["tp"] * c["pp"])
    if not dp or rest or layers % (c["pp"] * v):
        assume(False)
    return load(
        {
            "schema": 1,
            "name": "property",
            "cluster": {
                "topology": NARROW if c["topology"] == "narrow" else c["topology"],
                "devices": c["devices"],
                "of": c["devices"] + c["spare"],
                "placement": c["placement"],
            },
            "model": SMALL | {"layers": layers},
            "batch": {"global_size": dp * c["pp"] * c["micro"], "sequence_length": 512},
            "plan": {
                "tp": c["tp"],
                "pp": c["pp"],
                "schedule": schedule,
                "virtual_stages": v,
                "zero_stage": c["zero"],
                "sequence_parallel": c["sp"] and c["tp"] > 1,
                "recompute": c["recompute"],
                "overlap_grad_reduce": c["overlap"],
                "overlap_param_gather": c["overlap"],
                "overlap_p2p": c["p2p"],
                "bucket_size": c["bucket"],
                "prefetch_layers": c["prefetch"],
            },
        }
    )


several = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


#: Unfolded, tensor groups of one stage meet on a rail and their collectives are tasks of their own:
#: an action then begins with one, which hid what it waited for and lost the restart.
BEGINS_WITH_A_COLLECTIVE = {
    "devices": 8, "tp": 2, "pp": 2, "v": 1, "zero": 0, "schedule": "gpipe", "sp": False,
    "recompute": "none", "overlap": False, "micro": 1, "topology": "narrow", "bucket": "1 MB",
    "prefetch": 1, "placement": "strided", "spare": 0,
}  # fmt: skip


#: Tensor groups share adapters, gradients stay in the node: unfolded, segments beside gradients are
#: cut around their collectives, folded they are not.
CUT_WHERE_UNFOLDED = BEGINS_WITH_A_COLLECTIVE | {
    "devices": 32, "tp": 8, "pp": 1, "overlap": True, "p2p": False
}  # fmt: skip


def _quiet(program: Program) -> Program:
    """Return a program on devices whose transfers slow no kernel."""
    graph = program.graph
    none = np.zeros_like(graph.contention_factor)
    return replace(program, graph=replace(graph, contention_factor=none))


def _cut_alike(folded: Program, whole: Program) -> bool:
    """Say whether each rank runs the same segments in both.

    A segment that is not cut around the collectives in it is slowed all along, as much as it is
    kernels; one that is cut is slowed where kernels meet gradients.
    """
    counts = np.asarray([c.count for c in folded.classes])[folded.network.fold.class_of]
    return bool((counts == [c.count for c in whole.classes]).all())


def test_what_folding_leaves_whole_is_slowed_no_more_than_beside_moving_bytes():
    inputs = resolve(_scenario(CUT_WHERE_UNFOLDED)).inputs
    programs = [build(inputs, fold_enabled=fold) for fold in (True, False)]
    assert not _cut_alike(*programs)
    quiet = [event.evaluate(_quiet(p).graph).makespan for p in programs]
    assert quiet[0] == pytest.approx(quiet[1], rel=REL)
    for program in programs:
        graph = program.graph
        mine = (graph.stream_device[graph.stream] == 0) & (graph.kind == TaskKind.DATA)
        moving_s = graph.fluid_s()[graph.transfer[mine]].sum()
        # A second beside moving bytes does the work of 1 / (1 + factor).
        factor = graph.contention_factor[0]
        lost_s = moving_s * factor / (1.0 + factor)
        slowed = event.evaluate(graph).makespan
        assert quiet[0] < slowed <= (quiet[0] + lost_s) * (1.0 + REL)


@several
@given(scenarios)
@example(BEGINS_WITH_A_COLLECTIVE | {"p2p": True})
@example(BEGINS_WITH_A_COLLECTIVE | {"p2p": False})
@example(CUT_WHERE_UNFOLDED)
def test_folding_changes_nothing(c):
    """The graph evaluator alone is left out: unfolded it cannot see siblings that share links."""
    scenario = _scenario(c)
    inputs = resolve(scenario).inputs
    programs = [build(inputs, fold_enabled=fold) for fold in (True, False)]
    assert len(programs[1].classes) == c["devices"] >= len(programs[0].classes)
    if _cut_alike(*programs):
        for evaluator in ("auto", "event"):
            _same(*(simulate(scenario, evaluator=evaluator, fold=fold) for fold in (True, False)))
    else:
        # But for which kernels meet gradients.
        runs = [event.evaluate(_quiet(p).graph) for p in programs]
        assert runs[0].makespan == pytest.approx(runs[1].makespan, rel=REL)
        parts = [breakdown(p, run)[0].to_dict() for p, run in zip(programs, runs, strict=True)]
        for each in parts:
            # A device that waits for both waits for the host as long as the collective leaves.
            each["waits_s"] = each.pop("tensor_s") + each.pop("host_s")
        _same_parts(*parts, runs[1].makespan)


def _same(folded: Prediction, whole: Prediction) -> None:
    assert folded.step_s == pytest.approx(whole.step_s, rel=REL)
    _same_parts(folded.breakdown.to_dict(), whole.breakdown.to_dict(), whole.step_s)


def _same_parts(folded: dict[str, float], whole: dict[str, float], step_s: float) -> None:
    for key, value in folded.items():
        assert value == pytest.approx(whole[key], rel=REL, abs=REL * step_s), key


@several
@given(scenarios)
def test_evaluators_agree_where_nothing_contends(c):
    program = build(resolve(_scenario(c)).inputs)
    by_path, by_event = graph.evaluate(program.graph), event.evaluate(program.graph)
    slack = REL * by_path.makespan
    assert (by_event.end_s >= by_path.end_s - slack).all()
    if graph.is_valid(program.graph, by_path):
        np.testing.assert_allclose(by_event.end_s, by_path.end_s, rtol=REL, atol=slack)


@several
@given(scenarios)
def test_bounds_hold_and_parts_sum_up(c):
    scenario = _scenario(c)
    for evaluator in ("auto", "event"):
        p = simulate(scenario, evaluator=evaluator)
        assert p.bounds.lower_s <= p.step_s * (1 + REL)
        assert p.step_s <= p.bounds.upper_s * (1 + REL)
        parts = p.breakdown.to_dict()
        assert sum(parts.values()) == pytest.approx(p.step_s, rel=REL)
        assert min(parts.values()) >= -REL * p.step_s


@several
@given(scenarios)
def test_twice_the_rates_and_half_the_latencies_take_half_the_time(c):
    case = resolve(_scenario(c))
    program = build(case.inputs)
    from dataclasses import replace

    g = program.graph
    fast = replace(g, work_s=g.work_s / 2, capacity_bytes_per_s=g.capacity_bytes_per_s * 2)
    assert event.evaluate(fast).makespan == pytest.approx(event.evaluate(g).makespan / 2, rel=REL)


@several
@given(scenarios)
def test_every_class_is_busy_as_long_as_its_work(c):
    program = build(resolve(_scenario(c)).inputs)
    run = event.evaluate(program.graph)
    _, each = breakdown(program, run)
    for parts in each:
        assert sum(parts.values()) == pytest.approx(run.makespan, rel=REL)


def test_a_plan_that_does_not_multiply_out_shows_the_equation():
    with pytest.raises(PlanError, match=r"tp\(3\) \* pp\(1\) \* cp\(1\) = 3 does not divide"):
        simulate(load("gpt2-xl-8xa100", ["plan.tp=3"]))
