"""Every pair of strategies: simulated alike by both evaluators, folded or not, or refused.

What is refused is listed with its reason; nothing else may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from distsim.api import load, simulate
from distsim.errors import DistsimError
from distsim.prediction.predict import Prediction

DENSE = {
    "family": "llama",
    "layers": 8,
    "hidden": 256,
    "heads": 8,
    "kv_heads": 8,
    "ffn": 512,
    "vocab": 2048,
    "max_positions": 512,
}
MIXTURE = DENSE | {
    "experts": 8,
    "experts_per_token": 2,
    "expert_ffn": 256,
    "shared_experts": 1,
}
LINK = {"efficiency": 0.9, "latency": "1 us", "source": "made up"}
#: Two nodes of four devices and two adapters: groups of most strategies meet on rails and spines.
NARROW = {
    "kind": "superpod",
    "device": "h100-80gb-sxm",
    "devices_per_node": 4,
    "nics_per_node": 2,
    "nodes_per_unit": 1,
    "max_units": 2,
    "oversubscription": 2,
    "links": {
        "nvlink": LINK | {"bandwidth": "300 GB/s"},
        "pcie": LINK | {"bandwidth": "30 GB/s"},
        "rail": LINK | {"bandwidth": "100 Gbit/s"},
        "spine": LINK,
    },
}
REL = 1e-6
#: Blocks that are merged key by key; anything else must be equal.
MERGED = ("plan", "batch", "cluster")
SEQUENCE = {"tp": 2, "sequence_parallel": True}
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "ddp": {"plan": {"overlap_grad_reduce": True, "bucket_size": "1 MB"}},
    "reduced last": {"plan": {"overlap_grad_reduce": False}},
    "zero1": {"plan": {"zero_stage": 1, "overlap_param_gather": True}},
    "zero2": {"plan": {"zero_stage": 2}},
    "zero2 once": {"plan": {"zero_stage": 2, "reduce_each_microbatch": False}},
    "zero3": {"plan": {"zero_stage": 3}},
    "zero3 kept": {"plan": {"zero_stage": 3, "reshard_after_forward": False}},
    "zero3 limit": {"plan": {"zero_stage": 3, "max_gathered": "5 MB", "prefetch_layers": 4}},
    "hybrid": {"plan": {"zero_stage": 3, "dp_replicas": 2}},
    "fp16": {"plan": {"grad_compression": "fp16"}},
    "int8": {"plan": {"grad_compression": "int8"}},
    "topk": {"plan": {"grad_compression": "topk"}},
    "powersgd": {"plan": {"grad_compression": "powersgd"}},
    "gpipe": {"plan": {"pp": 4, "schedule": "gpipe"}},
    "1f1b": {"plan": {"pp": 4, "schedule": "1f1b", "overlap_p2p": True}},
    "blocking": {"plan": {"pp": 4, "overlap_p2p": False}},
    "interleaved": {"plan": {"pp": 4, "virtual_stages": 2}},
    "naive": {"plan": {"pp": 4, "schedule": "naive"}},
    "zb-h1": {"plan": {"pp": 4, "schedule": "zb-h1"}},
    "zb-h2": {"plan": {"pp": 2, "schedule": "zb-h2"}},
    "zb-v": {"plan": {"pp": 4, "schedule": "zb-v"}},
    "dualpipe": {"plan": {"pp": 4, "schedule": "dualpipe"}},
    "2bw": {"plan": {"pp": 4, "schedule": "pipedream-2bw"}},
    "tp": {"plan": {"tp": 2}},
    "sp": {"plan": SEQUENCE | {"overlap_tensor": True}},
    "async": {"plan": SEQUENCE | {"async_tensor": True}},
    "ring": {"plan": {"cp": 2}},
    "ring in order": {"plan": {"cp": 2, "cp_balanced": False}},
    "ulysses": {"plan": {"cp": 2, "cp_mode": "all_to_all"}},
    "kv gather": {"plan": {"cp": 2, "cp_mode": "all_gather"}},
    "ep": {"model": MIXTURE, "plan": {"ep": 2}},
    "ep skewed": {
        "model": MIXTURE,
        "plan": {"ep": 4, "expert_load": {"alpha": 1.0}, "overlap_shared_experts": True},
    },
    "ep by node": {"model": MIXTURE, "plan": {"ep": 2, "expert_dispatch": "deepep"}},
    "etp": {"model": MIXTURE, "plan": SEQUENCE | {"ep": 2, "etp": 1}},
    "etp2": {"model": MIXTURE, "plan": SEQUENCE | {"ep": 2, "etp": 2}},
    "full": {"plan": {"recompute": "full"}},
    "selective": {"plan": {"recompute": "selective"}},
    "groups": {"plan": {"recompute": {"mode": "full", "every": 2}}},
    "listed": {"plan": {"recompute": {"mode": "full", "layers": [0, 3]}}},
    "fp8": {"precision": "fp8"},
    "muon": {"optimizer": "muon"},
    "adafactor": {"optimizer": "adafactor"},
    "balance": {"plan": {"balance": "cost"}},
    "offload": {"plan": {"zero_stage": 1, "offload": {"optimizer": "cpu"}}},
    "offload all": {
        "plan": {"zero_stage": 3, "offload": {"optimizer": "cpu", "parameters": "cpu"}}
    },
    "packed": {"batch": {"lengths": [[128, 0.5], [512, 0.5]], "batching": "packed"}},
    "bucketed": {"batch": {"lengths": [[128, 0.5], [512, 0.5]], "batching": "bucketed"}},
    "slow device": {"cluster": {"unequal": [{"devices": 3, "speed": 0.8}]}},
    "slow link": {"cluster": {"slow_links": [{"link_class": "pcie", "bandwidth": 0.5}]}},
}


def merged(*names: str) -> dict[str, Any] | None:
    """Return what the strategies say together, or None where they contradict each other."""
    out: dict[str, Any] = {}
    for name in names:
        for key, value in STRATEGIES[name].items():
            if key not in MERGED:
                if out.setdefault(key, value) != value:
                    return None
                continue
            block = out.setdefault(key, {})
            if any(block.get(k, v) != v for k, v in value.items()):
                return None
            block.update(value)
    return out


def ran(*names: str, evaluators: tuple[str, ...] = ("auto",)) -> list[Prediction]:
    """Simulate strategies together, folded by each evaluator, and every rank by itself."""
    changes = merged(*names)
    assert changes is not None
    base = {
        "schema": 1,
        "name": " + ".join(names),
        "cluster": {"topology": NARROW, "devices": 8, "library": "nccl"},
        "model": DENSE,
        "batch": {"global_size": 16, "micro_size": 1, "sequence_length": 512},
        "precision": "bf16",
        "stack": "megatron-core",
    }
    blocks = {k: base[k] | changes.pop(k) for k in MERGED[1:] if k in changes}
    scenario = load(base | changes | blocks)
    folded = [simulate(scenario, evaluator=evaluator) for evaluator in evaluators]
    return [*folded, simulate(scenario, evaluator="event", fold=False)]


def check_alike(found: list[Prediction]) -> None:
    """All give one step, with the same bytes, in bounds, and parts that add up."""
    first = found[0]
    for p in found:
        assert p.step_s == pytest.approx(first.step_s, rel=REL)
        for one, other in zip(p.links.classes, first.links.classes, strict=True):
            assert one.bytes == pytest.approx(other.bytes, rel=REL, abs=1.0)
        parts = p.breakdown.to_dict()
        for name, value in first.breakdown.to_dict().items():
            assert parts[name] == pytest.approx(value, rel=REL, abs=REL * first.step_s), name
        assert sum(parts.values()) == pytest.approx(p.step_s, rel=REL)
        assert p.bounds.lower_s <= p.step_s * (1 + REL)
        assert p.step_s <= p.bounds.upper_s * (1 + REL)
        assert p.memory.peak_bytes == first.memory.peak_bytes


PIPELINES = (
    "gpipe",
    "1f1b",
    "blocking",
    "interleaved",
    "naive",
    "zb-h1",
    "zb-v",
    "dualpipe",
    "2bw",
)
SHARDED = ("zero2", "zero2 once", "zero3", "zero3 kept", "zero3 limit", "hybrid", "offload all")
#: Some of the first with some of the second: code, and a part of the message.
REFUSED = [
    (("2bw",), ("zero1", "offload"), "DS308", "pipedream-2bw with zero_stage 1"),
    (("2bw",), SHARDED, "DS308", "schedule pipedream-2bw with zero_stage"),
    (("dualpipe",), SHARDED, "DS308", "schedule dualpipe with zero_stage"),
    (("hybrid",), ("fp16", "int8", "topk", "powersgd"), "DS308", "with dp_replicas(2)"),
    (
        ("interleaved",),
        ("gpipe", "1f1b", "naive", "zb-h1", "2bw"),
        "DS310",
        "has no virtual stages, but virtual_stages is 2",
    ),
    # Eight devices are too few: a stage has two.
    (PIPELINES, ("ep skewed", "etp2"), "DS321", "= 4 does not divide tp("),
    (("tp",), ("ep", "ep by node", "ep skewed"), "DS323", "tp(2) without sequence_parallel"),
]
REASONS = {
    frozenset((one, other)): (code, fragment)
    for some, others, code, fragment in REFUSED
    for one in some
    for other in others
}
PAIRS = [pair for pair in combinations(STRATEGIES, 2) if merged(*pair) is not None]


def test_refusals_are_of_pairs_that_do_not_contradict_each_other():
    assert set(REASONS) <= {frozenset(pair) for pair in PAIRS}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_by_itself(name):
    check_alike(ran(name, evaluators=("auto", "event")))


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_every_pair_runs_alike_or_is_refused_with_a_reason(pair):
    if frozenset(pair) not in REASONS:
        check_alike(ran(*pair))
        return
    code, fragment = REASONS[frozenset(pair)]
    with pytest.raises(DistsimError) as caught:
        ran(*pair)
    assert (caught.value.code, fragment in caught.value.message) == (code, True)
    assert caught.value.rule and caught.value.fix


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(st.lists(st.sampled_from(list(STRATEGIES)), min_size=3, max_size=3, unique=True))
def test_three_at_once_run_alike_or_the_plan_is_refused(names):
    assume(merged(*names) is not None)
    try:
        found = ran(*names)
    except DistsimError as error:
        assert error.code.startswith("DS3"), error
        assert error.rule and error.fix
        return
    check_alike(found)
