"""Many steps with jitter: a longest-path pass over all samples at once.

Every sample is a step whose durations are multiplied with factors drawn from `Noise`; it is
evaluated as `engine.graph` evaluates a step, to the last bit where nothing is drawn. The order of
tasks is that of the graph, and links are shared as in the durations that are given.

Classes that stand for several ranks
------------------------------------
A folded graph has one rank of each class. Equal ranks draw different factors, and wait for one
another in one of two ways:

* in *lockstep*: they meet at each task, as tensor- and context-parallel ranks do. A task then
  takes as long as on the slowest of them. Where factors differ from task to task only, that is one
  draw of the largest of k (`gaussian.largest_scores`), otherwise every rank is drawn.
* as *replicas*: they meet at data-parallel communication and at the end. Each replica is a copy of
  the graph, drawn by itself; where replicas meet, all go on from the last of them.

Up to `most_copies` replicas are simulated, and the result is that of the unfolded graph. Of more,
the others are borrowed: each sample takes as many copies of other samples, the same ones wherever
replicas meet, and of these how far they are from the mean of their own sample. Each copy serves
several samples so, which are then worth fewer independent ones (`Samples.independent`).

What is simplified
------------------
* Ranks in lockstep begin every task together. Where a rank can in fact begin before its peers (a
  stage that it sends to, peers of a peer along another axis), a folded step is an upper estimate;
  the excess is of the order of the jitter of one task a stage and micro batch at most.
* Replicas meet all at once. Where states are sharded among some of them only, those meet first.
* Jitter does not change which transfers share a link, nor what kernels lose beside transfers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

import numpy as np
import numpy.typing as npt

from distsim.engine.gaussian import largest_scores
from distsim.engine.levels import Levels, levels
from distsim.engine.noise import Noise
from distsim.program.opgraph import OpGraph, TaskKind
from distsim.record import record

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Numbers in the arrays of a block of samples (64 MiB), and in the durations drawn at a time,
#: which stay in a cache of the second level.
_BLOCK, _BATCH = 1 << 23, 1 << 17


@record(eq=False)
class Times:
    """Durations without jitter, and what of them jitter multiplies; each float64[n_tasks].

    Attributes
    ----------
    duration_s : float64[n_tasks]
    noisy_s : float64[n_tasks]
        Time of the kernels of a compute task, which its factor multiplies; of a transfer, of
        latency and bytes. No more than `duration_s`.
    slack_s : float64[n_tasks]
        By how much the kernels may take longer before the task does, because it waits for
        something else, such as its host; negative where the kernels decide and something else
        ends so much earlier.
    """

    duration_s: Floats
    noisy_s: Floats
    slack_s: Floats


def is_kernels(graph: OpGraph) -> Flags:
    """Say which tasks run kernels of a device, bool[n_tasks]: no transfers, no work of hosts."""
    runs: Flags = np.isin(graph.kind, (TaskKind.COMPUTE, TaskKind.OPTIMIZER))
    return runs & (graph.transfer < 0)


def times(graph: OpGraph) -> Times:
    """Return the durations of tasks that share no link; all of a kernel task is kernels."""
    alone_s = graph.alone_s()
    noisy = (graph.transfer >= 0) | is_kernels(graph)
    return Times(alone_s, alone_s * noisy, np.full(graph.n_tasks, -np.inf))


@record(eq=False)
class Samples:
    """Sampled step times.

    Attributes
    ----------
    step_s : float64[n]
    seed : int
    independent : float
        How many independent samples they are worth: n, or less where replicas were too many to
        simulate, so that samples share what was simulated.
    """

    step_s: Floats
    seed: int
    independent: float

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.step_s)


@record(eq=False)
class _Model:
    """What all blocks of samples have in common.

    Attributes
    ----------
    owner : int64[n_tasks]
        Class of each task.
    lockstep, replicas : int64[classes]
    copies : int
        Replicas that are simulated; columns of a block are samples, each with its copies.
    compute, moving : int64[...]
        Positions in `order.task` of tasks whose kernels, or transfers, have factors; ascending.
    """

    order: Levels
    times: Times
    noise: Noise
    owner: Ints
    lockstep: Ints
    replicas: Ints
    copies: int
    compute: Ints = field(repr=False)
    moving: Ints = field(repr=False)


def sample(
    graph: OpGraph,
    noise: Noise,
    n: int,
    seed: int,
    members: npt.ArrayLike | None = None,
    *,
    lockstep: npt.ArrayLike | None = None,
    times_s: Times | None = None,
    most_copies: int = 256,
) -> Samples:
    """Draw step times.

    Parameters
    ----------
    n : int
        Number of samples, >= 1.
    members : int array[classes], optional
        Ranks that each class stands for; 1 by default, as in a graph that is not folded.
    lockstep : int array[classes], optional
        How many of them meet at each task; 1 by default. The others are replicas.
    times_s : Times, optional
        `times` of the graph by default. With the durations of a run by another evaluator, samples
        without noise take as long as that run.
    most_copies : int
        Replicas that are simulated at most.

    Raises
    ------
    InfeasibleError
        DS520 for a cycle.
    ValueError
        For counts below 1, or members that are not a multiple of the ranks in lockstep.

    Notes
    -----
    About 30 ns a task, sample and copy, and 5 us a level. Results depend on `seed` alone.
    """
    if n < 1 or most_copies < 1:
        raise ValueError(f"n({n}) and most_copies({most_copies}) are at least 1")
    model = _model(graph, noise, members, lockstep, times_s or times(graph), most_copies)
    copies = model.copies
    if noise.is_none:
        step_s = _block(model, np.random.default_rng(seed), 1)
        return Samples(np.repeat(step_s, n), seed, float(n))
    width = model.order.rows + 4 * model.order.widest + int(model.lockstep.sum())
    size = max(1, _BLOCK // width // copies)
    blocks = [
        _block(model, np.random.default_rng([seed, first]), min(size, n - first))
        for first in range(0, n, size)
    ]
    worth = min(1.0, copies / int(model.replicas.max(initial=1)))
    return Samples(np.concatenate(blocks), seed, max(1.0, n * worth))


def _model(
    graph: OpGraph,
    noise: Noise,
    members: npt.ArrayLike | None,
    lockstep: npt.ArrayLike | None,
    times_s: Times,
    most_copies: int,
) -> _Model:
    classes = len(graph.contention_factor)
    one = np.ones(classes, dtype=np.int64)
    count = one if members is None else np.asarray(members, dtype=np.int64)
    steps = one if lockstep is None else np.asarray(lockstep, dtype=np.int64)
    if count.shape != one.shape or steps.shape != one.shape:
        raise ValueError(f"members{count.shape} and lockstep{steps.shape} are of {classes} classes")
    if (steps < 1).any() or (count < 1).any() or (count % steps).any():
        raise ValueError(f"members({count}) are whole multiples of lockstep({steps})")
    replicas = one if noise.is_none else count // steps
    copies = min(most_copies, int(replicas.max(initial=1)))
    meets = (graph.kind == TaskKind.DATA) & bool((replicas > 1).any())
    order = levels(graph, meets)
    owner = graph.stream_device[graph.stream].astype(np.int64)
    compute = (graph.transfer < 0) & (times_s.noisy_s > 0.0)
    moving = (graph.transfer >= 0) & (times_s.noisy_s > 0.0) & (noise.transfer_sigma > 0.0)
    return _Model(
        order,
        times_s,
        noise,
        owner,
        steps,
        replicas,
        copies,
        np.flatnonzero(compute[order.task]),
        np.flatnonzero(moving[order.task]),
    )


class _Draws:
    """Durations of the tasks of a block of samples, in the order of the pass."""

    def __init__(self, model: _Model, generator: np.random.Generator, columns: int) -> None:
        self.model, self.generator, self.columns = model, generator, columns
        self._task_log = model.noise.log_factor(model.noise.task_sigma)
        self._transfer_log = model.noise.log_factor(model.noise.transfer_sigma)
        most = int(model.lockstep.max(initial=1))
        self._device = model.noise.device_logs(generator, (most, len(model.lockstep), columns))
        if self._device is not None:
            absent = np.arange(most)[:, None] >= model.lockstep
            self._device[absent] = -np.inf
            if model.noise.task_sigma == 0.0:
                self._device = self._device.max(axis=0, keepdims=True)

    def durations(self, low: int, high: int) -> Floats:
        """Return durations of the tasks at positions low .. high - 1, (high - low, columns)."""
        model, of = self.model, self.model.times
        task = model.order.task[low:high]
        out = np.repeat(of.duration_s[task][:, None], self.columns, axis=1)
        if model.noise.is_none:
            return out
        rows = _within(model.compute, low, high)
        if len(rows):
            self._add(out, rows, self._kernel_logs(model.owner[task[rows]]), task)
        rows = _within(model.moving, low, high)
        if len(rows):
            scores = self.generator.standard_normal((len(rows), self.columns))
            self._add(out, rows, self._transfer_log(scores), task)
        return out

    def _add(self, out: Floats, rows: Ints, logs: Floats, task: Ints) -> None:
        """Add what factors make of the noisy part; exactly nothing where they are 1."""
        of = self.model.times
        more = np.expm1(logs, out=logs)
        more *= of.noisy_s[task[rows]][:, None]
        slack = of.slack_s[task[rows]][:, None]
        if np.isfinite(slack).any():
            more = np.maximum(more, slack) - np.maximum(slack, 0.0)
        if len(rows) == len(out):
            out += more
        else:
            out[rows] += more

    def _kernel_logs(self, owner: Ints) -> Floats:
        """Return logarithms of the factors of the slowest rank in lockstep, (tasks, columns)."""
        shape = (len(owner), self.columns)
        together = self.model.lockstep[owner]
        if self._device is None:
            if together.max() == 1:
                return self._task_log(self.generator.standard_normal(shape))
            return self._task_log(largest_scores(self.generator, together[:, None], shape))
        logs: Floats = self._device[0][owner]
        if self.model.noise.task_sigma == 0.0:
            return logs
        logs += self._task_log(self.generator.standard_normal(shape))
        for member in range(1, int(together.max())):
            rows = np.flatnonzero(together > member)
            other = self._task_log(self.generator.standard_normal((len(rows), self.columns)))
            other += self._device[member][owner[rows]]
            if len(rows) == len(owner):
                np.maximum(logs, other, out=logs)
            else:
                logs[rows] = np.maximum(logs[rows], other)
        return logs


def _within(positions: Ints, low: int, high: int) -> Ints:
    first, last = np.searchsorted(positions, (low, high))
    return positions[first:last] - low


def _block(model: _Model, generator: np.random.Generator, samples: int) -> Floats:
    """Return the step times of a block of samples, float64[samples]."""
    order, copies = model.order, model.copies
    draws = _Draws(model, generator, samples * copies)
    meeting = _Meeting(model, generator, samples)
    ends = np.empty((order.rows, samples * copies))
    step_s = np.zeros(samples)
    ptr, meet, before_ptr = order.ptr.tolist(), order.meet.tolist(), order.before_ptr.tolist()
    final_ptr = np.searchsorted(order.final, order.ptr).tolist()
    for first, last in _batches(ptr, samples * copies):
        durations = draws.durations(ptr[first], ptr[last])
        for level in range(first, last):
            a, m, b = ptr[level], meet[level], ptr[level + 1]
            end = durations[a - ptr[first] : b - ptr[first]]
            # Tasks of the first level have no predecessors, those of the others have.
            if level and m > a:
                before = order.before_row[before_ptr[a] : before_ptr[m]]
                end[: m - a] += _latest(ends[before], order, a, m)
            if b > m:
                joint = end[m - a :, ::copies]
                if level:
                    at = slice(before_ptr[m], before_ptr[b])
                    latest = meeting.latest(ends[order.before_row[at]], order.before[at])
                    joint += _latest(latest, order, m, b)
                end[m - a :] = np.repeat(joint, copies, axis=1)
            ends[order.row[a:b]] = end
            if final_ptr[level + 1] > final_ptr[level]:
                done = order.final[final_ptr[level] : final_ptr[level + 1]]
                latest = meeting.latest(end[done - a], order.task[done])
                np.maximum(step_s, latest.max(axis=0), out=step_s)
    return step_s


def _latest(ends: Floats, order: Levels, low: int, high: int) -> Floats:
    """Return for each of the tasks low .. high - 1 the latest of its predecessors' ends."""
    if len(ends) == high - low:
        return ends
    starts = order.before_ptr[low:high] - order.before_ptr[low]
    return np.maximum.reduceat(ends, starts, axis=0)


def _batches(ptr: list[int], columns: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of levels whose durations are drawn together."""
    first = 0
    for level in range(1, len(ptr)):
        full = level + 1 < len(ptr) and (ptr[level + 1] - ptr[first]) * columns > _BATCH
        if full or level + 1 == len(ptr):
            yield first, level
            first = level


class _Meeting:
    """Where replicas wait for the last of them."""

    def __init__(self, model: _Model, generator: np.random.Generator, samples: int) -> None:
        self._model = model
        self._others: dict[int, Ints] = {}
        for count in np.unique(model.replicas[model.replicas > model.copies]).tolist():
            # A window of a random order of all copies; windows begin evenly, so that each copy
            # serves as many samples.
            order = generator.permutation(samples * model.copies)
            begin = np.arange(samples)[:, None] * model.copies
            window = begin + np.arange(count - model.copies)
            self._others[count] = order[window % len(order)]

    def latest(self, ends: Floats, tasks: Ints) -> Floats:
        """Return the latest end of each task over its replicas, (tasks, samples)."""
        model = self._model
        if model.copies == 1 and not self._others:
            return ends
        of_copy = ends.reshape(len(ends), -1, model.copies)
        replicas = model.replicas[model.owner[tasks]]
        out = np.empty(of_copy.shape[:2])
        for count in np.unique(replicas).tolist():
            rows = np.flatnonzero(replicas == count)
            out[rows] = of_copy[rows, :, :count].max(axis=2)
            if count in self._others:
                for row in rows.tolist():
                    mean = of_copy[row].mean(axis=1)
                    apart = (of_copy[row] - mean[:, None]).reshape(-1)
                    latest = mean + apart[self._others[count]].max(axis=1)
                    np.maximum(out[row], latest, out=out[row])
        return out
