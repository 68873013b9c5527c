"""Recomputation inside layers: torchtitan's by operator, Megatron-Core's by module."""

from __future__ import annotations

from typing import Any

import pytest

from distsim.errors import DistsimError
from distsim.prediction.predict import Prediction
from distsim.workload.op import WorkKind
from tests.strategies import DENSE, FFN, HEADS, HIDDEN, MIXTURE, TOKENS, VOCAB, flop, sent, step

LAYERS = 3
KV_HEADS = 2
MODEL = DENSE | {"layers": LAYERS, "kv_heads": KV_HEADS}
MOE = MIXTURE | {"layers": LAYERS}
#: Features of keys, and an array of the residual stream in 16 bit.
KV = HIDDEN * KV_HEADS // HEADS
INPUT = 2.0 * TOKENS * HIDDEN
STATISTICS = 4.0 * TOKENS * HEADS
GATED = 3 * 2.0 * TOKENS * HIDDEN * FFN
#: Three passes over layers and head, every product in full (Chowdhery 2022, appendix B).
LAYER = 2.0 * TOKENS * HIDDEN * (2 * HIDDEN + 2 * KV) + GATED + 4.0 * TOKENS**2 * HIDDEN
MODEL_FLOP = 3 * (LAYERS * LAYER + 2.0 * TOKENS * HIDDEN * VOCAB)
LATENT = {
    "base": "deepseek-v3",
    "layers": LAYERS,
    "dense_layers": 1,
    "experts": 8,
    "routing_groups": 0,
    "routing_groups_per_token": 0,
}


def run(recompute: object, devices: int = 1, model: Any = MODEL, **plan: object) -> Prediction:
    changes = {key: plan.pop(key) for key in ("precision", "stack") if key in plan}
    return step({"recompute": recompute, **plan}, devices, model=model, **changes)


def parts(*modules: str) -> dict[str, object]:
    return {"mode": "selective", "modules": list(modules)}


def kept(p: Prediction) -> float:
    return sum(c.saved_bytes for c in p.timeline.program.inputs.chunks[0])


def moved(p: Prediction) -> float:
    """Bytes of kernels that are no products, of all layers of the first rank."""
    units = [u for c in p.timeline.program.inputs.chunks[0] for u in c.units]
    steps = [s for u in units for s in (*u.forward, *u.backward)]
    return sum(w.stream_bytes for s in steps for w in s.works if w.kind is WorkKind.STREAM)


def test_every_second_product_runs_again_and_attention_does_not():
    """Of q, k, v, out, gate, up and down the even ones: k, out and up."""
    again = flop(run("alternate")) - flop(run("none"))
    wanted = 2.0 * TOKENS * HIDDEN * (KV + HIDDEN + FFN)
    assert again == pytest.approx(LAYERS * wanted, rel=1e-9)


def test_outputs_of_the_others_are_kept():
    """The input, q, v, what attention returns with its statistics, gate and down."""
    none, some = run("none"), run("alternate")
    of_layers = 2.0 * TOKENS * (HIDDEN + KV + FFN + HIDDEN) + INPUT + INPUT + STATISTICS
    deeper = step({"recompute": "alternate"}, 1, model=MODEL | {"layers": LAYERS + 1})
    assert kept(deeper) - kept(some) == pytest.approx(of_layers, rel=1e-12)
    assert kept(some) < kept(none)


def test_all_that_is_no_product_runs_again():
    """Both norms, rotary positions, the gated activation and the first of two residual sums."""
    again = moved(run("alternate")) - moved(run("none"))
    rotary = 2 * 2 * TOKENS * (HIDDEN + KV)
    wanted = 2 * 2 * INPUT + rotary + 3 * 2 * TOKENS * FFN + 3 * INPUT
    assert again == pytest.approx(LAYERS * wanted, rel=1e-12)


def test_products_in_fp8_all_run_again():
    """They are not on the list; nothing needs the output of the last one."""
    fp8 = {"compute": "bf16", "gradients": "bf16", "fp8": "current"}
    again = flop(run("alternate", precision=fp8)) - flop(run("none", precision=fp8))
    wanted = 2.0 * TOKENS * HIDDEN * (HIDDEN + 2 * KV + HIDDEN + 2 * FFN)
    assert again == pytest.approx(LAYERS * wanted, rel=1e-9)


def test_unfused_attention_runs_again():
    """Batched products are not on the list either."""
    unfused = {"profile": "megatron-core", "fused": {"flash_attention": False}}
    again = flop(run("alternate", stack=unfused)) - flop(run("none", stack=unfused))
    wanted = 2.0 * TOKENS * HIDDEN * (KV + HIDDEN + FFN) + 4.0 * TOKENS**2 * HIDDEN
    assert again == pytest.approx(LAYERS * wanted, rel=1e-9)


def test_gathered_once_and_scattered_once():
    """Inputs are gathered again, which serves their weight gradients; scattered sums are kept."""
    tp = {"tp": 2, "sequence_parallel": True}
    none, some, full = (run(mode, 2, **tp) for mode in ("none", "alternate", "full"))
    assert sent(some) == pytest.approx(sent(none), rel=1e-9)
    # Full: two gathers and two scatters a layer, of which a rank of two sends half.
    assert sent(full) - sent(none) == pytest.approx(LAYERS * 4 * INPUT / 2, rel=1e-9)
    # The product before a scatter need not run again.
    again = flop(some) - flop(none)
    assert again == pytest.approx(LAYERS * 2.0 * TOKENS * HIDDEN * (KV + FFN) / 2, rel=1e-9)


def test_hardware_flop_of_alternate():
    p = run("alternate")
    again = LAYERS * 2.0 * TOKENS * HIDDEN * (KV + HIDDEN + FFN)
    assert p.hfu / p.mfu == pytest.approx(1 + again / MODEL_FLOP, rel=1e-9)


def test_norms_run_again_and_their_results_are_not_kept():
    none, some = run("none"), run(parts("layernorm"))
    assert kept(none) - kept(some) == pytest.approx(LAYERS * 2 * INPUT, rel=1e-9)
    assert moved(some) - moved(none) == pytest.approx(LAYERS * 2 * 2 * INPUT, rel=1e-9)
    assert flop(some) == flop(none)


def test_norms_before_experts():
    """The router keeps the input of the block, and the rows that are sent are other arrays."""
    none, some = run("none", model=MOE), run(parts("layernorm"), model=MOE)
    assert kept(none) - kept(some) == pytest.approx(LAYERS * 2 * INPUT, rel=1e-9)


def test_a_dense_block_keeps_its_input_alone():
    none, some = run("none"), run(parts("mlp"))
    assert kept(none) - kept(some) == pytest.approx(LAYERS * 2.0 * TOKENS * 3 * FFN, rel=1e-9)
    assert flop(some) - flop(none) == pytest.approx(LAYERS * GATED, rel=1e-9)
    assert some.hfu / some.mfu == pytest.approx(1 + LAYERS * GATED / MODEL_FLOP, rel=1e-9)


def test_activation_of_experts():
    """Only its result goes, the input of the second product; its own input stays."""
    none, some = run("none", model=MOE), run(parts("moe_act"), model=MOE)
    rows = TOKENS * MOE["experts_per_token"]
    assert kept(none) - kept(some) == pytest.approx(LAYERS * 2.0 * rows * MOE["expert_ffn"])
    again = LAYERS * 3 * 2.0 * rows * MOE["expert_ffn"]
    assert moved(some) - moved(none) == pytest.approx(again, rel=1e-9)


def test_a_mixture_is_exchanged_again():
    """Dispatch and combine: 6 exchanges a layer in place of 4."""
    ep = {"ep": 4}
    none, some, nothing = (
        run(r, 4, model=m, **ep)
        for r, m in (("none", MOE), (parts("moe"), MOE), ("none", MOE | {"experts_per_token": 1}))
    )
    each = sent(none) - sent(nothing)  # 4 exchanges of one choice a layer
    assert sent(some) - sent(none) == pytest.approx(2 * each * 2 / 4, rel=1e-6)
    rows = TOKENS * MOE["experts_per_token"]
    gate = 2.0 * TOKENS * HIDDEN * MOE["experts"]
    again = LAYERS * (6.0 * rows * HIDDEN * MOE["expert_ffn"] + gate)
    assert flop(some) - flop(none) == pytest.approx(again, rel=1e-9)


def test_parts_inside_parts_run_once():
    both, one = run(parts("moe", "moe_act"), model=MOE), run(parts("moe"), model=MOE)
    assert flop(both) == flop(one) and moved(both) == moved(one)
    assert kept(both) == pytest.approx(kept(one))


def test_shared_experts_are_part_of_a_mixture():
    shared = MOE | {"shared_experts": 1}
    none, both, one = (
        run(r, model=shared) for r in ("none", parts("moe", "shared_experts"), parts("moe"))
    )
    assert flop(both) == flop(one)
    assert kept(both) == pytest.approx(kept(one), rel=1e-12)
    alone = run(parts("shared_experts"), model=shared)
    inner = 2.0 * TOKENS * 3 * MOE["expert_ffn"]
    assert kept(none) - kept(alone) == pytest.approx(LAYERS * inner, rel=1e-9)


def test_products_up_of_latent_attention():
    """Queries, keys and values of all heads are not kept, the latent vectors are."""
    none, some = run("none", model=LATENT), run(parts("mla_up_proj"), model=LATENT)
    heads, nope, rope, value, query, key_value = 128, 128, 64, 128, 1536, 512
    up = query * heads * (nope + rope) + key_value * heads * (nope + value)
    assert flop(some) - flop(none) == pytest.approx(LAYERS * 2.0 * TOKENS * up, rel=1e-6)
    assert kept(none) - kept(some) >= LAYERS * 2.0 * TOKENS * heads * (2 * (nope + rope) + value)


def test_core_attention_is_the_default():
    assert run("selective").step_s == run(parts("core_attn")).step_s


def test_only_some_layers():
    none, some = run("none"), run(parts("mlp") | {"layers": [1]})
    assert flop(some) - flop(none) == pytest.approx(GATED, rel=1e-9)
    assert str(some.timeline.program.inputs.plan.recompute) == "selective, mlp in layers 1"


@pytest.mark.parametrize(
    ("recompute", "model", "word"),
    [
        ({"mode": "full", "modules": ["mlp"]}, MODEL, "mode full"),
        (parts("moe"), MODEL, "moe"),
        (parts("moe_act"), MODEL, "moe_act"),
        (parts("mla_up_proj"), MODEL, "mla_up_proj"),
        (parts("shared_experts"), MOE, "shared_experts"),
        (parts("mlp"), MOE, "mlp"),
        (parts("attention"), MODEL, "attention"),
        (parts(), MODEL, "modules"),
    ],
)
def test_parts_that_are_not_there(recompute, model, word):
    with pytest.raises(DistsimError) as caught:
        run(recompute, model=model)
    assert word in str(caught.value)


@pytest.mark.parametrize("schedule", ["1f1b", "zb-h1", "zb-v"])
@pytest.mark.parametrize("recompute", ["alternate", parts("layernorm", "mlp")])
def test_every_schedule(schedule, recompute):
    plan = {"pp": 2, "schedule": schedule}
    model = MODEL | {"layers": 4}
    none, some = (
        step({**plan, "recompute": r}, 2, model=model, global_size=8) for r in ("none", recompute)
    )
    assert some.breakdown.compute_s > none.breakdown.compute_s
    held = [max(s.activations_bytes for s in p.memory.stages) for p in (none, some)]
    assert held[1] < held[0]


def test_checkpoints_that_end_early_leave_the_last_product_out():
    """Of each layer, or of the last one of a group; Megatron-LM's run to their end."""
    down = 2.0 * TOKENS * HIDDEN * FFN
    # A causal mask halves the products of attention, in fused kernels.
    layer = LAYER - 2.0 * TOKENS**2 * HIDDEN
    none = run("none", stack="torchtitan")
    for every, groups in ((1, LAYERS), (LAYERS, 1)):
        full = run({"mode": "full", "every": every}, stack="torchtitan")
        again = flop(full) - flop(none)
        assert again == pytest.approx(LAYERS * layer - groups * down, rel=1e-9)
    reentrant = flop(run("full")) - flop(run("none"))
    assert reentrant == pytest.approx(LAYERS * layer, rel=1e-9)


def test_hardware_flop_of_checkpoints_that_end_early():
    p = run("full", stack="torchtitan")
    again = LAYERS * (LAYER - 2.0 * TOKENS * HIDDEN * FFN)
    assert p.hfu / p.mfu == pytest.approx(1 + again / MODEL_FLOP, rel=1e-9)


def test_what_ends_early_is_not_scattered():
    """The last sum over tensor-parallel ranks is not needed either."""
    tp = {"tp": 2, "sequence_parallel": True}
    late, early = (
        sent(run("full", 2, stack=s, **tp)) - sent(run("none", 2, stack=s, **tp))
        for s in ("megatron-core", "torchtitan")
    )
    assert late - early == pytest.approx(LAYERS * INPUT / 2, rel=1e-9)
