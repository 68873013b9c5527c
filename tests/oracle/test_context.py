"""Context parallelism against the papers' volumes, and against masks counted token by token."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from distsim.parallel.context import MERGE_BYTES, MODES, ContextParallel
from distsim.parallel.step import Step
from distsim.parallel.tensor import TensorParallel
from distsim.prediction.predict import Prediction
from distsim.workload.catalogue import model_from_block
from distsim.workload.op import Fusion, Numerics, Op, WorkKind
from distsim.workload.shape import Shape
from distsim.workload.transformer import layer
from tests.strategies import (
    DENSE,
    FFN,
    HEADS,
    HIDDEN,
    LAYERS,
    TOKENS,
    VOCAB,
    case_of,
    flop,
    on,
    parameters,
    run,
    sent,
    star,
    step,
    without_compute,
)

BYTES = 2.0
#: Queries, and keys or values, of the whole sequence with all and with two key/value heads.
QUERIES = TOKENS * HIDDEN
GROUPED = DENSE | {"kv_heads": 2}


def _keys(model: dict) -> float:
    return TOKENS * HIDDEN * model["kv_heads"] / HEADS


def _weights(model: dict) -> float:
    """Parameters by hand: grouped heads have smaller keys and values."""
    return parameters() - LAYERS * 2 * HIDDEN**2 * (1 - model["kv_heads"] / HEADS)


def _gradients(count: float, n: int) -> float:
    return 2 * (n - 1) / n * count * BYTES


# Volumes.


def exchanged(mode: str, n: int, queries: float, keys: float) -> tuple[float, float]:
    """Elements that one rank sends around one layer's attention: forward, backward.

    ``ring`` (Liu 2023): K and V make n - 1 hops, and again with their gradients, which go home by
    a last one. ``all_to_all`` (Jacobs 2023): q, k, v and o, (n - 1) / n of each. ``all_gather``
    (Llama 3, 2024): K and V, and their gradients scattered.
    """
    around = (n - 1) / n
    if mode == "ring":
        return (n - 1) * 2 * keys / n, ((n - 1) * 4 + 2) * keys / n
    if mode == "all_to_all":
        return ((2 * queries + 2 * keys) / n * around,) * 2
    return around * 2 * keys, around * 2 * 2 * keys


#: Ulysses deals out whole heads, so two key/value heads go to two ranks at most.
WAYS = [(mode, 2, model) for mode in MODES for model in (DENSE, GROUPED)]
WAYS += [(mode, 4, DENSE) for mode in MODES] + [(mode, 4, GROUPED) for mode in MODES[::2]]


@pytest.mark.parametrize(("mode", "cp", "model"), WAYS)
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_bytes_around_attention(mode, cp, recompute, model):
    """What is recomputed is exchanged again; gradients are reduced over dp * cp ranks."""
    plan = {"cp": cp, "cp_mode": mode, "recompute": recompute}
    p = step(plan, cp, model=model)
    forward, backward = exchanged(mode, cp, QUERIES, _keys(model))
    passes = forward * (1 if recompute == "none" else 2) + backward
    wanted = LAYERS * passes * BYTES + _gradients(_weights(model), cp)
    assert sent(p) == pytest.approx(wanted, rel=1e-9)


def test_a_rank_receives_all_other_keys_and_values_once_forward():
    """(cp - 1) / cp of K and V in a ring: as much as an all-gather moves."""
    for cp in (2, 4, 8):
        ring, gather = (exchanged(mode, cp, QUERIES, QUERIES)[0] for mode in ("ring", "all_gather"))
        assert ring == gather == pytest.approx(2 * QUERIES * (cp - 1) / cp)


@pytest.mark.parametrize(("tp", "cp", "dp"), [(2, 2, 1), (2, 2, 2), (1, 2, 2)])
@pytest.mark.parametrize("mode", MODES)
def test_heads_divided_over_tensor_ranks_are_exchanged_by_each(mode, tp, cp, dp):
    """A rank has 1 / (tp cp) of queries, keys and values; weights are reduced over dp * cp."""
    p = step({"tp": tp, "cp": cp, "cp_mode": mode, "overlap_tensor": False}, tp * cp * dp)
    plain = step({"tp": tp, "overlap_tensor": False}, tp * dp)
    divided = LAYERS * (4 * HIDDEN**2 + 3 * HIDDEN * FFN) + 2 * VOCAB * HIDDEN
    held = divided / tp + parameters() - divided
    attention = LAYERS * sum(exchanged(mode, cp, QUERIES, QUERIES))
    tensor = sent(plain) - _gradients(held, dp)
    wanted = tensor / cp + attention * BYTES / tp + _gradients(held, dp * cp)
    assert sent(p) == pytest.approx(wanted, rel=1e-9)


# Work.


def dealt(n: int, tokens: int, balanced: bool) -> np.ndarray:
    """Rank of each token: in order, or an early and a late part of 2n each (Brandon 2023)."""
    if not balanced:
        return np.repeat(np.arange(n), tokens // n)
    half = np.repeat(np.arange(n), tokens // n // 2)
    return np.concatenate([half, half[::-1]])


def scores(n: int, tokens: int, balanced: bool) -> np.ndarray:
    """Scores under the causal mask, [rank of the query, rank of the key]; the diagonal is half."""
    rank = dealt(n, tokens, balanced)
    mask = np.tril(np.ones((tokens, tokens))) - 0.5 * np.eye(tokens)
    out = np.zeros((n, n))
    np.add.at(out, (rank[:, None], rank[None, :]), mask)
    return out


def attention(sequence: int = TOKENS) -> Op:
    spec = model_from_block(dict(DENSE))
    shape = Shape(1, sequence, Numerics(), Fusion())
    return next(op for op in layer(spec, shape) if op.core_attention)


def division(n: int, mode: str, balanced: bool = True) -> ContextParallel:
    return ContextParallel(n, mode, balanced, TensorParallel(1, False, False, BYTES))


def _flop(steps: tuple[Step, ...]) -> list[float]:
    return [sum(w.flop for w in one.works) for one in steps]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [2, 4, 8])
def test_balanced_ranks_share_the_causal_triangle(mode, n):
    op, shared = attention(), division(n, mode)
    assert scores(n, 8 * n, True).sum(axis=1) == pytest.approx([(8 * n) ** 2 / 2 / n] * n)
    assert sum(_flop(shared.forward(op))) * n == pytest.approx(op.forward_flop, rel=1e-12)
    assert sum(_flop(shared.backward(op))) * n == pytest.approx(op.backward_flop, rel=1e-12)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_the_slowest_rank_sets_the_pace_of_each_hop(n, balanced):
    """In hop j rank r has the keys of rank r - j; the mask says how many scores that makes."""
    tokens = 12 * n
    each = scores(n, tokens, balanced)
    ranks = np.arange(n)
    hops = [each[ranks, (ranks - j) % n].max() for j in range(n)]
    found = _flop(division(n, "ring", balanced).forward(attention()))
    share = np.asarray(found) / attention().forward_flop
    assert share == pytest.approx(np.asarray(hops) / (tokens**2 / 2), rel=1e-12)
    if not balanced:
        assert sum(share) == pytest.approx((2 - 1 / n) / n)


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_gathered_keys_in_order_leave_the_last_rank_most(n):
    each = scores(n, 12 * n, False).sum(axis=1)
    share = sum(_flop(division(n, "all_gather", False).forward(attention())))
    share /= attention().forward_flop
    assert share == pytest.approx(each.max() / ((12 * n) ** 2 / 2), rel=1e-12)
    assert share == pytest.approx((2 - 1 / n) / n, rel=1e-12)


def test_heads_of_ulysses_see_the_whole_sequence_and_need_no_balance():
    for balanced in (True, False):
        (exchange, back) = division(4, "all_to_all", balanced).forward(attention())
        (work,) = exchange.works
        assert (work.m, work.n, work.batch) == (TOKENS, TOKENS, HEADS / 4)
        assert not back.works


def test_each_block_after_the_first_is_merged():
    """The output so far is read, rescaled and written in fp32, with what the block adds."""
    steps = division(4, "ring").forward(attention())
    merges = [sum(w.stream_bytes for w in s.works if w.kind is WorkKind.STREAM) for s in steps]
    assert merges == [0.0] + [MERGE_BYTES * QUERIES / 4] * 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cp", [2, 4])
def test_a_step_runs_as_many_flop_on_more_ranks(mode, cp):
    """Balanced: all ranks together run the FLOP of one."""
    whole = flop(step({}, 1))
    parts = step({"cp": cp, "cp_mode": mode, "overlap_grad_reduce": False}, cp)
    assert flop(parts) * cp == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("mode", MODES)
def test_activations_are_divided(mode, recompute):
    kept = [
        _activations(step({"cp": cp, "cp_mode": mode, "recompute": recompute}, cp))
        for cp in (1, 2, 4)
    ]
    assert [k * cp for k, cp in zip(kept, (1, 2, 4), strict=True)] == pytest.approx([kept[0]] * 3)


def _activations(p: Prediction) -> float:
    return p.memory.stages[0].activations_bytes


# Time.


@pytest.mark.parametrize("cp", [2, 4, 8])
def test_without_work_a_ring_takes_its_hops(cp):
    """All links of a star are busy both ways: time is what one rank sends over its bandwidth."""
    p = run(without_compute(case_of({"cp": cp, "overlap_grad_reduce": False}, cp)))
    elements = LAYERS * sum(exchanged("ring", cp, QUERIES, QUERIES))
    assert p.breakdown.context_s == pytest.approx(elements * BYTES / 10e9, rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_fast_network_hides_the_ring_and_shortens_the_others(mode):
    plan = {"cp": 4, "cp_mode": mode, "overlap_grad_reduce": False}
    exposed = [
        run(on(case_of(plan, 4, length=32768, topology=star(speed)))).breakdown.context_s
        for speed in ("200 GB/s", "400 GB/s", "800 GB/s")
    ]
    # Only the last hop of the gradients has nothing to run beside.
    least = {"ring": 2.0 / 4, "all_to_all": 0.75 * 8 / 4, "all_gather": 0.75 * 6}[mode]
    arrays = LAYERS * least * 32768 * HIDDEN * BYTES
    assert exposed == pytest.approx([arrays / s for s in (200e9, 400e9, 800e9)], rel=1e-6)
    assert all(a > b for a, b in pairwise(exposed))


def test_unbalanced_rings_are_slower():
    fair, late = (
        run(on(case_of({"cp": 4, "cp_balanced": b}, 4, length=65536))) for b in (True, False)
    )
    assert late.step_s > fair.step_s
    assert sent(late) == sent(fair)
