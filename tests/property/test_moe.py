"""Mixtures of experts: what is conserved whatever the plan and the load."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.cost.gemm import gemm_s
from distsim.hardware.catalogue import device
from distsim.parallel.expert import ExpertParallel
from distsim.parallel.load import dirichlet_shares, expert_load, routed_shares
from distsim.parallel.mesh import Mesh
from distsim.workload import moe
from distsim.workload.catalogue import model_from_block
from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Fusion, Numerics, Op, gemm
from distsim.workload.shape import Shape

DEGREES = st.sampled_from([1, 2, 4])
FUSIONS = st.sampled_from([Fusion(), Fusion(weight_gradient_accumulation=False)])


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    tp, cp, dp = draw(DEGREES), draw(DEGREES), draw(DEGREES)
    divisors = [d for d in (1, 2, 4, 8) if tp * cp * dp % d == 0]
    ep = draw(st.sampled_from(divisors))
    etp = draw(st.sampled_from([d for d in divisors if tp * cp * dp % (ep * d) == 0 and d <= 4]))
    return Mesh(tp, cp, dp, 1, ep, etp)


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    experts = draw(st.sampled_from([8, 16]))
    top_k = draw(st.integers(1, 8))
    shared = draw(st.integers(0, 2))
    block = {
        "family": draw(st.sampled_from(["gpt", "llama"])),
        "layers": 2,
        "hidden": 64,
        "heads": 4,
        "vocab": 128,
        "max_positions": 64,
        "expert_ffn": draw(st.sampled_from([32, 96])),
        "experts": experts,
        "experts_per_token": top_k,
        "shared_experts": shared,
        "shared_gate": bool(shared) and draw(st.booleans()),
        "capacity_factor": draw(st.sampled_from([None, 1.0])),
    }
    return model_from_block(block)


def _ops(spec: ModelSpec, fusion: Fusion) -> list[Op]:
    shape = Shape(2, 64, Numerics("bf16"), fusion)
    return [op for op in moe.block(spec, shape) if op.axis is Axis.EXPERTS and not op.exchange]


def _of(mesh: Mesh, spec: ModelSpec) -> ExpertParallel:
    return ExpertParallel(mesh.ep, mesh.etp, mesh.tp, spec.experts, 2.0)


@given(meshes(), specs(), FUSIONS)
def test_ranks_together_do_the_work_of_all_tokens(mesh, spec, fusion) -> None:
    way = _of(mesh, spec)
    for op in _ops(spec, fusion):
        steps = (*way.forward(op), *way.backward(op))
        flop = sum(w.flop for step in steps for w in step.works)
        # Each of dp * cp ranks has a micro batch with all its tokens.
        everything = mesh.dp * mesh.cp * (op.forward_flop + op.backward_flop)
        assert mesh.size * flop == pytest.approx(everything, rel=1e-12)


@given(meshes(), specs(), FUSIONS)
def test_ranks_of_one_replica_hold_all_parameters(mesh, spec, fusion) -> None:
    way = _of(mesh, spec)
    for op in _ops(spec, fusion):
        together = mesh.ep * mesh.etp * way.parameters(op)
        copies = mesh.etp if op.replicated_parameters else 1
        assert together == pytest.approx(op.parameters + copies * op.replicated_parameters)


@given(meshes(), specs(), FUSIONS)
def test_both_halves_of_the_backward_pass_are_the_whole(mesh, spec, fusion) -> None:
    way = _of(mesh, spec)
    for op in _ops(spec, fusion):
        (whole,) = way.backward(op)
        halves = (*way.backward_input(op), *way.backward_weight(op))
        assert tuple(w for step in halves for w in step.works) == whole.works
        assert sum(step.expert_parameters for step in halves) == whole.expert_parameters


@given(meshes(), specs(), FUSIONS)
def test_gathered_rows_are_kept_and_streamed_by_all_that_divide_an_expert(mesh, spec, fusion):
    """What has all features is there etp times, what is divided once, weights once a replica."""
    way = _of(mesh, spec)
    for op in _ops(spec, fusion):
        kept = mesh.size * way.saved_bytes(op)
        once = mesh.dp * mesh.cp * (op.saved_bytes + mesh.etp * op.saved_token_bytes)
        assert kept == pytest.approx(once, rel=1e-12)
        for mine, work in zip(way.works(op.backward_weight, "k"), op.backward_weight, strict=True):
            if work.split == "batch" and work.stream_bytes:
                whole = mesh.ep * mesh.etp * mine.stream_bytes
                assert whole == pytest.approx(work.stream_bytes, rel=1e-12)


@given(specs(), st.floats(1.0, 8.0))
def test_a_fuller_rank_takes_and_keeps_more_in_proportion(spec, imbalance) -> None:
    even = ExpertParallel(4, 2, 2, spec.experts, 2.0)
    full = ExpertParallel(4, 2, 2, spec.experts, 2.0, imbalance, imbalance)
    shape = Shape(2, 64, Numerics("bf16"), Fusion())
    for op in moe.block(spec, shape):
        if op.axis is not Axis.EXPERTS:
            continue
        assert full.saved_bytes(op) == pytest.approx(imbalance * even.saved_bytes(op))
        assert full.parameters(op) == even.parameters(op)
        for a, b in zip(even.forward(op), full.forward(op), strict=True):
            for x, y in zip(a.works, b.works, strict=True):
                assert y.flop == pytest.approx(imbalance * x.flop)
                assert y.stream_bytes == pytest.approx(imbalance * x.stream_bytes)
            if a.collective:
                assert b.collective.size_bytes == pytest.approx(imbalance * a.collective.size_bytes)


def _by_bisection(popularity: np.ndarray, top_k: int) -> np.ndarray:
    """Shares min(1 / k, c p) that sum to 1, by halving the range of c."""
    low, high = 0.0, 1.0 / popularity[popularity > 0].min() + 1.0
    for _ in range(200):
        c = (low + high) / 2
        if np.minimum(1 / top_k, c * popularity).sum() < 1.0:
            low = c
        else:
            high = c
    return np.minimum(1 / top_k, high * popularity)


@given(
    st.lists(st.floats(1e-3, 1.0), min_size=8, max_size=12),
    st.integers(1, 6),
)
def test_no_expert_gets_a_token_twice(weights, top_k) -> None:
    popularity = np.array(weights) / sum(weights)
    (shares,) = routed_shares(popularity[None, :], top_k)
    assert shares.sum() == pytest.approx(1.0, rel=1e-9)
    assert shares.max() <= 1 / top_k + 1e-12
    assert shares == pytest.approx(_by_bisection(popularity, top_k), rel=1e-6)
    if popularity.max() <= 1 / top_k:
        assert shares == pytest.approx(popularity, rel=1e-12)


@given(
    st.floats(1e-3, 1e3),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(1, 8),
    st.integers(0, 2**32 - 1),
)
def test_load_is_between_even_and_all_on_one(alpha, ep, top_k, seed) -> None:
    shares = dirichlet_shares(alpha, 16, 5, seed)
    load = expert_load(shares, ep, top_k)
    assert load.loads.shape == (5, ep)
    assert load.loads.mean(axis=1) == pytest.approx(np.ones(5), rel=1e-9)
    # A rank with 16 / ep experts gets at most min(16 / ep, k) of the k rows of every token.
    most = ep * min(16 / ep, top_k) / top_k
    assert 1.0 - 1e-9 <= load.imbalance <= load.worst + 1e-12
    assert load.worst <= most * (1 + 1e-9)
    assert expert_load(dirichlet_shares(alpha, 16, 5, seed), ep, top_k).worst == load.worst


@given(st.floats(0.05, 50.0), st.floats(0.5, 4.0), st.integers(1, 4), st.integers(0, 99))
def test_more_capacity_drops_less(alpha, factor, top_k, seed) -> None:
    shares = dirichlet_shares(alpha, 16, 3, seed)
    tight, loose = (expert_load(shares, 4, top_k, c).dropped for c in (factor, 2 * factor))
    assert 0.0 <= loose <= tight <= max(0.0, 1.0 - factor / 16)
    routed = routed_shares(shares, top_k)
    if factor >= 16 * routed.max():
        assert tight == 0.0


@settings(max_examples=200)
@given(
    st.integers(1, 64),
    st.floats(0.5, 3000.0),
    st.integers(1, 6000),
    st.sampled_from([128, 512, 1408, 4096, 14336]),
)
def test_a_grouped_product_shares_waves(experts, m, n, k) -> None:
    """Never longer than one after another, nor shorter than all rows with the same weights."""
    a100 = device("a100-80gb-sxm")
    grouped = gemm_s(gemm(m, n, k, batch=experts), a100, "bf16")
    alone = gemm_s(gemm(m, n, k), a100, "bf16")
    merged = gemm_s(gemm(m * experts, n, k), a100, "bf16")
    assert merged * (1 - 1e-12) <= grouped <= experts * alone * (1 + 1e-12)
