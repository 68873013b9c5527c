"""Dragonflies: the canonical sizes, nodes with a switch, and routes over a third group."""

from __future__ import annotations

from collections import Counter

import networkx as nx
import numpy as np
import pytest

from distsim.hardware.catalogue import load_topology
from distsim.hardware.topology import Topology

LINK = {"bandwidth": "10 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "made up"}


def dragonfly(
    groups: int, routers: int, per_router: int, n_devices: int | None = None, **changes: object
) -> Topology:
    block: dict[str, object] = {
        "kind": "dragonfly",
        "device": "a100-80gb-sxm",
        "groups": groups,
        "routers_per_group": routers,
        "devices_per_router": per_router,
        "global_links_per_router": -(-(groups - 1) // routers) or 1,
        "links": {"terminal": LINK, "local": LINK, "global": LINK},
    }
    return load_topology(block | changes, n_devices or groups * routers * per_router)


def all_pairs(n_devices: int) -> tuple[np.ndarray, np.ndarray]:
    src, dst = np.divmod(np.arange(n_devices**2), n_devices)
    return src, dst


def stops(topology: Topology, src: np.ndarray, dst: np.ndarray) -> list[list[str]]:
    """Return the vertices on each route, after a check that its links are joined up."""
    routes = topology.routes(src, dst)
    names = [topology.link_name(i).split("->") for i in range(topology.n_links)]
    out = []
    for i in range(len(src)):
        path = [names[link] for link in routes.link[routes.ptr[i] : routes.ptr[i + 1]]]
        walked = [topology.device_label(src[i]), *(end for _, end in path)]
        assert [begin for begin, _ in path] == walked[:-1]
        assert walked[-1] == topology.device_label(dst[i])
        out.append(walked)
    return out


def groups_of(walked: list[str]) -> list[str]:
    """Return the groups on a route in order, each once in a row."""
    groups = [stop.split(".")[0] for stop in walked if ".r" in stop]
    return [g for i, g in enumerate(groups) if i == 0 or g != groups[i - 1]]


@pytest.mark.parametrize("h", [1, 2, 3])
def test_the_canonical_dragonfly_is_full(h: int) -> None:
    """Kim 2008, section 3.2: a = 2p = 2h routers of p devices; a h + 1 groups, one link a pair."""
    a, p = 2 * h, h
    groups = a * h + 1
    topology = dragonfly(groups, a, p)
    assert topology.n_devices == a * p * (a * h + 1)
    graph = topology.graph()
    routers = [v for v in graph if ".r" in v]
    # Radix k = p + (a - 1) + h, every port taken.
    assert {graph.out_degree(v) for v in routers} == {p + (a - 1) + h}
    assert topology.n_links == 2 * topology.n_devices + groups * a * (a - 1) + groups * (groups - 1)
    with pytest.raises(Exception, match="global links"):
        dragonfly(groups + 1, a, p, global_links_per_router=h)


@pytest.mark.parametrize(("groups", "routers", "per_router"), [(3, 1, 2), (5, 2, 1), (9, 4, 2)])
@pytest.mark.parametrize("seed", [1, 5])
def test_valiant_routes_cross_one_third_group(
    groups: int, routers: int, per_router: int, seed: int
) -> None:
    topology = dragonfly(groups, routers, per_router, routing="valiant", seed=seed)
    minimal = dragonfly(groups, routers, per_router)
    graph = topology.graph()
    src, dst = all_pairs(topology.n_devices)
    per_group = routers * per_router
    for a, b, walked, short in zip(
        src, dst, stops(topology, src, dst), stops(minimal, src, dst), strict=True
    ):
        visited = groups_of(walked)
        if a // per_group == b // per_group:
            assert walked == short
            continue
        assert (visited[0], visited[-1]) == (f"g{a // per_group}", f"g{b // per_group}")
        assert len(set(visited)) == len(visited) == 3
        # The shortest way through just these three groups, in that order.
        middle = [v for v in graph if v.startswith(f"{visited[1]}.")]
        ends = [v for v in graph if v.split(".")[0] in (visited[0], visited[2])]
        inner = graph.subgraph([walked[0], walked[-1], *middle, *ends]).copy()
        inner.remove_edges_from(
            [
                (x, y)
                for x, y in inner.edges
                if {x.split(".")[0], y.split(".")[0]} == {visited[0], visited[2]}
            ]
        )
        assert len(walked) - 1 == nx.shortest_path_length(inner, walked[0], walked[-1])
        assert len(walked) - 1 <= 7


def test_valiant_spreads_the_worst_pattern_over_all_groups() -> None:
    """Every group sends to the next one: one global link for all, or two of each pair for some."""
    sizes = (9, 4, 2)
    n, per_group = 72, 8
    src = np.arange(n)
    dst = (src + per_group) % n

    def loads(**keys: object) -> np.ndarray:
        topology = dragonfly(*sizes, **keys)
        load = np.bincount(topology.routes(src, dst).link, minlength=topology.n_links)
        return load[topology.link_class == topology.class_names.index("global")]

    minimal = loads()
    # Kim 2008, section 4.2: 1 / (a h) of the throughput, here all eight devices on one link.
    assert sorted(Counter(minimal.tolist())) == [0, per_group]
    for seed in range(1, 10):
        valiant = loads(routing="valiant", seed=seed)
        assert valiant.sum() == 2 * minimal.sum()
        assert valiant.max() < per_group
        assert (valiant > 0).sum() > 3 * (minimal > 0).sum()


def test_groups_on_the_way_are_spread_evenly() -> None:
    topology = dragonfly(9, 4, 2, routing="valiant", seed=3)
    src, dst = all_pairs(72)
    far = src // 8 != dst // 8
    middle = Counter(groups_of(walked)[1] for walked in stops(topology, src[far], dst[far]))
    each = far.sum() / 9
    # Each count is a sum of draws with chance 1/7 over the pairs that may go there.
    assert set(middle) == {f"g{i}" for i in range(9)}
    assert all(abs(count - each) < 5 * np.sqrt(each) for count in middle.values())


def test_the_seed_alone_decides_and_minimal_routes_have_none() -> None:
    src, dst = all_pairs(72)

    def links(**keys: object) -> list[int]:
        return dragonfly(9, 4, 2, **keys).routes(src, dst).link.tolist()

    assert links(routing="valiant", seed=4) == links(routing="valiant", seed=4)
    assert links(routing="valiant", seed=4) != links(routing="valiant", seed=5)
    assert links(routing="minimal", seed=4) == links(seed=5) == links()


def test_two_groups_have_no_third_to_go_over() -> None:
    src, dst = all_pairs(16)
    plain, valiant = dragonfly(2, 4, 2), dragonfly(2, 4, 2, routing="valiant")
    assert plain.routes(src, dst).link.tolist() == valiant.routes(src, dst).link.tolist()


def test_nodes_with_a_switch_keep_their_traffic_inside() -> None:
    links = {"terminal": LINK, "local": LINK, "global": LINK, "nvlink": LINK}
    switched = dragonfly(5, 2, 4, devices_per_node=2, links=links)
    plain = dragonfly(5, 2, 4, devices_per_node=2)
    src, dst = all_pairs(40)
    for a, b, walked, other in zip(
        src, dst, stops(switched, src, dst), stops(plain, src, dst), strict=True
    ):
        if a != b and a // 2 == b // 2:
            assert walked == [f"gpu{a}", f"n{a // 2}.switch", f"gpu{b}"]
        else:
            assert walked == other
    assert switched.n_links == plain.n_links + 2 * 40
    np.testing.assert_array_equal(switched.unit_of, np.arange(40) // 8)


def test_links_are_symmetric() -> None:
    for routing in ("minimal", "valiant"):
        graph = dragonfly(9, 4, 2, routing=routing).graph()
        for a, b, data in graph.edges(data=True):
            back = graph.edges[b, a]
            assert back["capacity_bytes_per_s"] == data["capacity_bytes_per_s"]
            assert back["latency_s"] == data["latency_s"]


def test_the_slingshot_groups_taper_as_published() -> None:
    """Atchley 2023: 74 groups, 37,888 adapters, 57 % of a group's injection leaves the group."""
    topology = load_topology("slingshot-dragonfly-4xa100", 37888)
    shape = topology.shape()
    assert (shape["groups"], shape["routers"], shape["nodes"]) == (74, 74 * 32, 9472)
    count = {c["name"]: (c["links"], c["bandwidth_bytes_per_s"]) for c in shape["link_classes"]}
    injected = 512 * count["terminal"][1]
    leaving = count["global"][0] / 74 * count["global"][1]
    assert leaving / injected == pytest.approx(0.57, abs=0.005)
    # 16 devices, 31 other switches and four links of each bundle fit the 64 ports of a switch.
    assert 16 + 31 + 4 * -(-73 // 32) <= 64
