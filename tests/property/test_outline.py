"""The outline of a step against its op graph: every strategy, and every pair of them.

An outline is the graph evaluator's longest path over fewer things, so the two agree to rounding,
and an engine in which transfers share links is never faster.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from distsim.api import load
from distsim.engine import event, graph, passes
from distsim.errors import DistsimError
from distsim.prediction.case import Case
from distsim.program.build import build
from distsim.program.outline import outline
from distsim.scenario.resolve import resolve
from tests.property.test_matrix import DENSE, MERGED, NARROW, STRATEGIES, merged

#: One adapter a device, so that devices of a stage are alike.
WIDE = NARROW | {"nics_per_node": 4, "oversubscription": 1}
#: Those that have no outline, with those that have one in their place.
WITHOUT = ("fp16", "int8", "topk", "powersgd", "2bw", "dualpipe", "offload", "offload all")
PAIRS = [
    pair
    for pair in combinations([n for n in STRATEGIES if n not in WITHOUT], 2)
    if merged(*pair) is not None
]


def case_of(*names: str, topology: dict[str, Any] = WIDE) -> Case:
    changes = merged(*names)
    assert changes is not None
    base: dict[str, Any] = {
        "schema": 1,
        "name": " + ".join(names),
        "cluster": {"topology": topology, "devices": 8, "library": "nccl"},
        "model": DENSE,
        "batch": {"global_size": 16, "micro_size": 1, "sequence_length": 512},
        "precision": "bf16",
        "stack": "megatron-core",
    }
    blocks = {k: base[k] | changes.pop(k) for k in MERGED[1:] if k in changes}
    return resolve(load(base | changes | blocks))


def check(case: Case) -> bool:
    """Hold an outline to the graph; say whether there was one."""
    found = outline(case.inputs)
    if found is None:
        return False
    step_s = passes.step_s(found)
    built = build(case.inputs).graph
    assert step_s == pytest.approx(graph.evaluate(built).makespan, rel=1e-9)
    assert step_s <= event.evaluate(built).makespan * (1 + 1e-9)
    return True


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_by_itself(name):
    without = (*WITHOUT, "slow device")
    assert check(case_of(name)) is (name not in without)


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_every_pair(pair):
    try:
        case = case_of(*pair)
    except DistsimError:
        pytest.skip("refused: tests/property/test_matrix.py")
    check(case)


@pytest.mark.parametrize("name", ["gpipe", "1f1b", "interleaved", "zero3", "tp", "ddp"])
def test_where_devices_of_a_stage_differ_there_is_none_or_it_agrees(name):
    check(case_of(name, topology=NARROW))


def test_plans_that_differ_in_what_they_compute_share_routes_and_units():
    cases = [case_of("interleaved", name) for name in ("full", "selective", "fp8")]
    found = [outline(c.inputs) for c in cases]
    assert all(found)
    assert len({id(o.route) for o in found if o}) == 1
    again = case_of("interleaved", "full")
    assert again.inputs.chunks[0][0] is cases[0].inputs.chunks[0][0]
