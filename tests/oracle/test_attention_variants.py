"""Kinds of attention against products counted one by one and the bounds of their papers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distsim.workload.attention import core_attention
from distsim.workload.attention_block import attention
from distsim.workload.attention_pattern import Variant
from distsim.workload.attention_variants import variant_attention
from distsim.workload.catalogue import model
from distsim.workload.op import Fusion, Numerics
from distsim.workload.shape import Shape

#: 4 heads of 16 features; GPT-2's switches.
SPEC = replace(model("gpt2"), hidden=64, heads=4, kv_heads=4, head_dim=16, dropout=False)
UNFUSED = Fusion(flash_attention=False)


def _shape(length=48, sequences=2, fusion=UNFUSED):
    return Shape(sequences, length, Numerics("fp16"), fusion)


def _flop(ops):
    return sum(op.forward_flop for op in ops)


def _bytes(ops):
    return sum(w.moved_bytes for op in ops for w in op.forward)


def _pairs(length, window, causal):
    """Scores of a banded kernel: pairs of places less than a window apart, looking back."""
    i, j = np.indices((length, length))
    return int(np.sum((i - j < window) & (j <= i))) if causal else length * min(window, length)


@pytest.mark.parametrize("size", [1, 7, 48, 100])
def test_window_flop_is_one_score_a_key(size):
    ops = variant_attention(SPEC, _shape(), Variant("window", size))
    assert _flop(ops) == 4 * 2 * 4 * 16 * _pairs(48, size, False)
    assert _flop(ops) == 2 * Variant("window", size).flop(48, 4, 16)


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_causal_window_counts_the_band(size):
    """Up to half the diagonal, which fused kernels count as none (s^2 / 2 for the triangle)."""
    ops = variant_attention(SPEC, _shape(1024, 1), Variant("window", size), causal=True)
    counted = 4 * 4 * 16 * (_pairs(1024, size, True) - size / 2)
    assert _flop(ops) == pytest.approx(counted, rel=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_window_over_all_keys_is_fused_attention(causal):
    fused = _shape(fusion=Fusion())
    (window,) = variant_attention(SPEC, fused, Variant("window", 48), causal=causal)
    (full,) = core_attention(SPEC, fused, causal=causal)
    assert window.forward_flop == full.forward_flop
    assert window.backward_flop == full.backward_flop
    assert (window.saved_bytes, _bytes([window])) == (full.saved_bytes, _bytes([full]))


@pytest.mark.parametrize("features", [16, 5])
def test_linear_attention_flop_is_that_of_its_equation(features):
    """Equations 5 and 6 of Katharopoulos 2020, product by product for one head."""
    s, d, r, flop = 48, 16, features, 0
    q, k, v = np.ones((s, r)), np.ones((s, r)), np.ones((s, d))
    state = k.T @ v
    flop += 2 * k.size * d
    out = q @ state / (q @ k.sum(0))[:, None]
    flop += 2 * q.size * d + 2 * q.size
    assert np.allclose(out, v.mean(0))
    ops = variant_attention(SPEC, _shape(), Variant("linear", features))
    assert _flop(ops) == 2 * 4 * flop == 2 * Variant("linear", features).flop(s, 4, 16)
    assert sum(op.backward_flop for op in ops) == 2 * _flop(ops)


def test_linear_attention_grows_with_tokens_and_full_with_their_square():
    for kind, growth in ((Variant("linear"), 2), (Variant("low_rank", 8), 2), (Variant(), 4)):
        once, twice = (
            variant_attention(SPEC, _shape(s), kind, positions=4096) for s in (1024, 2048)
        )
        assert _flop(twice) == growth * _flop(once)
        assert _bytes(twice) == pytest.approx(growth * _bytes(once), rel=0.02)


def test_low_rank_flop_and_parameters_are_those_of_its_equation():
    """Equation 7 of Wang 2020 for one head: Q (E K)^T and P (F V), E and F (k, s)."""
    s, d, rank, flop = 48, 16, 6, 0
    e, k = np.ones((rank, s)), np.ones((s, d))
    flop += 2 * (2 * e.size * d)
    scores = np.ones((s, d)) @ (e @ k).T
    flop += 2 * scores.size * d
    flop += 2 * scores.size * d
    ops = variant_attention(SPEC, _shape(), Variant("low_rank", rank), positions=100)
    assert _flop(ops) == 2 * 4 * flop == 2 * Variant("low_rank", rank).flop(s, 4, d)
    assert sum(op.backward_flop for op in ops) == 2 * _flop(ops)
    assert sum(op.replicated_parameters for op in ops) == 2 * 100 * rank
    assert Variant("low_rank", rank).parameters(100) == 2 * 100 * rank
    # Of the arrays of scores only s x k are left: softmax and its result.
    assert sum(op.core_bytes for op in ops) == 2 * 4 * s * rank * 2


@pytest.mark.parametrize("kind", [Variant(), Variant("window", 9), Variant("linear")])
def test_fewer_heads_of_keys_keep_the_flop(kind):
    """Multi-query attention (Shazeer 2019): the products stay, kept keys and values shrink."""
    few = replace(SPEC, kv_heads=1)
    many, one = (variant_attention(spec, _shape(), kind) for spec in (SPEC, few))
    assert _flop(one) == _flop(many)
    assert sum(op.saved_bytes for op in one) < sum(op.saved_bytes for op in many)


def test_grouped_queries_read_fewer_keys_when_fused():
    """2 e s b d (a + g) bytes: queries and output of a heads, keys and values of g."""
    for groups in (1, 2, 4):
        ops = core_attention(replace(SPEC, kv_heads=groups), _shape(fusion=Fusion()))
        assert _bytes(ops) == 2 * 2 * 48 * 2 * 16 * (4 + groups)


def test_self_attention_stays_causal_by_default():
    shape = _shape(fusion=Fusion())
    default, full = attention(SPEC, shape), attention(SPEC, shape, causal=False)
    assert default == attention(SPEC, shape, causal=True)
    assert _flop(full) == 2 * _flop(default)


def test_attention_that_mixes_all_tokens_cannot_be_causal():
    with pytest.raises(ValueError, match="causal"):
        variant_attention(SPEC, _shape(), Variant("low_rank", 4), causal=True)
    with pytest.raises(ValueError, match="window"):
        variant_attention(SPEC, _shape(), Variant("local"))
