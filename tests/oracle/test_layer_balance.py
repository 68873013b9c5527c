"""Layers of model chunks divided by cost, against every division there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest

from distsim.cost.kernel import price
from distsim.parallel.layers import balanced_layers
from distsim.prediction.predict import Prediction
from distsim.schedule import BACKWARD, FORWARD
from tests.strategies import DENSE, INSTANT, MIXTURE, case_of, run


def divisions(layers: int, chunks: int) -> Iterator[tuple[int, ...]]:
    if chunks == 1:
        yield (layers,)
        return
    for count in range(layers + 1):
        for rest in divisions(layers - count, chunks - 1):
            yield (count, *rest)


def slowest(
    counts: Sequence[int], costs: Sequence[float], first: float = 0.0, last: float = 0.0
) -> float:
    at = np.cumsum([0, *counts])
    each = [sum(costs[a:b]) for a, b in pairwise(at.tolist())]
    each[0] += first
    each[-1] += last
    return max(each)


@pytest.mark.parametrize("seed", range(60))
def test_no_division_is_faster(seed):
    """The least bottleneck of all divisions into consecutive chunks, empty ones included."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        layers, chunks = int(rng.integers(1, 8)), int(rng.integers(1, 5))
        costs = rng.choice([1.0, 1.5, 2.0, rng.uniform(0.1, 3.0)], layers).tolist()
        first, last = rng.choice([0.0, 0.5, 1.0, 3.0, 6.0], 2).tolist()
        found = balanced_layers(costs, chunks, first, last)
        assert (len(found), sum(found), min(found) >= 0) == (chunks, layers, True)
        best = min(slowest(d, costs, first, last) for d in divisions(layers, chunks))
        assert slowest(found, costs, first, last) == pytest.approx(best, rel=1e-9)


def test_equal_layers_are_divided_evenly():
    assert balanced_layers([1.0] * 12, 4, 0.0, 0.0) == (3, 3, 3, 3)
    assert balanced_layers([1.0] * 10, 4, 0.0, 0.0) in {(1, 3, 3, 3), (2, 2, 3, 3)}


def test_every_chunk_has_a_layer_unless_an_end_is_faster_without():
    assert min(balanced_layers([1.0] * 4, 4, 0.5, 1.0)) == 1
    assert balanced_layers([1.0, 1.0, 2.0], 2, 6.0, 0.0) == (0, 3)
    assert balanced_layers([1.0, 1.0], 2, 0.0, 6.0) == (2, 0)
    middle = balanced_layers([1.0] * 4, 4, 10.0, 0.0)
    assert middle[0] == 0 and min(middle[1:]) == 1


def pace(p: Prediction) -> float:
    """Time of the slowest model chunk, forward and backward, from its kernels."""
    program = p.timeline.program
    device = program.inputs.device
    return max(
        price(
            [w for u in c.units for k in (FORWARD, BACKWARD) for s in u.steps(k) for w in s.works],
            device,
            program.inputs.dtype,
        ).device_s
        for stage in program.inputs.chunks
        for c in stage
    )


MODELS = [
    (DENSE | {"layers": 16, "vocab": 65536}, {}),
    (DENSE | {"layers": 16, "vocab": 1024}, {}),
    (DENSE | {"layers": 16, "vocab": 32768}, {"recompute": {"mode": "full", "layers": [0, 1, 2]}}),
    (MIXTURE | {"layers": 16, "dense_layers": 3}, {}),
]


@pytest.mark.parametrize(("model", "more"), MODELS)
@pytest.mark.parametrize(
    ("pp", "v", "schedule"),
    [(2, 1, "1f1b"), (4, 1, "gpipe"), (2, 2, "interleaved"), (4, 1, "zb-v")],
)
def test_the_slowest_chunk_is_never_slower_than_even(model, more, pp, v, schedule):
    plan = {"pp": pp, "virtual_stages": v, "schedule": schedule, **more}
    even, balanced = (
        run(case_of(plan | {"balance": b}, pp, model=model, length=512, global_size=8))
        for b in ("even", "cost")
    )
    assert sum(balanced.timeline.program.inputs.plan.layers) == 16
    assert pace(balanced) <= pace(even) * (1 + 1e-9)
    if model["vocab"] == 65536:
        assert pace(balanced) < pace(even)


@pytest.mark.parametrize("pp", [2, 3])
def test_the_pace_of_a_whole_plan_is_the_best_of_all_divisions(pp):
    """Against every division that the plan could list."""
    model = DENSE | {"layers": 5, "vocab": 16384}
    more = {"model": model, "length": 512, "topology": INSTANT, "global_size": 8}
    plan = {"pp": pp, "overlap_p2p": True}
    found = run(case_of(plan | {"balance": "cost"}, pp, **more))
    paces = [
        pace(run(case_of(plan | {"layers_per_stage": list(d)}, pp, **more)))
        for d in divisions(5, pp)
    ]
    assert pace(found) == pytest.approx(min(paces), rel=1e-9)


def _layers(p: Prediction) -> tuple[int, ...]:
    return p.timeline.program.inputs.plan.layers


def test_stages_without_layers_run():
    """Fewer layers than stages, and an embedding that has a stage of its own."""
    p = run(case_of({"pp": 4, "balance": "cost"}, 4, model=DENSE | {"layers": 2}, global_size=4))
    assert sorted(_layers(p)) == [0, 0, 1, 1]
    assert p.step_s > 0.0
    alone = run(case_of({"pp": 2, "layers_per_stage": [0, 4]}, 2, global_size=4))
    assert alone.step_s > 0.0
