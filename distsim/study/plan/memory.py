"""Memory of many candidates at once: the closed forms of `distsim.parallel.memory` over columns.

The same sums, so that a candidate fits here if and only if it fits there; what compression keeps of
gradients is left out, so that with it the peak is a lower bound.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.parallel.data import BUCKET_ELEMENTS, BUCKET_ELEMENTS_PER_REPLICA
from distsim.parallel.memory import SEND_BUFFERS
from distsim.schedule import REGISTRY
from distsim.study.plan.columns import Batch

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def reduces_each(batch: Batch) -> bool:
    """Say whether sharded gradients leave after every micro batch."""
    given = batch.sources.setting.scenario.plan.reduce_each_microbatch
    return batch.pipe.pp == 1 if given is None else given


def reshards(batch: Batch) -> bool:
    """Say whether parameters of ZeRO-3 are dropped after the forward pass."""
    given = batch.sources.setting.scenario.plan.reshard_after_forward
    return batch.pipe.pp == 1 if given is None else given


def bucket_bytes(batch: Batch) -> Floats:
    """Return how many bytes of gradients are reduced at once, float64[n]."""
    setting = batch.sources.setting
    given = setting.scenario.plan.bucket_size
    if given:
        return np.full(len(batch), float(given))
    elements = np.maximum(BUCKET_ELEMENTS, BUCKET_ELEMENTS_PER_REPLICA * batch.sizes()[0])
    return np.asarray(setting.numerics.reduce_bytes * elements, dtype=np.float64)


def peak_bytes(batch: Batch) -> Floats:
    """Return the peak of the fullest stage of each candidate, float64[n]."""
    passes = _buffers(batch) + _activations(batch)[batch.of]
    update = _update(batch)
    flush = REGISTRY[batch.pipe.schedule].flush
    lasting = _states(batch) + batch.sources.setting.device.reserved_bytes
    beside = np.maximum(passes, update) if flush else passes + update
    return np.asarray((lasting + beside).max(axis=1))


def _domains(batch: Batch) -> range:
    return range(2 if batch.each("parameters")[:, 1].any() else 1)


def _held(batch: Batch, name: str, domain: int) -> Floats:
    """Return the sum over the units of each stage, float64[layers, stages]."""
    units = batch.stage_units()
    return np.asarray(batch.each(name)[:, domain] @ units.T)


def _most(batch: Batch, name: str, domain: int) -> Floats:
    """Return the most of the units of each stage, float64[layers, stages]."""
    there = batch.stage_units() > 0
    each = batch.each(name)[:, domain, None, :]
    return np.asarray(np.where(there, each, 0.0).max(axis=2))


def _update(batch: Batch) -> Floats:
    """Return what the update needs while it runs, float64[n, stages]."""
    setting = batch.sources.setting
    footprint, compute = setting.stack.footprint, setting.numerics.compute
    arrays, norm = np.zeros((2, len(batch), batch.pipe.pp))
    if setting.offload.optimizer != "none":
        return arrays
    zero = batch["zero"]
    for d in _domains(batch):
        size = batch.sizes()[d].astype(np.float64) / setting.scenario.plan.dp_replicas
        share = _held(batch, "parameters", d)[batch.of] / np.where(zero >= 1, size, 1.0)[:, None]
        flat = np.where((zero == 1) | (zero == 2), footprint.flat_update.get(compute, 0.0), 0.0)
        arrays += share * (footprint.update.get(compute, 0.0) + flat[:, None])
        largest = np.minimum(_most(batch, "largest", d)[batch.of], share)
        norm = np.maximum(norm, largest * footprint.norm.get(compute, 0.0))
    return np.maximum(arrays, norm)


def _states(batch: Batch) -> Floats:
    """Return weights, gradients and optimizer states, float64[n, stages]."""
    setting = batch.sources.setting
    numerics, offload = setting.numerics, setting.offload
    zero, of = batch["zero"], batch.of
    versions = REGISTRY[batch.pipe.schedule].weight_versions
    each = reduces_each(batch)
    whole_weights = not reshards(batch) and batch.pipe.pp > 1
    whole_gradients = (batch.microbatches > 1) & (not each)
    leave = (zero >= 2) & each | (batch.microbatches == 1)
    raw = setting.stack.footprint.raw_gradients.get(numerics.compute, 0.0)
    out = np.zeros((len(batch), batch.pipe.pp))
    for d in _domains(batch):
        size = batch.sizes()[d].astype(np.float64) / setting.scenario.plan.dp_replicas
        held = _held(batch, "parameters", d)[of]
        parts = [
            np.where(sharded, size, 1.0)[:, None]
            for sharded in (
                (zero >= 3) & (not whole_weights),
                (zero >= 2) & ~whole_gradients,
                zero >= 1,
            )
        ]
        if offload.parameters == "none":
            out += held * numerics.weight_bytes / parts[0] * versions
        if numerics.fp8 is not None:
            whole, one = _held(batch, "copies", d)[of], _most(batch, "copies", d)[of]
            out += numerics.fp8.copy_bytes * np.where(parts[0] == 1.0, whole, one)
        gradients = held * (numerics.gradient_bytes / parts[1] + raw)
        stays = np.full(len(batch), True) if offload.optimizer == "none" else ~leave
        out += np.where(stays[:, None], gradients, 0.0)
        if offload.optimizer == "none":
            out += _held(batch, "states_bytes", d)[of] / parts[2]
    return out


def _buffers(batch: Batch) -> Floats:
    """Return what is there for a while, float64[n, stages]."""
    setting, of = batch.sources.setting, batch.of
    there = batch.stage_units() > 0
    working = np.where(there, batch.each("working_bytes")[:, None, :], 0.0).max(axis=2)
    boundary = batch.each("boundary_bytes")
    sends = SEND_BUFFERS * boundary[:, None] if batch.pipe.pp > 1 else 0.0
    out = np.asarray((working + sends)[of])
    zero, active = batch["zero"], setting.offload.active
    for d in _domains(batch):
        size = batch.sizes()[d] // setting.scenario.plan.dp_replicas
        moves = (size > 1) | active
        largest = _most(batch, "at_once", d)[of]
        lists = setting.stack.sharded.lists & (zero == 3)
        weighted = setting.stack.sharded.by_weight
        if weighted:
            whole = _most(batch, "parameters", d)[of]
            largest = np.where((zero == 3)[:, None], largest, whole)
        largest = largest * np.where(lists, 2.0, 1.0)[:, None]
        held = _held(batch, "parameters", d)[of]
        out += np.where(((zero >= 3) & moves)[:, None], _gathered(batch, largest, held), 0.0)
        bucket = largest * setting.numerics.reduce_bytes
        full = np.maximum(bucket_bytes(batch)[:, None], bucket)
        bucket = np.where((zero == 3)[:, None], bucket, full)
        bucket = np.minimum(bucket, held * setting.numerics.reduce_bytes)
        out += np.where(((zero >= 2) & moves)[:, None], bucket, 0.0)
    return out


def _gathered(batch: Batch, largest: Floats, held: Floats) -> Floats:
    """Return the most bytes of sharded parameters that are whole at once, float64[n, stages]."""
    setting = batch.sources.setting
    plan, gather = setting.scenario.plan, setting.numerics.gather_bytes
    if not reshards(batch):
        # Before every forward pass; with a pipeline they are whole all step long, as weights.
        return held * gather if batch.pipe.pp == 1 else np.zeros_like(held)
    ahead = np.where(batch.overlap["overlap_param_gather"], plan.prefetch_layers, 0)[:, None]
    unit = largest * gather
    limit = float(plan.max_gathered or np.inf)
    return np.minimum((1 + ahead) * unit, np.maximum(limit, unit))


def _activations(batch: Batch) -> Floats:
    """Return the most activations that are kept at once, float64[layers, stages]."""
    saved, weight = batch.of_chunks("saved_bytes"), batch.of_chunks("weight_bytes")
    each = np.concatenate([saved, weight], axis=2)
    out = np.zeros(each.shape[:2])
    for stage, rows in enumerate(batch.counts.kept):
        out[:, stage] = (each[:, stage] @ rows.T.astype(np.float64)).max(axis=1)
    return out
