"""Every set of rates that the engine computes in whole runs is max-min fair, by its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from distsim.api import load, load_jobs, simulate, simulate_jobs
from distsim.engine import network, steps
from distsim.engine.maxmin import certificate
from distsim.study.collective import collective_report

#: How many transfers shared rows in each solution.
Sizes = list[int]


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> Sizes:
    """Hold both solvers, where the engine calls them, to the certificate."""
    sizes: Sizes = []
    few, many = network.solve_few, steps.solve_many

    def checked_few(
        demands: Sequence, capacity: Sequence, weight: Sequence, limit: Sequence
    ) -> list[float]:
        rates = few(demands, capacity, weight, limit)
        assert certificate(demands, capacity, rates, limit=limit, weight=weight)
        sizes.append(len(demands))
        return rates

    def checked_many(
        transfer: np.ndarray, row: np.ndarray, demand: np.ndarray, capacity: np.ndarray
    ) -> np.ndarray:
        rates = many(transfer, row, demand, capacity)
        demands: list[list[tuple[int, float]]] = [[] for _ in rates]
        for o, r, b in zip(transfer.tolist(), row.tolist(), demand.tolist(), strict=True):
            demands[o].append((r, b))
        assert certificate(demands, capacity.tolist(), rates.tolist())
        sizes.append(len(rates))
        return rates

    monkeypatch.setattr(network, "solve_few", checked_few)
    monkeypatch.setattr(steps, "solve_many", checked_many)
    return sizes


@pytest.mark.parametrize("scenario", ["gpt3-175b-1024xa100", "llama3-405b-16384xh100"])
def test_a_whole_contended_step(solved: Sizes, scenario: str) -> None:
    prediction = simulate(load(scenario), evaluator="event")
    assert prediction.evaluator == "event"
    # Each way in which transfers meet is solved once.
    assert len(solved) > 50
    assert max(solved) > 1


def test_two_jobs_rank_by_rank(solved: Sizes) -> None:
    simulate_jobs(load_jobs("two-jobs-128xa100"), fold=False)
    assert max(solved) > 1


def hashed(devices: int) -> dict[str, Any]:
    """A tree of nodes of 8 whose uplinks flows are hashed to, so that they collide."""
    port = {"bandwidth": "400 Gbit/s", "efficiency": 0.9, "latency": "1 us", "source": "a test"}
    return {
        "name": "hashed",
        "kind": "fat_tree",
        "device": "h100-80gb-sxm",
        "source": "a test",
        "tiers": 2,
        "devices_per_node": 8,
        "devices_per_leaf": 16,
        "leaf_uplinks": 16,
        "max_leaves": devices // 16,
        "spreading": "hashed",
        "links": {
            "nvlink": port | {"bandwidth": "450 GB/s"},
            "nic": port,
            "leaf": {key: port[key] for key in ("efficiency", "latency", "source")},
        },
    }


@pytest.mark.parametrize(
    ("collective", "algorithm", "topology", "devices"),
    [
        ("all_reduce", "ring", "dgx-h100-superpod", 64),
        ("all_reduce", "tree", "dgx-h100-superpod", 32),
        ("all_reduce", "ring", hashed(48), 48),
        ("all_reduce", "halving_doubling", hashed(128), 128),
        ("all_to_all", "pairwise", hashed(64), 64),
        ("all_to_all", "direct", hashed(32), 32),
        ("all_reduce", "torus", "example-torus-2d", 64),
        ("broadcast", "ring", "dgx-a100-superpod", 16),
        ("all_gather", "bruck", "fat-tree-512xa100-oversubscribed", 48),
    ],
)
def test_every_message_of_a_collective(
    solved: Sizes, collective: str, algorithm: str, topology: Any, devices: int
) -> None:
    report = collective_report(collective, topology, devices, [1e8], algorithm, detail="steps")
    assert report.messages
    assert len(solved) > 0
    assert max(solved) > 1
