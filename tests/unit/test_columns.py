"""Tables at every width: nothing is wider, nothing is lost, numbers stay whole."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from distsim.report.columns import Columns
from distsim.report.layout import SECONDS, aligned, columns


def _lines(table: Columns, width: int) -> list[str]:
    console = Console(width=width, color_system=None, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


HEADS = ("name", "devices", "step", "why not")
ROWS = [
    ("small", "8", "3.699 s", ""),
    ("larger", "1,024", "12.1 s", "DS301: tp(5) * pp(1) * cp(1) = 5 does not divide devices(8)"),
]


def test_what_fits_stands_side_by_side() -> None:
    assert _lines(columns(HEADS, ROWS, left=(0, 3)), 100) == [
        "name    devices     step  why not",
        "small         8  3.699 s",
        "larger    1,024   12.1 s  DS301: tp(5) * pp(1) * cp(1) = 5 does not divide devices(8)",
    ]


def test_a_last_column_of_text_wraps_under_its_head() -> None:
    assert _lines(columns(HEADS, ROWS, left=(0, 3)), 60)[2:] == [
        "larger    1,024   12.1 s  DS301: tp(5) * pp(1) * cp(1) = 5",
        "                          does not divide devices(8)",
    ]


def test_where_it_has_no_place_it_goes_below_each_row() -> None:
    assert _lines(columns(HEADS, ROWS, left=(0, 3)), 44) == [
        "name    devices     step",
        "  why not",
        "small         8  3.699 s",
        "larger    1,024   12.1 s",
        "  DS301: tp(5) * pp(1) * cp(1) = 5 does not",
        "  divide devices(8)",
    ]


def test_numbers_go_into_blocks_that_begin_with_the_name() -> None:
    heads = ("law", "tokens", "money", "CO2")
    rows = [("one", "1.6T", "5M USD", "362 t"), ("two", "20B", "1M USD", "1 t")]
    assert _lines(columns(heads, rows), 20) == [
        "law  tokens   money",
        "one    1.6T  5M USD",
        "two     20B  1M USD",
        "",
        "law    CO2",
        "one  362 t",
        "two    1 t",
    ]


@pytest.mark.parametrize("left", [(0,), (0, 3)])
def test_the_last_cell_of_the_width_is_used_and_no_more(left: tuple[int, ...]) -> None:
    rows = [("small", "8", "3.699 s", "x" * 20), ("larger", "1,024", "12.1 s", "y" * 20)]
    needed = 6 + 2 + 7 + 2 + 7 + 2 + 20
    assert len(_lines(columns(HEADS, rows, left=left), needed)) == 3
    lines = _lines(columns(HEADS, rows, left=left), needed - 1)
    assert len(lines) == (7 if left == (0,) else 6)
    assert "x" * 20 in "\n".join(lines)


def test_what_may_be_left_out_is_named() -> None:
    heads = ("name", "dp", "tp", "model", "cluster")
    rows = [("one", "16", "8", "gpt2-xl", "64 x v100")]
    table = columns(heads, rows, left=(0, 3, 4), optional=[(1, 2), (3,)])
    assert _lines(table, 80)[0].split() == list(heads)
    assert _lines(table, 28) == [
        "name  model    cluster",
        "one   gpt2-xl  64 x v100",
        "(too narrow for dp, tp;",
        "--json has all)",
    ]
    assert _lines(table, 16)[:2] == ["name  cluster", "one   64 x v100"]


def test_a_name_that_may_not_wrap_is_cut_on_a_terminal_and_whole_in_a_pipe() -> None:
    table = columns(("time", "kernel"), [("1 ms", Text("a" * 90, no_wrap=True))], left=(1,))
    assert _lines(table, 50)[1] == f"1 ms  {'a' * 43}…"
    assert _lines(table, 10_000)[1] == f"1 ms  {'a' * 90}"


words = st.text(st.sampled_from("abcxyz019.-"), min_size=1, max_size=12)
numbers = st.integers(0, 10**9).map("{:,}".format)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(words, numbers, numbers, numbers, st.lists(words, max_size=8).map(" ".join)),
        min_size=1,
        max_size=4,
    ),
    st.integers(30, 130),
)
def test_every_cell_is_there_and_no_line_is_wider(rows: list[tuple[str, ...]], width: int) -> None:
    lines = _lines(columns(("a", "b", "c", "d", "e"), rows, left=(0, 4)), width)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    for *cells, last in rows:
        for cell in cells:
            assert re.search(rf"(?<!\S){re.escape(cell)}(?!\S)", text)
        for word in last.split():
            assert word in text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.6, 12.04], ["3.60 s", "12.04 s"]),
        ([0.0036, 0.00361], ["3.600 ms", "3.610 ms"]),
        ([0.001, 100.0], ["1.000 ms", "100.0 s"]),
        ([], []),
        ([0.0], ["0.000 s"]),
    ],
)
def test_numbers_of_a_column_share_their_unit(values: list[float], expected: list[str]) -> None:
    assert aligned(values, SECONDS) == expected
