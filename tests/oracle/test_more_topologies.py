"""Regular shapes: routes against shortest paths, published facts against counts."""

from __future__ import annotations

from itertools import combinations
from time import perf_counter

import networkx as nx
import numpy as np
import pytest

from distsim.hardware.catalogue import load_topology
from distsim.hardware.topology import Topology

LINK = {"bandwidth": "10 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "made up"}


def shaped(kind: str, n_devices: int, **keys: object) -> Topology:
    block = {"kind": kind, "device": "a100-80gb-sxm", "links": {"link": LINK}}
    return load_topology(block | keys, n_devices)


def growing(kind: str, n_devices: int) -> Topology:
    return shaped(kind, n_devices, max_devices=n_devices)


def torus(*shape: int) -> Topology:
    return shaped("torus", int(np.prod(shape)), shape=list(shape))


def all_pairs(n_devices: int) -> tuple[np.ndarray, np.ndarray]:
    src, dst = np.divmod(np.arange(n_devices**2), n_devices)
    return src, dst


def paths(topology: Topology, src: np.ndarray, dst: np.ndarray) -> list[list[tuple[str, str]]]:
    """Return the ends of the links of each route, after a check that they are joined up."""
    routes = topology.routes(src, dst)
    names = [tuple(topology.link_name(i).split("->")) for i in range(topology.n_links)]
    assert len(set(names)) == len(names)
    out = []
    for i, (a, b) in enumerate(zip(src, dst, strict=True)):
        path = [names[link] for link in routes.link[routes.ptr[i] : routes.ptr[i + 1]]]
        stops = [topology.device_label(a), *(end for _, end in path)]
        assert [begin for begin, _ in path] == stops[:-1]
        assert stops[-1] == topology.device_label(b)
        out.append(path)
    return out


def check_shortest(topology: Topology, passing: bool = True) -> None:
    """Check all pairs against breadth-first search; devices pass traffic on or do not."""
    graph = topology.graph()
    assert graph.number_of_edges() == topology.n_links
    src, dst = all_pairs(topology.n_devices)
    labels = [topology.device_label(i) for i in range(topology.n_devices)]
    switches = set(graph) - set(labels)
    for a, b, path in zip(src, dst, paths(topology, src, dst), strict=True):
        inner = graph if passing else graph.subgraph(switches | {labels[a], labels[b]})
        assert len(path) == nx.shortest_path_length(inner, labels[a], labels[b])


def least_cut(topology: Topology) -> float:
    """Return the least bandwidth, one direction, between any two halves of the devices.

    Only for topologies without switches.
    """
    table = np.zeros((topology.n_devices,) * 2)
    index = {topology.device_label(i): i for i in range(topology.n_devices)}
    for a, b, data in topology.graph().edges(data=True):
        table[index[a], index[b]] = data["bandwidth_bytes_per_s"]
    cuts = []
    for half in combinations(range(topology.n_devices), topology.n_devices // 2):
        inside = np.zeros(topology.n_devices, dtype=bool)
        inside[list(half)] = True
        cuts.append(table[inside][:, ~inside].sum())
    return float(min(cuts))


@pytest.mark.parametrize("kind", ["switch", "ring", "full"])
@pytest.mark.parametrize("n_devices", [1, 2, 3, 4, 7, 12])
def test_growing_kinds_route_the_shortest_way(kind: str, n_devices: int) -> None:
    topology = growing(kind, n_devices)
    check_shortest(topology, passing=kind != "switch")
    links = {"switch": 2 * n_devices, "full": n_devices * (n_devices - 1)}
    ring = 0 if n_devices == 1 else 2 if n_devices == 2 else 2 * n_devices
    assert topology.n_links == links.get(kind, ring)


@pytest.mark.parametrize(
    "shape", [(2, 2), (3, 4), (1, 5), (4, 1), (5, 5), (2, 3, 4), (4, 4, 4), (1, 1, 2), (3, 3, 3)]
)
def test_torus_routes_the_shortest_way_dimension_after_dimension(shape: tuple[int, ...]) -> None:
    topology = torus(*shape)
    check_shortest(topology)
    src, dst = all_pairs(topology.n_devices)
    for path in paths(topology, src, dst):
        places = [[end.removeprefix("chip").split(".") for end in link] for link in path]
        turned = [
            next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y) for a, b in places
        ]
        assert turned == sorted(turned)


def test_the_number_of_devices_used_leaves_the_torus_whole() -> None:
    topology = shaped("torus", 5, shape=[4, 4])
    assert topology.n_links == 64
    assert len(paths(topology, np.array([0]), np.array([4]))[0]) == 1
    assert "bisection_bytes_per_s" not in topology.shape()


@pytest.mark.parametrize("n_devices", [2, 3, 4, 7, 8])
@pytest.mark.parametrize("kind", ["ring", "full"])
def test_diameter_and_bisection_of_growing_kinds(kind: str, n_devices: int) -> None:
    topology = growing(kind, n_devices)
    shape = topology.shape()
    assert shape["diameter_links"] == nx.diameter(topology.graph())
    assert shape["diameter_links"] == (n_devices // 2 if kind == "ring" else 1)
    assert shape["bisection_bytes_per_s"] == least_cut(topology)


@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (4, 4), (2, 2, 2), (4, 3), (2, 2, 4)])
def test_diameter_and_bisection_of_a_torus(shape: tuple[int, ...]) -> None:
    """Dally and Towles 2004, section 5.1: a k-ary n-cube has 2 k^(n-1) links each way across."""
    counts = torus(*shape).shape()
    assert counts["diameter_links"] == nx.diameter(torus(*shape).graph())
    assert counts["bisection_bytes_per_s"] == least_cut(torus(*shape))
    if shape == (4, 4):
        assert counts["bisection_bytes_per_s"] == 2 * 4 * 10e9


def test_an_odd_torus_states_no_bisection() -> None:
    assert "bisection_bytes_per_s" not in torus(5, 5).shape()


def test_opposite_devices_use_both_ways_round() -> None:
    """A shift by half a ring puts n/2 flows on every link, not n on one direction."""
    topology = growing("ring", 8)
    index = np.arange(8)
    load = np.bincount(topology.routes(index, (index + 4) % 8).link, minlength=16)
    assert load.tolist() == [2] * 16


UPPER = {key: LINK[key] for key in ("efficiency", "latency", "source")}
TWO_TIERS = {"tiers": 2, "devices_per_leaf": 4, "leaf_uplinks": 3, "max_leaves": 8}
THREE_TIERS = TWO_TIERS | {"tiers": 3, "leaves_per_pod": 2, "pod_uplinks": 2}


def tree(n_devices: int, **changes: object) -> Topology:
    keys = {"kind": "fat_tree", "device": "a100-80gb-sxm", "spreading": "ideal"} | changes
    names = ["nic", "leaf", *["pod"] * (keys["tiers"] == 3)]
    names += ["nvlink"] * (keys.get("devices_per_node", 1) != 1)
    links = {name: LINK if name in ("nic", "nvlink") else UPPER for name in names}
    return load_topology(keys | {"links": links}, n_devices)


def cut_between_halves(topology: Topology) -> float:
    """Return the least cut between the first half of the devices and the second."""
    graph = topology.graph()
    for i in range(topology.n_devices):
        label = topology.device_label(i)
        graph.add_edge(*(("source", label) if 2 * i < topology.n_devices else (label, "sink")))
    return float(nx.maximum_flow_value(graph, "source", "sink", capacity="bandwidth_bytes_per_s"))


@pytest.mark.parametrize("spreading", ["ideal", "hashed"])
@pytest.mark.parametrize("per_node", [1, 2, 4])
@pytest.mark.parametrize("tiers", [TWO_TIERS, THREE_TIERS])
@pytest.mark.parametrize("n_devices", [1, 4, 9, 16, 32])
def test_tree_routes_the_shortest_way(
    n_devices: int, tiers: dict[str, object], per_node: int, spreading: str
) -> None:
    topology = tree(n_devices, **tiers, devices_per_node=per_node, spreading=spreading)
    check_shortest(topology, passing=False)
    counts = topology.shape()
    src, dst = all_pairs(n_devices)
    longest = int(np.diff(topology.routes(src, dst).ptr).max())
    assert counts["diameter_links"] == longest


@pytest.mark.parametrize("spreading", ["ideal", "hashed"])
@pytest.mark.parametrize("over", [{}, {"leaf": 3}, {"pod": 1.6}, {"leaf": 0.5, "pod": 2.5}])
def test_tree_bisection_is_the_least_cut(over: dict[str, float], spreading: str) -> None:
    topology = tree(32, **THREE_TIERS, oversubscription=over, spreading=spreading)
    assert topology.shape()["bisection_bytes_per_s"] == pytest.approx(cut_between_halves(topology))


@pytest.mark.parametrize("spreading", ["ideal", "hashed"])
def test_oversubscription_is_what_goes_in_over_what_goes_out(spreading: str) -> None:
    over = {"leaf": 3, "pod": 1.6}
    topology = tree(32, **THREE_TIERS, oversubscription=over, spreading=spreading)
    totals = {
        c.name: c.bandwidth_bytes_per_s * int((topology.link_class == i).sum())
        for i, c in enumerate(topology.classes)
    }
    assert totals["nic"] / totals["leaf"] == pytest.approx(3)
    assert totals["leaf"] / totals["pod"] == pytest.approx(1.6)


@pytest.mark.parametrize("radix", [4, 8])
def test_fat_tree_of_a_radix_has_the_published_counts(radix: int) -> None:
    """Al-Fares 2008, section 3: k^3 / 4 hosts, k pods, (k / 2)^2 core switches, full bisection."""
    hosts = radix**3 // 4
    topology = tree(hosts, tiers=3, radix=radix, spreading="hashed")
    shape = topology.shape()
    assert (shape["pods"], shape["cores"]) == (radix, radix**2 // 4)
    assert shape["leaves"] == shape["aggregations"] == radix**2 // 2
    assert shape["bisection_bytes_per_s"] == pytest.approx(hosts / 2 * 10e9)
    degrees = {v: d for v, d in topology.graph().out_degree() if "gpu" not in v}
    assert set(degrees.values()) == {radix}
    assert {c.bandwidth_bytes_per_s for c in topology.classes} == {10e9}


def test_two_tiers_of_a_radix_split_the_ports_by_the_oversubscription() -> None:
    topology = tree(72, tiers=2, radix=12, oversubscription={"leaf": 3}, spreading="hashed")
    assert (topology.shape()["leaves"], topology.shape()["spines"]) == (8, 3)
    assert {c.bandwidth_bytes_per_s for c in topology.classes} == {10e9}


def test_hashed_paths_depend_on_the_seed_alone_and_collide() -> None:
    keys = THREE_TIERS | {"spreading": "hashed", "leaf_uplinks": 4, "devices_per_leaf": 4}
    src, dst = all_pairs(32)
    one, same, other = (tree(32, **keys, seed=seed).routes(src, dst) for seed in (7, 7, 8))
    assert one.link.tolist() == same.link.tolist()
    assert one.link.tolist() != other.link.tolist()
    np.testing.assert_array_equal(one.ptr, other.ptr)
    first = [0, 1, 2, 3]
    loads = []
    for seed in range(1, 60):
        topology = tree(32, **keys, seed=seed)
        load = np.bincount(topology.routes(first, [16, 17, 18, 19]).link, minlength=1)
        loads.append(load.max())
    assert min(loads) == 1
    assert np.mean(np.array(loads) > 1) > 0.8


def test_hashed_paths_spread_evenly_over_many_pairs() -> None:
    topology = tree(32, **THREE_TIERS, spreading="hashed", seed=3)
    src, dst = all_pairs(32)
    loads = np.bincount(topology.routes(src, dst).link, minlength=topology.n_links)
    for name in ("leaf", "pod"):
        own = loads[topology.link_class == topology.class_names.index(name)]
        assert own.min() > 0.6 * own.mean()
        assert own.max() < 1.4 * own.mean()


def test_a_large_fat_tree_is_quick() -> None:
    """16,384 devices and 100,000 pairs; measured at a fiftieth of the limit."""
    begin_s = perf_counter()
    topology = tree(16384, tiers=3, radix=64, devices_per_node=8, spreading="hashed")
    src, dst = np.random.default_rng(0).integers(0, 16384, (2, 100_000))
    assert len(topology.routes(src, dst).ptr) == 100_001
    assert perf_counter() - begin_s < 2


def dragonfly(groups: int, routers: int, per_router: int, n_devices: int | None = None) -> Topology:
    block = {
        "kind": "dragonfly",
        "device": "a100-80gb-sxm",
        "groups": groups,
        "routers_per_group": routers,
        "devices_per_router": per_router,
        "global_links_per_router": -(-(groups - 1) // routers) or 1,
        "links": {"terminal": LINK, "local": LINK, "global": LINK},
    }
    return load_topology(block, n_devices or groups * routers * per_router)


@pytest.mark.parametrize(
    ("groups", "routers", "per_router"), [(1, 1, 3), (1, 4, 2), (3, 1, 2), (5, 2, 1), (9, 4, 2)]
)
def test_dragonfly_routes_are_minimal(groups: int, routers: int, per_router: int) -> None:
    """Minimal routes stay in the two groups (Kim 2008); other shortest paths may not."""
    topology = dragonfly(groups, routers, per_router)
    graph = topology.graph()
    assert graph.number_of_edges() == topology.n_links
    src, dst = all_pairs(topology.n_devices)
    in_group = routers * per_router
    hops = []
    for a, b, path in zip(src, dst, paths(topology, src, dst), strict=True):
        labels = {topology.device_label(a), topology.device_label(b)}
        own = {f"g{end // in_group}" for end in (a, b)}
        inner = graph.subgraph(labels | {v for v in graph if v.split(".")[0] in own})
        length = nx.shortest_path_length(inner, topology.device_label(a), topology.device_label(b))
        assert len(path) == length
        hops.append(length)
    assert topology.shape()["diameter_links"] == max(hops)


def test_global_links_of_a_group_spread_over_its_routers() -> None:
    topology = dragonfly(9, 4, 2)
    names = [topology.link_name(i) for i in np.flatnonzero(topology.link_class == 2)]
    begins = np.unique([name.split("->")[0] for name in names], return_counts=True)
    assert begins[1].tolist() == [2] * 36


def test_dragonfly_bisection_is_between_halves_of_the_groups() -> None:
    topology = dragonfly(4, 4, 3)
    assert topology.shape()["bisection_bytes_per_s"] == cut_between_halves(topology) == 4 * 10e9


def cube_mesh(n_devices: int = 8) -> Topology:
    block = {"kind": "cube_mesh", "device": "v100-32gb-sxm", "links": {"nvlink": LINK}}
    return load_topology(block, n_devices)


def test_cube_mesh_has_six_links_a_device_and_routes_of_at_most_two() -> None:
    topology = cube_mesh()
    check_shortest(topology)
    graph = topology.graph()
    for i in range(8):
        assert graph.out_degree(f"gpu{i}", weight="bandwidth_bytes_per_s") == 6 * 10e9
        assert graph.in_degree(f"gpu{i}", weight="bandwidth_bytes_per_s") == 6 * 10e9
    assert len([1 for c in topology.link_class if c == 1]) == 16
    assert topology.shape()["diameter_links"] == nx.diameter(graph) == 2


def test_cube_mesh_bisection_is_the_least_of_all_halves() -> None:
    assert cube_mesh().shape()["bisection_bytes_per_s"] == least_cut(cube_mesh()) == 6 * 10e9


def test_cube_mesh_has_a_ring_of_doubled_links_through_all_devices() -> None:
    """The published drawing: NCCL finds rings of doubled links over all eight devices."""
    graph = cube_mesh().graph()
    doubled = nx.Graph(
        (a, b) for a, b, d in graph.edges(data=True) if d["link_class"] == "nvlink-pair"
    )
    assert sorted(d for _, d in doubled.degree()) == [2] * 8
    assert nx.is_connected(doubled)


def pcie(n_devices: int, per_switch: int = 2, switches: int = 2, sockets: int = 2) -> Topology:
    links = {"pcie": LINK, "uplink": LINK} | ({"socket": LINK} if sockets > 1 else {})
    block = {"kind": "pcie", "device": "a100-80gb-sxm", "links": links}
    sizes = {"devices_per_switch": per_switch, "switches_per_socket": switches}
    return load_topology(block | sizes | {"sockets": sockets}, n_devices)


@pytest.mark.parametrize("sizes", [(8, 2, 2, 2), (5, 2, 2, 2), (8, 2, 4, 1), (6, 1, 2, 3)])
def test_pcie_routes_the_shortest_way(sizes: tuple[int, int, int, int]) -> None:
    topology = pcie(*sizes)
    check_shortest(topology, passing=False)
    src, dst = all_pairs(sizes[0])
    if sizes[0] == np.prod(sizes[1:]):
        longest = int(np.diff(topology.routes(src, dst).ptr).max())
        assert topology.shape()["diameter_links"] == longest


@pytest.mark.parametrize("sizes", [(8, 2, 2, 2), (8, 2, 4, 1), (4, 4, 1, 1)])
def test_pcie_bisection_is_the_least_cut(sizes: tuple[int, int, int, int]) -> None:
    topology = pcie(*sizes)
    assert topology.shape()["bisection_bytes_per_s"] == cut_between_halves(topology)


def test_routes_of_regular_kinds_are_the_same_in_any_batch() -> None:
    shapes = [torus(3, 4), growing("ring", 9), growing("full", 5), dragonfly(5, 2, 1), pcie(8)]
    shapes += [cube_mesh(), tree(32, **THREE_TIERS, spreading="hashed"), growing("switch", 4)]
    for topology in shapes:
        src, dst = all_pairs(topology.n_devices)
        together = topology.routes(src, dst)
        assert topology.routes([], []).ptr.tolist() == [0]
        for i in range(0, len(src), 7):
            alone = topology.routes([src[i]], [dst[i]])
            assert (
                alone.link.tolist() == together.link[together.ptr[i] : together.ptr[i + 1]].tolist()
            )
