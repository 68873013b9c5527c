"""``distsim collective``: closed forms, names, sizes, output; tests of logs are in test_compare."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.cli import main
from distsim.collectives.costs import ring_all_gather_s, ring_all_reduce_s
from distsim.errors import DistsimError
from distsim.hardware.catalogue import load_topology
from distsim.study import names
from distsim.study.collective import collective_report
from distsim.study.sizes import MAX_SIZES, parse_sizes, span


def test_one_node_rings_are_the_closed_forms():
    topology = load_topology("dgx-a100", 8)
    link = topology.classes[0]
    latency, bandwidth = 2 * link.latency_s, link.bandwidth_bytes_per_s * link.efficiency
    for name, closed in (("all-reduce", ring_all_reduce_s), ("all_gather", ring_all_gather_s)):
        report = collective_report(name, "dgx-a100", 8, [1e6, 1e9], "ring", "ideal")
        for row in report.rows:
            expected = closed(8, row.size_bytes, latency, bandwidth)
            assert row.time_s == pytest.approx(expected, rel=1e-9)


def test_auto_is_the_fastest_where_a_library_has_no_opinion():
    sizes = parse_sizes("1kB:8GB:x8")
    args = ("all_reduce", "dgx-a100-superpod", 64, sizes)
    auto, ring, tree = (collective_report(*args, a, "ideal") for a in ("auto", "ring", "tree"))
    for a, r, t in zip(auto.rows, ring.rows, tree.rows, strict=True):
        assert a.time_s == min(r.time_s, t.time_s)


def test_bus_bandwidth_of_a_large_ring_is_that_of_its_bottleneck():
    report = collective_report("all_reduce", "dgx-a100-superpod", 1024, [64e9], "ring", "ideal")
    (row,) = report.rows
    rail = next(c for c in load_topology("dgx-a100-superpod", 1024).classes if c.name == "rail")
    assert "leaf" in row.bottleneck
    # Eight rings, one for each rail of a node.
    assert row.busbw_bytes_per_s == pytest.approx(8 * rail.capacity_bytes_per_s, rel=0.01)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("1KB:8kB", [1e3, 2e3, 4e3, 8e3]),
        ("1kb,1KB,1Kb,1 kB", [1e3] * 4),
        ("1MiB:1mib", [2.0**20]),
        ("1MB:100MB:x10", [1e6, 1e7, 1e8]),
        ("1MB:16mb:*4", [1e6, 4e6, 16e6]),
        ("8:32:+8", [8.0, 16.0, 24.0, 32.0]),
        ("1MB:2MB:+512kB", [1e6, 1.512e6]),
        ("64MB,1GB", [64e6, 1e9]),
        ("4096", [4096.0]),
        ("8,8B,8 bytes", [8.0] * 3),
        ("8,1kB:2kB", [8.0, 1e3, 2e3]),
        ("0", [0.0]),
        ("1e3", [1e3]),
        ("1.5kB", [1500.0]),
        ("1:4:x1.1", [1.0, 2.0, 3.0, 4.0]),
        ("1B:1B", [1.0]),
    ],
)
def test_sizes(text, sizes):
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize(("letter", "power"), [("K", 1), ("M", 2), ("G", 3), ("t", 4)])
def test_a_letter_alone_is_that_of_nccl_tests(letter, power):
    """``-b 8 -e 8G`` of nccl-tests counts in powers of 1024; with a B they are powers of 1000."""
    assert parse_sizes(f"8{letter}") == [8.0 * 1024**power]
    assert parse_sizes(f"8{letter}iB") == [8.0 * 1024**power]
    assert parse_sizes(f"8{letter}B") == [8.0 * 1000**power]
    assert parse_sizes("8:8G")[-1] == 8.0 * 2**30


def test_the_end_of_a_range_counts():
    assert span("1MB:100MB") == (1e6, 100e6)
    assert span("8,1kB:3kB:x2,2GB") == (8.0, 2e9)
    with pytest.raises(DistsimError, match="DS612"):
        span("1kB:8GB:3")


NO_SIZES = [
    *("", ":", "a:b", "-1kB", "1i", "1iB", "1Gbit", "0.5", "1_000", "nan", "1,,2", "1" * 200),
    *("8GB:1kB", "0B:1kB", "1kB:2kB:3", "1kB:1GB:x1", "1kB:x", "1:2:3:4", "1:8:"),
    *("1:8:+0", "1:8:+x", "1e400", "1e19", "1B:1EB:x1.001", ",".join("1" * (MAX_SIZES + 1))),
]


@pytest.mark.parametrize("text", NO_SIZES)
def test_sizes_that_are_none(text):
    with pytest.raises(DistsimError) as caught:
        parse_sizes(text)
    assert caught.value.code == "DS612"


@given(st.text("0123456789.:,xX*+-eEkKMGTPiIbB ", max_size=20))
def test_any_text_is_sizes_or_one_error(text):
    try:
        sizes = parse_sizes(text)
    except DistsimError as error:
        assert error.code == "DS612"
    else:
        assert sizes and len(sizes) <= MAX_SIZES
        assert all(s == int(s) and 0 <= s <= 1e18 for s in sizes)


@pytest.mark.parametrize("collective", names.collectives())
def test_names_of_nccl_tests_are_aliases(collective):
    joined = collective.replace("_", "")
    for word in (collective, joined, f"{joined}_perf", f"{collective}_perf"):
        for spelled in (word, word.replace("_", "-"), word.upper()):
            assert names.collective_of(spelled) == collective
    assert names.collective_of("alltoallv") == "all_to_all"
    assert names.collective_of("hypercube_perf") is None


def test_a_sendrecv_is_a_shift_of_everyone():
    """On one node a send of each, side by side; across nodes one pair a node leaves by one rail."""
    inside = collective_report("sendrecv_perf", "dgx-a100", 8, [1e9], library="ideal").rows[0]
    alone = collective_report("send", "dgx-a100", 2, [1e9], library="ideal").rows[0]
    assert inside.time_s == pytest.approx(alone.time_s, rel=1e-12)
    assert inside.busbw_bytes_per_s == inside.algbw_bytes_per_s
    for detail in ("fluid", "steps"):
        across = collective_report(
            "send-recv", "dgx-a100-superpod", 32, [1e9], library="ideal", detail=detail
        ).rows[0]
        topology = load_topology("dgx-a100-superpod", 32)
        rail = next(c for c in topology.classes if c.name == "rail")
        assert across.algbw_bytes_per_s == pytest.approx(rail.capacity_bytes_per_s, rel=1e-3)


def test_one_rank_has_nobody_to_send_to():
    assert collective_report("send_recv", "dgx-a100", 1, [1e9], library="ideal").rows[0].time_s == 0


def test_a_size_of_zero_takes_the_latency():
    row = collective_report("all_reduce", "dgx-a100", 8, [0.0]).rows[0]
    assert row.time_s > 0 and row.algbw_bytes_per_s == row.busbw_bytes_per_s == 0


WORDS = ["collective", "all-reduce", "--topology", "dgx-a100", "--devices", "8"]


def test_the_command_prints_a_table_or_json(capsys):
    assert main([*WORDS, "--sizes", "1MB:4MB"]) == 0
    assert "busbw (GB/s)" in capsys.readouterr().out
    assert main([*WORDS, "--sizes", "1MB:4MB", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert [row["size_bytes"] for row in out["rows"]] == [1e6, 2e6, 4e6]
    assert list(out["rows"][0]) == [
        "size_bytes",
        "time_s",
        "algbw_bytes_per_s",
        "busbw_bytes_per_s",
        "algorithm",
        "protocol",
        "bottleneck",
    ]
    assert out["shares"] is None and out["comparison"] is None


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["al-reduce"], "DS611"),
        (["all-reduce", "--algorithm", "rink"], "DS611"),
        (["all-reduce", "--sizes", "x"], "DS612"),
        (["send"], "DS613"),
        (["all-to-all", "--algorithm", "bruck", "--skew", "zipf:1"], "DS613"),
        (["all-reduce", "--skew", "zipf:1"], "DS614"),
        (["all-to-all", "--skew", "zipf"], "DS614"),
        (["all-to-all", "--skew", "zipf:-1"], "DS614"),
        (["all-to-all", "--skew", "zipf:nan"], "DS614"),
        (["all-to-all", "--skew", "dirichlet:0"], "DS614"),
        (["all-to-all", "--skew", "gauss:1"], "DS614"),
        (["all-to-all", "--skew", "zipf:1", "--shares", "x.csv"], "DS614"),
        (["all-to-all", "--skew", "zipf:1", "--seed", "-1"], "DS602"),
        (["all-to-all", "--where", "id=1"], "DS615"),
        (["all-to-all", "--in-place"], "DS615"),
    ],
)
def test_names_that_do_not_exist(words, code, capsys):
    assert main(["collective", *words, "--topology", "dgx-a100", "--devices", "8"]) == 2
    assert code in capsys.readouterr().err
