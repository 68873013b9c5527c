"""Routes against shortest paths, and collectives on topologies against closed forms."""

from __future__ import annotations

from itertools import product

import networkx as nx
import numpy as np
import pytest
import yaml

from distsim.collectives import costs
from distsim.collectives.algorithms import pattern
from distsim.files import shipped_directory
from distsim.hardware.catalogue import (
    device,
    device_names,
    load_topology,
    topology_info,
    topology_names,
)
from distsim.hardware.topology import Routes, Topology

LINK = {"bandwidth": "100 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "made up"}
NIC = LINK | {"bandwidth": "20 GB/s", "latency": "2 us"}


def small_pod(n_devices: int, **changes: object) -> Topology:
    spine = {key: NIC[key] for key in ("efficiency", "latency", "source")}
    block = {
        "kind": "superpod",
        "device": "a100-80gb-sxm",
        "devices_per_node": 4,
        "nodes_per_unit": 3,
        "max_units": 4,
        "links": {"nvlink": LINK, "pcie": NIC, "rail": NIC, "spine": spine},
    }
    return load_topology(block | changes, n_devices)


def links(routes: Routes, pair: int) -> list[int]:
    return routes.link[routes.ptr[pair] : routes.ptr[pair + 1]].tolist()


def all_pairs(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    index = np.arange(topology.n_devices)
    src, dst = np.meshgrid(index, index, indexing="ij")
    return src.ravel(), dst.ravel()


def collective_s(topology: Topology, name: str, algorithm: str, local: int, size: float) -> float:
    """Latency plus the busiest link's time, for one group of all devices."""
    flows = pattern(name, algorithm, (local, topology.n_devices // local))
    routes = topology.routes(flows.src, flows.dst)
    per_link = np.repeat(flows.fraction, np.diff(routes.ptr))
    demand = size * np.bincount(routes.link, per_link, topology.n_links)
    latency_s = routes.latency_s(topology) @ flows.latency_hops
    return float(latency_s + (demand / topology.capacity_bytes_per_s).max())


@pytest.mark.parametrize("n_devices", [1, 3, 4, 7, 12, 13, 30, 48])
def test_structured_routes_are_the_only_shortest_paths(n_devices: int) -> None:
    """Devices do not pass traffic on, so the others are left out of the graph."""
    topology = small_pod(n_devices)
    graph, (src, dst) = topology.graph(), all_pairs(topology)
    routes = topology.routes(src, dst)
    labels = [topology.device_label(i) for i in range(n_devices)]
    for pair, (a, b) in enumerate(zip(src, dst, strict=True)):
        inner = graph.subgraph(set(graph) - set(labels) | {labels[a], labels[b]})
        paths = list(nx.all_shortest_paths(inner, labels[a], labels[b]))
        edges = [[graph.edges[e]["link"] for e in nx.utils.pairwise(p)] for p in paths]
        assert edges == [links(routes, pair)]


def test_node_routes_are_the_only_shortest_paths() -> None:
    topology = load_topology("dgx-a100", 8)
    graph, (src, dst) = topology.graph(), all_pairs(topology)
    routes = topology.routes(src, dst)
    for pair, (a, b) in enumerate(zip(src, dst, strict=True)):
        (path,) = nx.all_shortest_paths(graph, f"n0.gpu{a}", f"n0.gpu{b}")
        assert [graph.edges[e]["link"] for e in nx.utils.pairwise(path)] == links(routes, pair)


def test_edge_list_routes_have_the_fewest_links_then_the_least_latency() -> None:
    slow, fast = ({"bandwidth": "1 GB/s", "latency": s} for s in ("5 us", "1 us"))
    hops = [("a", "s", slow), ("s", "b", slow), ("a", "t", fast), ("t", "b", fast)]
    hops += [("b", "c", fast), ("a", "x", fast), ("x", "y", fast), ("y", "c", fast)]
    block = {
        "kind": "edges",
        "device": "a100-80gb-sxm",
        "devices": ["a", "b", "c"],
        "switches": ["s", "t", "x", "y"],
        "links": [{"from": a, "to": b} | numbers for a, b, numbers in hops],
    }
    topology = load_topology(block, 3)
    routes = topology.routes([0, 0, 2, 0], [1, 2, 0, 0])
    names = [[topology.link_name(link) for link in links(routes, i)] for i in range(4)]
    assert names[0] == ["a->t", "t->b"]
    assert names[1] == ["a->t", "t->b", "b->c"]
    assert names[2] == ["c->b", "b->t", "t->a"]
    assert names[3] == []
    np.testing.assert_allclose(routes.latency_s(topology), [2e-6, 3e-6, 3e-6, 0])


def test_shared_adapters_take_the_devices_of_their_rail() -> None:
    topology = small_pod(24, nics_per_node=2)
    routes = topology.routes([0, 1, 2, 1], [4, 4, 6, 12])
    names = [[topology.link_name(link) for link in links(routes, i)] for i in range(4)]
    assert names[0][1:3] == names[1][1:3] == ["n0.nic0->u0.leaf0", "u0.leaf0->n1.nic0"]
    assert names[2][1] == "n0.nic1->u0.leaf1"
    assert names[3][2:4] == ["u0.leaf0->spine", "spine->u1.leaf0"]


@pytest.mark.parametrize("name", ["all_reduce", "reduce_scatter", "all_gather"])
@pytest.mark.parametrize("size", [0.0, 1e9])
def test_ring_in_a_node_takes_the_closed_form(name: str, size: float) -> None:
    topology = load_topology("dgx-h100", 8)
    hop_s, rate = 2 * topology.latency_s[0], topology.capacity_bytes_per_s[0]
    closed = getattr(costs, f"ring_{name}_s")(8, size, hop_s, rate)
    got = collective_s(topology, name, "ring", 8, size)
    assert got == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize(("n", "units"), [(2, 1), (7, 1), (16, 1), (17, 1)])
def test_ring_and_tree_over_one_device_nodes_take_the_closed_forms(n: int, units: int) -> None:
    """Nodes of one device on one leaf: every hop is adapter to leaf to adapter."""
    topology = small_pod(n, devices_per_node=1, nodes_per_unit=20, max_units=units)
    hop_s, rate = 4 * 2e-6, 20e9 * 0.8
    for algorithm, closed in (
        ("ring", costs.ring_all_reduce_s(n, 1e9, hop_s, rate)),
        ("tree", costs.double_binary_tree_all_reduce_s(n, 1e9, hop_s, rate)),
    ):
        got = collective_s(topology, "all_reduce", algorithm, 1, 1e9)
        assert got == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize("nodes", [2, 3, 6, 9])
def test_rings_over_nodes_add_up_the_adapters(nodes: int) -> None:
    """Every adapter carries 2(n-1)/n S over the members of a node, and none more."""
    n = 4 * nodes
    topology, size = small_pod(n), 1e9
    flows = pattern("all_reduce", "ring", (4, n // 4))
    routes = topology.routes(flows.src, flows.dst)
    demand = size * np.bincount(
        routes.link, np.repeat(flows.fraction, np.diff(routes.ptr)), topology.n_links
    )
    rails = topology.link_class == topology.class_names.index("rail")
    np.testing.assert_allclose(demand[rails], 2 * (n - 1) / n * size / 4, rtol=1e-12)
    switched = topology.link_class == topology.class_names.index("nvlink")
    np.testing.assert_allclose(demand[switched], 2 * (n - 1) / n * size * 3 / 4, rtol=1e-12)


@pytest.mark.parametrize("oversubscription", [1, 2])
def test_leaf_uplinks_hold_a_unit_over_the_oversubscription(oversubscription: int) -> None:
    topology = small_pod(24, oversubscription=oversubscription)
    graph = topology.graph()
    into_leaf = sum(d["bandwidth_bytes_per_s"] for a, _, d in graph.in_edges("u1.leaf2", data=True)
                    if a != "spine")  # fmt: skip
    uplink = graph.edges["u1.leaf2", "spine"]["bandwidth_bytes_per_s"]
    assert uplink == pytest.approx(into_leaf / oversubscription)


@pytest.mark.parametrize("n_devices", [4, 8, 24, 48])
def test_bisection_is_the_least_cut_between_halves(n_devices: int) -> None:
    """Max-flow from the first half of the devices to the second: min cut."""
    topology = small_pod(n_devices, oversubscription=3)
    graph = topology.graph()
    for index in range(n_devices):
        label = topology.device_label(index)
        ends = ("source", label) if index < n_devices // 2 else (label, "sink")
        graph.add_edge(*ends)
    # Halves of one node are joined by its switch, halves of whole nodes by their adapters.
    other = "nic" if n_devices == 4 else "nvswitch"
    graph.remove_nodes_from([vertex for vertex in list(graph) if other in vertex])
    cut = nx.maximum_flow_value(graph, "source", "sink", capacity="bandwidth_bytes_per_s")
    assert topology.shape()["bisection_bytes_per_s"] == pytest.approx(cut)


def test_a_node_that_is_partly_used_counts() -> None:
    topology = load_topology("dgx-a100-superpod", 12)
    assert topology.node_of.tolist() == [0] * 8 + [1] * 4
    shape = topology.shape()
    assert (shape["nodes"], shape["units"], shape["devices_per_node"]) == (2, 1, 8)


@pytest.mark.parametrize("name", topology_names())
def test_shipped_topologies_build_route_and_name_a_device(name: str) -> None:
    topology = load_topology(name, 4)
    src, dst = all_pairs(topology)
    hops = np.diff(topology.routes(src, dst).ptr)
    assert ((hops > 0) == (src != dst)).all()
    assert topology.device_name in device_names()
    assert sum(c["links"] for c in topology.shape()["link_classes"]) == topology.n_links
    assert topology_info(name)["kind"] == topology.kind


def _numbers(block: dict) -> int:
    """Count entries ``{value, source}`` at any depth."""
    inner = [entry for entry in block.values() if isinstance(entry, dict)]
    return sum(1 if "value" in entry else _numbers(entry) for entry in inner)


@pytest.mark.parametrize("name", device_names())
def test_shipped_devices_source_every_number(name: str) -> None:
    """Every number of the file has a source; tensor-core rates lie above the plain fp32 rate."""
    shipped = device(name)
    stated = yaml.safe_load((shipped_directory("devices") / f"{name}.yaml").read_text())
    assert len(shipped.sources) == _numbers(stated) >= len(shipped.peak_flop_per_s) + 12
    assert max(shipped.peak_flop_per_s.values()) > shipped.peak_flop_per_s["fp32"]


def test_routes_are_the_same_in_any_batch() -> None:
    for name, n_devices in (("dgx-a100-superpod", 200), ("example-edge-list", 4)):
        topology = load_topology(name, n_devices)
        rng = np.random.default_rng(0)
        src, dst = rng.integers(0, n_devices, (2, 50))
        together = topology.routes(src, dst)
        for i, (a, b) in enumerate(zip(src, dst, strict=True)):
            assert links(topology.routes([a], [b]), 0) == links(together, i)


def test_no_pairs_have_no_routes() -> None:
    for name, local in product(("dgx-a100", "example-edge-list"), (1, 2)):
        routes = load_topology(name, local).routes([], [])
        assert routes.ptr.tolist() == [0]
        assert len(routes.link) == 0
