"""Memory over time of any plan: recounted, bounded by its closed form, gone at the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from distsim.api import load, simulate
from distsim.errors import DistsimError
from distsim.prediction.memory_spans import Pass, wires
from distsim.prediction.memory_timeline import MemoryTimeline
from distsim.prediction.predict import Prediction
from distsim.schedule import REGISTRY

MODEL = {"family": "gpt", "hidden": 512, "heads": 8, "vocab": 4096, "max_positions": 512}
EXPERTS = {"experts": 4, "experts_per_token": 2, "expert_ffn": 512}

plans = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(sorted(REGISTRY)),
        "pp": st.sampled_from([1, 2, 4]),
        "tp": st.sampled_from([1, 2]),
        "dp": st.sampled_from([1, 2, 4]),
        "v": st.sampled_from([1, 2]),
        "m": st.integers(1, 9),
        "zero": st.sampled_from([0, 1, 2, 3]),
        "recompute": st.sampled_from(["none", "selective", "full"]),
        "overlap": st.booleans(),
        "p2p": st.booleans(),
        "prefetch": st.sampled_from([1, 2]),
        "reshard": st.sampled_from([None, True, False]),
        "each": st.sampled_from([None, True]),
        "experts": st.booleans(),
        "lengths": st.sampled_from([None, None, [[1, 512, 1.0]]]),
        "evaluator": st.sampled_from(["auto", "event"]),
    }
)


def _predict(c: dict) -> Prediction:
    plan = {
        "tp": c["tp"],
        "pp": c["pp"],
        "schedule": c["schedule"],
        "zero_stage": c["zero"],
        "recompute": c["recompute"],
        "sequence_parallel": c["tp"] > 1,
        "overlap_grad_reduce": c["overlap"],
        "overlap_param_gather": c["overlap"],
        "overlap_p2p": c["p2p"],
        "prefetch_layers": c["prefetch"],
        "reshard_after_forward": c["reshard"],
        "reduce_each_microbatch": c["each"],
        "bucket_size": "1 MB",
    }
    if c["schedule"] == "interleaved":
        plan["virtual_stages"] = c["v"]
    batch = {"global_size": c["m"] * c["dp"], "sequence_length": 512}
    if c["lengths"]:
        batch |= {"lengths": c["lengths"], "batching": "padded"}
    try:
        scenario = load(
            {
                "schema": 1,
                "name": "memory",
                "cluster": {
                    "topology": "dgx-a100-superpod",
                    "devices": c["tp"] * c["pp"] * c["dp"],
                },
                "model": MODEL | {"layers": 8} | (EXPERTS if c["experts"] else {}),
                "batch": batch,
                "plan": {k: v for k, v in plan.items() if v is not None},
            }
        )
        return simulate(scenario, evaluator=c["evaluator"])
    except DistsimError:
        assume(False)
        raise


def _recounted(p: Prediction, index: int, time_s: float) -> float:
    """Return activations at an instant, micro batch by micro batch."""
    own, run, inputs = p.timeline.program.classes[index], p.timeline.run, p.timeline.program.inputs
    variant_of = inputs.variants_of()
    total = 0.0
    for m in range(own.begin.shape[2]):
        for c, chunk in enumerate(inputs.variants[variant_of[m]].chunks[own.stage]):
            forward, back, weight = own.begin[0, c, m], own.end[1, c, m], own.end[2, c, m]
            if forward < 0 or run.start_s[forward] > time_s:
                continue
            if time_s < run.end_s[back]:
                begun = weight >= 0 and run.start_s[own.begin[1, c, m]] <= time_s
                total += max(chunk.saved_bytes, chunk.weight_bytes if begun else 0.0)
            elif weight >= 0 and time_s < run.end_s[weight]:
                total += chunk.weight_bytes
    return total


def _check(p: Prediction, index: int, timeline: MemoryTimeline) -> None:
    stage = p.memory.stages[timeline.stage]
    assert timeline.parts["activations"].max() == stage.activations_bytes
    assert timeline.peak_bytes <= stage.peak_bytes * (1 + 1e-12)
    assert min(part.min() for part in timeline.parts.values()) >= -1e-6
    assert (np.diff(timeline.times_s) > 0).all()
    assert timeline.times_s[0] == 0.0 and timeline.times_s[-1] == p.timeline.run.makespan
    rest = stage.states_bytes + stage.buffers.reserved_bytes + stage.buffers.compression_bytes
    assert timeline.allocated_bytes[-1] == pytest.approx(rest, rel=1e-12)
    units = [
        u
        for v in p.timeline.program.inputs.variants
        for chunk in v.chunks[timeline.stage]
        for u in chunk.units
    ]
    assert timeline.parts["working"].max() == max(u.working_bytes for u in units)
    for number in range(0, len(timeline.times_s), max(1, len(timeline.times_s) // 25)):
        assert timeline.parts["activations"][number] == pytest.approx(
            _recounted(p, index, timeline.times_s[number]), rel=1e-9, abs=1e-3
        )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(plans)
def test_every_class_of_any_plan(c: dict) -> None:
    prediction = _predict(c)
    for own in prediction.timeline.program.classes:
        _check(prediction, own.index, prediction.memory_timeline.of(own.index))
        _check_gathered(prediction, own.index)


def _check_gathered(p: Prediction, index: int) -> None:
    """No more is whole than the closed form says, without being cut off there."""
    program, run = p.timeline.program, p.timeline.run
    own = program.classes[index]
    seen = Pass(program, run, wires(program), own, program.inputs.orders()[own.stage])
    for domain, most in enumerate(p.memory.stages[own.stage].buffers.gathered_bytes):
        spans = seen.gathered(domain)
        if program.inputs.data.gather == "each":
            whole = spans.level(np.sort(spans.begin_s), np.inf).max(initial=0.0)
            assert whole <= most * (1 + 1e-12)
        assert (len(spans.begin_s) > 0) == (most > 0)
