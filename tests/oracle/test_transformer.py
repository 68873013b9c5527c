"""Operators against the closed forms of Narayanan 2021 and Korthikanti 2022."""

from __future__ import annotations

import pytest

from distsim.parallel.division import Division
from distsim.parallel.recompute import layer_unit
from distsim.parallel.tensor import TensorParallel
from distsim.workload import transformer
from distsim.workload.catalogue import model
from distsim.workload.op import Fusion, Numerics
from distsim.workload.shape import Shape

UNFUSED = Fusion(flash_attention=False)


def _shape(sequences: int = 1, length: int = 2048, fusion: Fusion = UNFUSED) -> Shape:
    return Shape(sequences, length, Numerics("fp16"), fusion)


@pytest.mark.parametrize("sequences", [1, 3])
def test_layer_forward_flop(sequences):
    spec = model("megatron-22b")
    b, s, h = sequences, 2048, spec.hidden
    flop = sum(op.forward_flop for op in transformer.layer(spec, _shape(sequences)))
    assert flop == pytest.approx(24 * b * s * h**2 + 4 * b * s**2 * h, rel=1e-12)


def test_backward_of_every_product_is_two_products():
    for op in transformer.layer(model("llama2-70b"), _shape()):
        assert op.backward_flop == pytest.approx(2 * op.forward_flop, rel=1e-12)


@pytest.mark.parametrize("name", ["megatron-1.7b", "megatron-175b", "megatron-1t"])
def test_model_flop_is_the_published_formula(name):
    spec, s = model(name), 2048
    l, h, v = spec.layers, spec.hidden, spec.vocab  # noqa: E741
    expected = 72 * s * l * h**2 * (1 + s / (6 * h) + v / (12 * l * h))
    assert transformer.model_flop_per_sequence(spec, s) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["llama3-8b", "llama2-70b", "gpt3-175b"])
def test_model_flop_is_six_per_weight_and_token_plus_attention(name):
    """6 N + 12 l h s a token (Kaplan 2020; Chowdhery 2022), N without embeddings and norms."""
    spec, s = model(name), 1024
    matrices = sum(
        w.m * w.n
        for op in (*transformer.layer(spec, _shape(length=s)),)
        for w in op.backward_weight
        if w.flop
    )
    weights = spec.layers * matrices + spec.hidden * spec.vocab
    expected = 6 * weights + 12 * spec.layers * s * spec.heads * spec.head_dim
    assert transformer.model_flop_per_sequence(spec, s) / s == pytest.approx(expected, rel=1e-12)


def test_layer_parameters_sum_to_the_model():
    for name in ("gpt2", "llama3-8b", "megatron-22b"):
        spec, shape = model(name), _shape(length=1024)
        per_layer = sum(
            o.parameters + o.replicated_parameters for o in transformer.layer(spec, shape)
        )
        ends = (*transformer.embedding(spec, shape), *transformer.head(spec, shape))
        total = spec.layers * per_layer + sum(o.parameters + o.replicated_parameters for o in ends)
        assert total == spec.parameters, name


def _collectives(sequence: bool, recompute: str) -> list[str]:
    spec, shape = model("megatron-22b"), _shape(2)
    unit = layer_unit(
        Division(TensorParallel(8, sequence, False, 2.0)),
        transformer.layer(spec, shape),
        recompute,
        0.0,
    )
    found = [s.collective for s in (*unit.forward, *unit.backward) if s.collective]
    assert {c.size_bytes for c in found} == {2.0 * 2 * 2048 * spec.hidden}
    return [c.name for c in found]


@pytest.mark.parametrize(("recompute", "count"), [("none", 4), ("selective", 4), ("full", 6)])
def test_tensor_parallel_all_reduces_of_a_layer(recompute, count):
    """Two each way (Shoeybi 2019, figure 4); the forward ones again with full recomputation."""
    assert _collectives(False, recompute) == ["all_reduce"] * count


def test_sequence_parallel_collectives_of_a_layer():
    """Each all-reduce becomes a gather and a scatter; both saved inputs are gathered once more."""
    names = _collectives(True, "none")
    assert (names.count("all_gather"), names.count("reduce_scatter")) == (4 + 2, 4)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_dividing_keeps_the_work(parts):
    tensor = Division(TensorParallel(parts, True, False, 2.0))
    spec = model("megatron-22b")
    whole = layer_unit(
        Division(TensorParallel(1, False, False, 2.0)),
        transformer.layer(spec, _shape()),
        "none",
        0.0,
    )
    share = layer_unit(tensor, transformer.layer(spec, _shape()), "none", 0.0)

    def flop(unit):
        return sum(w.flop for s in (*unit.forward, *unit.backward) for w in s.works)

    assert parts * flop(share) == pytest.approx(flop(whole), rel=1e-12)
