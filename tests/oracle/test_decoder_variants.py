"""Decoders beside GPT and LLaMA: latent attention, windows, norms, blocks side by side, softmaxes.

Counts are multiplied out here from the papers' formulas; operators and whole models must agree.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import distsim as ds
from distsim.errors import DistsimError, WorkloadError
from distsim.parallel.tensor import TensorParallel
from distsim.workload.attention_pattern import Variant
from distsim.workload.catalogue import model, model_from_block
from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Fusion, Numerics, Op, WorkKind
from distsim.workload.shape import Shape
from distsim.workload.transformer import layer_of

TINY = {
    "family": "llama",
    "layers": 4,
    "hidden": 64,
    "heads": 4,
    "ffn": 160,
    "vocab": 1000,
    "max_positions": 256,
}
LATENT = {
    "head_dim": 16,
    "kv_lora_rank": 24,
    "q_lora_rank": 40,
    "rope_head_dim": 8,
    "v_head_dim": 12,
}


def tiny(**changes: Any) -> ModelSpec:
    return model_from_block({**TINY, **changes})


def shape(length: int = 32, sequences: int = 2, fusion: Fusion | None = None) -> Shape:
    return Shape(sequences, length, Numerics(), fusion or Fusion())


def operators(spec: ModelSpec, of: Shape) -> list[Op]:
    blocks = spec.blocks(of)
    layers = [op for kind in blocks.layers for op in blocks.kinds[kind]]
    return [*blocks.embedding, *layers, *blocks.head]


def named(spec: ModelSpec, of: Shape) -> dict[str, Op]:
    return {op.name: op for op in operators(spec, of)}


def pairs(size: int, stride: int, tokens: int, s: int, *, causal: bool) -> int:
    """Count pairs of a query and a key one by one."""
    count = 0
    for i in range(s):
        for j in range(s):
            if causal and j > i:
                continue
            near = i - size < j <= i if causal else -(size // 2) <= j - i < size - size // 2
            far = stride > 0 and j % stride == stride - 1 and not near
            count += near or far or i < tokens or j < tokens
    return count


# --- latent attention ---------------------------------------------------------------------------


def test_latent_attention_counts_and_flop_are_those_of_the_paper() -> None:
    """DeepSeek-V2, section 2.1: down and up for queries and for keys and values, and the output."""
    spec, of = tiny(**LATENT), shape()
    h, a, d, r, v, c, q = 64, 4, 16, 8, 12, 24, 40
    weights = h * q + q * a * (d + r) + h * (c + r) + c * a * (d + v) + a * v * h
    assert spec.parameters_by_part()["attention"] == 4 * weights
    assert spec.parameters_by_part()["norms"] == 9 * h + 4 * (q + c)
    s, b = of.length, of.sequences
    core = 2 * b * a * s * s * ((d + r) + v)
    ops = layer_of("dense", spec, of)
    attention = [op for op in ops if not op.name.startswith("mlp")]
    flop = sum(w.flop for op in attention for w in op.forward if w.kind is WorkKind.GEMM)
    assert flop == 2 * b * s * weights
    (flash,) = (op for op in ops if op.core_attention)
    assert flash.forward[0].flop == core / 2  # causal blocks
    mlp = 3 * h * 160
    model_flop = 3 * (2 * s * (4 * (weights + mlp) + h * 1000) + 4 * core / b)
    assert spec.model_flop(s) == pytest.approx(model_flop, rel=1e-12)


def test_latent_attention_without_fusion_has_the_same_products() -> None:
    spec = tiny(**LATENT)
    unfused = Fusion(flash_attention=False)
    ops = {op.name: op for op in layer_of("dense", spec, shape(fusion=unfused))}
    b, a, s, d, r, v = 2, 4, 32, 16, 8, 12
    assert ops["scores"].forward_flop == 2 * b * a * s * s * (d + r)
    assert ops["context"].forward_flop == 2 * b * a * s * s * v
    for name in ("scores", "context"):
        assert ops[name].backward_flop == 2 * ops[name].forward_flop


def test_a_tensor_group_exchanges_latent_vectors_instead_of_the_stream() -> None:
    """Products down are on every rank; up, heads are divided: c' and c + r features a token."""
    spec, of = tiny(**LATENT), shape()
    ops = named(spec, of)
    tokens = of.tokens
    assert ops["query_up"].region_elements == tokens * 40
    assert ops["key_value_up"].region_elements == tokens * (24 + 8)
    assert ops["attention_out"].region_elements == tokens * 64
    group = TensorParallel(2, sequence=False, overlap=False, element_bytes=2)
    for name in ("query_down", "key_value_down"):
        assert ops[name].axis is Axis.TOKENS
        assert group.parameters(ops[name]) == ops[name].replicated_parameters
    half = group.parameters(ops["key_value_up"])
    assert half == 24 * 4 * (16 + 12) / 2


def test_queries_may_be_projected_at_once() -> None:
    spec = tiny(**{**LATENT, "q_lora_rank": 0})
    weights = 64 * 4 * 24 + 64 * 32 + 24 * 4 * 28 + 4 * 12 * 64
    assert spec.parameters_by_part()["attention"] == 4 * weights
    assert "query_down" not in named(spec, shape())


def test_deepseek_v3_has_the_active_parameters_of_its_report() -> None:
    """37 billion (arXiv 2412.19437, abstract), embeddings counted once."""
    spec = model("deepseek-v3")
    active = spec.active_parameters - spec.parameters_by_part()["token_embedding"]
    assert active == pytest.approx(37e9, rel=0.02)


# --- windows and patterns -----------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("kind", "size", "stride", "tokens"),
    [("window", 8, 0, 0), ("window", 8, 0, 2), ("strided", 8, 16, 0), ("strided", 16, 0, 0)],
)
def test_scores_are_the_pairs_that_meet(
    kind: str, size: int, stride: int, tokens: int, causal: bool
) -> None:
    s = 512
    found = Variant(kind, size, stride, tokens).scores(s, causal=causal)
    step = (stride or size) if kind == "strided" else 0
    exact = pairs(size, step, tokens, s, causal=causal)
    # What a window and a stride have in common is counted twice, and edges are not cut off.
    assert found == pytest.approx(exact, rel=0.13)
    assert found >= exact * 0.99


def test_a_window_as_long_as_the_sequence_is_full_attention() -> None:
    of = shape(64)
    whole = tiny()
    for kind in ("window", "block_sparse"):
        spec = tiny(attention=kind, attention_size=64)
        assert spec.model_flop(64) == whole.model_flop(64)
        (one,) = (op for op in layer_of("dense", spec, of) if op.core_attention)
        (other,) = (op for op in layer_of("dense", whole, of) if op.core_attention)
        assert one.forward_flop == pytest.approx(other.forward_flop)


def test_layers_that_attend_in_full_are_every_nth() -> None:
    spec = tiny(layers=6, attention="window", attention_size=4, full_attention_every=3)
    of = shape(64)
    blocks = spec.blocks(of)
    assert blocks.layers == ("dense window", "dense window", "dense full") * 2
    flop = {k: sum(o.forward_flop for o in ops) for k, ops in blocks.kinds.items()}
    a, d, s, b = 4, 16, 64, 2
    full = 4 * b * a * d * s * s / 2
    near = 4 * b * a * d * (s * 4 - 4 * 4 / 2)
    assert flop["dense full"] - flop["dense window"] == pytest.approx(full - near)
    core = 4 * a * d * (2 * s * s + 4 * s * 4)
    assert spec.model_flop(s) - tiny(layers=6).model_flop(s) == pytest.approx(
        3 * (core - 6 * 4 * a * d * s * s)
    )


def test_windows_run_in_a_scenario_and_are_faster() -> None:
    def step_s(**changes: Any) -> float:
        block = {"base": "llama3-8b", "max_positions": 32768, **changes}
        scenario = ds.load(
            {
                "schema": 1,
                "name": "windows",
                "cluster": {"topology": "dgx-h100", "devices": 8},
                "model": block,
                "batch": {"global_size": 8, "micro_size": 1, "sequence_length": 32768},
                "plan": {"tp": 8, "sequence_parallel": True, "recompute": "full"},
            }
        )
        return float(ds.simulate(scenario).step_s)

    full = step_s()
    mixed = step_s(attention="window", attention_size=1024, full_attention_every=4)
    near = step_s(attention="window", attention_size=1024)
    assert near < mixed < full


@pytest.mark.parametrize("kind", ["linear"])
def test_sums_over_all_tokens_do_not_go_with_context_parallelism(kind: str) -> None:
    block = {"base": "llama3-8b", "attention": kind, "max_positions": 16384}
    with pytest.raises(DistsimError) as caught:
        ds.simulate(
            ds.load(
                {
                    "schema": 1,
                    "name": "sums",
                    "cluster": {"topology": "dgx-h100", "devices": 8},
                    "model": block,
                    "batch": {"global_size": 8, "micro_size": 1, "sequence_length": 16384},
                    "plan": {"tp": 4, "cp": 2},
                }
            )
        )
    assert caught.value.code == "DS308"
    assert caught.value.path == ("plan", "cp")


# --- norms, biases, blocks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"norm": "rmsnorm"}, 9),
        ({"norm": "layernorm"}, 18),
        ({"norm": "layernorm_no_bias"}, 9),
        ({"norm": "layernorm_plain"}, 0),
        ({"norm_place": "after"}, 9),
        ({"norm_place": "both"}, 17),
        ({"parallel_block": True}, 5),
        ({"embedding_norm": True}, 10),
    ],
)
def test_norms_are_counted_by_place_and_kind(changes: dict[str, Any], count: int) -> None:
    spec = tiny(**changes)
    assert spec.parameters_by_part()["norms"] == count * 64
    owned = sum(op.parameters + op.replicated_parameters for op in operators(spec, shape()))
    assert owned == spec.parameters


def test_norms_of_queries_and_keys() -> None:
    assert tiny(qk_norm=True).parameters - tiny().parameters == 4 * 2 * 16
    each = tiny(qk_norm=True, qk_norm_scales="each", kv_heads=2)
    assert each.parameters - tiny(kv_heads=2).parameters == 4 * (4 + 2) * 16


def test_biases_stand_where_they_are_said() -> None:
    gpt = {**TINY, "family": "gpt", "ffn": 256}
    all_of_them = model_from_block(gpt)
    without = {
        "qkv_bias": 4 * 3 * 64,
        "out_bias": 4 * 64,
        "mlp_bias": 4 * (256 + 64),
    }
    for key, count in without.items():
        fewer = model_from_block({**gpt, key: False})
        assert all_of_them.parameters - fewer.parameters == count
    more = model_from_block({**gpt, "head_bias": True})
    assert more.parameters - all_of_them.parameters == 1000
    for spec in (all_of_them, more, model_from_block({**gpt, "qkv_bias": False})):
        owned = sum(op.parameters + op.replicated_parameters for op in operators(spec, shape()))
        assert owned == spec.parameters


def test_blocks_side_by_side_halve_the_all_reduces() -> None:
    """PaLM, section 2: one sum over ranks each way instead of two."""
    of = shape()
    apart, beside = (layer_of("dense", tiny(parallel_block=p), of) for p in (False, True))
    for ops, opens, closes in ((apart, 2, 2), (beside, 1, 1)):
        assert sum(op.opens for op in ops) == opens
        assert sum(op.closes for op in ops) == closes
    flop = [sum(op.forward_flop + op.backward_flop for op in ops) for ops in (apart, beside)]
    assert flop[0] == flop[1]
    # One norm less, and its input and result: three arrays of tokens x hidden at 16 bit.
    saved = [sum(o.saved_bytes + o.saved_token_bytes for o in ops) for ops in (apart, beside)]
    assert saved[0] - saved[1] == 2 * 2 * of.tokens * 64


def test_positions_without_parameters() -> None:
    gpt = {**TINY, "family": "gpt"}
    learned = model_from_block(gpt)
    for kind in ("alibi", "none"):
        assert learned.parameters - model_from_block({**gpt, "positions": kind}).parameters == (
            256 * 64
        )
    more = model_from_block({**gpt, "extra_positions": 2})
    assert more.parameters - learned.parameters == 2 * 64


def test_alibi_reads_the_scores_once_more_where_they_are_in_memory() -> None:
    spec = model_from_block({**TINY, "family": "gpt", "positions": "alibi"})
    of = shape(fusion=Fusion(flash_attention=False))
    ops = {op.name: op for op in layer_of("dense", spec, of)}
    scores = 2 * 4 * 32 * 32
    assert ops["alibi"].forward[0].stream_bytes == 2 * 2 * scores + 2 * 4 * 32
    fused = {op.name: op for op in layer_of("dense", spec, shape())}
    assert fused["alibi"].forward == ()


# --- softmaxes ----------------------------------------------------------------------------------


def test_a_sampled_softmax_multiplies_with_samples_alone() -> None:
    spec = tiny(softmax="sampled", softmax_samples=99)
    assert spec.parameters == tiny().parameters
    less = tiny().model_flop(32) - spec.model_flop(32)
    assert less == 3 * 2 * 32 * 64 * (1000 - 100)


def test_an_adaptive_softmax_has_tables_of_its_own() -> None:
    spec = tiny(softmax="adaptive", softmax_cutoffs=[100, 400], softmax_shares=[0.2, 0.05])
    tables = (100 + 2) * 64 + 16 * (64 + 300) + 4 * (64 + 600)
    assert spec.parameters - tiny().parameters == tables - 64 * 1000
    owned = sum(op.parameters + op.replicated_parameters for op in operators(spec, shape()))
    assert owned == spec.parameters
    token = 102 * 64 + 0.2 * 16 * (64 + 300) + 0.05 * 4 * (64 + 600)
    assert tiny().model_flop(32) - spec.model_flop(32) == pytest.approx(
        3 * 2 * 32 * (64 * 1000 - token)
    )


# --- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "key"),
    [
        ({"attention": "window"}, "DS239", "attention_size"),
        ({"attention": "low_rank", "attention_size": 8}, "DS239", "attention"),
        ({"attention_size": 8}, "DS239", "attention_size"),
        ({"attention_stride": 8}, "DS239", "attention_stride"),
        ({"attention_global": 8}, "DS239", "attention_global"),
        ({"full_attention_every": 2}, "DS239", "full_attention_every"),
        ({"rope_head_dim": 8}, "DS239", "rope_head_dim"),
        ({**LATENT, "rope_head_dim": 7}, "DS239", "rope_head_dim"),
        ({**LATENT, "v_head_dim": 0}, "DS239", "v_head_dim"),
        ({**LATENT, "kv_heads": 2}, "DS239", "kv_heads"),
        ({**LATENT, "qk_norm": True}, "DS239", "qk_norm"),
        ({**LATENT, "attention": "linear"}, "DS239", "attention"),
        ({"parallel_block": True, "experts": 4, "experts_per_token": 1}, "DS239", "parallel_block"),
        ({"extra_positions": 2}, "DS239", "extra_positions"),
        ({"router_bias": True}, "DS226", "router_bias"),
        ({"softmax": "sampled"}, "DS220", "softmax_samples"),
        ({"softmax": "sampled", "softmax_samples": 1000}, "DS220", "softmax_samples"),
        ({"softmax_samples": 5}, "DS220", "softmax_samples"),
        ({"softmax_cutoffs": [5]}, "DS220", "softmax_cutoffs"),
        ({"softmax": "adaptive"}, "DS220", "softmax_cutoffs"),
        (
            {"softmax": "adaptive", "softmax_cutoffs": [100], "softmax_shares": [2]},
            "DS203",
            0,
        ),
        (
            {"softmax": "adaptive", "softmax_cutoffs": [100, 90], "softmax_shares": [0, 0]},
            "DS220",
            "softmax_cutoffs",
        ),
        (
            {
                "softmax": "adaptive",
                "softmax_cutoffs": [100],
                "softmax_shares": [0.1],
                "tied_embeddings": True,
            },
            "DS220",
            "softmax",
        ),
        ({"norm": "batchnorm"}, "DS204", "norm"),
        ({"qkv_bias": "yes"}, "DS202", "qkv_bias"),
        ({"softmax_cutoffs": "all"}, "DS202", "softmax_cutoffs"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], code: str, key: object) -> None:
    with pytest.raises(WorkloadError) as caught:
        tiny(**changes)
    assert caught.value.code == code
    assert caught.value.path[-1] == key
    assert caught.value.rule and caught.value.fix


def test_replacing_a_field_keeps_the_rest() -> None:
    assert replace(tiny(**LATENT), kv_lora_rank=0).latent is False
