"""The check of schedules, on orders written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from distsim.errors import PlanError
from distsim.schedule import REGISTRY, Actions
from distsim.schedule.actions import make
from distsim.schedule.check import check
from distsim.schedule.schedule import looped
from distsim.schedule.timing import unit_times

# Actions are (kind, micro batch, chunk); F0 B0 on each of two stages is legal.
GOOD = ([(0, 0, 0), (1, 0, 0)], [(0, 0, 0), (1, 0, 0)])
SPLIT = ([(0, 0, 0), (3, 0, 0), (2, 0, 0)], [(0, 0, 0), (1, 0, 0)])
BAD = {
    "1B0 comes before 1F0": (GOOD[0], GOOD[1][::-1]),
    "chunk 1 has no B or I of micro batch 0": (GOOD[0], GOOD[1][:1]),
    "chunk 1 has no F of micro batch 0": (GOOD[0], GOOD[1][1:]),
    "0F0 comes after 0F0": ([(0, 0, 0), *GOOD[0]], GOOD[1]),
    "1I0 comes after 1B0": (GOOD[0], [*GOOD[1], (3, 0, 0)]),
    "chunk 1 has no F of micro batch 1": ([*GOOD[0], (0, 1, 0), (1, 1, 0)], GOOD[1]),
    "1W0 stands beside B": (GOOD[0], [*GOOD[1], (2, 0, 0)]),
    "0I0 has no W": (SPLIT[0][:2], SPLIT[1]),
    "0W0 is there twice": ([*SPLIT[0], (2, 0, 0)], SPLIT[1]),
    "0W0 comes before 0I0": ([SPLIT[0][0], *SPLIT[0][:0:-1]], SPLIT[1]),
    # 0F1 waits behind 0B0, which waits for 1B0, which stands behind 1F1, which waits for 0F1.
    "wait for each other": (
        [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)],
        [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)],
    ),
    "there are no actions": ([], []),
}


def hand(rows: tuple[list[tuple[int, int, int]], ...]) -> list[Actions]:
    """Build orders from (kind, micro batch, chunk)."""
    return [make(*(np.asarray(row, dtype=int).reshape(-1, 3).T)) for row in rows]


@pytest.mark.parametrize("rows", [GOOD, SPLIT])
def test_legal_orders_pass(rows: tuple[list[tuple[int, int, int]], ...]) -> None:
    check(hand(rows), looped(2, 1))


@pytest.mark.parametrize("message", BAD)
def test_illegal_orders_are_refused(message: str) -> None:
    with pytest.raises(PlanError) as caught:
        check(hand(BAD[message]), looped(2, 1))
    assert caught.value.code == "DS317"
    assert message in caught.value.message
    assert caught.value.rule and caught.value.fix


@pytest.mark.parametrize(
    ("placement", "replicas", "message"),
    [
        (((0,), (0,)), 1, "model chunks [0, 0]"),
        (((0,), (2,)), 1, "model chunks [0, 2]"),
        (((0,), ()), 1, "stage 1 holds no model chunk"),
        (((0,), (1,), (2,)), 1, "2 orders for 3 stages"),
        (((0,), (1,)), 2, "1 micro batches for 2 copies"),
        (((0,), (1,), (2,)), 2, "for 2 copies"),
    ],
)
def test_placements_that_do_not_fit_are_refused(
    placement: tuple[tuple[int, ...], ...], replicas: int, message: str
) -> None:
    with pytest.raises(PlanError) as caught:
        check(hand(GOOD), placement, replicas)
    assert caught.value.code == "DS317" and message in caught.value.message


def test_a_micro_batch_of_the_other_copy_is_refused() -> None:
    orders = [*REGISTRY["dualpipe"].order(2, 4, 2)]
    placement = REGISTRY["dualpipe"].placement(2, 2)
    wrong = orders[0].microbatch.copy()
    wrong[0] = 3
    orders[0] = make(orders[0].kind, wrong, orders[0].chunk)
    with pytest.raises(PlanError, match="0F3 is of copy 0, whose micro batches are 0 to 1"):
        check(orders, placement, 2)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ([0], "action 0 of stage 0 is paired with what is not its counterpart"),
        ([5], "action 5 of stage 0 is paired with what is not its counterpart"),
        ([1, 2], "three actions of stage 0 are paired"),
    ],
)
def test_pairs_that_are_none_are_refused(first: list[int], message: str) -> None:
    kind, microbatch = [0, 0, 1, 0, 1, 1], [0, 1, 0, 2, 1, 2]  # F0 F1 B0 F2 B1 B2
    check([make(kind, microbatch, [0] * 6, np.isin(np.arange(6), [1, 3]))], ((0,),))
    with pytest.raises(PlanError, match=message):
        check([make(kind, microbatch, [0] * 6, np.isin(np.arange(6), first))], ((0,),))


def test_pairs_that_wait_for_each_other_are_refused() -> None:
    """One after the other they could run: 0F0, 1F0, 1B0, 0B0; together none can begin."""
    rows = [make([0, 1], [0, 0], [0, 0], [True, False])] * 2
    alone = [make([0, 1], [0, 0], [0, 0])] * 2
    check(alone, looped(2, 1))
    with pytest.raises(PlanError, match="wait for each other"):
        check(rows, looped(2, 1))
    with pytest.raises(PlanError, match="wait for each other"):
        unit_times(rows, looped(2, 1))
