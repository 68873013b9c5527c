"""Branch and bound against evaluating everything, on some hundred small spaces."""

from __future__ import annotations

import numpy as np
import pytest

import distsim as ds
from distsim.scenario.load import load
from distsim.study.evaluate import evaluate
from distsim.study.money.cost import Power, Rate
from distsim.study.plan import search as searching
from distsim.study.plan.columns import Sources
from distsim.study.plan.meter import Meter
from distsim.study.plan.pareto import front
from distsim.study.plan.search import Bounded, Wanted, bounded, search
from distsim.study.plan.setting import setting
from distsim.study.plan.space import candidates, scenario_of, space_of
from distsim.study.plan.timing import timed

_MODEL = {
    "family": "gpt",
    "layers": 8,
    "hidden": 2048,
    "heads": 16,
    "vocab": 50257,
    "max_positions": 2048,
}
_SIZES = (8, 16)


def _base():
    return {
        "schema": 1,
        "name": "small",
        "cluster": {"topology": "dgx-a100-superpod", "devices": 16},
        "model": _MODEL,
        "batch": {"global_size": 64, "micro_size": 1, "sequence_length": 1024},
    }


@pytest.fixture(scope="module")
def everything():
    """Return a space of small plans with the exact step of every one."""
    base = setting(load(_base()), max(_SIZES))
    fixed = {
        "tp": (1, 2, 4),
        "pp": (1, 2, 4),
        "virtual_stages": (1, 2),
        "micro_size": (1, 2),
        "recompute": ("none", "full"),
        "zero_stage": (0, 1),
        "sequence_parallel": (False,),
    }
    found = candidates(base, space_of(base, _SIZES, fixed))
    sources = Sources(base)
    given = bounded(sources, found)
    exact = {}
    for index in range(len(found)):
        scenario = scenario_of(base, found, index, "graph")
        exact[scenario] = timed(scenario, "graph")
    steps = np.asarray([t.step_s for t in exact.values()])
    assert len(exact) == len(found) > 100
    assert given.fits.all()
    return sources, given, exact, steps


def _part(given: Bounded, rows) -> Bounded:
    return Bounded(
        given.candidates.take(rows),
        given.peak_bytes[rows],
        given.step_s[rows],
        given.compute_s[rows],
        given.exposed_s[rows],
        given.fits[rows],
    )


def _best_of_all(values, wanted):
    """Rank all rows within the limits, and find their front, without any bound."""
    right = [
        i
        for i, (time_s, money, _) in enumerate(values)
        if time_s <= wanted.deadline_s and money <= wanted.budget
    ]
    ranked = sorted(right, key=lambda i: (values[i][wanted.column], i))
    return ranked, right


def test_search_is_exhaustive_evaluation(everything, monkeypatch):
    """The best plans and the front of 300 spaces, with limits or without."""
    sources, given, exact, steps = everything
    monkeypatch.setattr(searching, "timed", lambda scenario, *_, **__: exact[scenario])
    generator = np.random.default_rng(11)
    rate = Rate("on-demand", "USD", 1e-3)
    saved = 0
    for _ in range(300):
        rows = np.sort(generator.choice(len(steps), generator.integers(1, 60), replace=False))
        some = _part(given, rows)
        power = Power(*generator.uniform([50, 300, 50], [100, 700, 200]))
        meter = Meter(1000, rate, power, {8: 1.01, 16: 1.05})
        devices = some.candidates["devices"]
        values = meter.least(devices, steps[rows], some.compute_s, some.exposed_s)
        limits = {}
        if generator.random() < 0.5:
            limits["deadline_s"] = float(np.quantile(values[:, 0], generator.random()))
        if generator.random() < 0.5:
            limits["budget"] = float(np.quantile(values[:, 1], generator.random()))
        objective = str(generator.choice(["time", "cost", "energy"]))
        top = int(generator.integers(1, 6))
        wanted = Wanted(objective, top=top, energy_tolerance=0.0, **limits)
        found = search(sources, some, meter, wanted)
        ranked, right = _best_of_all(values, wanted)
        assert found.ranked(wanted)[:top] == ranked[:top]
        kept = [right[i] for i in front(values[right])] if right else []
        assert found.front(wanted) == kept
        saved += len(rows) - found.timed
    assert saved > 300 * 5  # it is a search, not an enumeration


def test_plan_is_the_best_of_all():
    """`distsim.plan` on one size, evaluated whole by the evaluator of the scenario."""
    space = {"tp": [1, 2, 4], "pp": [1, 2], "micro_size": [1, 2], "zero_stage": [0, 1],
             "recompute": ["none"], "virtual_stages": [1, 2]}  # fmt: skip
    scenario = load(_base() | {"evaluator": "graph"})
    planned = ds.plan(scenario, devices=16, steps=100, space=space, top=3)
    base = setting(scenario, 16)
    found = candidates(base, space_of(base, [16], {k: tuple(v) for k, v in space.items()}))
    outcomes = [evaluate(scenario_of(base, found, i)) for i in range(len(found))]
    steps = sorted(o.step_s for o in outcomes if o.fits)
    assert [c.outcome.step_s for c in planned.top] == pytest.approx(steps[:3], rel=1e-12)
    assert planned.searched["candidates"] == len(found)
    counts = planned.searched
    assert counts["bounded"] == counts["pruned"] + counts["evaluated"]
    assert counts["candidates"] == counts["bounded"] + counts["does_not_fit"]


@pytest.mark.parametrize("seed", range(5))
def test_front_is_what_nobody_beats(seed):
    """Each kept row is beaten by none, each other row by a kept one, by comparing all pairs."""
    values = np.random.default_rng(seed).integers(0, 6, (80, 3)).astype(float)
    kept = front(values)
    for i in range(len(values)):
        beaten = ((values[kept] <= values[i]).all(axis=1)).any()
        assert beaten
    for i in kept:
        better = ((values <= values[i]).all(axis=1) & (values < values[i]).any(axis=1)).any()
        assert not better


def test_the_best_does_not_depend_on_how_many_are_asked_for():
    """Plans that are close by the longest path change places once transfers share links."""
    scenario = load("llama3-70b-512xh100", ["batch.global_size=512"])
    space = {"tp": [4, 8], "pp": [1, 2, 4], "zero_stage": [1, 3], "micro_size": [1]}
    one, ten = (
        ds.plan(scenario, devices=256, tokens="1T", top=top, space=space) for top in (1, 10)
    )
    assert len(one.top) == 1
    assert one.best.outcome.step_s == ten.best.outcome.step_s
    assert ten.best.outcome.step_s == min(c.outcome.step_s for c in ten.top)


def test_bounds_are_close_to_the_steps(everything):
    """A bound that is far below its step prunes nothing (benchmarks/plan_speed.py: larger jobs)."""
    _, given, _, steps = everything
    share = given.step_s / steps
    assert share.max() <= 1.0
    assert np.median(share) > 0.9
    assert share.min() > 0.5
