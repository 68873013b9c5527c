"""ZB-H2 against its paper (Qi 2023, arXiv 2401.10241, section 2.2 and table 2)."""

from __future__ import annotations

import pytest

from distsim.schedule import REGISTRY, actions, peak_in_flight
from distsim.schedule.schedule import looped
from distsim.schedule.summary import peak_held
from distsim.schedule.timing import Times, unit_times


def run(p: int, m: int, f: float = 1.0, i: float = 1.0, w: float = 1.0) -> Times:
    return unit_times(actions("zb-h2", p, m), looped(p, 1), forward_s=f, input_s=i, weight_s=w)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("extra", [0, 1, 9])
def test_no_stage_waits_at_equal_times(p: int, extra: int) -> None:
    m = 2 * p - 1 + extra
    times = run(p, m)
    assert times.staggered_bubble == pytest.approx(0.0, abs=1e-12)
    assert times.span_s == pytest.approx([3 * m] * p)
    # A parallelogram: the last stage is p - 1 forward passes behind the first.
    assert times.makespan_s == pytest.approx(3 * m + p - 1)


@pytest.mark.parametrize(
    ("f", "i", "w"), [(1.0, 1.0, 0.5), (3.0, 2.0, 2.0), (5.0, 4.0, 1.0), (2.0, 1.0, 3.0)]
)
@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("extra", [0, 1, 9])
def test_the_bubble_is_that_of_the_paper(p: int, extra: int, f: float, i: float, w: float) -> None:
    """(p - 1)(F + I - 2W), or none; where input gradients are not the slower pass."""
    m = 2 * p - 1 + extra
    bubble = max(0.0, (p - 1) * (f + i - 2 * w)) / (m * (f + i + w))
    assert run(p, m, f, i, w).staggered_bubble == pytest.approx(bubble, abs=1e-12)
    assert REGISTRY["zb-h2"].bubble(p, m, 1, f, i, w) == pytest.approx(bubble, abs=1e-12)


@pytest.mark.parametrize("p", [2, 3, 5, 8])
def test_slow_input_gradients_are_waited_for_once(p: int) -> None:
    """The first stage fills p F + (p - 1) I with 2 p - 1 forward passes."""
    m, f, i, w = 3 * p, 2.0, 5.0, 4.0
    wait = p * f + (p - 1) * i - (2 * p - 1) * f
    assert run(p, m, f, i, w).staggered_bubble == pytest.approx(wait / (m * (f + i + w)))
    assert REGISTRY["zb-h2"].bubble(p, m, 1, f, i, w) == pytest.approx(wait / (m * (f + i + w)))


@pytest.mark.parametrize("p", [1, 2, 4, 5, 8])
def test_it_holds_twice_what_1f1b_holds_less_one(p: int) -> None:
    """Qi 2023, section 2.3: 2 p - 2 i + 1 before the input gradient, 2 i - 2 before W."""
    orders = actions("zb-h2", p, 4 * p)
    assert [peak_in_flight(order) for order in orders] == [2 * (p - s) - 1 for s in range(p)]
    assert [peak_held(order) for order in orders] == [2 * p - 1] * p


@pytest.mark.parametrize("p", [2, 4, 8])
def test_fewer_micro_batches_still_run(p: int) -> None:
    for m in range(1, 2 * p - 1):
        closed = REGISTRY["zb-h2"].bubble(p, m, 1)
        assert 0.0 <= closed <= run(p, m).staggered_bubble + 1e-12
