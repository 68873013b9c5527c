"""Experts that cannot be, in a model or under a plan: a code, the key and the numbers."""

from __future__ import annotations

from typing import Any

import pytest

from distsim.errors import CODES, PlanError, WorkloadError
from distsim.parallel.expert_check import check_experts
from distsim.parallel.load import dirichlet_shares, histogram_shares
from distsim.workload.catalogue import model, model_from_block
from distsim.workload.model_block import from_mapping

DENSE: dict[str, Any] = {
    "family": "llama",
    "layers": 4,
    "hidden": 64,
    "heads": 4,
    "ffn": 128,
    "vocab": 100,
    "max_positions": 32,
}
MIXED = {**DENSE, "experts": 8, "experts_per_token": 2}


@pytest.mark.parametrize(
    ("block", "code", "key", "says"),
    [
        ({**DENSE, "experts_per_token": 2}, "DS226", "experts_per_token", "no experts"),
        ({**DENSE, "experts": 0, "moe_every": 2}, "DS226", "moe_every", "remove moe_every"),
        ({**DENSE, "capacity_factor": 1.0}, "DS226", "capacity_factor", "no experts"),
        ({**MIXED, "experts_per_token": 9}, "DS227", "experts_per_token", "more than experts(8)"),
        ({**MIXED, "dense_layers": 4}, "DS228", "dense_layers", "leave none of 4"),
        ({**MIXED, "moe_every": 5}, "DS228", "moe_every", "moe_every(5)"),
        ({**MIXED, "dense_layers": 3, "moe_every": 3}, "DS228", "dense_layers", "no layer"),
        ({**MIXED, "shared_experts": 2, "shared_ffn": 33}, "DS229", "shared_ffn", "(33)"),
        ({**MIXED, "shared_experts": 0, "shared_ffn": 64}, "DS229", "shared_ffn", "(0)"),
        ({**MIXED, "shared_experts": 2, "shared_ffn": 0}, "DS229", "shared_ffn", "(0)"),
        ({**MIXED, "shared_gate": True}, "DS229", "shared_gate", "shared_gate"),
        ({**MIXED, "capacity_factor": 4.5}, "DS203", "capacity_factor", "= 4"),
        ({**MIXED, "capacity_factor": 0}, "DS203", "capacity_factor", "> 0"),
        ({**MIXED, "capacity_factor": float("nan")}, "DS203", "capacity_factor", "> 0"),
        ({**MIXED, "capacity_factor": "1"}, "DS202", "capacity_factor", "a number"),
        ({**MIXED, "capacity_factor": True}, "DS202", "capacity_factor", "a number"),
        ({**MIXED, "experts": -1}, "DS203", "experts", "0 <= experts"),
        ({**MIXED, "moe_every": 0}, "DS203", "moe_every", "1 <= moe_every"),
        ({**MIXED, "qk_norm": 1}, "DS202", "qk_norm", "true or false"),
        ({**MIXED, "expert": 8}, "DS201", "expert", "did you mean experts?"),
    ],
)
def test_a_model_that_cannot_be(block: dict[str, Any], code: str, key: str, says: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        model_from_block(block, ("model",))
    assert caught.value.code == code and code in CODES
    assert caught.value.path == ("model", key)
    assert says in str(caught.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(WorkloadError, match="no experts_per_token"):
        model_from_block({**DENSE, "experts": 8})
    bare = {key: value for key, value in MIXED.items() if key != "ffn"}
    with pytest.raises(WorkloadError, match="no ffn"):
        model_from_block(bare)
    with pytest.raises(WorkloadError, match="no ffn"):
        model_from_block({**bare, "expert_ffn": 32, "dense_layers": 1})


def test_what_a_mixture_leaves_out_is_derived() -> None:
    spec = model_from_block(MIXED)
    assert (spec.expert_ffn, spec.shared_ffn, spec.capacity_factor) == (128, 0, None)
    shared = model_from_block({**MIXED, "expert_ffn": 32, "shared_experts": 2})
    assert shared.shared_ffn == 64
    wide = model_from_block({**MIXED, "shared_ffn": 256})
    assert wide.shared_experts == 1
    bare = {key: value for key, value in MIXED.items() if key != "ffn"}
    assert model_from_block({**bare, "expert_ffn": 32}).ffn == 32


def test_a_base_gains_and_loses_its_experts() -> None:
    dense = model_from_block({"base": "mixtral-8x7b", "experts": 0})
    assert dense.active_parameters == dense.parameters and "router" not in dense.to_dict()
    upcycled = model_from_block({"base": "llama3-8b", "experts": 8, "experts_per_token": 2})
    assert upcycled.expert_ffn == 14_336
    fewer = model_from_block({"base": "deepseek-moe-16b", "expert_ffn": 704})
    assert fewer.shared_ffn == 1408


@pytest.mark.parametrize("name", ["deepseek-moe-16b", "mixtral-8x7b", "qwen1.5-moe-a2.7b"])
def test_a_block_says_all_of_a_mixture(name: str) -> None:
    whole = model(name)
    block = {key: value for key, value in whole.to_dict().items() if "parameters" not in key}
    again = from_mapping({**block, "published_parameters": whole.published_parameters})
    assert again == whole
    assert whole.to_dict()["active_parameters"] == whole.active_parameters


PLAN: dict[str, Any] = {
    "tp": 1, "cp": 1, "dp": 8, "ep": 1, "etp": 1, "sequence_parallel": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "code", "key", "says"),
    [
        ("llama3-8b", {"ep": 2}, "DS308", "ep", "has no experts"),
        ("llama3-8b", {"etp": 2}, "DS308", "etp", "etp = 1"),
        ("mixtral-8x7b", {"ep": 3}, "DS320", "ep", "[1, 2, 4, 8]"),
        ("mixtral-8x7b", {"dp": 6, "ep": 4}, "DS321", "ep", "dp(6) = 6"),
        ("mixtral-8x7b", {"ep": 8, "etp": 2}, "DS321", "ep", "= 16 does not divide"),
        ("mixtral-8x7b", {"dp": 2, "etp": 4}, "DS321", "etp", "ep(1)"),
        ("mixtral-8x7b", {"dp": 9, "etp": 3}, "DS322", "etp", "expert_ffn(14336)"),
        ("mixtral-8x7b", {"tp": 2, "dp": 4}, "DS323", "sequence_parallel", "tp(2)"),
        ("deepseek-moe-16b", {"tp": 3}, "DS306", "tp", "shared_ffn(2816)"),
    ],
)
def test_a_plan_that_does_not_divide_the_experts(
    name: str, change: dict[str, Any], code: str, key: str, says: str
) -> None:
    with pytest.raises(PlanError) as caught:
        check_experts(model(name), **{**PLAN, **change})
    assert caught.value.code == code and code in CODES
    assert caught.value.path == ("plan", key)
    assert says in str(caught.value)


def test_plans_that_divide() -> None:
    check_experts(model("llama3-8b"), **PLAN)
    check_experts(model("mixtral-8x7b"), **{**PLAN, "ep": 8})
    folded = {"tp": 4, "cp": 2, "dp": 4, "ep": 8, "etp": 2, "sequence_parallel": True}
    check_experts(model("mixtral-8x7b"), **folded)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ([1, 2, 3], "3 numbers"),
        ([1, 2, 3, -4], "negative"),
        ([1, 2, 3, float("inf")], "not finite"),
        ([0, 0, 0, 0], "only zeros"),
    ],
)
def test_a_histogram_that_cannot_be(tokens: list[float], says: str) -> None:
    with pytest.raises(PlanError, match=says) as caught:
        histogram_shares(tokens, 4, ("plan", "expert_load"))
    assert caught.value.code == "DS324" and caught.value.path == ("plan", "expert_load")


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_a_concentration_that_cannot_be(alpha: float) -> None:
    with pytest.raises(PlanError) as caught:
        dirichlet_shares(alpha, 8, 2, seed=0)
    assert caught.value.code == "DS324"
