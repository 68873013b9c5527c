"""What recomputation runs again and what it keeps: Chen 2016, Korthikanti 2022 section 5."""

from __future__ import annotations

import pytest

from distsim.prediction.predict import Prediction
from tests.strategies import DENSE, FFN, HIDDEN, TOKENS, VOCAB, flop, step

LAYERS = 12
MODEL = DENSE | {"layers": LAYERS}
#: FLOP of a layer's products, and of core attention under a causal mask, forward.
PRODUCTS = 2.0 * TOKENS * (4 * HIDDEN**2 + 3 * HIDDEN * FFN)
ATTENTION = 2.0 * TOKENS**2 * HIDDEN
#: An input of a layer, 16 bit.
INPUT = TOKENS * HIDDEN * 2.0


def run(recompute: object, pp: int = 1, **more: object) -> Prediction:
    plan = {"recompute": recompute, "pp": pp, **more}
    return step(plan, pp, model=MODEL, global_size=4)


def kept(p: Prediction) -> float:
    """Activations of one micro batch on the first stage."""
    held = p.timeline.program.inputs.chunks[0]
    return sum(c.saved_bytes for c in held)


def working(p: Prediction) -> float:
    units = [u for c in p.timeline.program.inputs.chunks[0] for u in c.units]
    return max(u.working_bytes for u in units if u.name == "layer")


def layer_bytes() -> float:
    """All activations of a layer: the difference between two depths."""
    more = step({}, 1, model=DENSE | {"layers": LAYERS + 1}, global_size=4)
    return kept(more) - kept(run("none"))


def test_flop_by_hand():
    """Forward, backward twice as many (attention 2.5 times: Dao 2023), and the head."""
    head = 2.0 * TOKENS * HIDDEN * VOCAB
    wanted = LAYERS * (3 * PRODUCTS + 3.5 * ATTENTION) + 3 * head
    assert flop(run("none")) == pytest.approx(4 * wanted, rel=1e-12)


GROUPS = [1, 2, 3, 4, 5, 12, 100]


@pytest.mark.parametrize("every", GROUPS)
def test_every_layer_runs_again_once_however_they_are_grouped(every):
    again = flop(run({"mode": "full", "every": every})) - flop(run("none"))
    assert again == pytest.approx(4 * LAYERS * (PRODUCTS + ATTENTION), rel=1e-9)


@pytest.mark.parametrize("every", GROUPS)
def test_groups_keep_fewer_inputs_and_bring_back_more(every):
    """Chen 2016, section 3: L / k inputs, and k layers at once while their group runs."""
    none, full = run("none"), run({"mode": "full", "every": every})
    outside = kept(none) - LAYERS * layer_bytes()
    groups = -(-LAYERS // every)
    assert kept(full) == pytest.approx(outside + groups * INPUT, rel=1e-12)
    assert working(full) == pytest.approx(min(every, LAYERS) * layer_bytes(), rel=1e-12)


@pytest.mark.parametrize("every", [2, 3, 5])
def test_the_last_layer_of_a_group_runs_all_of_it_again(every):
    """Its backward pass comes first, and needs what the whole group computed."""
    chunk = run({"mode": "full", "every": every}).timeline.program.inputs.chunks[0][0]
    layers = [u for u in chunk.units if u.name == "layer"]
    again = [
        sum(w.flop for s in u.backward for w in s.works) - (2 * PRODUCTS + 2.5 * ATTENTION)
        for u in layers
    ]
    groups = [range(i, min(i + every, LAYERS)) for i in range(0, LAYERS, every)]
    wanted = [len(g) * (i == g[-1]) for g in groups for i in g]
    assert [a / (PRODUCTS + ATTENTION) for a in again] == pytest.approx(wanted, abs=1e-9)


def test_the_best_group_is_the_square_root():
    """Chen 2016, section 3.1: inputs of n / k and k layers are least at k = sqrt(n) for equal."""
    peaks = {
        k: kept(p) + working(p)
        for k in (1, 2, 3, 4, 6, 12)
        for p in [run({"mode": "full", "every": k})]
    }
    best = min(peaks, key=peaks.__getitem__)
    root = (LAYERS * INPUT / layer_bytes()) ** 0.5
    assert abs(best - root) == min(abs(k - root) for k in peaks)


@pytest.mark.parametrize(
    ("recompute", "covered"),
    [
        ({"mode": "full", "layers": [0, 3, 11]}, 3),
        ({"mode": "full", "first": 5}, 5),
        ({"mode": "full", "first": 100}, LAYERS),
        ({"mode": "full", "layers": []}, 0),
        ({"mode": "full", "first": 0}, 0),
        ({"mode": "full", "first": 5, "every": 2}, 5),
    ],
)
def test_only_some_layers_run_again(recompute, covered):
    none, some = run("none"), run(recompute)
    assert flop(some) - flop(none) == pytest.approx(4 * covered * (PRODUCTS + ATTENTION), rel=1e-9)
    every = recompute.get("every", 1)
    saved = covered * layer_bytes() - -(-covered // every) * INPUT
    assert kept(none) - kept(some) == pytest.approx(saved, rel=1e-9)
    assert working(some) == pytest.approx(min(every, covered) * layer_bytes(), rel=1e-9)


@pytest.mark.parametrize("virtual", [1, 3])
def test_the_first_layers_are_counted_in_every_chunk(virtual):
    """Megatron-LM's method block: so many at the beginning of each model chunk."""
    more = {"pp": 2, "virtual_stages": virtual, "overlap_p2p": True}
    plan = {"mode": "full", "first": 1}
    none, some = run("none", **more), run(plan, **more)
    assert flop(some) - flop(none) == pytest.approx(4 * virtual * (PRODUCTS + ATTENTION), rel=1e-9)
    listed = run({"mode": "full", "layers": list(range(0, LAYERS, 6 // virtual))}, **more)
    assert listed.step_s == pytest.approx(some.step_s, rel=1e-12)
    assert listed.hfu == pytest.approx(some.hfu, rel=1e-12)


@pytest.mark.parametrize("layers", [None, [0, 1, 5]])
def test_selective_recomputation_runs_core_attention_again(layers):
    """Korthikanti 2022, section 5; flash attention keeps fp32 statistics a token and head."""
    block = {"mode": "selective"} | ({} if layers is None else {"layers": layers})
    covered = LAYERS if layers is None else len(layers)
    none, some = run("none"), run(block)
    assert flop(some) - flop(none) == pytest.approx(4 * covered * ATTENTION, rel=1e-9)
    statistics = 4.0 * TOKENS * DENSE["heads"]
    assert kept(none) - kept(some) == pytest.approx(covered * statistics, rel=1e-9)


@pytest.mark.parametrize(
    ("recompute", "again"),
    [("full", LAYERS), ({"mode": "full", "first": 4}, 4), ({"mode": "full", "layers": [7]}, 1)],
)
def test_hardware_flop_count_layers_in_full(recompute, again):
    """MFU leaves recomputed FLOP out, HFU counts them, both without the mask (Chowdhery 2022)."""
    p = run(recompute)
    forward = PRODUCTS + 2 * ATTENTION
    model = 3 * (LAYERS * forward + 2.0 * TOKENS * HIDDEN * VOCAB)
    assert p.hfu / p.mfu == pytest.approx((model + again * forward) / model, rel=1e-9)


@pytest.mark.parametrize("schedule", ["1f1b", "zb-h1", "zb-v"])
def test_recomputation_saves_memory_and_costs_time_in_every_schedule(schedule):
    plan = {"pp": 2, "schedule": schedule}
    none, groups, full = (
        step({**plan, "recompute": r}, 2, model=MODEL, length=2048, global_size=8)
        for r in ("none", {"mode": "full", "every": 3}, "full")
    )
    held = [max(s.activations_bytes for s in p.memory.stages) for p in (none, full, groups)]
    # What waits for its weight gradient is not recomputed, and may be all there is at the peak.
    assert held[0] > held[1] and (held[1] > held[2] or schedule != "1f1b")
    assert none.step_s < full.step_s
    assert groups.breakdown.compute_s == pytest.approx(full.breakdown.compute_s, rel=1e-9)
