"""Memory and lower bound of a search against the predictions that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.errors import DistsimError
from distsim.prediction.predict import memory, step_time_s
from distsim.scenario.load import load
from distsim.scenario.resolve import resolve
from distsim.study.plan.bound import bound
from distsim.study.plan.columns import Sources, batches
from distsim.study.plan.memory import peak_bytes
from distsim.study.plan.setting import setting
from distsim.study.plan.space import candidates, scenario_of, space_of

_GPT = {
    "family": "gpt",
    "layers": 8,
    "hidden": 1024,
    "heads": 16,
    "vocab": 50257,
    "max_positions": 2048,
}
_LLAMA = {
    "base": "llama3-8b",
    "layers": 6,
    "hidden": 1024,
    "heads": 16,
    "kv_heads": 8,
    "ffn": 3584,
}
_MIXTURE = {"base": "mixtral-8x7b", "layers": 4, "hidden": 1024, "ffn": 3584, "expert_ffn": 3584}
_MODELS = {"gpt": _GPT, "llama": _LLAMA, "mixture": _MIXTURE}
_CLUSTERS = ("dgx-a100-superpod", "dgx-h100-superpod")
_STACKS = ("megatron-2021", "megatron-core", "pytorch-fsdp", "internevo-2023")


def _scenario(model, cluster, stack, length, size, plan, optimizer):
    return load(
        {
            "schema": 1,
            "name": "drawn",
            "cluster": {"topology": cluster, "devices": 16},
            "model": model,
            "batch": {"global_size": size, "micro_size": 1, "sequence_length": length},
            "stack": stack,
            "plan": plan,
            "optimizer": optimizer,
        }
    )


@st.composite
def _searches(draw):
    """Draw a scenario, sizes of clusters, and seeds of candidates."""
    name = draw(st.sampled_from(sorted(_MODELS)))
    stack = draw(st.sampled_from(_STACKS))
    plan = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "overlap_p2p": st.booleans(),
                "overlap_grad_reduce": st.booleans(),
                "overlap_param_gather": st.booleans(),
                "overlap_tensor": st.booleans(),
                "bucket_size": st.sampled_from(["10 MB", "200 MB"]),
                "reduce_each_microbatch": st.booleans(),
                "reshard_after_forward": st.booleans(),
                "prefetch_layers": st.integers(1, 3),
                "scatter_gather_p2p": st.booleans(),
                "cp_mode": st.sampled_from(["ring", "all_to_all", "all_gather"]),
            },
        )
    )
    length = draw(st.sampled_from([1024, 2048] if name == "gpt" else [2048, 16384]))
    scenario = _scenario(
        _MODELS[name],
        draw(st.sampled_from(_CLUSTERS)),
        stack,
        length,
        draw(st.sampled_from([16, 48, 64])),
        plan,
        draw(st.sampled_from(["adam", "sgd", "adafactor"])),
    )
    devices = draw(st.sampled_from([8, 16, 24, 32, 64]))
    return scenario, devices, draw(st.integers(0, 2**32 - 1))


def _some(scenario, devices, seed, count):
    """Return memory and bound of some candidates, with their scenarios."""
    base = setting(scenario, devices)
    found = candidates(base, space_of(base, [devices], {}))
    if not len(found):
        return []
    chosen = np.random.default_rng(seed).choice(len(found), count)
    some = found.take(np.sort(chosen))
    peaks, steps = np.zeros(len(some)), np.zeros(len(some))
    for batch in batches(Sources(base), some):
        peaks[batch.rows] = peak_bytes(batch)
        steps[batch.rows] = bound(batch).step_s
    return [(peaks[i], steps[i], scenario_of(base, some, i)) for i in range(len(some))]


@settings(max_examples=60, deadline=None)
@given(_searches())
def test_memory_is_that_of_the_prediction(drawn):
    """The sums of the filter are those of `distsim.parallel.memory`, whatever the plan."""
    for peak, _, scenario in _some(*drawn, count=6):
        assert peak == pytest.approx(memory(resolve(scenario)).peak_bytes, rel=1e-12)


@settings(max_examples=80, deadline=None)
@given(_searches())
def test_bound_is_below_the_longest_path(drawn):
    """No step of the graph evaluator takes less than its bound."""
    for _, step_s, scenario in _some(*drawn, count=6):
        exact_s = step_time_s(resolve(scenario), evaluator="graph")
        assert 0.0 < step_s <= exact_s


@pytest.mark.parametrize("given", [{}, {"overlap_experts": False}])
def test_bound_holds_where_experts_exchange_beside_compute(given):
    """A stack that overlaps them, as long as the plan does not say otherwise."""
    scenario = _scenario(_MIXTURE, _CLUSTERS[1], "megatron-core-2026", 2048, 64, given, "adam")
    found = [s for s in _some(scenario, 16, 2, 60) if s[2].plan.ep > 1]
    assert len(found) > 10
    for _, step_s, candidate in found:
        assert step_s <= step_time_s(resolve(candidate), evaluator="graph")


@pytest.mark.parametrize("devices", [64, 1024])
def test_bound_of_gpt3_is_tight(devices):
    """Half of the candidates take at most 1 / 0.95 of their bound."""
    scenario = load("gpt3-175b-1024xa100")
    found = _some(scenario, devices, 7, 40)
    shares = [
        step_s / step_time_s(resolve(s), evaluator="graph") for _, step_s, s in found if step_s > 0
    ]
    assert np.median(shares) > 0.95
    assert max(shares) <= 1.0


def test_every_candidate_is_possible():
    """What the space lists is what the planner's own checks let through."""
    scenario = _scenario(_MIXTURE, _CLUSTERS[0], "megatron-core", 16384, 48, {}, "adam")
    for devices in (24, 64):
        for _, _, candidate in _some(scenario, devices, 3, 60):
            try:
                resolve(candidate)
            except DistsimError as error:  # pragma: no cover - the failure says which
                pytest.fail(f"{candidate.plan}: {error}")
