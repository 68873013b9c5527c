"""Tori with dimensions that do not close: routes, counts, cuts, and collectives over lines."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import prod

import networkx as nx
import numpy as np
import pytest

from distsim.collectives.algorithms import pattern, schedule
from distsim.hardware.catalogue import load_topology
from distsim.hardware.topology import Topology
from distsim.study.collective import collective_report

LINK = {"bandwidth": "10 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "made up"}
#: Lengths and whether they close: meshes, mixed grids, and dimensions of one and two.
GRIDS = [
    ((4, 4), (False, False)),
    ((3, 5), (False, True)),
    ((5, 3), (True, False)),
    ((2, 4), (False, False)),
    ((1, 6), (False, False)),
    ((3, 4, 5), (False, True, False)),
    ((2, 2, 4), (False, False, False)),
    ((4, 3, 2), (True, False, True)),
    ((3, 3, 3), (True, True, False)),
]


def grid_block(shape: tuple[int, ...], wrap: tuple[bool, ...]) -> dict[str, object]:
    keys = {"kind": "torus", "device": "tpu-v4", "links": {"link": LINK}, "library": "ideal"}
    return keys | {"shape": list(shape), "wrap": list(wrap)}


def grid(shape: tuple[int, ...], wrap: tuple[bool, ...], n_devices: int | None = None) -> Topology:
    return load_topology(grid_block(shape, wrap), n_devices or prod(shape))


def product_graph(shape: tuple[int, ...], wrap: tuple[bool, ...]) -> nx.Graph:
    """The Cartesian product of paths and cycles."""
    out = nx.empty_graph(1)
    for n, closed in zip(shape, wrap, strict=True):
        out = nx.cartesian_product(out, nx.cycle_graph(n) if closed and n > 2 else nx.path_graph(n))
    return out


@pytest.mark.parametrize(("shape", "wrap"), GRIDS)
def test_the_links_are_those_of_a_product_of_paths_and_cycles(
    shape: tuple[int, ...], wrap: tuple[bool, ...]
) -> None:
    topology, expected = grid(shape, wrap), product_graph(shape, wrap)
    graph = topology.graph()
    assert topology.n_links == graph.number_of_edges() == 2 * expected.number_of_edges()
    assert nx.is_isomorphic(graph.to_undirected(), expected)
    lines = [n - 1 if n < 3 or not closed else n for n, closed in zip(shape, wrap, strict=True)]
    size = prod(shape)
    cables = sum(size // n * along for n, along in zip(shape, lines, strict=True))
    assert topology.n_links == 2 * cables


@pytest.mark.parametrize(("shape", "wrap"), GRIDS)
def test_routes_are_shortest_and_in_the_order_of_the_dimensions(
    shape: tuple[int, ...], wrap: tuple[bool, ...]
) -> None:
    topology = grid(shape, wrap)
    graph = topology.graph()
    src, dst = np.divmod(np.arange(topology.n_devices**2), topology.n_devices)
    routes = topology.routes(src, dst)
    distance = dict(nx.all_pairs_shortest_path_length(graph))
    names = [topology.link_name(i).split("->") for i in range(topology.n_links)]
    assert len({tuple(name) for name in names}) == topology.n_links
    for i, (a, b) in enumerate(zip(src, dst, strict=True)):
        path = [names[link] for link in routes.link[routes.ptr[i] : routes.ptr[i + 1]]]
        stops = [topology.device_label(a), *(end for _, end in path)]
        assert [begin for begin, _ in path] == stops[:-1]
        assert stops[-1] == topology.device_label(b)
        assert len(path) == distance[stops[0]][stops[-1]]
        places = [[int(p) for p in stop.removeprefix("chip").split(".")] for stop in stops]
        turned = [int(np.flatnonzero(np.not_equal(x, y))[0]) for x, y in pairwise(places)]
        assert turned == sorted(turned)
    assert topology.shape()["diameter_links"] == nx.diameter(graph)


def least_cut(topology: Topology) -> float:
    """Return the least number of links, one direction, between any two halves of the devices."""
    n = topology.n_devices
    adjacency = nx.to_numpy_array(
        topology.graph(), nodelist=[topology.device_label(i) for i in range(n)]
    )
    halves = np.array([[i in half for i in range(n)] for half in combinations(range(n), n // 2)])
    inside = halves.astype(np.float32)
    return float(np.einsum("hi,ij,hj->h", inside, adjacency.astype(np.float32), 1 - inside).min())


@pytest.mark.parametrize(
    ("shape", "wrap"),
    [
        ((4, 4), (False, False)),
        ((4, 4), (False, True)),
        ((4, 3), (False, True)),
        ((4, 3), (False, False)),
        ((6, 2), (True, False)),
        ((6, 2), (False, False)),
        ((3, 2), (True, True)),
        ((2, 2, 4), (False, False, False)),
        ((2, 2, 3), (True, True, False)),
        ((3, 4), (True, False)),
        ((1, 8), (True, False)),
        ((1, 7), (True, False)),
    ],
)
def test_bisection_is_the_least_of_all_halves(
    shape: tuple[int, ...], wrap: tuple[bool, ...]
) -> None:
    topology = grid(shape, wrap)
    stated = topology.shape().get("bisection_bytes_per_s")
    if stated is None:
        # An odd dimension is the narrow one: no closed form, and its plane would not halve.
        assert any(n % 2 for n in shape)
    else:
        assert stated == least_cut(topology) * 10e9


def test_the_narrow_dimension_decides_whether_a_closed_form_is_stated() -> None:
    assert "bisection_bytes_per_s" in grid((4, 3), (False, True)).shape()
    assert "bisection_bytes_per_s" not in grid((4, 5), (True, False)).shape()


def test_all_closed_is_what_a_torus_is_without_the_key() -> None:
    block = grid_block((4, 5), (True, True))
    with_key = load_topology(block, 20)
    without = load_topology({k: v for k, v in block.items() if k != "wrap"}, 20)
    src, dst = np.divmod(np.arange(400), 20)
    assert with_key.routes(src, dst).link.tolist() == without.routes(src, dst).link.tolist()


def bucket_on_a_line(n: int) -> np.ndarray:
    """Walk a reduce-scatter on a line; return how many blocks each place sends up and down.

    From both ends on, each place adds its own to what it got and passes it on; sums count terms.
    """
    sent, terms = np.zeros((n, 2)), np.ones((n, n), dtype=int)
    for way, order in ((1, range(n - 1)), (-1, range(n - 1, 0, -1))):
        for i in order:
            behind = range(i + 1, n) if way > 0 else range(i)
            for j in behind:
                terms[i + way, j] += terms[i, j]
                sent[i, int(way < 0)] += 1
    assert [terms[j, j] for j in range(n)] == [n] * n
    return sent


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_a_line_sends_what_the_bucket_algorithm_sends(n: int) -> None:
    flows = pattern("reduce_scatter", "torus", (-n,))
    sent = np.zeros((n, 2))
    for a, b, fraction in zip(flows.src, flows.dst, flows.fraction, strict=True):
        assert abs(int(a) - int(b)) == 1
        sent[a, int(b < a)] += fraction * n
    np.testing.assert_allclose(sent, bucket_on_a_line(n), atol=1e-12)


@pytest.mark.parametrize("shape", [(-4, -4), (-3, 5), (2, 2, -4), (-3, -4, 5)])
@pytest.mark.parametrize("name", ["all_reduce", "reduce_scatter", "all_gather"])
def test_what_everyone_has_reaches_everyone(name: str, shape: tuple[int, ...]) -> None:
    plan = schedule(name, "torus", shape)
    known = np.eye(plan.n, dtype=bool)
    for r in plan.rounds:
        for _ in range(r.repeat):
            before = known.copy()
            for a, b in zip(r.src, r.dst, strict=True):
                known[b] |= before[a]
    assert known.all()
    total = sum(float(r.fraction.sum()) * r.repeat for r in plan.rounds)
    assert total == pytest.approx((2 if name == "all_reduce" else 1) * (plan.n - 1))


def torus_s(shape: tuple[int, ...], wrap: tuple[bool, ...], name: str = "reduce_scatter") -> float:
    report = collective_report(name, grid_block(shape, wrap), prod(shape), [1e9], "torus")
    return report.rows[0].time_s


@pytest.mark.parametrize("shape", [(4, 4), (3, 3), (4, 4, 4), (5, 5, 5)])
def test_a_mesh_takes_the_bound_of_its_corner(shape: tuple[int, ...]) -> None:
    """A corner has D links to send (N - 1) / N of the array: no algorithm takes less."""
    n, dims = prod(shape), len(shape)
    rounds_s = dims * (shape[0] - 1) * 1e-6
    bound_s = (n - 1) / n * 1e9 / (dims * 8e9)
    assert torus_s(shape, (False,) * dims) == pytest.approx(rounds_s + bound_s, rel=1e-9)
    closed = torus_s(shape, (True,) * dims)
    assert closed == pytest.approx(rounds_s + bound_s / 2, rel=1e-9)
    whole = torus_s(shape, (False,) * dims, "all_reduce")
    assert whole == pytest.approx(2 * (rounds_s + bound_s), rel=1e-9)


def test_opening_a_dimension_never_helps() -> None:
    for shape in ((4, 4), (4, 8), (3, 5), (2, 4, 4)):
        times = [
            torus_s(shape, (True,) * k + (False,) * (len(shape) - k)) for k in range(len(shape) + 1)
        ]
        assert times == sorted(times, reverse=True)
        assert times[-1] < times[0]


def test_message_by_message_a_mesh_takes_the_fluid_but_for_latency() -> None:
    """Members in the middle pass on while bytes of the edge still move."""
    block = grid_block((4, 4), (False, False))
    fluid, steps = (
        collective_report("all_gather", block, 16, [1e8], "torus", detail=detail).rows[0].time_s
        for detail in ("fluid", "steps")
    )
    latency_s = 2 * 3 * float(load_topology(block, 16).latency_s[0])
    assert fluid - latency_s <= steps <= fluid * (1 + 1e-9)


def test_a_ring_over_a_line_doubles_back_and_is_priced_so() -> None:
    """The plain ring sends from the last place back to the first over the whole line."""
    block = grid_block((1, 8), (True, False))
    row = collective_report("all_gather", block, 8, [1e9], "ring", "ideal").rows[0]
    assert row.time_s > 7 / 8 * 1e9 / 8e9
    topology = load_topology(block, 8)
    assert len(topology.routes([7], [0]).link) == 7


def test_shipped_slices_close_where_the_vendor_says() -> None:
    """16 x 16 of v5e and whole cubes of v4 and v5p close; what is smaller is a mesh."""
    for name, closed in (
        ("tpu-v5e-pod", (True, True)),
        ("tpu-v5e-128", (True, False)),
        ("tpu-v5e-64", (False, False)),
        ("tpu-v4-16", (False, False, False)),
        ("tpu-v4-cube", (True, True, True)),
    ):
        topology = load_topology(name, 16)
        assert topology.wrap == closed
    assert load_topology("tpu-v4-pod", 4096).n_links == 6 * 4096
    assert load_topology("tpu-v5p-pod", 8960).n_links == 6 * 8960
    assert load_topology("tpu-v5e-64", 64).n_links == 2 * 2 * 8 * 7
