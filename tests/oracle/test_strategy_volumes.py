"""Bytes of tensor and expert parallelism: on the links of whole steps, against the papers' counts.

A ring of n ranks sends 2 (n - 1) / n of an array for an all-reduce and (n - 1) / n for an
all-gather, a reduce-scatter or an all-to-all, whatever else a plan does.
"""

from __future__ import annotations

import pytest

from tests.strategies import (
    DENSE,
    FFN,
    HIDDEN,
    LAYERS,
    MIXTURE,
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
)

#: One array of b s h elements in 16 bit, and one fp32 number a token.
ARRAY, NUMBER = TOKENS * HIDDEN * 2.0, TOKENS * 4.0


def _around(n: int) -> float:
    return (n - 1) / n


# Tensor parallelism.


@pytest.mark.parametrize(("recompute", "each"), [("none", 4), ("selective", 4), ("full", 6)])
@pytest.mark.parametrize(("tp", "micro"), [(2, 1), (4, 3)])
def test_tensor_parallelism_all_reduces_four_arrays_a_layer(recompute, each, tp, micro):
    """Two forward, two backward (Shoeybi 2019, section 3); recomputation repeats the forward ones.

    The embedding adds one and so does the head, and three numbers a token the loss.
    """
    p = step({"tp": tp, "recompute": recompute}, tp, global_size=micro)
    arrays = (each * LAYERS + 2) * ARRAY + 3 * NUMBER
    assert sent(p) == pytest.approx(micro * arrays * 2 * _around(tp), rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"overlap_tensor": True}, {"async_tensor": True}])
@pytest.mark.parametrize(("recompute", "forward"), [("none", 4), ("full", 8)])
@pytest.mark.parametrize("tp", [2, 4])
def test_sequence_parallelism_moves_as_much_in_pairs(options, recompute, forward, tp):
    """Each all-reduce becomes an all-gather and a reduce-scatter (Korthikanti 2022, section 4.2.2).

    An operator that opens a region gathers its input once more for the weight gradient: two a
    layer, and the head. Cut into parts, all of them move as many bytes.
    """
    p = step({"tp": tp, "sequence_parallel": True, "recompute": recompute, **options}, tp)
    layer = forward + 4 + 2
    arrays = (layer * LAYERS + 2 + 3) * ARRAY
    assert sent(p) == pytest.approx((arrays + 2 * 3 * NUMBER) * _around(tp), rel=1e-9)


INSIDE = [
    ({"tp": 2}, {}),
    ({"tp": 2, "sequence_parallel": True}, {}),
    ({"tp": 2, "sequence_parallel": True, "overlap_tensor": True}, {}),
    ({"tp": 2, "sequence_parallel": True, "async_tensor": True}, {}),
    ({"tp": 2, "sequence_parallel": True, "recompute": "full"}, {}),
    ({"cp": 2}, {}),
    ({"cp": 2, "cp_mode": "all_to_all"}, {}),
    ({"cp": 2, "cp_mode": "all_gather", "recompute": "selective"}, {}),
    ({"ep": 2}, {"model": MIXTURE}),
    ({"ep": 2, "tp": 2, "sequence_parallel": True, "etp": 2}, {"model": MIXTURE}),
]


@pytest.mark.parametrize(("plan", "model"), INSIDE)
def test_a_backward_pass_in_two_parts_moves_the_same_bytes(plan, model):
    """What input and weight gradient exchange inside layers does not depend on when they run."""
    plan = {"pp": 2, **plan}
    devices = 2 * plan.get("tp", 1) * plan.get("cp", 1) * (2 if model else 1)
    count = devices // plan.get("tp", 1) // plan.get("cp", 1) * 3
    whole, parts = (
        step(plan | {"schedule": schedule}, devices, global_size=count, **model)
        for schedule in ("1f1b", "zb-h1")
    )
    assert sent(parts) == pytest.approx(sent(whole), rel=1e-9)
    assert parts.step_s != whole.step_s


@pytest.mark.parametrize(
    ("schedule", "virtual", "crossings"), [("1f1b", 1, 1), ("interleaved", 2, 3), ("zb-v", 2, 2)]
)
@pytest.mark.parametrize("scattered", [True, False])
def test_a_message_is_gathered_where_it_was_sent_in_parts(schedule, virtual, crossings, scattered):
    """Narayanan 2021, section 4.1; the two chunks at the bottom of a V pass nothing on."""
    plan = {"tp": 2, "pp": 2, "schedule": schedule, "virtual_stages": virtual}
    p = step(plan | {"scatter_gather_p2p": scattered}, 4, global_size=4)
    tensor = ((4 * LAYERS + 2) * ARRAY + 3 * NUMBER) * 2 * _around(2) / 2
    each = ARRAY / 2 + ARRAY * _around(2) if scattered else ARRAY
    messages = crossings * 2 * each / 2
    assert sent(p) == pytest.approx(4 * (tensor + messages), rel=1e-9)


@pytest.mark.parametrize("tp", [2, 4, 8])
@pytest.mark.parametrize("bandwidth", ["50 GB/s", "200 GB/s", "450 GB/s"])
@pytest.mark.parametrize("contention", [0.0, 0.2])
def test_asynchronous_tensor_parallelism_is_between_its_bounds(tp, bandwidth, contention):
    """Wang 2023: beside products of their own size, gathers and scatters hide; nothing gets lost.

    Products are long enough to be cut, and the host has nothing to do.
    """
    model = DENSE | {"hidden": 4096, "heads": 32, "kv_heads": 32, "ffn": 14336, "layers": 2}
    changes = {"model": model, "length": 8192, "topology": star(bandwidth)}
    plan = {"tp": tp, "sequence_parallel": True, "overlap_tensor": False}
    plain, beside, cut = (
        run(on(case_of(plan | more, tp, **changes), contention_factor=contention))
        for more in ({}, {"overlap_tensor": True}, {"async_tensor": True})
    )
    assert cut.step_s < beside.step_s < plain.step_s
    least = max(plain.breakdown.compute_s, plain.breakdown.tensor_s)
    assert cut.step_s - cut.breakdown.optimizer_s >= least
    assert sent(cut) == pytest.approx(sent(plain), rel=1e-9)
    assert flop(cut) == pytest.approx(flop(plain), rel=1e-9)


@pytest.mark.parametrize("sequence", [False, True])
def test_a_tensor_parallel_group_of_two_nodes_uses_all_rails(sequence):
    """Eight rings through two nodes of eight: of sixteen hops two go between the nodes."""
    n, ring = 16, {"algorithms": {"all_reduce": ["ring"]}, "protocols": ["simple"]}
    p = step(
        {"tp": n, "sequence_parallel": sequence},
        n,
        topology="dgx-a100-superpod",
        library={"profile": "nccl", **ring},
        model=DENSE | {"heads": 16, "kv_heads": 16, "vocab": 2048},
    )
    arrays = ((10 * LAYERS + 5) if sequence else 2 * (4 * LAYERS + 2)) * ARRAY + 6 * NUMBER
    hop = arrays * _around(n) / 8
    carried = {c.name: c.bytes for c in p.links.classes}
    # A hop between nodes goes up one rail and down another; inside, to the switch and back.
    assert carried["rail"] == carried["pcie"] == pytest.approx(2 * 8 * 2 * hop, rel=1e-9)
    assert carried["nvlink"] == pytest.approx(2 * 8 * (n - 2) * hop, rel=1e-9)


# Expert parallelism.

TOP_K, EXPERTS, WIDTH = 2, 8, 384
#: Parameters of one expert, and those of a rank that are none.
EXPERT, OTHERS = 3 * HIDDEN * WIDTH, parameters(experts=EXPERTS)


def _gradients(count: float, n: int) -> float:
    return 2 * _around(n) * 2 * count


@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.parametrize(("devices", "ep"), [(2, 2), (4, 2), (4, 4), (8, 4)])
@pytest.mark.parametrize("micro", [1, 2])
def test_experts_exchange_rows_and_reduce_over_those_who_hold_the_same(
    devices, ep, recompute, micro
):
    """Dispatch and combine, forward and backward, t k h (ep - 1) / ep each (Lepikhin 2020).

    Gradients of an expert are summed over dp / ep ranks, all others over dp.
    """
    p = step(
        {"ep": ep, "recompute": recompute}, devices, model=MIXTURE, global_size=devices * micro
    )
    passes = 3 if recompute == "full" else 2
    rows = passes * 2 * LAYERS * micro * ARRAY * TOP_K * _around(ep)
    held = LAYERS * EXPERTS / ep * EXPERT
    reduced = _gradients(OTHERS, devices) + _gradients(held, devices // ep)
    assert sent(p) == pytest.approx(rows + reduced, rel=1e-9)


@pytest.mark.parametrize(("tp", "etp", "ep"), [(2, 1, 2), (2, 2, 2), (4, 2, 2), (4, 1, 4)])
def test_tensor_parallel_experts_gather_the_rows_of_their_group(tp, etp, ep):
    """Each rank sends its t / tp tokens; the etp ranks of an expert gather and scatter the rows.

    Outside, attention, embedding and head have what they have in a dense layer.
    """
    plan = {"tp": tp, "sequence_parallel": True, "ep": ep, "etp": etp, "dp": 2}
    p = step(plan, 2 * tp, model=MIXTURE)
    rows = ARRAY / tp * TOP_K
    moved = 4 * LAYERS * rows * (_around(ep) + etp * _around(etp))
    outside = (5 * LAYERS + 2 + 3) * ARRAY + 2 * 3 * NUMBER
    held = LAYERS * EXPERTS * EXPERT / (ep * etp)
    divided = LAYERS * 4 * HIDDEN**2 + 2 * VOCAB * HIDDEN
    dense = OTHERS - divided + divided / tp
    reduced = _gradients(dense, 2) + _gradients(held, 2 * tp // (ep * etp))
    assert sent(p) == pytest.approx(moved + outside * _around(tp) + reduced, rel=1e-9)


def test_dense_and_expert_sizes_by_hand():
    """The counts that the tests above use, against the catalogue's own."""
    p = step({}, 1)
    assert p.parameters == parameters()
    mixed = step({}, 1, model=MIXTURE)
    assert mixed.parameters == OTHERS + LAYERS * EXPERTS * EXPERT
    assert FFN != WIDTH
