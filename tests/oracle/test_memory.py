"""Activation and state memory against the formulas of Korthikanti 2022 and Rajbhandari 2020."""

from __future__ import annotations

import pytest

from distsim.api import load
from distsim.parallel.activations import activations_in_flight_bytes, in_flight_bytes
from distsim.parallel.stages import Chunk
from distsim.prediction.predict import memory
from distsim.scenario.resolve import resolve

GIB = 2.0**30
#: Model, pp, virtual stages, micro batch, sequences; figure 1 of arXiv 2205.05198 (GiB):
#: activations without, with sequence parallelism + selective recomputation, model states.
FIGURE_1 = [
    ("megatron-22b", 1, 1, 4, 4, 59.25, 9.5625, 45.56),
    ("megatron-175b", 8, 3, 1, 64, 66.84, 12.35, 45.56),
    ("megatron-530b", 35, 3, 1, 280, 114.02, 23.08, 31.64),
    ("megatron-1t", 64, 1, 1, 512, 131.25, 26.56, 32.96),
]


def _case(model: str, pp: int, v: int, micro: int, sequences: int, **plan: object):
    return resolve(
        load(
            {
                "schema": 1,
                "name": "figure-1",
                "cluster": {"topology": "dgx-a100-superpod", "devices": 8 * pp},
                "model": model,
                "batch": {
                    "global_size": sequences,
                    "micro_size": micro,
                    "sequence_length": 2048,
                },
                "plan": {"tp": 8, "pp": pp, "virtual_stages": v, **plan},
                "precision": "fp16",
                "stack": "megatron-2022",
            }
        )
    )


def _first_stage_layers(case) -> tuple[float, float]:
    """Activations and states of the first stage, transformer layers only, as figure 1 counts."""
    chunks, order = case.inputs.chunks[0], case.inputs.orders()[0]
    layers = [tuple(u for u in c.units if u.name == "layer") for c in chunks]
    active = activations_in_flight_bytes(
        order, [[Chunk(units) for units in layers]], case.inputs.variants_of()
    )
    num = case.numerics
    states = case.optimizer_bytes[0][0] / sum(c.parameters for c in chunks)
    per_parameter = num.weight_bytes + num.gradient_bytes + states
    return active, per_parameter * sum(u.parameters for units in layers for u in units)


@pytest.mark.parametrize(("model", "pp", "v", "micro", "n", "whole", "less", "states"), FIGURE_1)
def test_first_stage_matches_figure_1(model, pp, v, micro, n, whole, less, states):
    active, held = _first_stage_layers(_case(model, pp, v, micro, n))
    assert active / GIB == pytest.approx(whole, rel=0.01)
    assert held / GIB == pytest.approx(states, rel=0.01)
    active, _ = _first_stage_layers(
        _case(model, pp, v, micro, n, sequence_parallel=True, recompute="selective")
    )
    assert active / GIB == pytest.approx(less, rel=0.01)


@pytest.mark.parametrize(
    ("schedule", "pp", "v"),
    [
        *((name, pp, 1) for name in ("1f1b", "gpipe", "zb-h1", "zb-h2", "naive") for pp in (1, 4)),
        *((name, pp, v) for name in ("interleaved", "breadth-first") for pp, v in ((2, 4), (4, 3))),
        ("zb-v", 4, 2),
        ("dualpipe", 4, 1),
    ],
)
@pytest.mark.parametrize("recompute", ["none", "selective"])
def test_stages_at_once_hold_what_each_holds_as_its_passes_come_and_go(schedule, pp, v, recompute):
    plan = {"schedule": schedule, "recompute": recompute, "balance": "cost"}
    inputs = _case("megatron-22b", pp, v, 1, 8, **plan).inputs
    stages = [[v.chunks[stage] for v in inputs.variants] for stage in range(pp)]
    orders, variant_of = inputs.orders(), inputs.variants_of()
    each = [
        activations_in_flight_bytes(order, held, variant_of)
        for order, held in zip(orders, stages, strict=True)
    ]
    assert in_flight_bytes(orders, stages, variant_of) == pytest.approx(each, rel=1e-12)
    assert max(each) > 0.0


@pytest.mark.parametrize(
    ("sp", "recompute"), [(False, "none"), (True, "none"), (True, "selective"), (False, "full")]
)
def test_layer_activations_equal_the_closed_forms(sp, recompute):
    case = _case("megatron-175b", 8, 1, 2, 64, sequence_parallel=sp, recompute=recompute)
    layer = next(u for u in case.inputs.chunks[1][0].units if u.name == "layer")
    s, b, h, a, t = 2048, 2, 12288, 96, 8
    scores = 0 if recompute == "selective" else 5 * a * s / (h * t)
    inner = 34 / t if sp else 10 + 24 / t
    expected = s * b * h * (2 if recompute == "full" else inner + scores)
    assert layer.saved_bytes == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("stage", "per_parameter"),
    [
        (0, lambda n: 16),
        (1, lambda n: 4 + 12 / n),
        (2, lambda n: 2 + 14 / n),
        (3, lambda n: 16 / n),
    ],
)
def test_zero_states_per_parameter(stage, per_parameter):
    n = 16
    case = resolve(
        load(
            {
                "schema": 1,
                "name": "zero",
                "cluster": {"topology": "dgx-a100-superpod", "devices": n},
                "model": "megatron-1.7b",
                "batch": {"global_size": n, "micro_size": 1, "sequence_length": 2048},
                "plan": {"zero_stage": stage},
                "precision": {"compute": "fp16", "gradients": "fp16"},
                "stack": "megatron-2021",
            }
        )
    )
    stage_memory = memory(case).stages[0]
    states = (
        stage_memory.weights_bytes + stage_memory.gradients_bytes + stage_memory.optimizer_bytes
    )
    held = sum(c.parameters for c in case.inputs.chunks[0])
    assert states / held == pytest.approx(per_parameter(n), rel=1e-12)
