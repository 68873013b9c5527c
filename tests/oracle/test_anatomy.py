"""A model taken apart, against formulas of whole models and the roofline of a device."""

from __future__ import annotations

import pytest

from distsim.hardware.catalogue import device
from distsim.prediction.anatomy import anatomy
from distsim.workload.zoo import network


@pytest.mark.parametrize("name", ["bert-base", "resnet-50", "gpt2", "t5-base", "vit-b-16"])
def test_operators_sum_to_the_model(name: str) -> None:
    model = network(name)
    parts = anatomy(model, 4, model.default_length)
    rows = parts["operators"]
    assert sum(r["times"] * r["parameters"] for r in rows) == model.parameters
    forward = sum(r["times"] * r["forward_flop"] for r in rows)
    # Kernels skip what a causal mask hides; nothing else is counted twice or left out.
    causal = sum(
        r["times"] * r["forward_flop"]
        for r in rows
        if r["operator"] == "flash_attention" and name in ("gpt2", "t5-base")
    )
    assert forward <= parts["forward_flop"] * (1 + 1e-9)
    assert forward + causal >= parts["forward_flop"] * (1 - 1e-9)


def test_a_projection_lies_where_its_shape_says() -> None:
    """(m, k) x (k, n) at 2 bytes: m k n / (m k + k n + m n) FLOP a byte, against the ridge."""
    a100 = device("a100-80gb-sxm")
    h, length = 768, 512
    for samples, bound in ((1, "compute"), (32, "compute")):
        rows = anatomy(network("bert-base"), samples, length, a100)["operators"]
        up = next(r for r in rows if r["operator"] == "mlp_up")
        m, k, n = samples * length, h, 4 * h
        assert up["flop_per_byte"] == pytest.approx(m * k * n / (m * k + k * n + m * n))
        ridge = 312e12 / a100.memory_bandwidth_bytes_per_s
        assert (up["flop_per_byte"] > ridge) == (up["bound"] == bound)
        assert next(r for r in rows if r["operator"] == "gelu")["bound"] == "memory"


def test_activations_of_a_gpt_layer_are_the_closed_form() -> None:
    """s b h (34 + 5 a s / h) bytes without flash attention's savings (Korthikanti 2022, eq. 1)."""
    model = network("gpt2")
    rows = anatomy(model, 1, 1024)["operators"]
    per_layer = sum(r["saved_bytes"] for r in rows if r["times"] == model.layers)
    # Fused attention keeps no s x s array, but its statistics: 4 bytes a head and token.
    s, h, a = 1024, 768, 12
    dropouts_and_inputs = 34 * s * h
    assert per_layer == pytest.approx(dropouts_and_inputs + 4 * a * s, rel=0.07)
