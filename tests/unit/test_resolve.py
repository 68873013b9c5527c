"""Names and defaults that a scenario leaves to its resolution."""

from __future__ import annotations

from pathlib import Path

import pytest

from distsim.api import load, simulate
from distsim.errors import DistsimError
from distsim.files import shipped
from distsim.scenario.resolve import resolve

SCENARIO = """\
schema: 1
name: near
cluster: {topology: %s, devices: 8}
model: gpt2
batch: {global_size: 8, sequence_length: 1024}
"""


@pytest.mark.parametrize("where", ["net/mine.yaml", "./net/mine.yaml"])
def test_a_topology_is_found_beside_its_scenario(where, tmp_path, monkeypatch):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "mine.yaml").write_bytes(shipped("topologies", "dgx-a100").read_bytes())
    (tmp_path / "s.yaml").write_text(SCENARIO % where)
    monkeypatch.chdir(Path("/"))
    assert simulate(load(tmp_path / "s.yaml")).step_s > 0


def test_the_place_of_a_plan_that_cannot_be_is_in_the_file(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(SCENARIO % "dgx-a100" + "plan:\n  tp: 5\n")
    with pytest.raises(DistsimError) as caught:
        resolve(load(file))
    assert (caught.value.code, caught.value.place.line) == ("DS301", 7)


def _numerics(**precision: str):
    s = load("gpt2-xl-8xa100").with_(stack="pytorch-fsdp")
    return resolve(s.with_(precision=precision) if precision else s).numerics


def test_precision_defaults_come_from_the_stack_and_the_scenario_has_the_last_word():
    fsdp = _numerics()
    assert (fsdp.weight_bytes, fsdp.master_bytes, fsdp.reduce_bytes) == (4, 0, 2)
    wide = _numerics(compute="bf16", grad_communication="fp32")
    assert wide.reduce_bytes == 4
    narrow = _numerics(compute="bf16", gradients="bf16")
    assert (narrow.gradient_bytes, narrow.reduce_bytes) == (2, 2)


def test_sharded_parameters_are_always_gathered_ahead():
    s = load("gpt2-xl-8xa100").with_(stack="megatron-2021", plan={"overlap_grad_reduce": None})
    assert not resolve(s).inputs.plan.overlap_param_gather
    plan = resolve(s.with_(plan={"zero_stage": 3})).inputs.plan
    assert plan.overlap_param_gather and plan.overlap_grad_reduce


def test_an_uneven_pipeline_as_megatron_allows():
    s = load("llama3-70b-512xh100").with_(
        plan={"virtual_stages": 1, "first_stage_layers": 18, "last_stage_layers": 18}
    )
    layers = resolve(s).inputs.plan.layers_per_chunk
    assert layers == ((18,), (22,), (22,), (18,))


def test_a_relative_speed_that_must_hold():
    """More of the same work takes longer; fewer bytes a step do not."""
    s = load("gpt2-xl-8xa100")
    base = simulate(s).step_s
    assert simulate(s.with_(batch={"global_size": 1024})).step_s > 1.9 * base
    assert simulate(s.with_(plan={"recompute": "full"})).step_s > 1.2 * base
