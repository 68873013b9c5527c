"""Rings over wires: they follow wires, share none, and use as many as theory says."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from distsim.hardware.catalogue import load_topology
from distsim.hardware.cube_mesh import NVLINKS
from distsim.hardware.wiring import cycles, paths
from distsim.program.traffic import compile_traffic
from distsim.study.collective import collective_report


def _complete(n: int, width: int = 1) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(0 if a == b else width for b in range(n)) for a in range(n))


CUBE_MESH = tuple(map(tuple, NVLINKS.tolist()))


@pytest.mark.parametrize(
    ("wires", "rings"),
    [
        # Tillson 1980: n - 1 of them, but for 4 and 6.
        (_complete(3), 2),
        (_complete(5), 4),
        (_complete(8), 7),
        (_complete(16), 15),
        # Four V100 with two NVLinks between each two: K4 twice has three rings, either way round.
        (_complete(4, 2), 6),
        # DGX-1: six NVLinks a device (whitepaper WP-08437).
        (CUBE_MESH, 6),
    ],
)
def test_rings_use_all_wires_that_theory_allows(wires, rings) -> None:
    found = cycles(wires)
    assert len(found) == rings
    used: Counter[tuple[int, int]] = Counter()
    for ring in found:
        assert sorted(ring) == list(range(len(wires)))
        used.update(pairwise((*ring, ring[0])))
    assert all(count <= wires[a][b] for (a, b), count in used.items())


@pytest.mark.parametrize("n", [4, 6])
def test_four_and_six_devices_have_one_ring_less(n: int) -> None:
    assert len(cycles(_complete(n))) == n - 2


@pytest.mark.parametrize("n", [4, 6, 8, 12])
def test_zigzag_lines_use_every_wire_once(n: int) -> None:
    used = Counter(hop for line in paths(_complete(n)) for hop in pairwise(line))
    assert len(used) == n * (n - 1)
    assert set(used.values()) == {1}
    assert sorted(line[0] for line in paths(_complete(n))) == list(range(n))


def test_devices_without_wires_have_no_rings() -> None:
    assert cycles(((0, 0, 0),) * 3) == ()
    assert not load_topology("dgx-h100", 8).wired


def _ring(topology: str, devices: int):
    net = load_topology(topology, devices)
    everyone = np.arange(devices)
    traffic = compile_traffic(
        "", everyone[None, :], np.zeros(1, int), "all_gather", "ring", everyone, net
    )
    return net, traffic


@pytest.mark.parametrize(("topology", "devices"), [("dgx1-v100", 8), ("mi300x-8", 8)])
def test_a_ring_takes_one_wire_a_hop(topology: str, devices: int) -> None:
    net, traffic = _ring(topology, devices)
    hops = traffic.hops[0].sum()
    assert traffic.latency_s[0] == pytest.approx(hops * net.latency_s[0], rel=1e-12)
    assert (traffic.before == -1).all() and (traffic.after == -1).all()


def test_seven_rings_load_all_links_of_eight_devices_alike() -> None:
    net, traffic = _ring("mi300x-8", 8)
    load = np.bincount(traffic.entry_link, traffic.entry_fraction, net.n_links)
    assert load == pytest.approx(np.full(56, 7 / 8 / 7), rel=1e-12)


@pytest.mark.parametrize(
    ("topology", "links"),
    # Bus bandwidth of a long all-reduce is that of all links of a device.
    [("dgx1-v100", 6), ("mi300x-8", 7)],
)
def test_long_rings_reach_the_bandwidth_of_all_links(topology: str, links: int) -> None:
    net = load_topology(topology, 8)
    found = collective_report("all_reduce", topology, 8, [1e13], "ring", "ideal").rows[0]
    one = float(net.capacity_bytes_per_s.min())
    assert found.busbw_bytes_per_s == pytest.approx(links * one, rel=1e-4)


@pytest.mark.parametrize("nodes", [2, 4])
def test_rings_between_nodes_stay_on_wires_and_rails(nodes: int) -> None:
    net, traffic = _ring("mi300x-cluster", 8 * nodes)
    load = np.bincount(traffic.entry_link, traffic.entry_fraction, net.n_links)
    names = net.class_names
    rail = load[net.link_class == names.index("rail")]
    link = load[net.link_class == names.index("link")]
    n = 8 * nodes
    # Eight channels: each carries an eighth of (n - 1)/n on each of its hops.
    assert rail == pytest.approx(np.full(len(rail), (n - 1) / n / 8), rel=1e-12)
    assert link == pytest.approx(np.full(len(link), (n - 1) / n / 8), rel=1e-12)


def test_part_of_a_node_has_rings_of_its_own() -> None:
    """Four devices of a DGX-1 form a square with diagonals, whose rings use what is there."""
    _, traffic = _ring("dgx1-v100", 4)
    assert (traffic.before == -1).all()
    assert traffic.channels[0] == 4
