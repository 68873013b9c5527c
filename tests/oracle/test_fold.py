"""Folding: how many classes remain, and which links are left out."""

from __future__ import annotations

import numpy as np
import pytest

from distsim.api import load, simulate
from distsim.collectives.algorithms import pattern
from distsim.files import load_yaml, shipped
from distsim.hardware.catalogue import load_topology
from distsim.program.traffic import compile_traffic, never_binding


def _pod(oversubscription: float) -> dict:
    block, _ = load_yaml(shipped("topologies", "dgx-a100-superpod"))
    return block | {"oversubscription": oversubscription}


def _dropped_spine_links(oversubscription: float) -> int:
    """Every device of one unit of 20 nodes sends to its peer in the next unit."""
    topology = load_topology(_pod(oversubscription), 320)
    pairs = np.stack([np.arange(160), np.arange(160) + 160], axis=1)
    traffic = compile_traffic(
        "x", pairs, np.zeros(160, int), "send", "p2p", np.arange(320), topology
    )
    dropped = never_binding([traffic], topology.capacity_bytes_per_s)
    names = [topology.link_name(i) for i in np.flatnonzero(dropped)]
    return sum("spine" in name for name in names)


@pytest.mark.parametrize(("oversubscription", "dropped"), [(1, 2 * 8), (1.01, 0), (5, 0), (40, 0)])
def test_a_spine_is_left_out_only_where_it_cannot_bind(oversubscription, dropped):
    """One uplink a rail in the first unit, one downlink in the second, if as wide as 20 rails."""
    assert _dropped_spine_links(oversubscription) == dropped


@pytest.mark.parametrize("dp", [1, 2, 16])
def test_classes_are_the_stages_whatever_dp(dp):
    s = load("gpt3-175b-1024xa100").with_(
        cluster={"devices": 64 * dp}, batch={"global_size": 96 * dp}
    )
    p = simulate(s)
    assert p.classes == 8
    assert p.tasks <= 9806


def test_tasks_do_not_depend_on_tp():
    def tasks(tp: int) -> int:
        s = load("megatron-22b-8xa100").with_(plan={"tp": tp, "sequence_parallel": False})
        return simulate(s.with_(cluster={"devices": tp})).tasks

    assert tasks(2) == tasks(4) == tasks(8)


def test_an_oversubscribed_spine_slows_what_crosses_it():
    def step(ratio: float) -> float:
        s = load("megatron-1t-3072xa100").with_(
            cluster={"topology": _pod(ratio), "devices": 320},
            model="gpt2-xl",
            plan={"tp": 1, "pp": 1, "recompute": "none"},
            batch={"global_size": 320, "micro_size": 1, "sequence_length": 1024},
        )
        return simulate(s).breakdown.data_s

    assert step(1) == pytest.approx(step(1.0001), rel=1e-3)
    assert step(40) > 1.5 * step(1)


def test_patterns_are_cached():
    assert pattern("all_gather", "ring", (8, 8)) is pattern("all_gather", "ring", (8, 8))
