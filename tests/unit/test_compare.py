"""Measured times: saved logs of nccl-tests, CSV of one system or many, and the errors printed."""
# ruff: noqa: E501  (rows of nccl-tests are long)

from __future__ import annotations

import json

import pytest

from distsim.cli import main
from distsim.errors import DistsimError
from distsim.study import measured
from distsim.study.collective import collective_report
from distsim.study.comparison import compare
from distsim.study.measured import Asked, read_measurements

HEAD = """\
# nThread 1 nGpus 8 minBytes 1048576 maxBytes 8388608 step: 2(factor) warmup iters: 5 iters: 20
#
# Using devices
"""
COLUMNS = """\
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""
ROWS = """\
           0             0     float     sum      -1     0.20    0.00    0.00      0     0.19    0.00    0.00      0
     1048576        262144     float     sum      -1    92.79   11.30   19.78      0    92.15   11.38   19.91      0
     4194304       1048576     float     sum      -1    95.80   43.78   76.62    N/A    94.03   44.61   78.06    N/A
  4294967296    1073741824     float     sum      -1    35512  120.94  211.65      0    35498  120.99  211.73      0
"""
#: Too slow for its bandwidths to tell anything.
SLOW = "1048576 262144 float sum -1 5000 0.21 0.37 0\n"
FOOT = """\
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 45.2
"""
ASKED = Asked("all_reduce", 8)


def ranks(count: int) -> str:
    line = "#  Rank {0:2d} Group  0 Pid  {0} on     host-a device {0:2d} [0x18] NVIDIA A100-SXM4-80GB\n"
    return "".join(line.format(i) for i in range(count))


LOG = HEAD + ranks(8) + COLUMNS + ROWS + FOOT


@pytest.fixture
def saved(tmp_path):
    def save(text: str, name: str = "log.txt", encoding: str = "utf-8"):
        file = tmp_path / name
        file.write_bytes(text.encode(encoding))
        return file

    return save


def prefixed(prefix: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in LOG.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        LOG,
        LOG.replace("\n", "\r\n"),
        prefixed("[0] "),
        prefixed("[1,0]<stdout>:"),
        prefixed("0: "),
        prefixed("node-17: "),
        prefixed("2025-01-02T03:04:05.678 "),
        prefixed("[2025-01-02 03:04:05] worker-0 | "),
        prefixed("\x1b[36mhost\x1b[0m "),
        LOG.replace("float     sum      -1", "float     sum"),
        LOG.replace("float     sum      -1", "bfloat16"),
        LOG.replace("Group  0 ", ""),
        "\ufeff" + LOG,
    ],
)
def test_a_log_is_read_whatever_its_launcher_adds(text, saved):
    found = read_measurements(saved(text), ASKED)
    assert [(p.size_bytes, p.time_s) for p in found.points] == [
        (1048576, pytest.approx(92.79e-6)),
        (4194304, pytest.approx(95.80e-6)),
        (4294967296, pytest.approx(35512e-6)),
    ]
    assert found.notes == ("1 of 4 rows have no size or no time",)
    again = read_measurements(saved(text), Asked("all_reduce", 8, in_place=True))
    assert [p.time_s for p in again.points] == pytest.approx([92.15e-6, 94.03e-6, 35498e-6])


def test_columns_that_are_not_there(saved):
    """Only out of place, and neither reduction nor root."""
    text = "     1048576        131072     float    42.79   24.50   12.25      0\n"
    found = read_measurements(saved(text), Asked("all_gather", 2))
    assert [p.time_s for p in found.points] == pytest.approx([42.79e-6])
    with pytest.raises(DistsimError, match="no times in place") as caught:
        read_measurements(saved(text), Asked("all_gather", 2, in_place=True))
    assert caught.value.code == "DS241"


@pytest.mark.parametrize(
    ("text", "asked", "there"),
    [
        (LOG, Asked("all_reduce", 16), "run 1 is all_reduce of 8 ranks"),
        (LOG, Asked("all_gather", 8), "run 1 is all_reduce of 8 ranks"),
        (HEAD + COLUMNS + ROWS, Asked("all_reduce", 4), "run 1 is all_reduce of 8 ranks"),
        (ROWS, Asked("all_to_all", 8), "run 1 is all_reduce of 8 ranks"),
        (ranks(8) + SLOW, Asked("all_reduce", 16), "run 1 is a collective of 8 ranks"),
        (ranks(8) + SLOW, Asked("all_reduce", 4), "run 1 is a collective of 8 ranks"),
        (
            "1048576 262144 float none -1 80.0 13.11 12.29 0\n",
            Asked("all_gather", 8),
            "all_gather, reduce_scatter or all_to_all of 16 ranks",
        ),
        (
            "1048576 262144 float sum -1 80.0 13.11 13.11 0\n",
            Asked("all_reduce", 8),
            "broadcast, reduce or send_recv of unknown ranks",
        ),
        (
            "# Collective test starting: alltoall_perf\n1048576 262144 float none -1 80 13.11 11.47 0\n",
            Asked("all_gather", 8),
            "run 1 is all_to_all of 8 ranks",
        ),
        (
            "$ mpirun ./build/hypercube_perf -b 8\n1048576 262144 float none -1 80 0.5 0.5 0\n",
            Asked("all_gather", 8),
            "run 1 is hypercube of unknown ranks",
        ),
    ],
)
def test_a_log_of_something_else_is_refused(text, asked, there, saved):
    with pytest.raises(DistsimError) as caught:
        read_measurements(saved(text), asked)
    assert caught.value.code == "DS242"
    assert there in caught.value.rule
    assert caught.value.place is not None and caught.value.place.line > 0


def test_a_doubtful_log_is_compared_with_a_word(saved):
    """The bus bandwidth of a reduce-scatter is that of an all-gather; the reduction tells."""
    text = "1048576 262144 float sum -1 80.0 13.11 11.47 0\n"
    assert read_measurements(saved(text), Asked("reduce_scatter", 8)).notes == ()
    (note,) = read_measurements(saved(text), Asked("all_gather", 8)).notes
    assert "redop sum" in note


TWO_RUNS = "+ ./all_gather_perf -b 1M\n" + HEAD + ranks(4) + COLUMNS + (
    "     1048576         65536     float    none      -1    42.79   24.50   18.38      0    42.15   24.88   18.66      0\n"
) + FOOT + "+ ./all_reduce_perf -b 1M\n" + LOG + LOG  # fmt: skip


def test_of_several_runs_those_that_fit_are_taken(saved):
    file = saved(TWO_RUNS)
    found = read_measurements(file, Asked("all_gather", 4))
    assert [p.size_bytes for p in found.points] == [1048576]
    assert found.notes == ("of 3 runs in the file run 1 alone is compared",)
    both = read_measurements(file, ASKED)
    assert len(both.points) == 6
    one = read_measurements(file, Asked("all_reduce", 8, (("run", "3"),)))
    assert len(one.points) == 3
    with pytest.raises(DistsimError, match=r"DS243.*run"):
        read_measurements(file, Asked("all_reduce", 8, (("run", "4"),)))
    with pytest.raises(DistsimError, match=r"DS243.*no column 'id'"):
        read_measurements(file, Asked("all_reduce", 8, (("id", "4"),)))


CSV = """\
id,system,op,nranks,placement,size_bytes,time_us,algbw_GBps,busbw_GBps
a,"Cluster, first",all_reduce,8,out_of_place,1000000,50,20,35
a,"Cluster, first",all_reduce,8,in_place,1000000,40,25,43.75
a,"Cluster, first",all_reduce,16,out_of_place,1000000,60,,
a,"Cluster, first",alltoall,8,out_of_place,1000000,,20,
b,Second,all_reduce_perf,8,out_of_place,2000000,,,35
b,Second,all_reduce,8,out_of_place,,50,,
b,Second,all_reduce,8,out_of_place,0,50,,
"""


def test_a_csv_of_many_systems_is_asked_for_one(saved):
    file = saved(CSV, "many.csv")
    with pytest.raises(DistsimError) as caught:
        read_measurements(file, ASKED)
    assert caught.value.code == "DS243"
    assert "2 systems" in caught.value.message and "--where id=a" in caught.value.fix
    found = read_measurements(file, Asked("all_reduce", 8, (("id", "a"),)))
    assert [(p.size_bytes, p.time_s, p.line) for p in found.points] == [
        (1e6, pytest.approx(50e-6), 2)
    ]
    assert found.notes == ("1 of 7 rows: op all_reduce, nranks 8, id a",)
    place = Asked("all_reduce", 8, (("SYSTEM", "Cluster, first"),), in_place=True)
    assert [p.time_s for p in read_measurements(file, place).points] == pytest.approx([40e-6])


def test_times_come_from_bandwidth_where_there_are_none(saved):
    file = saved(CSV, "many.csv")
    (point,) = read_measurements(file, Asked("all_reduce", 8, (("id", "b"),))).points
    assert point.time_s == pytest.approx(2e6 * 2 * 7 / 8 / 35e9)
    (point,) = read_measurements(file, Asked("all_to_all", 8)).points
    assert point.time_s == pytest.approx(1e6 / 20e9)


@pytest.mark.parametrize(
    ("head", "row", "time_s"),
    [
        ("size_bytes,time_us", "1000,5", 5e-6),
        ("size_bytes,time_s", "1000,5e-6", 5e-6),
        ("size_bytes,out_of_place_ns,in_place_ns", "1000,5000,4000", 5e-6),
        ("size_bytes,algbw_GBps", "1000,0.2", 5e-6),
        ("size_bytes,busbw_GBps", "1000,0.35", 5e-6),
        ("Size (B),Time (us)", "1000,5", 5e-6),
        ("size_bytes,busbw (GB/s)", "1000,0.35", 5e-6),
        ("size_bytes,busbw_bytes_per_s", "1000,3.5e8", 5e-6),
        ("# a remark\nsize_bytes,time_ms", "\n# another\n1000,0.005", 5e-6),
        ('"size_bytes","time_us"', '"1000"," 5 "', 5e-6),
    ],
)
def test_columns_of_a_csv(head, row, time_s, saved):
    (point,) = read_measurements(saved(f"{head}\n{row}\n", "x.csv"), ASKED).points
    assert (point.size_bytes, point.time_s) == (1000, pytest.approx(time_s))
    (point,) = read_measurements(saved(f"\ufeff{head}\r\n{row}\r\n", "x.csv"), ASKED).points
    assert point.time_s == pytest.approx(time_s)


def test_times_of_the_other_side_are_named(saved):
    text = "size_bytes,in_place_us\n1000,5\n"
    found = read_measurements(saved(text, "x.csv"), ASKED)
    assert found.notes == ("all of these times are in place",)
    text = "size_bytes,time_us,placement\n1000,5,in_place\n"
    found = read_measurements(saved(text, "x.csv"), ASKED)
    assert found.notes == ("all of these times are in place",)
    found = read_measurements(saved("size_bytes,time_us\n1000,5\n", "x.csv"), Asked("all_reduce", 8, in_place=True))  # fmt: skip
    assert found.notes == ("the file does not say which of its times are in place",)


def test_a_send_between_two_is_a_sendrecv_between_two(saved):
    text = "size_bytes,time_us,op,ranks\n1000,5,sendrecv,2\n"
    for name in ("send", "send_recv"):
        assert len(read_measurements(saved(text, "x.csv"), Asked(name, 2)).points) == 1
    with pytest.raises(DistsimError, match="DS242"):
        read_measurements(saved(text.replace(",2", ",8"), "x.csv"), Asked("send", 2))


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        ("", "DS106", 0),
        ("nothing here\n", "DS241", 0),
        ("size_bytes,speed\n1,2\n", "DS241", 1),
        ("a,time_us\n1,2\n", "DS241", 1),
        ("size_bytes,time_us\n1000,nan\n", "DS241", 2),
        ("size_bytes,time_us\n1000,inf\n", "DS241", 2),
        ("size_bytes,time_us\n-5,1\n", "DS241", 2),
        ('size_bytes,time_us\n1,1\n"1,048,576",1\n', "DS241", 3),
        ("size_bytes,time_us\n1_000,1\n", "DS241", 2),
        ("size_bytes,time_us\n1000,5 us\n", "DS241", 2),
        ("size_bytes,time_us\n1000,0\n", "DS241", 2),
        ("size_bytes,algbw_GBps\n1000,0\n", "DS241", 2),
        ("size_bytes,time_us\n1e400,1\n", "DS241", 2),
        ("size_bytes,time_us\n5\n", "DS241", 0),
        ("size_bytes,time_us,time_us\n5,1,1\n", "DS241", 1),
        ('size_bytes,time_us\n5,"1\n', "DS241", 2),
        ("size_bytes,time_us\n", "DS241", 0),
    ],
)
def test_files_that_hold_no_measurements(content, code, line, saved):
    with pytest.raises(DistsimError) as caught:
        read_measurements(saved(content, "x.csv"), ASKED)
    assert caught.value.code == code
    assert caught.value.place is not None and caught.value.place.line == line


def test_a_comparison_of_a_prediction_with_itself_has_no_error(saved):
    report = collective_report("all_reduce", "dgx-a100", 8, [1e6, 1e8])
    lines = [f"{r.size_bytes!r},{r.time_s!r}" for r in report.rows]
    file = saved("\n".join(["size_bytes,time_s", *lines]) + "\n", "x.csv")
    result = compare(report, read_measurements(file, ASKED))
    assert [row.error_percent for row in result.rows] == pytest.approx([0.0, 0.0], abs=1e-9)


def test_errors_are_summed_up_for_all_and_for_large_sizes(saved):
    """Eleven sizes that are 0 to 10 % too fast, the first three under 1 MB."""
    sizes = [1e3, 1e4, 1e5, *(1e6 * 2**i for i in range(8))]
    report = collective_report("all_reduce", "dgx-a100", 8, sizes)
    lines = [f"{r.size_bytes!r},{r.time_s / (1 - i / 100)!r}" for i, r in enumerate(report.rows)]
    file = saved("\n".join(["size_bytes,time_s", *lines]) + "\n", "x.csv")
    whole, large = compare(report, read_measurements(file, ASKED)).summaries
    assert (whole.sizes, large.sizes, large.from_bytes) == (11, 8, 1e6)
    assert whole.median_percent == pytest.approx(5)
    assert whole.p90_percent == pytest.approx(9)
    assert large.median_percent == pytest.approx(6.5)
    assert (whole.worst_percent, whole.worst_bytes) == (pytest.approx(-10), sizes[-1])


def test_sizes_narrow_a_comparison(saved):
    found = read_measurements(saved(LOG), ASKED)
    assert [p.size_bytes for p in measured.within(found, 2e6, 1e7).points] == [4194304]
    with pytest.raises(DistsimError, match="no sizes from 1 to 2 B"):
        measured.within(found, 1.0, 2.0)


def test_the_command_prints_errors_and_notes(saved, capsys):
    words = ["collective", "all-reduce", "--topology", "dgx-a100", "--devices", "8"]
    file = str(saved(LOG))
    assert main([*words, "--compare", file, "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert [row["size_bytes"] for row in out["rows"]] == [2**20, 2**22, 2**32]
    assert [s["sizes"] for s in out["comparison"]["summaries"]] == [3, 3]
    assert main([*words, "--compare", file]) == 0
    text = capsys.readouterr().out
    for word in ("measured", "90th percentile", "from 1 MB", "note: 1 of 4 rows"):
        assert word in text
    assert main([*words, "--compare", file, "--where", "run"]) == 2
    assert "DS615" in capsys.readouterr().err
    assert main(["collective", "all-gather", *words[2:], "--compare", file]) == 2
    assert "DS242" in capsys.readouterr().err


def test_a_comparison_is_drawn(saved, tmp_path):
    plot = tmp_path / "x.svg"
    words = ["collective", "all-reduce", "--topology", "dgx-a100", "--devices", "8"]
    assert main([*words, "--compare", str(saved(LOG)), "--plot", str(plot)]) == 0
    assert "measured" in plot.read_text(encoding="utf-8")
    assert main([*words, "--sizes", "0,1MB", "--plot", str(plot)]) == 0
