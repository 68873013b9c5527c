"""Quantities in and out; expected values are written out by hand from the definitions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.errors import ValueProblem
from distsim.units import (
    UNITS,
    fmt_bytes,
    fmt_bytes_per_s,
    fmt_count,
    fmt_flop_per_s,
    fmt_s,
    parse,
)


@pytest.mark.parametrize(
    ("text", "dimension", "expected"),
    [
        ("400 Gbit/s", "bytes_per_s", 50_000_000_000),
        ("25 GB/s", "bytes_per_s", 25_000_000_000),
        ("25GiB/s", "bytes_per_s", 26_843_545_600),
        ("80 GB", "bytes", 80_000_000_000),
        ("80 GiB", "bytes", 85_899_345_920),
        ("8 bit", "bytes", 1),
        ("1 kB", "bytes", 1000),
        ("2 us", "s", 2e-6),
        ("2 µs", "s", 2e-6),
        ("1.5 h", "s", 5400),
        ("312 TFLOP/s", "flop_per_s", 312e12),
        ("3.14e23 FLOP", "flop", 3.14e23),
        ("1.41 GHz", "hz", 1.41e9),
        (" .5 ms ", "s", 5e-4),
        ("90 %", "1", 0.9),
        ("0.9", "1", 0.9),
        (0.9, "1", 0.9),
        (3, "1", 3),
        ("0 s", "s", 0),
    ],
)
def test_a_quantity_in_si_units(text: object, dimension: str, expected: float) -> None:
    assert parse(text, dimension) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "dimension", "code", "hint"),
    [
        (400, "bytes_per_s", "DS210", "GB/s"),
        ("400", "bytes_per_s", "DS210", "GB/s"),
        (2.5, "s", "DS210", "us"),
        ("80 GB", "bytes_per_s", "DS211", "GB/s"),
        ("80 GB/s", "bytes", "DS211", "GB"),
        ("80 GB", "1", "DS211", "leave the unit out"),
        ("312 TFLOP", "flop_per_s", "DS211", "TFLOP/s"),
        ("400 Gbps", "bytes_per_s", "DS212", "'Gbit/s'"),
        ("400 Gb", "bytes", "DS212", "'Gbit'"),
        ("312 TFLOPS", "flop_per_s", "DS212", "'TFLOP/s'"),
        ("80 gb", "bytes", "DS212", "'GB'"),
        ("1 KB", "bytes", "DS212", "'kB'"),
        ("5 secs", "s", "DS212", "'s'"),
        ("5 parsec", "s", "DS212", ""),
        ("1,000 GB", "bytes", "DS212", "commas"),
        ("GB", "bytes", "DS212", "number"),
        ("", "bytes", "DS212", "number"),
        ("nan GB", "bytes", "DS212", "number"),
        ("٣ GB", "bytes", "DS212", "number"),
        (True, "1", "DS212", "number"),
        (None, "bytes", "DS212", "number"),
        (["1 GB"], "bytes", "DS212", "number"),
        ("-25 GB/s", "bytes_per_s", "DS213", "number"),
        ("0 GB/s", "bytes_per_s", "DS213", "number"),
        ("-1 GB", "bytes", "DS213", "number"),
        ("1e400 s", "s", "DS213", "number"),
        (math.inf, "1", "DS213", "number"),
        (math.nan, "1", "DS213", "number"),
        pytest.param(10**5000, "1", "DS213", "number", id="5000 digits"),
        pytest.param(10**5000, "bytes", "DS213", "number", id="5000 digits of bytes"),
    ],
)
def test_what_is_no_quantity_is_refused(text: object, dimension: str, code: str, hint: str) -> None:
    with pytest.raises(ValueProblem) as caught:
        parse(text, dimension, path=("plan", "bucket_size"))
    assert caught.value.code == code
    assert caught.value.path == ("plan", "bucket_size")
    assert hint in caught.value.fix
    assert caught.value.rule


@given(
    st.sampled_from(sorted(UNITS)).flatmap(
        lambda d: st.tuples(st.just(d), st.sampled_from(sorted(UNITS[d])))
    ),
    st.floats(1e-3, 1e6),
)
def test_a_quantity_scales_with_its_number(
    dimension_and_unit: tuple[str, str], number: float
) -> None:
    dimension, unit = dimension_and_unit
    one, some = parse(f"1 {unit}", dimension), parse(f"{number!r} {unit}", dimension)
    assert some == pytest.approx(number * one, rel=1e-15)


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0, "0 s"),
        (3e-6, "3 us"),
        (0.0124, "12.4 ms"),
        (0.99996, "1 s"),
        (5.934, "5.934 s"),
        (119, "119 s"),
        (7200, "2 h"),
        (-0.02, "-20 ms"),
        (1e9, "11574 d"),
        (math.inf, "inf s"),
    ],
)
def test_durations_for_people(value_s: float, text: str) -> None:
    assert fmt_s(value_s) == text


@given(st.floats(1e-9, 1e9))
def test_what_is_written_reads_back_to_four_digits(value: float) -> None:
    assert parse(fmt_s(value), "s") == pytest.approx(value, rel=5.1e-4)
    assert parse(fmt_bytes(value), "bytes") == pytest.approx(value, rel=5.1e-4)
    assert parse(fmt_bytes_per_s(value), "bytes_per_s") == pytest.approx(value, rel=5.1e-4)
    assert parse(fmt_flop_per_s(value), "flop_per_s") == pytest.approx(value, rel=5.1e-4)


def test_counts_for_people() -> None:
    assert fmt_count(98304) == "98,304"
    assert fmt_count(1.746e11) == "174.6B"
    assert fmt_count(1.5) == "1.5"
    assert fmt_bytes(85_899_345_920) == "85.9 GB"
