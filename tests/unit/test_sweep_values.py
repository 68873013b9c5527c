"""Values of a sweep as people write them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.errors import DistsimError, UsageError
from distsim.study.sweep.axes import axis, axis_of, devices_axis, values
from distsim.units import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8:64", (8, 16, 32, 64)),
        ("8:64:x4", (8, 32)),
        ("8:64:*4", (8, 32)),
        ("8:32:+8", (8, 16, 24, 32)),
        ("8:32:8", (8, 16, 24, 32)),
        ("1,2,8:32,3", (1, 2, 8, 16, 32, 3)),
        ("4,2,4", (4, 2)),
        (" 8 : 32 : x2 ", (8, 16, 32)),
        ("8:8", (8,)),
        ("0:2:+1", (0, 1, 2)),
        ("1MiB:16MiB:x4", ("1 MiB", "4 MiB", "16 MiB")),
        ("512KiB:2MiB", ("512 KiB", "1024 KiB", "2048 KiB")),
        ("10 us:1 ms:x10", ("10 us", "100 us", "1000 us")),
        ("1GB:2GB:+500MB", ("1 GB", "1.5 GB", "2 GB")),
        ("0.1:0.5:+0.2", (0.1, 0.3, 0.5)),
        ("8:30:x1.5", (8, 12, 18, 27)),
        ("none,full", ("none", "full")),
        ("true,false,1", (True, False, 1)),
        ("null,8", (None, 8)),
        ("[8, 8],[10, 6]", ([8, 8], [10, 6])),
        ("{mode: full, every: 2},none", ({"mode": "full", "every": 2}, "none")),
        ("'1,2',3", ("1,2", 3)),
        ('"8:64"', ("8:64",)),
        ("zipf:1.2", ("zipf:1.2",)),
        ("8 GB,16 GB", ("8 GB", "16 GB")),
    ],
)
def test_values(text: str, expected: tuple[object, ...]) -> None:
    found = values(text)
    assert found == expected
    assert [type(v) for v in found] == [type(v) for v in expected]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty value"),
        ("8,,16", "empty value"),
        ("8,", "empty value"),
        ("64:8", "runs upwards"),
        ("0:8", "runs upwards"),
        ("-8:8", "runs upwards"),
        ("8:64:x1", "never gets to its end"),
        ("8:64:x0.5", "never gets to its end"),
        ("8:64:x-2", "never gets to its end"),
        ("8:64:+0", "never gets to its end"),
        ("8:64:-8", "never gets to its end"),
        ("8:64:x2MiB", "never gets to its end"),
        ("8:", "no range"),
        ("8:64:", "no range"),
        ("8:64:y2", "no range"),
        ("1:2:3:4", "no range"),
        ("8:many", "no range"),
        ("8:1MiB", "mixes"),
        ("1MB:1s", "mixes"),
        ("1MB:4MB:+1", "mixes"),
        ("1:1e18:+1", "too many values"),
        ("1:1e999", "runs upwards"),
    ],
)
def test_what_are_no_values(text: str, said: str) -> None:
    if text == "8:many":  # a text like any other
        text = "8:4many:+x"
    with pytest.raises(UsageError, match=said) as caught:
        values(text)
    assert (caught.value.code, caught.value.exit_code) == ("DS660", 2)
    assert "8:1024:x2" in caught.value.fix


def test_a_value_that_is_no_yaml_is_placed_at_its_option() -> None:
    with pytest.raises(DistsimError) as caught:
        axis("plan.tp=[1")
    assert str(caught.value).startswith("--set plan.tp=[1: DS110")


@pytest.mark.parametrize("text", ["plan.tp", "=1", "plan..tp=1", ".tp=1"])
def test_what_is_no_axis(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        axis(text)
    assert caught.value.code == "DS620"


@pytest.mark.parametrize(
    "given_", ["8GB", "0", "1.5:3", "none", "-8", [0], [], [True], [1.5], "8,x"]
)
def test_what_are_no_numbers_of_devices(given_: object) -> None:
    with pytest.raises(UsageError) as caught:
        devices_axis(given_)  # type: ignore[arg-type]
    assert caught.value.code == "DS660"


def test_devices_in_python() -> None:
    assert devices_axis(range(8, 25, 8)).values == (8, 16, 24)
    assert devices_axis(64).values == (64,)
    assert axis_of("plan.tp", [1, 2, 2]).values == (1, 2)
    assert axis_of("plan.tp", [1, 2, 2], repeats=True).values == (1, 2, 2)
    assert axis_of("plan.tp", 4).values == (4,)
    with pytest.raises(UsageError):
        axis_of("plan.tp", [])


@given(st.integers(1, 500), st.integers(1, 10**7), st.sampled_from([2, 3, 4, 10]))
def test_a_geometric_range_multiplies_and_stops_at_its_end(low: int, span: int, by: int) -> None:
    found = values(f"{low}:{low + span}:x{by}")
    assert found[0] == low
    assert all(b == by * a for a, b in pairwise(found))
    assert found[-1] <= low + span < found[-1] * by


@given(st.integers(0, 500), st.integers(0, 5000), st.integers(1, 50))
def test_an_arithmetic_range_is_that_of_python(low: int, span: int, by: int) -> None:
    assert values(f"{low}:{low + span}:+{by}") == tuple(range(low, low + span + 1, by))


@given(st.integers(1, 64), st.integers(1, 10), st.sampled_from(["KiB", "MB", "GB"]))
def test_a_range_with_units_is_the_range_of_its_sizes(low: int, doublings: int, unit: str) -> None:
    found = values(f"{low}{unit}:{low * 2**doublings}{unit}")
    sizes = [parse(value, "bytes") for value in found]
    assert len(found) == doublings + 1
    assert sizes == [parse(f"{low} {unit}", "bytes") * 2**n for n in range(doublings + 1)]


@given(st.text(max_size=30))
def test_any_text_gives_values_or_an_error_of_ours(text: str) -> None:
    try:
        found = values(text)
    except DistsimError as error:
        assert error.exit_code == 2
    else:
        assert found
