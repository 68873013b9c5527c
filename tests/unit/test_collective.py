"""``distsim collective``: closed forms, sizes, logs of nccl-tests."""
# ruff: noqa: E501  (rows of nccl-tests are long)

from __future__ import annotations

import json

import pytest

from distsim.cli import main
from distsim.collectives.costs import ring_all_gather_s, ring_all_reduce_s
from distsim.errors import DistsimError
from distsim.hardware.catalogue import load_topology
from distsim.study.collective import collective_report, parse_sizes
from distsim.study.nccl_log import compare, read_measurements

LOG = """\
# nThread 1 nGpus 8 minBytes 1048576 maxBytes 8388608 step: 2(factor) warmup iters: 5 iters: 20
#  Rank  0 Group  0 Pid  313 on host-a device  0 [0x18] NVIDIA A100-SXM4-80GB
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
     1048576        262144     float     sum      -1    92.79   11.30   19.78      0    92.15   11.38   19.91      0
[0]  2097152        524288     float     sum      -1    93.25   22.49   39.36    N/A    92.97   22.56   39.47    N/A
host-a: 4194304    1048576     float               95.80   43.78   76.62      0    94.03   44.61   78.06      0
     8388608       2097152     float     sum      -1     0.00    0.00    0.00      0     0.00    0.00    0.00      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 45.2
"""


def test_one_node_rings_are_the_closed_forms():
    topology = load_topology("dgx-a100", 8)
    link = topology.classes[0]
    latency, bandwidth = 2 * link.latency_s, link.bandwidth_bytes_per_s * link.efficiency
    for name, closed in (("all-reduce", ring_all_reduce_s), ("all_gather", ring_all_gather_s)):
        report = collective_report(name, "dgx-a100", 8, [1e6, 1e9], "ring", "ideal")
        for row in report.rows:
            expected = closed(8, row.size_bytes, latency, bandwidth)
            assert row.time_s == pytest.approx(expected, rel=1e-9)


def test_auto_is_the_fastest_at_every_size():
    sizes = parse_sizes("1kB:8GB:x8")
    args = ("all_reduce", "dgx-a100-superpod", 64, sizes)
    auto, ring, tree = (collective_report(*args, a) for a in ("auto", "ring", "tree"))
    for a, r, t in zip(auto.rows, ring.rows, tree.rows, strict=True):
        assert a.time_s <= min(r.time_s, t.time_s)


def test_bus_bandwidth_of_a_large_ring_is_that_of_its_bottleneck():
    row = collective_report("all_reduce", "dgx-a100-superpod", 1024, [64e9], "ring", "ideal").rows[
        0
    ]
    assert "leaf" in row.bottleneck
    assert row.busbw_bytes_per_s == pytest.approx(8 * 25e9 * 0.9, rel=0.01)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("1KB:8kB", [1e3, 2e3, 4e3, 8e3]),
        ("1MiB:1MiB", [2.0**20]),
        ("1MB:100MB:x10", [1e6, 1e7, 1e8]),
        ("64MB,1GB", [64e6, 1e9]),
        ("1K:3K", [1e3, 2e3]),
        ("4096", [4096.0]),
    ],
)
def test_sizes(text, sizes):
    assert parse_sizes(text) == pytest.approx(sizes)


@pytest.mark.parametrize("text", ["", ":", "8GB:1kB", "0B:1kB", "1kB:2kB:3", "1kB:1GB:x1", "a:b", "1B:1EB:x1.001", "-1kB", "1kB:x"])  # fmt: skip
def test_sizes_that_are_none(text):
    with pytest.raises(DistsimError):
        parse_sizes(text)


def test_a_saved_log_is_read_with_its_prefixes_and_gaps(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text(LOG)
    found = read_measurements(file)
    assert [(m.size_bytes, m.time_s) for m in found] == [
        (1048576, pytest.approx(92.79e-6)),
        (2097152, pytest.approx(93.25e-6)),
        (4194304, pytest.approx(95.80e-6)),
    ]


def test_a_comparison_of_a_prediction_with_itself_has_no_error(tmp_path):
    report = collective_report("all_reduce", "dgx-a100", 8, [1e6, 1e8])
    file = tmp_path / "t.csv"
    lines = [f"{r.size_bytes},{r.time_s * 1e6!r}" for r in report.rows]
    file.write_text("\n".join(["size_bytes,time_us", *lines]) + "\n")
    result = compare(report, read_measurements(file), str(file))
    assert result.errors_percent == pytest.approx([0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "DS106"),
        ("nothing here\n", "DS241"),
        ("size_bytes,speed\n1,2\n", "DS241"),
        ("size_bytes,time_us\n1000,nan\n", "DS241"),
        ("size_bytes,time_us\n-5,1\n", "DS241"),
        ("size_bytes,time_us\n5\n", "DS241"),
    ],
)
def test_files_that_hold_no_measurements(content, code, tmp_path):
    file = tmp_path / "x.csv"
    file.write_text(content)
    with pytest.raises(DistsimError) as caught:
        read_measurements(file)
    assert caught.value.code == code


def test_the_command_prints_json_and_compares(tmp_path, capsys):
    file = tmp_path / "log.txt"
    file.write_text(LOG)
    words = ["collective", "all-reduce", "--topology", "dgx-a100", "--devices", "8"]
    assert main([*words, "--compare", str(file), "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert [row["size_bytes"] for row in out["rows"]] == [2**20, 2**21, 2**22]
    assert out["comparison"]["median_percent"] > 0
    assert main([*words, "--sizes", "1MB:4MB"]) == 0
    assert "busbw (GB/s)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["al-reduce"], "DS611"),
        (["all-reduce", "--algorithm", "rink"], "DS611"),
        (["all-reduce", "--sizes", "x"], "DS612"),
    ],
)
def test_names_that_do_not_exist(words, code, capsys):
    assert main(["collective", *words, "--topology", "dgx-a100", "--devices", "8"]) == 2
    assert code in capsys.readouterr().err
