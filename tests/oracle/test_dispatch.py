"""How often a token is sent to its experts, against tokens that are routed one by one."""

from __future__ import annotations

import numpy as np
import pytest

import distsim as ds
from distsim.parallel.dispatch import distinct_parts, sent_copies


def routed(experts: int, chosen: int, parts: int, groups: int = 0, groups_chosen: int = 0) -> float:
    """Return over how many parts the experts of a token lie, by drawing 20,000 tokens."""
    rng = np.random.default_rng(3)
    score = rng.random((20_000, experts))
    if groups:
        kept = rng.random((len(score), groups)).argsort(axis=1)[:, :groups_chosen]
        allowed = np.zeros((len(score), groups), dtype=bool)
        np.put_along_axis(allowed, kept, True, axis=1)
        score = np.where(np.repeat(allowed, experts // groups, axis=1), score, -1.0)
    best = np.argpartition(-score, chosen - 1, axis=1)[:, :chosen]
    part = best // (experts // parts)
    return float(np.mean([len(np.unique(row)) for row in part]))


@pytest.mark.parametrize(
    ("experts", "chosen", "parts"), [(8, 2, 8), (64, 6, 8), (128, 8, 4), (256, 8, 16), (16, 1, 4)]
)
def test_distinct_parts_are_those_of_drawn_tokens(experts: int, chosen: int, parts: int) -> None:
    assert distinct_parts(experts, chosen, parts) == pytest.approx(
        routed(experts, chosen, parts), rel=0.01
    )


@pytest.mark.parametrize(
    ("nodes", "groups", "limit"), [(8, 8, 4), (16, 8, 4), (4, 8, 4), (8, 8, 8), (8, 4, 1)]
)
def test_routing_to_some_groups_meets_fewer_nodes(nodes: int, groups: int, limit: int) -> None:
    found = sent_copies(256, 8, nodes * 8, nodes, groups, limit)
    assert found == pytest.approx(routed(256, 8, nodes, groups, limit), rel=0.01)
    assert found <= sent_copies(256, 8, nodes * 8, nodes) + 1e-12


def test_inside_a_node_a_token_goes_once_to_each_rank() -> None:
    assert sent_copies(128, 8, 8, 1) == pytest.approx(routed(128, 8, 8), rel=0.01)
    assert sent_copies(8, 2, 8, 1) == pytest.approx(2.0)  # each expert is another rank's


def test_a_token_is_never_sent_more_often_than_it_has_experts() -> None:
    for nodes in (1, 2, 4, 8, 16):
        assert 1.0 <= sent_copies(64, 2, 64, nodes) <= 2.0


def test_a_scenario_sends_fewer_bytes_between_nodes() -> None:
    """Bytes that leave a device over its NIC fall by D/k; those of gradients do not change."""

    def nic_bytes(dispatch: str) -> float:
        scenario = ds.load(
            {
                "schema": 1,
                "name": "dispatch",
                "cluster": {"topology": "dgx-h100-superpod", "devices": 32},
                "model": {"base": "qwen3-30b-a3b", "layers": 4},
                "batch": {"global_size": 32, "micro_size": 1, "sequence_length": 4096},
                "plan": {"ep": 32, "zero_stage": 1, "expert_dispatch": dispatch},
            }
        )
        links = ds.simulate(scenario).to_dict()["links"]
        rail = next(c for c in links["classes"] if c["name"] == "rail")
        return float(rail["bytes"])

    # 4 layers, forward and backward, out and back, e = 2: tokens x hidden x copies x 3/4 remote.
    tokens, hidden, k = 4096, 2048, 8
    d = routed(128, k, 4)
    one = 4 * 4 * 2 * tokens * hidden * 0.75 * 32
    fewer = nic_bytes("alltoall") - nic_bytes("deepep")
    assert fewer == pytest.approx(one * (k - d) * 2, rel=0.02)  # up to a switch and down again
