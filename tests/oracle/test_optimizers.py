"""State and work of optimizers against the papers, and against small reference updates in numpy."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.errors import ValueProblem
from distsim.workload.op import Numerics, WorkKind
from distsim.workload.optimizer import (
    OPTIMIZERS,
    Matrix,
    check_products,
    optimizer_spec,
    state_bytes,
    state_bytes_per_parameter,
    update_works,
)
from distsim.workload.optimizers.muon import _deal, busiest, newton_schulz_flop

MIXED = Numerics("bf16")  # bf16 weights, fp32 gradients and master copy
PLAIN = Numerics("fp32", weight_bytes=4, gradient_bytes=4, master_bytes=0)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("adam", 12),  # Rajbhandari 2020, section 3.1: K = 12
        ("adamw", 12),
        ("lamb", 12),  # You 2020: two moments, as Adam
        ("momentum", 8),
        ("lion", 8),  # Chen 2023: half of Adam's moments
        ("sgd", 4),  # the master copy alone
        ("adafactor", 8),  # a vector keeps its whole second moment (Shazeer 2018, algorithm 5)
        ("muon", 12),  # a vector goes by AdamW
    ],
)
def test_state_of_a_parameter_that_is_in_no_matrix(name, published):
    assert state_bytes_per_parameter(OPTIMIZERS[name], MIXED) == published
    assert state_bytes_per_parameter(OPTIMIZERS[name], PLAIN) == published - 4


def test_narrow_moments():
    """bf16 moments: 4 + 2 + 2 (DeepSeek-V3, section 3.3.3); int8: a quarter (Dettmers 2022)."""
    assert state_bytes(optimizer_spec("adamw", moment_type="bf16"), MIXED, 1e6) == 8e6
    wide = state_bytes(OPTIMIZERS["adam"], PLAIN, 1e6)
    codes, scales = np.zeros((2, 2048 * 100), np.int8), np.zeros((2, 100), np.float32)
    narrow = state_bytes(optimizer_spec("adam", moment_type="int8"), PLAIN, 2048 * 100)
    assert narrow == codes.nbytes + scales.nbytes
    assert narrow / 204800 == pytest.approx(wide / 1e6 / 4, rel=0.003)


class Memory:
    """Counts what kernels read and write: the bytes of the arrays themselves."""

    def __init__(self) -> None:
        self.traffic: list[int] = []

    def kernel(self, reads: list[np.ndarray], writes: list[np.ndarray]) -> None:
        self.traffic.append(sum(a.nbytes for a in reads) + sum(a.nbytes for a in writes))


def _streams(name: str, parameters: float, matrices=(), skip: int = 2) -> list[float]:
    """Traffic of an optimizer's own kernels: without norm and clip before, clearing after."""
    works = update_works(OPTIMIZERS[name], PLAIN, parameters, matrices)
    return [w.stream_bytes for w in works][skip:-1]


def test_adafactor_against_a_reference():
    """Algorithm 4 of Shazeer 2018 on one matrix: its state, its traffic, and that it factors."""
    rng, memory = np.random.default_rng(1), Memory()
    g = rng.standard_normal((96, 64)).astype(np.float32)
    x = rng.standard_normal((96, 64)).astype(np.float32)
    rows, columns = np.zeros(96, np.float32), np.zeros(64, np.float32)
    rows += 0.1 * (g**2).sum(1)
    columns += 0.1 * (g**2).sum(0)
    memory.kernel([g, x, rows, columns], [rows, columns])  # sums, and RMS of the weights
    second = np.outer(rows, columns) / rows.sum()
    step = g / np.sqrt(second)
    clip = max(1.0, float(np.sqrt((step**2).mean())))
    memory.kernel([g, rows, columns], [])  # RMS of the step
    x -= 0.01 * np.sqrt((x**2).mean()) * step / clip
    memory.kernel([g, x, rows, columns], [x])
    assert second.sum() == pytest.approx(0.1 * (g**2).sum(), rel=1e-4)
    matrix = Matrix(96, 64)
    held = state_bytes(OPTIMIZERS["adafactor"], PLAIN, 96 * 64, [matrix])
    assert held == rows.nbytes + columns.nbytes
    assert _streams("adafactor", 96 * 64, [matrix]) == memory.traffic


def test_adafactor_keeps_a_first_moment_if_asked():
    none = state_bytes(OPTIMIZERS["adafactor"], MIXED, 1e6, [Matrix(1000, 1000)])
    first = optimizer_spec("adafactor", moment_type="bf16")
    assert state_bytes(first, MIXED, 1e6, [Matrix(1000, 1000)]) == none + 2e6


def test_lamb_against_a_reference():
    """Algorithm 2 of You 2020: the ratio of norms stands between direction and step."""
    memory, n = Memory(), 4096
    g, x, m, v, u = np.ones((5, n), np.float32)
    memory.kernel([g, x, m, v], [u, m, v])
    memory.kernel([x, u], [])
    memory.kernel([x, u], [x])
    assert _streams("lamb", n) == memory.traffic
    assert sum(memory.traffic) - sum(_streams("adam", n)) == 20 * n


def test_traffic_orders_optimizers():
    own = {name: sum(_streams(name, 1.0)) for name in ("sgd", "momentum", "lion", "adam", "lamb")}
    assert own["sgd"] < own["momentum"] == own["lion"] < own["adam"] < own["lamb"]
    # Read and written once: gradient, weight and moments.
    assert own == {"sgd": 12, "momentum": 20, "lion": 20, "adam": 28, "lamb": 48}


@given(st.floats(1e3, 1e12), st.integers(1, 4096), st.sampled_from([2.0, 4.0]), st.booleans())
def test_adam_moves_58_bytes_whatever_holds_them(parameters, shard, gradient, scaled):
    """Casts 6, unscale 8, norm 4, clip 8, Adam 28, copy 6, clear 4 or 2; each pass by itself."""
    numerics = Numerics("fp16", gradient_bytes=gradient, loss_scaling=scaled)
    passes = [6.0] * (gradient == 2) + [8.0] * scaled + [4.0, 8.0, 28.0, 6.0, gradient]
    works = update_works(OPTIMIZERS["adam"], numerics, parameters, [Matrix(8, 8)], shard)
    assert [w.stream_bytes for w in works] == [b * parameters / shard for b in passes]
    assert (
        sum(passes)
        == {(4, True): 58, (4, False): 50, (2, True): 62, (2, False): 54}[int(gradient), scaled]
    )


class Counter:
    """Multiplies, and counts 2 m k n FLOP."""

    flop = 0.0

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.flop += 2.0 * a.shape[0] * a.shape[1] * b.shape[1]
        return a @ b


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (32, 96), (96, 32)])
def test_newton_schulz_flop_are_those_of_the_iteration(rows, columns):
    """Jordan 2024's iteration in numpy: it does make momentum orthogonal, with so many FLOP."""
    multiply, x = Counter(), np.random.default_rng(2).standard_normal((rows, columns))
    x = x.T if rows > columns else x
    x /= np.linalg.norm(x)
    for _ in range(5):
        a = multiply(x, x.T)
        b = -4.7750 * a + 2.0315 * multiply(a, a)
        x = 3.4445 * x + multiply(b, x)
    assert np.abs(np.linalg.svd(x, compute_uv=False) - 1).max() < 0.4
    matrix = Matrix(rows, columns, 3)
    works = update_works(OPTIMIZERS["muon"], MIXED, matrix.elements, [matrix])
    products = [w for w in works if w.kind is WorkKind.GEMM]
    assert len(products) == 15
    assert sum(w.flop for w in products) == 3 * multiply.flop
    assert newton_schulz_flop(rows, columns) == multiply.flop


def test_muon_moves_momentum_and_weights_beside_its_products():
    memory, shape = Memory(), (64, 96)
    g, m, w = np.ones((3, *shape), np.float32)
    x = np.ones(shape, np.uint16)  # as wide as bf16
    memory.kernel([g, m], [m, x])
    memory.kernel([x], [])  # its norm
    memory.kernel([x], [x])  # scaled by that
    memory.kernel([x, w], [w])
    streams = _streams("muon", 64 * 96, [Matrix(64, 96)])
    assert [b for b in streams if b] == memory.traffic


@pytest.mark.parametrize(
    ("width", "tokens", "published"), [(768, 524_288, 0.007), (16_384, 16_000_000, 0.005)]
)
def test_overhead_of_muon_is_as_published(width, tokens, published):
    """T m / B of the model's own FLOP: 0.7 % for NanoGPT, 0.5 % for Llama 405B (Jordan 2024)."""
    overhead = newton_schulz_flop(width, width) / (6.0 * width * width * tokens)
    assert overhead == pytest.approx(5 * width / tokens, rel=1e-12)
    assert overhead == pytest.approx(published, rel=0.06)
    # For other shapes that is a bound: at most 6 n m^2 an iteration.
    assert newton_schulz_flop(width, 4 * width) <= 5 * 6 * 4 * width * width**2


def test_muon_keeps_half_of_adamw_for_matrices_and_all_of_it_for_the_rest():
    """Liu 2025, section 2: one moment of the two, for weights between features."""
    matrices = [Matrix(1000, 4000, 2), Matrix(32_000, 1000, 1, table=True)]
    vectors, hidden, table = 5000, 8e6, 32e6
    total = hidden + table + vectors
    muon = state_bytes(OPTIMIZERS["muon"], MIXED, total, matrices)
    assert muon == 8 * hidden + 12 * (table + vectors)
    adamw = state_bytes(OPTIMIZERS["adamw"], MIXED, total, matrices)
    assert adamw - muon == 4 * hidden


def _greedy(costs: list[float], shard: int) -> float:
    """Largest load where each matrix, largest first, goes to the rank with the least."""
    loads = [0.0] * shard
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(loads, loads[0] + cost)
    return max(loads)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30))


@given(st.lists(shapes, min_size=1, max_size=4), st.integers(2, 24))
def test_whole_matrices_are_dealt_largest_first(found, shard):
    matrices = tuple(Matrix(64 * r, 64 * c, n) for r, c, n in found)
    costs = [newton_schulz_flop(m.rows, m.columns) for m in matrices for _ in range(m.number)]
    load = sum(newton_schulz_flop(m.rows, m.columns) * m.number for m in busiest(matrices, shard))
    assert load == pytest.approx(_greedy(costs, shard), rel=1e-9)
    # Graham 1969: no more than the mean and a matrix, nor less than either.
    assert max(sum(costs) / shard, max(costs)) * (1 - 1e-9) <= load
    assert load <= sum(costs) / shard + max(costs) * (1 + 1e-9)


@given(
    st.lists(st.floats(0, 1e15), min_size=1, max_size=50),
    st.floats(1e3, 1e12),
    st.integers(1, 10_000),
)
def test_every_matrix_is_dealt_once(loads, cost, count):
    each = _deal(np.array(loads), cost, count)
    assert each.sum() == count and each.min() >= 0


def test_more_ranks_than_matrices_do_not_make_one_faster():
    matrices = [Matrix(4096, 4096, 4)]
    flop = [
        sum(w.flop for w in update_works(OPTIMIZERS["muon"], MIXED, 4 * 4096**2, matrices, shard))
        for shard in (1, 2, 4, 8, 1024)
    ]
    one = newton_schulz_flop(4096, 4096)
    assert flop == [4 * one, 2 * one, one, one, one]


def test_matrices_of_one_shape_are_one_batch_however_they_are_listed():
    """15 products and the streams around them, for one matrix as for a thousand."""
    works = [
        update_works(OPTIMIZERS["muon"], MIXED, 64e6 * 1000, matrices, 8)
        for matrices in ([Matrix(8000, 8000, 1000)], [Matrix(8000, 8000)] * 1000)
    ]
    assert works[0] == works[1]
    assert sum(1 for w in works[0] if w.kind is WorkKind.GEMM) == 15


def test_tables_and_vectors_are_never_made_orthogonal():
    works = update_works(
        OPTIMIZERS["muon"], MIXED, 1e6 + 100, [Matrix(1000, 1000, 1, table=True)], 4
    )
    assert not any(w.flop for w in works)
    adamw = update_works(OPTIMIZERS["adamw"], MIXED, 1e6 + 100, (), 4)
    assert sum(w.stream_bytes for w in works) == sum(w.stream_bytes for w in adamw)


def test_products_are_in_bf16_also_beside_fp32():
    matrix = [Matrix(512, 512)]
    types = {
        n.compute: {w.dtype for w in update_works(OPTIMIZERS["muon"], n, 512**2, matrix) if w.flop}
        for n in (MIXED, Numerics("fp16"), PLAIN)
    }
    assert types == {"bf16": {""}, "fp16": {""}, "fp32": {"bf16"}}
    with pytest.raises(ValueProblem, match=r"DS231.*V100 has no bf16 rate"):
        check_products(OPTIMIZERS["muon"], PLAIN, "V100", ("fp16", "fp32"))
    check_products(OPTIMIZERS["muon"], Numerics("fp16"), "V100", ("fp16", "fp32"))
    check_products(OPTIMIZERS["adam"], PLAIN, "V100", ("fp16", "fp32"))


def test_matrices_with_more_than_all_parameters_are_refused():
    for name in ("adafactor", "muon"):
        with pytest.raises(ValueError, match="parameters too many"):
            state_bytes(OPTIMIZERS[name], MIXED, 99, [Matrix(10, 10)])


@pytest.mark.parametrize(
    ("name", "moments", "text"),
    [
        ("adm", None, r"unknown optimizer 'adm'[^?]*did you mean 'adam'"),
        ("sgd", "fp32", "sgd does not keep moments in 'fp32'"),
        ("muon", "int8", "rule: moments of muon: fp32, bf16"),
    ],
)
def test_optimizers_that_cannot_be(name, moments, text):
    with pytest.raises(ValueProblem, match=text) as caught:
        optimizer_spec(name, moment_type=moments)
    assert caught.value.code == "DS247"
