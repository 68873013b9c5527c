"""A lower bound of the step of many candidates at once.

Every term is the length of a path through the tasks that `distsim.program.build` would make, or is
shorter than one: kernels and collectives inside layers at their price, sends and data-parallel
collectives at the least that links and library allow (`wires`), and a pipeline by the order of its
schedule. With f, b, i, w the passes over one chunk, a path through stage s

* begins with a micro batch that passes forward through all chunks before it,
* runs through what stage s does from then on, in order,
* ends with a micro batch that passes backward through all chunks before it,

and the longest over the stages, and over where it enters and leaves, is the bound. For equal stages
that is the closed form of 1F1B and of the interleaved schedule (Narayanan 2021, section 2.2), with
(p - 1)(f + b) of bubble. Under 1F1B a micro batch also waits for the one p - s before it to come
back, which adds the sends of a round trip for every p - s micro batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distsim.cost.kernel import price
from distsim.schedule import BACKWARD, FORWARD, INPUT, WEIGHT
from distsim.study.plan.columns import Batch
from distsim.study.plan.data_times import DataTimes, Links, Modes, data_times, modes
from distsim.workload.optimizer import update_works

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bound:
    """Lower bounds of candidates, float64[n].

    Attributes
    ----------
    step_s : float64[n]
    compute_s, exposed_s : float64[n]
        Time of kernels, and of communication inside layers beside them, mean over devices.
    """

    step_s: Floats
    compute_s: Floats
    exposed_s: Floats


def bound(batch: Batch) -> Bound:
    """Return the lower bound of the step of every candidate of a batch."""
    links, when = Links(batch), modes(batch)
    data = data_times(batch, links, when)
    passes = _Passes(batch, links, when)
    ready = _ready(batch, passes, data, when)
    update = _update_s(batch)
    after = update + np.where(when.gather_end[:, None], data.gather_s.sum(axis=0), 0.0)
    setting = batch.sources.setting
    synchronized = setting.optimizer.clip_norm or setting.numerics.loss_scaling
    devices = batch["devices"]
    if synchronized:
        sync_s = np.asarray([setting.machine(int(d)).sync_s for d in devices.tolist()])
        sync_s = np.where(devices > 1, sync_s, 0.0)
        step_s = ready.max(axis=1) + sync_s + after.max(axis=1)
    else:
        step_s = (ready + after).max(axis=1)
    compute_s, exposed_s = passes.active_s()
    # Sums are in another order than the evaluator's.
    less = 1.0 - 1e-9
    return Bound(step_s * less, (compute_s + update.mean(axis=1)) * less, exposed_s * less)


class _Passes:
    """Durations of the passes over chunks, and the paths through a pipeline that they make."""

    def __init__(self, batch: Batch, links: Links, when: Modes) -> None:
        self.batch = batch
        self._hop_s = self._hops(links)
        overlapped = batch.overlap["overlap_p2p"]
        deep = batch.pipe.pp > 1
        stack = batch.sources.setting.stack
        restart_s = np.where(overlapped | (not deep), 0.0, stack.restart_s)
        self._blocked_s = np.where(overlapped, 0.0, self._hop_s) if deep else self._hop_s * 0.0
        loose, beside = self._shared_links(links, when)
        # A pass that begins with a collective of its own has no kernel that could be late.
        tight = self._durations("device_s") + restart_s[:, None, None, None]
        free = self._durations("free_s")
        self.duration = np.where(loose[:, None, None, None], free, tight)
        less = (self.duration - free).max(axis=(1, 2, 3))
        # Passes beside gradients and parameters on the wire are priced without slowing down: those
        # from the first hook of a stage on, the last backward pass and the first forward pass of
        # every chunk that a path leads through.
        pipe = batch.pipe
        hooked = batch.counts.after_hook.max() + pipe.pp * batch.composition.model.shape[1]
        first = np.where(when.gather_first, (pipe.pp + 1) * batch.composition.model.shape[1], 0)
        self.credit_s = (np.where(beside, less, 0.0) * (hooked + first))[:, None]

    def _hops(self, links: Links) -> Floats:
        """Return the least time of a send between stages, float64[n]."""
        batch = self.batch
        if batch.pipe.pp == 1:
            return np.zeros(len(batch))
        size = batch.each("boundary_bytes")[batch.of]
        return links.least_s("hop", "send", size)

    def _shared_links(self, links: Links, when: Modes) -> tuple[Flags, Flags]:
        """Say which candidates may send inside layers on links that others load as well.

        Returns
        -------
        tuple of bool[n]
            At any time; beside gradients and parameters only.
        """
        batch = self.batch
        node = batch.sources.setting.machine(int(batch["devices"][0])).topology.devices_per_node
        wide = (batch["tp"] * batch["cp"] > node) | (batch["ep"] * batch["etp"] > node)
        per_stage = batch["devices"] // batch.pipe.pp
        loose = np.asarray(batch.each("meets")[batch.of], dtype=bool) | wide
        if batch.pipe.pp > 1:
            loose |= (per_stage % node != 0) & batch.overlap["overlap_p2p"]
            loose |= batch.overlap["overlap_p2p"] & links.meet("hop", ("send",))
        always = when.each | when.gather_each | when.gather_forward
        hooks = when.at_last | when.gather_first | always
        meets = np.zeros(len(batch), dtype=bool)
        for axis in ("shard", "expert_shard")[: 2 if batch.each("parameters")[:, 1].any() else 1]:
            meets |= links.meet(axis, ("all_reduce", "all_gather", "reduce_scatter"))
        return loose | (always & meets), hooks & meets

    def _durations(self, name: str) -> Floats:
        """Return the duration of each pass over each chunk, float64[n, stages, chunks, 4]."""
        batch = self.batch
        device, host = batch.of_chunks(name), batch.of_chunks("host_s")
        out = (np.maximum(device, host) + batch.of_chunks("wait_s"))[batch.of]
        gather = batch.each("gather_s")[batch.of][:, None, None]
        laid = batch.composition
        out[..., FORWARD] += gather * laid.returns
        out[..., BACKWARD] += gather * laid.leaves
        out[..., INPUT] += gather * laid.leaves
        return np.asarray(out)

    def active_s(self) -> tuple[Floats, Floats]:
        """Return the mean time over the stages of kernels, and of communication beside them.

        Returns
        -------
        tuple of float64[n]
        """
        batch, split = self.batch, self.batch.counts.splits_backward
        kinds = [FORWARD, INPUT, WEIGHT] if split else [FORWARD, BACKWARD]
        compute, free = (
            batch.of_chunks(name)[..., kinds].sum(axis=(2, 3)).mean(axis=1)[batch.of]
            * batch.microbatches
            for name in ("compute_s", "free_s")
        )
        return compute, np.maximum(free - compute, 0.0)

    def ends(self) -> tuple[Floats, Floats]:
        """Return when each stage is done at least, and when its gradients begin to leave.

        Returns
        -------
        tuple of float64[n, stages]
        """
        batch, counts = self.batch, self.batch.counts
        back = INPUT if counts.splits_backward else BACKWARD
        forward, backward = self.duration[..., FORWARD], self.duration[..., back]
        before, after = self._before(forward), self._before(backward)
        blocked = np.zeros((*batch.composition.model.shape, 4), dtype=bool)
        blocked[..., FORWARD] = batch.composition.leaves
        blocked[..., back] = batch.composition.returns
        per = self.duration + blocked * self._blocked_s[:, None, None, None]
        kinds = [FORWARD, INPUT, WEIGHT] if counts.splits_backward else [FORWARD, BACKWARD]
        extra = (batch.microbatches - batch.few)[:, None]
        more = extra * per[..., kinds].sum(axis=(2, 3))
        stages = np.arange(batch.pipe.pp)
        ends, starts, through, from_last = np.zeros((4, len(batch), batch.pipe.pp))
        for x in range(2):
            at = before[:, stages, counts.ends[:, x]]
            for y in range(3):
                total = at + np.einsum("pck,npck->np", counts.span[:, x, y], per) + more
                if y == 2:
                    ends = np.maximum(ends, total)
                    continue
                chunk = counts.ends[:, y]
                own = blocked[stages, chunk, back] * self._blocked_s[:, None]
                total = total - own + after[:, stages, chunk]
                through = np.maximum(through, total)
                if y == 1:
                    from_last = np.maximum(from_last, total)
            first = at + np.einsum("pck,npck->np", counts.hooked[:, x], per) + more
            starts = np.maximum(starts, first)
        # Backward through the chunks of the stages before, which then are done, too.
        passed = after[:, stages, counts.ends[:, 0]]
        reached = np.maximum.accumulate(through[:, ::-1], axis=1)[:, ::-1]
        ends = np.maximum(ends, reached - passed) if batch.pipe.v == 1 else np.maximum(
            ends, np.where(stages == 0, reached.max(axis=1, keepdims=True), 0.0)
        )  # fmt: skip
        if not counts.splits_backward:
            # The last micro batch comes backward to the last chunk of each stage.
            last = counts.ends[:, 1]
            come = np.maximum.accumulate(from_last[:, ::-1], axis=1)[:, ::-1]
            starts = np.maximum(starts, come - after[:, stages, last] - backward[:, stages, last])
        if batch.pipe.schedule == "1f1b" and batch.pipe.pp > 1:
            ends[:, 0] = np.maximum(ends[:, 0], self._round_trips(forward, backward))
        return ends - self.credit_s, starts - self.credit_s

    def _before(self, passes: Floats) -> Floats:
        """Return what a micro batch takes through all chunks before each, sends included."""
        model, leaves = self.batch.composition.model, self.batch.composition.leaves
        n, chunks = len(self.batch), model.size
        flat = np.zeros((n, chunks + 1))
        passed = passes + leaves * self._hop_s[:, None, None]
        flat[:, model.reshape(-1) + 1] = passed.reshape(n, -1)
        return np.asarray(np.cumsum(flat, axis=1)[:, model])

    def _round_trips(self, forward: Floats, backward: Floats) -> Floats:
        """Return the longest path that weaves between the last stage and another one.

        Micro batch j comes back to stage s, which then starts micro batch j + p - s.
        """
        pp, m = self.batch.pipe.pp, self.batch.microbatches
        both = (forward + backward)[:, :, 0]
        hop = self._hop_s
        whole = both.sum(axis=1) + 2 * (pp - 1) * hop
        best = np.zeros(len(self.batch))
        for s in range(pp - 1):
            width = pp - s
            turns, rest = np.divmod(m - 1, width)
            cycle = both[:, s:].sum(axis=1) + 2 * (width - 1) * hop
            cycle = cycle + (self._blocked_s if s else 0.0)
            best = np.maximum(best, whole + turns * cycle + rest * both[:, -1])
        return best


def _ready(batch: Batch, passes: _Passes, data: DataTimes, when: Modes) -> Floats:
    """Return when the gradients of each stage are there at least, float64[n, stages]."""
    ends, starts = passes.ends()
    m = batch.microbatches
    if batch.pipe.pp == 1:
        ends, starts = _single(batch, passes, data, when, ends, starts)
    arrive = np.where(when.gather_first, data.first_s, 0.0)
    first = passes.duration[:, 0, 0, FORWARD]
    late = np.maximum(arrive - first, 0.0)[:, None]
    ends, starts = ends + late, starts + late
    out = np.where(when.at_end[:, None], ends + data.reduce_s.sum(axis=0), ends)
    slower = data.reduce_s.max(axis=0)
    beside = np.maximum(ends + data.tail_s, starts + np.maximum(slower, data.buckets_s))
    out = np.where(when.at_last[:, None], beside, out)
    each = np.maximum(ends, m[:, None] * slower)
    return np.asarray(np.where(when.each[:, None], np.maximum(out, each), out))


def _single(
    batch: Batch, passes: _Passes, data: DataTimes, when: Modes, ends: Floats, starts: Floats
) -> tuple[Floats, Floats]:
    """Add what a single stage waits for between its passes.

    Gathers run at most `prefetch` units ahead of their use, so that each pass over all units takes
    as long as its gathers but for these, or as long as its kernels.
    """
    m = batch.microbatches
    ahead = batch.sources.setting.scenario.plan.prefetch_layers * data.unit_s
    forward, backward = (passes.duration[:, 0, :, k].sum(axis=1) for k in (FORWARD, BACKWARD))
    gather = data.gather_s.max(axis=0)[:, 0]
    prefetched = batch.overlap["overlap_param_gather"]
    both = np.where(prefetched, np.maximum(forward, gather - ahead), forward + gather)
    again = np.where(prefetched, np.maximum(backward, gather - ahead), backward + gather)
    # The first gathers have nothing to hide behind.
    step = m * (both + again)
    forth = m * (both + backward)
    ends = np.where(when.gather_each[:, None], np.maximum(ends, step[:, None]), ends)
    ends = np.where(when.gather_forward[:, None], np.maximum(ends, forth[:, None]), ends)
    # Blocking reductions after every micro batch.
    stops = (when.each & when.blocking)[:, None]
    waits = (m - 1)[:, None] * data.reduce_s.max(axis=0)
    return np.where(stops, ends + waits, ends), starts


def _update_s(batch: Batch) -> Floats:
    """Return the least time of the update of each stage, float64[n, stages]."""
    setting = batch.sources.setting
    optimizer, numerics = setting.optimizer, setting.numerics
    out = np.zeros((len(batch), batch.pipe.pp))
    if setting.offload.optimizer != "none" or optimizer.name in ("muon", "adafactor", "lamb"):
        return out
    device, dtype = setting.device, numerics.compute
    one, two = (
        price(update_works(optimizer, numerics, count), device, dtype) for count in (1e9, 2e9)
    )
    slope, host = (two.device_s - one.device_s) / 1e9, one.host_s
    constant = 2 * one.device_s - two.device_s
    units = batch.stage_units()
    for d in range(2):
        held = (batch.each("parameters")[:, d] @ units.T)[batch.of]
        shard = np.where(batch["zero"] >= 1, batch.sizes()[d], 1)[:, None]
        out += np.where(held > 0, constant + slope * held / shard, 0.0)
    return np.maximum(out, np.where(out > 0, host, 0.0))


__all__ = ["Bound", "bound"]
