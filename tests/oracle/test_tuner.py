"""What NCCL chooses, against what it was seen to choose and against hand-made estimates."""

from __future__ import annotations

import pytest

from distsim.errors import DistsimError
from distsim.files import load_yaml, shipped
from distsim.hardware.catalogue import load_topology
from distsim.hardware.libraries import library
from distsim.hardware.tuner import Load
from distsim.study.collective import collective_report

KIB, MIB = 2**10, 2**20
NCCL = library("nccl").on("hopper")


def _ran(topology, devices: int, size: float, collective: str = "all_reduce") -> str:
    row = collective_report(collective, topology, devices, [size]).rows[0]
    return f"{row.algorithm}/{row.protocol}"


def test_eight_h200_go_over_from_ring_to_nvls_between_one_and_two_mib() -> None:
    """As NCCL 2.27.7 printed for 8 H200 (ml-engineering, network/benchmarks)."""
    assert _ran("dgx-h200", 8, 1 * MIB) == "ring/ll"
    assert _ran("dgx-h200", 8, 2 * MIB) == "nvls/simple"


def test_eight_b200_gather_by_each_protocol_in_turn() -> None:
    """The steps of a published run (all_gather_perf on 8 B200): 44.9 us at 8 MiB and 49.0 us at 16
    MiB, 77.0 us at 32 MiB and 139.1 us at 64 MiB: the protocol changes in between."""
    assert _ran("dgx-b200", 8, 8 * MIB, "all_gather") == "ring/ll"
    assert _ran("dgx-b200", 8, 16 * MIB, "all_gather") == "ring/ll128"
    assert _ran("dgx-b200", 8, 32 * MIB, "all_gather") == "ring/ll128"
    assert _ran("dgx-b200", 8, 64 * MIB, "all_gather") == "ring/simple"


def test_ll_moves_what_the_limit_says() -> None:
    """16 H100 on two nodes of Intel hosts, 39 GB/s: a ring sends 30/16 of the size.

    A published all_reduce_perf took 364.6 us for 4 MiB and 977.6 us for 16 MiB under LL (GCP A3
    Mega, 2024).
    """
    small, large = (
        collective_report("all_reduce", "gcp-a3-mega", 16, [size]).rows[0].time_s
        for size in (4 * MIB, 16 * MIB)
    )
    assert large - small == pytest.approx(12 * MIB * 30 / 16 / 39e9, rel=0.05)
    assert large - small == pytest.approx(977.6e-6 - 364.6e-6, rel=0.05)


def _load(**changes: float) -> Load:
    one_node = Load(8, 1, 1, 14 / 8, 0.0, 14.0, 0.0, 14 / 8 / 370e9, 450e9, float("inf"))
    return one_node._replace(**changes)


def test_an_estimate_by_hand() -> None:
    """Ring all-reduce of 1 MiB on 8 H100: 6.6 us, 14 hops of 0.6 us, 14/8 MiB at 141 GB/s."""
    assert NCCL.tuner is not None
    found = NCCL.tuner.estimate_s("all_reduce", "ring", "ll", _load(), MIB, 141e9, "hopper")
    assert found == pytest.approx(6.6e-6 + 14 * 0.6e-6 + 14 / 8 * MIB / 141e9, rel=1e-12)


def test_an_estimate_between_nodes_by_hand() -> None:
    """Simple ring of 16 on two nodes: 30 hops, 2 of them between nodes; plateau 1.4."""
    assert NCCL.tuner is not None
    load = _load(
        members=16, nodes=2, channels=8, sent=30 / 16, local_hops=30 * 14 / 16,
        network_hops=30 * 2 / 16, network_bus_bytes_per_s=400e9,
    )  # fmt: skip
    found = NCCL.tuner.estimate_s("all_reduce", "ring", "simple", load, MIB, 1e15, "hopper")
    network = 30 * 2 / 16 / 2
    latency = 1.4 * (8.4e-6 + (30 - network) * 3.4e-6 + network * 14e-6)
    rate = min(0.824 * 450e9, 0.96 * 400e9)
    assert found == pytest.approx(latency + 30 / 16 * MIB / rate, rel=1e-12)


def test_trees_are_believed_to_be_slower_at_middle_sizes() -> None:
    assert NCCL.tuner is not None
    load = _load(members=64, nodes=8, channels=8, network_bus_bytes_per_s=400e9)

    def rate(size: float) -> float:
        fixed = NCCL.tuner.estimate_s("broadcast", "tree", "simple", load, 0.0, 1e15, "hopper")
        total = NCCL.tuner.estimate_s("all_reduce", "tree", "simple", load, size, 1e15, "hopper")
        return size / (total - fixed)

    # The table begins at 64 B and doubles: 0.5 at 256 KiB to 1 MiB, nothing from 512 MiB up.
    assert rate(512 * KIB) == pytest.approx(0.5 * rate(1024 * MIB), rel=1e-9)
    assert rate(256 * MIB) == pytest.approx(0.9 * rate(1024 * MIB), rel=1e-9)


def test_a_library_without_a_tuner_takes_the_fastest() -> None:
    sizes = [10.0**e for e in range(3, 10)]
    of = {
        a: collective_report("all_reduce", "dgx-h100-superpod", 64, sizes, a, "ideal").rows
        for a in ("auto", "ring", "tree")
    }
    for auto, ring, tree in zip(of["auto"], of["ring"], of["tree"], strict=True):
        assert auto.time_s == min(ring.time_s, tree.time_s)


def test_choosing_costs_what_the_choice_takes() -> None:
    """What is chosen takes as long as when it is asked for by name."""
    sizes = [float(KIB << e) for e in range(0, 24, 3)]
    for row in collective_report("all_reduce", "dgx-h100-superpod", 64, sizes).rows:
        named = collective_report(
            "all_reduce", "dgx-h100-superpod", 64, [row.size_bytes], row.algorithm
        ).rows[0]
        assert (named.protocol, named.time_s) == (row.protocol, row.time_s)


def _h100(**library_keys: object) -> dict:
    block, _ = load_yaml(shipped("topologies", "dgx-h100-superpod"))
    return {**block, "library": {"profile": "nccl", **library_keys}}


def test_a_rule_decides_in_its_range_only() -> None:
    rule = {"collective": "all-reduce", "from": "1 MB", "to": "8 MB", "algorithm": "ring"}
    net = _h100(rules=[{**rule, "protocol": "simple"}])
    assert _ran(net, 16, 1e6) == "ring/simple"
    assert _ran(net, 16, 8e6) == _ran("dgx-h100-superpod", 16, 8e6) != "ring/simple"
    assert _ran(net, 16, 9e5) == _ran("dgx-h100-superpod", 16, 9e5)


def test_a_rule_needs_no_tuner() -> None:
    block, _ = load_yaml(shipped("topologies", "mi300x-8"))
    rule = {"collective": "all_reduce", "algorithm": "ring", "protocol": "simple"}
    ruled = {**block, "library": {"profile": "rccl", "rules": [rule]}}
    assert _ran("mi300x-8", 8, 1e4) == "ring/ll"
    assert _ran(ruled, 8, 1e4) == "ring/simple"


def test_a_rule_names_what_is_left_of_the_library() -> None:
    rule = {"collective": "all_reduce", "algorithm": "hierarchical", "protocol": "ll"}
    left = {"algorithms": {"all_reduce": ["ring", "hierarchical"]}}
    assert _ran(_h100(rules=[rule], **left), 16, 1e9) == "hierarchical/ll"
    with pytest.raises(DistsimError) as caught:
        load_topology(_h100(rules=[{**rule, "algorithm": "tree"}], **left), 16)
    assert caught.value.code == "DS406"


def test_a_host_that_no_limit_knows_is_refused() -> None:
    with pytest.raises(DistsimError) as caught:
        load_topology(_h100(host="amdd"), 16)
    assert caught.value.code == "DS406"
    assert "amd" in caught.value.fix


def test_protocols_that_are_taken_away_are_not_used() -> None:
    assert _ran(_h100(protocols=["simple"]), 16, 1e3).endswith("/simple")
    assert _ran("dgx-h100-superpod", 16, 1e3).endswith("/ll")


def test_hosts_of_amd_move_less_under_ll() -> None:
    times = [
        collective_report("all_gather", _h100(host=host, protocols=["ll"]), 16, [1e8])
        .rows[0]
        .time_s
        for host in ("intel", "amd")
    ]
    assert times[1] / times[0] == pytest.approx(39 / 22.5, rel=0.02)


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"collective": "all_reduce", "algorithm": "ring"}, "DS403"),
        ({"collective": "all_reduce", "algorithm": "ring", "protocol": "ll", "size": 1}, "DS402"),
        ({"collective": "all_reduce", "algorithm": "ring", "protocol": "ll", "to": "1 m"}, "DS212"),
        ({"collective": "all_reduce", "algorithm": "ring", "protocol": "lll"}, "DS406"),
        ({"collective": "all_reduce", "algorithm": "rign", "protocol": "ll"}, "DS406"),
        ({"collective": "all_reduc", "algorithm": "ring", "protocol": "ll"}, "DS406"),
        (
            {"collective": "x", "algorithm": "y", "protocol": "ll", "from": "2 B", "to": "1 B"},
            "DS405",
        ),
    ],
)
def test_bad_rules_are_refused(rule: dict, code: str) -> None:
    with pytest.raises(DistsimError) as caught:
        load_topology(_h100(rules=[rule]), 16)
    assert caught.value.code == code


def test_a_message_gets_more_channels_as_it_grows() -> None:
    """A published sendrecv_perf on 8 B200 took 793 us for 64 MiB and as long for 128 and 256 MiB
    (798 and 810 us): four channels a pair, twice as many where a part would exceed 16 MiB."""
    rows = {
        size: collective_report("send_recv", "dgx-b200", 8, [size * MIB]).rows[0].time_s
        for size in (32, 64, 128, 256)
    }
    assert rows[64] == pytest.approx(2 * rows[32], rel=0.03)
    assert rows[128] == pytest.approx(rows[64], rel=0.03)
    assert rows[256] == pytest.approx(rows[64], rel=0.03)
    assert rows[64] == pytest.approx(793e-6, rel=0.1)


def test_channels_are_shared_out_among_the_members() -> None:
    parts = NCCL.runners["p2p"].parts
    assert parts is not None
    few, many = parts.rate(2, MIB), parts.rate(32, MIB)
    assert few == 16 * many == pytest.approx(16 * parts.channel_rate)
    assert parts.rate(32, 1024 * MIB) == 32 * parts.channel_rate


def test_the_start_of_a_cluster_is_paid_once_and_not_by_sends() -> None:
    def time_s(collective: str, startup: str) -> float:
        net = _h100(startup=startup, protocols=["simple"])
        return collective_report(collective, net, 2, [1e6]).rows[0].time_s

    more = time_s("all_gather", "30 us") - time_s("all_gather", "10 us")
    assert more == pytest.approx(20e-6, rel=1e-9)
    assert time_s("send", "30 us") == time_s("send", "10 us")
