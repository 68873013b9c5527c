"""Whatever a file of measurements or shares holds: numbers that make sense, or one clear error."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distsim.errors import BadInput
from distsim.report.json_ import dumps
from distsim.study.collective import collective_report
from distsim.study.comparison import compare
from distsim.study.measured import Asked, read_measurements
from distsim.study.names import collectives
from distsim.study.unequal import read_shares

FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

numbers = st.one_of(
    st.integers(-5, 2**70).map(str),
    st.floats(allow_nan=True).map(repr),
    st.sampled_from(["0", "0.00", "1048576", "92.79", "1,024", "1_0", "N/A", "", "9" * 400, "٣"]),
)
words = st.sampled_from(["float", "sum", "none", "-1", "0", "bfloat16", "x", "all_reduce"])
lines = st.one_of(
    st.lists(st.one_of(numbers, words), max_size=14).map(" ".join),
    st.builds(
        "{} {} float sum -1 {} {} {} 0 {} {} {} N/A".format,
        *([numbers] * 8),
    ),
    st.sampled_from(
        [
            "# nThread 1 nGpus 8",
            "#  Rank  0 Group  0 Pid  313 on host-a device  0 [0x18] NVIDIA H100",
            "#  Rank 99999999999999999999 Pid  313",
            "# Collective test starting: all_gather_perf",
            "./sendrecv_perf -b 8 -e 8G",
            "#       size         count      type   redop    root     time   algbw   busbw #wrong",
            "# Avg bus bandwidth    : 45.2",
            "\x1b[31m\x00\x0b\u2028",
        ]
    ),
    st.text(max_size=40),
)
prefixes = st.sampled_from(["", "[0] ", "[1,0]<stdout>:", "host: ", "\x1b[0m", "# "])
logs = st.builds(
    lambda prefix, body, end: end.join(prefix + line for line in body),
    prefixes,
    st.lists(lines, max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
columns = st.sampled_from(
    [
        *("size_bytes", "Size (B)", "time_us", "time_s", "out_of_place_ns", "in_place_us"),
        *("algbw_GBps", "busbw_GBps", "op", "nranks", "placement", "id", "system", "x", ""),
    ]
)
cells = st.one_of(
    numbers, st.sampled_from(["all_reduce", "alltoall", "8", "in_place", "a", "b", '"', '"q"', "#"])
)
tables = st.builds(
    lambda head, body: "\n".join(",".join(row) for row in [head, *body]),
    st.lists(columns, min_size=1, max_size=7),
    st.lists(st.lists(cells, max_size=8), max_size=8),
)
#: Mostly right, so that what comes after reading is reached too.
HEADS = ("size_bytes,time_us,op,nranks,placement,id", "size,busbw_GBps,in_place_ns,x,y,z")
sound = st.one_of(
    st.sampled_from(["1048576,92.79,,,,", "8,1e1,all_reduce,8,in_place,a", "2e6,5,,8,,a"]), tables
)
sound_tables = st.builds(
    lambda head, body: "\n".join([head, *body]),
    st.sampled_from(HEADS),
    st.lists(sound, max_size=5),
)
sound_logs = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "1048576 262144 float sum -1 92.79 11.30 19.78 0 92.15 11.38 19.91 0",
                "2097152 524288 float 93 0.5 0.3 0",
                "0 0 float none -1 0.2 0 0 0",
            ]
        ),
        lines,
    ),
    max_size=8,
).map("\n".join)
asked = st.one_of(
    st.builds(Asked, st.just("all_reduce"), st.just(8), st.just(()), st.booleans()),
    st.builds(
        Asked,
        st.sampled_from(sorted(set(collectives()) - {"send"})),
        st.sampled_from([1, 2, 3, 8]),
        st.sampled_from([(), (("id", "a"),), (("run", "1"),), (("", ""),)]),
        st.booleans(),
    ),
)


def one_error_or(read: Callable[[], object]) -> object | None:
    try:
        return read()
    except BadInput as error:
        assert error.code[:3] in ("DS1", "DS2") and error.message and error.rule and error.fix
        assert error.place is not None
        return None


@FIXTURE
@given(st.one_of(logs, tables, sound_tables, sound_logs, st.text()), asked)
def test_any_text_is_measurements_or_one_error(tmp_path: Path, text: str, asked: Asked) -> None:
    file = tmp_path / "x"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = one_error_or(lambda: read_measurements(file, asked))
    if found is None:
        return
    assert found.points
    for point in found.points:
        assert 0 < point.size_bytes <= 1e18 and 1e-9 <= point.time_s <= 1e6 and point.line >= 1
    sizes = sorted({point.size_bytes for point in found.points})
    report = collective_report(asked.collective, "dgx-a100", asked.devices, sizes, library="ideal")
    result = compare(report, found)
    assert all(isfinite(row.error_percent) for row in result.rows)
    assert dumps(result.to_dict())


@FIXTURE
@given(st.binary(max_size=200))
def test_any_bytes_are_measurements_or_one_error(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(raw)
    one_error_or(lambda: read_measurements(file, Asked("all_reduce", 8)))
    one_error_or(lambda: read_shares(file, 2))


@FIXTURE
@given(st.lists(st.lists(numbers, min_size=1, max_size=4).map(",".join), max_size=4).map("\n".join))
def test_any_numbers_are_shares_or_one_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x"
    file.write_text(text, encoding="utf-8")
    shares = one_error_or(lambda: read_shares(file, 2))
    if shares is not None:
        assert (shares.matrix >= 0).all()
        assert shares.matrix.sum() == pytest.approx(2)


rows = st.lists(
    st.tuples(
        st.integers(1, 2**50),
        st.integers(1, 10**9).map(lambda n: n / 100),
        st.integers(1, 10**9).map(lambda n: n / 100),
    ),
    min_size=1,
    max_size=8,
)


@FIXTURE
@given(rows, prefixes.filter(lambda p: p != "# "), st.booleans(), st.booleans())
def test_rows_are_read_as_they_were_printed(
    tmp_path: Path, rows: list, prefix: str, reduction: bool, root: bool
) -> None:
    """Printed as nccl-tests does: decimals shrink as times grow."""
    out = []
    for size, time, place in rows:
        what = "float" + ("     sum" if reduction else "") + ("      -1" if root else "")
        shown = [
            f"{t:.2f}" if t < 100 else f"{t:.1f}" if t < 1e4 else f"{t:.0f}" for t in (time, place)
        ]
        out.append(
            f"{prefix}{size:12d} {size // 4:14d} {what} {shown[0]:>8}    0.50    0.50      0 "
            f"{shown[1]:>8}    0.50    0.50    N/A"
        )
    file = tmp_path / "x"
    file.write_text("\n".join(out), encoding="utf-8")
    for in_place in (False, True):
        found = read_measurements(file, Asked("all_reduce", 8, in_place=in_place))
        assert [p.size_bytes for p in found.points] == [size for size, _, _ in rows]
        expected = [row[1 + in_place] * 1e-6 for row in rows]
        assert [p.time_s for p in found.points] == pytest.approx(expected, rel=5e-3)
