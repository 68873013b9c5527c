"""Every kind of topology: shortest routes, symmetric links, counts by closed form, diameter."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import pytest

from distsim.hardware.catalogue import load_topology, topology_info, topology_names
from distsim.hardware.registry import KINDS
from distsim.hardware.topology import Topology

LINK = {"bandwidth": "10 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "made up"}
UPPER = {key: LINK[key] for key in ("efficiency", "latency", "source")}
EDGES = [(f"d{i}", f"s{i % 3}") for i in range(6)] + [("s0", "s1"), ("s1", "s2"), ("d0", "d3")]
RAILS = {"devices_per_node": 4, "nics_per_node": 2, "nodes_per_unit": 2, "max_units": 4}
RAIL_LINKS = {"pcie": LINK, "rail": LINK}
TREE = {"devices_per_leaf": 4, "leaf_uplinks": 3, "max_leaves": 8}
RAIL_TREE = RAILS | {"leaf_uplinks": 3}
NVLINK = {"nvlink": LINK}


class Case(NamedTuple):
    """A topology of some devices, and what it has by the closed forms of its kind.

    `links` counts both directions. `passing` says whether devices pass traffic on.
    """

    kind: str
    n_devices: int
    keys: Mapping[str, Any]
    links: int
    switches: int
    diameter: int
    passing: bool = False

    def build(self) -> Topology:
        names = {"link": LINK}
        keys = {"kind": self.kind, "device": "a100-80gb-sxm", "links": names} | dict(self.keys)
        return load_topology(keys, self.n_devices)


def superpod(nodes: int, units: int) -> Case:
    """2 (2 n + adapters + leaves) links; a switch a node, adapters, leaves and the spine."""
    n, nics, leaves = 4 * nodes, 2 * nodes, 2 * units
    keys = RAILS | {"links": NVLINK | RAIL_LINKS | {"spine": UPPER}}
    links = 2 * (2 * n + nics + leaves)
    return Case("superpod", n, keys, links, nodes + nics + leaves + 1, 6)


def fat_tree(leaves: int, spreading: str) -> Case:
    """2 (2 n + uplinks) links; bundled spines are one vertex."""
    n, up = 4 * leaves, 3 if spreading == "hashed" else 1
    keys = TREE | {"tiers": 2, "devices_per_node": 2, "spreading": spreading}
    keys |= {"links": NVLINK | {"nic": LINK, "leaf": UPPER}}
    links = 2 * (2 * n + leaves * up)
    return Case("fat_tree", n, keys, links, n // 2 + leaves + up, 4 if leaves > 1 else 2)


def three_tiers(pods: int, spreading: str) -> Case:
    """Pods of 2 leaves; an aggregation switch an uplink, and 2 cores for each of those."""
    n, (up, on) = 8 * pods, (3, 2) if spreading == "hashed" else (1, 1)
    keys = TREE | {"tiers": 3, "leaves_per_pod": 2, "pod_uplinks": 2, "spreading": spreading}
    keys |= {"links": {"nic": LINK, "leaf": UPPER, "pod": UPPER}}
    links = 2 * (n + 2 * pods * up + pods * up * on)
    return Case("fat_tree", n, keys, links, 2 * pods + pods * up + up * on, 6)


def rail_tree(units: int, spreading: str) -> Case:
    """Units of 2 nodes and 2 rails in pods of 2 units, with spines for each rail of a pod."""
    nodes, pods = 2 * units, -(-units // 2)
    n, nics, leaves = 4 * nodes, 2 * nodes, 2 * units
    up, on = (3, 2) if spreading == "hashed" else (1, 1)
    keys = RAIL_TREE | {"tiers": 3, "units_per_pod": 2, "pod_uplinks": 2, "spreading": spreading}
    keys |= {"links": NVLINK | RAIL_LINKS | {"leaf": UPPER, "pod": UPPER}}
    links = 2 * (2 * n + nics + leaves * up + 2 * pods * up * on)
    switches = nodes + nics + leaves + 2 * pods * up + up * on
    return Case("rail_fat_tree", n, keys, links, switches, 8)


def cluster(nodes: int, units: int) -> Case:
    """Nodes of 4 devices joined each to each, on the rails of a superpod."""
    n, nics, leaves = 4 * nodes, 2 * nodes, 2 * units
    inside = {"kind": "full", "max_devices": 4, "links": {"link": LINK}}
    keys = RAILS | {"node": inside, "links": RAIL_LINKS | {"spine": UPPER}}
    return Case("cluster", n, keys, 3 * n + 2 * (n + nics + leaves), nics + leaves + 1, 6)


def pcie(per_switch: int, switches: int, sockets: int) -> Case:
    n = per_switch * switches * sockets
    keys = {"devices_per_switch": per_switch, "switches_per_socket": switches, "sockets": sockets}
    names = {"pcie": LINK, "uplink": LINK} | ({"socket": LINK} if sockets > 1 else {})
    links = 2 * (n + switches * sockets) + sockets * (sockets - 1)
    return Case("pcie", n, keys | {"links": names}, links, (switches + 1) * sockets, 5)


def dragonfly(groups: int, routers: int, per_router: int) -> Case:
    n = groups * routers * per_router
    keys = {"groups": groups, "routers_per_group": routers, "devices_per_router": per_router}
    names = dict.fromkeys(("terminal", "local", "global"), LINK)
    keys |= {"global_links_per_router": groups, "links": names}
    links = 2 * n + groups * routers * (routers - 1) + groups * (groups - 1)
    return Case("dragonfly", n, keys, links, groups * routers, 5 if routers > 1 else 3)


def grid(n: int, shape: list[int], wrap: list[bool], links: int, diameter: int) -> Case:
    return Case("torus", n, {"shape": shape, "wrap": wrap}, links, 0, diameter, passing=True)


CASES = [
    Case("node", 8, {"devices_per_node": 8, "links": NVLINK}, 16, 1, 2),
    Case("switch", 6, {"max_devices": 6}, 12, 1, 2),
    Case("ring", 7, {"max_devices": 7}, 14, 0, 3, passing=True),
    Case("ring", 2, {"max_devices": 2}, 2, 0, 1, passing=True),
    Case("full", 5, {"max_devices": 5}, 20, 0, 1, passing=True),
    grid(12, [3, 4], [True, True], 4 * 12, 1 + 2),
    grid(12, [3, 4], [False, False], 2 * (2 * 4 + 3 * 3), 2 + 3),
    grid(24, [2, 3, 4], [True, False, True], 2 * (12 + 16 + 24), 1 + 2 + 2),
    *(fat_tree(leaves, spreading) for leaves in (1, 4) for spreading in ("ideal", "hashed")),
    *(three_tiers(pods, spreading) for pods in (2, 3) for spreading in ("ideal", "hashed")),
    *(rail_tree(units, spreading) for units in (1, 4) for spreading in ("ideal", "hashed")),
    *(superpod(nodes, units) for nodes, units in ((2, 1), (5, 3))),
    *(cluster(nodes, units) for nodes, units in ((2, 1), (5, 3))),
    *(pcie(*sizes) for sizes in ((2, 2, 2), (1, 3, 2), (2, 1, 3))),
    *(dragonfly(*sizes) for sizes in ((2, 3, 2), (3, 1, 2))),
    Case("cube_mesh", 8, {"links": NVLINK}, 32, 0, 2, passing=True),
    Case(
        "edges",
        6,
        {
            "devices": [f"d{i}" for i in range(6)],
            "switches": ["s0", "s1", "s2"],
            "links": [{"from": a, "to": b, "class": "one"} for a, b in EDGES],
            "link_classes": {"one": LINK},
        },
        2 * len(EDGES),
        3,
        4,
        passing=True,
    ),
]  # fmt: skip


def test_every_kind_has_a_case_and_a_shipped_example() -> None:
    assert {case.kind for case in CASES} == set(KINDS)
    assert {topology_info(name)["kind"] for name in topology_names()} == set(KINDS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.n_devices}")
def test_routes_are_shortest_paths_between_all_pairs(case: Case) -> None:
    topology = case.build()
    graph, n = topology.graph(), case.n_devices
    labels = [topology.device_label(i) for i in range(n)]
    names = [topology.link_name(link) for link in range(topology.n_links)]
    src, dst = np.divmod(np.arange(n * n), n)
    routes = topology.routes(src, dst)
    longest = 0
    for i, (a, b) in enumerate(zip(src, dst, strict=True)):
        path = routes.link[routes.ptr[i] : routes.ptr[i + 1]]
        stops = [labels[a], *(names[link].split("->")[1] for link in path)]
        assert [graph.edges[pair]["link"] for pair in pairwise(stops)] == path.tolist()
        assert stops[-1] == labels[b]
        others = set() if case.passing else set(labels) - {labels[a], labels[b]}
        inner = graph.subgraph(set(graph) - others)
        assert len(path) == nx.shortest_path_length(inner, labels[a], labels[b])
        longest = max(longest, len(path))
    assert longest == case.diameter
    assert topology.shape().get("diameter_links", longest) == longest


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.n_devices}")
def test_links_and_switches_are_those_of_the_closed_form(case: Case) -> None:
    topology = case.build()
    graph = topology.graph()
    assert topology.n_links == graph.number_of_edges() == case.links
    assert graph.number_of_nodes() - case.n_devices == case.switches
    assert nx.is_strongly_connected(graph)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.n_devices}")
def test_links_are_the_same_both_ways(case: Case) -> None:
    graph = case.build().graph()
    keys = ("link_class", "bandwidth_bytes_per_s", "capacity_bytes_per_s", "latency_s")
    for a, b, data in graph.edges(data=True):
        back = graph.edges[b, a]
        assert [back[key] for key in keys] == [data[key] for key in keys]
        assert data["capacity_bytes_per_s"] == pytest.approx(0.8 * data["bandwidth_bytes_per_s"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.n_devices}")
def test_latency_of_a_route_is_that_of_its_links(case: Case) -> None:
    topology = case.build()
    n = case.n_devices
    src, dst = np.divmod(np.arange(n * n), n)
    routes = topology.routes(src, dst)
    np.testing.assert_allclose(routes.latency_s(topology), np.diff(routes.ptr) * 1e-6)
