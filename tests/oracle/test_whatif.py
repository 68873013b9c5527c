"""Small changes: the critical path against runs, hardware twice as good, factors by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import distsim as ds
from distsim.hardware.catalogue import load_topology
from distsim.prediction.predict import predict
from distsim.scenario.resolve import resolve
from distsim.study.whatif import scaling
from distsim.study.whatif.changes import Change, link_classes, usual
from distsim.study.whatif.hardware import Hardware, altered
from distsim.study.whatif.path import critical_path, estimate_s, explained
from distsim.study.whatif.run import whatif

SCENARIOS = [
    "gpt3-175b-1024xa100",
    "llama2-7b-64xh100-zero3",
    "mixtral-8x7b-64xh100-ep8",
    "megatron-22b-8xa100",
]


def run_with(scenario, hardware: Hardware) -> float:
    return predict(resolve(scenario, altered(scenario, hardware))).step_s


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_critical_path_is_a_chain_that_lasts_as_long_as_the_step(name: str) -> None:
    line = ds.simulate(ds.load(name)).timeline
    program, run = line.program, line.run
    path, graph = critical_path(program, run), line.program.graph
    assert run.end_s[path[-1]] == run.end_s.max()
    assert graph.dep_ptr[path[0]] == graph.dep_ptr[path[0] + 1]  # nothing before the first
    for before, task in pairwise(path):
        assert before in graph.dep[graph.dep_ptr[task] : graph.dep_ptr[task + 1]]
        # It starts the moment the one before it ends.
        assert run.start_s[task] == pytest.approx(run.end_s[before], rel=1e-12)
    parts = explained(program, run)
    assert sum(parts.values()) == pytest.approx(run.end_s.max(), rel=1e-9)
    assert min(parts.values()) >= 0.0


CHANGES = {
    "peak": Hardware(peak=2.0),
    "memory": Hardware(memory_bandwidth=2.0),
    "latency": Hardware(latency=2.0),
    "overhead": Hardware(overhead=2.0),
}


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("change", CHANGES)
def test_estimates_from_the_path_are_near_the_run(name: str, change: str) -> None:
    scenario = ds.load(name)
    prediction = ds.simulate(scenario)
    parts = explained(prediction.timeline.program, prediction.timeline.run)
    estimated = estimate_s(parts, CHANGES[change])
    assert run_with(scenario, CHANGES[change]) == pytest.approx(estimated, rel=0.02)


@pytest.mark.parametrize("name", SCENARIOS)
def test_everything_twice_as_good_takes_half_the_time(name: str) -> None:
    """Rates twice, latencies and gaps half: the same program at twice the speed."""
    scenario = ds.load(name, ["cluster.library=ideal"])
    names = resolve(scenario).inputs.topology.class_names
    whole = Hardware(2.0, 2.0, 1.0, 2.0, 2.0, dict.fromkeys(names, 2.0))
    before = ds.simulate(scenario).step_s
    assert run_with(scenario, whole) == pytest.approx(before / 2, rel=1e-9)


def test_more_memory_changes_what_fits_and_no_time() -> None:
    scenario = ds.load("megatron-22b-8xa100", ["plan.recompute=none", "batch.micro_size=4"])
    base = ds.simulate(scenario)
    assert not base.memory.fits
    more = predict(resolve(scenario, altered(scenario, Hardware(memory=4.0))))
    assert more.memory.fits
    assert more.step_s == base.step_s
    assert more.memory.capacity_bytes == pytest.approx(4 * base.memory.capacity_bytes, rel=0.05)


def test_a_number_of_the_hardware_is_multiplied_once() -> None:
    topology = load_topology("dgx-a100-superpod", 32)
    after = Hardware(latency=4.0, links={"rail": 2.0}).topology(topology)
    rail = topology.class_names.index("rail")
    chosen = topology.link_class == rail
    assert after.capacity_bytes_per_s[chosen] == pytest.approx(
        2 * topology.capacity_bytes_per_s[chosen]
    )
    assert (after.capacity_bytes_per_s[~chosen] == topology.capacity_bytes_per_s[~chosen]).all()
    assert after.latency_s * 4 == pytest.approx(topology.latency_s)
    assert after.classes[rail].capacity_bytes_per_s == pytest.approx(
        2 * topology.classes[rail].capacity_bytes_per_s
    )
    library, other = topology.library, after.library
    assert other.startup_s * 4 == pytest.approx(library.startup_s)
    for was, now in zip(library.protocols, other.protocols, strict=True):
        assert now.local_hop_s * 4 == pytest.approx(was.local_hop_s)
        assert now.network_hop_s * 4 == pytest.approx(was.network_hop_s)
        assert now.bandwidth == was.bandwidth
    for name, runner in library.runners.items():
        for protocol, startup_s in runner.startup_s.items():
            assert other.runners[name].startup_s[protocol] * 4 == pytest.approx(startup_s)


@pytest.mark.parametrize(
    ("name", "devices", "inside", "across"),
    [
        ("dgx-a100-superpod", 512, {"nvlink"}, {"pcie", "rail", "spine"}),
        ("dgx-a100", 8, {"nvlink"}, set()),
        ("fat-tree-512xa100-oversubscribed", 512, {"nvlink"}, {"nic", "leaf"}),
    ],
)
def test_links_inside_nodes_and_between_them(name, devices, inside, across) -> None:
    found = link_classes(load_topology(name, devices))
    assert (set(found[0]), set(found[1])) == (inside, across)


def test_half_the_oversubscription_doubles_what_the_uplinks_carry() -> None:
    scenario = ds.load("gpt3-175b-1024xa100", [
        "cluster.topology=fat-tree-512xa100-oversubscribed", "cluster.devices=512",
    ])  # fmt: skip
    case = resolve(scenario)
    change = next(c for c in usual(scenario, case) if "oversubscription" in c.name)
    before = case.inputs.topology
    after = resolve(change.applied(scenario)).inputs.topology
    leaf = before.class_names.index("leaf")

    def whole(topology) -> float:
        return float(topology.bandwidth_bytes_per_s[topology.link_class == leaf].sum())

    assert whole(after) == pytest.approx(2 * whole(before))
    assert not any(
        "oversubscription" in c.name
        for c in usual(ds.load(SCENARIOS[0]), resolve(ds.load(SCENARIOS[0])))
    )


def test_scaling_of_a_plan_by_hand() -> None:
    """GPT-3 on 1,024: tp 8, pp 8, dp 16, 96 micro batches, 3 chunks a stage."""
    scenario = ds.load("gpt3-175b-1024xa100")
    parts = dict.fromkeys(ds.simulate(scenario).breakdown.to_dict(), 0.0)
    parts |= {"compute_s": 10.0, "tensor_s": 2.0, "bubble_s": 1.0, "data_s": 0.5}
    before = resolve(scenario)

    def after(**changes) -> float | None:
        return scaling.estimate_s(before, resolve(scenario.with_(**changes)), parts)

    def kernels_in_run(**changes) -> float:
        return ds.simulate(scenario.with_(**changes), evaluator="graph").breakdown.compute_s

    assert before.inputs.plan.microbatches == 96
    # 6 chunks: a bubble of 7 / (6 * 96) of the other 12.5 s in place of 7 / (3 * 96).
    assert after(plan={"virtual_stages": 6}) == pytest.approx(13.5 - 12.5 * 7 / 96 / 6)
    # tp 4: half the samples a replica, so half the micro batches, and 3/4 in place of 7/8 is sent;
    # each rank has twice the parameters, reduced over 32 in place of 16 replicas.
    tensor = 2.0 * 0.5 * (3 / 4) / (7 / 8)
    bubble = 1.0 + 12.5 * (7 / (3 * 48) - 7 / (3 * 96))
    data = 0.5 * 2 * (31 / 32) / (15 / 16)
    # Kernels are as long as in a run.
    compute = 10 * kernels_in_run(plan={"tp": 4}) / kernels_in_run()
    assert compute < 9.9
    assert after(plan={"tp": 4}) == pytest.approx(compute + tensor + bubble + data, rel=0.001)
    # Full recomputation: a third forward pass with its collectives; Megatron's 96/72 of the FLOP,
    # but for the head and the attention that was recomputed already.
    full = after(plan={"recompute": "full"})
    assert full == pytest.approx(1.5 + 3.0 + 10 * 4 / 3, rel=0.02)
    # What has no closed form here has no estimate.
    assert after(plan={"zero_stage": 2}) is None
    assert after(plan={"async_tensor": True}) is None
    assert after(plan={"tp": 16}) is None  # over nodes of 8
    assert after(stack="megatron-2022") is None


def test_gains_are_those_of_runs_and_ranked() -> None:
    scenario = ds.load("megatron-22b-8xa100")
    wider = Change("tp 4", {"plan": {"tp": 4}, "batch": {"micro_size": 2}})
    faster = Change("memory", hardware=Hardware(memory_bandwidth=2.0))
    wrong = Change("tp 3", {"plan": {"tp": 3}})
    found = ds.whatif(scenario, [wrong, wider, faster])
    base = ds.simulate(scenario)
    by_name = {e.change.name: e for e in found.effects}
    # At tp 4 there are two replicas, and the states no longer fit.
    seen = ds.simulate(scenario.with_(plan={"tp": 4}, batch={"micro_size": 2}))
    assert not seen.memory.fits
    assert by_name["tp 4"].gain == pytest.approx(1 - seen.step_s / base.step_s)
    assert by_name["tp 4"].outcome.fits == seen.memory.fits
    assert by_name["memory"].gain == pytest.approx(
        1 - run_with(scenario, faster.hardware) / base.step_s
    )
    assert by_name["tp 3"].gain is None
    assert by_name["tp 3"].outcome.code == "DS301"
    ranks = [e.rank for e in found.effects]
    assert ranks == sorted(ranks)
    assert [e.change.name for e in found.effects][-1] == "tp 3"
    assert found.base.step_s == pytest.approx(base.step_s)
    assert found.table["change"] == tuple(e.change.name for e in found.effects)


def test_a_change_of_the_batch_is_measured_by_the_token() -> None:
    scenario = ds.load("megatron-22b-8xa100")
    twice = ds.whatif(scenario, [Change("x2", {"batch": {"global_size": 8}})]).effects[0]
    assert twice.outcome.step_s > 1.5 * ds.simulate(scenario).step_s
    assert abs(twice.gain) < 0.1
    assert twice.estimate is None


def test_a_schedule_without_a_flush_is_explained_too() -> None:
    scenario = ds.load("gpt2-xl-64xv100-pipedream-2bw")
    found = whatif(scenario, [])
    assert sum(found.resources.values()) == pytest.approx(found.base.step_s)


def test_layers_dealt_out_by_hand_are_dealt_anew() -> None:
    scenario = ds.load("llama3-405b-16384xh100")
    case = resolve(scenario)
    changes = {c.name: c for c in usual(scenario, case)}
    assert changes["pp 16 -> 8, dp x2"].set["plan"]["layers_per_stage"] is None
    assert "layers_per_stage" not in changes["ZeRO 2 -> 3"].set["plan"]


def test_the_profile_of_a_scenario_stays(tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "schema: 1\nkind: profile\nname: mine\ndevice: a100-80gb-sxm\ndate: x\ndistsim: x\n"
        "sources: []\nfit: {}\nvalues: {device: {gemm_efficiency: {value: 0.4, source: x}}}\n"
    )
    scenario = ds.load("megatron-22b-8xa100", [f"cluster.profile={tmp_path}/mine.yaml"])
    same = altered(scenario, Hardware())
    assert predict(resolve(scenario, same)).step_s == ds.simulate(scenario).step_s
    assert resolve(scenario, same).resolved["profile"] == "mine"
    assert replace(same, hardware=Hardware(peak=2.0)).on_device(
        resolve(ds.load("megatron-22b-8xa100")).inputs.device
    ).gemm_efficiency == pytest.approx(0.4)


def test_time_shares_are_of_what_bounds_kernels() -> None:
    """A device without compute limits leaves memory, gaps and links; the shares say so."""
    scenario = ds.load("megatron-22b-8xa100")
    prediction = predict(resolve(scenario, altered(scenario, Hardware(peak=1e6))))
    parts = explained(prediction.timeline.program, prediction.timeline.run)
    assert parts["matrix rate"] < 0.01 * prediction.step_s
    both = np.array([parts["memory bandwidth"], parts["links nvlink"]])
    assert both.sum() > 0.8 * prediction.step_s
