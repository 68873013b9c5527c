"""Schedules in PyTorch's CSV: what is read, what is refused, and where."""

from __future__ import annotations

import csv
import io
from collections import Counter

import numpy as np
import pytest

from distsim.errors import CODES, PlanError, SyntaxProblem
from distsim.schedule import REGISTRY, actions, csv_actions, peak_in_flight
from distsim.schedule.actions import BACKWARD, FORWARD, make
from distsim.schedule.csv_actions import parse, read, write
from distsim.schedule.schedule import looped
from tests.schedules import listed, plans

# 1F1B of two ranks and two micro batches, with what FSDP and PyTorch's lowering put around it.
LOWERED = """\
0UNSHARD,0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1,0REDUCE_GRAD,0RESHARD
1UNSHARD,1RECV_F0,1F0,1RECV_F1,1B0,1SEND_B0,1F1,1B1,1SEND_B1,1REDUCE_GRAD,1RESHARD
"""
# Two stages a rank in a V, a pair in one cell, waits, and blanks that editors leave.
PAIRED = """\
0F0,0F1,3F0,3B0,3F1, (0F2;3B1)OVERLAP_F_B ,,3F2,3B2,0B0,0B1,0B2\r
,1F0,2F0,1F1,2F1,2B0,1F2,2F2,2B1,2B2,1B0,1B1,1B2\r
\r
"""


def test_a_lowered_file_is_its_computation() -> None:
    table = parse(LOWERED, "lowered.csv")
    assert table.placement == ((0,), (1,))
    assert (table.stages, table.microbatches, table.replicas) == (2, 2, 1)
    for order, wanted in zip(table.orders, actions("1f1b", 2, 2), strict=True):
        assert (order.kind == wanted.kind).all()
        assert (order.microbatch == wanted.microbatch).all()


def test_pairs_waits_and_stages_in_a_v() -> None:
    table = parse(PAIRED, "paired.csv")
    assert table.placement == ((0, 3), (1, 2))
    row = listed(table.orders[0], table.placement[0])
    assert row[5:7] == [("F", 0, 2), ("B", 3, 1)]
    assert np.flatnonzero(table.orders[0].paired).tolist() == [5]
    assert len(table.orders[0]) == 12


def test_a_file_is_a_schedule_of_its_own_size_alone() -> None:
    schedule = read(PAIRED, "paired.csv")
    assert (schedule.name, schedule.chunks, schedule.flush) == ("paired.csv", 2, True)
    assert schedule.placement(2, 2) == ((0, 3), (1, 2))
    assert actions(schedule, 2, 3)[0] is schedule.order(2, 3, 2)[0]
    assert peak_in_flight(actions(schedule, 2, 3)[0]) == 4  # 0F0, 0F1, 3F1 and 0F2
    for p, m, v, has, asked in ((4, 3, 2, "stages = 2", "4"), (2, 8, 2, "micro batches = 3", "8")):
        with pytest.raises(PlanError) as caught:
            schedule.order(p, m, v)
        error = caught.value
        assert error.code == "DS316"
        assert f"is for {has}, but the plan has {asked}" in error.message
        assert has in error.fix and error.value == int(asked)
    with pytest.raises(PlanError) as caught:
        actions(schedule, 2, 3, 3)
    assert caught.value.code == "DS310"


def test_the_bubble_of_a_file_is_measured() -> None:
    orders = REGISTRY["1f1b"].order(4, 8, 1)
    found = read(write(orders, looped(4, 1)), "x.csv")
    assert found.bubble(4, 8, 1, 1.0, 2.0, 0.5) == pytest.approx(3 / 8)


def test_copies_of_the_model_are_stages_with_micro_batches_of_their_own() -> None:
    schedule = REGISTRY["dualpipe"]
    orders, placement = schedule.order(4, 8, 2), schedule.placement(4, 2)
    text = write(orders, placement)
    found = read(text, "dual.csv")
    assert found.replicas == 2
    assert "7F4" in text and "0F4" not in text and ")OVERLAP_F_B" in text


# What is written.


@pytest.mark.parametrize(("name", "p", "m", "v"), list(plans((2, 3, 4), (4, 8, 9), (2,))))
def test_cells_of_a_computation_line_up_as_time_slots(name: str, p: int, m: int, v: int) -> None:
    """Whatever an action needs stands in a column before it."""
    schedule = REGISTRY[name]
    text = write(schedule.order(p, m, v), schedule.placement(p, v))
    column: dict[str, int] = {}
    for row in csv.reader(io.StringIO(text)):
        assert row[-1]
        for n, cell in enumerate(row):
            for one in cell.removesuffix("OVERLAP_F_B").strip("()").split(";") if cell else ():
                column[one] = n
    per_copy = p * v // schedule.replicas
    for cell, n in column.items():
        letter = cell.strip("0123456789")
        k, b = map(int, cell.split(letter))
        if letter == "F" and k % per_copy:
            assert column[f"{k - 1}F{b}"] < n
        if letter == "W":
            assert column[f"{k}I{b}"] < n
        if letter in "BI" and k % per_copy < per_copy - 1:
            assert min(column.get(f"{k + 1}{x}{b}", 1 << 30) for x in "BI") < n


@pytest.mark.parametrize(("name", "p", "m", "v"), list(plans((2, 3, 4), (4, 8, 9), (2,))))
def test_what_is_sent_is_received_and_none_waits_for_ever(
    name: str, p: int, m: int, v: int
) -> None:
    """Ranks that keep to their rows, with a receive that waits for its send."""
    schedule = REGISTRY[name]
    text = write(schedule.order(p, m, v), schedule.placement(p, v), communication=True)
    rows = [row for row in csv.reader(io.StringIO(text))]
    cells = Counter(cell for row in rows for cell in row)
    assert max(cells.values()) == 1 and "" not in cells
    done: set[str] = set()
    at = [0] * p
    while (left := sum(map(len, rows)) - sum(at)) > 0:
        for rank, row in enumerate(rows):
            while at[rank] < len(row) and _may_run(row[at[rank]], done):
                done.add(row[at[rank]])
                at[rank] += 1
        assert sum(map(len, rows)) - sum(at) < left, [
            r[a] for r, a in zip(rows, at, strict=True) if a < len(r)
        ]
    # One hop fewer than chunks in each copy, each way, less those inside a stage.
    hops = sum(
        1
        for k in range(p * v - 1)
        if (k + 1) % (p * v // schedule.replicas) and not _together(schedule.placement(p, v), k)
    )
    sends = sum("SEND" in cell for cell in cells)
    assert sends == sum("RECV" in cell for cell in cells) == 2 * hops * m // schedule.replicas


def _may_run(cell: str, done: set[str]) -> bool:
    if "RECV_F" in cell:
        k, b = map(int, cell.split("RECV_F"))
        return f"{k - 1}SEND_F{b}" in done
    if "RECV_B" in cell:
        k, b = map(int, cell.split("RECV_B"))
        return f"{k + 1}SEND_B{b}" in done
    return True


def _together(placement: tuple[tuple[int, ...], ...], k: int) -> bool:
    return any(k in held and k + 1 in held for held in placement)


def test_an_order_that_is_none_is_not_written() -> None:
    with pytest.raises(PlanError) as caught:
        write([make([BACKWARD, FORWARD], [0, 0], [0, 0])], ((0,),))
    assert caught.value.code == "DS317"


def test_a_table_that_would_be_mostly_waits_is_not_filled_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orders = REGISTRY["naive"].order(4, 2, 1)
    assert ",,," in write(orders, looped(4, 1))
    monkeypatch.setattr(csv_actions, "MOST_SLOTS", 10)
    text = write(orders, looped(4, 1))
    assert ",," not in text
    assert parse(text, "x.csv").microbatches == 2


# What is refused: content, code, line, column, part of the message.

GOOD = "0F0,0B0\n1F0,1B0\n"
BAD = {
    "word": ("0F0,0B0\n1F0,wait\n", "DS125", 2, 2, "'wait' is no action"),
    "lower case": ("0f0,0B0\n1F0,1B0\n", "DS125", 1, 1, "'0f0'"),
    "no stage": ("F0,0B0\n", "DS125", 1, 1, "'F0'"),
    "no micro batch": ("0F0,0B\n", "DS125", 1, 2, "'0B'"),
    "send without a micro batch": ("0F0,0SEND_F,0B0\n", "DS125", 1, 2, "'0SEND_F'"),
    "trailing letters": ("0F0x,0B0\n", "DS125", 1, 1, "'0F0x'"),
    "negative": ("0F-1,0B0\n", "DS125", 1, 1, "'0F-1'"),
    "other digits": ("0F٣,0B0\n", "DS125", 1, 1, "is no action"),
    "long number": ("0F0000000001,0B0\n", "DS125", 1, 1, "is no action"),
    "semicolons": ("0F0;0B0\n", "DS125", 1, 1, "'0F0;0B0'"),
    "three in a pair": ("(0F0;0B0;0F1)OVERLAP_F_B\n", "DS125", 1, 1, "is no action"),
    "two forwards in a pair": ("(0F0;0F1)OVERLAP_F_B\n", "DS125", 1, 1, "pairs other actions"),
    "weight in a pair": ("0F0,0I0,(0F1;0W0)OVERLAP_F_B\n", "DS125", 1, 3, "pairs other actions"),
    "send in a pair": ("(0F0;0SEND_F0)OVERLAP_F_B\n", "DS125", 1, 1, "is no action"),
    "huge cell": (f"0F0,{'x' * 200_000}\n", "DS125", 1, 0, "field larger than field limit"),
    "two ranks": ("0F0,0B0,1F0\n1B0\n", "DS126", 2, 1, "is on rank 0 too (line 1, column 3)"),
    "sent by another rank": (f"{GOOD}0SEND_F0\n", "DS126", 3, 1, "stage 0 is on rank 0 too"),
    "stage missing": ("0F0,0B0\n2F0,2B0\n", "DS126", 0, 0, "there is no stage 1, but 2"),
    "empty row": ("0F0,0B0\n\n1F0,1B0\n", "DS126", 0, 0, "rank 1 holds 0 stages, rank 0 1"),
    "row of waits": ("0F0,0B0\n,,\n1F0,1B0\n", "DS126", 0, 0, "rank 1 holds 0 stages"),
    "unequal ranks": ("0F0,1F0,1B0,0B0\n2F0,2B0\n", "DS126", 2, 1, "holds 1 stages, rank 0 2"),
    "waits alone": (",,\n,,\n", "DS126", 0, 0, "there are no actions"),
    "only sends": ("0SEND_F0\n1RECV_F0\n", "DS127", 0, 0, "there are no actions"),
    "no backward": ("0F0,0B0\n1F0\n", "DS127", 2, 1, "chunk 1 has no B or I of micro batch 0"),
    "no forward": ("0F0,0B0\n1B0\n", "DS127", 2, 1, "chunk 1 has no F of micro batch 0"),
    "gap": ("0F0,0F2,0B0,0B2\n1F0,1F2,1B0,1B2\n", "DS127", 1, 1, "no F of micro batch 1"),
    "twice": ("0F0,0B0,,0F0\n1F0,1B0\n", "DS127", 1, 4, "column 4: 0F0 comes after 0F0"),
    "B and I": ("0F0,0I0,0W0,0B0\n1F0,1B0\n", "DS127", 1, 4, "0B0 comes after 0I0"),
    "B and W": ("0F0,0B0,0W0\n1F0,1B0\n", "DS127", 1, 3, "0W0 stands beside B"),
    "I alone": ("0F0,0I0\n1F0,1B0\n", "DS127", 1, 2, "0I0 has no W"),
    "W twice": ("0F0,0I0,0W0,0W0\n1F0,1B0\n", "DS127", 1, 4, "0W0 is there twice"),
    "B before F": ("0F0,0B0\n,1B0,1F0\n", "DS128", 2, 2, "rank 1, column 2: 1B0 comes before 1F0"),
    "W before I": ("0F0,0W0,0I0\n1F0,1B0\n", "DS128", 1, 2, "0W0 comes before 0I0"),
    "deadlock": (
        "0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1\n", "DS128", 1, 2,
        "stage 0 waits at 0B0 for 1B0 of stage 1; stage 1 waits at 1F1 for 0F1 of stage 0",
    ),
    "pairs that wait": (
        "(0F0;0B0)OVERLAP_F_B\n(1F0;1B0)OVERLAP_F_B\n", "DS128", 1, 1, "wait for each other",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_with_its_place(case: str) -> None:
    text, code, line, column, message = BAD[case]
    with pytest.raises(SyntaxProblem) as caught:
        read(text, "bad.csv")
    error = caught.value
    assert error.code == code and code in CODES
    assert error.place is not None and error.place.file == "bad.csv"
    assert (error.place.line, error.place.column) == (line, column), str(error)
    assert message in error.message
    assert error.rule and error.fix and len(str(error)) < 1000


def test_too_many_characters_and_actions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, most in (("MOST_CHARACTERS", 10), ("MOST_ACTIONS", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(csv_actions, limit, most)
            with pytest.raises(SyntaxProblem) as caught:
                read(GOOD, "large.csv")
        assert caught.value.code == "DS129"
        assert str(most) in caught.value.rule
    assert read(GOOD, "small.csv").chunks == 1


def test_huge_numbers_cost_nothing() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        read("0F999999999,0B999999999\n", "x.csv")
    assert caught.value.code == "DS127"
    with pytest.raises(SyntaxProblem) as caught:
        read("999999999F0,999999999B0\n", "x.csv")
    assert caught.value.code == "DS126"
