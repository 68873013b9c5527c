"""When gradients leave: once a step or every micro batch, in which buckets, how compressed."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest

from distsim.cost.stack import load_stack
from distsim.parallel.compression import INT8_BLOCK
from distsim.parallel.step import Step
from tests.strategies import (
    DENSE,
    FFN,
    HIDDEN,
    LAYERS,
    MIXTURE,
    TOKENS,
    VOCAB,
    case_of,
    moved,
    on,
    parameters,
    run,
    sent,
    star,
    step,
    transfers,
    without_compute,
)

WHOLE = 2 * parameters()
N = 4
AROUND = (N - 1) / N
SHARDED = {"zero_stage": 3}


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize(
    ("plan", "once", "each"),
    [
        ({}, 2, 0),
        ({"zero_stage": 1}, 2, 0),
        ({"zero_stage": 2}, 1, 1),
        ({"zero_stage": 2, "reduce_each_microbatch": False}, 2, 0),
        (SHARDED, 0, 3),
        (SHARDED | {"reduce_each_microbatch": False}, 1, 2),
        (SHARDED | {"reshard_after_forward": False}, 0, 2),
        (SHARDED | {"reshard_after_forward": False, "reduce_each_microbatch": False}, 1, 1),
    ],
)
def test_what_is_sent_once_and_what_with_every_micro_batch(plan, once, each, overlap, m):
    """Volumes in parameters; ZeRO-1 and 2 gather updated parameters once."""
    p = step(plan | {"overlap_grad_reduce": overlap}, N, global_size=N * m)
    assert sent(p) == pytest.approx((once + each * m) * AROUND * WHOLE, rel=1e-9)


@pytest.mark.parametrize("m", [4, 8])
@pytest.mark.parametrize(
    ("plan", "once", "each"),
    [
        ({}, 2, 0),
        ({"zero_stage": 1}, 2, 0),
        ({"zero_stage": 2}, 2, 0),
        ({"zero_stage": 2, "reduce_each_microbatch": True}, 1, 1),
        (SHARDED, 2, 0),
        (SHARDED | {"reshard_after_forward": True}, 1, 2),
        (SHARDED | {"reduce_each_microbatch": True}, 1, 1),
    ],
)
@pytest.mark.parametrize("schedule", ["1f1b", "zb-h1", "interleaved"])
def test_pipelines_keep_gradients_and_parameters_by_default(plan, once, each, m, schedule):
    """As Megatron-LM and PyTorch do; a rank holds half of the model."""
    pipeline = {"pp": 2, "schedule": schedule, "virtual_stages": 1 + (schedule == "interleaved")}
    p, sole = (
        step(pipeline | more, 2 * dp, global_size=dp * m) for more, dp in ((plan, N), ({}, 1))
    )
    wanted = (once + each * m) * AROUND * WHOLE / 2 + sent(sole)
    assert sent(p) == pytest.approx(wanted, rel=1e-9)


def test_a_schedule_without_a_flush_reduces_with_every_batch():
    for overlap in (True, False):
        plan = {"pp": 2, "schedule": "pipedream-2bw", "overlap_grad_reduce": overlap}
        p, sole = (step(plan, 2 * dp, global_size=dp * 4) for dp in (N, 1))
        assert sent(p) - sent(sole) == pytest.approx(2 * AROUND * WHOLE / 2, rel=1e-9), overlap


@pytest.mark.parametrize("m", [2, 4])
def test_a_shared_embedding_is_summed_with_every_batch(m):
    """First and last stage all-reduce its gradient: 2 (2 - 1) / 2 of V h each, flush or not."""
    tied = {"family": "gpt", "layers": 4, "hidden": 256, "heads": 8, "vocab": 1024}
    model = tied | {"max_positions": 512}
    for schedule in ("1f1b", "pipedream-2bw"):
        p = step({"pp": 2, "schedule": schedule}, 2, model=model, global_size=m)
        messages = m * 2 * TOKENS * HIDDEN * 2 / 2
        assert sent(p) == pytest.approx(messages + VOCAB * HIDDEN * 2, rel=1e-9), schedule


@pytest.mark.parametrize("stage", [0, 1])
def test_two_copies_of_a_model_sum_up_what_a_rank_has(stage):
    """DualPipe: both copies reduce over dp, then a pair of stages over 2: whole, or its shares."""
    plan = {"pp": 2, "schedule": "dualpipe", "zero_stage": stage}
    p = step(plan, 2 * N, global_size=4 * N)
    messages = 4 * 2 * TOKENS * HIDDEN * 2 / 2
    # Each stage holds one half of each copy: all parameters.
    copies = WHOLE / (N if stage else 1)
    assert sent(p) == pytest.approx(messages + 2 * AROUND * WHOLE + copies, rel=1e-9)


def test_whole_gradients_are_kept_until_they_leave():
    """Rajbhandari 2020: ZeRO-2 divides them only if they leave after every micro batch."""
    for plan, m, parts in (
        ({"zero_stage": 2}, 4, N),
        ({"zero_stage": 2, "reduce_each_microbatch": False}, 4, 1),
        ({"zero_stage": 2, "reduce_each_microbatch": False}, 1, N),
        ({"zero_stage": 1}, 4, 1),
    ):
        found = step(plan, N, global_size=N * m).memory.stages[0].gradients_bytes
        assert found == pytest.approx(WHOLE / parts), (plan, m)


# Buckets.

#: Parameters whose gradients are complete after each operator of the backward pass.
BACKWARD = [VOCAB * HIDDEN, HIDDEN]
BACKWARD += [FFN * HIDDEN, 2 * FFN * HIDDEN, HIDDEN, HIDDEN**2, 3 * HIDDEN**2, HIDDEN] * LAYERS
BACKWARD += [VOCAB * HIDDEN]


def buckets(limit_bytes: float, element: float = 2.0) -> list[float]:
    """Close a bucket with the operator that fills it; the last is what is left."""
    out, filled = [], 0.0
    for count in BACKWARD:
        filled += count * element
        if filled >= limit_bytes:
            out.append(filled)
            filled = 0.0
    return out + ([filled] if filled else [])


def test_operators_by_hand_add_up():
    assert sum(BACKWARD) == parameters()


@pytest.mark.parametrize("kib", [1, 100, 250, 500, 512, 700, 3000, 10_000])
@pytest.mark.parametrize("stage", [0, 1])
def test_buckets_fill_operator_by_operator(kib, stage):
    """In the order in which the backward pass completes gradients, as DDP and Megatron-LM do."""
    plan = {"bucket_size": f"{kib} KiB", "zero_stage": stage, "overlap_grad_reduce": True}
    p = step(plan, N)
    times = 2 if stage == 0 else 1
    wanted = [times * AROUND * size for size in buckets(kib * 1024)]
    assert moved(p, "reduce gradients") == pytest.approx(wanted, rel=1e-9)
    assert sum(buckets(kib * 1024)) == WHOLE


@pytest.mark.parametrize("kib", [250, 700])
def test_a_bucket_leaves_when_its_last_gradient_is_there(kib):
    """Its start is the end of the operator that fills it, if the one before is on its way."""
    plan = {"bucket_size": f"{kib} KiB", "overlap_grad_reduce": True}
    p = run(on(case_of(plan, N, topology=star("1000 TB/s"))))
    program, timed = p.timeline.program, p.timeline.run
    done = list(accumulate(buckets(kib * 1024)))
    after = [int(np.searchsorted(np.cumsum(BACKWARD) * 2, d * (1 - 1e-12))) for d in done]
    tasks = transfers(p, "reduce gradients")
    ends = timed.end_s[program.classes[0].reduces[0].task]
    assert timed.start_s[tasks] == pytest.approx(ends, rel=1e-9)
    names = [_last_op(program, t) for t in program.classes[0].reduces[0].task]
    operators = ["lm_head", "final_norm"]
    operators += [
        "mlp_down",
        "mlp_up",
        "mlp_norm",
        "attention_out",
        "qkv",
        "attention_norm",
    ] * LAYERS
    operators += ["embedding"]
    assert names == [operators[i] for i in after]


def _last_op(program, task: int) -> str:
    steps = program.contents[int(program.graph.segment[task])][1]
    return [one.op for one in steps if isinstance(one, Step) and one.parameters][-1]


@pytest.mark.parametrize("kib", [250, 700, 3000])
def test_only_the_last_bucket_is_exposed_behind_long_kernels(kib):
    """Li 2020 (PyTorch DDP, section 3.2.3): all but the last hide behind the backward pass."""
    plan = {"bucket_size": f"{kib} KiB", "overlap_grad_reduce": True}
    p = run(on(case_of(plan, N), memory_bandwidth_bytes_per_s=1e9))
    last = 2 * AROUND * buckets(kib * 1024)[-1] / 10e9
    assert p.breakdown.data_s == pytest.approx(last, rel=1e-9)


def test_everything_is_exposed_where_compute_takes_no_time():
    for plan in ({"bucket_size": "250 KiB"}, {"overlap_grad_reduce": False}, {"zero_stage": 1}):
        p = run(without_compute(case_of(plan, N)))
        assert p.breakdown.data_s == pytest.approx(2 * AROUND * WHOLE / 10e9, rel=1e-6)


def test_experts_fill_buckets_of_their_own():
    """Buckets hold gradients of one domain: those over dp ranks, and those over dp / ep."""
    plan = {"ep": 2, "bucket_size": "900 KiB", "overlap_grad_reduce": True}
    p = step(plan, N, model=MIXTURE)
    dense = 2 * parameters(experts=8)
    experts = 2 * LAYERS * 8 * 3 * HIDDEN * 384 / 2
    found = moved(p, "reduce expert")
    assert found.sum() == pytest.approx(2 * experts / 2, rel=1e-9)
    assert len(found) > 1
    assert moved(p, "reduce gradients").sum() == pytest.approx(2 * AROUND * dense, rel=1e-9)
    assert min(found[:-1]) >= 2 * 900 * 1024 / 2


# Compression.

FP32 = {"compute": "bf16", "gradients": "fp32"}


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize(
    ("compression", "ratio"),
    [
        ("fp16", 1 / 2),
        ("bf16", 1 / 2),
        ("int8", (1 + 4 / INT8_BLOCK) / 4),
        # All selections are gathered everywhere: N entries of 4 + 4 bytes in place of 2 x 4.
        ({"name": "topk", "density": 0.01}, 0.01 * (4 + 4) * N / (2 * 4)),
        ({"name": "topk", "density": 0.001}, 0.001 * (4 + 4) * N / (2 * 4)),
    ],
)
def test_compressed_gradients_on_the_wire(compression, ratio, overlap):
    plan = {"overlap_grad_reduce": overlap, "bucket_size": "700 KiB"}
    full = sent(step(plan, N, precision=FP32))
    assert full == pytest.approx(2 * AROUND * 2 * WHOLE, rel=1e-9)
    small = sent(step(plan | {"grad_compression": compression}, N, precision=FP32))
    assert small == pytest.approx(full * ratio, rel=1e-9)


def test_low_rank_gradients_on_the_wire():
    """P and Q of r columns for each matrix, vectors whole (Vogels 2019, algorithm 1)."""
    r = 4
    layer = [(HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 2 * FFN), (FFN, HIDDEN)]
    matrices = layer * LAYERS + [(VOCAB, HIDDEN)] * 2
    factors = sum(r * (a + b) for a, b in matrices)
    vectors = parameters() - sum(a * b for a, b in matrices)
    for overlap in (True, False):
        plan = {"grad_compression": {"name": "powersgd", "rank": r}, "overlap_grad_reduce": overlap}
        p = step(plan, N, precision=FP32)
        assert sent(p) == pytest.approx(2 * AROUND * 4 * (factors + vectors), rel=1e-9)


def test_kernels_of_a_compression_run_before_and_after():
    """fp16: a cast of 4 to 2 bytes and one back, at the rate of memory, and nothing else."""
    plan = {"overlap_grad_reduce": False}
    full, half = (
        run(on(case_of(plan | more, N, precision=FP32)))
        for more in ({}, {"grad_compression": "fp16"})
    )
    device = full.timeline.program.inputs.device
    rate = device.memory_bandwidth_bytes_per_s * device.memory_efficiency
    cast = (4 + 2) * parameters() / rate
    busy = [p.breakdown.compute_s + p.breakdown.optimizer_s for p in (full, half)]
    assert busy[1] - busy[0] == pytest.approx(2 * cast, rel=1e-6)
    assert full.breakdown.data_s == pytest.approx(2 * half.breakdown.data_s, rel=1e-6)


def test_stacks_say_what_overlaps_by_default():
    assert load_stack("megatron-core").overlap.overlap_grad_reduce
    assert DENSE["ffn"] == FFN
