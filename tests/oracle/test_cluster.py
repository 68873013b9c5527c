"""Clusters of nodes: routes against shortest paths, bisection against cuts, times of superpods."""

from __future__ import annotations

from copy import deepcopy
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import yaml

from distsim.collectives.algorithms import pattern
from distsim.errors import DistsimError
from distsim.hardware.catalogue import load_topology
from distsim.hardware.topology import Topology
from distsim.study.collective import collective_report

LINK = {"bandwidth": "64 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "made up"}
NIC = LINK | {"bandwidth": "20 GB/s", "latency": "2 us"}
UPLINK = {key: NIC[key] for key in ("efficiency", "latency", "source")}
EDGE = {"bandwidth": "30 GB/s", "latency": "1 us"}

#: Two sockets; two devices on each of two switches; a third adapter hangs on socket s1 itself.
BOX_EDGES = [
    *((f"g{i}", f"p{i // 2}") for i in range(4)),
    *((f"p{i}", f"s{i}") for i in range(2)),
    *(("n0", "p0"), ("n1", "p1"), ("n2", "s1"), ("s0", "s1"), ("g0", "g2")),
]
BOX = {
    "kind": "edges",
    "devices": [f"g{i}" for i in range(4)],
    "switches": ["p0", "p1", "s0", "s1", "n0", "n1", "n2"],
    "links": [{"from": a, "to": b} | EDGE for a, b in BOX_EDGES],
}
NODES: dict[str, dict[str, Any]] = {
    "full": {"kind": "full", "max_devices": 4, "links": {"link": LINK}},
    "node": {"kind": "node", "devices_per_node": 4, "links": {"nvlink": LINK}},
    "ring": {"kind": "ring", "max_devices": 4, "devices_per_node": 4, "links": {"link": LINK}},
    "pcie": {
        "kind": "pcie",
        "devices_per_switch": 2,
        "switches_per_socket": 1,
        "sockets": 2,
        "links": {"pcie": LINK, "uplink": LINK, "socket": NIC},
    },
    "edges": BOX,
    "cube_mesh": {"kind": "cube_mesh", "links": {"nvlink": LINK}},
}


def block(node: dict[str, Any], /, **changes: Any) -> dict[str, Any]:
    out = {
        "kind": "cluster",
        "device": "a100-80gb-sxm",
        "node": deepcopy(node),
        "devices_per_node": 8 if node["kind"] == "cube_mesh" else 4,
        "nodes_per_unit": 3,
        "max_units": 4,
        "links": {"pcie": NIC, "rail": NIC, "spine": UPLINK},
    } | changes
    if "adapters" in changes:
        out["links"] = {"rail": NIC, "spine": UPLINK}
    return out


def cluster(node: dict[str, Any], n_devices: int, **changes: Any) -> Topology:
    return load_topology(block(node, **changes), n_devices)


def all_routes(topology: Topology) -> dict[tuple[int, int], list[int]]:
    n = topology.n_devices
    src, dst = np.divmod(np.arange(n * n), n)
    routes = topology.routes(src, dst)
    return {
        (int(a), int(b)): routes.link[routes.ptr[i] : routes.ptr[i + 1]].tolist()
        for i, (a, b) in enumerate(zip(src, dst, strict=True))
    }


def vertices(topology: Topology, links: list[int]) -> list[str]:
    """Return the vertices on a way, after a check that its links are joined up."""
    ends = [topology.link_name(link).split("->") for link in links]
    assert all(a[1] == b[0] for a, b in pairwise(ends))
    return [ends[0][0], *(b for _, b in ends)] if ends else []


@pytest.mark.parametrize("n_devices", [1, 3, 4, 7, 16, 30, 48])
@pytest.mark.parametrize("nics", [1, 2, 4])
@pytest.mark.parametrize("kind", ["full", "node", "ring", "pcie", "edges"])
def test_ways_between_nodes_are_the_only_shortest_ones(
    kind: str, nics: int, n_devices: int
) -> None:
    """Devices do not pass traffic between nodes on, so the others are left out of the graph."""
    topology = cluster(NODES[kind], n_devices, nics_per_node=nics)
    graph, labels = topology.graph(), [topology.device_label(i) for i in range(n_devices)]
    assert graph.number_of_edges() == topology.n_links
    network = {v for v in graph if ".nic" in v or ".leaf" in v or v == "spine"}
    for (a, b), links in all_routes(topology).items():
        if a // 4 != b // 4:
            inner = graph.subgraph(network | {labels[a], labels[b]})
            paths = list(nx.all_shortest_paths(inner, labels[a], labels[b]))
            assert paths == [vertices(topology, links)]


@pytest.mark.parametrize("kind", list(NODES))
@pytest.mark.parametrize("n_devices", [2, 8, 19])
def test_ways_inside_a_node_are_those_of_the_node_alone(kind: str, n_devices: int) -> None:
    topology = cluster(NODES[kind], n_devices)
    per_node = topology.devices_per_node
    alone = load_topology(NODES[kind] | {"device": "a100-80gb-sxm"}, min(per_node, n_devices))
    own = all_routes(alone)
    for (a, b), links in all_routes(topology).items():
        if a // per_node == b // per_node:
            expected = vertices(alone, own[a % per_node, b % per_node])
            renamed = [f"n{a // per_node}.{v.removeprefix('n0.')}" for v in expected]
            assert vertices(topology, links) == renamed
            assert [topology.capacity_bytes_per_s[i] for i in links] == [
                alone.capacity_bytes_per_s[i] for i in own[a % per_node, b % per_node]
            ]


ADAPTERS = {
    "one": ["n0"],
    "near": ["n0", "n1"],
    "all": ["n2", "n1", "n0"],
}


@pytest.mark.parametrize("adapters", list(ADAPTERS))
@pytest.mark.parametrize("n_devices", [3, 4, 9, 16, 30])
def test_adapters_in_the_node_are_the_nearest(adapters: str, n_devices: int) -> None:
    """The way out and in is a shortest path to the adapter, and no other adapter is nearer."""
    names = ADAPTERS[adapters]
    topology = cluster(BOX, n_devices, adapters=names)
    graph = topology.graph()
    devices = {v for v in graph if v.split(".")[-1].startswith("g")}
    for (a, b), links in all_routes(topology).items():
        if a // 4 == b // 4:
            continue
        way = vertices(topology, links)
        ends = [i for i, v in enumerate(way) if v.split(".")[-1] in names]
        for at, stretch, node in (
            (way[0], way[: ends[0] + 1], a // 4),
            (way[-1], way[ends[-1] :][::-1], b // 4),
        ):
            inner = graph.subgraph((set(graph) - devices) | {at})
            inner = inner.subgraph(v for v in inner if v.startswith(f"n{node}."))
            length = nx.single_source_shortest_path_length(inner, at)
            assert len(stretch) - 1 == length[stretch[-1]]
            assert length[stretch[-1]] == min(length[f"n{node}.{name}"] for name in names)
            assert not devices & set(stretch[1:])
        leaves = [v for v in way if ".leaf" in v]
        rails = {f"leaf{names.index(way[i].split('.')[-1])}" for i in (ends[0], ends[-1])}
        units = {f"u{node // 3}" for node in (a // 4, b // 4)}
        assert {leaf.split(".")[1] for leaf in leaves} == rails
        assert {leaf.split(".")[0] for leaf in leaves} == units
        assert ("spine" in way) == (len(rails) > 1 or len(units) > 1)
        assert way[ends[0] + 1] == leaves[0] and len(way) - ends[-1] + ends[0] == len(way) - (
            4 if "spine" in way else 2
        )


def star(n: int, adapters: int, **extra: Any) -> dict[str, Any]:
    """Return devices and adapters that all hang on one switch."""
    names = [f"g{i}" for i in range(n)] + [f"a{i}" for i in range(adapters)]
    links = [{"from": name, "to": "s"} | EDGE | extra.get(name, {}) for name in names]
    switches = ["s", *names[n:]]
    return {"kind": "edges", "devices": names[:n], "switches": switches, "links": links}


def adapter_of(topology: Topology, n: int) -> list[str]:
    """Return the adapter over which each device of the first node reaches the second node."""
    routes = topology.routes(range(n), [n] * n)
    ways = [
        vertices(topology, routes.link[routes.ptr[i] : routes.ptr[i + 1]].tolist())
        for i in range(n)
    ]
    return [way[next(i for i, v in enumerate(way) if ".leaf" in v) - 1] for way in ways]


def test_devices_spread_over_adapters_that_are_as_near() -> None:
    names = ["a2", "a0", "a1"]
    topology = cluster(star(4, 3), 8, adapters=names)
    assert adapter_of(topology, 4) == ["n0.a2", "n0.a0", "n0.a1", "n0.a2"]
    even = cluster(star(4, 4), 8, adapters=["a3", "a2", "a1", "a0"])
    assert adapter_of(even, 4) == ["n0.a3", "n0.a2", "n0.a1", "n0.a0"]


def test_an_adapter_with_less_latency_is_nearer() -> None:
    node = star(4, 2, a0={"latency": "3 us"})
    assert adapter_of(cluster(node, 8, adapters=["a0", "a1"]), 4) == ["n0.a1"] * 4


def test_ways_to_adapters_pass_other_devices_only_where_there_is_no_other() -> None:
    """A longer way around a device is taken; a device that has no adapter goes over its peer."""
    links = [("g0", "g1"), ("g0", "p0"), ("p0", "s0"), ("s0", "p1"), ("g1", "p1"), ("p1", "a0")]
    node = {
        "kind": "edges",
        "devices": ["g0", "g1"],
        "switches": ["p0", "s0", "p1", "a0"],
        "links": [{"from": a, "to": b} | EDGE for a, b in links],
    }
    topology = cluster(node, 4, devices_per_node=2, adapters=["a0"])
    way = vertices(topology, all_routes(topology)[0, 2])
    assert way[:5] == ["n0.g0", "n0.p0", "n0.s0", "n0.p1", "n0.a0"]
    node["links"] = [link for link in node["links"] if "s0" not in link.values()]
    topology = cluster(node, 4, devices_per_node=2, adapters=["a0"])
    assert vertices(topology, all_routes(topology)[0, 2])[:3] == ["n0.g0", "n0.g1", "n0.p1"]


def test_names_and_classes() -> None:
    topology = cluster(NODES["pcie"], 16, nics_per_node=2)
    routes = all_routes(topology)
    names = [topology.link_name(link) for link in routes[2, 15]]
    assert names == [
        "n0.gpu2->n0.nic1", "n0.nic1->u0.leaf1", "u0.leaf1->spine",
        "spine->u1.leaf1", "u1.leaf1->n3.nic1", "n3.nic1->n3.gpu3",
    ]  # fmt: skip
    assert topology.class_names == ("node.pcie", "uplink", "socket", "pcie", "rail", "spine")
    assert [topology.class_names[topology.link_class[i]] for i in routes[2, 15]] == [
        "pcie", "rail", "spine", "spine", "rail", "pcie",
    ]  # fmt: skip
    assert len({topology.link_name(i) for i in range(topology.n_links)}) == topology.n_links


def test_counts_nodes_and_units() -> None:
    topology = cluster(NODES["full"], 18, nics_per_node=2)
    shape = topology.shape()
    counts = ("nodes", "units", "nics_per_node", "adapters", "leaves")
    assert [shape[c] for c in counts] == [5, 2, 2, 10, 4]
    assert topology.node_of.tolist() == [i // 4 for i in range(18)]
    assert topology.unit_of is not None
    assert topology.unit_of.tolist() == [0] * 12 + [1] * 6
    assert sum(c["links"] for c in shape["link_classes"]) == topology.n_links


@pytest.mark.parametrize("n_devices", [1, 2, 4, 5, 8, 12, 13, 16, 17, 30])
@pytest.mark.parametrize("kind", ["full", "pcie", "box", "edges"])
def test_diameter_is_the_longest_route(kind: str, n_devices: int) -> None:
    adapters = {"adapters": ["n0"]} if kind == "box" else {"nics_per_node": 2}
    topology = cluster(BOX if kind == "box" else NODES[kind], n_devices, **adapters)
    longest = max(map(len, all_routes(topology).values()))
    assert topology.shape()["diameter_links"] == longest


def least_cut(topology: Topology) -> float:
    """Return the least cut between any two halves of the devices, by maximum flow."""
    graph, n = topology.graph(), topology.n_devices
    cuts = []
    for half in combinations(range(1, n), n // 2 - 1):
        flow = graph.copy()
        for i in range(n):
            label = topology.device_label(i)
            flow.add_edge(*(("from", label) if i in (0, *half) else (label, "to")))
        cuts.append(nx.maximum_flow_value(flow, "from", "to", capacity="bandwidth_bytes_per_s"))
    return float(min(cuts))


def pair(bandwidth: str) -> dict[str, Any]:
    return {"kind": "full", "max_devices": 2, "links": {"link": LINK | {"bandwidth": bandwidth}}}


@pytest.mark.parametrize("over", [0.5, 1, 1.6, 4])
@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (4, 2), (4, 3), (4, 4)])
@pytest.mark.parametrize("nics", [1, 2])
@pytest.mark.parametrize(("inside", "pcie"), [("1 GB/s", "20 GB/s"), ("64 GB/s", "12 GB/s")])
def test_bisection_is_the_least_of_all_halves(
    inside: str, pcie: str, nics: int, shape: tuple[int, int], over: float
) -> None:
    """Nodes of two devices, `shape` = (nodes, nodes of a unit)."""
    nodes, per_unit = shape
    topology = cluster(
        pair(inside),
        2 * nodes,
        devices_per_node=2,
        nics_per_node=nics,
        nodes_per_unit=per_unit,
        oversubscription=over,
        links={"pcie": NIC | {"bandwidth": pcie}, "rail": NIC, "spine": UPLINK},
    )
    stated = topology.shape().get("bisection_bytes_per_s")
    if over <= 1:
        assert stated is not None
    if stated is not None:
        assert stated == pytest.approx(least_cut(topology))


@pytest.mark.parametrize("over", [1, 3])
def test_uplinks_of_a_leaf_hold_a_unit_over_the_oversubscription(over: int) -> None:
    topology = cluster(NODES["full"], 24, oversubscription=over)
    graph = topology.graph()
    rails = [d["bandwidth_bytes_per_s"] for a, _, d in graph.in_edges("u1.leaf2", data=True)
             if a != "spine"]  # fmt: skip
    assert len(rails) == 3
    uplink = graph.edges["u1.leaf2", "spine"]["bandwidth_bytes_per_s"]
    assert uplink == pytest.approx(sum(rails) / over)


@pytest.mark.parametrize("n_devices", [3, 4, 8, 12, 20, 48])
@pytest.mark.parametrize("nics", [2, 4])
def test_a_cluster_of_switched_nodes_is_the_superpod(n_devices: int, nics: int) -> None:
    """All collectives take the same time, to the last bit, on two descriptions of one thing."""
    common = {
        "device": "a100-80gb-sxm", "devices_per_node": 4, "nics_per_node": nics,
        "nodes_per_unit": 3, "max_units": 4, "oversubscription": 2, "in_network": ["nvls"],
        "library": {"profile": "nccl", "startup": "3 us"},
    }  # fmt: skip
    outside = {"pcie": NIC, "rail": NIC, "spine": UPLINK}
    superpod = common | {"kind": "superpod", "links": {"nvlink": LINK} | outside}
    own = common | {"kind": "cluster", "node": NODES["node"], "links": outside}
    sizes = [1e3, 1e6, 1e9]
    for collective in ("all_reduce", "all_gather", "all_to_all"):
        rows = [
            [(r.time_s, r.algorithm, r.protocol, r.bottleneck) for r in report.rows]
            for report in (
                collective_report(collective, topology, n_devices, sizes)
                for topology in (own, superpod)
            )
        ]
        assert rows[0] == rows[1]


@pytest.mark.parametrize("kind", ["full", "edges"])
@pytest.mark.parametrize("nodes", [2, 3, 6])
def test_rings_over_nodes_add_up_the_adapters(kind: str, nodes: int) -> None:
    """Every adapter carries its share of 2(n-1)/n S from every ring, both ways."""
    n, size = 4 * nodes, 1e9
    topology = cluster(NODES[kind], n, nics_per_node=2)
    flows = pattern("all_reduce", "ring", (4, nodes))
    routes = topology.routes(flows.src, flows.dst)
    per_link = np.repeat(flows.fraction, np.diff(routes.ptr))
    demand = size * np.bincount(routes.link, per_link, topology.n_links)
    rails = topology.link_class == topology.class_names.index("rail")
    assert rails.sum() == 4 * nodes
    np.testing.assert_allclose(demand[rails], 2 * (n - 1) / n * size / 2, rtol=1e-12)


def test_a_node_without_its_own_network_sends_at_the_rate_of_its_adapter() -> None:
    """Alone, 1 GB between nodes takes the bytes over the slowest link and the sum of latencies."""
    topology = load_topology(block(BOX, adapters=["n0", "n1"]), 8)
    (links,) = [all_routes(topology)[0, 7]]
    time_s = 1e9 / topology.capacity_bytes_per_s[links].min() + topology.latency_s[links].sum()
    # g0-p0, p0-n0; n0-leaf0, leaf0-spine, spine-leaf1, leaf1-n1; n1-p1, p1-g3.
    assert time_s == pytest.approx(1e9 / (20e9 * 0.8) + 4 * 1e-6 + 4 * 2e-6)


def test_routes_are_the_same_in_any_batch() -> None:
    for topology in (cluster(BOX, 30, adapters=["n0", "n2"]), cluster(NODES["full"], 30)):
        together = all_routes(topology)
        for a, b in list(together)[::7]:
            assert topology.routes([a], [b]).link.tolist() == together[a, b]
        assert topology.routes([], []).ptr.tolist() == [0]


BAD = [
    ({"node": {"kind": "superpod"}}, "DS421", ("node", "kind")),
    ({"node": {"kind": "fat_tree"}}, "DS421", ("node", "kind")),
    ({"node": {"kind": "dragonfly"}}, "DS421", ("node", "kind")),
    ({"node": {"kind": "cluster"}}, "DS421", ("node", "kind")),
    ({"node": {"kind": "ful"}}, "DS406", ("node", "kind")),
    ({"node": {}}, "DS403", ("node", "kind")),
    ({"node": "full"}, "DS404", ("node",)),
    ({"node": NODES["full"] | {"max_devices": 3}}, "DS421", ("devices_per_node",)),
    ({"node": NODES["node"] | {"devices_per_node": 8}}, "DS421", ("devices_per_node",)),
    ({"node": NODES["full"] | {"devices_per_node": 2}}, "DS421", ("devices_per_node",)),
    ({"node": NODES["full"] | {"device": "h100"}}, "DS402", ("node", "device")),
    ({"node": NODES["full"] | {"library": "nccl"}}, "DS402", ("node", "library")),
    ({"node": NODES["full"] | {"max_device": 3}}, "DS402", ("node", "max_device")),
    ({"nics_per_node": 3}, "DS407", ("nics_per_node",)),
    ({"devices_per_node": 1 << 30}, "DS418", ("devices_per_node",)),
    ({"nodes_per_unit": 0}, "DS405", ("nodes_per_unit",)),
    ({"max_units": None}, "DS404", ("max_units",)),
    ({"oversubscription": 0}, "DS405", ("oversubscription",)),
    ({"adapters": ["n0"]}, "DS422", ("adapters",)),
    ({"node": BOX, "adapters": ["n0", "p9"]}, "DS422", ("adapters", 1)),
    ({"node": BOX, "adapters": ["g0"]}, "DS422", ("adapters", 0)),
    ({"node": BOX, "adapters": ["n0", "n0"]}, "DS415", ("adapters", 1)),
    ({"node": BOX, "adapters": []}, "DS405", ("adapters",)),
    ({"node": BOX, "adapters": [7]}, "DS404", ("adapters", 0)),
    ({"node": BOX, "adapters": ["n0"], "nics_per_node": 1}, "DS402", ("nics_per_node",)),
    ({"node": BOX | {"switches": [*BOX["switches"], "far"]}, "adapters": ["far"]},
     "DS414", ("adapters",)),
    ({"rails": 3}, "DS402", ("rails",)),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "code", "path"), BAD)
def test_what_cannot_be(changes: dict[str, Any], code: str, path: tuple[str | int, ...]) -> None:
    with pytest.raises(DistsimError) as caught:
        load_topology(block(NODES["full"], **changes), 8, path=("cluster", "topology"))
    assert (caught.value.code, caught.value.path) == (code, ("cluster", "topology", *path))
    assert caught.value.rule or code in ("DS403", "DS404")


def test_names_of_adapters_beside_the_devices_are_free() -> None:
    node = star(4, 1)
    node["switches"][1] = "nic1"
    node["links"][-1]["from"] = "nic1"
    with pytest.raises(DistsimError, match=r"DS415.*nic1"):
        cluster(node, 8)
    assert cluster(node, 8, nics_per_node=1).n_links == 2 * (10 + 8 + 2 + 1)


def test_an_error_inside_the_node_has_its_path_and_line(tmp_path: Path) -> None:
    text = yaml.safe_dump(block(NODES["pcie"]), sort_keys=False, default_flow_style=False)
    text = text.replace("bandwidth: 64 GB/s", "bandwidth: 64 GB", 1)
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(DistsimError) as caught:
        load_topology(file, 8)
    assert (caught.value.code, caught.value.path) == (
        "DS211",
        ("node", "links", "pcie", "bandwidth"),
    )
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row.endswith("64 GB"))
    assert str(caught.value.place) == f"{file}:{line}"


def test_too_many_devices_is_the_problem_of_who_asks() -> None:
    with pytest.raises(DistsimError) as caught:
        load_topology(block(NODES["full"]), 49, path=("cluster", "topology"))
    assert (caught.value.code, caught.value.path) == ("DS410", ("cluster", "devices"))
    assert "max_units(4) * nodes_per_unit(3) * devices_per_node(4)" in caught.value.rule
