"""What gradients and parameters take at least between the ranks that hold the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from distsim.study.plan.columns import Batch
from distsim.study.plan.memory import bucket_bytes, reduces_each, reshards
from distsim.study.plan.wires import Options

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Axes of the mesh of each domain of ranks.
_AXES = ("shard", "expert_shard")


@dataclass(frozen=True, slots=True)
class Links:
    """Groups of ranks of every candidate of a batch."""

    batch: Batch

    def least_s(self, axis: str, collective: str, size_bytes: Floats, share: float = 1.0) -> Floats:
        """Return the least time of a size of each candidate, float64[n, ...]."""
        ways = self.batch.sources.ways(axis, collective, share)
        shape = (len(self.batch), *[1] * (size_bytes.ndim - 1), -1)
        a, c, r = (x[self.batch.mesh].reshape(shape) for x in (ways.a, ways.c, ways.r))
        return Options(a, c, r).least_s(size_bytes)

    def meet(self, axis: str, collectives: Sequence[str]) -> Flags:
        """Say whether an axis may load links of a class that collectives inside layers load."""
        batch = self.batch
        pairs, of = np.unique(batch.mesh * len(batch.numbers) + batch.of, return_inverse=True)
        found = [
            batch.sources.meets(axis, m, int(batch.numbers[lay]), collectives)
            for m, lay in zip(
                *map(np.ndarray.tolist, np.divmod(pairs, len(batch.numbers))), strict=True
            )
        ]
        return np.asarray(np.asarray(found)[of.reshape(-1)])


@dataclass(frozen=True, slots=True)
class Modes:
    """When gradients leave and parameters arrive, as `distsim.parallel.data` decides it.

    Attributes
    ----------
    zero : int64[n]
    at_end, at_last, each : bool[n]
        Gradients leave after all, beside the last micro batch, after every one.
    blocking : bool[n]
    gather_end, gather_first, gather_forward, gather_each : bool[n]
    """

    zero: Ints
    at_end: Flags
    at_last: Flags
    each: Flags
    blocking: Flags
    gather_end: Flags
    gather_first: Flags
    gather_forward: Flags
    gather_each: Flags


def modes(batch: Batch) -> Modes:
    """Return when gradients leave and parameters arrive."""
    zero, overlap = batch["zero"], batch.overlap
    some = (batch.sizes() > 1).any(axis=0)
    each = some & (zero >= 2) & reduces_each(batch)
    last = some & ~each & overlap["overlap_grad_reduce"]
    three, again = some & (zero == 3), reshards(batch)
    ahead = overlap["overlap_param_gather"]
    partly = some & ((zero == 1) | (zero == 2))
    deep = batch.pipe.pp > 1
    return Modes(
        zero,
        some & ~each & ~last,
        last,
        each,
        ~overlap["overlap_grad_reduce"],
        partly & ~ahead,
        (partly & ahead) | (three & (not again) & deep),
        three & (not again) & (not deep),
        three & again,
    )


@dataclass(frozen=True, slots=True)
class DataTimes:
    """Least times of the data-parallel groups of each stage.

    Attributes
    ----------
    reduce_s : float64[2, n, stages]
        All gradients of a stage once, of each domain (all but experts, experts). Beside the
        backward pass the domains have streams of their own; at the end one follows the other.
    tail_s : float64[n, stages]
        Of the first domain, those that leave after the last step of the backward pass.
    buckets_s : float64[n, stages]
        Of the first domain, all gradients of a stage bucket by bucket.
    gather_s : float64[2, n, stages]
        All parameters of a stage once.
    first_s : float64[n]
        Those of the first chunk of the first stage, of the slower domain.
    unit_s : float64[n]
        The longest gather of one unit.
    """

    reduce_s: Floats
    tail_s: Floats
    buckets_s: Floats
    gather_s: Floats
    first_s: Floats
    unit_s: Floats


def data_times(batch: Batch, links: Links, when: Modes) -> DataTimes:
    """Return the least times of reductions and gathers."""
    setting = batch.sources.setting
    plan, numerics = setting.scenario.plan, setting.numerics
    n, pp = len(batch), batch.pipe.pp
    reduce_s, gather_s = np.zeros((2, 2, n, pp))
    tail_s, buckets_s = np.zeros((2, n, pp))
    first_s, unit_s = np.zeros((2, n))
    out = DataTimes(reduce_s, tail_s, buckets_s, gather_s, first_s, unit_s)
    if plan.grad_compression != "none" or plan.dp_replicas > 1:
        return out
    units = batch.stage_units()
    first_chunk = batch.composition.units[batch.composition.of_chunk[0, :1]]
    alone = np.eye(units.shape[1], dtype=np.int64)
    for d, axis in enumerate(_AXES):
        held = batch.each("parameters")[:, d]
        for mine, reduction, by_unit, share in _cases(batch, when):
            if not (mine.any() and held.any()):
                continue
            moved = _Moved(links, axis, held[batch.of], by_unit, share)
            m = mine[:, None]
            reduced = moved.least_s(reduction, numerics.reduce_bytes, units)
            if by_unit:
                # After the last pass all gradients go at once.
                whole = replace(moved, by_unit=False)
                at_once = whole.least_s(reduction, numerics.reduce_bytes, units)
                reduced = np.where(when.at_end[:, None], at_once, reduced)
            reduce_s[d] += np.where(m, reduced, 0.0)
            if axis == "shard" and not by_unit:
                full, last = _buckets(batch)
                tail_s = links.least_s(axis, reduction, last * numerics.reduce_bytes)
                each_s = links.least_s(axis, reduction, bucket_bytes(batch)[:, None])
                out.tail_s[:] += np.where(m, tail_s, 0.0)
                out.buckets_s[:] += np.where(m, full * each_s + tail_s, 0.0)
            if reduction == "reduce_scatter":
                stages, chunk, each = (
                    moved.least_s("all_gather", numerics.gather_bytes, of)
                    for of in (units, first_chunk, alone)
                )
                gather_s[d] += np.where(m, stages, 0.0)
                np.maximum(out.first_s, np.where(mine, chunk[:, 0], 0.0), out=out.first_s)
                np.maximum(out.unit_s, np.where(mine, each.max(axis=1), 0.0), out=out.unit_s)
    return out


def _cases(batch: Batch, when: Modes) -> list[tuple[Flags, str, bool, float]]:
    """Return (candidates, collective of a reduction, whether unit by unit, share of bandwidth)."""
    share = batch.sources.setting.stack.sharded.bandwidth
    return [
        (when.zero == 0, "all_reduce", False, 1.0),
        ((when.zero == 1) | (when.zero == 2), "reduce_scatter", False, 1.0),
        (when.zero == 3, "reduce_scatter", True, share),
    ]


@dataclass(frozen=True, slots=True)
class _Moved:
    """Parameters of units, float64[n, units], that groups along an axis move."""

    links: Links
    axis: str
    held: Floats
    by_unit: bool
    share: float

    def least_s(self, collective: str, element_bytes: float, units: Ints) -> Floats:
        """Return the least time of sums of units, one by one or at once, float64[n, sums]."""
        size = self.held * element_bytes
        if self.by_unit:
            each = self.links.least_s(self.axis, collective, size, self.share)
            return np.asarray(each @ units.T)
        return self.links.least_s(self.axis, collective, size @ units.T, self.share)


def _buckets(batch: Batch) -> tuple[Floats, Floats]:
    """Return how many full buckets the gradients of a stage fill, and what leaves last.

    Of the first domain, beside the last backward pass. Buckets fill from the end of the model on;
    what a bucket lacks at the start of the chunk that ends last goes by itself.

    Returns
    -------
    tuple of float64[n, stages]
        Buckets of at least the stated size; parameters that leave after the last step.
    """
    full, last = np.zeros((2, len(batch), batch.pipe.pp))
    if batch.counts.splits_backward:
        return full, last  # what the weight gradient of a step completes is another part
    limit = bucket_bytes(batch) / batch.sources.setting.numerics.reduce_bytes
    distinct, of = np.unique(np.stack([batch.of, limit]), axis=1, return_inverse=True)
    of_chunk = batch.composition.of_chunk
    rows = [tuple(row) for row in batch.composition.units.tolist()]
    first = of_chunk[np.arange(batch.pipe.pp), batch.counts.ends[:, 0]]
    for number, (layer, bucket) in enumerate(distinct.T.tolist()):
        completed = batch.layers[int(layer)].completed
        made = np.asarray([_filled(completed, row, bucket) for row in rows])
        mine = of.reshape(-1) == number
        full[mine] = made[of_chunk, 0].sum(axis=1)
        last[mine] = made[first, 1]
    return full, last


@lru_cache(maxsize=65536)
def _filled(
    completed: tuple[tuple[float, ...], ...], units: tuple[int, ...], bucket: float
) -> tuple[int, float]:
    """Return full buckets, and parameters left, when a chunk has run backward.

    Layers of several kinds may come in any order: then only the end of the last unit is sure.
    """
    *kinds, embedding, head = units
    present = [k for k, count in enumerate(kinds) if count]
    if len(present) > 1:
        ends = [completed[-2]] if embedding else [completed[k] for k in present]
        return 0, min(unit[-1] if unit else 0.0 for unit in ends)
    order = [completed[-1]] * head
    for k in present:
        order += [completed[k]] * kinds[k]
    order += [completed[-2]] * embedding
    full, filled = 0, 0.0
    for unit in order:
        for step in unit:
            filled += step
            if filled >= bucket > 0.0:
                full, filled = full + 1, 0.0
    return full, filled
