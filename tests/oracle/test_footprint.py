"""What stacks allocate beside states and activations, each by hand from their sources."""

from __future__ import annotations

from typing import Any

import pytest

import distsim as ds
from distsim.parallel.memory import Buffers, StageMemory, Update
from distsim.prediction.case import Case
from distsim.prediction.predict import memory
from distsim.scenario.resolve import resolve

HIDDEN, LAYERS, VOCAB, LENGTH = 1024, 4, 51200, 512
#: Of one layer of a GPT: attention 4 h^2, feed-forward 8 h^2.
LAYER_MATRICES = 12 * HIDDEN**2


def _case(stack: object, devices: int = 1, precision: object = "bf16", **plan: Any) -> Case:
    ways = plan.get("tp", 1) * plan.get("pp", 1)
    return resolve(
        ds.load(
            {
                "schema": 1,
                "name": "footprint",
                "cluster": {"topology": "dgx-h100-superpod", "devices": devices},
                "model": {
                    "family": "gpt",
                    "layers": LAYERS,
                    "hidden": HIDDEN,
                    "heads": 8,
                    "vocab": VOCAB,
                    "max_positions": LENGTH,
                    "tied_embeddings": False,
                },
                "batch": {"global_size": 2 * devices // ways, "sequence_length": LENGTH},
                "plan": plan,
                "precision": precision,
                "stack": stack,
            }
        )
    )


def _parameters(case: Case, stage: int = 0) -> float:
    return sum(c.parameters for c in case.inputs.chunks[stage])


def test_deepspeed_in_fp16_copies_the_share_for_the_update() -> None:
    """One array of 16 bits and its copy in fp32; before, the largest gradient in fp64."""
    dp = 4
    case = _case("deepspeed-pipeline-2022", dp, "fp16", zero_stage=1)
    stage, held = memory(case).stages[0], _parameters(case)
    share = held / dp
    assert stage.update.arrays_bytes == pytest.approx((2 + 4) * share, rel=1e-12)
    assert stage.update.norm_bytes == pytest.approx(8 * min(VOCAB * HIDDEN, share), rel=1e-12)
    assert stage.states_bytes == pytest.approx((2 + 2 + 12 / dp) * held, rel=1e-12)


def test_deepspeed_in_bf16_keeps_gradients_twice() -> None:
    case = _case("deepspeed-pipeline-2022", zero_stage=1)
    stage = memory(case).stages[0]
    assert stage.gradients_bytes == pytest.approx((4 + 2) * _parameters(case), rel=1e-12)
    assert stage.update == Update()


@pytest.mark.parametrize(("zero", "each"), [(1, 14), (3, 12)])
def test_internevo_copies_gradients_and_runs_adam_by_operators(zero: int, each: int) -> None:
    """fp32 gradients 4, root and sum of the second moment 8; ZeRO-1 joins gradients first, 2."""
    dp = 2
    case = _case("internevo-2023", dp, zero_stage=zero)
    stage = memory(case).stages[0]
    assert stage.update.arrays_bytes == pytest.approx(each * _parameters(case) / dp, rel=1e-12)
    assert stage.update.flat_bytes == (stage.update.arrays_bytes if zero == 1 else 0.0)


def test_what_the_host_updates_takes_nothing_here() -> None:
    case = _case("internevo-2023", 2, zero_stage=2, offload={"optimizer": "cpu"})
    assert memory(case).stages[0].update == Update()


@pytest.mark.parametrize(
    ("stack", "tp", "each"),
    [
        # Logits in 16 bits beside the 4 bytes that are kept.
        ("megatron-core", 1, 2),
        ("megatron-core", 4, 2),
        # PyTorch's loss_parallel has four arrays in fp32 where the loss of one rank has three.
        ({"profile": "torchtitan", "fused": {"cross_entropy": False}}, 1, 0),
        ({"profile": "torchtitan", "fused": {"cross_entropy": False}}, 4, 4),
        ("torchtitan", 4, 0),
    ],
)
def test_copies_of_the_logits(stack: object, tp: int, each: float) -> None:
    case = _case(stack, tp, tp=tp, sequence_parallel=tp > 1)
    head = next(u for u in case.inputs.chunks[0][0].units if u.name == "head")
    logits = LENGTH * VOCAB / tp
    assert head.working_bytes == pytest.approx(each * logits, rel=1e-3)


def test_fp8_copies_of_sharded_weights_are_of_one_unit() -> None:
    fp8 = {"compute": "bf16", "fp8": "current"}
    for zero, layers in ((1, LAYERS), (3, 1)):
        with_copies = _case("torchtitan", 4, fp8, zero_stage=zero)
        without = _case("torchtitan", 4, "bf16", zero_stage=zero)
        a, b = (memory(c).stages[0].weights_bytes for c in (with_copies, without))
        recipe = with_copies.numerics.fp8
        assert recipe is not None
        assert a - b == pytest.approx(recipe.copy_bytes * layers * LAYER_MATRICES, rel=1e-12)


def test_the_larger_of_passes_and_update_counts() -> None:
    buffers = Buffers(working_bytes=2.0, compression_bytes=1.0, reserved_bytes=100.0)
    for arrays in (3.0, 50.0):
        stage = StageMemory(10.0, 10.0, 10.0, 20.0, buffers, Update(arrays))
        assert stage.peak_bytes == 131 + max(22, arrays)
        assert stage.reserve_bytes(0.1) == pytest.approx(0.1 * (stage.peak_bytes - 100))
    # Without a flush passes of the next batch run meanwhile.
    assert StageMemory(0.0, 0.0, 0.0, 5.0, update=Update(3.0, beside=True)).peak_bytes == 8


def test_large_arrays_find_no_room_in_what_passes_left() -> None:
    """Flat arrays and those of the norm are held beside the passes, small ones in their place."""
    passes, small = 20.0, 3.0
    for flat, norm in ((8.0, 0.0), (8.0, 12.0), (0.0, 12.0)):
        stage = StageMemory(10.0, 0.0, 0.0, passes, update=Update(flat + small, flat, norm))
        held = 10 + max(passes, small) + max(flat, norm)
        assert stage.peak_bytes == 10 + passes
        assert stage.peak_bytes + stage.reserve_bytes(0.0) == held
        assert stage.peak_bytes + stage.reserve_bytes(0.5) == pytest.approx(1.5 * held)


def test_the_update_is_there_while_its_kernels_run() -> None:
    run = ds.simulate(
        ds.load(
            {
                "schema": 1,
                "name": "update",
                "cluster": {"topology": "dgx-a100-superpod", "devices": 2},
                "model": "megatron-1.7b",
                "batch": {"global_size": 2, "micro_size": 1, "sequence_length": 128},
                "plan": {"pp": 2, "zero_stage": 1},
                "stack": "internevo-2023",
            }
        )
    )
    for timeline, stage in zip(run.memory_timeline.by_stage(), run.memory.stages, strict=True):
        assert timeline.peak_bytes == stage.peak_bytes
        assert timeline.parts["update"].max() == stage.update.peak_bytes > stage.passes_bytes
        assert timeline.parts["activations"][timeline.parts["update"] > 0].max() == 0
        assert timeline.holds == "gradients and temporary arrays of the update"
        assert timeline.parts["update"][-1] == 0
