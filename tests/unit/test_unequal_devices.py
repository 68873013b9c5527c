"""Devices that differ from the others, and links that are slow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distsim.api import load
from distsim.cost.kernel import price
from distsim.errors import DistsimError
from distsim.hardware import catalogue
from distsim.hardware.slow_links import LinkRule, slow_links
from distsim.parallel.unequal import Kind, Rule, at_speed, selected, unequal
from distsim.prediction.predict import evaluate
from distsim.program.build import build
from distsim.scenario.resolve import resolve
from distsim.workload.op import Work, WorkKind, gemm, stream

NODES = np.repeat(np.arange(4), 8)  # 4 nodes of 8


# Which devices


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((5,), [5]),
        (("5",), [5]),
        (("8:16",), range(8, 16)),
        (("30:",), [30, 31]),
        ((":2",), [0, 1]),
        (("::8",), [0, 8, 16, 24]),
        (("4:20:8",), [4, 12]),
        (("node 3",), range(24, 32)),
        (("nodes 1:3",), range(8, 24)),
        (("nodes ::3",), [*range(8), *range(24, 32)]),
        ((":",), range(32)),
        (("0, 3:5 ,node 2", 31), [0, 3, 4, *range(16, 24), 31]),
        (("1", "1:3"), [1, 2]),
        (("device 5, devices 8:10",), [5, 8, 9]),
        ((), []),
    ],
)
def test_devices_are_chosen_by_number_range_and_node(entries, expected):
    assert selected(entries, NODES).tolist() == list(expected)


def test_nodes_are_those_of_the_topology_however_they_are_numbered():
    assert selected(("node 1",), np.asarray([0, 1, 0, 1, 2])).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("", "DS440"),
        ("x", "DS440"),
        ("-1", "DS440"),
        ("1.5", "DS440"),
        ("1:2:0", "DS440"),
        ("node", "DS440"),
        ("rack 3", "DS440"),
        ("1,,2", "DS440"),
        ("9" * 100, "DS440"),
        ("32", "DS441"),
        (32, "DS441"),
        ("0:33", "DS441"),
        ("5:5", "DS441"),
        ("9:5", "DS441"),
        ("node 4", "DS441"),
        ("nodes 2:5", "DS441"),
        ("999999999", "DS441"),
    ],
)
def test_what_selects_nobody_is_refused(entry, code):
    with pytest.raises(DistsimError) as caught:
        unequal([Rule(("0",)), Rule((entry,), 0.9)], NODES, "a100-80gb-sxm")
    error = caught.value
    assert error.code == code
    assert error.path == ("cluster", "unequal", 1, "devices")
    assert error.rule and error.fix and repr(error.value)[:10] in error.message


def test_kinds_are_counted_and_the_ordinary_one_comes_first():
    rules = [
        Rule(("node 3",), device="h100-80gb-sxm"),
        Rule((5, 6), 0.8),
        Rule(("8:10",), 0.8),
        Rule((0,), 0.8, "h100-80gb-sxm"),
        Rule((1,)),
    ]
    found = unequal(rules, NODES, "a100-80gb-sxm")
    assert found.kinds == (
        Kind("a100-80gb-sxm"),
        Kind("h100-80gb-sxm"),
        Kind("a100-80gb-sxm", 0.8),
        Kind("h100-80gb-sxm", 0.8),
    )
    expected = np.zeros(32, dtype=np.int64)
    expected[24:], expected[[5, 6, 8, 9]], expected[0] = 1, 2, 3
    assert found.kind_of_device.tolist() == expected.tolist()
    assert found.kind_of_device.dtype == np.int64
    assert not found.all_equal


def test_devices_that_are_all_alike_are_equal():
    for rules in ([], [Rule((1,))], [Rule((":",), 0.7)]):
        assert unequal(rules, NODES, "a100-80gb-sxm").all_equal


def test_a_device_is_in_one_rule():
    with pytest.raises(DistsimError) as caught:
        unequal([Rule((1,), 0.9), Rule(("8:16",), 0.9), Rule(("node 1",), 0.8)], NODES, "x")
    assert caught.value.code == "DS442"
    assert "device 8 is in rules 1 and 2" in caught.value.message


@pytest.mark.parametrize("speed", [0.0, -1.0, 10.5, float("inf"), float("nan")])
def test_speeds_out_of_range_are_refused(speed):
    with pytest.raises(DistsimError) as caught:
        unequal([Rule((1,), speed)], NODES, "x")
    assert caught.value.code == "DS443"
    assert caught.value.path == ("cluster", "unequal", 0, "speed")


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25])
def test_every_kernel_takes_the_inverse_of_the_speed(speed):
    device = catalogue.device("a100-80gb-sxm")
    works = [
        gemm(2048, 3072, 1024),
        gemm(8, 8192, 8192),
        stream(1e6),
        Work(WorkKind.FLASH, batch=32, m=2048, n=2048, k=128, flop=7e10, stream_bytes=1e8),
    ]
    for work in works:
        ordinary, other = (price([work], d, "bf16") for d in (device, at_speed(device, speed)))
        assert other.device_s == pytest.approx(ordinary.device_s / speed, rel=1e-12)
        assert other.host_s == ordinary.host_s
    assert at_speed(device, 1.0) is device


# Slow links


@pytest.fixture(scope="module")
def pod():
    return catalogue.load_topology("dgx-h100-superpod", 32)


def _send_s(topology, a, b, size_bytes):
    """Return what one message takes alone: latencies of its links, and the narrowest."""
    routes = topology.routes([a], [b])
    narrowest = topology.capacity_bytes_per_s[routes.link].min()
    return float(routes.latency_s(topology)[0]) + size_bytes / narrowest


def test_a_class_of_links_loses_bandwidth_and_gains_latency(pod):
    slow = slow_links(pod, [LinkRule(link_class="rail", bandwidth_factor=0.5, latency_s=1e-6)])
    rail = pod.link_class == pod.class_names.index("rail")
    share = np.where(rail, 0.5, 1.0)
    assert (slow.capacity_bytes_per_s == pod.capacity_bytes_per_s * share).all()
    assert (slow.bandwidth_bytes_per_s == pod.bandwidth_bytes_per_s * share).all()
    np.testing.assert_allclose(slow.latency_s - pod.latency_s, 1e-6 * rail, atol=1e-20)
    assert not slow.capacity_bytes_per_s.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        slow.latency_s[0] = 1.0


def test_a_pattern_names_one_direction(pod):
    slow = slow_links(pod, [LinkRule(pattern="n1.nic3->u0*", bandwidth_factor=0.25)])
    changed = np.flatnonzero(slow.capacity_bytes_per_s != pod.capacity_bytes_per_s)
    assert [pod.link_name(i) for i in changed] == ["n1.nic3->u0.leaf3"]
    rail = pod.capacity_bytes_per_s[changed[0]]
    extra_s = (
        1e9 / (0.25 * rail) - 1e9 / pod.capacity_bytes_per_s[pod.routes([11], [19]).link].min()
    )
    assert _send_s(slow, 11, 19, 1e9) - _send_s(pod, 11, 19, 1e9) == pytest.approx(extra_s)
    assert _send_s(slow, 19, 11, 1e9) == _send_s(pod, 19, 11, 1e9)


def test_between_two_nodes_a_route_pays_the_latency_once(pod):
    slow = slow_links(pod, [LinkRule(between=(1, 2), latency_s=5e-6)])
    for a, b in ((8, 16), (16, 8), (9, 23)):
        assert _send_s(slow, a, b, 0.0) - _send_s(pod, a, b, 0.0) == pytest.approx(5e-6)
    for a, b in ((8, 9), (0, 24), (24, 0)):
        assert _send_s(slow, a, b, 0.0) == _send_s(pod, a, b, 0.0)
    narrow = slow_links(pod, [LinkRule(between=(2, 1), bandwidth_factor=0.1)])
    changed = np.flatnonzero(narrow.capacity_bytes_per_s != pod.capacity_bytes_per_s)
    names = [pod.link_name(i) for i in changed]
    assert all(not n.startswith("n") or "leaf" in n for n in names)
    assert {n.split("->")[0][:2] for n in names} == {"n1", "n2", "u0", "sp"}


def test_wired_nodes_have_the_links_between_them():
    torus = catalogue.load_topology("tpu-v5e-64", 64)
    slow = slow_links(torus, [LinkRule(between=(0, 1), bandwidth_factor=0.5)])
    changed = np.flatnonzero(slow.capacity_bytes_per_s != torus.capacity_bytes_per_s)
    assert sorted(changed) == sorted(torus.routes([0, 1], [1, 0]).link)


def test_a_slow_link_slows_a_step_and_unfolds_what_it_must():
    data = {
        "schema": 1,
        "name": "slow",
        "cluster": {"topology": "dgx-h100-superpod", "devices": 32},
        "model": {"family": "gpt", "layers": 4, "hidden": 512, "heads": 8, "vocab": 4096}
        | {"max_positions": 512},
        "batch": {"global_size": 32, "sequence_length": 512},
        "plan": {"tp": 4, "zero_stage": 1},
    }
    inputs = resolve(load(data)).inputs
    rule = LinkRule(pattern="n1.nic3->*", bandwidth_factor=0.2)
    slow = replace(inputs, topology=slow_links(inputs.topology, [rule]))
    base, folded = build(inputs), build(slow)
    whole = build(slow, fold_enabled=False)
    step_s = [evaluate(p, "event").makespan for p in (base, folded, whole)]
    assert step_s[1] == pytest.approx(step_s[2], rel=1e-9)
    assert step_s[1] > 1.05 * step_s[0]
    assert len(base.classes) <= len(folded.classes) < 32


def test_rules_for_the_same_link_add_up(pod):
    rule = LinkRule(pattern="n0.nic0->u0.leaf0", bandwidth_factor=0.5, latency_s=1e-6)
    slow = slow_links(pod, [rule, replace(rule, pattern="n0.nic0->u*")])
    (link,) = np.flatnonzero(slow.latency_s != pod.latency_s)
    assert slow.capacity_bytes_per_s[link] == pod.capacity_bytes_per_s[link] / 4
    assert slow.latency_s[link] == pytest.approx(pod.latency_s[link] + 2e-6)


def test_no_rules_change_nothing(pod):
    same = slow_links(pod, [])
    assert (same.capacity_bytes_per_s == pod.capacity_bytes_per_s).all()
    assert (same.latency_s == pod.latency_s).all()


@pytest.mark.parametrize(
    ("rule", "code", "key"),
    [
        (LinkRule(), "DS444", None),
        (LinkRule(link_class="rail", pattern="*"), "DS444", None),
        (LinkRule(link_class="rial"), "DS444", "link_class"),
        (LinkRule(pattern="gpu*"), "DS444", "pattern"),
        (LinkRule(pattern=""), "DS444", "pattern"),
        (LinkRule(between=(1, 1)), "DS444", "between"),
        (LinkRule(between=(0, 4)), "DS444", "between"),
        (LinkRule(between=(-1, 0)), "DS444", "between"),
        (LinkRule(link_class="rail", bandwidth_factor=0.0), "DS445", "bandwidth"),
        (LinkRule(link_class="rail", bandwidth_factor=1.5), "DS445", "bandwidth"),
        (LinkRule(link_class="rail", bandwidth_factor=float("nan")), "DS445", "bandwidth"),
        (LinkRule(link_class="rail", latency_s=-1e-6), "DS445", "latency"),
        (LinkRule(link_class="rail", latency_s=float("inf")), "DS445", "latency"),
    ],
)
def test_rules_for_links_that_cannot_be_are_refused(pod, rule, code, key):
    with pytest.raises(DistsimError) as caught:
        slow_links(pod, [rule])
    assert caught.value.code == code
    assert caught.value.path == ("cluster", "slow_links", 0, *([key] if key else []))
    assert caught.value.rule and caught.value.fix


def test_the_nearest_class_is_offered(pod):
    with pytest.raises(DistsimError) as caught:
        slow_links(pod, [LinkRule(link_class="rial")])
    assert "'rail'" in caught.value.fix
