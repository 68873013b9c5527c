"""What each member sends in every algorithm, by the published volumes: on links and in messages.

A volume is what a member sends over S. Rings, exchanges and halving move (n - 1)/n of S a pass, the
optimum (Thakur, Rabenseifner and Gropp 2005, sections 4.1 to 4.5; Patarasu and Yuan 2009, section
3); the others are cited where they stand.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest

from distsim.collectives.algorithms import ALGORITHMS, schedule
from distsim.collectives.flows import Shape
from distsim.hardware.catalogue import load_topology
from distsim.hardware.library import Priced, Wire
from distsim.hardware.topology import Topology
from distsim.prediction.steps import CHUNKS, steps_run
from distsim.program.traffic import compile_traffic, shapes

SIZE_BYTES = 3e6
#: float64[n] of a shape: what each member sends over S.
Volume = Callable[[Shape], np.ndarray]


def alike(volume: Callable[[int], float]) -> Volume:
    """Everyone sends the same."""
    return lambda shape: np.full(abs(prod(shape)), volume(abs(prod(shape))))


def passes(count: int) -> Volume:
    return alike(lambda n: count * (n - 1) / n)


def children(n: int) -> np.ndarray:
    """Of each member in a binomial tree: i + 2^t for all 2^t below the lowest bit set in i."""
    return np.array(
        [
            float(sum(i % (2 << t) == 0 and i + (1 << t) < n for t in range(n.bit_length())))
            for i in range(n)
        ]
    )


def but_the_root(n: int) -> np.ndarray:
    return np.array([0.0] + [1.0] * (n - 1))


def folded(core: Callable[[int], float]) -> Volume:
    """Among a power of two p; of the 2 (n - p) first members only every other one takes part.

    It gets the array of its neighbour and sends it the result (Thakur et al. 2005, section 4.5).
    """

    def volume(shape: Shape) -> np.ndarray:
        n = prod(shape)
        p = 1 << (n.bit_length() - 1)
        out = np.full(n, core(p))
        out[0 : 2 * (n - p) : 2] = 1.0
        out[1 : 2 * (n - p) : 2] += 1.0
        return out

    return volume


def levels(shape: Shape) -> np.ndarray:
    """Blocks pass every level once, and 1 in as many as it has members stays there."""
    return np.full(prod(shape), sum((m - 1) / m for m in shape))


def shares(shape: Shape) -> np.ndarray:
    """Two exchanges in the node, and the share of a member to the switch (Graham 2016)."""
    return np.full(prod(shape), 2 * (shape[0] - 1) / shape[0] + 1 / shape[0])


EXACT: dict[tuple[str, str], Volume] = {
    ("all_reduce", "ring"): passes(2),
    ("all_reduce", "binomial"): lambda s: but_the_root(prod(s)) + children(prod(s)),
    ("all_reduce", "recursive_doubling"): folded(lambda p: float(p.bit_length() - 1)),
    ("all_reduce", "halving_doubling"): folded(lambda p: 2 * (p - 1) / p),
    ("all_reduce", "one_shot"): alike(lambda n: n - 1.0),
    ("all_reduce", "two_shot"): passes(2),
    # Shares of shares: the sum over levels telescopes (Cho 2019, section 3).
    ("all_reduce", "hierarchical"): passes(2),
    ("all_reduce", "torus"): passes(2),
    # Pull and push on every link (Klenk 2020, section 3).
    ("all_reduce", "nvls"): alike(lambda n: 1 + 1 / n),
    ("all_reduce", "sharp"): shares,
    ("reduce_scatter", "ring"): passes(1),
    ("reduce_scatter", "halving"): passes(1),
    ("reduce_scatter", "direct"): passes(1),
    ("reduce_scatter", "hierarchical"): passes(1),
    ("reduce_scatter", "torus"): passes(1),
    ("reduce_scatter", "nvls"): alike(lambda n: 1.0),
    ("all_gather", "ring"): passes(1),
    ("all_gather", "recursive_doubling"): passes(1),
    ("all_gather", "bruck"): passes(1),
    ("all_gather", "direct"): passes(1),
    ("all_gather", "hierarchical"): passes(1),
    ("all_gather", "torus"): passes(1),
    ("all_gather", "nvls"): alike(lambda n: 1.0),
    ("broadcast", "binomial"): lambda s: children(prod(s)),
    ("broadcast", "direct"): lambda s: np.array([prod(s) - 1.0] + [0.0] * (prod(s) - 1)),
    ("reduce", "ring"): lambda s: but_the_root(prod(s)),
    ("reduce", "binomial"): lambda s: but_the_root(prod(s)),
    ("all_to_all", "direct"): passes(1),
    ("all_to_all", "pairwise"): passes(1),
    # A block goes on in each round whose bit is set in the places it has to go (Bruck 1997).
    ("all_to_all", "bruck"): alike(lambda n: sum(i.bit_count() for i in range(n)) / n),
    ("all_to_all", "hierarchical"): levels,
    ("send", "p2p"): lambda s: np.array([1.0, 0.0]),
    ("send_recv", "p2p"): alike(lambda n: 1.0),
    ("barrier", "dissemination"): alike(lambda n: 0.0),
}


def chains(shape: Shape) -> float:
    """What a member sends up and down the chains of its node: it heads one, and ends another."""
    return 2 * (shape[0] - 1) / shape[0]


#: Who sends how much depends on how trees and rings are laid: (the sum, the most of a member).
LAID: dict[tuple[str, str], Callable[[Shape], tuple[float, float]]] = {
    # Every edge of a spanning tree once up and once down; an inner node of one of the two trees
    # is a leaf of the other, so it sends S of its channel up and S down (Sanders 2009, section 3).
    ("all_reduce", "tree"): lambda s: (
        2.0 * (prod(s) - 1),
        chains(s) + (2 / s[0] if prod(s[1:]) > 1 else 0.0),
    ),
    ("all_reduce", "nvls_tree"): lambda s: (
        prod(s) * (1 + 1 / s[0]) + 2.0 * (prod(s[1:]) - 1),
        1 + 3 / s[0],
    ),
    # Everyone but the last passes all on.
    ("broadcast", "ring"): lambda s: (prod(s) - 1.0, 1.0),
}

SHAPES: list[Shape] = [(n,) for n in (2, 3, 4, 7, 8, 12, 16)]
SHAPES += [(4, 2), (8, 3), (3, 4), (1, 5), (2, 3, 2), (4, 2, 4)]
#: Negative: a line, in which members at the ends send less.
TORI: list[Shape] = [(4, 4), (3, 4), (2, 3, 2), (-3, -4), (4, -3)]


def cases() -> list[tuple[str, str, Shape]]:
    out = []
    for collective, algorithm in sorted(ALGORITHMS):
        for shape in TORI if algorithm == "torus" else SHAPES:
            if algorithm == "nvls_tree" and shape[0] == 1:
                continue  # a node of one member has no switch to go through
            try:
                schedule(collective, algorithm, shape)
            except ValueError:
                continue
            out.append((collective, algorithm, shape))
    return out


CASES = cases()
LINK = {"bandwidth": "40 GB/s", "efficiency": 1.0, "latency": "1 us", "source": "a test"}


def cluster(shape: Shape, kind: str) -> Topology:
    """A topology whose nodes and units are the levels of the shape."""
    block: dict[str, Any] = {"name": "levels", "device": "a100-80gb-sxm", "source": "a test"}
    n = abs(prod(shape))
    if kind == "torus":
        # In a file the dimension that varies fastest is the last.
        block |= {"kind": "torus", "shape": [abs(m) for m in shape[::-1]]}
        block |= {"wrap": [m > 0 for m in shape[::-1]]}
        return load_topology(block | {"links": {"link": LINK}}, n)
    if len(shape) < 3:
        block |= {"kind": "switch", "max_devices": n, "devices_per_node": shape[0]}
        return load_topology(block | {"links": {"link": LINK}}, n)
    block |= {"kind": "fat_tree", "tiers": 2, "devices_per_node": shape[0], "spreading": "ideal"}
    block |= {"devices_per_leaf": shape[0] * shape[1], "leaf_uplinks": 4, "max_leaves": shape[2]}
    leaf = {key: LINK[key] for key in ("efficiency", "latency", "source")}
    return load_topology(block | {"links": {"nvlink": LINK, "nic": LINK, "leaf": leaf}}, n)


def check(collective: str, algorithm: str, shape: Shape, sent: np.ndarray) -> None:
    """Hold what each member sent, over S, to the published volume."""
    key = collective, algorithm
    if key in LAID:
        total, most = LAID[key](shape)
        assert sent.sum() == pytest.approx(total, rel=1e-12)
        assert sent.max() <= most * (1 + 1e-12)
        return
    expected = EXACT[key](shape)
    # On a line, a gather is a reduce-scatter backwards: what was received is sent.
    if min(shape) < 0 and collective != "reduce_scatter":
        sent, expected = sent.sum(), expected.sum()
    np.testing.assert_allclose(sent, expected, rtol=1e-12, atol=1e-15)


def test_every_algorithm_has_a_published_volume() -> None:
    assert EXACT.keys() | LAID.keys() == set(ALGORITHMS)
    assert {(c, a) for c, a, _ in CASES} == set(ALGORITHMS)


@pytest.mark.parametrize(("collective", "algorithm", "shape"), CASES)
def test_on_links(collective: str, algorithm: str, shape: Shape) -> None:
    """Of the fluid: what leaves each device on its links, and as much comes in."""
    topology = cluster(shape, "torus" if algorithm == "torus" else "")
    everyone = np.arange(topology.n_devices)
    ((found, _, _),) = shapes(everyone[None, :], everyone, topology, algorithm)
    assert found == shape
    traffic = compile_traffic(
        "", everyone[None, :], np.zeros(1, int), collective, algorithm, everyone, topology
    )
    label = {topology.device_label(d): d for d in everyone.tolist()}
    sent, received = np.zeros((2, topology.n_devices))
    for link, fraction in zip(traffic.entry_link, traffic.entry_fraction, strict=True):
        begin, end = topology.router.ends(int(link))
        if begin in label:
            sent[label[begin]] += fraction
        if end in label:
            received[label[end]] += fraction
    assert received.sum() == pytest.approx(sent.sum())
    check(collective, algorithm, shape, sent)


@pytest.mark.parametrize(("collective", "algorithm", "shape"), CASES)
def test_in_messages(collective: str, algorithm: str, shape: Shape) -> None:
    """Of the steps: the sizes of the messages that ended, each of them run as often as it says."""
    topology = cluster(shape, "torus" if algorithm == "torus" else "")
    plan = schedule(collective, algorithm, shape)
    ideal = Priced(Wire("none", 1.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 1.0)
    run = steps_run(plan, np.arange(plan.n), topology, SIZE_BYTES, ideal)
    chunks = CHUNKS if plan.pipelined else 1
    assert run.messages == chunks * sum(len(r.src) * r.repeat for r in plan.rounds)
    check(collective, algorithm, shape, run.sent_bytes / SIZE_BYTES)
