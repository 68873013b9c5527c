"""Collisions of hashed paths: counts by walking the graph, balls into bins, and time."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise, product
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import yaml

from distsim.cli import main
from distsim.hardware.catalogue import load_topology
from distsim.hardware.collisions import Collisions, collisions
from distsim.hardware.topology import Topology
from distsim.study.collective import collective_report

LINK = {"bandwidth": "10 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "made up"}
UPPER = {key: LINK[key] for key in ("efficiency", "latency", "source")}


def tree(n_devices: int, tiers: int = 2, **changes: object) -> Topology:
    return load_topology(tree_block(tiers, **changes), n_devices)


def tree_block(tiers: int = 2, **changes: object) -> dict[str, object]:
    keys: dict[str, object] = {"kind": "fat_tree", "device": "a100-80gb-sxm", "tiers": tiers}
    keys |= {"devices_per_leaf": 8, "leaf_uplinks": 8, "max_leaves": 64, "spreading": "hashed"}
    links = {"nic": LINK, "leaf": UPPER}
    if tiers == 3:
        keys |= {"leaves_per_pod": 2, "pod_uplinks": 4}
        links["pod"] = UPPER
    return keys | changes | {"links": links}


def rail_tree_block(**changes: object) -> dict[str, object]:
    keys: dict[str, object] = {"kind": "rail_fat_tree", "device": "a100-80gb-sxm", "tiers": 3}
    keys |= {"devices_per_node": 2, "nodes_per_unit": 4, "max_units": 16, "leaf_uplinks": 4}
    keys |= {"units_per_pod": 2, "pod_uplinks": 2, "spreading": "hashed"}
    links = {"nvlink": LINK, "pcie": LINK, "rail": LINK, "leaf": UPPER, "pod": UPPER}
    return keys | changes | {"links": links}


def counted(topology: Topology, src: np.ndarray, dst: np.ndarray, tier: str, up: bool) -> Counter:
    """Count the flows on each link of a tier by the names of its ends, without link numbers."""
    graph, flows = topology.graph(), Counter()
    routes = topology.routes(src, dst)
    for i in range(len(src)):
        stops = [topology.device_label(src[i])]
        for link in routes.link[routes.ptr[i] : routes.ptr[i + 1]]:
            (after,) = [b for _, b, n in graph.out_edges(stops[-1], data="link") if n == link]
            stops.append(after)
        for a, b in pairwise(stops):
            lower = a if up else b
            below = "leaf" if tier == "leaf" else ".agg" if ".agg" in lower else ".spine"
            above = b if up else a
            rises = graph.edges[a, b]["link_class"] == tier and below in lower
            if rises and above != lower and "gpu" not in above:
                flows[lower.split(".agg")[0].split(".spine")[0], lower, above] += 1
    return flows


@pytest.mark.parametrize(
    "topology", [tree(64, 2), tree(64, 3), load_topology(rail_tree_block(), 64)], ids=str
)
def test_counts_are_those_of_a_walk_over_the_graph(topology: Topology) -> None:
    rng = np.random.default_rng(5)
    src, dst = rng.integers(0, 64, (2, 300))
    found = collisions(topology, src, dst)
    assert {(c.tier, c.up) for c in found} >= {("leaf", True), ("leaf", False)}
    for c in found:
        flows = counted(topology, src, dst, c.tier, c.up)
        assert (c.total, c.most) == (sum(flows.values()), max(flows.values()))
        bundles = Counter()
        for (bundle, _, _), n in flows.items():
            bundles[bundle] += n
        assert c.even == pytest.approx(max(bundles.values()) / c.parallel)
        assert c.mean == pytest.approx(sum(flows.values()) / (len(bundles) * c.parallel))
        worst = {
            f"{a}->{b}" if c.up else f"{b}->{a}" for (_, a, b), n in flows.items() if n == c.most
        }
        assert c.name == topology.link_name(c.link)
        assert c.name in worst


def expected_most(balls: int, bins: int) -> tuple[float, float]:
    """Mean and variance of the fullest of some bins, over all equally likely throws."""
    chances = {(0,) * bins: 1.0}
    for _ in range(balls):
        after: dict[tuple[int, ...], float] = {}
        for state, chance in chances.items():
            for i in range(bins):
                key = tuple(sorted((*state[:i], state[i] + 1, *state[i + 1 :])))
                after[key] = after.get(key, 0.0) + chance / bins
        chances = after
    mean = sum(max(state) * chance for state, chance in chances.items())
    return mean, sum(max(s) ** 2 * c for s, c in chances.items()) - mean**2


@pytest.mark.parametrize(("balls", "bins"), [(2, 2), (4, 4), (8, 8), (8, 3), (5, 6)])
def test_the_fullest_uplink_is_that_of_balls_into_bins(balls: int, bins: int) -> None:
    """Flows of one leaf to another, over many seeds, within four standard errors of the mean."""
    mean, variance = expected_most(balls, bins)
    flows = np.arange(balls)
    seeds = range(1, 601)
    most = [
        collisions(tree(16, leaf_uplinks=bins, seed=seed), flows, flows + 8)[0].most
        for seed in seeds
    ]
    assert abs(np.mean(most) - mean) < 4 * sqrt(variance / len(most))


def test_all_throws_enumerated_agree_with_the_recursion() -> None:
    throws = [max(Counter(t).values()) for t in product(range(3), repeat=4)]
    mean, variance = expected_most(4, 3)
    assert mean == pytest.approx(np.mean(throws))
    assert variance == pytest.approx(np.var(throws))


@pytest.mark.parametrize("tiers", [2, 3])
def test_ideal_spreading_has_no_collisions(tiers: int) -> None:
    src, dst = np.random.default_rng(1).integers(0, 64, (2, 500))
    for c in collisions(tree(64, tiers, spreading="ideal"), src, dst):
        assert (c.parallel, c.ratio) == (1, 1.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("uplinks", [1, 2, 4, 8, 16])
def test_hashing_never_beats_even_spreading(uplinks: int, seed: int) -> None:
    src, dst = np.random.default_rng(seed).integers(0, 64, (2, 200))
    for c in collisions(tree(64, 3, leaf_uplinks=uplinks, seed=seed), src, dst):
        assert c.ratio >= 1
        assert c.most >= c.even >= c.mean


def test_fewer_and_wider_uplinks_come_closer_to_even_spreading() -> None:
    """One uplink is even; the excess grows with their number (Raab and Steger 1998)."""
    flows = np.arange(32)

    def ratio(uplinks: int) -> float:
        keys = {"devices_per_leaf": 32, "leaf_uplinks": uplinks}
        found = [collisions(tree(64, seed=s, **keys), flows, flows + 32)[0] for s in range(1, 100)]
        return float(np.mean([c.ratio for c in found]))

    means = [ratio(uplinks) for uplinks in (1, 2, 4, 8, 16, 32)]
    assert means[0] == 1
    assert all(a < b for a, b in pairwise(means))


def test_more_flows_come_closer_to_even_spreading() -> None:
    rng = np.random.default_rng(0)

    def ratio(count: int) -> float:
        src, dst = rng.integers(0, 8, count), rng.integers(8, 64, count)
        return collisions(tree(64), src, dst)[0].ratio

    few, many = (np.mean([ratio(n) for _ in range(20)]) for n in (8, 2000))
    assert 1 <= many < 1.4 < few


def test_topologies_without_parallel_uplinks_have_none() -> None:
    for name in ("dgx-a100", "example-torus-2d", "example-dragonfly"):
        assert collisions(load_topology(name, 4), [0, 1], [2, 3]) == ()


def test_no_flows_collide_with_nothing() -> None:
    assert collisions(tree(64), [], []) == ()
    assert collisions(tree(64), [0, 1], [2, 3]) == ()


def pairwise_s(spreading: str, seed: int = 1, uplinks: int = 8) -> float:
    block = tree_block(spreading=spreading, leaf_uplinks=uplinks, seed=seed)
    report = collective_report("all_to_all", block, 16, [1e9], "direct", "ideal")
    return report.rows[0].time_s


def test_a_collective_is_slower_by_the_collisions_and_names_the_uplink() -> None:
    """An exchange between two leaves, on full uplinks: its bytes take the ratio times as long."""
    src, dst = np.divmod(np.arange(256), 16)
    far = src // 8 != dst // 8
    for seed in range(1, 8):
        topology = tree(16, oversubscription={"leaf": 4}, seed=seed)
        fullest = max(collisions(topology, src[far], dst[far]), key=lambda c: c.most)
        block = tree_block(oversubscription={"leaf": 4}, seed=seed)
        hashed, ideal = (
            collective_report("all_to_all", block | {"spreading": s}, 16, [1e12], "direct", "ideal")
            for s in ("hashed", "ideal")
        )
        assert hashed.rows[0].time_s == pytest.approx(
            fullest.ratio * ideal.rows[0].time_s, rel=1e-6
        )
        routes = topology.routes(src, dst)
        load = np.bincount(routes.link, minlength=topology.n_links)
        assert load[named(topology, hashed.rows[0].bottleneck)] == fullest.most
        assert "spine" in hashed.rows[0].bottleneck
        assert max(c.ratio for c in hashed.collisions) == pytest.approx(fullest.ratio)
        assert ideal.collisions == ()


def test_the_command_names_the_overloaded_uplink(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "hashed.yaml"
    block = tree_block(oversubscription={"leaf": 4}, seed=2)
    file.write_text(yaml.safe_dump(block))
    words = ["collective", "all-to-all", "--topology", str(file), "--devices", "16"]
    assert main([*words, "--sizes", "1GB", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    worst = max(report["collisions"], key=lambda tier: tier["ratio"])
    assert worst["ratio"] > 1
    assert main([*words, "--sizes", "1GB"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{worst['name']}, one of 8 in parallel, carries {worst['ratio']:.2f} times" in out
    fullest = max(report["collisions"], key=lambda tier: tier["most"])
    assert fullest["name"] == report["rows"][0]["bottleneck"]


def named(topology: Topology, name: str) -> int:
    (link,) = [i for i in range(topology.n_links) if topology.link_name(i) == name]
    return link


def test_time_never_beats_ideal_spreading_and_meets_it_at_one_uplink() -> None:
    ideal = pairwise_s("ideal")
    for seed in range(1, 20):
        assert pairwise_s("hashed", seed) >= ideal * (1 - 1e-12)
    assert pairwise_s("hashed", uplinks=1) == pytest.approx(ideal, rel=1e-12)


def test_rails_under_hashed_tiers_are_never_faster_than_under_ideal_ones() -> None:
    def time_s(**keys: object) -> float:
        topology = rail_tree_block(**keys)
        return (
            collective_report("all_to_all", topology, 64, [1e9], "direct", "ideal").rows[0].time_s
        )

    over = {"oversubscription": {"leaf": 4, "pod": 2}}
    ideal = time_s(spreading="ideal", **over)
    hashed = [time_s(seed=seed, **over) for seed in range(1, 8)]
    assert min(hashed) > ideal
    assert len(set(hashed)) > 1
    one = time_s(leaf_uplinks=1, pod_uplinks=1, **over)
    assert one == pytest.approx(ideal, rel=1e-12)


def test_the_same_seed_collides_in_the_same_way() -> None:
    src, dst = np.random.default_rng(2).integers(0, 64, (2, 100))

    def found(seed: int) -> tuple[Collisions, ...]:
        return collisions(tree(64, 3, seed=seed), src, dst)

    assert found(4) == found(4)
    assert found(4) != found(5)
