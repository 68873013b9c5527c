"""Micro batches: all alike, or by a distribution of sequence lengths."""

from __future__ import annotations

from math import lcm
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.errors import ValueProblem
from distsim.parallel.plan import Plan
from distsim.record import record
from distsim.scenario.schema import Batch, Scenario
from distsim.workload import transformer
from distsim.workload.histogram import read_lengths
from distsim.workload.lengths import (
    Batching,
    MicroBatches,
    attention_flop,
    micro_batches,
    model_flop,
)
from distsim.workload.model import ModelSpec
from distsim.workload.network import Model
from distsim.workload.op import Fusion, Numerics
from distsim.workload.shape import Shape
from distsim.workload.zoo import decoder

#: Keys of a batch that say something only beside ``lengths``.
_ABOUT_LENGTHS = (
    "batching",
    "pad_to",
    "pad_multiple",
    "bucket_edges",
    "packing",
    "draw_lengths",
)
_UNSAID = {name: Batch.model_fields[name].default for name in _ABOUT_LENGTHS}


@record
class Batches:
    """What a step trains on.

    Attributes
    ----------
    shapes : tuple of Shape
        Kinds of micro batches.
    variant_of : int64[microbatches]
    tokens, model_flop : float
        Useful tokens of a step and their FLOP, over all devices.
    attention_again_flop, layers_again_flop : float
        FLOP of a forward pass of core attention, and of all layers, over all devices.
    found : MicroBatches or None
        How sequences became micro batches.
    """

    shapes: tuple[Shape, ...]
    variant_of: npt.NDArray[np.int64]
    tokens: float
    model_flop: float
    attention_again_flop: float
    layers_again_flop: float
    found: MicroBatches | None = None

    def to_dict(self) -> dict[str, Any] | None:
        """Return how sequences became micro batches, as plain values."""
        return self.found.to_dict() if self.found else None


def resolve_batches(
    scenario: Scenario, plan: Plan, model: Model, length: int, numerics: Numerics, fusion: Fusion
) -> Batches:
    """Return the micro batches of a step.

    Raises
    ------
    WorkloadError
        DS236 to DS238 for lengths and edges.
    ValueProblem
        DS206 for keys about lengths where there are none.
    """
    batch = scenario.batch
    if batch.lengths is None:
        _check_alone(scenario)
        shape = Shape(plan.micro_size, length, numerics, fusion, context=plan.cp)
        everything = np.zeros(plan.microbatches, dtype=np.int64)
        sequences = float(batch.global_size)
        flop = sequences * model.model_flop(length)
        attention, head = (sequences * part for part in _parts_flop(model, length))
        return Batches((shape,), everything, sequences * length, flop, attention, flop / 3 - head)
    return _varied(scenario, plan, model, length, numerics, fusion)


def _head_flop(spec: ModelSpec) -> float:
    return 2.0 * spec.output_softmax.weights_of_a_token(spec.hidden, spec.vocab)


def _parts_flop(model: Model, length: int) -> tuple[float, float]:
    """Return FLOP of a forward pass of core attention and of the head, for one sample.

    Both in full, whatever the mask: unfused kernels run every product.
    """
    spec = decoder(model)
    if spec is not None:
        attention = transformer.attention_flop_per_sequence(spec, length)
        return attention, length * _head_flop(spec)
    blocks = model.blocks(Shape(1, length, Numerics(), Fusion(flash_attention=False)))
    layers = [op for kind in blocks.layers for op in blocks.kinds[kind]]
    core = sum(op.forward_flop for op in layers if op.core_attention)
    return core, sum(op.forward_flop for op in (*blocks.embedding, *blocks.head))


def _varied(
    scenario: Scenario, plan: Plan, model: Model, length: int, numerics: Numerics, fusion: Fusion
) -> Batches:
    """Return micro batches by a distribution of sequence lengths."""
    batch, spec = scenario.batch, decoder(model)
    if spec is None:
        raise ValueProblem(
            "DS206",
            f"lengths with {model.name}, a model of the family {model.family}",
            path=("batch", "lengths"),
            value=model.family,
            rule="rows of sequences of different lengths are those of decoder-only transformers",
            fix="remove lengths",
        )
    multiple = lcm(
        batch.pad_multiple,
        plan.tp * plan.cp if plan.sequence_parallel else 1,
        2 * plan.cp if plan.cp > 1 else 1,
    )
    path = ("batch", "lengths")
    batching = Batching(
        batch.batching,
        length,
        to_row=batch.pad_to == "sequence_length",
        edges=batch.bucket_edges or (),
        packing=batch.packing,
        multiple=multiple,
        seed=scenario.seed if batch.draw_lengths else None,
    )
    lengths = read_lengths(batch.lengths, path=path)
    found = micro_batches(lengths, batching, plan.microbatches, plan.micro_size, path=path)
    shapes = tuple(
        Shape(
            v.sequences,
            v.length,
            numerics,
            fusion,
            v.segment_length if batch.batching == "packed" or v.segment_length > v.length else 0.0,
            plan.cp,
        )
        for v in found.variants
    )
    flop = plan.dp * model_flop(spec, found)
    attention = plan.dp * attention_flop(spec, found)
    head = plan.dp * found.useful_tokens * _head_flop(spec)
    return Batches(
        shapes,
        found.order(),
        plan.dp * found.useful_tokens,
        flop,
        attention,
        flop / 3 - head,
        found,
    )


def _check_alone(scenario: Scenario) -> None:
    batch = scenario.batch
    # Not `model_fields_set`: a scenario that was changed states all its defaults.
    said = sorted([n for n, default in _UNSAID.items() if getattr(batch, n) != default])
    if said:
        raise ValueProblem(
            "DS206",
            f"batch.{said[0]} without lengths",
            path=("batch", said[0]),
            value=getattr(batch, said[0]),
            rule="it says how sequences of different lengths become micro batches",
            fix="add lengths: [[512, 0.7], [2048, 0.3]], or remove it",
        )
