"""Mixtures of experts against published counts, closed forms and tokens routed one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distsim.parallel.expert import ExpertParallel
from distsim.parallel.load import dirichlet_shares, expert_load, histogram_shares
from distsim.parallel.step import Collective, Step
from distsim.parallel.tensor import TensorParallel
from distsim.workload import moe, transformer
from distsim.workload.catalogue import model, model_from_block, model_names
from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Fusion, Numerics, Op, WorkKind
from distsim.workload.precision import RECIPES
from distsim.workload.shape import Shape

MIXTURES = [name for name in model_names() if model(name).experts]
#: Active parameters as the publications print them, and half a unit of the last digit.
ACTIVE = {
    "mixtral-8x7b": (12.9e9, 0.05e9),  # mistral.ai, Mixtral of experts
    "mixtral-8x22b": (39e9, 0.5e9),  # mistral.ai, Cheaper, Better, Faster, Stronger
    "dbrx": (36e9, 0.5e9),  # Databricks, Introducing DBRX
    "deepseek-moe-16b": (2.8e9, 0.05e9),  # arXiv 2401.06066, section 5
    "qwen1.5-moe-a2.7b": (2.7e9, 0.05e9),
    "qwen2-57b-a14b": (14e9, 0.5e9),
    "qwen3-30b-a3b": (3e9, 0.5e9),
    "qwen3-235b-a22b": (22e9, 0.5e9),
}
UNFUSED = Fusion(flash_attention=False)
TINY = {
    "family": "llama",
    "layers": 2,
    "hidden": 64,
    "heads": 4,
    "vocab": 128,
    "max_positions": 64,
    "expert_ffn": 96,
    "experts": 16,
    "experts_per_token": 4,
}


def _shape(length: int = 512, fusion: Fusion = UNFUSED, **numerics: object) -> Shape:
    return Shape(2, length, Numerics("bf16", **numerics), fusion)


def _of_experts(spec: ModelSpec, shape: Shape) -> list[Op]:
    return [op for op in moe.block(spec, shape) if op.axis is Axis.EXPERTS]


def _flop(steps: tuple[Step, ...]) -> float:
    return sum(work.flop for step in steps for work in step.works)


@pytest.mark.parametrize("name", ACTIVE)
def test_active_parameters_round_to_the_published_ones(name: str) -> None:
    published, half = ACTIVE[name]
    assert abs(model(name).active_parameters - published) <= half


def test_every_part_of_a_mixture_is_counted_alone() -> None:
    parts = model("deepseek-moe-16b").parameters_by_part()
    assert parts["mlp"] == 3 * 2048 * 10_944  # the first layer
    assert parts["router"] == 27 * 2048 * 64
    assert parts["experts"] == 27 * 64 * 3 * 2048 * 1408
    assert parts["shared_experts"] == 27 * 3 * 2048 * 2 * 1408
    gated = model("qwen1.5-moe-a2.7b").parameters_by_part()
    assert gated["shared_experts"] == 24 * (3 * 2048 * 5632 + 2048)
    assert gated["attention"] == 24 * (4 * 2048**2 + 3 * 2048)
    assert model("qwen3-30b-a3b").parameters_by_part()["norms"] == 97 * 2048 + 48 * 2 * 128
    biased = model("deepspeed-moe-52b").parameters_by_part()
    assert biased["experts"] == 12 * 128 * (2 * 4 * 2048**2 + 5 * 2048)


def test_which_layers_are_mixtures() -> None:
    assert transformer.layer_kinds(model("deepseek-moe-16b")) == ("dense", *("moe",) * 27)
    assert transformer.layer_kinds(model("deepspeed-moe-13b")) == ("dense", "moe") * 12
    assert set(transformer.layer_kinds(model("llama3-8b"))) == {"dense"}


@pytest.mark.parametrize("name", MIXTURES)
def test_model_flop_is_six_per_active_weight_and_token_plus_attention(name: str) -> None:
    """6 N + 12 l s q a token, N the active parameters that are elements of a matrix product."""
    spec, s = model(name), 1024
    parts = spec.parameters_by_part()
    outside = parts["token_embedding"] * (not spec.tied_embeddings) + parts["position_embedding"]
    weights = spec.active_parameters - outside - parts["norms"] - _vectors(spec)
    a, d, layers = spec.heads, spec.head_dim, spec.layers
    pairs = layers * s
    if spec.full_attention_every:  # every other layer of GPT-OSS sees 128 keys
        pairs = layers // 2 * (s + 128)
    width = 2 * d if not spec.kv_lora_rank else d + spec.rope_head_dim + spec.v_head_dim
    expected = 6 * weights + 6 * pairs * a * width
    assert transformer.model_flop_per_sequence(spec, s) / s == pytest.approx(expected, rel=1e-12)


def _vectors(spec: ModelSpec) -> int:
    """Parameters outside embeddings and norms that are no matrix: biases and sinks."""
    h, q, pair = spec.hidden, spec.heads * spec.head_dim, 2 * spec.kv_heads * spec.head_dim
    if spec.name.startswith("deepspeed"):  # attention, and 4h features in every layer
        return spec.layers * (q + pair + h + 4 * h + h)
    if spec.name.startswith("gpt-oss"):  # router, 4 experts of a token, and sinks beside these
        experts = spec.experts_per_token * (2 * spec.expert_ffn + h)
        return spec.layers * (q + pair + h + spec.experts + experts + spec.heads)
    return spec.layers * (q + pair) if spec.qkv_bias else 0


@pytest.mark.parametrize("name", MIXTURES)
def test_operators_run_the_flop_of_the_model(name: str) -> None:
    spec, shape = model(name), _shape()
    blocks = spec.blocks(shape)
    ops = [*(op for kind in blocks.layers for op in blocks.kinds[kind]), *blocks.head]
    expected = shape.sequences * transformer.model_flop_per_sequence(spec, shape.length)
    # Windows are fused kernels, which skip what a causal mask hides and run scores again backward.
    windows = [op for op in ops if op.name == "window_attention"]
    near = 12 * len(windows) * shape.sequences * shape.length * spec.heads * spec.head_dim * 128
    run = 3 * sum(op.forward_flop for op in ops if op not in windows)
    assert run + near == pytest.approx(expected, rel=1e-12)
    for op in (o for o in ops if o not in windows):
        assert op.backward_flop == pytest.approx(2 * op.forward_flop, rel=1e-12), op.name


@pytest.mark.parametrize("family", ["gpt", "llama"])
@pytest.mark.parametrize("fusion", [UNFUSED, Fusion(weight_gradient_accumulation=False)])
def test_one_expert_is_the_feed_forward_block_of_a_dense_layer(family, fusion) -> None:
    one = {**TINY, "family": family, "ffn": 96, "experts": 1, "experts_per_token": 1}
    spec, shape = model_from_block(one), _shape(fusion=fusion)
    dense = {op.name: op for op in transformer.layer_of("dense", spec, shape)}
    mixed = {op.name: op for op in moe.block(spec, shape)}
    pairs = {"mlp_up": "expert_up", spec.activation: "expert_activation", "mlp_down": "expert_down"}
    for plain, expert in pairs.items():
        a, b = dense[plain], mixed[expert]
        for passes in ("forward", "backward_data", "backward_weight"):
            for x, y in zip(getattr(a, passes), getattr(b, passes), strict=True):
                assert (x.m, x.n, x.k, x.flop, x.moved_bytes) == (
                    y.m,
                    y.n,
                    y.k,
                    y.flop,
                    y.moved_bytes,
                )
        for count in ("parameters", "replicated_parameters", "saved_bytes", "saved_token_bytes"):
            assert getattr(a, count) == getattr(b, count)
        assert (a.weight_bytes, a.weight_token_bytes) == (b.weight_bytes, b.weight_token_bytes)


def _bytes_between_ranks(tokens: int, top_k: int, experts: int, ep: int, row_bytes: float) -> float:
    """Route the tokens of ep ranks, every expert as often, and count what one rank sends away."""
    choice = np.arange(ep * tokens * top_k).reshape(ep * tokens, top_k) % experts
    source = np.repeat(np.arange(ep), tokens)
    away = (choice // (experts // ep)) != source[:, None]
    sent = np.bincount(np.repeat(source, top_k), away.ravel(), minlength=ep) * row_bytes
    assert np.ptp(sent) == 0
    return float(sent[0])


@pytest.mark.parametrize(("ep", "tp"), [(2, 1), (4, 1), (16, 1), (4, 2), (8, 4)])
def test_exchange_moves_what_routed_tokens_move(ep: int, tp: int) -> None:
    spec, shape = model_from_block(TINY), _shape()
    way = ExpertParallel(ep, 1, tp, spec.experts, 2.0)
    dispatch = next(op for op in moe.block(spec, shape) if op.exchange == "dispatch")
    (step,) = way.forward(dispatch)
    assert step.collective is not None and step.collective.name == "all_to_all"
    moved = step.collective.size_bytes * (ep - 1) / ep
    expected = _bytes_between_ranks(
        shape.tokens // tp, spec.experts_per_token, spec.experts, ep, 2.0 * spec.hidden
    )
    assert moved == pytest.approx(expected, rel=1e-12)


def _collectives(steps: tuple[Step, ...]) -> list[Collective]:
    return [step.collective for step in steps if step.collective]


def test_backward_of_dispatch_is_combine_and_the_other_way_round() -> None:
    spec, shape = model_from_block(TINY), _shape()
    way = ExpertParallel(4, 2, 2, spec.experts, 2.0)
    ops = {op.exchange: op for op in moe.block(spec, shape) if op.exchange}
    there = [("all_to_all", "expert"), ("all_gather", "expert_tensor")]
    back = [("reduce_scatter", "expert_tensor"), ("all_to_all", "expert")]

    def names(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
        return [(c.name, c.axis) for c in _collectives(steps)]

    assert names(way.forward(ops["dispatch"])) == names(way.backward(ops["combine"])) == there
    assert names(way.forward(ops["combine"])) == names(way.backward(ops["dispatch"])) == back
    sent = 1024 / 2 * 4 * 64 * 2.0  # tokens / tp, top-k, hidden, bytes
    sizes = {c.name: c.size_bytes for c in _collectives(way.forward(ops["dispatch"]))}
    assert sizes == {"all_to_all": sent, "all_gather": 2 * sent}


@pytest.mark.parametrize("kind", [(1, 1, 1), (4, 1, 1), (1, 2, 2), (4, 2, 2), (8, 1, 4), (2, 4, 1)])
def test_products_of_a_rank(kind: tuple[int, int, int]) -> None:
    """E / ep experts of ep etp T/tp k / E rows, and 1 / etp of the features."""
    ep, etp, tp = kind
    spec, shape = model_from_block(TINY), _shape()
    way = ExpertParallel(ep, etp, tp, spec.experts, 2.0, imbalance=1.5)
    ops = {op.name: op for op in moe.block(spec, shape)}
    rows = 1.5 * ep * etp * shape.tokens / tp * 4 / 16

    def dimensions(works: tuple) -> tuple[float, ...]:
        (work,) = [w for w in works if w.kind is WorkKind.GEMM]
        assert work.flop == pytest.approx(2 * work.batch * work.m * work.n * work.k, rel=1e-12)
        return work.batch, work.m, work.n, work.k

    up, down = way.forward(ops["expert_up"])[0], way.forward(ops["expert_down"])[0]
    assert dimensions(up.works) == pytest.approx((16 / ep, rows, 2 * 96 / etp, 64))
    assert dimensions(down.works) == pytest.approx((16 / ep, rows, 64, 96 / etp))
    up, down = (way.backward_input(ops[f"expert_{n}"])[0] for n in ("up", "down"))
    assert dimensions(up.works) == pytest.approx((16 / ep, rows, 64, 2 * 96 / etp))
    assert dimensions(down.works) == pytest.approx((16 / ep, rows, 96 / etp, 64))
    up, down = (way.backward_weight(ops[f"expert_{n}"])[0] for n in ("up", "down"))
    assert dimensions(up.works) == pytest.approx((16 / ep, 64, 2 * 96 / etp, rows))
    assert dimensions(down.works) == pytest.approx((16 / ep, 96 / etp, 64, rows))


def test_passes_over_rows_and_over_weights() -> None:
    """Rows of all features or of 1 / etp of them; weights of E / ep experts whatever the load."""
    ep, etp, tp = 4, 2, 4
    spec = model_from_block({**TINY, "family": "gpt"})
    shape = _shape(fusion=Fusion(weight_gradient_accumulation=False))
    way = ExpertParallel(ep, etp, tp, spec.experts, 2.0, imbalance=1.5)
    ops = {op.name: op for op in moe.block(spec, shape)}
    rows, h, f = 1.5 * etp * shape.tokens / tp * 4, 64, 96

    def passes(steps: tuple[Step, ...]) -> list[float]:
        works = [work for step in steps for work in step.works]
        return [w.stream_bytes for w in works if w.kind is WorkKind.STREAM]

    sort = [pytest.approx(2 * 2 * rows * h)]
    for exchange in ("dispatch", "combine"):
        assert passes(way.forward(ops[exchange])) == sort
        assert passes(way.backward(ops[exchange])) == sort
    assert passes(way.forward(ops["expert_activation"])) == [pytest.approx(2 * 2 * rows * f / etp)]
    # The product is read, and the buffer of fp32 gradients is read and written.
    buffer = pytest.approx((2 + 2 * 4) * 16 * h * f / (ep * etp))
    up, down = (passes(way.backward_weight(ops[f"expert_{n}"])) for n in ("up", "down"))
    assert up == [buffer, pytest.approx(2 * rows * f / etp)]
    assert down == [buffer, pytest.approx(2 * rows * h)]


def test_memory_of_a_block_is_its_closed_form() -> None:
    """A row keeps its input, both projections up and the weighted activation, at 16 bit."""
    spec, shape = model("mixtral-8x7b"), _shape(4096)
    tokens, k, h, f, experts = shape.tokens, 2, 4096, 14_336, 8
    ep, etp, tp = 4, 2, 4
    way = ExpertParallel(ep, etp, tp, experts, 2.0, memory_imbalance=1.25)
    rows = 1.25 * etp * tokens * k / tp
    kept = sum(way.saved_bytes(op) for op in _of_experts(spec, shape))
    assert kept == pytest.approx(rows * (2 * h + (2 * 2 * f + 2 * f) / etp), rel=1e-12)
    tensor = TensorParallel(tp, True, False, 2.0)
    others = [op for op in moe.block(spec, shape) if op.axis is not Axis.EXPERTS]
    # Input of the block; scores and map of the router; index and weight, and place, of a choice.
    expected = tokens / tp * (2 * h + 5 * experts + (12 + 4) * k)
    assert sum(tensor.saved_bytes(op) for op in others) == pytest.approx(expected, rel=1e-12)


def test_shared_experts_keep_the_input_of_the_block_once() -> None:
    spec, shape = model("deepseek-moe-16b"), _shape()
    bare = replace(spec, shared_experts=0, shared_ffn=0)

    def kept(spec: ModelSpec) -> float:
        return sum(op.saved_bytes + op.saved_token_bytes for op in moe.block(spec, shape))

    inside = 3 * 2 * 1408 * 2.0  # two projections up and the activation
    assert kept(spec) - kept(bare) == pytest.approx(shape.tokens * inside, rel=1e-12)


def test_capacity_sets_rows_and_exchange_whatever_the_load() -> None:
    dropless, full = (model_from_block({**TINY, "capacity_factor": c}) for c in (None, 1.25))
    shape = _shape()
    for a, b in zip(_of_experts(dropless, shape), _of_experts(full, shape), strict=True):
        assert b.forward_flop == pytest.approx(1.25 * a.forward_flop)
        assert b.region_elements == pytest.approx(1.25 * a.region_elements)
        assert b.saved_bytes == pytest.approx(1.25 * a.saved_bytes)
    flop = transformer.model_flop_per_sequence(full, 512)
    assert flop == transformer.model_flop_per_sequence(dropless, 512)


def test_fp8_experts_and_a_router_that_is_not() -> None:
    spec, plain = model_from_block(TINY), _shape()
    shape = _shape(fp8=RECIPES["blockwise"])
    for op, wide in zip(moe.block(spec, shape), moe.block(spec, plain), strict=True):
        products = [
            w
            for w in (*op.forward, *op.backward_data, *op.backward_weight)
            if w.kind is WorkKind.GEMM
        ]
        inside = op.name in ("expert_up", "expert_down")
        assert {w.dtype for w in products} <= ({"fp8"} if inside else {""})
        if inside:
            byte = 1 + 4 / 128
            kept = op.saved_bytes + op.saved_token_bytes
            assert kept == pytest.approx((wide.saved_bytes + wide.saved_token_bytes) / 2 * byte)


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("overlap_tensor", [False, True])
def test_shared_experts_run_beside_the_exchanges(tp: int, overlap_tensor: bool) -> None:
    spec, shape = model_from_block({**TINY, "shared_experts": 2}), _shape()
    tensor = TensorParallel(tp, tp > 1, overlap_tensor, 2.0)
    way = ExpertParallel(4, 1, tp, spec.experts, 2.0, overlap_shared=True)
    ops = moe.block(spec, shape)

    def of(op: Op) -> TensorParallel | ExpertParallel:
        return way if op.axis is Axis.EXPERTS else tensor

    for steps in (
        tuple(s for op in ops for s in of(op).forward(op)),
        tuple(s for op in reversed(ops) for s in of(op).backward(op)),
    ):
        arranged = way.arranged(steps)
        assert _flop(arranged) == pytest.approx(_flop(steps))
        assert sorted(map(str, _collectives(arranged))) == sorted(map(str, _collectives(steps)))
        held = [sum(step.parameters for step in some) for some in (steps, arranged)]
        assert held[0] == held[1]
        beside = [s for s in arranged if s.beside and s.collective.axis == "expert"]
        assert [s.op for s in beside] == [
            s.op for s in steps if s.collective in [b.collective for b in beside]
        ]
        assert len(beside) == 2 and all(s.works for s in beside)
        assert replace(way, overlap_shared=False).arranged(steps) == steps


def test_nothing_is_exchanged_or_sorted_on_one_rank() -> None:
    spec, shape = model_from_block(TINY), _shape()
    way = ExpertParallel(1, 1, 1, spec.experts, 2.0, overlap_shared=True)
    exchanges = [op for op in moe.block(spec, shape) if op.exchange]
    assert [way.forward(op) + way.backward(op) for op in exchanges] == [(), ()]


def test_even_shares_leave_all_ranks_the_same_load() -> None:
    assert expert_load(histogram_shares([7.0] * 16, 16), 4, 2).imbalance == 1.0
    even = expert_load(dirichlet_shares(1e12, 64, 8, seed=1), 8, 6)
    assert even.imbalance == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("ep", [1, 2, 4, 8])
def test_one_expert_that_takes_all_makes_one_rank_do_all(ep: int) -> None:
    shares = histogram_shares([0, 0, 0, 5, 0, 0, 0, 0], 8)
    assert expert_load(shares, ep, 1).imbalance == ep
    # Of two choices one is another expert: seven of them share the second half.
    others = 0.5 / 7 * (8 / ep - 1)
    assert expert_load(shares, ep, 2).imbalance == pytest.approx(ep * (0.5 + others), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_spread_of_random_shares_is_that_of_the_distribution(alpha: float) -> None:
    """Variance a (A - a) / (A^2 (A + 1)) of a share, A = alpha E (Johnson and Kotz 1972)."""
    experts = 32
    loads = expert_load(dirichlet_shares(alpha, experts, 20_000, seed=3), experts, 1).loads
    assert loads.mean() == pytest.approx(1.0, rel=1e-12)
    expected = np.sqrt((experts - 1) / (alpha * experts + 1))
    assert loads.std() == pytest.approx(expected, rel=0.02)


def test_time_takes_the_mean_over_layers_and_memory_the_most() -> None:
    shares = np.array([[0.25, 0.25, 0.25, 0.25], [0.4, 0.4, 0.1, 0.1]])
    load = expert_load(shares, 2, 1)
    assert (load.imbalance, load.worst) == pytest.approx(((1.0 + 1.6) / 2, 1.6))


def test_capacity_drops_what_is_beyond_it() -> None:
    shares = histogram_shares([5, 3, 1, 1], 4)
    load = expert_load(shares, 2, 1, capacity_factor=1.25)
    # Each expert takes 1.25 / 4 of the rows: the first drops 0.5 - 0.3125.
    assert load.dropped == pytest.approx(0.1875) and load.imbalance == load.worst == 1.0
    assert expert_load(shares, 2, 1, capacity_factor=2.0).dropped == 0.0
