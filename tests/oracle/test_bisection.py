"""Bisection bandwidth against every way to halve the devices, each by an independent flow."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_flow

from distsim.hardware.bisection import bisection_of
from distsim.hardware.catalogue import load_topology
from distsim.hardware.reach import reach_of
from distsim.hardware.topology import Topology

UPPER = {"efficiency": 1, "latency": "1 us", "source": "made up"}


def link(gigabytes_per_s: float, efficiency: float = 1.0) -> dict[str, Any]:
    return UPPER | {"bandwidth": f"{gigabytes_per_s} GB/s", "efficiency": efficiency}


def built(kind: str, n_devices: int, links: dict[str, Any], **keys: Any) -> Topology:
    return load_topology({"kind": kind, "device": "some", "links": links} | keys, n_devices)


def least_flow(topology: Topology, *, fitted: bool = False) -> float:
    """Return the least flow, in bytes/s, over all halves, in both directions, by SciPy.

    Over links on a route of some pair, as megabytes/s, which are whole here.
    """
    n = topology.n_devices
    src, dst = np.divmod(np.arange(n * n), n)
    used = np.unique(topology.routes(src, dst).link)
    number = {topology.device_label(i): i for i in range(n)}
    rates = topology.capacity_bytes_per_s if fitted else topology.bandwidth_bytes_per_s
    ends = [[number.setdefault(end, len(number)) for end in topology.router.ends(i)] for i in used]
    size = len(number)
    inner = np.zeros((size + 2, size + 2), dtype=np.int64)
    for (begin, end), i in zip(ends, used, strict=True):
        megabytes_per_s = rates[i] / 1e6
        assert megabytes_per_s == pytest.approx(round(megabytes_per_s))
        inner[begin, end] += round(megabytes_per_s)
    least = float("inf")
    for half in combinations(range(n), n // 2):
        for sends in (list(half), [i for i in range(n) if i not in half]):
            table = inner.copy()
            table[size, sends] = 1 << 28
            table[[i for i in range(n) if i not in sends], size + 1] = 1 << 28
            flow = maximum_flow(csr_matrix(table.astype(np.int32)), size, size + 1).flow_value
            least = min(least, float(flow))
    return least * 1e6


def check(topology: Topology) -> bool:
    """Check the exact search, and the closed form where one is stated; return whether it is."""
    least = least_flow(topology)
    found = bisection_of(topology)
    assert found.found_by == "exact"
    assert found.bisection_bytes_per_s == pytest.approx(least, rel=1e-9)
    assert sum(row["bandwidth_bytes_per_s"] for row in found.cut) == pytest.approx(least, rel=1e-9)
    stated = topology.router.counts().get("bisection_bytes_per_s")
    if stated is not None:
        assert stated == pytest.approx(least, rel=1e-9)
    return stated is not None


NODE = {"nvlink": link(12)}


@pytest.mark.parametrize("n_devices", [2, 3, 7, 8])
def test_node(n_devices: int) -> None:
    assert check(built("node", n_devices, NODE, devices_per_node=8))


@pytest.mark.parametrize("kind", ["ring", "full", "switch"])
@pytest.mark.parametrize("n_devices", [2, 3, 4, 5, 8])
def test_growing_kinds(kind: str, n_devices: int) -> None:
    assert check(built(kind, n_devices, {"link": link(10)}, max_devices=8))


TORI = [(2, 2), (2, 3), (3, 3), (4, 2), (2, 5), (6, 2), (2, 2, 2), (2, 2, 3), (4, 3), (1, 5)]
TORI += [(10, 1), (5, 2)]


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("shape", TORI)
def test_torus_of_even_and_odd_sides_closed_and_open(shape: tuple[int, ...], wrap: bool) -> None:
    size = int(np.prod(shape))
    check(built("torus", size, {"link": link(10)}, shape=list(shape), wrap=[wrap] * len(shape)))


@pytest.mark.parametrize("shape", [(4, 2), (4, 3), (2, 2, 2)])
def test_tori_of_an_even_longest_side_state_a_closed_form(shape: tuple[int, ...]) -> None:
    assert check(built("torus", int(np.prod(shape)), {"link": link(10)}, shape=list(shape)))


def superpod(n_devices: int, rates: tuple[float, float, float], **keys: Any) -> Topology:
    nvlink, pcie, rail = map(link, rates)
    links = {"nvlink": nvlink, "pcie": pcie, "rail": rail, "spine": UPPER}
    return built("superpod", n_devices, links, max_units=20, **keys)


PODS = list(product([2, 4, 6, 7, 8], [(50, 10, 6), (3, 30, 12), (12, 5, 12)], [1, 3]))


@pytest.mark.parametrize(("n_devices", "rates", "over"), PODS)
@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 1, 1), (4, 2, 3), (1, 1, 3)])
def test_superpod(
    n_devices: int,
    rates: tuple[float, float, float],
    over: float,
    sizes: tuple[int, int, int],
) -> None:
    """Sizes: devices and adapters of a node, nodes of a unit."""
    keys = ("devices_per_node", "nics_per_node", "nodes_per_unit")
    pod = superpod(n_devices, rates, oversubscription=over, **dict(zip(keys, sizes, strict=True)))
    stated = check(pod)
    whole = n_devices % (2 * sizes[0]) == 0
    if rates == (50, 10, 6):
        assert stated == (whole or n_devices <= sizes[0])


def fat_tree(n_devices: int, three: bool, per_node: int, per_leaf: int, **over: float) -> Topology:
    keys: dict[str, Any] = {"tiers": 3 if three else 2, "devices_per_leaf": per_leaf}
    keys |= {"leaf_uplinks": 2, "max_leaves": 20, "devices_per_node": per_node}
    links: dict[str, Any] = {"nic": link(12), "leaf": UPPER}
    if per_node > 1:
        links["nvlink"] = link(40)
    if three:
        keys |= {"leaves_per_pod": 2, "pod_uplinks": 2}
        links["pod"] = UPPER
    return built("fat_tree", n_devices, links, spreading="ideal", oversubscription=over, **keys)


@pytest.mark.parametrize("three", [False, True])
@pytest.mark.parametrize("leaf", [1, 3])
@pytest.mark.parametrize(("per_node", "per_leaf"), [(1, 2), (2, 4), (2, 2), (1, 3), (2, 3), (4, 4)])
@pytest.mark.parametrize("n_devices", [2, 4, 6, 7, 8])
def test_fat_tree(n_devices: int, three: bool, leaf: float, per_node: int, per_leaf: int) -> None:
    over = {"leaf": leaf} | ({"pod": 2} if three else {})
    stated = check(fat_tree(n_devices, three, per_node, per_leaf, **over))
    if not three and per_leaf % per_node == 0 and n_devices % (2 * per_node) == 0:
        assert stated


def test_fat_tree_of_an_odd_number_of_leaves_is_cut_through_one() -> None:
    """Five leaves of two devices: two leaves and one device, not two leaves, are a half."""
    topology = fat_tree(10, False, 1, 2, leaf=1)
    assert check(topology)
    assert topology.shape()["bisection_bytes_per_s"] == 5 * 12e9


FLIES = [(2, 2, 2), (4, 2, 1), (4, 1, 2), (2, 1, 3), (2, 4, 1), (1, 4, 2), (3, 2, 1), (6, 1, 1)]


@pytest.mark.parametrize("local", [2, 5, 20])
@pytest.mark.parametrize(
    "sizes",
    [(2, 2, 2), (4, 2, 1), (4, 1, 2), (2, 1, 3), (2, 4, 1), (1, 4, 2), (3, 2, 1), (6, 1, 1)],
)
def test_dragonfly(sizes: tuple[int, int, int], local: float) -> None:
    """Sizes: groups, routers of a group, devices of a router."""
    keys = ("groups", "routers_per_group", "devices_per_router")
    links = {"terminal": link(5), "local": link(local), "global": link(5)}
    counts = dict(zip(keys, sizes, strict=True)) | {"global_links_per_router": 8}
    stated = check(built("dragonfly", int(np.prod(sizes)), links, **counts))
    assert stated or sizes[0] % 2 or local < 20


def test_a_dragonfly_of_few_routers_is_cut_through_its_groups() -> None:
    """Six groups of two routers: halves of the groups are joined by 9 global links, more than 7."""
    keys = {"groups": 6, "routers_per_group": 2, "devices_per_router": 1}
    links = {"terminal": link(50), "local": link(10), "global": link(10)}
    topology = built("dragonfly", 12, links, global_links_per_router=3, **keys)
    assert not check(topology)
    assert bisection_of(topology).bisection_bytes_per_s == 7 * 10e9


SERVERS = [(2, 2, 2), (1, 2, 2), (2, 3, 1), (1, 3, 1), (3, 1, 2), (1, 1, 4), (2, 4, 1), (1, 3, 2)]


@pytest.mark.parametrize("uplink", [3, 25])
@pytest.mark.parametrize(
    "sizes",
    [(2, 2, 2), (1, 2, 2), (2, 3, 1), (1, 3, 1), (3, 1, 2), (1, 1, 4), (2, 4, 1), (1, 3, 2)],
)
def test_pcie(sizes: tuple[int, int, int], uplink: float) -> None:
    """Sizes: devices of a switch, switches of a socket, sockets."""
    keys = ("devices_per_switch", "switches_per_socket", "sockets")
    links = {"pcie": link(10), "uplink": link(uplink)}
    links |= {"socket": link(4)} if sizes[2] > 1 else {}
    counts = dict(zip(keys, sizes, strict=True))
    check(built("pcie", int(np.prod(sizes)), links, **counts))


def test_cube_mesh() -> None:
    topology = built("cube_mesh", 8, {"nvlink": link(25)})
    assert check(topology)
    assert bisection_of(topology).bisection_bytes_per_s == 6 * 25e9


def cluster(n_devices: int, node: dict[str, Any], per_node: int, over: float) -> Topology:
    links = {"pcie": link(10), "rail": link(6), "spine": UPPER}
    keys = {"devices_per_node": per_node, "nodes_per_unit": 2, "max_units": 4}
    return built("cluster", n_devices, links, node=node, oversubscription=over, **keys)


INSIDE = [
    {"kind": "full", "max_devices": 2, "devices_per_node": 2, "links": {"link": link(20)}},
    {"kind": "node", "devices_per_node": 2, "links": {"nvlink": link(3)}},
]


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("over", [1, 3])
@pytest.mark.parametrize("n_devices", [2, 4, 6, 8, 10])
def test_cluster(n_devices: int, inside: dict[str, Any], over: float) -> None:
    check(cluster(n_devices, inside, 2, over))


@pytest.mark.parametrize("tiers", [2, 3])
@pytest.mark.parametrize("over", [1, 3])
@pytest.mark.parametrize("n_devices", [2, 4, 6, 7, 8, 10])
def test_rail_fat_tree(n_devices: int, over: float, tiers: int) -> None:
    links = {"nvlink": link(40), "pcie": link(10), "rail": link(6), "leaf": UPPER}
    keys: dict[str, Any] = {"devices_per_node": 2, "nodes_per_unit": 2, "max_units": 8}
    keys |= {"tiers": tiers, "spreading": "ideal", "leaf_uplinks": 2, "oversubscription": {}}
    keys["oversubscription"] = {"leaf": over}
    if tiers == 3:
        links["pod"] = UPPER
        keys |= {"units_per_pod": 1, "pod_uplinks": 2}
    check(built("rail_fat_tree", n_devices, links, **keys))


def edges(n_devices: int, seed: int) -> Topology:
    """Return devices on switches in a line, with links that differ by direction."""
    rng = np.random.default_rng(seed)
    devices = [f"d{i}" for i in range(n_devices)]
    switches = ["s0", "s1", "s2"]
    pairs = [(d, switches[int(rng.integers(3))]) for d in devices]
    pairs += [("s0", "s1"), ("s1", "s2"), ("d0", "d1")]
    links = [
        {"from": a, "to": b, "directed": True, "latency": "1 us"}
        | {"bandwidth": f"{int(rng.integers(2, 20))} GB/s"}
        for pair in pairs
        for a, b in (pair, pair[::-1])
    ]
    block = {"kind": "edges", "device": "some", "devices": devices, "switches": switches}
    return load_topology(block | {"links": links}, n_devices)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n_devices", [5, 8])
def test_edge_lists_with_a_direction(n_devices: int, seed: int) -> None:
    check(edges(n_devices, seed))


def test_fitted_capacity_has_a_least_cut_of_its_own() -> None:
    """Links of 10 GB/s at a tenth make the local cut the narrow one."""
    links = {"terminal": link(50), "local": link(10, 0.1), "global": link(10)}
    keys = {"groups": 2, "routers_per_group": 2, "devices_per_router": 2}
    topology = built("dragonfly", 8, links, global_links_per_router=8, **keys)
    found = bisection_of(topology)
    assert found.bisection_bytes_per_s == least_flow(topology) == 10e9
    assert found.fitted_bisection_bytes_per_s == least_flow(topology, fitted=True) == 2e9


@pytest.mark.parametrize(
    ("shape", "links"),
    [((4, 8), 8), ((8, 4), 8), ((4, 4, 8), 32), ((4, 8, 8), 64), ((16, 2), 4)],
)
def test_a_cut_that_is_as_low_as_the_closed_form_is_found(
    shape: tuple[int, ...], links: int
) -> None:
    """Dally and Towles 2004, section 5.2.1: 2 N / k links across the longest dimension k."""
    topology = built("torus", int(np.prod(shape)), {"link": link(10)}, shape=list(shape))
    found = bisection_of(topology)
    assert (found.found_by, found.bisection_bytes_per_s) == ("formula", links * 10e9)
    assert [row["links"] for row in found.cut] == [links]


@pytest.mark.parametrize(("n_devices", "nodes"), [(48, 6), (80, 10), (128, 16)])
def test_larger_pods_are_cut_between_nodes(n_devices: int, nodes: int) -> None:
    keys = {"devices_per_node": 8, "nodes_per_unit": 4}
    found = bisection_of(superpod(n_devices, (300, 30, 25), **keys))
    assert found.found_by == "formula"
    assert [(row["class"], row["links"]) for row in found.cut] == [("rail", 8 * nodes // 2)]
    assert found.injection_bytes_per_s == 25e9
    assert found.oversubscription == pytest.approx(1.0)


def test_an_odd_number_of_nodes_is_cut_through_one() -> None:
    """Three nodes of 8: 12 devices to 12, so four NVLinks and twelve rails are cut."""
    found = bisection_of(superpod(24, (300, 30, 25), devices_per_node=8, nodes_per_unit=4))
    assert found.found_by == "bound"
    assert found.bisection_bytes_per_s == pytest.approx(4 * 300e9 + 12 * 25e9)
    assert "upper bound" in found.how


@pytest.mark.parametrize("seed", range(4))
def test_the_best_cut_found_is_an_upper_bound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same network with the exact search and without."""
    topology = edges(10, seed)
    exact = bisection_of(topology)
    monkeypatch.setattr("distsim.hardware.bisection.EXACT_HALVES", 0)
    bound = bisection_of(topology)
    assert (exact.found_by, bound.found_by) == ("exact", "bound")
    assert bound.bisection_bytes_per_s >= exact.bisection_bytes_per_s * (1 - 1e-9)


def test_one_device_has_no_bisection() -> None:
    found = bisection_of(built("node", 1, NODE, devices_per_node=8))
    assert (found.bisection_bytes_per_s, found.oversubscription, found.cut) == (0.0, None, [])
    assert found.halves == (0, 1)


@pytest.mark.parametrize(("over", "wanted"), [(1, 1.0), (4, 4.0)])
def test_oversubscription_of_a_tree_is_that_of_its_leaves(over: float, wanted: float) -> None:
    topology = fat_tree(32, False, 2, 8, leaf=over)
    assert bisection_of(topology).oversubscription == pytest.approx(wanted)
    assert topology.shape()["oversubscription"] == pytest.approx(wanted)


def test_devices_that_share_an_adapter_are_oversubscribed() -> None:
    """Each alone has the whole adapter, both together half of it each."""
    keys = {"devices_per_node": 4, "nics_per_node": 2, "nodes_per_unit": 4}
    found = bisection_of(superpod(16, (300, 30, 25), **keys))
    assert found.injection_bytes_per_s == 25e9
    assert found.oversubscription == pytest.approx(2.0)


@pytest.mark.parametrize("n_devices", [12, 24, 30])
def test_diameter_is_the_longest_of_all_routes(n_devices: int) -> None:
    keys = {"devices_per_node": 4, "nodes_per_unit": 3}
    topology = superpod(n_devices, (300, 30, 25), **keys)
    src, dst = np.divmod(np.arange(n_devices**2), n_devices)
    routes = topology.routes(src, dst)
    shape = topology.shape()
    assert shape["diameter_links"] == int(np.diff(routes.ptr).max())
    assert shape["diameter_s"] == pytest.approx(float(routes.latency_s(topology).max()))


@pytest.mark.parametrize("n_devices", [96, 90])
def test_one_device_of_each_colour_sees_as_far_as_all(
    n_devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    topology = superpod(n_devices, (300, 30, 25), devices_per_node=4, nodes_per_unit=6)
    everything = reach_of(topology)
    monkeypatch.setattr("distsim.hardware.reach.ALL_PAIRS", 0)
    few = reach_of(topology)
    assert len(few.sources) < n_devices / 4
    assert int(few.size.sum()) == n_devices
    assert few.diameter_links == everything.diameter_links
    assert few.diameter_s == everything.diameter_s
    np.testing.assert_array_equal(few.used, everything.used)
