"""Schedules against closed forms, run by an evaluator of the test's own."""

from __future__ import annotations

import numpy as np
import pytest

from distsim.errors import PlanError
from distsim.schedule import BACKWARD, FORWARD, actions, bubble_fraction, peak_in_flight

CASES = [
    (name, p, m, v)
    for name in ("gpipe", "1f1b", "interleaved")
    for p in (1, 2, 3, 4, 8)
    for m in (p, 2 * p, 4 * p)
    for v in ((2, 4) if name == "interleaved" else (1,))
    if not (name == "interleaved" and p == 1)
]


def _makespan(name: str, p: int, m: int, v: int, forward: float, backward: float) -> float:
    """Run actions in their order on p workers; sends take no time. Fails on a deadlock."""
    order, done = actions(name, p, m, v), {}
    place, clock = [0] * p, [0.0] * p
    while any(place[r] < len(order[r]) for r in range(p)):
        moved = False
        for r in range(p):
            while place[r] < len(order[r]):
                kind, b, c = (
                    int(x[place[r]]) for x in (order[r].kind, order[r].microbatch, order[r].chunk)
                )
                depth = c * p + r
                if kind == FORWARD:
                    need = [("F", depth - 1, b)] if depth else []
                else:
                    need = [("F", depth, b)] + ([("B", depth + 1, b)] if depth < p * v - 1 else [])
                if any(n not in done for n in need):
                    break
                start = max([clock[r], *(done[n] for n in need)])
                clock[r] = start + (forward if kind == FORWARD else backward) / v
                done["F" if kind == FORWARD else "B", depth, b] = clock[r]
                place[r] += 1
                moved = True
        assert moved, "deadlock"
    return max(clock)


@pytest.mark.parametrize(("name", "p", "m", "v"), CASES)
def test_bubble_is_the_closed_form(name, p, m, v):
    forward, backward = 1.0, 2.0
    ideal = m * (forward + backward)
    bubble = _makespan(name, p, m, v, forward, backward) / ideal - 1
    assert bubble == pytest.approx(bubble_fraction(name, p, m, v), abs=1e-12)


@pytest.mark.parametrize(("name", "p", "m", "v"), CASES)
def test_every_micro_batch_passes_every_chunk_once_each_way(name, p, m, v):
    for stage in actions(name, p, m, v):
        for kind in (FORWARD, BACKWARD):
            mine = stage.kind == kind
            pairs = sorted(
                zip(stage.chunk[mine].tolist(), stage.microbatch[mine].tolist(), strict=True)
            )
            assert pairs == [(c, b) for c in range(v) for b in range(m)]


@pytest.mark.parametrize("p", [2, 4, 8])
def test_micro_batches_in_flight(p):
    m, v = 4 * p, 3
    assert [peak_in_flight(a) for a in actions("gpipe", p, m)] == [m] * p
    assert [peak_in_flight(a) for a in actions("1f1b", p, m)] == [p - r for r in range(p)]
    # 1 + (p - 1) / (p v) of all layers on the first stage (Korthikanti 2022, appendix B).
    first = peak_in_flight(actions("interleaved", p, m, v)[0])
    assert first / (p * v) == pytest.approx(1 + (p - 1) / (p * v))


@pytest.mark.parametrize(
    ("name", "p", "m", "v", "code"),
    [
        ("interleaved", 4, 6, 2, "DS311"),
        ("interleaved", 1, 4, 2, "DS312"),
        ("1f1b", 4, 8, 2, "DS310"),
    ],
)
def test_plans_that_cannot_be(name, p, m, v, code):
    with pytest.raises(PlanError) as caught:
        actions(name, p, m, v)
    assert caught.value.code == code


def test_orders_are_plain_arrays():
    stage = actions("1f1b", 64, 512)[0]
    assert stage.kind.dtype == np.uint8
    assert len(stage) == 2 * 512
