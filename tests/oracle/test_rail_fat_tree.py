"""Rail-optimised fat trees: routes against shortest paths and a superpod, counts and cuts."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from distsim.hardware.catalogue import load_topology
from distsim.hardware.topology import Topology

LINK = {"bandwidth": "100 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "made up"}
NIC = LINK | {"bandwidth": "20 GB/s", "latency": "2 us"}
UPPER = {key: NIC[key] for key in ("efficiency", "latency", "source")}
#: Units of 3 nodes of 4 devices; leaves with 3 uplinks, pods of 2 units, spines with 2 uplinks.
SIZES = {"devices_per_node": 4, "nodes_per_unit": 3, "max_units": 8}
THREE = {"tiers": 3, "units_per_pod": 2, "pod_uplinks": 2}


def rail_tree(n_devices: int, tiers: int = 3, **changes: object) -> Topology:
    keys = SIZES | {"kind": "rail_fat_tree", "device": "a100-80gb-sxm", "tiers": 2}
    keys |= {"leaf_uplinks": 3, "spreading": "ideal"} | (THREE if tiers == 3 else {}) | changes
    links = {"nvlink": LINK, "pcie": NIC, "rail": NIC, "leaf": UPPER}
    return load_topology(
        keys | {"links": links | ({"pod": UPPER} if tiers == 3 else {})}, n_devices
    )


def superpod(n_devices: int, **changes: object) -> Topology:
    links = {"nvlink": LINK, "pcie": NIC, "rail": NIC, "spine": UPPER}
    keys = SIZES | {"kind": "superpod", "device": "a100-80gb-sxm", "links": links}
    return load_topology(keys | changes, n_devices)


def all_pairs(n_devices: int) -> tuple[np.ndarray, np.ndarray]:
    src, dst = np.divmod(np.arange(n_devices**2), n_devices)
    return src, dst


def names(topology: Topology, src: np.ndarray, dst: np.ndarray) -> list[list[str]]:
    routes = topology.routes(src, dst)
    each = [topology.link_name(i) for i in range(topology.n_links)]
    assert len(set(each)) == len(each)
    return [
        [each[link] for link in routes.link[routes.ptr[i] : routes.ptr[i + 1]]]
        for i in range(len(src))
    ]


@pytest.mark.parametrize("spreading", ["ideal", "hashed"])
@pytest.mark.parametrize("nics", [1, 2, 4])
@pytest.mark.parametrize("tiers", [2, 3])
@pytest.mark.parametrize("n_devices", [1, 3, 4, 6, 12, 13, 25, 48])
def test_routes_are_shortest_paths(n_devices: int, tiers: int, nics: int, spreading: str) -> None:
    """Devices and adapters pass nothing on, so the others are left out of the graph."""
    topology = rail_tree(n_devices, tiers, nics_per_node=nics, spreading=spreading)
    graph = topology.graph()
    assert graph.number_of_edges() == topology.n_links
    labels = [topology.device_label(i) for i in range(n_devices)]
    src, dst = all_pairs(n_devices)
    longest = 0
    for a, b, path in zip(src, dst, names(topology, src, dst), strict=True):
        inner = graph.subgraph(set(graph) - set(labels) | {labels[a], labels[b]})
        stops = [labels[a], *(link.split("->")[1] for link in path)]
        assert stops[-1] == labels[b]
        assert [link.split("->")[0] for link in path] == stops[:-1]
        assert len(path) == nx.shortest_path_length(inner, labels[a], labels[b])
        longest = max(longest, len(path))
    if n_devices % 12 == 0 or n_devices in (1, 4):
        assert topology.shape()["diameter_links"] == longest


@pytest.mark.parametrize(("n_devices", "nics"), [(1, 4), (7, 4), (13, 2), (48, 4), (96, 1)])
@pytest.mark.parametrize("over", [1, 2.5])
def test_two_ideal_tiers_are_a_superpod(n_devices: int, nics: int, over: float) -> None:
    mine = rail_tree(n_devices, 2, nics_per_node=nics, oversubscription={"leaf": over})
    theirs = superpod(n_devices, nics_per_node=nics, oversubscription=over)
    src, dst = all_pairs(n_devices)
    a, b = mine.routes(src, dst), theirs.routes(src, dst)
    assert a.ptr.tolist() == b.ptr.tolist()
    assert a.link.tolist() == b.link.tolist()
    np.testing.assert_array_equal(mine.capacity_bytes_per_s, theirs.capacity_bytes_per_s)
    np.testing.assert_array_equal(mine.latency_s, theirs.latency_s)
    np.testing.assert_array_equal(mine.unit_of, theirs.unit_of)
    stated = [topology.shape().get("bisection_bytes_per_s") for topology in (mine, theirs)]
    assert stated[0] == stated[1]


def test_rails_of_a_pod_meet_at_the_core_and_one_rail_at_its_spines() -> None:
    topology = rail_tree(96, spreading="hashed")
    # A unit has 12 devices and a pod 24; device 1 is on rail 1.
    paths = names(topology, np.array([1, 1, 1, 1]), np.array([5, 13, 14, 25]))
    assert [len(path) for path in paths] == [4, 6, 8, 8]
    assert paths[0][1:3] == ["n0.nic1->u0.leaf1", "u0.leaf1->n1.nic1"]
    assert all(".rail1." in link for link in paths[1][2:4])
    assert "core" in paths[2][3] and "pod0.rail2.spine" in paths[2][5]
    assert "core" in paths[3][3] and "pod1.rail1.spine" in paths[3][5]


def cut(topology: Topology, half: tuple[int, ...]) -> float:
    """Max-flow from some of the devices to the others: the least cut that parts them."""
    graph = topology.graph()
    for i in range(topology.n_devices):
        label = topology.device_label(i)
        graph.add_edge(*(("source", label) if i in half else (label, "sink")))
    return float(nx.maximum_flow_value(graph, "source", "sink", capacity="bandwidth_bytes_per_s"))


@pytest.mark.parametrize("spreading", ["ideal", "hashed"])
@pytest.mark.parametrize("over", [{}, {"leaf": 3}, {"pod": 1.6}, {"leaf": 0.5, "pod": 2.5}])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)])
def test_bisection_is_the_least_of_all_halves(
    sizes: tuple[int, int], over: dict[str, float], spreading: str
) -> None:
    """Four nodes of two devices, in units and pods of some sizes; every half is tried."""
    keys = {"devices_per_node": 2, "nodes_per_unit": sizes[0], "units_per_pod": sizes[1]}
    topology = rail_tree(8, spreading=spreading, oversubscription=over, **keys)
    stated = topology.shape().get("bisection_bytes_per_s")
    if sizes[0] == 3:
        assert stated is None
        return
    halves = [half for half in combinations(range(8), 4) if 0 in half]
    assert stated == pytest.approx(min(cut(topology, half) for half in halves))


@pytest.mark.parametrize("over", [{}, {"leaf": 3}, {"pod": 1.6}, {"leaf": 0.5, "pod": 2.5}])
@pytest.mark.parametrize("n_devices", [8, 24, 48, 96])
def test_bisection_is_a_cut_between_halves(n_devices: int, over: dict[str, float]) -> None:
    topology = rail_tree(n_devices, oversubscription=over, spreading="hashed")
    first = tuple(range(n_devices // 2))
    assert topology.shape()["bisection_bytes_per_s"] == pytest.approx(cut(topology, first))


@pytest.mark.parametrize("tiers", [2, 3])
@pytest.mark.parametrize("spreading", ["ideal", "hashed"])
def test_oversubscription_is_what_goes_in_over_what_goes_out(tiers: int, spreading: str) -> None:
    over = {"leaf": 3} | ({"pod": 1.6} if tiers == 3 else {})
    topology = rail_tree(96, tiers, oversubscription=over, spreading=spreading)
    totals = {
        c.name: c.bandwidth_bytes_per_s * int((topology.link_class == i).sum())
        for i, c in enumerate(topology.classes)
    }
    assert totals["rail"] / totals["leaf"] == pytest.approx(3)
    if tiers == 3:
        assert totals["leaf"] / totals["pod"] == pytest.approx(1.6)


@pytest.mark.parametrize(("units", "pods"), [(1, 1), (2, 1), (3, 2), (4, 2), (8, 4)])
def test_counts_are_products_of_the_sizes(units: int, pods: int) -> None:
    """Leaves: rails x units. Spines: rails x pods x uplinks of a leaf. Links: two a cable."""
    n_devices = 12 * units
    topology = rail_tree(n_devices, spreading="hashed")
    shape, graph = topology.shape(), topology.graph()
    assert shape["leaves"] == 4 * units == sum(".leaf" in v for v in graph)
    assert (shape["pods"], shape["spines"]) == (pods, 4 * pods * 3)
    assert shape["spines"] == sum(".spine" in v for v in graph)
    assert shape["cores"] == 3 * 2 == sum(v.startswith("core") for v in graph)
    cables = 2 * n_devices + 3 * units * 4 + 4 * units * 3 + 4 * pods * 3 * 2
    assert topology.n_links == 2 * cables


def test_hashed_uplinks_depend_on_the_seed_alone() -> None:
    src, dst = all_pairs(48)
    one, same, other = (
        rail_tree(48, spreading="hashed", seed=seed).routes(src, dst) for seed in (7, 7, 8)
    )
    assert one.link.tolist() == same.link.tolist()
    assert one.link.tolist() != other.link.tolist()
    assert one.ptr.tolist() == other.ptr.tolist()
    for topology in (rail_tree(48, spreading="ideal", seed=s) for s in (7, 8)):
        assert (
            topology.routes(src, dst).link.tolist() == rail_tree(48).routes(src, dst).link.tolist()
        )


def test_one_uplink_hashed_is_ideal() -> None:
    one = {"leaf_uplinks": 1, "pod_uplinks": 1}
    src, dst = all_pairs(96)
    hashed, ideal = (rail_tree(96, spreading=s, **one) for s in ("hashed", "ideal"))
    assert hashed.routes(src, dst).link.tolist() == ideal.routes(src, dst).link.tolist()
    np.testing.assert_array_equal(hashed.capacity_bytes_per_s, ideal.capacity_bytes_per_s)


def test_16384_devices_take_the_switches_of_a_full_three_tier_tree() -> None:
    """Al-Fares 2008, with 64 ports: N/32 switches in each of two tiers, N/64 at the core.

    As far as links tell them apart, which they do not while bundled.
    """
    shape = load_topology("rail-fat-tree-16384xh100", 16384).shape()
    assert (shape["leaves"], shape["pods"]) == (16384 / 32, 2)
    assert shape["bisection_bytes_per_s"] == pytest.approx(8192 * 50e9)
    keys = {"devices_per_node": 8, "nodes_per_unit": 32, "max_units": 64, "leaf_uplinks": 32}
    keys |= {"units_per_pod": 32, "pod_uplinks": 32, "spreading": "hashed"}
    hashed = rail_tree(16384, **keys)
    assert hashed.shape()["spines"] == 16384 / 32
    # A core switch of 64 ports stands for four here, each with one link to each of 16 groups.
    assert hashed.shape()["cores"] == 4 * 16384 / 64
    assert {c.bandwidth_bytes_per_s for c in hashed.classes[2:]} == {20e9}
