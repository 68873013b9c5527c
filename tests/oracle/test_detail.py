"""Collectives message by message on shipped clusters: never faster than links, nor than bounds."""

from __future__ import annotations

import numpy as np
import pytest

from distsim.collectives.algorithms import schedule
from distsim.hardware.catalogue import load_topology
from distsim.hardware.library import Priced, Wire
from distsim.prediction.steps import CHUNKS, steps_run
from distsim.program.traffic import compile_traffic, shapes

IDEAL = Priced(Wire("none", 1.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 1.0)
CLUSTERS = [
    ("dgx-a100", 8),
    ("dgx-h100-superpod", 32),
    ("gcp-a3-mega", 40),
    ("fat-tree-512xa100-oversubscribed", 64),
    ("example-torus-2d", 64),
    ("pcie-a100-8", 8),
    ("dgx1-v100", 8),
]
ALGORITHMS = [
    ("all_reduce", "ring"),
    ("all_reduce", "tree"),
    ("all_reduce", "hierarchical"),
    ("all_reduce", "halving_doubling"),
    ("all_reduce", "binomial"),
    ("all_to_all", "pairwise"),
    ("all_to_all", "direct"),
    ("all_to_all", "bruck"),
    ("broadcast", "ring"),
]


@pytest.mark.parametrize("size_bytes", [1e5, 1e9])
@pytest.mark.parametrize(
    ("name", "devices", "collective", "algorithm"),
    [
        (*cluster, *run)
        for cluster in CLUSTERS
        for run in ALGORITHMS
        # Chunks on rings through several nodes meet nowhere at once: thousands of instants.
        if run != ("broadcast", "ring") or cluster[1] == 8
    ],
)
def test_steps_lie_between_the_busiest_link_and_their_bound(
    name: str, devices: int, collective: str, algorithm: str, size_bytes: float
) -> None:
    topology, everyone = load_topology(name, devices), np.arange(devices)
    ((shape, orders, _),) = shapes(everyone[None, :], everyone, topology, algorithm)
    plan = schedule(collective, algorithm, shape, orders)
    traffic = compile_traffic(
        "", everyone[None, :], np.zeros(1, int), collective, algorithm, everyone, topology
    )
    load = np.bincount(traffic.entry_link, traffic.entry_fraction, topology.n_links)
    busiest_s = size_bytes * float((load / topology.capacity_bytes_per_s).max())
    hops = [float(topology.routes(r.src, r.dst).latency_s(topology).max()) for r in plan.rounds]
    serial_s = max(busiest_s, size_bytes * float(traffic.serial_s_per_byte[0]))
    if plan.pipelined:
        most_s = (1 + (len(hops) - 1) / CHUNKS) * busiest_s + sum(hops)
    elif algorithm == "ring":
        # A wave goes round the ring: the mean of its hops, but for the last part of a turn.
        most_s = serial_s + float(traffic.latency_s[0]) + max(hops)
    else:
        most_s = serial_s + sum(r.repeat * h for r, h in zip(plan.rounds, hops, strict=True))
    run = steps_run(plan, everyone, topology, size_bytes, IDEAL)
    assert busiest_s * (1 - 1e-9) <= run.time_s <= most_s * (1 + 1e-9)
