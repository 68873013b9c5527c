"""Heads for large vocabularies against products counted one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distsim.parallel.tensor import TensorParallel
from distsim.workload import softmax
from distsim.workload.catalogue import model
from distsim.workload.op import Fusion, Numerics, WorkKind
from distsim.workload.shape import Shape

SPEC = replace(model("gpt2"), hidden=64, vocab=2000, tied_embeddings=False)
TOKENS, HIDDEN, VOCAB = 3 * 40, 64, 2000


def _shape(fusion=None):
    return Shape(3, 40, Numerics(), fusion or Fusion())


def _flop(ops):
    return sum(op.forward_flop for op in ops)


def _bytes(ops):
    return sum(w.moved_bytes for op in ops for w in (*op.forward, *op.backward_weight))


def _held(ops):
    return sum(op.parameters + op.replicated_parameters for op in ops)


def test_full_head_is_one_product_with_the_vocabulary():
    ops = softmax.full(SPEC, _shape())
    assert _flop(ops) == 2 * TOKENS * HIDDEN * VOCAB
    assert _held(ops) == VOCAB * HIDDEN


@pytest.mark.parametrize("samples", [1, 50, 2000])
def test_sampled_flop_is_one_dot_product_a_sample_and_the_target(samples):
    x, rows, own = np.ones((TOKENS, HIDDEN)), np.ones((samples, HIDDEN)), np.ones((TOKENS, HIDDEN))
    counted = 2 * x.size * len(rows) + 2 * own.size
    ops = softmax.sampled(SPEC, _shape(), samples)
    assert _flop(ops) == counted
    assert sum(op.backward_flop for op in ops) == 2 * counted
    assert _held(ops) == VOCAB * HIDDEN


def test_sampled_head_moves_bytes_by_samples_and_not_by_words():
    large = replace(SPEC, vocab=10**6)
    assert _bytes(softmax.sampled(large, _shape(), 50)) == _bytes(
        softmax.sampled(SPEC, _shape(), 50)
    )
    tied = softmax.sampled(replace(SPEC, tied_embeddings=True), _shape(), 50)
    assert _held(tied) == 0


def test_adaptive_flop_and_parameters_are_sums_over_clusters():
    """Every token meets the head; tokens of a cluster its projection and its words."""
    tail = softmax.clusters(HIDDEN, (200, 800), VOCAB, (0.2, 0.05))
    assert [(c.words, c.features) for c in tail] == [(600, 16), (1200, 4)]
    ops = softmax.adaptive(SPEC, _shape(), 200, tail)
    targets = [-1] * 90 + [0] * 24 + [1] * 6  # of 120 tokens
    counted = 0
    for target in targets:
        counted += 2 * HIDDEN * (200 + 2)
        if target >= 0:
            width, words = ((16, 600), (4, 1200))[target]
            counted += 2 * (HIDDEN * width + width * words)
    assert _flop(ops) == counted
    assert sum(op.backward_flop for op in ops) == 2 * counted
    weights = [(64, 202), (64, 16), (16, 600), (64, 4), (4, 1200)]
    assert _held(ops) == sum(a * b for a, b in weights)


def test_adaptive_head_without_a_tail_is_the_full_one():
    ops, full = softmax.adaptive(SPEC, _shape(), VOCAB, ()), softmax.full(SPEC, _shape())
    assert (_flop(ops), _held(ops), _bytes(ops)) == (_flop(full), _held(full), _bytes(full))


def test_fused_loss_moves_fewer_bytes():
    apart = _shape(Fusion(cross_entropy=False))
    for make in (softmax.full, lambda *of: softmax.sampled(*of, 50)):
        fused, unfused = make(SPEC, _shape())[-1], make(SPEC, apart)[-1]
        assert _bytes([fused]) < _bytes([unfused])


def test_ranks_divide_samples_and_words():
    tensor = TensorParallel(4, False, False, 2.0)
    for ops in (softmax.full(SPEC, _shape()), softmax.sampled(SPEC, _shape(), 40)):
        mine = sum(w.flop for op in ops for w in tensor.works(op, op.forward))
        assert 4 * mine == pytest.approx(_flop(ops), rel=1e-12)
        assert 4 * sum(tensor.parameters(op) for op in ops) == _held(ops)
        for op in ops:
            works = tensor.works(op, (*op.forward, *op.backward_data, *op.backward_weight))
            products = [w for w in works if w.kind is WorkKind.GEMM]
            assert all(w.flop == 2 * w.m * w.n * w.k for w in products)


@pytest.mark.parametrize(
    ("cutoffs", "shares"),
    [
        ((), ()),
        ((800, 200), (0.1, 0.1)),
        ((2000,), (0.1,)),
        ((0,), (0.1,)),
        ((200,), (0.1, 0.1)),
        ((200, 800), (0.9, 0.9)),
    ],
)
def test_clusters_that_cannot_be_are_refused(cutoffs, shares):
    with pytest.raises(ValueError, match=r"cutoffs|shares"):
        softmax.clusters(HIDDEN, cutoffs, VOCAB, shares)


def test_samples_are_words():
    with pytest.raises(ValueError, match="2001"):
        softmax.sampled(SPEC, _shape(), 2001)
